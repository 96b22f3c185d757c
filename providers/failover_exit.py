"""The end of a service that runs inside another one: what it pushes goes to a function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pipecat.frames.frames import ErrorFrame, Frame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup

from protocol import ErrorCategory, ProviderError, Stage

Take = Callable[[Frame], Awaitable[None]]


class Exit(FrameProcessor):
    """Stands behind an inner service, in its own push (direct mode)."""

    def __init__(self, take: Take) -> None:
        super().__init__(enable_direct_mode=True)
        self._take = take

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            await self._take(frame)


class InnerService:
    """A service that a wrapping service drives in its own tasks, without queues in between.

    Args:
        service: The inner service.
        take: Gets each frame it pushes downstream.
        fail: Gets the failure it reports upstream, as stock services do.
    """

    def __init__(
        self, stage: Stage, service: Any, take: Take, fail: Callable[[ProviderError], None]
    ) -> None:
        self.service = service
        self._stage = stage
        self._exit = Exit(take)
        self._fail = fail
        service.link(self._exit)
        service.add_event_handler("on_error", self._on_error)

    @property
    def processors(self) -> list[FrameProcessor]:
        """What belongs to a pipeline by it."""
        return [self.service, self._exit]

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Give it what every processor of a pipeline is given."""
        await self._exit.setup(setup)
        await self.service.setup(setup)

    async def cleanup(self) -> None:
        """Release what it holds."""
        await self.service.cleanup()
        await self._exit.cleanup()

    async def process(self, frame: Frame) -> None:
        """Have it work on a frame; returns when it has."""
        await self.service.process_frame(frame, FrameDirection.DOWNSTREAM)

    def _on_error(self, processor: FrameProcessor, frame: ErrorFrame) -> None:
        error = frame.exception
        if not isinstance(error, ProviderError):
            # Vendors quote requests in their texts; none is passed on.
            message = f"{processor.name} failed."
            error = ProviderError(self._stage, ErrorCategory.SERVER, message)
        self._fail(error)
