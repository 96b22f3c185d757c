"""A slice of the long run, and proof that it notices what it is there to notice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

import protocol as p
from core.live_responses import LiveResponses
from core.response import Response
from handshake import DialectName
from tests.fuzz.campaign import Failure, Figures, play, run_sessions
from tests.fuzz.mirror import Mirror
from tests.fuzz.replies import judge
from tests.fuzz.run import MemorySocket, OpenConnection
from tests.fuzz.steps import Send
from tests.fuzz.wire import fuzz_wire
from transport import Connection

SEEDS = (101, 202, 303)
SLICE = range(24)


@pytest.fixture(scope="module")
def slices() -> dict[int, Figures]:
    """The first sessions of some seeds."""
    return {seed: run_sessions(seed, SLICE, max_messages=2500) for seed in SEEDS}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_message_is_answered_or_applied(slices: dict[int, Figures], seed: int) -> None:
    figures = slices[seed]
    assert not figures.failures, "\n".join(map(str, figures.failures.values()))
    assert figures.messages > 1500


def test_the_slices_meet_every_event_and_most_errors(slices: dict[int, Figures]) -> None:
    figures = Figures()
    for part in slices.values():
        figures.add(part)
    applied = {name.partition(" ")[0] for name in figures.outcomes if not name.endswith("refused")}
    assert applied >= {*p.CLIENT_EVENT_TYPES, "transcription_session.update"}
    rare = {
        *(p.ErrorCode.INVALID_API_KEY, p.ErrorCode.INVALID_MODEL, p.ErrorCode.BETA_DISABLED),
        *(p.ErrorCode.UNKNOWN_PARAMETER, p.ErrorCode.SESSION_EXPIRED),
        *(p.ErrorCode.INTEGER_BELOW_MIN, p.ErrorCode.DECIMAL_BELOW_MIN),
        *(p.ErrorCode.INTEGER_ABOVE_MAX, p.ErrorCode.DECIMAL_ABOVE_MAX),
        p.ErrorCode.STRING_ABOVE_MAX_LENGTH,
    }
    assert set(figures.codes) >= {*p.ErrorCode} - rare


async def test_messages_over_real_sockets() -> None:
    assert await fuzz_wire(seed=7, messages=240) == []


# --- planted faults -------------------------------------------------------------------------


class Silent(Connection):
    """Answers no mistake."""

    def send(self, event: p.ServerEvent) -> None:
        if not isinstance(event, p.ErrorEvent):
            super().send(event)


class Forgetful(Connection):
    """Tells of a mistake, not of whose."""

    def send(self, event: p.ServerEvent) -> None:
        if isinstance(event, p.ErrorEvent):
            event = p.ErrorEvent(event.error_type, event.code, event.message, event.param)
        super().send(event)


class Twice(Connection):
    """Says twice that a response is over."""

    def send(self, event: p.ServerEvent) -> None:
        super().send(event)
        if isinstance(event, p.ResponseDone):
            super().send(event)


class Cut(Connection):
    """Never says that an item is done."""

    def send(self, event: p.ServerEvent) -> None:
        if not isinstance(event, p.OutputItemDone):
            super().send(event)


class Deaf(Connection):
    """Loses audio."""

    async def receive(self) -> p.ClientEvent:
        event = await super().receive()
        if isinstance(event, p.InputAudioAppend):
            return p.InputAudioAppend(event.audio[4800:], event.event_id)
        return event


class Lazy(Connection):
    """Takes a deletion for a retrieval."""

    async def receive(self) -> p.ClientEvent:
        event = await super().receive()
        if isinstance(event, p.ItemDelete):
            return p.ItemRetrieve(event.item_id, event.event_id)
        return event


class Brittle(Connection):
    """Dies of a truncation."""

    async def receive(self) -> p.ClientEvent:
        event = await super().receive()
        if isinstance(event, p.ItemTruncate):
            raise KeyError(event.item_id)
        return event


class Loud(Connection):
    """Reports a bug to the log and goes on."""

    async def receive(self) -> p.ClientEvent:
        event = await super().receive()
        if isinstance(event, p.InputAudioClear):
            logging.getLogger("realtime.wire").error("this should not happen")
        return event


class Untidy(Connection):
    """Leaves a task behind."""

    _kept: ClassVar[set[asyncio.Task[Any]]] = set()
    """The loop alone does not keep a task alive."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await super().close(code, reason)

    async def write_forever(self) -> None:
        loop = asyncio.get_running_loop()
        self._kept.add(loop.create_task(asyncio.Event().wait(), name="forgotten"))
        await super().write_forever()


class Talkative(Connection):
    """Gives back all that was wrong."""

    def send(self, event: p.ServerEvent) -> None:
        if isinstance(event, p.ErrorEvent):
            event = p.ErrorEvent(event.error_type, event.code, event.message * 100, event.param,
                                 event.client_event_id)  # fmt: skip
        super().send(event)


FAULTS: list[tuple[type[Connection], str]] = [
    (Silent, "no reply to"),
    (Forgetful, "no reply to"),
    (Twice, "after its response.done"),
    (Cut, "done before the output_item.done"),
    (Deaf, "samples were fed of"),
    (Lazy, "no reply to conversation.item.delete"),
    (Brittle, "KeyError"),
    (Loud, "this should not happen"),
    (Untidy, "tasks are left over"),
    (Talkative, "gives back"),
]


def test_of_two_messages_with_one_id_each_finds_its_own_reply() -> None:
    sent = [
        Send('{"type": "response.create", "event_id": "a"}', valid=True),
        Send('{"type": "no such event", "event_id": "a"}'),
    ]
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "Not that."}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {}},
        {"type": "error", "error": {**error, "param": "type", "event_id": "a"}},
    ]
    fates, problems = judge(sent, events, Mirror("ga", "realtime"), quiet=False)
    assert [fate.outcome for fate in fates] == ["applied", "refused"]
    assert not problems


@pytest.mark.parametrize(("fault", "problem"), FAULTS)
def test_a_planted_fault_is_found_and_cut_short(fault: type[Connection], problem: str) -> None:
    def connect(socket: MemorySocket, dialect: DialectName) -> Connection:
        return fault(socket, dialect, pinned=dialect != "undecided")

    found = (one for one in _failures(connect) if problem in one.problem)
    # A fault that needs the thirteenth item of a session takes as long as that to show.
    assert any(len(one.steps) <= 12 for one in found)


def test_what_a_dropped_draft_says_is_found_in_another_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def by_either_name(live: LiveResponses, run_id: str) -> Response | None:
        found = (one for one in live if one.started and run_id in (one.id, one.run_id))
        return next(found, None)

    monkeypatch.setattr(LiveResponses, "of_run", by_either_name)
    reports = (play(1, session)[1] for session in range(60))
    assert any("I6" in problem for report in reports for problem in report.problems)


def _failures(connect: OpenConnection) -> Iterator[Failure]:
    for session in range(60):
        yield from run_sessions(1, range(session, session + 1), connect).failures.values()
