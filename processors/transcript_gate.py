"""Stands behind the speech recogniser and answers each segment; lets no transcript pass on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from core.messages import Failure, TranscriptDelta, TranscriptFailed, TranscriptFinal
from protocol import Stage
from providers.frames import StageFailedFrame

from .failures import failure_of_error
from .hypothesis import StablePrefix, join_texts

TranscriptEvent = TranscriptDelta | TranscriptFinal | TranscriptFailed

_SWALLOWED = (InputAudioRawFrame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame)


@dataclass(slots=True)
class _Segment:
    item_id: str
    closed: bool = False
    dropped: bool = False
    text: str = ""
    stable: StablePrefix = field(default_factory=StablePrefix)


class TranscriptGate(FrameProcessor):
    """Attributes transcripts to segments, first in, first out.

    Recognisers know no item ids, but they answer segments in their order, one final answer each.
    The gate runs in the recogniser's own push (direct mode), so no queue lies between the two
    in which an interruption could drop a transcript.
    """

    def __init__(self, emit: Callable[[TranscriptEvent], None]) -> None:
        super().__init__(enable_direct_mode=True)
        self._emit = emit
        self._segments: deque[_Segment] = deque()

    def open(self, item_id: str) -> None:
        """A new segment begins; one that is still open is closed and dropped."""
        if self._segments and not self._segments[-1].closed:
            self.drop(self._segments[-1].item_id)
        self._segments.append(_Segment(item_id))

    def close(self, item_id: str) -> None:
        """The segment has all its audio; its final answer may come from now on."""
        for segment in self._segments:
            if segment.item_id == item_id:
                segment.closed = True

    def drop(self, item_id: str) -> None:
        """Close the segment and keep its answer from the core."""
        for segment in self._segments:
            if segment.item_id == item_id:
                segment.closed = segment.dropped = True

    def fail(self, frame: ErrorFrame) -> None:
        """The recogniser reported an error: the segment it is working on gets no answer."""
        self._fail(failure_of_error(Stage.STT, frame))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
        elif isinstance(frame, InterimTranscriptionFrame):
            self._hear(frame.text)
        elif isinstance(frame, TranscriptionFrame):
            self._take(frame)
        elif isinstance(frame, StageFailedFrame):
            self._fail(Failure(frame.stage, frame.category, frame.message))
        elif not isinstance(frame, _SWALLOWED):
            await self.push_frame(frame, direction)

    def _hear(self, hypothesis: str) -> None:
        if not self._segments:
            return
        segment = self._segments[0]
        delta = segment.stable.revise(join_texts(segment.text, hypothesis))
        self._say(segment, delta)

    def _take(self, frame: TranscriptionFrame) -> None:
        if not self._segments:
            return
        segment = self._segments[0]
        segment.text = join_texts(segment.text, frame.text)
        # A streaming recogniser may call a sentence final in the middle of a segment.
        if not frame.finalized or not segment.closed:
            self._say(segment, segment.stable.finish(segment.text))
            return
        self._segments.popleft()
        self._say(segment, segment.stable.finish(segment.text))
        if not segment.dropped:
            self._emit(TranscriptFinal(segment.item_id, segment.text))

    def _say(self, segment: _Segment, delta: str) -> None:
        if delta and not segment.dropped:
            self._emit(TranscriptDelta(segment.item_id, delta))

    def _fail(self, failure: Failure) -> None:
        if not self._segments or not self._segments[0].closed:
            return
        segment = self._segments.popleft()
        if not segment.dropped:
            self._emit(TranscriptFailed(segment.item_id, failure))
