"""Several worker processes behind one port: one process accepts, and hands each connection on.

Connections are handed out rather than accepted by whoever wakes first, because a conversation
lasts for minutes: a process that got more of them than the others stays slow for as long. This
module knows sockets and processes; it must not know what a worker serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import uvicorn

from config import Settings
from metrics import SHARED_FOLDER, forget_process
from process_group import CONTEXT, ProcessGroup

logger = logging.getLogger("realtime.workers")

STOP_DEADLINE_S: Final = 15.0
"""How long the workers' sessions may take to end; a worker that takes longer is killed."""
MOST_DEATHS: Final = 5
DEATHS_WITHIN_S: Final = 60.0
"""Workers that die are replaced, but not for ever: so many so soon have one cause."""
COUNT_EVERY_S: Final = 0.05
BUSY_WAIT_S: Final = 0.01

ServeWorker = Callable[[Settings, ProcessGroup, "Handover", Callable[[Any], None]], int]
"""Serves what comes through the handover until told to stop; calls the function once it is up,
with what the operator is to see. Returns the process's exit code. Must be importable by name."""


@dataclass(frozen=True, slots=True)
class Handover:
    """The worker's end of the way that connections take.

    Attributes:
        pipe: Each byte brings one connection; its end means that the parent has gone.
        load: Two numbers in shared memory: connections open, and connections taken so far.
    """

    pipe: socket.socket
    load: Any


class HandedServer(uvicorn.Server):
    """uvicorn on connections that another process has accepted.

    Args:
        server: Configured by the worker; its own shutdown is kept.
        handover: Where the connections come from.
    """

    def __init__(self, config: uvicorn.Config, handover: Handover) -> None:
        super().__init__(config)
        self._handover = handover
        self._open: set[asyncio.BaseTransport] = set()
        self._taken = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start without listening, and take connections from then on."""
        await super().startup(sockets=[])
        pipe = self._handover.pipe
        pipe.setblocking(False)
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._receive)
        self._keep(self._count())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, then go down as ever."""
        asyncio.get_running_loop().remove_reader(self._handover.pipe.fileno())
        await super().shutdown(sockets)

    def _receive(self) -> None:
        try:
            byte, descriptors, _, _ = socket.recv_fds(self._handover.pipe, 1, 1)
        except BlockingIOError:
            return
        if not byte:
            self.should_exit = True
            asyncio.get_running_loop().remove_reader(self._handover.pipe.fileno())
            return
        for descriptor in descriptors:
            self._taken += 1
            self._keep(self._serve_one(socket.socket(fileno=descriptor)))

    async def _serve_one(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                self._protocol, connection, ssl=self.config.ssl
            )
        except OSError as exc:  # The client has gone, or it does not speak TLS.
            logger.debug("a connection was lost before it was served: %s", exc)
            return
        self._open.add(transport)

    def _protocol(self) -> Any:
        # As uvicorn's own startup makes it.
        protocol: Any = self.config.http_protocol_class
        return protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _count(self) -> None:
        """Tell the parent how many connections are open."""
        while True:
            taken = self._taken - len(self._tasks) + 1  # This task is one of them.
            self._open = {transport for transport in self._open if not transport.is_closing()}
            self._handover.load[:] = [len(self._open), taken]
            await asyncio.sleep(COUNT_EVERY_S)

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass(slots=True)
class _Worker:
    """The parent's view of one worker."""

    group: ProcessGroup
    process: BaseProcess
    pipe: socket.socket
    load: Any
    news: Any
    handed: int = 0

    @property
    def connections(self) -> int:
        """Those it has open, and those it has not told of yet."""
        open_, taken = self.load
        return open_ + self.handed - taken


@dataclass(slots=True)
class Workers:
    """The parent process: starts the workers, hands them connections, and ends them.

    Args:
        settings: For every worker.
        count: How many.
        serve: What a worker does.
        announce: Called once, when all of them are up, with what the first one said.
    """

    settings: Settings
    count: int
    serve: ServeWorker
    announce: Callable[[Any], None]
    _workers: list[_Worker] = field(default_factory=list[_Worker])
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _exit_code: int = 0

    def run(self, listener: socket.socket) -> int:
        """Serve on `listener` until stopped.

        Returns:
            The exit code: 0 after a signal, else that of the worker that could not go on.
        """
        with tempfile.TemporaryDirectory(prefix="realtime-") as folder:
            # Both are read when the workers start; see the metrics library.
            os.environ[SHARED_FOLDER] = folder
            try:
                return asyncio.run(self._run(listener, Path(folder)))
            finally:
                del os.environ[SHARED_FOLDER]

    async def _run(self, listener: socket.socket, folder: Path) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        listener.setblocking(False)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            if await self._start_all(ProcessGroup.form(self.count, folder), stopped):
                tasks = [
                    stopped,
                    asyncio.create_task(self._hand_out(listener)),
                    asyncio.create_task(self._supervise()),
                ]
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in (*tasks, *done):
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for task in done - {stopped}:
                    task.result()
        finally:
            stopped.cancel()
            listener.close()
            await self._end()
        return self._exit_code

    def _start(self, group: ProcessGroup) -> _Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        load = CONTEXT.RawArray("q", 2)
        news, tell = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(
            target=_work,
            args=(self.serve, self.settings, group, Handover(theirs, load), tell),
            name=f"worker {group.index}",
        )
        process.start()
        theirs.close()
        tell.close()
        return _Worker(group, process, ours, load, news)

    async def _start_all(self, groups: Sequence[ProcessGroup], stopped: asyncio.Task[bool]) -> bool:
        """Start the first, then the others at once: what keeps one from starting is said once."""
        said = await self._start_some(groups[:1], stopped)
        up = said is not None and await self._start_some(groups[1:], stopped) is not None
        if up and said is not None:
            self.announce(said[0])
        return up

    async def _start_some(
        self, groups: Sequence[ProcessGroup], stopped: asyncio.Task[bool]
    ) -> list[Any] | None:
        """What these workers say when they are up; None when one ended instead, or on a signal."""
        workers = [self._start(group) for group in groups]
        self._workers += workers
        news = asyncio.gather(*(asyncio.to_thread(_first_news, worker) for worker in workers))
        await asyncio.wait({news, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return None
        said = news.result()
        for worker, told in zip(workers, said, strict=True):
            if told is None:
                await asyncio.to_thread(worker.process.join, STOP_DEADLINE_S)
                self._exit_code = worker.process.exitcode or 1
                return None
        return said

    async def _hand_out(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            with connection:
                await self._hand(connection)

    async def _hand(self, connection: socket.socket) -> None:
        """Give a connection to the worker that has the fewest."""
        while True:
            for worker in sorted(self._workers, key=lambda worker: worker.connections):
                try:
                    socket.send_fds(worker.pipe, [b"c"], [connection.fileno()])
                except OSError as exc:  # It is dead, or it does not keep up: another one can.
                    logger.debug("worker %d takes nothing: %s", worker.group.index, exc)
                else:
                    worker.handed += 1
                    return
            await asyncio.sleep(BUSY_WAIT_S)

    async def _supervise(self) -> None:
        """Replace workers that die; returns when that would not help."""
        deaths: deque[float] = deque(maxlen=MOST_DEATHS)
        while True:
            for position, worker in enumerate(self._workers):
                if worker.process.exitcode is None:
                    continue
                logger.error(
                    "worker %d died (exit code %s)", worker.group.index, worker.process.exitcode
                )
                self._bury(worker)
                deaths.append(time.monotonic())
                if len(deaths) == MOST_DEATHS and deaths[-1] - deaths[0] < DEATHS_WITHIN_S:
                    logger.error("%d workers died within %.0f s", MOST_DEATHS, DEATHS_WITHIN_S)
                    self._exit_code = 1
                    return
                self._workers[position] = self._start(worker.group)
            await asyncio.sleep(0.2)

    def _bury(self, worker: _Worker) -> None:
        worker.pipe.close()
        worker.news.close()
        worker.group.forget(worker.group.index)
        if worker.process.pid is not None:
            forget_process(worker.process.pid)

    async def _end(self) -> None:
        for worker in self._workers:
            worker.pipe.close()
            if worker.process.exitcode is None:
                worker.process.terminate()
        deadline_s = time.monotonic() + STOP_DEADLINE_S
        for worker in self._workers:
            left_s = max(deadline_s - time.monotonic(), 0.0)
            await asyncio.to_thread(worker.process.join, left_s)
            if worker.process.exitcode is None:
                logger.warning("worker %d did not end in time", worker.group.index)
                worker.process.kill()


def _first_news(worker: _Worker) -> Any:
    """What a worker says when it is up; None when it ended instead."""
    try:
        return worker.news.recv()
    except EOFError:
        return None


def _work(
    serve: ServeWorker, settings: Settings, group: ProcessGroup, handover: Handover, tell: Any
) -> None:
    """A worker's whole life."""
    with contextlib.suppress(KeyboardInterrupt):
        raise SystemExit(serve(settings, group, handover, tell.send))


def with_one_signing_key(settings: Settings, make: Callable[[], str]) -> Settings:
    """The settings with a signing key for ephemeral keys: every worker opens what another minted.

    Args:
        settings: As loaded.
        make: Makes a random key.
    """
    server = settings.server
    if server.client_secret_key is not None or server.api_key is not None:
        return settings
    key = type(server).model_validate({"client_secret_key": make()}).client_secret_key
    return settings.model_copy(
        update={"server": server.model_copy(update={"client_secret_key": key})}
    )
