"""Many sessions from one seed, in this process or in several; adds up figures and failures."""

from __future__ import annotations

import gc
import os
import random
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.fuzz.profile import Profile, draw
from tests.fuzz.run import OpenConnection, Report, Run, open_connection
from tests.fuzz.script import Improvised, Replay
from tests.fuzz.shrink import kind_of, shrink

CHUNK_SESSIONS = 40
MAX_FAILURES = 12
MAX_GROWTH_MB = 300
"""Between a worker's first chunk and any later one: audio and caches, but nothing that adds up."""
_PAGE_BYTES = 4096


@dataclass(slots=True)
class Failure:
    """One kind of problem, and the shortest way to it that was found."""

    seed: int
    session: int
    problem: str
    steps: list[str]
    profile: str

    def __str__(self) -> str:
        steps = "\n".join(f"    {step}" for step in self.steps)
        return (
            f"{self.problem}\n  seed {self.seed}, session {self.session} ({self.profile})\n"
            f"  again: python -m tests.fuzz --seed {self.seed} --session {self.session}\n"
            f"  after {len(self.steps)} steps:\n{steps}"
        )


@dataclass(slots=True)
class Figures:
    """What a campaign did."""

    sessions: int = 0
    messages: int = 0
    events: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    codes: Counter[str] = field(default_factory=Counter[str])
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure])
    resident_mb: dict[int, float] = field(default_factory=dict[int, float])
    """Memory of each worker, by its process id."""

    def add(self, other: Figures) -> None:
        """Take over another's figures."""
        self.sessions += other.sessions
        self.messages += other.messages
        self.events += other.events
        self.outcomes += other.outcomes
        self.codes += other.codes
        for kind, failure in other.failures.items():
            self.failures.setdefault(kind, failure)
        self.resident_mb |= other.resident_mb

    def __str__(self) -> str:
        fates = Counter[str]()
        for name, number in self.outcomes.items():
            fates[name.rpartition(" ")[2]] += number
        shares = ", ".join(f"{number} {fate}" for fate, number in sorted(fates.items()))
        codes = ", ".join(f"{code} {number}" for code, number in self.codes.most_common())
        lines = [
            f"{self.messages} messages in {self.sessions} sessions: {shares}",
            f"{self.events} server events checked",
            f"refused with: {codes}",
            *(f"  {name}: {number}" for name, number in sorted(self.outcomes.items())),
        ]
        return "\n".join(lines)


def generator(seed: int, session: int, part: str) -> random.Random:
    """The generator of one part of one session."""
    return random.Random(f"{seed}/{session}/{part}")


def play(
    seed: int, session: int, connect: OpenConnection = open_connection
) -> tuple[Profile, Report]:
    """One session of a seed."""
    profile = draw(generator(seed, session, "profile"), session)
    script = Improvised(
        generator(seed, session, "script"),
        profile.messages,
        profile.hostility,
        marked=profile.marked,
    )
    return profile, Run(profile, connect).play(script)


def failure_of(
    seed: int, session: int, profile: Profile, report: Report, connect: OpenConnection
) -> Failure:
    """The first problem of a failed run, shrunk."""

    def again(steps: list[Any]) -> list[str]:
        return Run(profile, connect, schema_every=1).play(Replay(steps)).problems

    problem = report.problems[0]
    steps = report.steps
    if kind_of(problem) in map(kind_of, again(steps)):
        steps = shrink(steps, problem, again)
    shown = f"{profile.dialect} {profile.kind}{'' if profile.marked else ', unmarked'}"
    return Failure(seed, session, problem, [str(step) for step in steps], shown)


def run_sessions(
    seed: int,
    sessions: range,
    connect: OpenConnection = open_connection,
    max_messages: int | None = None,
) -> Figures:
    """Play some sessions of a seed, one after the other."""
    figures = Figures()
    held: list[weakref.ref[Any]] = []
    for session in sessions:
        profile, report = play(seed, session, connect)
        figures.sessions += 1
        figures.messages += report.messages
        figures.events += report.events
        figures.outcomes += report.outcomes
        figures.codes += report.codes
        if report.session is not None:
            held.append(report.session)
        if report.problems and len(figures.failures) < MAX_FAILURES:
            kind = kind_of(report.problems[0])
            if kind not in figures.failures:
                figures.failures[kind] = failure_of(seed, session, profile, report, connect)
        if max_messages is not None and figures.messages >= max_messages:
            break
    del report
    gc.collect()
    kept = sum(reference() is not None for reference in held)
    if kept:
        problem = f"{kept} sessions are still held after their end"
        figures.failures["leak"] = Failure(seed, sessions.start, problem, [], "")
    return figures


def _chunk(seed: int, start: int) -> Figures:
    figures = run_sessions(seed, range(start, start + CHUNK_SESSIONS))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    figures.resident_mb[os.getpid()] = pages * _PAGE_BYTES / 1e6
    return figures


def campaign(seed: int, messages: int, workers: int) -> Iterator[Figures]:
    """Play sessions until enough messages were sent; yields the growing figures."""
    total = Figures()
    first_mb: dict[int, float] = {}
    starts = count(0, CHUNK_SESSIONS)
    with ProcessPoolExecutor(workers) as pool:
        waiting = [pool.submit(_chunk, seed, next(starts)) for _ in range(workers)]
        while waiting:
            figures = waiting.pop(0).result()
            total.add(figures)
            for worker, mb in figures.resident_mb.items():
                grown_mb = mb - first_mb.setdefault(worker, mb)
                if grown_mb > MAX_GROWTH_MB:
                    problem = f"a worker has grown by {grown_mb:.0f} MB"
                    total.failures.setdefault("memory", Failure(seed, 0, problem, [], ""))
            if total.messages < messages and len(total.failures) < MAX_FAILURES:
                waiting.append(pool.submit(_chunk, seed, next(starts)))
            yield total
