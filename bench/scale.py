"""How much is measured: the whole benchmark, or a quick look while developing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of one run.

    Attributes:
        openings: Sessions opened one after the other, and then as many at the same moment.
        idle_sessions: Numbers of idle sessions at which memory is read.
        recordings: How many of the recordings are spoken.
        spoken_turns: Times each recording is spoken to the embedded engines.
        speculation_recordings: How many are spoken to servers that begin replies in pauses.
        chunks_ms: Sizes of appends.
        warm_up_s: Time before a window in which all of the load already runs.
        window_s: Length of each window.
        takes: How often the due times of events are recorded; the earliest counts.
        first_guess: Share of the sessions that would fill the core by the CPU of a few, at which
            the search for the capacity begins.
        precision: Of a capacity, as a share.
        most_levels: How many numbers of sessions a search may try.
        second_chance: Whether a number that failed is tried once more.
        soak_sessions: Live sessions of the soak.
        soak_minutes: Its length.
        soak_life_s: How long each of its sessions lives.
        profile_sessions: Live sessions while a profile is taken.
    """

    openings: int
    idle_sessions: tuple[int, ...]
    recordings: int
    spoken_turns: int
    speculation_recordings: int
    chunks_ms: tuple[int, ...]
    warm_up_s: float
    window_s: float
    takes: int
    first_guess: float
    precision: float
    most_levels: int
    second_chance: bool
    soak_sessions: int
    soak_minutes: float
    soak_life_s: float
    profile_sessions: int


FULL = Scale(
    openings=200,
    idle_sessions=(1, 50, 200),
    recordings=4,
    spoken_turns=3,
    speculation_recordings=18,
    chunks_ms=(20, 100),
    warm_up_s=2,
    window_s=12,
    takes=2,
    first_guess=0.9,
    precision=0.06,
    most_levels=16,
    second_chance=True,
    soak_sessions=50,
    soak_minutes=30,
    soak_life_s=20,
    profile_sessions=60,
)
QUICK = Scale(
    openings=40,
    idle_sessions=(1, 20),
    recordings=2,
    spoken_turns=1,
    speculation_recordings=6,
    chunks_ms=(20,),
    warm_up_s=1,
    window_s=5,
    takes=1,
    first_guess=0.7,
    precision=0.15,
    most_levels=4,
    second_chance=False,
    soak_sessions=20,
    soak_minutes=0.5,
    soak_life_s=5,
    profile_sessions=20,
)
