"""The tone voice as a provider: every word a beep, so that nobody mistakes it for speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import ClassVar

from core.messages import GenerationRequest, WordTime

from . import tone
from .script import Latency
from .speech_timing import timed
from .tts_service import ClauseTTSService


class ToneProvider:
    """Needs nothing, says everything the same way on every machine, in any language.

    Args:
        latency: Times from a clause to its first audio and from there on; None is at once.
        sleep: How time passes; tests run at speed 0.
    """

    name: ClassVar[str] = "tone"
    speeds: tuple[float, float] = (0.25, 1.5)

    def __init__(
        self,
        latency: Latency | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._latency = latency or Latency()
        self._sleep = sleep

    def describe(self) -> str:
        return "tone: one beep a word, bit-exact, no speech; for tests and as a last resort"

    async def start(self) -> None:
        """Nothing to bring up."""

    async def close(self) -> None:
        """Nothing to release."""

    def create_service(self) -> ClauseTTSService:
        service = _ToneService()
        service.shape_speech = partial(timed, latency=self._latency, sleep=self._sleep)
        return service


class _ToneService(ClauseTTSService):
    async def synthesize(
        self, text: str, request: GenerationRequest
    ) -> AsyncIterator[tuple[WordTime, ...] | bytes]:
        for piece in tone.stream(text, request.speed):
            yield piece
