"""Several voices as one: a clause that one cannot begin is spoken by the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from pipecat.processors.frame_processor import FrameProcessor, FrameProcessorSetup

from core.messages import GenerationRequest, WordTime
from protocol import ProviderError

from .base import TtsProvider
from .failover_roster import FailoverProvider
from .tts_service import ClauseTTSService, Speech

Piece = tuple[WordTime, ...] | bytes


class FailoverTtsProvider(FailoverProvider[TtsProvider]):
    """Voices in the order of preference; their services must be `ClauseTTSService`s."""

    @property
    def speeds(self) -> tuple[float, float]:
        """What all of them can do: a clause may be spoken by any."""
        slowest = max(engine.speeds[0] for engine in self.engines)
        fastest = min(engine.speeds[1] for engine in self.engines)
        return min(slowest, 1.0), max(fastest, 1.0)

    def create_service(self) -> ClauseTTSService:
        return FailoverTTSService(self)


class FailoverTTSService(ClauseTTSService):
    """One session's voice.

    A clause is spoken by one engine from its first sound to its last: what fails later fails the
    clause, since another voice would have to begin it again.
    """

    def __init__(self, provider: FailoverTtsProvider) -> None:
        super().__init__()
        self._roster = provider.roster
        self._deadline_s = provider.deadline_s
        self._voices: list[ClauseTTSService] = provider.services()

    @property
    def processors(self) -> list[FrameProcessor]:
        """Those inside of it, as of a pipeline."""
        return [*self._voices]

    async def setup(self, setup: FrameProcessorSetup) -> None:
        await super().setup(setup)
        for voice in self._voices:
            await voice.setup(setup)

    async def cleanup(self) -> None:
        await super().cleanup()
        for voice in self._voices:
            await voice.cleanup()

    async def synthesize(self, text: str, request: GenerationRequest) -> AsyncIterator[Piece]:
        order = self._roster.order()
        for index in order:
            has_backup = index != order[-1]
            voice = self._voices[index]
            # An async generator by contract, see `ClauseTTSService.synthesize`.
            spoken = cast(Speech, voice.synthesize(text, voice.resolve_voice(request)))
            speech = voice.shape_speech(spoken)
            begun = False
            try:
                async with aclosing(speech):
                    for piece in await self._beginning(index, speech, has_backup):
                        begun = begun or isinstance(piece, bytes)
                        yield piece
                    async for piece in speech:
                        yield piece
            except ProviderError as error:
                self._roster.failed(index, error)
                if begun or not has_backup:
                    raise
            else:
                self._roster.worked(index)
                return

    async def _beginning(
        self, index: int, speech: AsyncGenerator[Piece, None], has_backup: bool
    ) -> list[Piece]:
        """The pieces up to the first audio, which the last engine may take its own time for."""
        pieces: list[Piece] = []
        try:
            async with asyncio.timeout(self._deadline_s if has_backup else None):
                async for piece in speech:
                    pieces.append(piece)
                    if isinstance(piece, bytes):
                        break
        except TimeoutError as error:
            raise self._roster.late(index) from error
        return pieces
