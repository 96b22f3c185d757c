"""Figure: what an idle session costs in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from .client import Session, connect
from .report import Table
from .scale import Scale
from .server import EMBEDDED, IN_TURN, Contender, running

_SETTLE_S = 1.0
_MB = 2**20


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth of resident memory over the server without a session, per session."""

    sessions: int
    mb_per_session: float
    worker_mb_per_session: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB.

    Attributes:
        base_mb: The server process before its first session.
        worker_base_mb: Its worker processes (shared pages are counted in each).
        after_mb: What the server process holds more than at first when all sessions are gone.
    """

    contender: str
    base_mb: float
    worker_base_mb: float
    workers: int
    growth: list[Growth]
    after_mb: float


async def measure(scale: Scale) -> list[Memory]:
    """Open ever more idle sessions on one fresh server after the other."""
    return [await _measure(contender, scale) for contender in (*IN_TURN, EMBEDDED)]


async def _measure(contender: Contender, scale: Scale) -> Memory:
    async with running(contender) as server:
        await asyncio.sleep(_SETTLE_S)
        base = server.usage()
        growth: list[Growth] = []
        sessions: list[Session] = []
        for wanted in scale.idle_sessions:
            while len(sessions) < wanted:
                sessions.append(await connect(server.url))
            await asyncio.sleep(_SETTLE_S)
            used = server.usage()
            growth.append(
                Growth(
                    wanted,
                    round((used.rss_bytes - base.rss_bytes) / _MB / wanted, 3),
                    round((used.worker_rss_bytes - base.worker_rss_bytes) / _MB / wanted, 3),
                )
            )
        await asyncio.gather(*(session.close() for session in sessions))
        await asyncio.sleep(_SETTLE_S)
        after = server.usage()
    return Memory(
        contender=contender.name,
        base_mb=round(base.rss_bytes / _MB, 1),
        worker_base_mb=round(base.worker_rss_bytes / _MB, 1),
        workers=base.workers,
        growth=growth,
        after_mb=round((after.rss_bytes - base.rss_bytes) / _MB, 1),
    )


def tables(memories: list[Memory]) -> list[Table]:
    """Growth per session, side by side."""
    counts = [str(growth.sessions) for growth in memories[0].growth]
    return [
        Table(
            "Resident memory per idle session (MB)",
            (
                *("server", "process without sessions", "its workers"),
                *(f"each of {count}" for count in counts),
                "left when all are closed",
            ),
            [
                (
                    memory.contender,
                    f"{memory.base_mb:.0f}",
                    f"{memory.worker_base_mb:.0f} in {memory.workers}",
                    *(f"{growth.mb_per_session:.2f}" for growth in memory.growth),
                    f"{memory.after_mb:.1f}",
                )
                for memory in memories
            ],
        )
    ]
