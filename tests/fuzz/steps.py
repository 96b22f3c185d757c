"""What one run is made of: frames, moves of the engines, and time; plain data, for replays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from transport import MAX_MESSAGE_BYTES

_SHOWN_CHARS = 400
MAX_EVENT_ID_CHARS = 512


@dataclass(frozen=True, slots=True)
class Send:
    """One WebSocket message of the client.

    `valid` says that its shape is right, so that only the state of the session may refuse it;
    `echo` is what `session.updated` must show then, by path; `alone` lets everything settle
    before it and behind it.
    """

    frame: str | bytes
    valid: bool = False
    alone: bool = True
    echo: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        shown = repr(self.frame)
        if len(shown) > _SHOWN_CHARS:
            shown = f"{shown[:_SHOWN_CHARS]}… ({len(self.frame)} characters)"
        return f"send{'' if self.alone else ' at once'} {shown}"


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines do something, chosen by `seed` from what there is to do."""

    seed: int
    alone: bool = True

    def __str__(self) -> str:
        return f"engines {self.seed}"


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    seconds: float

    def __str__(self) -> str:
        return f"wait {self.seconds:g} s"


Step = Send | Engines | Wait


def event_of(frame: str | bytes) -> dict[str, Any] | None:
    """The JSON object in a frame, None for anything else."""
    if isinstance(frame, bytes):
        return None
    try:
        event: object = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", event) if isinstance(event, dict) else None


def error_ids(frame: str | bytes, event: dict[str, Any] | None) -> tuple[str | None, ...]:
    """The `error.event_id` values that would be right for a refusal of a frame."""
    if len(frame) > MAX_MESSAGE_BYTES:
        # It is refused unread.
        return (None,)
    sent: object = event.get("event_id") if event is not None else None
    if not isinstance(sent, str):
        return (None,)
    # An empty id names nothing, and one that is too long is no id.
    return (sent,) if 0 < len(sent) <= MAX_EVENT_ID_CHARS else (sent, None)
