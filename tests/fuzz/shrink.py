"""Cuts a failing list of steps down to the few that matter."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.fuzz.steps import Step

MAX_REPLAYS = 400

Replays = Callable[[list[Step]], list[str]]
"""Plays steps in a fresh session; the problems it met."""


def kind_of(problem: str) -> str:
    """A problem without what differs from run to run."""
    line = re.sub(r"\s+", " ", problem)[:240]
    return re.sub(r"(client|own|item|resp|call|event|sess)_\w+|\d+", "N", line)


def shrink(steps: list[Step], problem: str, play: Replays) -> list[Step]:
    """Leave out pieces, large ones first, as long as the same kind of problem comes back.

    Args:
        steps: Steps of which the last shows the problem.
        problem: What it was.
        play: Replays a list of steps.
    """
    wanted = kind_of(problem)
    replays = 0
    size = max(len(steps) // 2, 1)
    while replays < MAX_REPLAYS:
        start = 0
        removed = False
        while start < len(steps) and replays < MAX_REPLAYS:
            fewer = steps[:start] + steps[start + size :]
            replays += 1
            if wanted in map(kind_of, play(fewer)):
                steps, removed = fewer, True
            else:
                start += size
        if size > 1:
            size //= 2
        elif not removed:
            break
    return steps
