"""How long a listening session has heard nobody since its last reply was played to the end."""

from __future__ import annotations

from dataclasses import dataclass

from core.turn import SAMPLES_PER_MS

IDLE_NOTE = (
    "No user speech was detected for a while. Ask whether the user is still there, or help them to "
    "go on, according to the conversation so far."
)
"""The system message that tells the model why it speaks without having been spoken to."""

HEARD_SHARE = 0.5
"""Share of the wait that must have arrived as audio. A microphone sends all of it, less what the
network holds back; a client that sends nothing is not a silent user, and is left alone."""


@dataclass(slots=True)
class IdleWatch:
    """Waits for the end of playback, and from there for as long as the session says.

    Args:
        since_s: When playback ends, in seconds of the session's clock.
        start: Position in the input audio at that moment, None before it.
    """

    since_s: float
    start: int | None = None

    def deadline(self, timeout_ms: int) -> float:
        """When `look` wants to be called next."""
        return self.since_s if self.start is None else self.since_s + timeout_ms / 1000

    def look(self, now: float, position: int, timeout_ms: int) -> int | None:
        """Where the silence began, once it has lasted for the time-out; None until then.

        Args:
            now: The present moment.
            position: Where the input audio ends now, in samples.
            timeout_ms: `idle_timeout_ms` of the session.
        """
        if now < self.deadline(timeout_ms):
            return None
        if self.start is None:
            self.start = position
            return None
        if position - self.start >= timeout_ms * SAMPLES_PER_MS * HEARD_SHARE:
            return self.start
        self.since_s, self.start = now, position
        return None
