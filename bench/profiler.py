"""Figure, when asked for: where the gateway's CPU time goes, sampled from outside by py-spy."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .report import Table
from .scale import Scale
from .server import INSTANT, Server, running
from .window import PAUSE_MS, Talk, observe

_RATE_HZ = 250
_SHOWN = 25
_LINE = re.compile(r":\d+\)$")
_WAITING = "_worker (concurrent/futures/thread.py"
"""A thread without work, which py-spy takes for busy."""
_STARTERS = ("<module>", "run ", "_run_", "Server.", "asyncio_run", "Runner.", "wrapper ")
"""Functions that all the others are called by."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A function's share of the samples: with all that it calls, and alone."""

    function: str
    total: float
    own: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time went at one size of appends, the most expensive functions first."""

    chunk_ms: int
    sessions: int
    core_share: float
    samples: int
    by_total: list[Cost]
    by_own: list[Cost]


async def measure(scale: Scale) -> list[Profile]:
    """Have sessions talk to the gateway, and look at its stack meanwhile."""
    return [await _measure(chunk_ms, scale) for chunk_ms in scale.chunks_ms]


async def _measure(chunk_ms: int, scale: Scale) -> Profile:
    talk = Talk(scale.recordings, PAUSE_MS, chunk_ms)
    async with running(INSTANT) as server, asyncio.TaskGroup() as tasks:
        watched = tasks.create_task(
            observe(server, talk, scale.profile_sessions, scale), name="window"
        )
        # The sessions are open, and nearly all of them at it, after the warm-up.
        await asyncio.sleep(2 + scale.warm_up_s)
        stacks = await _sample(server, scale.window_s)
        window = await watched
    costs, samples = count(stacks)
    by_own = sorted(costs, key=lambda cost: -cost.own)
    return Profile(
        chunk_ms,
        scale.profile_sessions,
        round(window.core_share, 4),
        samples,
        [cost for cost in costs if not cost.function.startswith(_STARTERS)][:_SHOWN],
        by_own[:_SHOWN],
    )


async def _sample(server: Server, duration_s: float) -> list[str]:
    """Stacks as py-spy's raw format has them.

    Raises:
        RuntimeError: it may not look into the process, or is not installed.
    """
    with TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "stacks.txt"
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw"),
            *("--pid", str(server.process.pid), "--rate", str(_RATE_HZ)),
            *("--duration", str(round(duration_s)), "--output", str(path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"py-spy: {said.decode(errors='replace')}")
        return path.read_text(encoding="utf-8").splitlines()


def count(stacks: Iterable[str]) -> tuple[list[Cost], int]:
    """Shares of all functions, the largest with all that they call first; and the samples.

    Threads that wait for work are left out.

    Args:
        stacks: Lines of frames, outermost first, separated by `;`, and how often they were seen.
    """
    total: Counter[str] = Counter()
    own: Counter[str] = Counter()
    samples = 0
    for line in stacks:
        frames, _, times = line.rpartition(" ")
        if frames.rpartition(";")[2].startswith(_WAITING):
            continue
        names = [_LINE.sub(")", frame) for frame in frames.split(";")]
        samples += int(times)
        own[names[-1]] += int(times)
        total.update(dict.fromkeys(names, int(times)))
    costs = [
        Cost(name, round(seen / samples, 4), round(own[name] / samples, 4))
        for name, seen in total.most_common()
    ]
    return costs, samples


def tables(profiles: list[Profile]) -> list[Table]:
    """The most expensive functions by what they call, and by themselves."""
    return [
        Table(
            f"Profile at {profile.chunk_ms} ms appends, {profile.sessions} sessions, {how}",
            ("function", "with what it calls", "alone"),
            [(f"`{cost.function}`", f"{cost.total:.1%}", f"{cost.own:.1%}") for cost in costs],
        )
        for profile in profiles
        for how, costs in (
            ("by what they call", profile.by_total),
            ("by themselves", profile.by_own),
        )
    ]
