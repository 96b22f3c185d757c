"""Several recognisers as one: a segment that one cannot transcribe is heard by the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    StartFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService

from protocol import ProviderError, Stage

from .base import SttProvider
from .failover_exit import InnerService
from .failover_roster import FailoverProvider
from .frames import SettledFrame, SettleFrame, StageFailedFrame, answering
from .stt_service import BYTES_PER_S, SAMPLE_RATE_HZ

_REPLAY_BYTES: Final = BYTES_PER_S
"""A second at a time, as audio that piled up reaches a recogniser otherwise."""


class FailoverSttProvider(FailoverProvider[SttProvider]):
    """Recognisers in the order of preference."""

    @property
    def languages(self) -> frozenset[str] | None:
        """What at least one of them understands: a segment is given to no other."""
        understood: set[str] = set()
        for engine in self.engines:
            if engine.languages is None:
                return None
            understood |= engine.languages
        return frozenset(understood)

    def create_service(self) -> STTService:
        return FailoverSTTService(self)

    def order(self, language: str | None) -> list[int]:
        """The engines to ask for a segment: those that know its language."""
        subtag = (language or "").lower().replace("_", "-").split("-")[0]
        order = self.roster.order()
        able = [index for index in order if _knows(self.engines[index].languages, subtag)]
        return able or order


def _knows(languages: frozenset[str] | None, subtag: str) -> bool:
    return not subtag or languages is None or subtag in languages


@dataclass(slots=True, eq=False)
class _Segment:
    """A segment and its audio, which is kept until there is an answer."""

    metadata: dict[str, Any]
    engine: int
    backups: list[int]
    audio: bytearray = field(default_factory=bytearray)
    closed: bool = False
    answer: Frame | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: ProviderError | None = None

    @property
    def name(self) -> str | None:
        return self.metadata.get("segment")


class FailoverSTTService(STTService):
    """One session's ear.

    The first engine hears the audio as it comes. When it fails, or is late with its answer, the
    next one gets the segment from its beginning. Answers leave in the order of the segments.
    """

    def __init__(self, provider: FailoverSttProvider) -> None:
        super().__init__(
            audio_passthrough=False,
            sample_rate=SAMPLE_RATE_HZ,
            ttfs_p99_latency=1.0,
            settings=STTSettings(model=None, language=None),
        )
        self._provider = provider
        self._roster = provider.roster
        self._deadline_s = provider.deadline_s
        self._open: _Segment | None = None
        self._segments: list[_Segment] = []
        self._followers: set[asyncio.Task[None]] = set()
        self._ears = [
            InnerService(Stage.STT, service, partial(self._take, index), partial(self._fail, index))
            for index, service in enumerate(provider.services())
        ]

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Pipecat's hook for audio, which `process_frame` takes already."""
        yield None

    @property
    def processors(self) -> list[FrameProcessor]:
        """Those inside of it, as of a pipeline."""
        return [part for ear in self._ears for part in ear.processors]

    async def setup(self, setup: FrameProcessorSetup) -> None:
        await super().setup(setup)
        for ear in self._ears:
            await ear.setup(setup)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        for ear in self._ears:
            await ear.process(frame)

    async def stop(self, frame: EndFrame) -> None:
        await asyncio.gather(*self._followers)
        await super().stop(frame)
        for ear in self._ears:
            await ear.process(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        await self._abandon()
        await super().cancel(frame)
        for ear in self._ears:
            await ear.process(frame)

    async def cleanup(self) -> None:
        await self._abandon()
        await super().cleanup()
        for ear in self._ears:
            await ear.cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        match frame:
            case InputAudioRawFrame():
                if self._open is not None:
                    self._open.audio += frame.audio
                    await self._ears[self._open.engine].process(frame)
            case VADUserStartedSpeakingFrame():
                await self._begin(frame)
            case VADUserStoppedSpeakingFrame():
                await self._close(frame)
            case SettleFrame():
                if self._open is not None:
                    await self._ears[self._open.engine].process(frame)
            case _:
                await super().process_frame(frame, direction)

    async def _begin(self, frame: VADUserStartedSpeakingFrame) -> None:
        if self._open is not None:
            # Dropped, as the engine drops it: no answer is given.
            self._segments.remove(self._open)
        engine, *backups = self._provider.order(frame.metadata.get("language"))
        self._open = segment = _Segment(dict(frame.metadata), engine, backups)
        self._segments.append(segment)
        await self._ears[engine].service.set_usable(True)
        await self._ears[engine].process(frame)

    async def _close(self, frame: VADUserStoppedSpeakingFrame) -> None:
        segment, self._open = self._open, None
        if segment is None:
            return
        segment.closed = True
        await self._ears[segment.engine].process(frame)
        follower = self.create_task(self._follow(segment), name="follow segment")
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)

    async def _follow(self, segment: _Segment) -> None:
        """See a closed segment to its answer, from engine to engine."""
        while segment.answer is None:
            try:
                async with asyncio.timeout(self._deadline_s if segment.backups else None):
                    await segment.changed.wait()
            except TimeoutError:
                segment.failure = self._roster.late(segment.engine)
            segment.changed.clear()
            if segment.answer is None and segment.failure is not None:
                await self._move_on(segment, segment.failure)
        await self._deliver()

    async def _move_on(self, segment: _Segment, failure: ProviderError) -> None:
        self._roster.failed(segment.engine, failure)
        segment.failure = None
        if not segment.backups:
            answer = StageFailedFrame(failure.stage, failure.category, failure.message)
            segment.answer = answering(answer, segment.name)
            return
        segment.engine = segment.backups.pop(0)
        await self._replay(segment)
        if self._open is not None and self._open.engine == segment.engine:
            # Its engine has dropped it for the segment that was just sent.
            await self._replay(self._open)

    async def _replay(self, segment: _Segment) -> None:
        ear = self._ears[segment.engine]
        await ear.service.set_usable(True)
        start = VADUserStartedSpeakingFrame()
        start.metadata = dict(segment.metadata)
        await ear.process(start)
        sent = 0
        while sent < len(segment.audio):
            piece = bytes(segment.audio[sent : sent + _REPLAY_BYTES])
            sent += len(piece)
            await ear.process(InputAudioRawFrame(piece, SAMPLE_RATE_HZ, 1))
        if segment.closed:
            await ear.process(VADUserStoppedSpeakingFrame(stop_secs=0.0))

    async def _deliver(self) -> None:
        while self._segments and (answer := self._segments[0].answer) is not None:
            self._segments.pop(0)
            await self.push_frame(answer)

    async def _take(self, index: int, frame: Frame) -> None:
        segment = self._asked(index, frame.metadata.get("segment"))
        if segment is None:
            return
        match frame:
            case StageFailedFrame():
                segment.failure = ProviderError(frame.stage, frame.category, frame.message)
                segment.changed.set()
            case TranscriptionFrame() if frame.finalized and segment.closed:
                self._roster.worked(index)
                segment.answer = answering(frame, segment.name)
                segment.changed.set()
            case TranscriptionFrame() | InterimTranscriptionFrame() | SettledFrame():
                await self.push_frame(frame)
            case _:
                pass

    def _fail(self, index: int, failure: ProviderError) -> None:
        if (segment := self._asked(index, None)) is not None:
            segment.failure = failure
            segment.changed.set()

    def _asked(self, index: int, name: str | None) -> _Segment | None:
        """The segment an engine speaks of: the one it names, else the oldest it has."""
        return next(
            (
                segment
                for segment in self._segments
                if segment.engine == index
                and segment.answer is None
                and (name is None or segment.name == name)
            ),
            None,
        )

    async def _abandon(self) -> None:
        self._open = None
        self._segments.clear()
        for follower in tuple(self._followers):
            await self.cancel_task(follower)
