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


@dataclass(slots=True, eq=False)
class _Segment:
    item_id: str
    closed: bool = False
    dropped: bool = False
    answered: bool = False
    text: str = ""
    stable: StablePrefix = field(default_factory=StablePrefix)


class TranscriptGate(FrameProcessor):
    """Attributes transcripts to segments.

    Our own services name the segment they answer (`metadata["segment"]`, as the frame that began
    it did), so that one answer that goes missing shifts no other. Stock services know no segments
    but answer them in their order, one final answer each: first in, first out.

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
        segment = self._named(item_id)
        if segment is not None:
            segment.closed = True
            if segment.answered:
                self._end(segment)

    def drop(self, item_id: str) -> None:
        """Close the segment and keep its answer from the core."""
        segment = self._named(item_id)
        if segment is not None:
            segment.closed = segment.dropped = True
            if segment.answered:
                self._end(segment)

    def fail(self, frame: ErrorFrame) -> None:
        """The recogniser reported an error: the segment it is working on gets no answer."""
        self._fail(failure_of_error(Stage.STT, frame))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
        elif isinstance(frame, InterimTranscriptionFrame):
            self._hear(frame)
        elif isinstance(frame, TranscriptionFrame):
            self._take(frame)
        elif isinstance(frame, StageFailedFrame):
            failure = Failure(frame.stage, frame.category, frame.message)
            self._fail(failure, frame.metadata.get("segment"))
        elif not isinstance(frame, _SWALLOWED):
            await self.push_frame(frame, direction)

    def _named(self, item_id: str | None) -> _Segment | None:
        """The segment of this id; for None, the one whose answer is next in order."""
        if item_id is None:
            return self._segments[0] if self._segments else None
        return next((s for s in self._segments if s.item_id == item_id), None)

    def _hear(self, frame: InterimTranscriptionFrame) -> None:
        segment = self._named(frame.metadata.get("segment"))
        if segment is not None:
            delta = segment.stable.revise(join_texts(segment.text, frame.text))
            self._say(segment, delta)

    def _take(self, frame: TranscriptionFrame) -> None:
        named = frame.metadata.get("segment")
        segment = self._named(named)
        if segment is None:
            return
        segment.text = join_texts(segment.text, frame.text)
        self._say(segment, segment.stable.finish(segment.text))
        if not frame.finalized:
            return
        if segment.closed:
            self._end(segment)
        elif named is not None:
            segment.answered = True
        # Else a streaming recogniser called a sentence final in the middle of a segment.

    def _end(self, segment: _Segment) -> None:
        self._segments.remove(segment)
        if not segment.dropped:
            self._emit(TranscriptFinal(segment.item_id, segment.text))

    def _say(self, segment: _Segment, delta: str) -> None:
        if delta and not segment.dropped:
            self._emit(TranscriptDelta(segment.item_id, delta))

    def _fail(self, failure: Failure, named: str | None = None) -> None:
        segment = self._named(named)
        if segment is None or not segment.closed:
            return
        self._segments.remove(segment)
        if not segment.dropped:
            self._emit(TranscriptFailed(segment.item_id, failure))
