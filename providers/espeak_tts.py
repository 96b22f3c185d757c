"""The embedded voice: espeak-ng in a worker process shared by all sessions."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import AsyncIterator
from typing import ClassVar

from core.messages import GenerationRequest, WordTime
from protocol import ConfigError, Stage

from .tts_service import ClauseTTSService
from .worker import EngineRequest, EngineWorker
from .worker_channel import Kind

logger = logging.getLogger(__name__)

_DEADLINE_S = 2.0
_MOST_NAMES_REMEMBERED = 200


# The engine's own limits.
_SLOWEST_WPM = 80
_FASTEST_WPM = 450


class EspeakProvider:
    """Text to speech without keys, network or models; robotic, in over a hundred languages.

    Args:
        voice: Voice of responses that name none, or one espeak-ng lacks.
        rate_wpm: Words per minute at speed 1.
        worker: That of another provider, to share its process.
    """

    name: ClassVar[str] = "espeak"

    def __init__(
        self, *, voice: str = "en-us", rate_wpm: int = 170, worker: EngineWorker | None = None
    ) -> None:
        self._voice = voice
        self._rate_wpm = rate_wpm
        self.speeds = (_SLOWEST_WPM / rate_wpm, _FASTEST_WPM / rate_wpm)
        self._unknown_voices: set[str] = set()
        self.worker = worker or EngineWorker(
            "providers.espeak_worker",
            stage=Stage.TTS,
            label="espeak",
            configure=json.dumps({"voice": voice}).encode(),
        )

    def with_voice(self, voice: str) -> EspeakProvider:
        """The same process with another voice of its own."""
        return EspeakProvider(voice=voice, rate_wpm=self._rate_wpm, worker=self.worker)

    def knows_voice(self, name: str) -> bool:
        """Left to the worker, which knows all voices and says which it has not."""
        return True

    def describe(self) -> str:
        return f"espeak-ng, voice {self._voice} (robotic, runs offline)"

    async def start(self) -> None:
        if importlib.util.find_spec("espeakng_loader") is None:
            raise ConfigError(
                "TTS_PROVIDER", "espeak needs the package espeakng-loader, which is not installed"
            )
        await self.worker.wait_ready()
        # Speaking once proves the voice and loads its dictionary, so the first reply is not slow.
        with self.open("ready", self._voice, 1.0) as request:
            async for kind, payload in request:
                if kind is Kind.DONE and not json.loads(payload)["voice_known"]:
                    raise ConfigError(
                        "TTS_VOICE",
                        f"espeak-ng has no voice {self._voice!r}; "
                        "it takes language tags such as en-us, en-gb, cmn, de, "
                        "with a variant if wanted: en-us+f3",
                    )

    async def close(self) -> None:
        await self.worker.close()

    def create_service(self) -> EspeakTTSService:
        return EspeakTTSService(self)

    def open(self, text: str, voice: str, speed: float) -> EngineRequest:
        """Begin to speak `text` in the worker."""
        request = {
            "text": text,
            "voice": voice,
            "own_voice": self._voice,
            "rate_wpm": round(self._rate_wpm * speed),
        }
        return self.worker.open(json.dumps(request).encode())

    def note_unknown_voice(self, voice: str) -> None:
        """Say once per name that the configured voice stands in for it."""
        if voice in self._unknown_voices or len(self._unknown_voices) >= _MOST_NAMES_REMEMBERED:
            return
        self._unknown_voices.add(voice)
        logger.warning("espeak-ng has no voice %.40r; %s speaks instead", voice, self._voice)


class EspeakTTSService(ClauseTTSService):
    """One session's voice.

    `request.voice` may be a voice of the API (each has its own espeak variant), an espeak name or
    a language tag. `request.speed` scales the rate, which espeak-ng keeps at 80 words per minute
    or more; what is slower is stretched behind it. Chinese in the text is always read by a Chinese
    voice.
    """

    def __init__(self, provider: EspeakProvider) -> None:
        super().__init__()
        self._provider = provider

    async def synthesize(
        self, text: str, request: GenerationRequest
    ) -> AsyncIterator[tuple[WordTime, ...] | bytes]:
        with self._provider.open(text, request.voice, request.speed) as speech:
            speech.expect_answer(_DEADLINE_S)
            async for kind, payload in speech:
                match kind:
                    case Kind.WORDS:
                        yield tuple(WordTime(*word) for word in json.loads(payload))
                    case Kind.PCM:
                        yield payload
                    case Kind.DONE if not json.loads(payload)["voice_known"]:
                        self._provider.note_unknown_voice(request.voice)
                    case _:
                        pass
