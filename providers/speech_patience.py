"""How long a remote voice may keep its listener waiting: for the next piece, and all in all."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")

_LEAST_S: Final = 0.001
"""A wait of zero would fail a piece that is there already."""


class SpeechPatience:
    """The patience with one clause.

    A limit for each piece alone would let a voice trickle for ever, a few milliseconds of audio at
    a time. So what is waited counts, and the audio that comes makes up for it: a voice may fall
    behind real time by `stall_s`, and no piece may take longer than that. Time that nobody waits,
    because earlier clauses still play, does not count.

    Args:
        stall_s: The limit.
        clock: Tells the seconds.
    """

    def __init__(self, stall_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_s = stall_s
        self._clock = clock
        self._behind_s = 0.0

    def left_s(self) -> float:
        """How long the next piece may take."""
        return max(self._stall_s - max(self._behind_s, 0.0), _LEAST_S)

    def heard(self, audio_s: float) -> None:
        """So much audio has come."""
        self._behind_s -= audio_s

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Count the time in this block as waited for the voice."""
        began_s = self._clock()
        try:
            yield
        finally:
            self._behind_s += self._clock() - began_s

    async def pieces(self, source: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """`source`, with the waits for it counted."""
        while True:
            with self.waiting():
                try:
                    piece = await anext(source)
                except StopAsyncIteration:
                    return
            yield piece
