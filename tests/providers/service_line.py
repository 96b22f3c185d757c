"""A service alone in a real pipeline, fed by the test while it listens to what comes out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pipecat.frames.frames import Frame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from core.messages import GenerationRequest

F = TypeVar("F", bound=Frame)

_PATIENCE_S = 60.0


class ServiceLine(FrameProcessor):
    """What has come out of the service so far, and a way to wait for more."""

    def __init__(self) -> None:
        super().__init__(enable_direct_mode=True)
        self.frames: list[Frame] = []
        self._news = asyncio.Event()
        self.worker: PipelineWorker | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        self._news.set()
        await self.push_frame(frame, direction)

    async def send(self, *frames: Frame) -> None:
        assert self.worker is not None
        for frame in frames:
            await self.worker.queue_frame(frame)

    def all(self, kind: type[F]) -> list[F]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until `condition` holds; looked at whenever a frame comes."""
        async with asyncio.timeout(_PATIENCE_S):
            while not condition():
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def running(service: FrameProcessor) -> AsyncIterator[ServiceLine]:
    """A pipeline of `service` only; cancelled at the end, as when a client hangs up."""
    line = ServiceLine()
    worker = PipelineWorker(
        Pipeline([service, line]),
        params=PipelineParams(audio_in_sample_rate=16_000, audio_out_sample_rate=24_000),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
        check_dangling_tasks=False,
    )
    line.worker = worker
    runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False)
    await runner.add_workers(worker)
    run = asyncio.create_task(runner.run(), name="test-pipeline")
    try:
        yield line
    finally:
        await worker.cancel()
        await run


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until `condition` holds, where nothing tells when it may."""
    async with asyncio.timeout(_PATIENCE_S):
        for pause_s in itertools.repeat(0.005):
            if condition():
                return
            await asyncio.sleep(pause_s)


def generation_request(*, voice: str = "", speed: float = 1.0) -> GenerationRequest:
    """A request of which only voice and speed matter."""
    return GenerationRequest(
        messages=(),
        instructions="",
        tools=(),
        tool_choice="auto",
        speak=True,
        voice=voice,
        speed=speed,
        max_output_tokens=None,
        temperature=0.8,
    )
