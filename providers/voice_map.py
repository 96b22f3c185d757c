"""The voices of one profile: the names clients use, and what they stand for at the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from core.messages import GenerationRequest

from .base import TtsProvider
from .tts_service import ClauseTTSService

logger = logging.getLogger(__name__)

_MOST_NAMES_REMEMBERED: Final = 200


class VoiceMap:
    """Resolves the voice of a request; a name it does not know is told to the log once.

    Args:
        profile: Whose voices they are.
        voices: The engine's voices by the names that clients use.
        knows: Whether the engine has a voice of that name itself.
    """

    def __init__(
        self, profile: str, voices: Mapping[str, str], knows: Callable[[str], bool]
    ) -> None:
        self._profile = profile
        self._voices = dict(voices)
        self._knows = knows
        self._told: set[str] = set()

    def apply(self, request: GenerationRequest) -> GenerationRequest:
        """The request in the engine's words."""
        wanted = request.voice
        if wanted in self._voices:
            return replace(request, voice=self._voices[wanted])
        if wanted and not self._knows(wanted):
            self._tell(wanted)
        return request

    def _tell(self, wanted: str) -> None:
        if wanted in self._told or len(self._told) >= _MOST_NAMES_REMEMBERED:
            return
        self._told.add(wanted)
        logger.warning(
            "profile %s has no voice %.40r; its own voice speaks instead", self._profile, wanted
        )


class MappedVoicesProvider:
    """A voice engine as one profile knows it.

    Args:
        inner: The engine, which other profiles may share.
        profile: Whose voices they are.
        voices: The engine's voices by the names that clients use.
    """

    def __init__(self, inner: TtsProvider, profile: str, voices: Mapping[str, str]) -> None:
        self._inner = inner
        self._map = VoiceMap(profile, voices, getattr(inner, "knows_voice", lambda name: True))
        if admit := getattr(inner, "admit_voices", None):
            admit(voices.values())

    @property
    def name(self) -> Any:
        """The engine's name."""
        return self._inner.name

    @property
    def speeds(self) -> tuple[float, float]:
        """Those of the engine."""
        return self._inner.speeds

    def describe(self) -> str:
        return self._inner.describe()

    async def start(self) -> None:
        await self._inner.start()

    async def close(self) -> None:
        await self._inner.close()

    def create_service(self) -> Any:
        """A service of the engine that resolves voices first."""
        service = self._inner.create_service()
        if isinstance(service, ClauseTTSService):
            service.resolve_voice = self._map.apply
        return service
