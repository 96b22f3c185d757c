"""Writes docs/protocol-coverage.md from tests/coverage_table.py: `python -m tools.coverage_page`.

With `--check` it writes nothing and fails when the page is another one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from conformance.oracle import Dialect
from conformance.oracle.schema import event_types
from tests.coverage_table import BOTH, CLIENT_ROWS, SERVER_ROWS, ClientRow, ServerRow

PAGE = Path(__file__).resolve().parent.parent / "docs" / "protocol-coverage.md"

_HEAD = """\
# Protocol coverage

Every event of OpenAI's Realtime protocol and what this gateway does with it, in the GA and the
beta dialect. The page is generated from `tests/coverage_table.py` by
`python -m tools.coverage_page`; the suite sends each client event and looks for each server event,
and fails when a row, or this page, is not true.

A dash means that the dialect does not have the event. Counted are the events of the official
SDK's types; one of the older service stands in the table beside them.
"""
_SERVER_HEAD = """
## Server events

"Not applicable" are events of other transports. Where an event is not emitted, the note says why;
where it takes a setting, the note names it, and without that setting no client ever sees it.
"""
_CLIENT_HEAD = """
## Client events

"Supported" names the event that answers, "refused" the code of the `error` event; the session
lives on in either case.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([_HEAD + _totals(), *_client_table(), *_server_table(), ""])


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    page = render()
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.name} is out of date: run python -m tools.coverage_page", file=sys.stderr)
    return 1


def _totals() -> str:
    lines = ["\n| | GA | beta |\n|---|---|---|"]
    client = [_of(CLIENT_ROWS, dialect, "supported") for dialect in BOTH]
    typed = {d: tuple(row for row in SERVER_ROWS if row.event in event_types(d)) for d in BOTH}
    emitted = [_of(typed[dialect], dialect, "emitted") for dialect in BOTH]
    known = [_of(typed[dialect], dialect) for dialect in BOTH]
    elsewhere = [_of(typed[dialect], dialect, "not applicable") for dialect in BOTH]
    lines.append(f"| client events supported | {client[0]} | {client[1]} |")
    lines.append(
        "| server events emitted | "
        + " | ".join(
            f"{count} of {every} ({other} not applicable)"
            for count, every, other in zip(emitted, known, elsewhere, strict=True)
        )
        + " |"
    )
    return "\n".join(lines)


def _of(
    rows: tuple[ClientRow, ...] | tuple[ServerRow, ...], dialect: Dialect, outcome: str = ""
) -> int:
    """How many event types have a row in a dialect, of one outcome or of any."""
    return len(
        {row.event for row in rows if dialect in row.dialects and outcome in ("", row.outcome)}
    )


def _client_table() -> Iterator[str]:
    yield _CLIENT_HEAD
    yield "| event | session | GA | beta | note |\n|---|---|---|---|---|"
    keys = list(dict.fromkeys((row.event, row.session) for row in CLIENT_ROWS))
    for event, session in keys:
        rows = [row for row in CLIENT_ROWS if (row.event, row.session) == (event, session)]
        cells = [_client_cell(rows, dialect) for dialect in BOTH]
        notes = "; ".join(dict.fromkeys(row.note for row in rows if row.note))
        yield f"| `{event}` | {session} | {' | '.join(cells)} | {notes} |"


def _client_cell(rows: list[ClientRow], dialect: Dialect) -> str:
    for row in rows:
        if dialect in row.dialects:
            joint = ": " if row.outcome == "refused" else " → "
            return row.outcome + (f"{joint}`{row.answer}`" if row.answer else "")
    return "–"


def _server_table() -> Iterator[str]:
    yield _SERVER_HEAD
    yield "| event | GA | beta | note |\n|---|---|---|---|"
    for event in dict.fromkeys(row.event for row in SERVER_ROWS):
        rows = [row for row in SERVER_ROWS if row.event == event]
        cells = [
            next((row.outcome for row in rows if dialect in row.dialects), "–") for dialect in BOTH
        ]
        notes = "; ".join(dict.fromkeys(row.note for row in rows if row.note))
        yield f"| `{event}` | {' | '.join(cells)} | {notes} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
