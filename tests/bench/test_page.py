"""From results to the page, and from JSON back to results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import page, results
from bench.__main__ import chosen, command_of, parse_arguments, run, scale_of
from bench.figures import Figure
from bench.machine import Machine
from bench.measure_capacity import Capacity, HalfLoad, Level
from bench.measure_memory import Growth, Memory
from bench.measure_open import Opening
from bench.measure_soak import Sample, Soak
from bench.results import Measured, Results
from bench.scale import QUICK, Scale
from bench.server import FLOOR, INSTANT, STOCK
from bench.stats import Summary

MACHINE = Machine("Some CPU", 4, 24.0, "Linux x86_64", "3.11.7", {"pipecat-ai": "1.14.0"})
TEMPLATE = f"# Performance\n\nOur words.\n\n{page.BEGIN}\nold\n{page.END}\n\nMore words.\n"


def level(sessions: int, p99_ms: float) -> dict[str, Any]:
    lag_ms = {"count": 90, "p50": 1.0, "p99": p99_ms, "worst": p99_ms}
    return {
        "sessions": sessions,
        "core_share": 0.5,
        "others_share": 0.0,
        "cpu_s_per_session_minute": 0.4,
        "lag_ms": lag_ms,
        "missing": 0,
        "dropped": 0,
        "client_late_ms": 0.3,
    }


def capacity(contender: str, sessions: int) -> dict[str, Any]:
    delay = {"count": 90, "p50": 4.0, "p99": 12.0, "worst": 20.0}
    none = {"count": 0, "p50": 0.0, "p99": 0.0, "worst": 0.0}
    return {
        "contender": contender,
        "chunk_ms": 20,
        "sessions": sessions,
        "idle_share": 0.1,
        "levels": [level(sessions, 15.0), level(sessions + 1, 40.0)],
        "half": {
            "level": level(sessions // 2, 5.0),
            "beyond_window": delay,
            "first_audio": delay,
            "jitter": delay,
            "barge_in": none,
        },
    }


def measured(result: Any) -> Measured:
    return Measured("2026-01-02T03:04:05+00:00", (0.1, 0.9), result)


def some_results() -> Results:
    capacities = [
        capacity(INSTANT.name, 200),
        capacity(STOCK.name, 50),
        capacity(FLOOR.name, 250),
    ]
    return Results(MACHINE, {}, "python -m bench", {"capacity": measured(capacities)})


def test_only_the_generated_part_of_the_page_changes() -> None:
    text = page.insert(TEMPLATE, "new")
    assert text == TEMPLATE.replace("\nold\n", "\n\nnew\n\n")
    assert page.insert(text, "new") == text


@pytest.mark.parametrize(
    "broken", ["# None\n", page.END + page.BEGIN, TEMPLATE + TEMPLATE, TEMPLATE + page.END]
)
def test_a_page_without_one_place_for_the_figures_is_refused(broken: str) -> None:
    with pytest.raises(ValueError, match="one pair"):
        page.insert(broken, "new")


def test_targets_are_judged_machine_and_command_are_told(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text(TEMPLATE)
    results.write(some_results(), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if "sessions per core ÷" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["sessions per core ÷ stock Pipecat, 20 ms appends", "≥ 5", "4.00", "**missed**"],
        ["sessions per core ÷ floor, 20 ms appends", "≥ 0.6", "0.80", "met"],
    ]
    assert "Some CPU, 4 cores" in text
    assert "`python -m bench`" in text
    assert "Our words." in text
    assert (tmp_path / "performance" / "capacity.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("late_ms", "limited"), [((0.3, 0.3), False), ((9.0, 9.0), True), ((9.0, 0.3), False)]
)
def test_a_capacity_at_which_the_clients_gave_out_is_told_as_such(
    late_ms: tuple[float, float], limited: bool
) -> None:
    summary = Summary(10, 1.0, 40.0, 40.0)
    tries = [Level(50, 0.5, 0.0, 0.4, summary, 0, 0, late) for late in late_ms]
    half = HalfLoad(tries[0], *(summary,) * 4)
    one = Capacity(INSTANT.name, 20, 40, 0.1, [*tries, Level(60, 0, 0, 0, summary, 0, 0, 0)], half)
    assert one.client_limited is limited


def test_results_are_read_back_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text(TEMPLATE)
    assert results.read(tmp_path) is None
    results.write(some_results(), tmp_path)
    assert results.read(tmp_path) == some_results()


def test_every_judged_figure_can_be_rendered(tmp_path: Path) -> None:
    summary = Summary(10, 1.0, 2.0, 3.0)
    opening = [
        Opening(INSTANT.name, 2.0, 4.0, 200, summary, summary, 90.0, 2.5, summary, summary, summary)
    ]
    memory = [
        Memory(name, 100.0, 0.0, 0, [Growth(200, mb, 0.0)], 10.0)
        for name, mb in ((INSTANT.name, 0.6), (STOCK.name, 10.0))
    ]
    soak = Soak(50, 30, 4500, [Sample(1.0, 200.0)], 200.0, 210.0, 190.0)
    half = HalfLoad(Level(1, 0.1, 0.0, 0.2, summary, 0, 0, 0.1), *(summary,) * 4)
    capacities = [
        Capacity(contender.name, 100, 10, 0.1, [half.level], half)
        for contender in (INSTANT, STOCK, FLOOR)
    ]
    told = {
        "open": measured(results.plain(opening)),
        "memory": measured(results.plain(memory)),
        "soak": measured(results.plain(soak)),
        "capacity": measured(results.plain(capacities)),
    }
    (tmp_path / "performance.md").write_text(TEMPLATE)
    results.write(Results(MACHINE, {}, "python -m bench", told), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert "| growth over 30 minutes of soak, after the first five" in text
    missed = [line.split("|")[1].strip() for line in text.splitlines() if "**missed**" in line]
    assert missed == [
        "sessions per core ÷ stock Pipecat, 100 ms appends",
        "memory per session ÷ stock Pipecat, 200 sessions",
        "growth over 30 minutes of soak, after the first five",
    ]
    pictures = {path.name for path in (tmp_path / "performance").glob("*.png")}
    assert pictures == {"capacity.png", "memory.png", "soak.png"}


def test_the_command_in_the_page_measures_as_much_again() -> None:
    given = ["--quick", "--only", "open", "--only", "soak", "--soak-minutes", "2"]
    command = command_of(parse_arguments([*given, "--out", "/somewhere"]))
    assert command == "python -m bench --quick --only open --only soak --soak-minutes 2"
    again = parse_arguments(command.split()[3:])
    assert scale_of(again) == scale_of(parse_arguments(given))
    assert [figure.name for figure in chosen(again)] == ["open", "soak"]


def test_a_profile_is_taken_only_when_asked_for() -> None:
    assert "profile" not in [figure.name for figure in chosen(parse_arguments([]))]
    assert "profile" in [figure.name for figure in chosen(parse_arguments(["--profile"]))]


async def test_each_figure_is_kept_before_the_next_is_measured() -> None:
    async def measure(scale: Scale) -> list[Summary]:
        return [Summary.of([1.0])]

    async def break_down(scale: Scale) -> list[Summary]:
        raise LookupError("planted")

    figures = [
        Figure(name, list[Summary], how, lambda result: [])
        for name, how in (("first", measure), ("second", measure), ("third", break_down))
    ]
    kept: list[list[str]] = []
    with pytest.raises(LookupError, match="planted"):
        await run(figures, QUICK, lambda measured: kept.append([*measured]))
    assert kept == [["first"], ["first", "second"]]
