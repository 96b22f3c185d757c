"""The oracle's rules for limits, the output buffer and events of older days."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.oracle.required_keys import check_keys
from conformance.oracle.seq_limits import RateLimits
from conformance.oracle.seq_playback import Playback
from conformance.oracle.sequence import SequenceChecker

Event = dict[str, Any]

LEFT = {"name": "tokens", "limit": 10, "remaining": 4, "reset_seconds": 36.0}
LIMITS: Event = {"type": "rate_limits.updated", "rate_limits": [LEFT]}
CREATED = {"type": "response.created", "response": {"id": "r"}}
ADDED = {"type": "response.output_item.added", "response_id": "r"}
PART = {"type": "response.content_part.added", "response_id": "r", "part": {"type": "audio"}}
DELTA = {"type": "response.output_audio.delta", "response_id": "r"}
DONE = {"type": "response.done", "response": {"id": "r"}}
STARTED, STOPPED, CLEARED = (
    {"type": f"output_audio_buffer.{step}", "response_id": "r"}
    for step in ("started", "stopped", "cleared")
)
CLEAR = {"type": "output_audio_buffer.clear"}
SOUNDED = [PART, STARTED, DELTA, DONE]


# --- limits ---------------------------------------------------------------------------------------


def limits(events: list[Event], *, after_done: bool) -> list[str]:
    found: list[str] = []
    checker = RateLimits(
        lambda letter, problem: found.append(f"({letter}) {problem}"), after_done=after_done
    )
    for event in events:
        if event["type"] == "rate_limits.updated":
            checker.server(event)
        else:
            checker.response(event["type"])
    return found


def changed(**fields: Any) -> Event:
    return {**LIMITS, "rate_limits": [{**LEFT, **fields}]}


def test_limits_in_their_place() -> None:
    assert limits([CREATED, DONE, LIMITS], after_done=True) == []
    assert limits([CREATED, DONE, CREATED, ADDED, LIMITS, DONE, LIMITS], after_done=True) == []
    assert limits([CREATED, LIMITS, ADDED, DONE], after_done=False) == []


@pytest.mark.parametrize(
    ("events", "after_done"),
    [
        ([CREATED, LIMITS], True),
        ([CREATED, DONE, LIMITS, LIMITS], True),
        ([CREATED, DONE, LIMITS], False),
        ([CREATED, ADDED, LIMITS], False),
        ([DONE, changed(remaining=11)], True),
        ([DONE, changed(remaining=-1)], True),
        ([DONE, changed(reset_seconds=-1.0)], True),
        ([DONE, {**LIMITS, "rate_limits": []}], True),
        ([DONE, {**LIMITS, "rate_limits": [LEFT, LEFT]}], True),
    ],
)
def test_limits_that_are_wrong(events: list[Event], after_done: bool) -> None:
    (problem,) = limits(events, after_done=after_done)
    assert problem.startswith("(o) ")


# --- playback -------------------------------------------------------------------------------------


def playback(events: list[Event]) -> list[str]:
    found: list[str] = []
    checker = Playback(lambda letter, problem: found.append(f"({letter}) {problem}"))
    for event in events:
        if event is CLEAR:
            checker.requested()
        elif event["type"].startswith("output_audio_buffer."):
            checker.server(event)
        else:
            checker.response(event)
    return found


@pytest.mark.parametrize(
    "events",
    [
        [PART, DELTA, DONE],
        [*SOUNDED, STOPPED],
        [*SOUNDED, CLEARED],
        [*SOUNDED, STOPPED, CLEAR, CLEARED],
        [CLEAR, *SOUNDED, CLEARED],
    ],
)
def test_playback_as_it_should_be(events: list[Event]) -> None:
    assert playback(events) == []


@pytest.mark.parametrize(
    "events",
    [
        [STARTED],
        [PART, STARTED, STARTED],
        [PART, DELTA, STARTED],
        [PART, STARTED, STOPPED],
        [*SOUNDED, STOPPED, STOPPED],
        [*SOUNDED, CLEARED, STOPPED],
        [*SOUNDED, STOPPED, CLEARED],
        [PART, STARTED, DELTA, CLEARED],
        [PART, DONE, CLEARED],
        [*SOUNDED, CLEARED, DELTA],
        [*SOUNDED, STOPPED, {**DELTA, "response_id": "other"}],
    ],
)
def test_playback_that_is_wrong(events: list[Event]) -> None:
    (problem,) = playback(events)
    assert problem.startswith("(p) ")


# --- events of older days -------------------------------------------------------------------------

ITEM = {"id": "i", "type": "message", "role": "user", "status": "completed", "content": []}
PLACE = {"previous_item_id": None, "item": ITEM}
SESSION = {"type": "session.created", "session": {}}
CONVERSATION = {"type": "conversation.created", "conversation": {"id": "c", "object": "o"}}
ITEM_ADDED = {"type": "conversation.item.added", **PLACE}
ITEM_CREATED = {"type": "conversation.item.created", **PLACE}
ITEM_DONE = {"type": "conversation.item.done", **PLACE}


def stream(*events: Event) -> list[str]:
    checker = SequenceChecker("ga", legacy=True)
    for event in events:
        checker.server(event)
    return checker.finish()


def test_older_events_in_their_place() -> None:
    assert stream(SESSION, CONVERSATION, ITEM_ADDED, ITEM_CREATED, ITEM_DONE) == []


def test_a_conversation_is_created_right_behind_its_session() -> None:
    assert stream(SESSION, ITEM_ADDED, ITEM_CREATED, CONVERSATION, ITEM_DONE) == [
        "(a) conversation.created is not right behind session.created"
    ]


@pytest.mark.parametrize(
    "events",
    [
        (ITEM_ADDED, ITEM_DONE, ITEM_CREATED),
        (ITEM_ADDED, {**ITEM_CREATED, "previous_item_id": "x"}, ITEM_DONE),
        (ITEM_ADDED, {**ITEM_CREATED, "item": {**ITEM, "id": "j"}}, ITEM_DONE),
    ],
)
def test_a_created_that_is_no_twin(events: tuple[Event, ...]) -> None:
    (problem,) = stream(SESSION, *events)
    assert problem.startswith("(e) ")


def test_who_did_not_ask_for_older_events_is_not_to_get_them() -> None:
    for event in (CONVERSATION, ITEM_CREATED):
        stamped = {**event, "event_id": "e"}
        (problem,) = check_keys(stamped, "ga")
        assert "is no event of the ga dialect" in problem
        assert check_keys(stamped, "ga", legacy=True) == []
    assert check_keys({**CONVERSATION, "event_id": "e", "conversation": {}}, "beta") == [
        "keys: missing conversation.id",
        "keys: missing conversation.object",
    ]
