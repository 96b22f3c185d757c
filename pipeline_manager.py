"""Runs the Pipecat pipeline of one session: core commands in, engine events out."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, assert_never

from pipecat.frames.frames import ErrorFrame, Frame, VADUserStartedSpeakingFrame
from pipecat.processors.frame_processor import FrameProcessor

from core.messages import (
    CloseSegment,
    ConfigureVad,
    DropSegment,
    EngineCommand,
    EngineEvent,
    FeedAudio,
    GenerationFailed,
    ModelFinished,
    OpenSegment,
    SettleSegment,
    SpeechAudio,
    StartResponse,
    StopResponse,
    TranscriptFailed,
    TranscriptFinal,
)
from processors.audio_feed import AudioFeed
from processors.ear import TurnJudgePort, VadEnginePort
from processors.failures import failure
from processors.lane import Lane, LaneDied
from processors.outlet import ResponseEvent
from processors.transcript_gate import TranscriptGate
from protocol import ErrorCategory, Stage
from providers.base import LlmProvider, SttProvider, TtsProvider
from providers.health import StageHealth
from providers.stt_service import TurnSTTService

logger = logging.getLogger("realtime.pipeline")

MAX_OUT_OF_BAND_LANES: Final = 4
_FRAME_MS: Final = 100
"""Audio that a recogniser is given at once, unless it says how much it likes."""


@dataclass(frozen=True, slots=True)
class EngineSet:
    """The engines a session runs on; they belong to the process."""

    stt: SttProvider
    llm: LlmProvider
    tts: TtsProvider
    vad: VadEnginePort
    judge: TurnJudgePort | None = None
    health: StageHealth = field(default_factory=StageHealth)


async def warm_up(engines: EngineSet) -> None:
    """Run one pipeline for a moment: no client shall pay for what Pipecat loads on first use."""
    manager = PipelineManager(engines, lambda event: None)
    await manager.rehearse()


class PipelineManager:
    """One session's engines at work.

    `run` is the session's pipeline task. Everything else is called in the session's step, and none
    of it waits: commands are carried out in their order, events come through `emit`. A step may be
    taken within `emit`, in the task of an engine: whoever emits has put its own state in order.

    Args:
        engines: What to build services from.
        emit: Takes each engine event at once; must neither block nor raise.
        caught_up: Called when `behind` has become False.
    """

    def __init__(
        self,
        engines: EngineSet,
        emit: Callable[[EngineEvent], None],
        caught_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._engines = engines
        self._sink = emit
        self._flow = asyncio.Event()
        self._flow.set()
        stt = engines.stt.create_service()
        self._stt = stt
        self._gate = TranscriptGate(self._emit)
        stt.add_event_handler("on_error", self._on_stt_error)
        self._audio = AudioFeed(
            engines.vad,
            engines.judge,
            self._to_recogniser,
            self._emit,
            caught_up,
            stt.frame_ms if isinstance(stt, TurnSTTService) else _FRAME_MS,
        )
        self._lane = self._new_lane("default", self._emit, front=(stt, self._gate))
        self._asides: dict[str, asyncio.Task[None]] = {}
        self._lanes_beside = 0
        self._waiting_asides: deque[StartResponse] = deque()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Build the pipeline and run it until `close` or cancellation.

        Raises:
            ExceptionGroup: The pipeline ended by itself (`LaneDied`), or a bug in it.
        """
        if self._closed:
            return
        try:
            async with asyncio.TaskGroup() as self._group:
                self._tasks = [
                    self._group.create_task(self._lane.serve(), name="lane default"),
                    self._group.create_task(self._audio.run(), name="audio feed"),
                ]
                self._start_asides()
        except BaseException as ended:
            # Its traceback leads to a frame of the task group, which holds it: a cycle.
            ended.__traceback__ = None
            raise
        finally:
            self._closed = True
            self._let_go()
            self._finished.set()

    async def rehearse(self) -> None:
        """Start the default pipeline and end it again; `run` must not follow."""
        await self._lane.rehearse()

    def execute(self, command: EngineCommand) -> None:
        """Take a command of the core; it never blocks and never fails."""
        if self._closed:
            return
        match command:
            case FeedAudio() | ConfigureVad():
                self._audio.put(command)
            case OpenSegment():
                self._gate.open(command.item_id, command.attempt)
                self._audio.put(command)
            case SettleSegment():
                self._gate.settle(command.item_id, command.sample)
                self._audio.put(command)
            case CloseSegment():
                self._gate.close(command.item_id)
                self._audio.put(command)
            case DropSegment():
                self._gate.drop(command.item_id)
                self._audio.put(command)
            case StartResponse():
                if command.out_of_band:
                    self._waiting_asides.append(command)
                    self._start_asides()
                else:
                    self._lane.start(command)
            case StopResponse():
                self._stop(command.response_id)
            case _:
                assert_never(command)

    @property
    def behind(self) -> bool:
        """Whether the audio fed so far should be worked off before more is fed."""
        return not self._closed and self._audio.behind

    def set_flow(self, open: bool) -> None:
        """Say whether audio is wanted; while not, no further clause is spoken."""
        if open:
            self._flow.set()
        else:
            self._flow.clear()

    async def close(self) -> None:
        """End everything; no event comes after the call. Returns when `run` has ended."""
        closing, self._closed = self._closed, True
        if self._group is None:
            if not closing:
                self._let_go()
            return
        if not closing:
            # Once only: a second cancellation would break off the teardown of the first.
            for task in (*self._tasks, *self._asides.values()):
                task.cancel()
        await self._finished.wait()

    def _let_go(self) -> None:
        """Drop what reports back here, so that all of it is freed now and not by the collector."""
        self._lane.take_apart()
        self._group = None
        self._tasks.clear()
        del self._sink, self._lane, self._audio, self._gate, self._stt

    def _emit(self, event: EngineEvent) -> None:
        if not self._closed:
            self._note(event)
            self._sink(event)

    def _note(self, event: EngineEvent) -> None:
        """Keep the record of the stages."""
        health = self._engines.health
        match event:
            case GenerationFailed() | TranscriptFailed():
                told = event.failure
                health.failed(told.stage, told.category, told.message)
            case TranscriptFinal():
                health.worked(Stage.STT)
            case ModelFinished():
                health.worked(Stage.LLM)
            case SpeechAudio():
                health.worked(Stage.TTS)
            case _:
                pass

    def _emit_aside(self, event: ResponseEvent) -> None:
        if event.response_id in self._asides:
            self._emit(event)

    def _stop(self, response_id: str) -> None:
        task = self._asides.pop(response_id, None)
        if task is not None:
            task.cancel()
        self._waiting_asides = deque(
            command for command in self._waiting_asides if command.response_id != response_id
        )
        self._lane.stop(response_id)

    def _start_asides(self) -> None:
        """Start waiting out-of-band responses as far as there is room for them."""
        if self._group is None or self._closed:
            return
        while self._waiting_asides and self._lanes_beside < MAX_OUT_OF_BAND_LANES:
            command = self._waiting_asides.popleft()
            task = self._group.create_task(
                self._run_aside(command), name=f"lane {command.response_id}"
            )
            self._asides[command.response_id] = task
            self._lanes_beside += 1
            task.add_done_callback(partial(self._aside_done, command.response_id))

    async def _run_aside(self, command: StartResponse) -> None:
        lane = self._new_lane(command.response_id, self._emit_aside)
        try:
            await lane.serve_one(command)
        except LaneDied:
            logger.error("lane %s ended before its response", command.response_id)
            broken = failure(Stage.LLM, ErrorCategory.SERVER)
            self._emit_aside(GenerationFailed(command.response_id, broken))
        finally:
            lane.take_apart()

    def _aside_done(self, response_id: str, task: asyncio.Task[None]) -> None:
        if self._asides.get(response_id) is task:
            del self._asides[response_id]
        self._lanes_beside -= 1
        self._start_asides()

    def _new_lane(
        self,
        name: str,
        emit: Callable[[ResponseEvent], None],
        front: tuple[FrameProcessor, ...] = (),
    ) -> Lane:
        llm, tts = self._engines.llm.create_service(), self._engines.tts.create_service()
        return Lane(name, llm, tts, emit, self._flow, front, self._engines.tts.speeds)

    async def _to_recogniser(self, frame: Frame) -> None:
        if isinstance(frame, VADUserStartedSpeakingFrame):
            # Pipecat writes a service off for good once its key or model was refused, and from
            # then on it answers nothing at all. Each segment gets its own honest answer instead.
            await self._stt.set_usable(True)
        await self._stt.queue_frame(frame)

    def _on_stt_error(self, processor: FrameProcessor, frame: ErrorFrame) -> None:
        self._gate.fail(frame)
