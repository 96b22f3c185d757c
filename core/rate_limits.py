"""How many responses and tokens a key may still have: leaky buckets, on a clock handed in.

The process owns them and all sessions of a key share one `Allowance`; a session's machine knows
only the protocol `Limiter`, so that a store that several processes share can take its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.messages import Failure, Output
from protocol import (
    ErrorCategory,
    RateLimit,
    RateLimitsUpdated,
    ResponseCreated,
    ResponseDone,
    Stage,
)

MINUTE_S = 60.0
_UNUSED = (0.0, -math.inf)
ROUNDING = 1e-9
"""A request must fit again at the very moment that was named, whatever floats round to."""


class Limiter(Protocol):
    """The limits of one key; `now` is in seconds of the process's monotonic clock."""

    def is_open(self, now: float) -> bool:
        """Whether a response might be had; it takes none."""
        ...

    def admit(self, model: str, now: float) -> Failure | None:
        """Take one response out of the limits, or say why it may not be had."""
        ...

    def spend(self, tokens: int, now: float) -> None:
        """Count what a response has cost, once that is known."""
        ...

    def levels(self, now: float) -> tuple[RateLimit, ...]:
        """What is left of each limit; empty where there is none."""
        ...


@dataclass(slots=True)
class _Bucket:
    """Fills with what is used and leaks `limit` a minute.

    Leaking rather than emptying at the full minute: no moment lets two minutes' worth through, and
    what is said of the reset is true at any time.
    """

    name: Literal["requests", "tokens"]
    limit: int
    _level: float = 0.0
    _at_s: float = -math.inf

    def level(self, now: float) -> float:
        """How much of the limit is in use."""
        # A session that ends may report a moment that is older than the last one.
        leaked = max(now - self._at_s, 0.0) * self.limit / MINUTE_S
        return max(self._level - leaked, 0.0)

    def add(self, amount: int, now: float) -> None:
        self._level = self.level(now) + amount
        self._at_s = max(now, self._at_s)

    def wait_s(self, amount: int, now: float) -> float:
        """How long until `amount` fits."""
        excess = self.level(now) + amount - self.limit
        return excess * MINUTE_S / self.limit if excess > ROUNDING * self.limit else 0.0

    def state(self) -> tuple[float, float]:
        return self._level, self._at_s

    def restore(self, level: float, at_s: float) -> None:
        self._level, self._at_s = level, at_s

    def shown(self, now: float) -> RateLimit:
        level = self.level(now)
        remaining = math.floor(self.limit - level + ROUNDING * self.limit)
        reset_s = round(level * MINUTE_S / self.limit, 3)
        return RateLimit(self.name, self.limit, max(remaining, 0), reset_s)


def _bucket(name: Literal["requests", "tokens"], limit: int | None) -> _Bucket | None:
    return None if limit is None else _Bucket(name, limit)


class Allowance:
    """The limits of one key.

    Args:
        requests_per_minute: Responses a minute, None for no limit.
        tokens_per_minute: Tokens a minute, input and output together, None for no limit. What a
            response will cost is known when it is over: the one that crosses the limit is served,
            and later ones wait until what is above it has leaked away.
    """

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._requests = _bucket("requests", requests_per_minute)
        self._tokens = _bucket("tokens", tokens_per_minute)

    def state(self) -> tuple[float, float, float, float]:
        """All that changes in it, for whoever keeps it elsewhere: see `restore`."""
        requests, tokens = (b.state() if b else _UNUSED for b in (self._requests, self._tokens))
        return (*requests, *tokens)

    def restore(self, state: Sequence[float]) -> None:
        """Go on from a `state`."""
        for bucket, level, at_s in (
            (self._requests, *state[:2]),
            (self._tokens, *state[2:]),
        ):
            if bucket:
                bucket.restore(level, at_s)

    def is_open(self, now: float) -> bool:
        """See `Limiter`."""
        return not any(b and b.wait_s(1, now) for b in (self._requests, self._tokens))

    def admit(self, model: str, now: float) -> Failure | None:
        """See `Limiter`. What is refused is not counted."""
        for bucket, unit in ((self._requests, "RPM"), (self._tokens, "TPM")):
            if bucket and (wait_s := bucket.wait_s(1, now)):
                message = (
                    f"Rate limit reached for {model} on {bucket.name} per min ({unit}): "
                    f"Limit {bucket.limit}, Used {math.ceil(bucket.level(now))}. "
                    f"Please try again in {math.ceil(wait_s * 1000) / 1000:g}s."
                )
                return Failure(Stage.LLM, ErrorCategory.RATE_LIMIT, message)
        if self._requests:
            self._requests.add(1, now)
        return None

    def spend(self, tokens: int, now: float) -> None:
        """See `Limiter`."""
        if self._tokens:
            self._tokens.add(tokens, now)

    def levels(self, now: float) -> tuple[RateLimit, ...]:
        """See `Limiter`."""
        return tuple(b.shown(now) for b in (self._requests, self._tokens) if b)


def with_levels(outputs: Sequence[Output], limiter: Limiter, now: float) -> list[Output]:
    """The outputs with what is left of the limits beside each response, once it is counted."""
    told: list[Output] = []
    for output in outputs:
        told.append(output)
        match output:
            case ResponseCreated() if levels := limiter.levels(now):
                told.append(RateLimitsUpdated(levels, "created"))
            case ResponseDone(view):
                if view.usage is not None:
                    limiter.spend(view.usage.input_tokens + view.usage.output_tokens, now)
                if levels := limiter.levels(now):
                    told.append(RateLimitsUpdated(levels, "done"))
            case _:
                pass
    return told
