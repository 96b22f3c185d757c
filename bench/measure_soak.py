"""Figure: what becomes of the gateway's memory while sessions talk, come and go for long."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import uvloop

from . import cores
from .client import Session, Stream, append_frames, connect
from .load import SPAWN
from .recordings import conversation, load_clips
from .report import Table
from .scale import Scale
from .server import INSTANT, running
from .window import PAUSE_MS

SETTLING_MINUTES = 5.0
"""Growth before this is what a process takes for its work, and does not count."""
_SPAN_MINUTES = 5.0
_CHUNK_MS = 20
_SAMPLE_S = 2.0
_MB = 2**20
_ABRUPT_EVERY = 3
"""Every third session goes without a goodbye, as clients do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident memory of the server at one moment."""

    minute: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Soak:
    """A soak.

    Attributes:
        sessions: Alive at any time.
        lived: Sessions that came and went.
        samples: Memory, from the first to the last session.
        settled_mb, end_mb: See `growth`.
        closed_mb: When all sessions were gone.
    """

    sessions: int
    minutes: float
    lived: int
    samples: list[Sample]
    settled_mb: float
    end_mb: float
    closed_mb: float


async def measure(scale: Scale) -> Soak:
    """Keep a number of sessions talking, each for a while, and watch the server's memory."""
    samples: list[Sample] = []
    async with running(INSTANT) as server:
        begin_s = time.perf_counter()
        end_s = begin_s + scale.soak_minutes * 60
        ours, theirs = SPAWN.Pipe()
        core = cores.of_this_machine().clients[-1]
        work = (theirs, core, server.url, end_s, scale)
        process = SPAWN.Process(target=_main, args=work, daemon=True)
        process.start()
        theirs.close()
        while time.perf_counter() < end_s and process.is_alive():
            await asyncio.sleep(_SAMPLE_S)
            minute = (time.perf_counter() - begin_s) / 60
            samples.append(Sample(round(minute, 3), round(server.usage().rss_bytes / _MB, 2)))
        try:
            lived: int = await asyncio.to_thread(ours.recv)
        except EOFError:
            raise RuntimeError("the soak's client ended early; what it printed says why") from None
        await asyncio.to_thread(process.join)
        await asyncio.sleep(_SAMPLE_S)
        closed_mb = round(server.usage().rss_bytes / _MB, 2)
    settled_mb, end_mb = growth(samples, scale.soak_minutes)
    return Soak(
        scale.soak_sessions, scale.soak_minutes, lived, samples, settled_mb, end_mb, closed_mb
    )


def growth(samples: Sequence[Sample], minutes: float) -> tuple[float, float]:
    """Memory once it has settled, and at the end, in MB.

    Medians over five minutes (a sixth of a shorter soak), since memory goes up and down with what
    the sessions happen to do at the same time.

    Raises:
        ValueError: there is too little to tell.
    """
    span = min(_SPAN_MINUTES, minutes / 6)
    settled = min(SETTLING_MINUTES, minutes / 2)
    after = [s.rss_mb for s in samples if settled <= s.minute < settled + span]
    last = [s.rss_mb for s in samples if s.minute >= minutes - span]
    if not after or not last:
        raise ValueError("the soak is too short to tell")
    return statistics.median(after), statistics.median(last)


def _main(pipe: Connection, core: int, url: str, end_s: float, scale: Scale) -> None:
    os.sched_setaffinity(0, {core})
    pipe.send(uvloop.run(_churn(url, end_s, scale)))


async def _churn(url: str, end_s: float, scale: Scale) -> int:
    """As many users as there are sessions, each coming back all the time; how often they came."""
    spoken = conversation(load_clips(scale.recordings), PAUSE_MS)
    frames = append_frames(spoken.pcm, _CHUNK_MS)
    lived = 0

    async def user(number: int) -> None:
        nonlocal lived
        # The first life is cut short so that afterwards somebody comes and goes all the time.
        life_s = scale.soak_life_s * (number + 1) / scale.soak_sessions
        while time.perf_counter() < end_s:
            session = await connect(url)
            now_s = time.perf_counter()
            first = len(frames) * ((number * 7 + lived * 3) % 11) // 11
            stream = Stream(session, frames, _CHUNK_MS, now_s, first)
            await stream.play(min(now_s + life_s, end_s))
            lived += 1
            await _leave(session, abruptly=lived % _ABRUPT_EVERY == 0)
            life_s = scale.soak_life_s

    async with asyncio.TaskGroup() as users:
        for number in range(scale.soak_sessions):
            users.create_task(user(number), name=f"user {number}")
    return lived


async def _leave(session: Session, *, abruptly: bool) -> None:
    if abruptly:
        session.abort()
    else:
        await session.close()


def tables(soak: Soak) -> list[Table]:
    """The few numbers; the curve is a plot."""
    return [
        Table(
            f"Resident memory of the gateway over {soak.minutes:g} minutes with churn (MB)",
            (
                *("sessions at a time", "came and went", "settled", "at the end", "growth"),
                "all closed",
            ),
            [
                (
                    str(soak.sessions),
                    str(soak.lived),
                    f"{soak.settled_mb:.1f}",
                    f"{soak.end_mb:.1f}",
                    f"{soak.end_mb - soak.settled_mb:+.1f}",
                    f"{soak.closed_mb:.1f}",
                )
            ],
        )
    ]
