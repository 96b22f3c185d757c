"""The Pipecat side of a recogniser of our own: segments of speech in, one answer each, in order.

An engine only implements `TurnSTTService.open_segment` and `recognise`; the life of a segment,
the order of answers and failures in band are settled here.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar

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
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.utils.time import time_now_iso8601

from protocol import ErrorCategory, ProviderError, Stage

from .frames import SettledFrame, SettleFrame, StageFailedFrame, answering
from .recognition import Recognition

logger = logging.getLogger(__name__)

SAMPLE_RATE_HZ: Final = 16_000
BYTES_PER_S: Final = 2 * SAMPLE_RATE_HZ


class SpeechSegment:
    """One stretch of speech, from its first audio to its answer.

    Args:
        metadata: That of the frame that began it.

    Attributes:
        name: Which segment it is, for the answer.
        language: BCP-47, as the client names it; None where it does not.
        prompt: What the client says of the topic or the spelling.
        logprobs: Whether it wants to know how sure the engine is of the words.
        speakers: Whether it wants to know who said what.
        pause: Up to which pause the words are wanted ahead of the end, by its position; None where
            nobody asked. Once closed: the one behind which nobody spoke.
        closed: Set when no more audio comes.
        dropped: Nobody wants an answer.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.name: str | None = metadata.get("segment")
        self.language: str | None = metadata.get("language")
        self.prompt: str | None = metadata.get("prompt")
        self.logprobs = bool(metadata.get("logprobs"))
        self.speakers = bool(metadata.get("speakers"))
        self.pause: int | None = None
        self.closed = asyncio.Event()
        self.dropped = False

    @abstractmethod
    def feed(self, pcm: bytes) -> None:
        """Take the next audio, s16le mono 16 kHz."""

    def settle(self, pause: int) -> None:
        """The words so far are wanted; audio may go on."""
        self.pause = pause

    def close(self, settled_at: int | None = None) -> None:
        """The audio is complete; since the pause `settled_at` there was silence."""
        if self.pause != settled_at:
            self.pause = None
        self.closed.set()

    def drop(self) -> None:
        """The audio ends, and no answer is wanted."""
        self.dropped = True
        self.closed.set()


Answer = Awaitable[Recognition | None]
"""What `TurnSTTService.recognise` gives."""

SegmentT = TypeVar("SegmentT", bound=SpeechSegment)


class TurnSTTService(STTService, Generic[SegmentT]):
    """One session's ear.

    One task works off the segments in their order, each from the moment it begins; what comes
    meanwhile waits in its own segment. A segment that is opened over an open one drops it: no
    answer is given.

    Args:
        typical_final_s: How long an answer usually takes.
        model: Its name, for Pipecat's settings.
        language: The one it knows, likewise.

    Attributes:
        frame_ms: How much audio it is given at once while somebody speaks. What is left is given
            when the words are asked for, so a recogniser that says nothing before may ask for more.
    """

    frame_ms: ClassVar[int] = 100

    def __init__(
        self, *, typical_final_s: float, model: str | None = None, language: str | None = None
    ) -> None:
        super().__init__(
            audio_passthrough=False,
            sample_rate=SAMPLE_RATE_HZ,
            ttfs_p99_latency=typical_final_s,
            settings=STTSettings(model=model, language=language),
        )
        self.shape_answer: Callable[[Answer], Answer] = lambda answer: answer
        """Makes of each answer what is sent, where a test wants another."""
        self._segment: SegmentT | None = None
        self._segments: asyncio.Queue[SegmentT] = asyncio.Queue()
        self._unanswered: set[SegmentT] = set()
        self._delivery: asyncio.Task[None] | None = None

    # --- what an engine implements ----------------------------------------------------------------

    @abstractmethod
    def open_segment(self, metadata: Mapping[str, Any]) -> SegmentT:
        """A segment begins; the one before it is closed or dropped."""

    @abstractmethod
    async def recognise(self, segment: SegmentT) -> Recognition | None:
        """Hear a segment out; called in the order of the segments, when the one before is done.

        Returns:
            What was understood; None when it was dropped.

        Raises:
            ProviderError: the engine cannot or will not.
        """

    async def hear(self, segment: SegmentT, pcm: bytes) -> None:
        """Take audio of the open segment."""
        segment.feed(pcm)

    async def next_segment(self) -> SegmentT:
        """Wait for a segment to begin."""
        return await self._segments.get()

    async def hang_up(self) -> None:
        """Let go of what the session holds; called once or more at its end."""

    async def tell(self, segment: SegmentT, hypothesis: Recognition) -> None:
        """Say what was understood so far; `hypothesis` is all of it."""
        partial = InterimTranscriptionFrame(
            hypothesis.text, "", time_now_iso8601(), result=hypothesis
        )
        await self.push_frame(answering(partial, segment.name))

    async def tell_settled(self, segment: SegmentT, pause: int, heard: Recognition) -> None:
        """Answer the question that a pause has put."""
        await self.push_frame(answering(SettledFrame(heard.text, pause), segment.name))

    # --- Pipecat's hooks --------------------------------------------------------------------------

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """For audio, which `process_frame` takes already."""
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        # The segment's own frames end here: nobody downstream wants them, and the base class
        # would start a timer task for each.
        match frame:
            case InputAudioRawFrame():
                if self._segment is not None:
                    await self.hear(self._segment, frame.audio)
            case VADUserStartedSpeakingFrame():
                self._drop_open_segment()
                self._segment = segment = self.open_segment(frame.metadata)
                self._unanswered.add(segment)
                self._segments.put_nowait(segment)
            case VADUserStoppedSpeakingFrame():
                if self._segment is not None:
                    self._segment.close(frame.metadata.get("settled_at"))
                    self._segment = None
            case SettleFrame():
                if self._segment is not None:
                    self._segment.settle(frame.sample)
            case _:
                await super().process_frame(frame, direction)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        self._delivery = self.create_task(self._deliver_all(), name="transcription")

    async def stop(self, frame: EndFrame) -> None:
        """Answer what is closed, then stop."""
        self._drop_open_segment()
        await self._segments.join()
        await self._abandon()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        await self._abandon()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        await self._abandon()
        await super().cleanup()

    # --- the life of a segment --------------------------------------------------------------------

    def _drop_open_segment(self) -> None:
        if self._segment is not None:
            self._segment.drop()
            self._segment = None

    async def _abandon(self) -> None:
        self._segment = None
        for segment in self._unanswered:
            segment.drop()
        self._unanswered.clear()
        if self._delivery is not None:
            await self.cancel_task(self._delivery)
            self._delivery = None
        await self.hang_up()

    async def _deliver_all(self) -> None:
        while True:
            segment = await self.next_segment()
            try:
                answer = await self._answer(segment)
                # It belongs behind the segment's end, however early the engine gave up.
                await segment.closed.wait()
                if answer is not None and not segment.dropped:
                    await self.push_frame(answering(answer, segment.name))
            finally:
                self._unanswered.discard(segment)
                self._segments.task_done()

    async def _answer(self, segment: SegmentT) -> Frame | None:
        try:
            heard = await self.shape_answer(self.recognise(segment))
        except ProviderError as error:
            return StageFailedFrame(error.stage, error.category, error.message)
        except Exception:
            # A bug; but the segments behind this one still want their answers.
            logger.exception("transcription failed")
            return StageFailedFrame(
                Stage.STT, ErrorCategory.SERVER, "Speech recognition failed unexpectedly."
            )
        if heard is None:
            return None
        return TranscriptionFrame(heard.text, "", time_now_iso8601(), result=heard, finalized=True)
