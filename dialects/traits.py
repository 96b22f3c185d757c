"""The few differences between the dialects that are behaviour and not shape."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traits:
    """What the session is told about its client's dialect.

    `cancel_idle_message` answers a `response.cancel` with nothing to cancel: LiveKit forgives only
    a text that starts with "Cancellation failed", Step-Realtime-Console only the beta one.
    """

    cancel_idle_message: str
