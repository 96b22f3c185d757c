"""What the figures are held to, and whether they are."""

from __future__ import annotations

from dataclasses import dataclass

from . import measure_capacity, measure_speculation
from .capacity_tables import ratio
from .measure_capacity import Capacity
from .measure_memory import Memory
from .measure_open import Opening
from .measure_soak import Soak
from .measure_speculation import DEFAULT, Outcome
from .report import Table
from .server import FLOOR, INSTANT, STOCK

SOAK_TOLERANCE_MB = 2.0
"""What the allocator's whims may add over a soak; a leak of 1 KB a session is more."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and what was measured."""

    target: str
    limit: str
    measured: str
    met: bool


def of_capacity(capacities: list[Capacity]) -> list[Verdict]:
    """Ratios to the other contenders, and the delays at half load, at each size of appends."""
    verdicts: list[Verdict] = []
    for chunk_ms, times in ((20, 5.0), (100, 4.0)):
        if chunk_ms not in {capacity.chunk_ms for capacity in capacities}:
            continue
        ours, stock, floor = (
            measure_capacity.of(capacities, contender, chunk_ms)
            for contender in (INSTANT, STOCK, FLOOR)
        )
        half = ours.half
        at = f"{chunk_ms} ms appends"
        verdicts += [
            _least(f"sessions per core ÷ stock Pipecat, {at}", times, ours.sessions, stock),
            _least(f"sessions per core ÷ floor, {at}", 0.6, ours.sessions, floor),
            _most(f"speech_stopped beyond the window p50, {at}", 50, half.beyond_window.p50),
            _most(f"speech_stopped → first audio p50, half load, {at}", 5, half.first_audio.p50),
            _most(f"the same p99, {at}", 15, half.first_audio.p99),
            _most(f"barge-in → last audio p99, half load, {at}", 10, half.barge_in.p99),
        ]
    return verdicts


def of_memory(memories: list[Memory]) -> list[Verdict]:
    """Memory per session against stock's, with the most sessions."""
    ours, stock = (
        next(memory for memory in memories if memory.contender == contender.name).growth[-1]
        for contender in (INSTANT, STOCK)
    )
    share = ours.mb_per_session / stock.mb_per_session
    return [
        Verdict(
            f"memory per session ÷ stock Pipecat, {ours.sessions} sessions",
            f"≤ {1 / 20:.3f}",
            f"{share:.3f}",
            share <= 1 / 20,
        )
    ]


def of_opening(openings: list[Opening]) -> list[Verdict]:
    """Session open time and the worst stall meanwhile."""
    ours = next(opening for opening in openings if opening.contender == INSTANT.name)
    return [
        _most("session open p99, one after the other", 10, ours.sequential_ms.p99),
        _most(
            f"worst stall while {ours.sessions} open one after the other",
            5,
            ours.sequential_ping_ms.worst,
        ),
    ]


def of_speculation(outcomes: list[Outcome]) -> list[Verdict]:
    """What beginning replies in the pause saves by default, and that it cuts nobody off."""
    default = next(outcome for outcome in outcomes if outcome.order == DEFAULT)
    saved = measure_speculation.saved(outcomes, default)
    elsewhere = measure_speculation.cut_elsewhere(outcomes, default)
    return [
        Verdict("wait saved by speculative turns", "≥ 40 %", f"{100 * saved:.0f} %", saved >= 0.4),
        Verdict("recordings they cut elsewhere", "0", str(elsewhere), elsewhere == 0),
    ]


def of_soak(soak: Soak) -> list[Verdict]:
    """Whether memory stays where it is."""
    growth_mb = soak.end_mb - soak.settled_mb
    return [
        Verdict(
            f"growth over {soak.minutes:g} minutes of soak, after the first five",
            f"≤ {SOAK_TOLERANCE_MB:g} MB",
            f"{growth_mb:+.1f} MB",
            growth_mb <= SOAK_TOLERANCE_MB,
        )
    ]


def _least(target: str, limit: float, ours: int, theirs: Capacity) -> Verdict:
    times = ratio(ours, theirs.sessions)
    return Verdict(target, f"≥ {limit:g}", f"{times:.2f}", times >= limit)


def _most(target: str, limit_ms: float, measured_ms: float) -> Verdict:
    return Verdict(target, f"≤ {limit_ms:g} ms", f"{measured_ms:.1f} ms", measured_ms <= limit_ms)


def table(verdicts: list[Verdict]) -> Table:
    """All targets, missed ones marked."""
    return Table(
        "Targets",
        ("target", "limit", "measured", ""),
        [
            (one.target, one.limit, one.measured, "met" if one.met else "**missed**")
            for one in verdicts
        ],
    )
