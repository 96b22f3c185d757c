"""The generated part of docs/performance.md; the words around it are written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .machine import Machine
from .report import Table

BEGIN = "<!-- figures: written by `python -m bench` -->"
END = "<!-- end of the figures -->"


def insert(page: str, generated: str) -> str:
    """The page with another generated part.

    Raises:
        ValueError: it has not exactly one place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"the page needs one pair of the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{generated.strip()}\n\n{END}{after}"


def generated(
    machine: Machine, began: str, command: str, verdicts: Table, figures: Sequence[Table | str]
) -> str:
    """What is told of a run.

    Args:
        began: Its date and time.
        command: How to do it again.
        verdicts: Targets first; readers want to know.
        figures: Tables, and pictures in Markdown, in their order.
    """
    return "\n\n".join(
        [
            f"Measured {began} on {_machine(machine)}. Rerun: `{command}`",
            _versions(machine.packages),
            *map(str, (verdicts, *figures)),
        ]
    )


def _machine(machine: Machine) -> str:
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gb:g} GB, "
        f"{machine.system}, Python {machine.python}"
    )


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items()) + "."


def picture(title: str, path: str) -> str:
    """A picture in Markdown; `path` is relative to the page."""
    return f"![{title}]({path})"
