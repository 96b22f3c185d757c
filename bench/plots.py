"""Figures as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from .capacity_tables import chunks
from .measure_capacity import LAG_LIMIT_MS, Capacity
from .measure_memory import Memory
from .measure_soak import SETTLING_MINUTES, Soak

_DPI = 110


def capacity(capacities: list[Capacity], path: Path) -> None:
    """p99 lag against the number of sessions, a panel for each size of appends.

    The line goes through the better try of each number, which is the one that counts.
    """
    sizes = chunks(capacities)
    panels = _panels(len(sizes))
    for panel, chunk_ms in zip(panels, sizes, strict=True):
        for one in capacities:
            if one.chunk_ms == chunk_ms:
                tries = [(level.sessions, max(level.lag_ms.p99, 0.5)) for level in one.levels]
                best = dict(sorted(tries, key=lambda level: -level[1]))
                (line,) = panel.plot(
                    *zip(*sorted(best.items()), strict=True), marker="o", label=one.contender
                )
                panel.scatter(*zip(*tries, strict=True), color=line.get_color(), alpha=0.3)
        panel.axhline(LAG_LIMIT_MS, color="grey", linestyle="--", linewidth=1)
        panel.set(
            title=f"{chunk_ms} ms appends, server on one core",
            xlabel="live sessions",
            ylabel="p99 lag of server events (ms)",
            xscale="log",
            yscale="log",
        )
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(NullFormatter())
        panel.legend()
    _save(path)


def memory(memories: list[Memory], path: Path) -> None:
    """Memory per idle session against the number of sessions."""
    (panel,) = _panels(1)
    for one in memories:
        panel.plot(
            [growth.sessions for growth in one.growth],
            [max(growth.mb_per_session, 0.01) for growth in one.growth],
            marker="o",
            label=one.contender,
        )
    panel.set(
        title="Resident memory per idle session", xlabel="sessions", ylabel="MB", yscale="log"
    )
    panel.legend()
    _save(path)


def soak(soaked: Soak, path: Path) -> None:
    """Resident memory over time."""
    (panel,) = _panels(1)
    panel.plot([s.minute for s in soaked.samples], [s.rss_mb for s in soaked.samples], linewidth=1)
    if soaked.minutes > 2 * SETTLING_MINUTES:
        panel.axvline(SETTLING_MINUTES, color="grey", linestyle="--", linewidth=1)
    panel.set(
        title=f"{soaked.sessions} talking sessions, {soaked.lived} came and went",
        xlabel="minutes",
        ylabel="resident memory (MB)",
        ylim=(0, None),
    )
    _save(path)


def _panels(count: int) -> Sequence[Axes]:
    _, axes = plt.subplots(1, count, figsize=(6.4 * count, 4), squeeze=False)
    panels: Any = axes[0]
    for panel in panels:
        panel.grid(alpha=0.3)
    return panels


def _save(path: Path) -> None:
    plt.tight_layout()
    plt.savefig(path, dpi=_DPI)
    plt.close("all")
