"""Recognisers that are asked for whole utterances: asked once where once will do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.services.stt_service import STTService

from protocol import ErrorCategory, ProviderError, Stage
from providers.failover_stt import FailoverSttProvider
from providers.frames import SettledFrame, SettleFrame, StageFailedFrame
from providers.recognition import Recognition
from providers.segment_stt import SegmentSTTService, Utterance
from tests.providers.service_line import ServiceLine, eventually, running

SECOND = InputAudioRawFrame(bytes(32_000), 16_000, 1)
TAIL_S = 0.5
"""Of silence, which every utterance gets."""


@dataclass
class Engine:
    """Understands how many seconds it heard; the test says when."""

    asked: list[float] = field(default_factory=list[float])
    cancelled: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[ProviderError] = field(default_factory=list[ProviderError])

    async def transcribe(self, utterance: Utterance) -> Recognition:
        self.asked.append(utterance.duration_s - TAIL_S)
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failures:
            raise self.failures.pop()
        return Recognition(f"{utterance.duration_s - TAIL_S:g} s")


@dataclass
class Provider:
    """An engine as one of several."""

    engine: Engine
    name: ClassVar[str] = "engine"
    languages: frozenset[str] | None = None

    def describe(self) -> str:
        return "an engine"

    async def start(self) -> None:
        """Nothing to bring up."""

    async def close(self) -> None:
        """Nothing to release."""

    def create_service(self) -> STTService:
        return SegmentSTTService(self.engine.transcribe, model="m")


@asynccontextmanager
async def line_to(engine: Engine) -> AsyncIterator[ServiceLine]:
    async with running(Provider(engine).create_service()) as line:
        yield line


def started(name: str = "a") -> Frame:
    frame = VADUserStartedSpeakingFrame()
    frame.metadata = {"segment": name}
    return frame


def stopped(settled_at: int | None = None) -> Frame:
    frame = VADUserStoppedSpeakingFrame(stop_secs=0.0)
    frame.metadata = {"settled_at": settled_at}
    return frame


def told(line: ServiceLine) -> list[tuple[str, object]]:
    return [
        (f.text, f.sample if isinstance(f, SettledFrame) else "final")
        for f in line.frames
        if isinstance(f, TranscriptionFrame | SettledFrame)
    ]


async def test_what_was_understood_in_the_pause_is_the_answer() -> None:
    engine = Engine()
    engine.free.set()
    async with line_to(engine) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await line.until(lambda: line.all(SettledFrame))
        await line.send(SECOND, stopped(7))
        await line.until(lambda: line.all(TranscriptionFrame))
        assert told(line) == [("1 s", 7), ("1 s", "final")]
        assert engine.asked == [1.0]
        assert line.all(TranscriptionFrame)[0].metadata["segment"] == "a"


async def test_a_turn_that_ends_while_the_engine_works_gets_that_answer() -> None:
    engine = Engine()
    async with line_to(engine) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await eventually(lambda: engine.asked)
        await line.send(stopped(7))
        engine.free.set()
        await line.until(lambda: line.all(TranscriptionFrame))
        assert told(line)[-1] == ("1 s", "final")
        assert (engine.asked, engine.cancelled) == ([1.0], 0)


async def test_a_turn_that_went_on_is_heard_to_its_end() -> None:
    engine = Engine()
    engine.free.set()
    async with line_to(engine) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await line.until(lambda: line.all(SettledFrame))
        await line.send(SECOND, stopped())
        await line.until(lambda: line.all(TranscriptionFrame))
        assert told(line) == [("1 s", 7), ("2 s", "final")]


async def test_the_next_pause_stops_the_work_on_the_one_before() -> None:
    engine = Engine()
    async with line_to(engine) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await eventually(lambda: engine.asked)
        await line.send(SECOND, SettleFrame(8))
        await eventually(lambda: len(engine.asked) == 2)
        engine.free.set()
        await line.until(lambda: line.all(SettledFrame))
        assert told(line) == [("2 s", 8)]
        assert engine.cancelled == 1


async def test_a_failure_in_a_pause_is_nobodys_business_if_speech_goes_on() -> None:
    engine = Engine(failures=[ProviderError(Stage.STT, ErrorCategory.SERVER, "no")])
    engine.free.set()
    async with line_to(engine) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await eventually(lambda: not engine.failures)
        await line.send(SECOND, stopped())
        await line.until(lambda: line.all(TranscriptionFrame))
        assert told(line) == [("2 s", "final")]
        assert line.all(StageFailedFrame) == []


async def test_a_failure_in_the_last_pause_fails_the_turn_without_asking_again() -> None:
    engine = Engine(failures=[ProviderError(Stage.STT, ErrorCategory.SERVER, "no")])
    engine.free.set()
    async with line_to(engine) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await eventually(lambda: not engine.failures)
        await line.send(stopped(7))
        await line.until(lambda: line.all(StageFailedFrame))
        assert len(engine.asked) == 1
        assert told(line) == []


async def test_a_turn_that_is_dropped_drops_the_work() -> None:
    engine = Engine()
    async with line_to(engine) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await eventually(lambda: engine.asked)
        await line.send(started("b"))
        await eventually(lambda: engine.cancelled)
        engine.free.set()
        await line.send(SECOND, stopped())
        await line.until(lambda: line.all(TranscriptionFrame))
        assert [f.metadata["segment"] for f in line.all(TranscriptionFrame)] == ["b"]


async def test_a_session_ends_while_the_engine_works_on_a_pause() -> None:
    engine = Engine()
    async with line_to(engine) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await eventually(lambda: engine.asked)
    assert engine.cancelled == 1


async def test_a_backup_hears_what_the_first_engine_could_not_answer_in_the_pause() -> None:
    failure = ProviderError(Stage.STT, ErrorCategory.SERVER, "no")
    first, second = Engine(failures=[failure]), Engine()
    first.free.set()
    second.free.set()
    both = FailoverSttProvider(Stage.STT, (Provider(first), Provider(second)), deadline_s=5)
    async with running(both.create_service()) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await eventually(lambda: not first.failures)
        await line.send(stopped(7))
        await line.until(lambda: line.all(TranscriptionFrame))
        assert told(line) == [("1 s", "final")]
        assert (len(first.asked), len(second.asked)) == (1, 1)


async def test_an_engine_with_a_backup_answers_in_the_pause() -> None:
    first, second = Engine(), Engine()
    first.free.set()
    both = FailoverSttProvider(Stage.STT, (Provider(first), Provider(second)), deadline_s=5)
    async with running(both.create_service()) as line:
        await line.send(started(), SECOND, SettleFrame(7))
        await line.until(lambda: line.all(SettledFrame))
        await line.send(stopped(7))
        await line.until(lambda: line.all(TranscriptionFrame))
        assert told(line) == [("1 s", 7), ("1 s", "final")]
        assert (first.asked, second.asked) == ([1.0], [])
