"""How far a spoken reply may run ahead of the ear that hears it."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")
CLOCK_SLACK_S = 1e-6
"""A timer set for exactly the deadline must find the entry ready, whatever floats round to."""


class Pacer(Generic[T]):
    """A queue of output that is let go at most `lead_ms` ahead of real time.

    The clock starts with the first audio let go and stands still while nothing is left to play, as
    a client's player does. Entries without a duration (text, the end) keep their place in the
    queue.
    """

    __slots__ = ("_played_out_s", "_queue", "lead_ms", "queued_ms", "sent_ms")

    def __init__(self, lead_ms: float | None) -> None:
        self.lead_ms = lead_ms
        """Largest lead; None lets everything go at once."""
        self.sent_ms = 0.0
        """Audio let go so far."""
        self.queued_ms = 0.0
        """Audio waiting."""
        self._queue: deque[tuple[T, float]] = deque()
        self._played_out_s: float | None = None

    def wait_for(self, until_s: float) -> None:
        """Nothing of this queue sounds before `until_s`: something else still does."""
        self._played_out_s = until_s

    def push(self, entry: T, duration_ms: float = 0.0) -> None:
        """Queue one entry that plays for `duration_ms`."""
        self._queue.append((entry, duration_ms))
        self.queued_ms += duration_ms

    def release(self, now: float) -> list[T]:
        """Everything that may go at `now` (seconds), in order."""
        released: list[T] = []
        while self._queue and self._wait_s(now) <= CLOCK_SLACK_S:
            entry, duration_ms = self._queue.popleft()
            if duration_ms:
                self.queued_ms -= duration_ms
                self.sent_ms += duration_ms
                start_s = max(now, self._played_out_s or now)
                self._played_out_s = start_s + duration_ms / 1000
            released.append(entry)
        return released

    def waiting(self) -> list[T]:
        """What has not been let go, in order."""
        return [entry for entry, _ in self._queue]

    def deadline(self, now: float) -> float | None:
        """When the next entry may go; None when nothing waits."""
        return now + max(self._wait_s(now), 0.0) if self._queue else None

    def played_ms(self, now: float) -> float:
        """How much of what was sent has sounded, if the client plays it as it comes."""
        if self._played_out_s is None:
            return 0.0
        return max(self.sent_ms - max(self._played_out_s - now, 0.0) * 1000, 0.0)

    def plays_until(self, now: float) -> float:
        """When all that was sent has sounded, `now` at the earliest."""
        return max(now, self._played_out_s or now)

    def _wait_s(self, now: float) -> float:
        """Seconds until the first entry may go; with nothing left to play it goes at once."""
        if self.lead_ms is None or self._played_out_s is None:
            return 0.0
        ahead_s = self._played_out_s - now
        excess_s = ahead_s + (self._queue[0][1] - self.lead_ms) / 1000
        return min(ahead_s, excess_s)
