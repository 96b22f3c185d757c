"""Speech recognition behind OpenAI's transcription address, or any compatible one."""

from __future__ import annotations

import io
import logging
import wave
from dataclasses import replace
from typing import Any, ClassVar, Final

from openai import AsyncOpenAI

from protocol import ErrorCategory, ProviderError, Stage

from .endpoint import Endpoint
from .openai_client import OpenAiClient
from .openai_transcription import read_transcription, transcription_parameters
from .recognition import Recognition
from .segment_stt import SegmentSTTService, Utterance
from .stt_service import SAMPLE_RATE_HZ

logger = logging.getLogger(__name__)

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
        self._no_logprobs = False

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
        answer = await self._answer(file, utterance)
        try:
            return read_transcription(answer)
        except (ValueError, TypeError, AttributeError) as error:
            raise ProviderError(
                Stage.STT,
                ErrorCategory.SERVER,
                f"{endpoint.label} sent an answer that cannot be read.",
            ) from error

    async def _answer(self, file: bytes, utterance: Utterance) -> Any:
        """The server's answer; log probabilities that it refuses to give are not asked again."""
        if self._no_logprobs:
            utterance = replace(utterance, logprobs=False)
        extras = self._extras(utterance)
        try:
            return await self._request(file, extras)
        except ProviderError as error:
            fewer = self._extras(replace(utterance, logprobs=False))
            if error.category is not ErrorCategory.INVALID_REQUEST or fewer == extras:
                raise
        answer = await self._request(file, fewer)
        self._no_logprobs = True
        logger.warning("%s gives no log probabilities", self.client.endpoint.label)
        return answer

    def _extras(self, utterance: Utterance) -> dict[str, Any]:
        """What goes with file and model."""
        if not self.takes_hints:
            return {}
        return transcription_parameters(self.client.endpoint, utterance)

    async def _request(self, file: bytes, extras: dict[str, Any]) -> Any:
        sound = ("speech.wav", file, "audio/wav")
        model = self.client.endpoint.model

        async def request(sdk: AsyncOpenAI) -> Any:
            return await sdk.audio.transcriptions.create(model=model, file=sound, **extras)

        return await self.client.answer(request)


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
