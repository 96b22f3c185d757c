"""One window: so many sessions talk to a running server for a while, from several processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from . import cores, load
from .lag import Heard
from .load import Order, Report, Seat, Span
from .recordings import Conversation, conversation, load_clips
from .scale import Scale
from .server import Server
from .stats import Summary

PAUSE_MS = 4000
"""After each utterance: room for the silence window and for the whole reply."""
BARGING_PAUSE_MS = 1600
"""The same when users cut in: enough for the reply to have begun."""
_GRACE_S = 1.5
"""What is due at the end of a window may come this much later."""
_LEAD_S = 0.2


@dataclass(frozen=True, slots=True)
class Talk:
    """What sessions say, and in which pieces."""

    recordings: int
    pause_ms: int
    chunk_ms: int

    @property
    def spoken(self) -> Conversation:
        return conversation(load_clips(self.recordings), self.pause_ms)

    def skipped_s(self, part: int) -> float:
        """How much of the conversation lies before a seat's first frame."""
        frames = self.spoken.duration_ms // self.chunk_ms
        return load.first_frame(part, frames) * self.chunk_ms / 1000


@dataclass(frozen=True, slots=True)
class Window:
    """What one window showed.

    Attributes:
        core_share: CPU time of the server process, as a share of one core.
        others_share: What others took of that core meanwhile, the kernel's work for the server's
            sockets included.
        seats: The sessions, in the order of `heard`.
        heard: What each got, from the moment its stream began.
        from_s, to_s: The measured part of the window, from its beginning.
        late_ms: Of the worst load client: by how much it sent too late.
    """

    core_share: float
    others_share: float
    seats: tuple[Seat, ...]
    heard: tuple[Heard, ...]
    from_s: float
    to_s: float
    late_ms: Summary

    @property
    def cpu_s_per_session_minute(self) -> float:
        """CPU seconds of the server for a minute of one session."""
        return self.core_share * 60 / len(self.seats)


async def observe(server: Server, talk: Talk, count: int, scale: Scale) -> Window:
    """Have `count` sessions talk; measure when all of them are at it."""
    duration_s = talk.spoken.duration_ms / 1000
    placed = load.seats(count, duration_s, talk.chunk_ms / 1000)
    async with _clients(server.url, talk, placed) as pipes:
        for pipe in pipes:
            await _receive(pipe)
        begin_s = time.perf_counter() + _LEAD_S
        from_s = duration_s / load.PARTS + scale.warm_up_s
        to_s = from_s + scale.window_s
        for pipe in pipes:
            pipe.send(Span(begin_s, begin_s + to_s + _GRACE_S))
        await asyncio.sleep(begin_s + from_s - time.perf_counter())
        before, before_s = server.usage(), time.perf_counter()
        await asyncio.sleep(begin_s + to_s - time.perf_counter())
        after, after_s = server.usage(), time.perf_counter()
        reports: list[Report] = [await _receive(pipe) for pipe in pipes]
    shares = _shares(placed, len(reports))
    measured_s = after_s - before_s
    core_share = (after.cpu_s - before.cpu_s) / measured_s
    return Window(
        core_share=core_share,
        others_share=(after.core_busy_s - before.core_busy_s) / measured_s - core_share,
        seats=tuple(seat for share in shares for seat in share),
        heard=tuple(heard for report in reports for heard in report.heard),
        from_s=from_s,
        to_s=to_s,
        late_ms=max((report.late_ms for report in reports), key=lambda late: late.p99),
    )


def _shares(placed: Sequence[Seat], clients: int) -> list[tuple[Seat, ...]]:
    return [tuple(placed[number::clients]) for number in range(clients)]


@asynccontextmanager
async def _clients(
    url: str, talk: Talk, placed: Sequence[Seat]
) -> AsyncGenerator[list[Connection]]:
    """Load clients, a core each, as long as the block runs."""
    available = cores.of_this_machine().clients[: len(placed)]
    processes = list[Any]()
    pipes: list[Connection] = []
    try:
        for core, share in zip(available, _shares(placed, len(available)), strict=True):
            ours, theirs = load.SPAWN.Pipe()
            order = Order(url, core, talk.recordings, talk.pause_ms, talk.chunk_ms, share)
            process = load.SPAWN.Process(target=load.main, args=(theirs, order), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            await asyncio.to_thread(process.join, 30)
            if process.is_alive():
                process.kill()


async def _receive(pipe: Connection) -> Any:
    try:
        return await asyncio.to_thread(pipe.recv)
    except EOFError:
        raise RuntimeError("a load client ended early; what it printed says why") from None
