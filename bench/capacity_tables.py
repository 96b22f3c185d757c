"""How capacities are told in tables."""

from __future__ import annotations

from collections.abc import Sequence

from . import measure_capacity
from .measure_capacity import LAG_LIMIT_MS, Capacity
from .report import Table
from .server import IN_TURN, INSTANT


def tables(capacities: list[Capacity]) -> list[Table]:
    """Capacities side by side, what users notice at half of them, and all levels."""
    levels = [_levels_table(capacities, chunk_ms) for chunk_ms in chunks(capacities)]
    return [_capacity_table(capacities), _half_table(capacities), *levels]


def chunks(capacities: Sequence[Capacity]) -> list[int]:
    """The sizes of appends, as they were measured."""
    return list(dict.fromkeys(capacity.chunk_ms for capacity in capacities))


def _capacity_table(capacities: list[Capacity]) -> Table:
    rows: list[tuple[str, ...]] = []
    for chunk_ms in chunks(capacities):
        ours = measure_capacity.of(capacities, INSTANT, chunk_ms)
        for contender in IN_TURN:
            capacity = measure_capacity.of(capacities, contender, chunk_ms)
            at_half = capacity.half.level
            rows.append(
                (
                    f"{chunk_ms} ms",
                    capacity.contender,
                    f"{'≥ ' if capacity.client_limited else ''}{capacity.sessions}",
                    f"{ratio(ours.sessions, capacity.sessions):.2f}",
                    f"{at_half.cpu_s_per_session_minute:.2f}",
                    f"{at_half.core_share:.0%} with {at_half.sessions}",
                )
            )
    return Table(
        f"Sessions per core, p99 lag of server events up to {LAG_LIMIT_MS:.0f} ms",
        (
            *("appends", "server", "sessions", "gateway ÷ this"),
            *("CPU s per session-minute, half load", "of the core then"),
        ),
        rows,
    )


def ratio(ours: float, theirs: float) -> float:
    """How many times theirs ours is, NaN against nothing."""
    return ours / theirs if theirs else float("nan")


def _half_table(capacities: list[Capacity]) -> Table:
    return Table(
        "What users notice at half of that (ms)",
        (
            *("server, appends", "sessions", "speech_stopped beyond the window p50", "p99"),
            *("→ first audio p50", "p99", "delta jitter p50", "p99"),
            *("barge-in → last audio p50", "p99", "lag p50", "p99"),
        ),
        [
            (
                f"{capacity.contender}, {capacity.chunk_ms} ms",
                str(capacity.half.level.sessions),
                *capacity.half.beyond_window.shown()[:2],
                *capacity.half.first_audio.shown()[:2],
                *capacity.half.jitter.shown()[:2],
                *capacity.half.barge_in.shown()[:2],
                *capacity.half.level.lag_ms.shown()[:2],
            )
            for capacity in capacities
        ],
    )


def _levels_table(capacities: list[Capacity], chunk_ms: int) -> Table:
    return Table(
        f"All numbers of sessions that were tried, {chunk_ms} ms appends",
        (
            *("server", "sessions", "of the core", "others on it", "CPU s per session-minute"),
            *("lag p50 (ms)", "p99", "worst", "events", "missing"),
            *("not counted", "client late p99"),
        ),
        [
            (
                capacity.contender,
                str(level.sessions),
                f"{level.core_share:.0%}",
                f"{level.others_share:.0%}",
                f"{level.cpu_s_per_session_minute:.2f}",
                *level.lag_ms.shown(),
                str(level.lag_ms.count),
                str(level.missing),
                str(level.dropped),
                f"{level.client_late_ms:.1f}",
            )
            for capacity in capacities
            if capacity.chunk_ms == chunk_ms
            for level in sorted(capacity.levels, key=lambda level: level.sessions)
        ],
    )
