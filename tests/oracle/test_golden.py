"""The reference's golden events pass the oracle's checks of single events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.oracle.required_keys import REQUIRED, check_keys
from tests.oracle.schema import Dialect, WireEvent, check_event, event_types

_IN_THE_SDK_ONLY = {
    "ga": {"conversation.created", "conversation.item.created"},
    "beta": set[str](),
}
"""Members of the SDK's union that are not on the wire of that dialect."""
_NOT_IN_THE_SDK: dict[Dialect, set[str]] = {
    "ga": set(),
    "beta": {"transcription_session.created"},
}


def _golden(folder: Path, dialect: Dialect) -> list[WireEvent]:
    return json.loads((folder / f"golden_{dialect}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_golden_events_pass(shared_reference: Path, dialect: Dialect) -> None:
    problems: list[str] = []
    for event in _golden(shared_reference, dialect):
        found = check_event(event, dialect)
        if event["type"] not in _IN_THE_SDK_ONLY[dialect]:
            found += check_keys(event, dialect)
        problems += [f"{event['type']}: {problem}" for problem in found]
    assert problems == []


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_golden_events_cover_every_type(shared_reference: Path, dialect: Dialect) -> None:
    assert {event["type"] for event in _golden(shared_reference, dialect)} == event_types(dialect)


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_the_table_of_keys_covers_every_type_on_the_wire(dialect: Dialect) -> None:
    on_the_wire = event_types(dialect) - _IN_THE_SDK_ONLY[dialect]
    assert set(REQUIRED[dialect]) == on_the_wire | _NOT_IN_THE_SDK[dialect]
