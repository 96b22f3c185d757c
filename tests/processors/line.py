"""A processor under test between a test that pushes frames and a list that takes them."""

from __future__ import annotations

from pipecat.frames.frames import Frame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor


class Sink(FrameProcessor):
    """Keeps what is pushed into it."""

    def __init__(self) -> None:
        super().__init__(enable_direct_mode=True)
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)


class Line:
    """`processor` linked to a sink; frames go in by hand, so that no task is in between."""

    def __init__(self, processor: FrameProcessor) -> None:
        self.processor = processor
        self.sink = Sink()
        processor.link(self.sink)

    async def push(self, *frames: Frame) -> None:
        for frame in frames:
            await self.processor.process_frame(frame, FrameDirection.DOWNSTREAM)

    @property
    def passed(self) -> list[Frame]:
        return self.sink.frames
