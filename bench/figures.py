"""All figures: how each is measured, told and judged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import (
    capacity_tables,
    measure_capacity,
    measure_heard,
    measure_memory,
    measure_open,
    measure_soak,
    measure_speculation,
    measure_turn,
    plots,
    profiler,
    targets,
)
from .measure_capacity import Capacity
from .measure_heard import Heard
from .measure_memory import Memory
from .measure_open import Opening
from .measure_soak import Soak
from .measure_speculation import Outcome
from .measure_turn import Turn
from .profiler import Profile
from .report import Table
from .scale import Scale
from .targets import Verdict


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured.

    Attributes:
        kind: Type of what `measure` gives, to read it back from JSON.
        judge: Says which targets it meets.
        plot: Draws it into a file.
        asked_for: Measured only when named.
    """

    name: str
    kind: Any
    measure: Callable[[Scale], Awaitable[Any]]
    tables: Callable[[Any], list[Table]]
    judge: Callable[[Any], list[Verdict]] | None = None
    plot: Callable[[Any, Path], None] | None = None
    asked_for: bool = False


FIGURES = (
    Figure(
        "capacity",
        list[Capacity],
        measure_capacity.measure,
        capacity_tables.tables,
        targets.of_capacity,
        plots.capacity,
    ),
    Figure("open", list[Opening], measure_open.measure, measure_open.tables, targets.of_opening),
    Figure(
        "memory",
        list[Memory],
        measure_memory.measure,
        measure_memory.tables,
        targets.of_memory,
        plots.memory,
    ),
    Figure("turn", list[Turn], measure_turn.measure, measure_turn.tables),
    Figure(
        "speculation",
        list[Outcome],
        measure_speculation.measure,
        measure_speculation.tables,
        targets.of_speculation,
    ),
    Figure("soak", Soak, measure_soak.measure, measure_soak.tables, targets.of_soak, plots.soak),
    Figure("profile", list[Profile], profiler.measure, profiler.tables, asked_for=True),
    Figure("heard", list[Heard], measure_heard.measure, measure_heard.tables),
)
"""In the order in which they are measured and told."""
