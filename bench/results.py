"""Results of a run as JSON, and the page and pictures that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from . import page, targets
from .figures import FIGURES, Figure
from .machine import Machine
from .report import Table
from .targets import Verdict

DOCS = Path(__file__).resolve().parents[1] / "docs"
_PAGE = "performance.md"
_FOLDER = "performance"
"""Beside the page: `results.json` and the pictures."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure.

    Attributes:
        began: Date and time.
        load_average: Of the machine, before and after: the benchmark itself is in the second.
        result: As plain lists, dictionaries and numbers.
    """

    began: str
    load_average: tuple[float, float]
    result: Any


@dataclass(frozen=True, slots=True)
class Results:
    """What is known of one machine, as each figure was last measured there."""

    machine: Machine
    scale: dict[str, Any]
    command: str
    figures: dict[str, Measured] = field(default_factory=dict[str, Measured])


def read(folder: Path) -> Results | None:
    """The results kept in `folder` (`docs`, or a folder like it), if there are any."""
    path = folder / _FOLDER / "results.json"
    return TypeAdapter(Results).validate_json(path.read_bytes()) if path.is_file() else None


def write(results: Results, folder: Path) -> None:
    """Write JSON, pictures and page."""
    beside = folder / _FOLDER
    beside.mkdir(parents=True, exist_ok=True)
    content = orjson.dumps(asdict(results), option=orjson.OPT_INDENT_2)
    (beside / "results.json").write_bytes(content + b"\n")
    told: list[Table | str] = []
    verdicts: list[Verdict] = []
    for figure, result in _known(results):
        told += figure.tables(result)
        if figure.judge is not None:
            verdicts += figure.judge(result)
        if figure.plot is not None:
            figure.plot(result, beside / f"{figure.name}.png")
            told.append(page.picture(figure.name, f"{_FOLDER}/{figure.name}.png"))
    began = min(measured.began for measured in results.figures.values())
    generated = page.generated(
        results.machine, began, results.command, targets.table(verdicts), told
    )
    template = folder / _PAGE if (folder / _PAGE).is_file() else DOCS / _PAGE
    text = page.insert(template.read_text(encoding="utf-8"), generated)
    (folder / _PAGE).write_text(text, encoding="utf-8")


def plain(measured: Any) -> Any:
    """A result as lists, dictionaries and numbers."""
    return [asdict(one) for one in measured] if isinstance(measured, list) else asdict(measured)


def _known(results: Results) -> Sequence[tuple[Figure, Any]]:
    """The figures there are, each as what its tables are made of."""
    return [
        (figure, TypeAdapter(figure.kind).validate_python(results.figures[figure.name].result))
        for figure in FIGURES
        if figure.name in results.figures
    ]
