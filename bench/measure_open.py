"""Figure: how long a session takes to open, and how long others wait meanwhile."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from .client import connect
from .probe import probing
from .report import Table
from .scale import Scale
from .server import FLOOR, INSTANT, Contender, Server, running
from .stats import Summary

_SETTLE_S = 0.5
_QUIET_S = 1.0


@dataclass(frozen=True, slots=True)
class Opening:
    """Times in ms.

    Attributes:
        first_ms: The first session of the process.
        sequential_ms: One after the other.
        burst_ms: All at once; the wait for those ahead included.
        burst_sessions: How many "all" is.
        burst_all_ms: Until the last of them was open.
        burst_cpu_ms: CPU time of the server per session of the burst.
        quiet_ping_ms: Round trip of a ping while nothing happens: the noise of the machine.
        burst_ping_ms: The same while the burst opens; `worst` is the longest time for which an
            open session waited for the event loop.
    """

    contender: str
    server_start_s: float
    first_ms: float
    sequential_ms: Summary
    burst_ms: Summary
    burst_sessions: int
    burst_all_ms: float
    burst_cpu_ms: float
    quiet_ping_ms: Summary
    burst_ping_ms: Summary


async def measure(scale: Scale) -> list[Opening]:
    """Open sessions on a fresh gateway and on a fresh floor."""
    return [await _measure(contender, scale) for contender in (INSTANT, FLOOR)]


async def _measure(contender: Contender, scale: Scale) -> Opening:
    async with running(contender) as server:
        first_s = await _open_and_close(server)
        sequential_s = [await _open_and_close(server) for _ in range(scale.openings)]
        async with probing(server.url) as pings:
            await asyncio.sleep(_QUIET_S)
            begin_s, before = time.perf_counter(), server.usage()
            sessions = await asyncio.gather(*(connect(server.url) for _ in range(scale.burst)))
            end_s = time.perf_counter()
            # What a session does right after its `session.created` belongs to its opening.
            await asyncio.sleep(_SETTLE_S)
            settled_s, after = time.perf_counter(), server.usage()
        await asyncio.gather(*(session.close() for session in sessions))
    return Opening(
        contender=contender.name,
        server_start_s=round(server.start_s, 2),
        first_ms=round(first_s * 1000, 2),
        sequential_ms=Summary.of([opening_s * 1000 for opening_s in sequential_s]),
        burst_ms=Summary.of([session.opening_s * 1000 for session in sessions]),
        burst_sessions=scale.burst,
        burst_all_ms=round((end_s - begin_s) * 1000, 1),
        burst_cpu_ms=round((after.cpu_s - before.cpu_s) * 1000 / scale.burst, 2),
        quiet_ping_ms=Summary.of(pings.between_ms(begin_s - _QUIET_S, begin_s)),
        burst_ping_ms=Summary.of(pings.between_ms(begin_s, settled_s)),
    )


async def _open_and_close(server: Server) -> float:
    session = await connect(server.url)
    await session.close()
    return session.opening_s


def tables(openings: list[Opening]) -> list[Table]:
    """Opening times, and what an open session notices of them."""
    burst = openings[0].burst_sessions
    return [
        Table(
            "Session open time: connect → session.created (ms)",
            (
                *("server", "server start (s)", "first", "sequential p50", "p99"),
                *(f"{burst} at once p50", "p99", "all open after", "CPU each"),
            ),
            [
                (
                    *(o.contender, f"{o.server_start_s:.1f}", f"{o.first_ms:.1f}"),
                    *o.sequential_ms.shown()[:2],
                    *o.burst_ms.shown()[:2],
                    *(f"{o.burst_all_ms:.0f}", f"{o.burst_cpu_ms:.2f}"),
                )
                for o in openings
            ],
        ),
        Table(
            f"Ping of an open session while {burst} others open (ms)",
            ("server", "quiet p50", "p99", "worst", "burst p50", "p99", "worst"),
            [(o.contender, *o.quiet_ping_ms.shown(), *o.burst_ping_ms.shown()) for o in openings],
        ),
    ]
