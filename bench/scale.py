"""How much is measured: the whole benchmark, or a quick look while developing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of one run.

    Attributes:
        openings: Sessions opened one after the other.
        burst: Sessions opened at the same moment.
        idle_sessions: Numbers of idle sessions at which memory is read.
        recordings: How many of the recordings are spoken.
        spoken_turns: Times each recording is spoken to the embedded engines.
        streaming_sessions: Sessions that stream at once.
        warm_up_s: Time before a streaming window in which the load already runs.
        streaming_s: Length of each streaming window.
        rounds: How often every pair of contender and append size gets its window.
    """

    openings: int
    burst: int
    idle_sessions: tuple[int, ...]
    recordings: int
    spoken_turns: int
    streaming_sessions: int
    warm_up_s: float
    streaming_s: float
    rounds: int


FULL = Scale(
    openings=100,
    burst=200,
    idle_sessions=(1, 50, 200),
    recordings=4,
    spoken_turns=3,
    streaming_sessions=20,
    warm_up_s=2,
    streaming_s=20,
    rounds=2,
)
QUICK = Scale(
    openings=20,
    burst=40,
    idle_sessions=(1, 20),
    recordings=2,
    spoken_turns=1,
    streaming_sessions=6,
    warm_up_s=1,
    streaming_s=4.5,
    rounds=1,
)
