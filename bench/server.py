"""Starts a server under test in its own process and says what it uses."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from config import VARIABLES

from . import cores

PROJECT = Path(__file__).resolve().parents[1]
_START_DEADLINE_S = 60
_STOP_DEADLINE_S = 15
_ADDRESS = re.compile(r"ws://[\w.]+:(\d+)/\S*")
_BENCH = PROJECT / "bench"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be measured.

    Attributes:
        name: What tables call it.
        arguments: Of the Python interpreter; the server prints its WebSocket URL when it is up.
        environment: Its settings; all others have their defaults, whatever the shell exports.
        one_core: Whether it runs on the server's core alone; engines with worker processes of
            their own run everywhere.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    one_core: bool = True


_MAIN = (str(PROJECT / "main.py"), "--host", "127.0.0.1", "--port", "0")

EMBEDDED = Contender("gateway, embedded engines", _MAIN, one_core=False)
"""What runs when nothing is configured: pocketsphinx, the shipped script, espeak-ng."""

INSTANT = Contender(
    "gateway",
    _MAIN,
    {
        "STT_PROVIDER": "scripted",
        "LLM_PROVIDER": "scripted",
        "TTS_PROVIDER": "tone",
        "SCRIPT_FILE": str(_BENCH / "script.yaml"),
    },
)
"""Engines that answer at once, so that what is left is the gateway."""

STOCK = Contender(
    "stock Pipecat", ("-m", "bench.stock"), {"SCRIPT_FILE": str(_BENCH / "script.yaml")}
)
"""A session as Pipecat's guides build it; see `bench/stock.py`."""

FLOOR = Contender("floor", ("-m", "bench.floor"))
"""The least a server can do with the same audio; see `bench/floor.py`."""

IN_TURN = (INSTANT, STOCK, FLOOR)
"""Whose figures are held against each other."""


def talkative(contender: Contender) -> Contender:
    """The same server with a reply of ten seconds, so that users can cut in on it."""
    script = {"SCRIPT_FILE": str(_BENCH / "script_long.yaml")}
    return replace(contender, environment={**contender.environment, **script})


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server has used so far; its worker processes are counted apart.

    Attributes:
        core_busy_s: What anybody has used of the server's core, the server included.
    """

    cpu_s: float
    core_busy_s: float
    rss_bytes: int
    worker_cpu_s: float
    worker_rss_bytes: int
    workers: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        url: Of its Realtime WebSocket.
        start_s: From the start of its process to the first answer of `/health`.
    """

    contender: Contender
    url: str
    start_s: float
    process: psutil.Process

    def usage(self) -> Usage:
        """CPU time and memory of the process, and of those it has started."""
        cpu = self.process.cpu_times()
        core = psutil.cpu_times(percpu=True)[cores.of_this_machine().server]
        workers = self.process.children(recursive=True)
        return Usage(
            cpu_s=cpu.user + cpu.system,
            core_busy_s=sum(core[:8]) - core.idle - core.iowait,
            rss_bytes=self.process.memory_info().rss,
            worker_cpu_s=sum(sum(worker.cpu_times()[:2]) for worker in workers),
            worker_rss_bytes=sum(worker.memory_info().rss for worker in workers),
            workers=len(workers),
        )


@asynccontextmanager
async def running(contender: Contender) -> AsyncGenerator[Server]:
    """Run a server until the block ends.

    Raises:
        RuntimeError: it does not start; the message holds the end of its log.
    """
    # An empty working directory: a developer's .env must not change the figures.
    with TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "server.log"
        began_s = time.perf_counter()
        process = _start(contender, log)
        try:
            url = await _address(process, log)
            await asyncio.to_thread(_health, url)
            start_s = time.perf_counter() - began_s
            yield Server(contender, url, start_s, psutil.Process(process.pid))
        finally:
            await asyncio.to_thread(_stop, process)


def _start(contender: Contender, log: Path) -> subprocess.Popen[bytes]:
    """Start the process, all it prints going to `log`, in the log's folder."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"PYTHONPATH": str(PROJECT), **contender.environment}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, *contender.arguments],
            cwd=log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    # Python has no thread yet that would keep another affinity.
    divided = cores.of_this_machine()
    elsewhere = () if contender.one_core else divided.clients
    psutil.Process(process.pid).cpu_affinity([divided.server, *elsewhere])
    return process


async def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The URL the server prints; what it logs otherwise is left alone."""
    deadline_s = time.perf_counter() + _START_DEADLINE_S
    while True:
        text = await asyncio.to_thread(log.read_text, encoding="utf-8", errors="replace")
        if found := _ADDRESS.search(text):
            return found[0].replace("localhost", "127.0.0.1") + "?model=gpt-realtime"
        if process.poll() is not None or time.perf_counter() > deadline_s:
            raise RuntimeError(f"{process.args!r} did not start:\n{text[-2000:]}")
        await asyncio.sleep(0.02)


def _health(url: str) -> None:
    address = _ADDRESS.match(url)
    assert address is not None
    health = f"http://127.0.0.1:{address[1]}/health"
    with urllib.request.urlopen(health, timeout=_START_DEADLINE_S) as response:
        response.read()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
