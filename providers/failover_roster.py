"""Which of several engines of a stage is asked next: one memory for all sessions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from protocol import ErrorCategory, ProviderError, Stage

from .base import Provider

logger = logging.getLogger(__name__)

ProviderT = TypeVar("ProviderT", bound=Provider)


class Roster:
    """Engines in the order of preference, and which of them are spared for having failed.

    An engine that fails is spared for `retry_s`: its backups serve meanwhile, for all sessions,
    and then it is asked again. When all are spared all are asked, in their order.

    Args:
        names: The engines.
        retry_s: How long an engine is spared.
        clock: Tells the seconds.
    """

    def __init__(
        self,
        stage: Stage,
        names: Sequence[str],
        retry_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._names = tuple(names)
        self._retry_s = retry_s
        self._clock = clock
        self._spared_until = [0.0] * len(self._names)

    def order(self) -> list[int]:
        """The engines to ask for one turn, each by its number."""
        now = self._clock()
        # The sort is stable: within both groups the order of preference stays.
        return sorted(range(len(self._names)), key=lambda index: self._spared_until[index] > now)

    def failed(self, index: int, error: ProviderError) -> None:
        """Note a failure; an engine that refused one request may serve the next as ever."""
        logger.warning("%s: %s failed: %s", self._stage, self._names[index], error.message)
        if error.category is not ErrorCategory.INVALID_REQUEST:
            self._spared_until[index] = self._clock() + self._retry_s

    def worked(self, index: int) -> None:
        """Note a success."""
        if self._spared_until[index]:
            self._spared_until[index] = 0.0
            logger.info("%s: %s serves again", self._stage, self._names[index])

    def late(self, index: int) -> ProviderError:
        """The failure of an engine that took too long to begin."""
        return ProviderError(
            self._stage, ErrorCategory.TIMEOUT, f"{self._names[index]} did not answer in time."
        )


class FailoverProvider(Generic[ProviderT]):
    """What the wrappers of the three stages share: several providers that live as one.

    Args:
        stage: Which stage.
        engines: The providers in the order of preference, two or more.
        deadline_s: How long an engine that has a backup behind it may take to begin.
        retry_s: How long an engine that failed is spared.
        clock: Tells the seconds, for `retry_s`.

    Attributes:
        name: The names of all of them, as the setting lists them.
    """

    def __init__(
        self,
        stage: Stage,
        engines: Sequence[ProviderT],
        *,
        deadline_s: float,
        retry_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage = stage
        self.engines = tuple(engines)
        self.name = ",".join(engine.name for engine in engines)
        self.deadline_s = deadline_s
        self.roster = Roster(stage, [engine.name for engine in engines], retry_s, clock)

    def describe(self) -> str:
        first, *backups = (engine.describe() for engine in self.engines)
        return f"{first}; backup: {', then '.join(backups)}"

    async def start(self) -> None:
        """Bring the engines up, side by side.

        Raises:
            ConfigError: a setting that one of them cannot work with.
            ProviderError: an engine that does not come up.
        """
        await asyncio.gather(*(engine.start() for engine in self.engines))

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self.engines))

    def services(self) -> list[Any]:
        """A service of each engine, for one session."""
        engines: tuple[Any, ...] = self.engines
        return [engine.create_service() for engine in engines]
