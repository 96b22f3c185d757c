"""What a run looks like to a reader, and to a program."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from conformance.registry import SECTIONS
from conformance.runner import DialectReport, Result

_EVENT_CHARS = 400
_STRING_CHARS = 60
_LIST_ENTRIES = 4


def text(url: str, reports: Sequence[DialectReport]) -> str:
    """The whole report."""
    return "\n".join(line for report in reports for line in _dialect(url, report))


def as_json(url: str, reports: Sequence[DialectReport]) -> dict[str, Any]:
    """The same as JSON values; events are whole."""
    return {
        "url": url,
        "conforms": all(report.conforms for report in reports),
        "dialects": {
            report.dialect: {
                "conforms": report.conforms,
                "passed": _count(report.results, "passed"),
                "failed": _count(report.results, "failed"),
                "not_measured": _count(report.results, "not measured"),
                "server_events_seen": sorted(report.seen),
                "results": [asdict(result) for result in report.results],
            }
            for report in reports
        },
    }


def shortened(event: object) -> str:
    """An event on one line, long strings and lists cut."""
    line = json.dumps(_cut(event), ensure_ascii=False, default=str)
    return line if len(line) <= _EVENT_CHARS else f"{line[: _EVENT_CHARS - 1]}…"


def _dialect(url: str, report: DialectReport) -> Iterator[str]:
    yield f"{url} · {report.dialect} dialect"
    yield ""
    for section in SECTIONS:
        results = [result for result in report.results if result.section == section]
        if results:
            yield f"  {section:<16} {_score(results)}"
    yield f"  {'':<16} {'─' * 12}"
    yield f"  {'all':<16} {_score(report.results)}"
    for level in ("required", "recommended"):
        failed = [result for result in report.failed if result.level == level]
        if failed:
            yield f"\nFAILED, {level}\n"
            for result in failed:
                yield from _failure(result)
    unmeasured = [result for result in report.results if result.outcome == "not measured"]
    if unmeasured:
        yield "\nNOT MEASURED\n"
        yield from (f"  {result.id}: {result.explanation}" for result in unmeasured)
    yield f"\n{'CONFORMS' if report.conforms else 'DOES NOT CONFORM'}\n"


def _failure(result: Result) -> Iterator[str]:
    yield f"  {result.id}  [{result.source}]"
    yield from _wrapped(f"Expected: {result.title}.")
    times = f" ({result.times} times; the first:)" if result.times > 1 else ""
    yield from _wrapped(f"Found{times}: {result.explanation}")
    if result.event is not None:
        yield from _wrapped(f"Event: {shortened(result.event)}")
    yield ""


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, 100, initial_indent="    ", subsequent_indent="      ")


def _score(results: Sequence[Result]) -> str:
    passed, failed = _count(results, "passed"), _count(results, "failed")
    if not passed + failed:
        return "not measured"
    missing = len(results) - passed - failed
    percent = 100 * passed // (passed + failed)
    return f"{passed:>3} of {passed + failed:<3} {percent:>3} %" + (
        f"  ({missing} not measured)" if missing else ""
    )


def _count(results: Sequence[Result], outcome: str) -> int:
    return sum(result.outcome == outcome for result in results)


def _cut(value: object) -> object:
    match value:
        case str() if len(value) > _STRING_CHARS:
            return f"{value[:_STRING_CHARS]}…"
        case dict():
            return {key: _cut(entry) for key, entry in value.items()}
        case list():
            rest = ["…"] if len(value) > _LIST_ENTRIES else []
            return [_cut(entry) for entry in value[:_LIST_ENTRIES]] + rest
        case _:
            return value
