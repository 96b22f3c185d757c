"""Supervises one engine process: requests over its pipe, restart after a crash, hang detection.

Native engines hold the GIL, keep global state or abort the process; in a process of their own
they can do so without harm to the sessions. The frames are those of `providers.worker_channel`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from protocol import ErrorCategory, ProviderError, Stage

from .worker_channel import BOOT_REQUEST, HEADER, LAST_KINDS, Kind, encode_frame

logger = logging.getLogger(__name__)

_PROJECT_ROOT = Path(__file__).resolve().parent.parent
_EXIT_GRACE_S = 1.0
_BOOT_DEADLINE_S = 20.0
_FIRST_BACK_OFF_S = 0.5
_LONGEST_BACK_OFF_S = 30.0


class EngineRequest:
    """One exchange with the engine; iterate it for the answers, leave it to cancel it.

    As an asynchronous iterator it yields `(kind, payload)` up to and including `DONE` (or `READY`)
    and raises `ProviderError` once if the request fails. Nothing it does blocks.
    """

    def __init__(self, worker: EngineWorker, request_id: int) -> None:
        self.request_id = request_id
        self._worker = worker
        self._answers: asyncio.Queue[tuple[Kind, bytes] | ProviderError | None] = asyncio.Queue()
        self._deadline_s: float | None = None
        self._armed_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the engine has nothing more to say: served, failed or cancelled."""
        return self._closed

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send more of the request; ignored once it is closed."""
        if not self._closed:
            self._worker.send(kind, self.request_id, payload)

    def expect_answer(self, deadline_s: float) -> None:
        """Treat the engine as hung when it falls silent for `deadline_s` from now on.

        Answers to other requests count as signs of life: this one then waits its turn.
        """
        if self._closed:
            return
        self._deadline_s = deadline_s
        self._armed_at_s = asyncio.get_running_loop().time()
        self._start_timer(deadline_s)

    def cancel(self) -> None:
        """Tell the engine to stop working on it; later answers are dropped."""
        if not self._closed:
            self._worker.send(Kind.CANCEL, self.request_id)
            self._close(None)

    def deliver(self, kind: Kind, payload: bytes) -> None:
        """Called by the worker for every frame of this request."""
        if kind is Kind.FAILED:
            self.fail(ErrorCategory.SERVER, payload.decode(errors="replace"))
            return
        self._answers.put_nowait((kind, payload))
        if kind in LAST_KINDS:
            self._close(None)

    def fail(self, category: ErrorCategory, message: str) -> None:
        """End it with a `ProviderError`."""
        self._close(ProviderError(self._worker.stage, category, message))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Kind, bytes]:
        answer = await self._answers.get()
        if answer is None:
            self._answers.put_nowait(None)
            raise StopAsyncIteration
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def _close(self, error: ProviderError | None) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if error is not None:
            self._answers.put_nowait(error)
        self._answers.put_nowait(None)
        self._worker.forget(self)

    def _start_timer(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._check_deadline)

    def _check_deadline(self) -> None:
        assert self._deadline_s is not None
        silent_s = self._worker.silent_for_s(since_s=self._armed_at_s)
        if self._worker.must_load_before(self):
            self._start_timer(self._deadline_s)
        elif silent_s < self._deadline_s:
            self._start_timer(self._deadline_s - silent_s)
        else:
            name = self._worker.label
            self.fail(
                ErrorCategory.TIMEOUT, f"the {name} worker gave no answer in {self._deadline_s:g} s"
            )
            self._worker.kill()


class EngineWorker:
    """A child process running `python -m <module>`, started when needed and restarted when gone.

    Restart is lazy: the next request starts the process again, at once after a first crash. While
    processes keep dying without having served anything, requests fail at once for a back-off
    that doubles up to 30 s. Every request that was in flight at a crash fails.

    Args:
        module: The engine's module; its main thread talks through an `EngineChannel`.
        stage: The stage of the `ProviderError`s.
        label: How messages name it ("espeak").
        configure: Payload of the `CONFIGURE` frame each process gets first.
        argv: Further command-line arguments of the module.
    """

    def __init__(
        self,
        module: str,
        *,
        stage: Stage,
        label: str,
        configure: bytes = b"{}",
        argv: tuple[str, ...] = (),
    ) -> None:
        self.stage = stage
        self.label = label
        self._command = (sys.executable, "-P", "-m", module, *argv)
        self._configure = configure
        self._process: asyncio.subprocess.Process | None = None
        self._life: asyncio.Task[None] | None = None
        self._boot: EngineRequest | None = None
        self._requests: dict[int, EngineRequest] = {}
        self._backlog: list[bytes] = []
        self._ids = itertools.count(BOOT_REQUEST + 1)
        self._heard_at_s = 0.0
        self._crashes = 0
        self._retry_at_s = 0.0
        self._closing = False

    @property
    def pid(self) -> int | None:
        """Process id while a process runs."""
        return None if self._process is None else self._process.pid

    @property
    def load(self) -> int:
        """Requests in flight."""
        return len(self._requests)

    def start(self) -> None:
        """Start the process, in the background, unless it runs."""
        if not self._closing and (self._life is None or self._life.done()):
            self._boot = EngineRequest(self, BOOT_REQUEST)
            self._life = asyncio.create_task(self._run(), name=f"{self.label}-worker")

    @property
    def backing_off(self) -> bool:
        """Whether a request made now would fail at once."""
        return self._retry_at_s > asyncio.get_running_loop().time()

    async def wait_ready(self) -> None:
        """Start the process unless it runs, and wait until it has loaded.

        Raises:
            ProviderError: it ended or hung while loading.
        """
        self.start()
        if self._boot is not None:
            async for _ in self._boot:
                pass

    def open(self, payload: bytes) -> EngineRequest:
        """Begin a request; failures come through its iterator."""
        request = EngineRequest(self, next(self._ids))
        if self._closing:
            request.fail(ErrorCategory.SERVER, f"the {self.label} worker is shut down")
        elif self.backing_off:
            wait_s = self._retry_at_s - asyncio.get_running_loop().time()
            request.fail(
                ErrorCategory.SERVER,
                f"the {self.label} worker keeps stopping; next attempt in {wait_s:.1f} s",
            )
        else:
            self._requests[request.request_id] = request
            self.send(Kind.OPEN, request.request_id, payload)
            self.start()
        return request

    async def close(self) -> None:
        """End the process (by closing its pipe, by force after a second) and everything with it."""
        self._closing = True
        for request in list(self._requests.values()):
            request.cancel()
        if self._life is None:
            return
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        _, pending = await asyncio.wait({self._life}, timeout=_EXIT_GRACE_S)
        if pending:
            self.kill()
            await self._life

    def kill(self) -> None:
        """End the process by force; requests in flight fail."""
        process = self._process
        if process is not None:
            self._lose_process()
            process.kill()

    # Called by `EngineRequest`.

    def send(self, kind: Kind, request_id: int, payload: bytes = b"") -> None:
        """Write a frame, or keep it for the process that is coming up."""
        frame = encode_frame(kind, request_id, payload)
        if self._process is None:
            self._backlog.append(frame)
        elif (pipe := self._process.stdin) is not None and not pipe.is_closing():
            pipe.write(frame)

    def forget(self, request: EngineRequest) -> None:
        """Drop a closed request."""
        self._requests.pop(request.request_id, None)

    def silent_for_s(self, *, since_s: float) -> float:
        """How long the process has said nothing, counted from `since_s` at the earliest."""
        return asyncio.get_running_loop().time() - max(self._heard_at_s, since_s)

    def must_load_before(self, request: EngineRequest) -> bool:
        """Whether the process has still to load, under a deadline of its own."""
        if request is self._boot:
            return False
        return self._process is None or self._boot is None or not self._boot.closed

    # The life of processes.

    async def _run(self) -> None:
        while not self._closing:
            await self._run_process()
            # Opened after the process was gone: they wait for the next one. Else it waits for them.
            if not self._requests:
                break
            if self.backing_off:
                self._fail_all(f"the {self.label} worker keeps stopping")
                break
            self._boot = EngineRequest(self, BOOT_REQUEST)

    async def _run_process(self) -> None:
        assert self._boot is not None
        environment = dict(os.environ)
        paths = (str(_PROJECT_ROOT), environment.get("PYTHONPATH"))
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            logger.error("%s worker cannot start: %s", self.label, error)
            self._count_crash()
            self._fail_all(f"the {self.label} worker cannot start")
            return
        self._process = process
        try:
            await self._talk(process)
        finally:
            if self._process is process:
                self._lose_process()
            if process.stdin is not None:
                process.stdin.close()
            await self._reap(process)
        if not self._closing:
            logger.warning(
                "%s worker stopped (exit code %s), %d in a row",
                self.label,
                process.returncode,
                self._crashes,
            )

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        # Its pipe is closed, so it is ending or already dead. Killing it right away would make
        # `Popen` collect the exit code that asyncio is waiting for.
        try:
            async with asyncio.timeout(_EXIT_GRACE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _talk(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert self._boot is not None
        if self._closing:
            process.stdin.close()
            return
        process.stdin.write(encode_frame(Kind.CONFIGURE, BOOT_REQUEST, self._configure))
        process.stdin.writelines(self._backlog)
        self._backlog.clear()
        self._boot.expect_answer(_BOOT_DEADLINE_S)
        loop = asyncio.get_running_loop()
        while True:
            try:
                length, number, request_id = HEADER.unpack(
                    await process.stdout.readexactly(HEADER.size)
                )
                payload = await process.stdout.readexactly(length)
            except asyncio.IncompleteReadError:
                return
            self._heard_at_s = loop.time()
            kind = Kind(number)
            if kind is Kind.DONE:
                self._crashes = 0
            request = self._boot if request_id == BOOT_REQUEST else self._requests.get(request_id)
            if request is not None:
                request.deliver(kind, payload)

    def _lose_process(self) -> None:
        """Fail what is in flight; requests made from here on go to the next process."""
        self._process = None
        if not self._closing:
            self._count_crash()
        self._fail_all(f"the {self.label} worker stopped")

    def _fail_all(self, message: str) -> None:
        in_flight = list(self._requests.values())
        if self._boot is not None:
            in_flight.append(self._boot)
        self._backlog.clear()
        for request in in_flight:
            request.fail(ErrorCategory.SERVER, message)

    def _count_crash(self) -> None:
        """The first is forgiven, a series backs off."""
        self._crashes += 1
        if self._crashes > 1:
            delay_s = min(_FIRST_BACK_OFF_S * 2 ** (self._crashes - 2), _LONGEST_BACK_OFF_S)
            self._retry_at_s = asyncio.get_running_loop().time() + delay_s
