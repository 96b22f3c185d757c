"""Recognisers that are asked for a whole stretch of speech: at its end, and early in a pause.

In a pause they hear what there is by then. When nobody speaks behind it, that was the answer.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from protocol import ProviderError

from .recognition import Recognition
from .stt_service import SpeechSegment, TurnSTTService

logger = logging.getLogger(__name__)


class UtteranceSegment(SpeechSegment):
    """A segment that can be waited for."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__(metadata)
        self._changed = asyncio.Event()

    def settle(self, pause: int) -> None:
        super().settle(pause)
        self._wake()

    def close(self, settled_at: int | None = None) -> None:
        super().close(settled_at)
        self._wake()

    def drop(self) -> None:
        super().drop()
        self._wake()

    async def next_pause(self, last: int | None) -> int | None:
        """Wait for a pause behind the `last` one; None when the audio is complete before."""
        await self.until(lambda: self.closed.is_set() or self.pause != last)
        return None if self.closed.is_set() else self.pause

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, which may depend on pause and end."""
        while not condition():
            await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


SegmentT = TypeVar("SegmentT", bound=UtteranceSegment)


class UtteranceSTTService(TurnSTTService[SegmentT]):
    """One session's ear."""

    frame_ms = 500

    @abstractmethod
    async def transcribe(self, segment: SegmentT) -> Recognition:
        """Understand what the segment holds by now; may be cancelled.

        Raises:
            ProviderError: the engine cannot or will not.
        """

    async def recognise(self, segment: SegmentT) -> Recognition | None:
        seen: int | None = None
        settled: Recognition | ProviderError | None = None
        while (pause := await segment.next_pause(seen)) is not None:
            seen, settled = pause, await self._ahead(segment, pause)
        if segment.dropped:
            return None
        if settled is None or segment.pause != seen:
            return await self.transcribe(segment)
        if isinstance(settled, ProviderError):
            # The same audio again would take the same deadline again.
            raise settled
        return settled

    async def _ahead(self, segment: SegmentT, pause: int) -> Recognition | ProviderError | None:
        """Answer a pause; None when speech went on meanwhile, the error when it cannot be."""
        work = asyncio.create_task(self.transcribe(segment), name="words so far")
        gone_on = asyncio.create_task(
            segment.until(lambda: segment.pause != pause or segment.dropped), name="speech goes on"
        )
        try:
            await asyncio.wait({work, gone_on}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return None
            heard = work.result()
        except ProviderError as error:
            logger.info("words ahead of the end of a turn: %s", error.message)
            return error
        finally:
            work.cancel()
            gone_on.cancel()
            await asyncio.wait({work, gone_on})
        await self.tell_settled(segment, pause, heard)
        return heard
