"""Command line of the benchmarks: `python -m bench`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvloop

from . import (
    machine,
    measure_heard,
    measure_memory,
    measure_open,
    measure_streaming,
    measure_turn,
)
from .report import Table
from .scale import FULL, QUICK, Scale

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured."""

    name: str
    measure: Callable[[Scale], Awaitable[Any]]
    tables: Callable[[Any], list[Table]]


FIGURES = (
    Figure("open", measure_open.measure, measure_open.tables),
    Figure("memory", measure_memory.measure, measure_memory.tables),
    Figure("turn", measure_turn.measure, measure_turn.tables),
    Figure("streaming", measure_streaming.measure, measure_streaming.tables),
    Figure("heard", measure_heard.measure, measure_heard.tables),
)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gateway.")
    parser.add_argument(
        "--quick", action="store_true", help="under a minute instead of five; rougher"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[figure.name for figure in FIGURES],
        help="measure this figure; may be given several times",
    )
    parser.add_argument("--sessions", type=int, help="how many sessions stream at once")
    parser.add_argument(
        "--out",
        type=Path,
        help="write the results there; a full run writes bench/results/DATE.json unless told",
    )
    return parser.parse_args(argv)


async def run(figures: Sequence[Figure], scale: Scale) -> dict[str, Any]:
    """Measure one figure after the other, printing each when it is there."""
    where = machine.describe()
    results: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(where),
        "scale": asdict(scale),
        "load_average": {},
        "figures": {},
    }
    print(f"{where.cpu}, {where.cores} cores, Python {where.python}", flush=True)
    for figure in figures:
        before = machine.load_average()
        measured = await figure.measure(scale)
        results["figures"][figure.name] = _plain(measured)
        results["load_average"][figure.name] = [before, machine.load_average()]
        print(*("", *figure.tables(measured)), sep="\n\n", flush=True)
    print(f"\nload average before and after each: {results['load_average']}")
    return results


def _plain(measured: Any) -> Any:
    return [asdict(one) for one in measured] if isinstance(measured, list) else asdict(measured)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; the exit code."""
    arguments = parse_arguments(argv)
    scale = QUICK if arguments.quick else FULL
    if arguments.sessions:
        scale = replace(scale, streaming_sessions=arguments.sessions)
    chosen = [f for f in FIGURES if arguments.only is None or f.name in arguments.only]
    results = uvloop.run(run(chosen, scale))
    out: Path | None = arguments.out
    if out is None and not arguments.quick and arguments.only is None:
        out = RESULTS / f"{results['began'][:10]}.json"
    if out is not None:
        out.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
        print(f"written to {out.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
