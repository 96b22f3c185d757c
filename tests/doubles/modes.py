"""What a double may do with a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["ok", "status", "hang", "reset", "midcut", "malformed", "stall", "slow", "raw"]


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to answer.

    Attributes:
        kind: `ok` answers well; `status` with an HTTP error; `hang` never; `reset` aborts the
            connection unanswered; `midcut` ends it after `after` pieces; `malformed` sends, after
            `after` pieces, what cannot be read; `stall` sends nothing more after `after` pieces;
            `slow` waits `pause_s` before each piece; `raw` sends `pieces` and nothing else.
        pieces: Sent instead of what the double would make up, in any kind that streams.
        body: Of a `status`; None is what the vendor says.
        code: The vendor's name of the error, where a status has several.
    """

    kind: Kind
    status: int = 200
    body: Any = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    after: int = 2
    pause_s: float = 0.0
    pieces: tuple[Any, ...] = ()


OK = Mode("ok")
HANG = Mode("hang")
RESET = Mode("reset")
MIDCUT = Mode("midcut")
MALFORMED = Mode("malformed")
SLOW = Mode("slow", pause_s=0.02)


def status(
    number: int, code: str | None = None, body: Any = None, headers: dict[str, str] | None = None
) -> Mode:
    """Answer with an HTTP error."""
    return Mode("status", status=number, code=code, body=body, headers=headers or {})


def raw(*pieces: Any) -> Mode:
    """Answer with exactly these pieces: chunks of a reply, or bytes of audio."""
    return Mode("raw", pieces=pieces)
