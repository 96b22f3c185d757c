"""The template language of script files: `{user}`, `{user.match(REGEX)|default}`, `{tool.path}`.

A template is parsed once, when the script is loaded, and knows four names and no attribute of any
object. `{{` and `}}` stand for literal braces.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from providers.words import plain

_MATCH = "user.match("
_TOOL_PATH = re.compile(r"tool(?:\.[\w-]+)*\Z")
_ALLOWED = "{user}, {user.match(REGEX)}, {turn}, {tool} and {tool.path}, with or without |default"


class TemplateError(ValueError):
    """A template that cannot be parsed, or a value it needs and has no default for."""


@dataclass(frozen=True, slots=True)
class Values:
    """What a template may speak of.

    `tool` is the output of the last tool: parsed when it is JSON, the text otherwise, None when
    no tool has answered.
    """

    user: str = field(repr=False)
    turn: int
    tool: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Field:
    source: str
    kind: Literal["user", "match", "turn", "tool"]
    path: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    default: str | None = None


class Template:
    """A parsed template.

    Raises:
        TemplateError: with the offending placeholder and what is allowed.
    """

    __slots__ = ("_parts", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._parts = _parse(source)

    @property
    def uses_tool(self) -> bool:
        """Whether it needs a tool's output."""
        return any(isinstance(part, _Field) and part.kind == "tool" for part in self._parts)

    def text(self, values: Values) -> str:
        """The template with everything filled in, as words to say.

        Raises:
            TemplateError: a value is missing and its placeholder has no default.
        """
        return "".join(
            part if isinstance(part, str) else spoken(_resolve(part, values))
            for part in self._parts
        )

    def value(self, values: Values) -> Any:
        """Like `text`, but a template that is one placeholder gives the JSON value itself."""
        if len(self._parts) == 1 and isinstance(self._parts[0], _Field):
            return _resolve(self._parts[0], values)
        return self.text(values)


def parse_tool_output(output: str) -> Any:
    """A tool's output as JSON if it is JSON, as text if not."""
    try:
        return json.loads(output)
    except (ValueError, RecursionError):
        return output


def spoken(value: Any) -> str:
    """A JSON value as words: objects become `key: value, …`, lists `…, …`."""
    match value:
        case str():
            return value
        case dict():
            return ", ".join(f"{key}: {spoken(inner)}" for key, inner in value.items())
        case list():
            return ", ".join(spoken(inner) for inner in value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _resolve(part: _Field, values: Values) -> Any:
    found: Any = None
    match part.kind:
        case "user":
            found = values.user
        case "turn":
            found = values.turn
        case "match":
            assert part.pattern is not None
            if hit := part.pattern.search(plain(values.user)):
                found = hit.group(1 if part.pattern.groups else 0)
        case "tool":
            found = _follow(values.tool, part.path)
    if found is None or found == "":
        if part.default is not None:
            return part.default
        if part.kind in ("match", "tool"):
            raise TemplateError(f"nothing to fill {part.source} with, and it has no |default")
    return found


def _follow(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _parse(source: str) -> tuple[str | _Field, ...]:
    parts: list[str | _Field] = []
    literal = ""
    at = 0
    while at < len(source):
        char = source[at]
        if char in "{}" and source[at : at + 2] == char * 2:
            literal += char
            at += 2
        elif char == "}":
            raise TemplateError("a single } has no meaning; write }} for a brace")
        elif char == "{":
            if literal:
                parts.append(literal)
                literal = ""
            placeholder, at = _parse_field(source, at)
            parts.append(placeholder)
        else:
            literal += char
            at += 1
    if literal or not parts:
        parts.append(literal)
    return tuple(parts)


def _parse_field(source: str, start: int) -> tuple[_Field, int]:
    at = start + 1
    pattern: re.Pattern[str] | None = None
    if source.startswith(_MATCH, at):
        close = _closing_parenthesis(source, at + len(_MATCH))
        try:
            pattern = re.compile(source[at + len(_MATCH) : close], re.IGNORECASE)
        except re.error as error:
            raise TemplateError(f"bad regular expression in user.match: {error}") from error
        at = close + 1
    end = source.find("}", at)
    if end < 0:
        raise TemplateError("a { has no }; write {{ for a brace")
    name, bar, default = source[at:end].partition("|")
    name = name.strip()
    shown = source[start : end + 1]
    fallback = default.strip() if bar else None
    if pattern is not None and not name:
        return _Field(shown, "match", pattern=pattern, default=fallback), end + 1
    if pattern is None and name in ("user", "turn"):
        kind = "user" if name == "user" else "turn"
        return _Field(shown, kind, default=fallback), end + 1
    if pattern is None and _TOOL_PATH.match(name):
        path = tuple(name.split(".")[1:])
        return _Field(shown, "tool", path=path, default=fallback), end + 1
    raise TemplateError(f"unknown placeholder {shown}; allowed are {_ALLOWED}")


def _closing_parenthesis(source: str, start: int) -> int:
    """The parenthesis that closes `user.match(`; those of the expression itself are balanced."""
    depth = 0
    in_class = False
    at = start
    while at < len(source):
        char = source[at]
        if char == "\\":
            at += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char == "(":
            depth += 1
        elif char == ")":
            if depth == 0:
                return at
            depth -= 1
        at += 1
    raise TemplateError("user.match( has no closing parenthesis")
