"""Many sessions on one process: nothing is mixed, and nothing stays behind when they end."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import Any

import numpy as np
import pytest

from tests.e2e.gateway import HELLO, Gateway, run_gateway, speech, tone
from tests.e2e.wire import AUDIO, MANUAL, TEXT, ask, begin, configure, named, retrieve
from tests.harness import BYTES_PER_MS, RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

SESSIONS = 20
VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}


async def hold_conversation(gateway: Gateway, number: int) -> None:
    """A spoken and a typed turn, every byte of which is this session's own."""
    dialect: Any = "beta" if number % 2 else "ga"
    clip = np.frombuffer(speech("hello"), "<i2").astype(np.float32) * (1 - number / 40)
    voice = clip.astype("<i2").tobytes()
    before_ms = 300 + 20 * number
    async with gateway.connect(dialect) as client:
        await configure(client, **VAD, **TEXT)
        await client.speak(voice, before_ms=before_ms, realtime=False)
        assert (await client.collect_response()).text == f"You said: {HELLO}."
        started = await client.wait_for("input_audio_buffer.speech_started")
        stopped = await client.wait_for("input_audio_buffer.speech_stopped")
        (part,) = (await retrieve(client, started["item_id"]))["content"]
        sent = bytes(before_ms * BYTES_PER_MS) + voice + bytes(1000 * BYTES_PER_MS)
        first, last = (
            ms * BYTES_PER_MS for ms in (started["audio_start_ms"], stopped["audio_end_ms"])
        )
        assert base64.b64decode(part["audio"]) == sent[first:last]

        await configure(client, **MANUAL)
        for text in (f"I am {number:b}", f"again {number * 7919}"):
            reply = await ask(client, text, **AUDIO)
            assert reply.transcript == f"You said: {text}."
            assert reply.audio == tone(reply.transcript)


async def test_twenty_sessions_at_once_do_not_mix_a_byte(gateway: Gateway) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(SESSIONS):
            tasks.create_task(hold_conversation(gateway, number), name=f"session {number}")


async def enter(gateway: Gateway, doing: str, ready: asyncio.Queue[RealtimeClient]) -> None:
    """Get a session to the middle of something, hand it in, and keep it until it is cut."""
    async with gateway.connect() as client:
        await configure(client, **VAD)
        match doing:
            case "nothing":
                pass
            case "speaking":
                await client.append_fast(bytes(200 * BYTES_PER_MS) + speech("hello")[:40_000])
                await client.wait_for("input_audio_buffer.speech_started")
            case "story" | "stall":
                await begin(client, doing)
                await client.wait_for(named("ga", "response.output_audio.delta"))
            case _:
                await begin(client, doing, conversation="none")
        ready.put_nowait(client)
        await client.wait_closed(timeout_s=20)


@pytest.mark.parametrize("ending", ["cut", "close"])
async def test_sessions_leave_nothing_behind(ending: str) -> None:
    doings = ["nothing", "speaking", "story", "stall", "hang"] * 4
    async with run_gateway() as gateway:
        async with gateway.connect() as client:
            # The first session starts what the process keeps.
            await configure(client, **VAD)
            await client.speak(speech("hello"), realtime=False)
            await client.collect_response()
        await empty(gateway)
        tasks_before = asyncio.all_tasks()
        threads_before = set(threading.enumerate())
        ready: asyncio.Queue[RealtimeClient] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            for doing in doings:
                tasks.create_task(enter(gateway, doing, ready), name=f"client {doing}")
            clients = [await ready.get() for _ in doings]
            assert await gateway.active_sessions() == len(doings)
            for client in clients:
                await (client.cut() if ending == "cut" else client.close(complete=False))
        await empty(gateway)
        left = {task.get_name() for task in asyncio.all_tasks() - tasks_before}
        assert left == set()
        assert set(threading.enumerate()) - threads_before == set()


async def empty(gateway: Gateway) -> None:
    """Wait until no session is left and the loop has put its tasks away."""
    async with asyncio.timeout(10):
        # Only the outside can be asked: there is no event to wait for.
        while await gateway.active_sessions():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)


async def test_a_reader_that_stops_reading_does_not_hold_the_others(gateway: Gateway) -> None:
    async with gateway.connect() as deaf:
        await configure(deaf, **MANUAL)
        deaf.socket.transport.pause_reading()
        for _ in range(5):
            await deaf.create_response(metadata={"rule": "story"})
        async with gateway.connect() as client:
            await configure(client, **MANUAL)
            assert (await ask(client, "hi")).audio == tone("You said: hi.")
        deaf.socket.transport.resume_reading()
        assert (await deaf.collect_response()).status == "completed"
        await deaf.close(complete=False)
