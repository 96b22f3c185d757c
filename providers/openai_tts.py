"""Speech synthesis behind OpenAI's speech address, or any compatible one; audio as it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing
from typing import Any, ClassVar, Final

from openai import AsyncOpenAI

from core.messages import GenerationRequest, WordTime
from protocol import ErrorCategory, ProviderError, Stage

from .endpoint import Endpoint
from .openai_client import OpenAiClient
from .pcm_pieces import PcmPieces
from .speech_patience import SpeechPatience
from .tts_service import SAMPLE_RATE_HZ, ClauseTTSService
from .words import is_speakable

OPENAI_VOICES: Final = frozenset(
    {
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
        *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
    }
)
_UNCHOSEN: Final = "alloy"
"""What the API says for a client that names no voice."""

_DEAF_TO_SPEED: Final = "gpt-4o-mini-tts"
"""OpenAI's API reference on `speed`: it takes it and speaks as fast as ever."""

_NOT_AUDIO: Final = ("text/", "application/json", "application/problem+json")
_CONTAINERS: Final = (b"RIFF", b"ID3", b"OggS", b"fLaC")
"""How formats begin that a server may send although it was asked for bare PCM."""


class OpenAiTtsProvider:
    """Sends each clause and speaks the PCM that comes back while it comes.

    Args:
        endpoint: The server and the model.
        voice: Its voice, any name the server knows.
        sample_rate_hz: Asked of the server and taken from it; None asks for nothing and takes
            OpenAI's 24 kHz.
        stall_s: How long a clause may take to begin, and how far it may fall behind then.
    """

    name: ClassVar[str] = "openai_tts"

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        voice: str,
        sample_rate_hz: int | None = None,
        stall_s: float = 10.0,
    ) -> None:
        self.client = OpenAiClient(endpoint, Stage.TTS, stall_s)
        self.rate_hz = sample_rate_hz or SAMPLE_RATE_HZ
        deaf = endpoint.model.startswith(_DEAF_TO_SPEED)
        self.speeds: tuple[float, float] = (1.0, 1.0) if deaf else (0.25, 4.0)
        self._asked_rate_hz = sample_rate_hz
        self._voice = voice
        self._admitted: set[str] = set()

    def describe(self) -> str:
        endpoint = self.client.endpoint
        return f"{self.name}: {endpoint.model}, voice {self._voice}, at {endpoint.host}"

    async def start(self) -> None:
        """Set up the shared client; asks the server for nothing."""
        await self.client.start()

    async def close(self) -> None:
        await self.client.close()

    def create_service(self) -> OpenAiTTSService:
        return OpenAiTTSService(self)

    def parameters(self, text: str, request: GenerationRequest) -> dict[str, Any]:
        """The body of a request."""
        parameters: dict[str, Any] = {
            "model": self.client.endpoint.model,
            "input": text,
            "voice": self._voice_for(request.voice),
            "response_format": "pcm",
        }
        if request.speed != 1.0:
            parameters["speed"] = request.speed
        if self._asked_rate_hz is not None:
            parameters["extra_body"] = {"sample_rate": self._asked_rate_hz}
        return parameters

    def knows_voice(self, name: str) -> bool:
        """Whether it is one of OpenAI's; of other servers nobody knows what they have."""
        if name in self._admitted:
            return True
        return self.client.endpoint.is_openai and name in OPENAI_VOICES

    def admit_voices(self, names: Iterable[str]) -> None:
        """Note that the server has these voices."""
        self._admitted.update(names)

    def _voice_for(self, wanted: str) -> str:
        """The client's voice where the server has it; the configured one otherwise.

        Only OpenAI's own voices are known; and clients name `alloy` without meaning it.
        """
        if wanted in self._admitted:
            return wanted
        if self.client.endpoint.is_openai and wanted in OPENAI_VOICES - {_UNCHOSEN}:
            return wanted
        return self._voice


class SiliconFlowTtsProvider(OpenAiTtsProvider):
    """SiliconFlow's voices, which stream only when asked to."""

    name: ClassVar[str] = "siliconflow"

    def parameters(self, text: str, request: GenerationRequest) -> dict[str, Any]:
        parameters = super().parameters(text, request)
        return parameters | {"extra_body": {"sample_rate": self.rate_hz, "stream": True}}


class OpenAiTTSService(ClauseTTSService):
    """One session's voice."""

    def __init__(self, provider: OpenAiTtsProvider) -> None:
        super().__init__()
        self._provider = provider

    async def synthesize(
        self, text: str, request: GenerationRequest
    ) -> AsyncIterator[tuple[WordTime, ...] | bytes]:
        if not is_speakable(text):
            return
        client = self._provider.client
        parameters = self._provider.parameters(text, request)
        received = False
        async with AsyncExitStack() as stack:

            async def request_speech(sdk: AsyncOpenAI) -> Any:
                speech = sdk.audio.speech.with_streaming_response.create(**parameters)
                return await stack.enter_async_context(speech)

            response = await client.answer(request_speech)
            self._check_type(str(response.headers.get("content-type") or ""))
            patience = SpeechPatience(client.stall_s)
            source = aclosing(patience.pieces(response.iter_bytes()))
            waits = await stack.enter_async_context(source)
            body = await stack.enter_async_context(aclosing(client.pieces(waits, patience.left_s)))
            pieces = PcmPieces(self._provider.rate_hz)
            async for chunk in body:
                patience.heard(len(chunk) / (2 * self._provider.rate_hz))
                if not received:
                    self._check_beginning(chunk)
                for piece in pieces.add(chunk):
                    yield piece
                received = received or bool(chunk)
            for piece in pieces.end():
                yield piece
        if not received:
            raise self._unusable("sent no audio")

    def _check_type(self, content_type: str) -> None:
        if content_type.lower().startswith(_NOT_AUDIO):
            raise self._unusable("sent an answer that is no audio")

    def _check_beginning(self, chunk: bytes) -> None:
        if chunk.startswith(_CONTAINERS):
            raise self._unusable("sent a sound file instead of bare PCM")

    def _unusable(self, what: str) -> ProviderError:
        label = self._provider.client.endpoint.label
        return ProviderError(Stage.TTS, ErrorCategory.SERVER, f"{label} {what}.")
