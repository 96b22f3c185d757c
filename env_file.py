"""Edits the text of a `.env` file, variable by variable, and leaves all else in it as it was.

It knows the syntax, which is python-dotenv's, and not what any variable means.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from protocol import ConfigError

_PLAIN: Final = re.compile(r"[\w.,:/@%+=-]+")
"""Values that every reader of such files, a shell included, takes as they stand."""
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_ASSIGNMENT: Final = re.compile(
    r"""
    (?P<before>\s*(?:export[^\S\r\n]+)?[^=\s]+[^\S\r\n]*=[^\S\r\n]*)
    (?:'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | [^\r\n]*?)
    (?P<comment>[^\S\r\n]+\#[^\r\n]*)?
    (?P<end>[^\S\r\n]*(?:\r\n|\r|\n|$))
    """,
    re.VERBOSE | re.DOTALL,
)


def read(path: Path) -> str:
    """The text of the file with its own line ends; "" when there is none.

    Raises:
        ConfigError: it cannot be read, or is no UTF-8 text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"the file must be readable UTF-8 text ({error})") from None


def values(text: str) -> dict[str, str]:
    """The variables that a text sets, by name; those without a value are left out."""
    found = dotenv_values(stream=StringIO(text, newline=None), interpolate=False)
    return {name: value for name, value in found.items() if value and value.strip()}


def edited(text: str, changes: Mapping[str, str | None]) -> str:
    """The text with some variables set or, where None, no longer set.

    A variable keeps its place and its comment; a new one comes below the comment that shows it
    (`# NAME=…`, as in .env.example), or at the end.

    Raises:
        ConfigError: a value that no line can hold, or a text that would be read differently.
    """
    bom, body = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
    line_end = "\r\n" if "\r\n" in body else "\n"
    pieces = list(parse_stream(StringIO(body, newline="")))
    lines = [piece.original.string for piece in pieces]
    new: dict[str, str] = {}
    for name, value in changes.items():
        if value is None:
            _unset(pieces, lines, name)
        elif not _reset(pieces, lines, name, quoted := _quoted(name, value, line_end)):
            new[name] = quoted
    for name, quoted in new.items():
        _add(lines, name, quoted, line_end)
    changed = bom + "".join(lines)
    wanted = {name: value for name, value in changes.items() if value is not None}
    kept = {name: value for name, value in values(text).items() if name not in changes}
    if values(changed) != kept | wanted:
        raise ConfigError(
            ".env", "has a line that is no assignment, such as a quote that does not end: mend it"
        )
    return changed


def write(path: Path, text: str) -> None:
    """Put the text in the place of the file in one step, readable for its owner only.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=".env.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _unset(pieces: list[Binding], lines: list[str], name: str) -> None:
    for index, piece in enumerate(pieces):
        if piece.key == name:
            line = lines[index]
            lines[index] = line[: len(line) - len(line.lstrip())]


def _reset(pieces: list[Binding], lines: list[str], name: str, value: str) -> bool:
    """Give the assignment that counts, which is the last one, another value, if there is one."""
    for index in reversed(range(len(pieces))):
        if pieces[index].key == name and (parts := _ASSIGNMENT.fullmatch(lines[index])):
            lines[index] = f"{parts['before']}{value}{parts['comment'] or ''}{parts['end']}"
            return True
    return False


def _add(lines: list[str], name: str, value: str, line_end: str) -> None:
    shown = re.compile(rf"\s*#[^\S\r\n]*{re.escape(name)}=")
    places = [index for index, line in enumerate(lines) if shown.match(line)]
    place = places[-1] if places else len(lines) - 1
    if not lines:
        lines.append(f"{name}={value}{line_end}")
        return
    if lines[place] and not lines[place].endswith(("\n", "\r")):
        lines[place] += line_end
    lines[place] += f"{name}={value}{line_end}"


def _quoted(name: str, value: str, line_end: str) -> str:
    if _UNPRINTABLE.search(value):
        raise ConfigError(name, "must be text without control characters")
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", line_end)
    return f"'{escaped}'"
