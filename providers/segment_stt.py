"""The Pipecat side of recognisers that hear a whole segment at once: one answer each, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .recognition import Recognition
from .stt_service import BYTES_PER_S
from .utterance_stt import UtteranceSegment, UtteranceSTTService

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
        logprobs: Whether it wants to know how sure the engine is of the words.
        speakers: Whether it wants to know who said what.
    """

    pcm: bytes = field(repr=False)
    language: str | None = None
    prompt: str | None = field(default=None, repr=False)
    logprobs: bool = False
    speakers: bool = False

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / BYTES_PER_S

    @property
    def language_code(self) -> str | None:
        """The ISO 639 code that Whisper models go by: `zh` of `zh-CN`."""
        return self.language.lower().replace("_", "-").split("-")[0] if self.language else None


Transcribe = Callable[[Utterance], Awaitable[Recognition]]


class SegmentSTTService(UtteranceSTTService["_Segment"]):
    """One session's ear, for engines that know no streams.

    Args:
        transcribe: Understands an utterance, or raises `ProviderError`.
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
        super().__init__(typical_final_s=typical_final_s, model=model)
        self._transcribe = transcribe
        self._language = language

    def open_segment(self, metadata: Mapping[str, Any]) -> _Segment:
        return _Segment(metadata)

    async def transcribe(self, segment: _Segment) -> Recognition:
        if len(segment.audio) / BYTES_PER_S < _LEAST_S:
            return Recognition("")
        return await self._transcribe(segment.utterance(self._language))


class _Segment(UtteranceSegment):
    """Keeps its audio until there is all of it."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__(metadata)
        self.audio = bytearray()

    def feed(self, pcm: bytes) -> None:
        self.audio += pcm

    def utterance(self, language: str | None) -> Utterance:
        pcm = bytes(self.audio) + _TRAILING_SILENCE
        return Utterance(
            pcm,
            self.language or language,
            self.prompt,
            logprobs=self.logprobs,
            speakers=self.speakers,
        )
