"""One running pipeline that makes responses, one at a time, and is clean between two of them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

from pipecat.frames.frames import ErrorFrame, InterruptionFrame, LLMContextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.tts_service import TTSService
from pipecat.utils.asyncio.task_manager import TaskManager
from pipecat.workers.runner import WorkerRunner

from core.messages import StartResponse
from protocol import Stage
from providers.frames import ResponseBeginFrame, ResponseEndFrame

from .audio_feed import ENGINE_RATE_HZ
from .capture import MarkerFrame, ModelTap, SpeechTap
from .dismantling import dismantle
from .failures import failure_of_error
from .model_context import model_context
from .outlet import Ending, ResponseEvent, ResponseOutlet
from .speech_feed import SpeechFeed

logger = logging.getLogger("realtime.lane")

SPEECH_RATE_HZ: Final = 24_000
INTERRUPTION_TIMEOUT_S: Final = 2.0
START_GRACE_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 25.0
"""Above Pipecat's own 20 s for a cancelled pipeline."""


class LaneDied(Exception):
    """The pipeline ended although nobody asked it to."""


class Lane:
    """A Pipecat pipeline `[*front, llm, ModelTap, SpeechFeed, tts, SpeechTap]` and its one user.

    Args:
        name: For task names and the log.
        llm: The lane's own language model service.
        tts: The lane's own speech service.
        emit: Takes the events of the lane's responses.
        flow: Cleared while nobody takes audio.
        front: Processors ahead of the model: the recogniser's, in the default lane.
        speeds: Slowest and fastest speed of the speech service.
    """

    def __init__(
        self,
        name: str,
        llm: LLMService[Any],
        tts: TTSService,
        emit: Callable[[ResponseEvent], None],
        flow: asyncio.Event,
        front: tuple[FrameProcessor, ...] = (),
        speeds: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self._name = name
        self._speeds = speeds
        self._llm = llm
        self._tts = tts
        self._outlet = ResponseOutlet(emit)
        self._tail = SpeechTap(self._outlet)
        model_tap = ModelTap(self._outlet)
        feed = SpeechFeed(self._outlet, flow)
        self._processors = (*front, llm, model_tap, feed, tts, self._tail)
        for stage, processor in (
            (Stage.LLM, llm),
            (Stage.LLM, model_tap),
            (Stage.TTS, feed),
            (Stage.TTS, tts),
            (Stage.TTS, self._tail),
        ):
            processor.add_event_handler("on_error", partial(self._on_error, stage))
        self._waiting: deque[StartResponse] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._ended: tuple[WorkerRunner, PipelineWorker] | None = None

    def start(self, command: StartResponse) -> None:
        """Queue a response; it begins when the one before has left the lane."""
        self._waiting.append(command)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def stop(self, response_id: str) -> None:
        """Nothing of the response is emitted from now on; it need not be the lane's."""
        self._outlet.stop(response_id)
        self._waiting = deque(c for c in self._waiting if c.response_id != response_id)

    async def serve(self) -> None:
        """Run the pipeline and make queued responses until cancelled.

        Raises:
            LaneDied: The pipeline ended by itself.
        """
        async with self._pipeline() as running:
            while True:
                ending = await self._generate(await self._next(running), running)
                if ending is Ending.CUT:
                    await self._clean(running)

    async def serve_one(self, command: StartResponse) -> None:
        """Run the pipeline for one response only.

        Raises:
            LaneDied: The pipeline ended by itself.
        """
        async with self._pipeline() as running:
            await self._generate(command, running)

    def take_apart(self) -> None:
        """Free what the pipeline is made of, once it has ended and nobody asks it for anything."""
        if self._ended is not None:
            dismantle(*self._ended)
            self._ended = None

    async def rehearse(self) -> None:
        """Start the pipeline and end it again, so that what loads on first use is loaded."""
        async with self._pipeline():
            pass

    async def _next(self, running: asyncio.Task[None]) -> StartResponse:
        while not self._waiting:
            self._arrival = asyncio.get_running_loop().create_future()
            await _while_alive(running, self._arrival)
        return self._waiting.popleft()

    async def _generate(self, command: StartResponse, running: asyncio.Task[None]) -> Ending:
        ending = self._outlet.open(command.response_id)
        for service in (self._llm, self._tts):
            # Pipecat writes a service off for good once its key or model was refused, and from
            # then on its responses are empty. Each response gets its own honest answer instead.
            await service.set_usable(True)
        asked = command.request.speed
        speed = min(max(asked, self._speeds[0]), self._speeds[1])
        request = replace(command.request, speed=speed)
        for frame in (
            ResponseBeginFrame(command.response_id, request, stretch=asked / speed),
            LLMContextFrame(model_context(request)),
            ResponseEndFrame(command.response_id),
        ):
            await self._llm.queue_frame(frame)
        await _while_alive(running, ending)
        return ending.result()

    async def _clean(self, running: asyncio.Task[None]) -> None:
        """Drop all that the lane still holds of a response that was cut.

        The interruption starts at the model, so the recogniser keeps what it is working on. It
        takes two: a processor that is busy with a system frame when the first arrives works off
        the data frames that the interruption overtook afterwards, and only the second drops what
        came of them (measured: 200 leaks in 200 with one, none with two).
        """
        for _ in range(2):
            interruption = InterruptionFrame()
            arrived = self._tail.expect(interruption)
            await self._llm.queue_frame(interruption)
            if not await _while_alive(running, arrived, INTERRUPTION_TIMEOUT_S):
                logger.warning(
                    "lane %s: interruption not through in %s s", self._name, INTERRUPTION_TIMEOUT_S
                )

    def _on_error(self, stage: Stage, processor: FrameProcessor, frame: ErrorFrame) -> None:
        # Pipecat calls this in the failing processor's own task, ahead of any frame that would
        # end the response as if nothing had happened.
        self._outlet.fail(failure_of_error(stage, frame))

    @asynccontextmanager
    async def _pipeline(self) -> AsyncIterator[asyncio.Task[None]]:
        """A started pipeline, as the task that runs it."""
        worker = PipelineWorker(
            Pipeline(list(self._processors)),
            params=PipelineParams(
                audio_in_sample_rate=ENGINE_RATE_HZ,
                audio_out_sample_rate=SPEECH_RATE_HZ,
                enable_metrics=False,
                enable_usage_metrics=True,
                send_initial_empty_metrics=False,
            ),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
            check_dangling_tasks=False,
        )
        tasks = TaskManager()
        # One runner a pipeline: a runner keeps every worker it ever had.
        runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False, task_manager=tasks)
        await runner.add_workers(worker)
        # Pipecat holds what is queued at the worker until the pipeline has started.
        marker = MarkerFrame()
        started = self._tail.expect(marker)
        await worker.queue_frame(marker)
        running = asyncio.create_task(runner.run(), name=f"pipeline {self._name}")
        try:
            await _while_alive(running, started)
            yield running
        finally:
            await _to_the_end(self._end(worker, started, running, tasks), f"end of {self._name}")
            if not tasks.current_tasks():
                self._ended = runner, worker

    async def _end(
        self,
        worker: PipelineWorker,
        started: asyncio.Future[None],
        running: asyncio.Task[None],
        tasks: TaskManager,
    ) -> None:
        # Pipecat skips the services' own `cancel` if it is cancelled while it starts.
        await asyncio.wait(
            {started, running}, timeout=START_GRACE_S, return_when=asyncio.FIRST_COMPLETED
        )
        await worker.cancel()
        await asyncio.wait({running}, timeout=CLOSE_TIMEOUT_S)
        if not running.done():
            logger.error("lane %s: still running %s s after its end", self._name, CLOSE_TIMEOUT_S)
            running.cancel()
        # What services leave behind, e.g. when they were cancelled before they had started.
        leftover = tasks.current_tasks()
        for task in leftover:
            task.cancel()
        if leftover:
            await asyncio.wait(leftover, timeout=START_GRACE_S)


async def _to_the_end(ending: Coroutine[Any, Any, None], name: str) -> None:
    """Await a teardown; a further cancellation takes effect behind it, not in the middle of it.

    An out-of-band response is cancelled by its client, and a moment later with its session: broken
    off, the teardown left a running pipeline behind.
    """
    task = asyncio.create_task(ending, name=name)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as again:
            cancelled = again
    task.result()
    if cancelled is not None:
        raise cancelled


async def _while_alive(
    running: asyncio.Task[None], future: asyncio.Future[Any], timeout_s: float | None = None
) -> bool:
    """Wait for the future, but not beyond the pipeline's life; says whether it is done."""
    await asyncio.wait({running, future}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        raise LaneDied("the pipeline ended by itself")
    return future.done()
