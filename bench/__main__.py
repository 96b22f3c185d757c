"""Command line of the benchmarks: `python -m bench`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from . import cores, machine
from .figures import FIGURES, Figure
from .results import DOCS, Measured, Results, plain, read, write
from .scale import FULL, QUICK, Scale


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gateway.")
    parser.add_argument("--quick", action="store_true", help="a few minutes; rough")
    parser.add_argument(
        "--only",
        action="append",
        choices=[figure.name for figure in FIGURES],
        help="measure this figure; may be given several times",
    )
    parser.add_argument(
        "--profile", action="store_true", help="sample the gateway's stack too (needs py-spy)"
    )
    parser.add_argument("--soak-minutes", type=float, help="length of the soak instead of 30")
    parser.add_argument(
        "--chunk-ms",
        type=int,
        action="append",
        choices=(20, 100),
        help="size of appends; 20 and 100 unless told, only 20 with --quick",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for page, pictures and JSON; a whole run writes docs/ unless told",
    )
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: page and pictures from the JSON"
    )
    return parser.parse_args(argv)


def scale_of(arguments: argparse.Namespace) -> Scale:
    """How much is asked for."""
    scale = QUICK if arguments.quick else FULL
    if arguments.soak_minutes is not None:
        scale = replace(scale, soak_minutes=arguments.soak_minutes)
    if arguments.chunk_ms:
        scale = replace(scale, chunks_ms=tuple(arguments.chunk_ms))
    return scale


def command_of(arguments: argparse.Namespace) -> str:
    """How to measure as much again, wherever the results go."""
    soak_minutes: float | None = arguments.soak_minutes
    return " ".join(
        [
            "python -m bench",
            *(["--quick"] if arguments.quick else []),
            *(f"--only {name}" for name in arguments.only or ()),
            *(["--profile"] if arguments.profile else []),
            *([f"--soak-minutes {soak_minutes:g}"] if soak_minutes is not None else []),
            *(f"--chunk-ms {chunk_ms}" for chunk_ms in arguments.chunk_ms or ()),
        ]
    )


def chosen(arguments: argparse.Namespace) -> list[Figure]:
    """Which figures are asked for."""
    return [
        figure
        for figure in FIGURES
        if (
            figure.name in arguments.only
            if arguments.only
            else not figure.asked_for or arguments.profile
        )
    ]


async def run(
    figures: Sequence[Figure], scale: Scale, keep: Callable[[dict[str, Measured]], None]
) -> dict[str, Measured]:
    """Measure one figure after the other; print and keep each when it is there."""
    measured: dict[str, Measured] = {}
    for figure in figures:
        began = datetime.now(UTC).isoformat(timespec="seconds")
        before = machine.load_average()
        result = await figure.measure(scale)
        measured[figure.name] = Measured(began, (before, machine.load_average()), plain(result))
        print(*("", *figure.tables(result)), sep="\n\n", flush=True)
        keep(measured)
    return measured


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; the exit code."""
    arguments = parse_arguments(argv)
    whole = not arguments.quick and not arguments.only
    out: Path | None = arguments.out or (DOCS if whole or arguments.render else None)
    kept = read(out) if out is not None else None
    if arguments.render:
        if out is None or kept is None:
            print("error: there are no results to render", file=sys.stderr)
            return 1
        write(kept, out)
        return 0
    where = machine.describe()
    print(f"{where.cpu}, {where.cores} cores, Python {where.python}", flush=True)
    scale = scale_of(arguments)
    cores.stay_with_the_clients()
    # Figures of the same machine that were left out this time stay.
    before = kept.figures if kept is not None and kept.machine == where else {}
    command = kept.command if before and kept is not None else command_of(arguments)

    def keep(measured: dict[str, Measured]) -> None:
        if out is not None:
            write(Results(where, asdict(scale), command, {**before, **measured}), out)

    measured = uvloop.run(run(chosen(arguments), scale, keep))
    loads = {name: one.load_average for name, one in measured.items()}
    print(f"\nload average before and after each: {loads}")
    if out is not None:
        print(f"written to {out.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
