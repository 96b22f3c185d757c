"""A session that has ended is freed at once: nothing of it waits for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from pipecat.utils.base_object import BaseObject
from websockets.asyncio.client import connect
from websockets.server import ServerProtocol

from config import Settings
from core.machine import Machine
from pipeline_manager import PipelineManager
from process_group import ProcessGroup
from processors.audio_feed import AudioFeed
from processors.lane import Lane
from protocol import Stage
from providers.failover_llm import FailoverLlmProvider
from providers.failover_stt import FailoverSttProvider
from providers.failover_tts import FailoverTtsProvider
from providers.scripted_llm import ScriptedLlmProvider
from providers.scripted_stt import ScriptedSttProvider
from providers.tone_tts import ToneProvider
from realtime_session import RealtimeSession
from serving import SessionRegistry, build_server, listen
from tests.e2e.gateway import SCRIPT, Gateway, run_gateway, speech
from tests.e2e.wire import MANUAL, ask, begin, configure, named
from tests.harness import BYTES_PER_MS
from transport import Connection

pytestmark = pytest.mark.asyncio(loop_scope="session")

SESSIONS = 3
VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}
PARTS = (RealtimeSession, Connection, Machine, PipelineManager, AudioFeed, Lane, BaseObject)
"""What holds the rest of a session; `BaseObject` is all that Pipecat makes pipelines of."""


@pytest.fixture
def without_collector() -> Generator[None]:
    """No collection, but for those that are asked for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def parts() -> list[object]:
    """All parts of sessions in this process."""
    return [found for found in gc.get_objects() if issubclass(type(found), PARTS)]


async def live(gateway: Gateway, doing: str) -> None:
    """One session from its beginning to its end."""
    async with gateway.connect() as client:
        match doing:
            case "nothing":
                await client.close()
            case "conversation":
                await configure(client, **VAD)
                await client.speak(speech("hello"), realtime=False)
                await client.collect_response()
                await configure(client, **MANUAL)
                await ask(client, "and more")
            case "speaking":
                await configure(client, **VAD)
                await client.append_fast(bytes(200 * BYTES_PER_MS) + speech("hello")[:40_000])
                await client.wait_for("input_audio_buffer.speech_started")
                await client.cut()
            case "story":
                await configure(client, **MANUAL)
                await begin(client, doing)
                await client.wait_for(named("ga", "response.output_audio.delta"))
                await client.cut()
            case _:
                await configure(client, **MANUAL)
                await begin(client, doing, conversation="none")
                await client.close(complete=False)


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("doing", ["nothing", "conversation", "speaking", "story", "hang", "error"])
async def test_nothing_of_a_session_outlives_it(gateway: Gateway, doing: str) -> None:
    await nothing_stays(gateway, doing)


@pytest.mark.usefixtures("without_collector")
async def test_nothing_of_a_session_with_backup_engines_outlives_it() -> None:
    ears = [ScriptedSttProvider(SCRIPT.transcripts, SCRIPT.latency, SCRIPT.seed) for _ in range(2)]
    engines: dict[str, Any] = {
        "stt": FailoverSttProvider(Stage.STT, ears, deadline_s=1.0),
        "llm": FailoverLlmProvider(Stage.LLM, [ScriptedLlmProvider(SCRIPT)] * 2, deadline_s=1.0),
        "tts": FailoverTtsProvider(Stage.TTS, [ToneProvider()] * 2, deadline_s=1.0),
    }
    async with run_gateway(**engines) as gateway:
        await nothing_stays(gateway, "conversation")


async def nothing_stays(gateway: Gateway, doing: str) -> None:
    # As long as somebody is connected, the gateway itself asks for no collection.
    async with gateway.connect():
        await gateway.active_sessions()
        before = parts()
        for _ in range(SESSIONS):
            await live(gateway, doing)
        async with asyncio.timeout(10):
            # Only the outside can be asked: there is no event to wait for.
            while await gateway.active_sessions() > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        known = {id(part) for part in before}
        assert [type(part).__name__ for part in parts() if id(part) not in known] == []


@pytest.mark.usefixtures("without_collector")
async def test_what_took_the_upgrade_request_of_a_connection_does_not_outlive_it() -> None:
    app = FastAPI()
    (alone,) = ProcessGroup.form(1)
    app.state.registry = SessionRegistry(alone)

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    app.add_api_websocket_route("/", echo)
    with listen("127.0.0.1", 0) as listener:
        server = build_server(app, Settings())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110  (uvicorn tells nobody)
                await asyncio.sleep(0.02)
            for _ in range(SESSIONS):
                port = listener.getsockname()[1]
                async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
                    await client.send("hello")
                    assert await client.recv() == "hello"
        await asyncio.sleep(0.1)
        takers = [it for it in gc.get_objects() if hasattr(type(it), "handle_websocket_upgrade")]
        connections = [it for it in gc.get_objects() if type(it) is ServerProtocol]
        server.should_exit = True
        await serving
    assert (takers, connections) == ([], [])
