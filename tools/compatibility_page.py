"""Writes docs/compatibility.md from tests/clients/matrix.py: `python -m tools.compatibility_page`.

With `--check` it writes nothing and fails when the page is another one.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.clients.matrix import ROWS, Cell, Row

_PROJECT = Path(__file__).resolve().parent.parent
PAGE = _PROJECT / "docs" / "compatibility.md"

_HEAD = """\
# Clients it works with

Public clients, as their authors publish them, each in a whole conversation with a gateway started
by `python main.py`. The page is generated from `tests/clients/matrix.py` by
`python -m tools.compatibility_page`. After each of the tests named below the suite looks for its
cells in the events that the client got, and fails when one is not there, or when this page is not
what the table says.

A number is a test in `tests/clients`, listed below; a letter says why there is none. In each of
them every frame, in both directions, is held against the schema and the rules of order of the
[conformance command](conformance.md), and what the library hands to its application (its events,
its history, its errors, the calls of its tools) against what was on the wire.
"""
_CELLS = """
## What the columns mean

| cell | in the events |
|---|---|
| spoken turn | found by turn detection, committed, and answered in full |
| typed turn | a user's text, answered in full |
| tool call | the output of a call, answered in full |
| barge-in | speech cancels a reply (`turn_detected`); what was said is answered |
| cancel | the client cancels a reply (`client_cancelled`), and goes on |
| push-to-talk | audio committed by the client, answered in full |
| wrong event | an `error`, after which the conversation goes on |
| MCP tool | a call that the gateway runs, and a reply after it |

openai-node and openai-agents for JavaScript are run in the build that web pages get, too: with
node's own WebSocket, and a key that was minted for them among the subprotocols. Where a client is
called a wire, its application is no library to install: the test sends what it sends, and fails
where it would throw or hang up.
"""


def render() -> str:
    """The whole page."""
    tests = list(dict.fromkeys(test for row in ROWS for test in row.tests.values()))
    reasons = list(dict.fromkeys(reason for row in ROWS for reason in row.lacks.values()))
    table = _table({test: str(n) for n, test in enumerate(tests, 1)}, _letters(reasons))
    notes = [f"- {letter}: {reason}" for reason, letter in _letters(reasons).items()]
    listed = [f"{n}. `{test}`" for n, test in enumerate(tests, 1)]
    return "\n".join([_HEAD, *table, "", *notes, _CELLS, "## The tests", "", *listed, ""])


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    page = render()
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.name} is out of date: run python -m tools.compatibility_page", file=sys.stderr)
    return 1


def _letters(reasons: list[str]) -> dict[str, str]:
    return {reason: chr(ord("a") + n) for n, reason in enumerate(reasons)}


def _table(numbers: dict[str, str], letters: dict[str, str]) -> Iterator[str]:
    yield f"| client | version | {' | '.join(Cell)} |"
    yield "|---" * (len(Cell) + 2) + "|"
    for row in ROWS:
        cells = [
            numbers[row.tests[cell]] if cell in row.tests else letters[row.lacks[cell]]
            for cell in Cell
        ]
        yield f"| {row.client} | {_version(row)} | {' | '.join(cells)} |"


def _version(row: Row) -> str:
    """What the suite's requirements allow, which is what it is run with."""
    package = row.package.removesuffix(" (npm)")
    if not package:
        return "–"
    manifest = json.loads((_PROJECT / "tests" / "js" / "package.json").read_text(encoding="utf-8"))
    npm: dict[str, str] = manifest["dependencies"]
    if row.package.endswith(" (npm)") or (package in npm and package != "openai"):
        return f"`{package}` {npm[package]}"
    for name in ("requirements-dev.txt", "requirements.txt"):
        text = (_PROJECT / name).read_text(encoding="utf-8")
        if found := re.search(rf"^{re.escape(package)}(?:\[\w+\])?([=<>~].*)$", text, re.MULTILINE):
            return f"`{package}` {found[1].replace(',', ', ')}"
    raise LookupError(f"{package} is in no requirements file")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
