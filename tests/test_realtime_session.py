"""Who takes a session's step, and when: with a connection and engines in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest

import core.messages as m
from config import Settings
from core.machine import Machine
from protocol import (
    ClientEvent,
    Disconnected,
    ErrorCategory,
    InputAudioAppend,
    ServerEvent,
    Stage,
)
from realtime_session import RealtimeSession, first_settings
from service_providers import Stack

FAILURE = m.Failure(Stage.STT, ErrorCategory.SERVER, "broken")
WORDS, MORE_WORDS = m.TranscriptDelta("item_1", "so"), m.TranscriptDelta("item_1", "much")
STARTED = m.VadSpeechStarted(7, 0)


class Codec:
    def to_pcm(self, append: Any) -> Any:
        return append

    def set_input(self, format_type: Any) -> None:
        """PCM, whatever is said."""

    def reset(self) -> None:
        """Nothing is carried over."""


class Client:
    """A client that says what the test wants."""

    codec = Codec()
    dialect = "ga"
    outbox_bytes = 0

    def __init__(self) -> None:
        self.says: asyncio.Queue[ClientEvent | Exception] = asyncio.Queue()
        self.told: list[ServerEvent] = []

    async def receive(self) -> ClientEvent:
        said = await self.says.get()
        if isinstance(said, Exception):
            raise said
        return said

    def send(self, event: ServerEvent) -> None:
        self.told.append(event)

    async def write_forever(self) -> None:
        await asyncio.Event().wait()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Nothing to close."""


class Engines:
    """A pipeline that says what the test wants, and once more when it is cancelled."""

    behind = False

    def __init__(self, emit: Callable[[m.EngineEvent], None]) -> None:
        self.emit = emit
        self.answers: list[m.EngineEvent] = []
        """Said within the next command."""
        self.then: m.EngineEvent | None = None
        """Said by another task a moment after that."""
        self.last_words: m.EngineEvent | None = None

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if self.last_words is not None:
                # As a service that takes a round of the event loop to end.
                await asyncio.sleep(0)
                self.emit(self.last_words)

    def execute(self, command: m.EngineCommand) -> None:
        if self.then is not None:
            asyncio.get_running_loop().call_soon(self.emit, self.then)
        for answer in self.answers:
            self.emit(answer)
        self.answers.clear()

    def set_flow(self, open: bool) -> None:
        """All of it is wanted."""

    async def close(self) -> None:
        """Nothing to close."""


class Tools:
    async def run(self) -> None:
        """There are none."""

    def execute(self, command: m.McpCommand) -> None:
        raise AssertionError(command)


class Observer:
    def __init__(self) -> None:
        self.failures: list[m.Failure] = []

    def session_opened(self, dialect: str, took_s: float) -> None: ...
    def session_closed(self) -> None: ...
    def turn(self, times: Any) -> None: ...
    def refused(self, code: str) -> None: ...
    def speculated(self, *, used: int, dropped: int) -> None: ...

    def stage_failed(self, failure: m.Failure) -> None:
        self.failures.append(failure)


class Running:
    """A session under way, and what its core was shown: each event when it was begun and done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = Client()
        self.observer = Observer()
        self.shown: list[object] = []
        self.depths: list[int] = []
        self.bug: Exception | None = None
        self._depth = 0
        intact = Machine.handle

        def handle(machine: Machine, event: Any, now: float) -> list[Any]:
            self.shown.append(event)
            self._depth += 1
            self.depths.append(self._depth)
            try:
                if self.bug is not None:
                    raise self.bug
                return intact(machine, event, now)
            finally:
                self._depth -= 1

        monkeypatch.setattr(Machine, "handle", handle)

    def _open_pipeline(
        self, emit: Callable[[m.EngineEvent], None], caught_up: Callable[[], None]
    ) -> Engines:
        self.engines = Engines(emit)
        return self.engines

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[asyncio.Task[None]]:
        """The session, ready for what the test does; over at the end."""
        numbers = count()
        settings = Settings()
        session = RealtimeSession(
            self.client,
            cast(Stack, SimpleNamespace(stt=SimpleNamespace(languages=None, name="fake"))),
            settings,
            first=first_settings(settings, "gpt-realtime"),
            open_pipeline=self._open_pipeline,
            open_mcp=lambda emit: Tools(),
            new_id=lambda prefix: f"{prefix}_{next(numbers)}",
            turnstile=asyncio.Lock(),
            observer=self.observer,
        )
        task = asyncio.create_task(session.run())
        await rounds()
        yield task
        await self.client.says.put(Disconnected(1000, ""))
        await asyncio.wait([task])


async def rounds() -> None:
    """As many rounds of the event loop as anything here takes."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    return Running(monkeypatch)


async def test_an_engine_event_is_taken_at_once(running: Running) -> None:
    async with running.serving():
        running.engines.emit(WORDS)
        assert running.shown == [WORDS]


async def test_what_comes_in_the_middle_of_a_step_waits_in_its_order(running: Running) -> None:
    append = InputAudioAppend(bytes(960))
    async with running.serving():
        running.engines.answers = [WORDS, MORE_WORDS, STARTED]
        await running.client.says.put(append)
        await rounds()
    # Where a turn begins must be known before all else.
    assert running.shown == [append, STARTED, WORDS, MORE_WORDS]
    assert set(running.depths) == {1}


async def test_what_comes_behind_a_waiting_event_waits_too(running: Running) -> None:
    async with running.serving():
        running.engines.answers = [WORDS]
        running.engines.then = MORE_WORDS
        await running.client.says.put(InputAudioAppend(bytes(960)))
        await rounds()
    assert running.shown[1:] == [WORDS, MORE_WORDS]


async def test_what_engines_say_behind_the_end_is_for_nobody(running: Running) -> None:
    async with running.serving():
        running.engines.last_words = m.TranscriptFailed("item_1", FAILURE)
    assert running.shown == []
    assert running.observer.failures == []


async def test_a_bug_ends_the_session_and_not_the_engine_that_called(running: Running) -> None:
    async with running.serving() as task:
        running.bug = LookupError("planted")
        running.engines.emit(WORDS)
        await asyncio.wait([task])
        (error,) = cast(ExceptionGroup[Exception], task.exception()).exceptions
        assert error is running.bug
