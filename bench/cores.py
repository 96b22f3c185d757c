"""Which process runs on which core, so that the load does not eat what is measured."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Cores:
    """A division of the machine.

    Attributes:
        server: The one core of the server under test.
        clients: Those of everything else: the load clients, a core each, and whoever started them.
    """

    server: int
    clients: tuple[int, ...]


def divide(available: Collection[int]) -> Cores:
    """The last core for the server: interrupts and other tenants tend to sit on the first.

    Raises:
        ValueError: there are fewer than two.
    """
    *others, last = sorted(available)
    if not others:
        raise ValueError("a benchmark needs two cores: one for the server, one for the load")
    return Cores(last, tuple(others))


@cache
def of_this_machine() -> Cores:
    """Of the cores that this process might use when it first asked.

    Raises:
        ValueError: there are fewer than two.
    """
    return divide(os.sched_getaffinity(0))


def stay_with_the_clients() -> None:
    """Keep this process, and what it starts from now on, off the server's core."""
    os.sched_setaffinity(0, of_this_machine().clients)
