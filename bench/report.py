"""Tables of figures as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """One figure for people; the first column is aligned left, the others right."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """As Markdown, lined up for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]

        def row(cells: tuple[str, ...]) -> str:
            first, *others = zip(cells, widths, strict=True)
            aligned = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
            return f"| {' | '.join(aligned)} |"

        rule = "|".join(
            [f"|{'-' * (widths[0] + 2)}", *(f"{'-' * (width + 1)}:" for width in widths[1:]), ""]
        )
        body = [row(self.header), rule, *(row(cells) for cells in self.rows)]
        return "\n".join([f"### {self.title}", "", *body, *(f"\n{note}" for note in self.notes)])
