"""Figure: how long a session takes to open, and how long others wait meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .client import Session, connect
from .probe import probing
from .report import Table
from .scale import Scale
from .server import IN_TURN, Contender, Server, running
from .stats import Summary

_SETTLE_S = 0.5
_QUIET_S = 1.0


@dataclass(frozen=True, slots=True)
class Opening:
    """Times in ms.

    Attributes:
        server_start_s: Until the server answers for the first time.
        first_ms: The first session of the process.
        sessions: How many are opened each way.
        sequential_ms: One after the other; they stay.
        burst_ms: All at once; the wait for those ahead included.
        burst_all_ms: Until the last of them was open.
        burst_cpu_ms: CPU time of the server per session of the burst.
        quiet_ping_ms: Round trip of a ping while nothing happens: the noise of the machine.
        sequential_ping_ms, burst_ping_ms: The same while others open; `worst` is the longest time
            for which an open session waited for the event loop.
    """

    contender: str
    server_start_s: float
    first_ms: float
    sessions: int
    sequential_ms: Summary
    burst_ms: Summary
    burst_all_ms: float
    burst_cpu_ms: float
    quiet_ping_ms: Summary
    sequential_ping_ms: Summary
    burst_ping_ms: Summary


async def measure(scale: Scale) -> list[Opening]:
    """Open sessions on one fresh server after the other."""
    return [await _measure(contender, scale.openings) for contender in IN_TURN]


async def _measure(contender: Contender, count: int) -> Opening:
    async with running(contender) as server:
        first_s = await _open_and_close(server)
        async with probing(server.url) as pings:
            await asyncio.sleep(_QUIET_S)
            quiet_until_s = time.perf_counter()
            sequential = [await connect(server.url) for _ in range(count)]
            # What a session does right after its `session.created` belongs to its opening.
            await asyncio.sleep(_SETTLE_S)
            sequential_until_s = time.perf_counter()
            await _close(sequential)
            await asyncio.sleep(_SETTLE_S)
            begin_s, before = time.perf_counter(), server.usage()
            burst = await asyncio.gather(*(connect(server.url) for _ in range(count)))
            end_s = time.perf_counter()
            await asyncio.sleep(_SETTLE_S)
            settled_s, after = time.perf_counter(), server.usage()
        await _close(burst)
    return Opening(
        contender=contender.name,
        server_start_s=round(server.start_s, 2),
        first_ms=round(first_s * 1000, 2),
        sessions=count,
        sequential_ms=Summary.of([session.opening_s * 1000 for session in sequential]),
        burst_ms=Summary.of([session.opening_s * 1000 for session in burst]),
        burst_all_ms=round((end_s - begin_s) * 1000, 1),
        burst_cpu_ms=round((after.cpu_s - before.cpu_s) * 1000 / count, 2),
        quiet_ping_ms=Summary.of(pings.between_ms(quiet_until_s - _QUIET_S, quiet_until_s)),
        sequential_ping_ms=Summary.of(pings.between_ms(quiet_until_s, sequential_until_s)),
        burst_ping_ms=Summary.of(pings.between_ms(begin_s, settled_s)),
    )


async def _close(sessions: Sequence[Session]) -> None:
    await asyncio.gather(*(session.close() for session in sessions))


async def _open_and_close(server: Server) -> float:
    session = await connect(server.url)
    await session.close()
    return session.opening_s


def tables(openings: list[Opening]) -> list[Table]:
    """Opening times, and what an open session notices of them."""
    count = openings[0].sessions
    return [
        Table(
            "Session open time: connect → session.created (ms)",
            (
                *("server", "server start (s)", "first"),
                *(f"{count} one after the other p50", "p99", "worst"),
                *(f"{count} at once p50", "p99", "all open after", "CPU each"),
            ),
            [
                (
                    *(o.contender, f"{o.server_start_s:.1f}", f"{o.first_ms:.1f}"),
                    *o.sequential_ms.shown(),
                    *o.burst_ms.shown()[:2],
                    *(f"{o.burst_all_ms:.0f}", f"{o.burst_cpu_ms:.2f}"),
                )
                for o in openings
            ],
        ),
        Table(
            f"Ping of an open session while {count} others open (ms)",
            (
                *("server", "quiet p99", "worst", "one after the other p50", "p99", "worst"),
                *("at once p50", "p99", "worst"),
            ),
            [
                (
                    o.contender,
                    *o.quiet_ping_ms.shown()[1:],
                    *o.sequential_ping_ms.shown(),
                    *o.burst_ping_ms.shown(),
                )
                for o in openings
            ],
        ),
    ]
