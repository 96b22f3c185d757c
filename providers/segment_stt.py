"""The Pipecat side of recognisers that hear a whole segment at once: one answer each, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
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

from .frames import StageFailedFrame, answering

logger = logging.getLogger(__name__)

SAMPLE_RATE_HZ: Final = 16_000
BYTES_PER_S: Final = 2 * SAMPLE_RATE_HZ

_LEAST_S: Final = 0.1
"""OpenAI refuses less, and there is no word in it."""
_TRAILING_SILENCE: Final = bytes(BYTES_PER_S // 2)
"""Whisper models garble or drop the last word where the audio ends with it."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one segment holds.

    Attributes:
        pcm: s16le mono 16 kHz, with half a second of silence behind the speech.
        language: BCP-47, as the client or the settings name it; None to find out.
        prompt: What the client says of the topic or the spelling.
        segment: Which segment it is, for the answer.
    """

    pcm: bytes = field(repr=False)
    language: str | None = None
    prompt: str | None = field(default=None, repr=False)
    segment: str | None = None

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / BYTES_PER_S

    @property
    def language_code(self) -> str | None:
        """The ISO 639 code that Whisper models go by: `zh` of `zh-CN`."""
        return self.language.lower().replace("_", "-").split("-")[0] if self.language else None


Transcribe = Callable[[Utterance], Awaitable[str]]


class SegmentSTTService(STTService):
    """One session's ear, for engines that know no streams.

    A segment that is opened over an open one drops it: no answer is given.

    Args:
        transcribe: Gives the text of an utterance, "" for none, or raises `ProviderError`.
        model: Its name, for Pipecat's settings.
        language: Spoken where the segment names none.
        typical_final_s: How long an answer usually takes.
    """

    def __init__(
        self,
        transcribe: Transcribe,
        *,
        model: str,
        language: str | None = None,
        typical_final_s: float = 1.0,
    ) -> None:
        super().__init__(
            audio_passthrough=False,
            sample_rate=SAMPLE_RATE_HZ,
            ttfs_p99_latency=typical_final_s,
            settings=STTSettings(model=model, language=None),
        )
        self._transcribe = transcribe
        self._language = language
        self._segment: _Segment | None = None
        self._closed: asyncio.Queue[Utterance] = asyncio.Queue()
        self._delivery: asyncio.Task[None] | None = None

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Pipecat's hook for audio; the answers come from the delivery task."""
        if self._segment is not None:
            self._segment.audio += audio
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        # The segment's own frames end here: nobody downstream wants them, and the base class
        # would start a timer task for each.
        match frame:
            case InputAudioRawFrame():
                if self._segment is not None:
                    self._segment.audio += frame.audio
            case VADUserStartedSpeakingFrame():
                self._segment = _Segment(frame.metadata)
            case VADUserStoppedSpeakingFrame():
                if self._segment is not None:
                    self._closed.put_nowait(self._segment.utterance(self._language))
                    self._segment = None
            case _:
                await super().process_frame(frame, direction)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        self._delivery = self.create_task(self._deliver_all(), name="transcription")

    async def stop(self, frame: EndFrame) -> None:
        self._segment = None
        await self._closed.join()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        await self._abandon()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        await self._abandon()
        await super().cleanup()

    async def _abandon(self) -> None:
        self._segment = None
        if self._delivery is not None:
            await self.cancel_task(self._delivery)
            self._delivery = None

    async def _deliver_all(self) -> None:
        while True:
            utterance = await self._closed.get()
            try:
                answer = await self._answer(utterance)
                await self.push_frame(answering(answer, utterance.segment))
            finally:
                self._closed.task_done()

    async def _answer(self, utterance: Utterance) -> Frame:
        try:
            text = await self._hear(utterance)
        except ProviderError as error:
            return StageFailedFrame(error.stage, error.category, error.message)
        except Exception:
            # A bug; but the segments behind this one still want their answers.
            logger.exception("transcription failed")
            return StageFailedFrame(
                Stage.STT, ErrorCategory.SERVER, "Speech recognition failed unexpectedly."
            )
        return TranscriptionFrame(text.strip(), "", time_now_iso8601(), finalized=True)

    async def _hear(self, utterance: Utterance) -> str:
        spoken_s = utterance.duration_s - len(_TRAILING_SILENCE) / BYTES_PER_S
        return "" if spoken_s < _LEAST_S else await self._transcribe(utterance)


class _Segment:
    """An open segment."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.audio = bytearray()
        self._name: str | None = metadata.get("segment")
        self._language: str | None = metadata.get("language")
        self._prompt: str | None = metadata.get("prompt")

    def utterance(self, language: str | None) -> Utterance:
        pcm = bytes(self.audio) + _TRAILING_SILENCE
        return Utterance(pcm, self._language or language, self._prompt, self._name)
