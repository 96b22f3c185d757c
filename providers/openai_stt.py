"""Speech recognition behind OpenAI's transcription address, or any compatible one."""

from __future__ import annotations

import io
import wave
from typing import Any, ClassVar, Final

from openai import AsyncOpenAI

from protocol import ErrorCategory, ProviderError, Stage

from .endpoint import Endpoint
from .openai_client import OpenAiClient
from .openai_transcription import read_transcription, transcription_parameters
from .recognition import Recognition
from .segment_stt import SegmentSTTService, Utterance
from .stt_service import SAMPLE_RATE_HZ

_MOST_BYTES: Final = 25 * 1024 * 1024
"""OpenAI takes no larger file: 13 minutes of speech."""


class OpenAiSttProvider:
    """Sends each segment as a WAV file.

    Args:
        endpoint: The server and the model.
        language: Spoken where the client names none (BCP-47); None lets the model find out.
        timeout_s: How long an answer may take.
    """

    name: ClassVar[str] = "openai_whisper"
    languages: frozenset[str] | None = None
    takes_hints: ClassVar[bool] = True
    """Whether the server takes more than file and model."""

    def __init__(
        self, endpoint: Endpoint, *, language: str | None = None, timeout_s: float = 10.0
    ) -> None:
        self.client = OpenAiClient(endpoint, Stage.STT, timeout_s)
        self._language = language

    def describe(self) -> str:
        endpoint = self.client.endpoint
        return f"{self.name}: {endpoint.model} at {endpoint.host}"

    async def start(self) -> None:
        """Set up the shared client; asks the server for nothing."""
        await self.client.start()

    async def close(self) -> None:
        await self.client.close()

    def create_service(self) -> SegmentSTTService:
        return SegmentSTTService(
            self.transcribe, model=self.client.endpoint.model, language=self._language
        )

    async def transcribe(self, utterance: Utterance) -> Recognition:
        """Understand an utterance.

        Raises:
            ProviderError: the server cannot or will not.
        """
        endpoint = self.client.endpoint
        file = _wav(utterance.pcm)
        if len(file) > _MOST_BYTES:
            raise ProviderError(
                Stage.STT,
                ErrorCategory.INVALID_REQUEST,
                f"{endpoint.label} takes at most 13 minutes of speech at once.",
            )
        parameters: dict[str, Any] = {
            "model": endpoint.model,
            "file": ("speech.wav", file, "audio/wav"),
        }
        if self.takes_hints:
            parameters |= transcription_parameters(endpoint.model, utterance)

        async def request(sdk: AsyncOpenAI) -> Any:
            return await sdk.audio.transcriptions.create(**parameters)

        answer = await self.client.answer(request)
        try:
            return read_transcription(answer)
        except (ValueError, TypeError, AttributeError) as error:
            raise ProviderError(
                Stage.STT,
                ErrorCategory.SERVER,
                f"{endpoint.label} sent an answer that cannot be read.",
            ) from error


class SiliconFlowSttProvider(OpenAiSttProvider):
    """SiliconFlow's recognisers, which take file and model and nothing else."""

    name: ClassVar[str] = "siliconflow"
    takes_hints: ClassVar[bool] = False


def _wav(pcm: bytes) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm)
    return buffer.getvalue()
