"""`main.py --workers`: real processes behind one port, and nothing that shows which one serves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from config import VARIABLES
from tests.harness import RealtimeClient
from workers import COUNT_EVERY_S, MOST_DEATHS

PROJECT = Path(__file__).resolve().parents[1]
WORKERS = 3
SCRIPT = """
version: 1
transcripts: [hello]
rules:
  - {id: hi, when: {}, do: [{say: "Hello from wherever."}]}
"""
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway of several processes."""

    port: int
    process: asyncio.subprocess.Process

    def http(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def socket(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, without what Python runs beside them."""
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE
            and any("spawn_main" in argument for argument in child.cmdline())
        ]

    async def connections(self) -> list[int]:
        """Established connections to the port, by worker."""
        return sorted(
            sum(
                1
                for connection in worker.net_connections("tcp")
                if connection.status == "ESTABLISHED" and connection.laddr[1] == self.port
            )
            for worker in self.workers()
        )


@asynccontextmanager
async def gateway(folder: Path, *options: str, **environ: str) -> AsyncGenerator[Running]:
    script = folder / "script.yaml"
    script.write_text(SCRIPT)
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROJECT / "main.py"), "--port", "0", "--workers", str(WORKERS)),
        *options,
        cwd=folder,
        env=clean
        | {"SCRIPT_FILE": str(script), "STT_PROVIDER": "scripted", "TTS_PROVIDER": "tone"}
        | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = 0
    try:
        while not port:
            line = (await process.stdout.readline()).decode()
            assert line, await process.communicate()
            if found := re.search(r"wss?://\S+?:(\d+)/", line):
                port = int(found[1])
        yield Running(port, process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.communicate()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Running]:
    async with gateway(tmp_path_factory.mktemp("workers")) as gateway_of_three:
        yield gateway_of_three


async def samples(client: httpx.AsyncClient, running: Running) -> dict[str, float]:
    text = (await client.get(running.http("/metrics"))).text
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def settled(running: Running, counts: list[int]) -> None:
    """Wait until the workers have so many connections, and the parent knows."""
    for _ in range(100):
        if await running.connections() == counts:
            break
        await asyncio.sleep(0.05)
    assert await running.connections() == counts
    await asyncio.sleep(4 * COUNT_EVERY_S)


async def ask(client: RealtimeClient) -> Any:
    await client.update_session(
        type="realtime", output_modalities=["text"], audio={"input": {"turn_detection": None}}
    )
    await client.say_text("hi")
    await client.create_response()
    return await client.collect_response()


async def test_sessions_are_spread_evenly_and_counted_together(running: Running) -> None:
    async with AsyncExitStack() as sessions:
        clients = [
            await sessions.enter_async_context(RealtimeClient.connect(running.socket))
            for _ in range(4 * WORKERS)
        ]
        assert await running.connections() == [4] * WORKERS
        for reply in await asyncio.gather(*(ask(client) for client in clients)):
            assert reply.status == "completed"
        async with httpx.AsyncClient(trust_env=False) as http:
            for _ in range(2 * WORKERS):
                health = await http.get(running.http("/health"), headers={"connection": "close"})
                assert health.json()["active_sessions"] == 4 * WORKERS
            told = await samples(http, running)
        assert told["realtime_sessions"] == 4 * WORKERS
        assert told["realtime_sessions_opened_total dialect=ga"] == 4 * WORKERS
        assert told["realtime_responses_total reason= status=completed"] == 4 * WORKERS


async def test_a_burst_is_spread_evenly(running: Running) -> None:
    await settled(running, [0] * WORKERS)
    async with AsyncExitStack() as sessions:

        async def connect() -> None:
            await sessions.enter_async_context(RealtimeClient.connect(running.socket))

        await asyncio.gather(*(connect() for _ in range(10 * WORKERS)))
        counts = await running.connections()
    assert sum(counts) == 10 * WORKERS
    assert max(counts) - min(counts) <= 1


async def test_connections_that_closed_make_room_where_they_were(running: Running) -> None:
    await settled(running, [0] * WORKERS)
    async with AsyncExitStack() as sessions:
        clients = [
            await sessions.enter_async_context(RealtimeClient.connect(running.socket))
            for _ in range(2 * WORKERS)
        ]
        # In the order of connecting each worker got one in turn: this empties one of them.
        for client in clients[::WORKERS]:
            await client.close()
        await settled(running, [0, *[2] * (WORKERS - 1)])
        for _ in range(2):
            await sessions.enter_async_context(RealtimeClient.connect(running.socket))
        assert await running.connections() == [2] * WORKERS


async def test_any_worker_opens_the_key_that_one_of_them_minted(running: Running) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        minted = await http.post(
            running.http("/v1/realtime/client_secrets"),
            json={"session": {"type": "realtime", "instructions": "Be a lighthouse."}},
        )
        key = minted.json()["value"]
    for _ in range(2 * WORKERS):
        headers = {"Authorization": f"Bearer {key}"}
        async with RealtimeClient.connect(running.socket, headers=headers) as client:
            created = await client.wait_for("session.created")
            assert created["session"]["instructions"] == "Be a lighthouse."


async def test_limits_count_over_all_workers(tmp_path: Path) -> None:
    async with gateway(tmp_path, RATE_LIMIT_REQUESTS_PER_MINUTE="4") as running:
        statuses: list[str] = []
        async with AsyncExitStack() as sessions:
            for _ in range(2 * WORKERS):
                client = await sessions.enter_async_context(RealtimeClient.connect(running.socket))
                statuses.append((await ask(client)).status)
    assert statuses == ["completed"] * 4 + ["failed"] * 2


async def test_a_worker_that_dies_is_replaced_and_the_others_live(running: Running) -> None:
    async with AsyncExitStack() as sessions:
        clients = [
            await sessions.enter_async_context(RealtimeClient.connect(running.socket))
            for _ in range(WORKERS)
        ]
        victim = running.workers()[0]
        victim.kill()
        for _ in range(300):
            if len(running.workers()) == WORKERS and victim not in running.workers():
                break
            await asyncio.sleep(0.1)
        lost = [client for client in clients if client.ended]
        assert len(lost) == 1
        for client in clients:
            if client not in lost:
                assert (await ask(client)).status == "completed"
        for _ in range(WORKERS):
            client = await sessions.enter_async_context(RealtimeClient.connect(running.socket))
            assert (await ask(client)).status == "completed"


async def test_a_stop_says_goodbye_to_every_session_and_leaves_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        workers = running.workers()
        async with AsyncExitStack() as sessions:
            clients = [
                await sessions.enter_async_context(RealtimeClient.connect(running.socket))
                for _ in range(WORKERS)
            ]
            running.process.send_signal(signal.SIGTERM)
            for client in clients:
                assert (await client.wait_closed())[0] == 1001
        await running.process.wait()
        assert running.process.returncode == 0
        assert not [worker for worker in workers if worker.is_running()]


async def test_what_keeps_a_worker_from_starting_is_said_once(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROJECT / "main.py"), "--port", "0", "--workers", "2"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "REDIS_URL": "redis://127.0.0.1:1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode in {1, 2}
    assert errors.decode().count("error: REDIS_URL") == 1


async def test_too_many_deaths_end_the_gateway(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        for _ in range(MOST_DEATHS):
            if workers := running.workers():
                workers[0].kill()
            await asyncio.sleep(0.5)
        async with asyncio.timeout(20):
            assert await running.process.wait() == 1
