"""The tone voice as a provider: every word a beep, so that nobody mistakes it for speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

from core.messages import GenerationRequest, WordTime

from . import tone
from .tts_service import ClauseTTSService


class ToneProvider:
    """Needs nothing, says everything the same way on every machine, in any language.

    Args:
        first_audio_ms: Time from a clause to its first audio (`latency.tts_first_ms` of a script).
        sleep: How time passes; tests run at speed 0.
    """

    name: ClassVar[str] = "tone"
    speeds: tuple[float, float] = (0.25, 1.5)

    def __init__(
        self, first_audio_ms: int = 0, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._first_audio_ms = first_audio_ms
        self._sleep = sleep

    def describe(self) -> str:
        return "tone: one beep a word, bit-exact, no speech; for tests and as a last resort"

    async def start(self) -> None:
        """Nothing to bring up."""

    async def close(self) -> None:
        """Nothing to release."""

    def create_service(self) -> ClauseTTSService:
        return _ToneService(self._first_audio_ms / 1000, self._sleep)


class _ToneService(ClauseTTSService):
    def __init__(self, first_audio_s: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        super().__init__()
        self._first_audio_s = first_audio_s
        self._sleep = sleep

    async def synthesize(
        self, text: str, request: GenerationRequest
    ) -> AsyncIterator[tuple[WordTime, ...] | bytes]:
        await self._sleep(self._first_audio_s)
        for piece in tone.stream(text, request.speed):
            yield piece
            # The consumer may take a piece without giving way to other sessions.
            await self._sleep(0)
