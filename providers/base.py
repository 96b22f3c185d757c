"""What every provider offers: process-wide life cycle, and one light Pipecat service a session.

A provider owns what is dear (models, worker processes, HTTP clients, keys) and lives as long as
the process. `create_service()` is called for every session and must be cheap: no I/O, no model,
well under a millisecond.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService


class Provider(Protocol):
    """What the three kinds of provider share."""

    name: ClassVar[str]
    """The value of `STT_PROVIDER`, `LLM_PROVIDER` or `TTS_PROVIDER` that selects it."""

    def describe(self) -> str:
        """One line for the start-up banner: engine, model or voice, and what it is good for."""
        ...

    async def start(self) -> None:
        """Bring up process-wide resources.

        Raises:
            ConfigError: a setting it cannot work with, naming the variable.
            ProviderError: the engine itself does not come up.
        """
        ...

    async def close(self) -> None:
        """Release them; leaves no task, thread or process behind. Idempotent."""
        ...


class SttProvider(Provider, Protocol):
    """Speech to text.

    Its service is fed `VADUserStartedSpeakingFrame`, 16 kHz mono `InputAudioRawFrame`s and
    `VADUserStoppedSpeakingFrame`, once per segment. It answers with any number of
    `InterimTranscriptionFrame`s (whole hypothesis so far) and exactly one
    `TranscriptionFrame(finalized=True)` (text may be "") or `StageFailedFrame` per segment, in
    the order of the segments, each marked with `providers.frames.answering`. A segment that
    closes while an earlier one is still being decoded waits its turn; the service never blocks
    the event loop. It may answer a `SettleFrame` within a segment with a `SettledFrame`.
    """

    languages: frozenset[str] | None
    """Primary BCP-47 subtags it understands, None for any."""

    def create_service(self) -> STTService: ...


class LlmProvider(Provider, Protocol):
    """Text to text.

    Its service is fed `ResponseBeginFrame`, an `LLMContextFrame` and `ResponseEndFrame` per
    response. For the context frame it pushes `LLMFullResponseStartFrame`, `LLMTextFrame`s, the
    tool-call frames of `providers.frames`, one `ModelFinishedFrame` (or a `StageFailedFrame`) and
    `LLMFullResponseEndFrame`; all other frames it passes on in order.
    """

    def create_service(self) -> LLMService: ...


class TtsProvider(Provider, Protocol):
    """Text to speech.

    Its service speaks each `ClauseFrame` as s16le mono 24 kHz `TTSAudioRawFrame`s, with a
    `WordTimesFrame` ahead of the clause's first audio where the engine has word times. It reads
    voice and speed from the latest `ResponseBeginFrame`.
    """

    @property
    def speeds(self) -> tuple[float, float]:
        """Slowest and fastest `GenerationRequest.speed` it can speak at; 1 is what it calls normal.

        What a client asks beyond these is made of its speech by time stretching.
        """
        ...

    def create_service(self) -> TTSService: ...
