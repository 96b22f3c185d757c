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

from core.messages import (
    Failure,
    Passage,
    TranscriptDelta,
    TranscriptFailed,
    TranscriptFinal,
    TranscriptTentative,
)
from protocol import Stage, TokenLogprob
from providers.frames import SettledFrame, SettleFrame, StageFailedFrame
from providers.recognition import Recognition, between

from .failures import failure_of_error
from .hypothesis import StablePrefix, join_texts

TranscriptEvent = TranscriptDelta | TranscriptTentative | TranscriptFinal | TranscriptFailed

_SWALLOWED = (
    InputAudioRawFrame,
    SettleFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)


@dataclass(slots=True, eq=False)
class _Segment:
    item_id: str
    attempt: int = 0
    closed: bool = False
    dropped: bool = False
    answered: bool = False
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    passages: tuple[Passage, ...] = ()
    hypothesis: str = ""
    told: int = 0
    settles_at: int | None = None
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

    def open(self, item_id: str, attempt: int = 0) -> None:
        """A new segment begins; one that is still open is closed and dropped."""
        if self._segments and not self._segments[-1].closed:
            self.drop(self._segments[-1].item_id)
        self._segments.append(_Segment(item_id, attempt))

    def settle(self, item_id: str, sample: int) -> None:
        """The user pauses at `sample`: say what is understood by now, and what will be."""
        segment = self._named(item_id)
        if segment is not None:
            segment.settles_at = sample
            self._guess(segment, segment.hypothesis)

    def close(self, item_id: str) -> None:
        """The segment has all its audio; its final answer may come from now on."""
        segment = self._latest(item_id)
        if segment is not None:
            segment.closed = True
            if segment.answered:
                self._end(segment)

    def drop(self, item_id: str) -> None:
        """Close the segment and keep its answer from the core."""
        segment = self._latest(item_id)
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
        elif isinstance(frame, SettledFrame):
            self._settled(frame)
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

    def _latest(self, item_id: str) -> _Segment | None:
        """What the core means by this id: an older segment of it was dropped, its answer is due."""
        return next((s for s in reversed(self._segments) if s.item_id == item_id), None)

    def _hear(self, frame: InterimTranscriptionFrame) -> None:
        segment = self._named(frame.metadata.get("segment"))
        if segment is not None:
            segment.hypothesis = join_texts(segment.text, frame.text)
            self._say(segment, segment.stable.revise(segment.hypothesis), _read(frame).logprobs)
            self._guess(segment, segment.hypothesis)

    def _settled(self, frame: SettledFrame) -> None:
        segment = self._named(frame.metadata.get("segment"))
        if segment is not None and segment.settles_at == frame.sample:
            self._guess(segment, frame.text)

    def _take(self, frame: TranscriptionFrame) -> None:
        named = frame.metadata.get("segment")
        segment = self._named(named)
        if segment is None:
            return
        heard = _read(frame)
        segment.text = segment.hypothesis = join_texts(segment.text, heard.text)
        segment.logprobs += heard.logprobs
        segment.passages += heard.passages
        self._say(segment, segment.stable.finish(segment.text), heard.logprobs, whole=True)
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
            self._emit(
                TranscriptFinal(
                    segment.item_id,
                    segment.text,
                    segment.logprobs,
                    segment.passages,
                    segment.attempt,
                )
            )

    def _say(
        self,
        segment: _Segment,
        delta: str,
        logprobs: tuple[TokenLogprob, ...],
        *,
        whole: bool = False,
    ) -> None:
        """Tell more words, and of the pieces of the whole hypothesis those that are in them."""
        if not delta or segment.dropped:
            return
        told, segment.told = segment.told, segment.told + len(delta)
        pieces = between(logprobs, told, None if whole else segment.told)
        self._emit(TranscriptDelta(segment.item_id, delta, pieces, segment.attempt))

    def _guess(self, segment: _Segment, text: str) -> None:
        """Tell what is understood in a pause."""
        if text and segment.settles_at is not None and not segment.closed:
            self._emit(TranscriptTentative(segment.item_id, text, segment.settles_at))

    def _fail(self, failure: Failure, named: str | None = None) -> None:
        segment = self._named(named)
        if segment is None or not segment.closed:
            return
        self._segments.remove(segment)
        if not segment.dropped:
            self._emit(TranscriptFailed(segment.item_id, failure, segment.attempt))


def _read(frame: TranscriptionFrame | InterimTranscriptionFrame) -> Recognition:
    """What our own recognisers put beside the words; a stock one puts what its vendor sent."""
    return frame.result if isinstance(frame.result, Recognition) else Recognition(frame.text)
