"""`RealtimeServer` in a program: its handlers, what it tells of sessions, and who may come in."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from audio_utils import read_audio
from protocol import ConfigError
from providers.tone import render
from realtime_server import (
    AudioFile,
    Error,
    ErrorCategory,
    RealtimeServer,
    Reply,
    ResponseRequest,
    ToolCall,
)
from tests.e2e.wire import AUDIO, MANUAL, ask, configure
from tests.harness import RealtimeClient, realtime_url
from tests.oracle import Dialect
from tests.testing.table import App

FOLDER = Path(__file__).parent
HELLO = FOLDER.parent / "fixtures" / "hello.wav"


def spoken(text: str) -> str:
    """The outcome of a turn that the tone voice speaks."""
    return f"completed: {text!r} in {len(render(text)[0])} bytes"


BY_SCRIPT = spoken("By the script.")
_PLAYED_BYTES = len(render("Listen.")[0]) + len(read_audio(HELLO))
PLAYED = f"completed: 'Listen. Hello.' in {_PLAYED_BYTES} bytes"


class Weather(RealtimeServer):
    """Decides some replies itself and leaves the others to the script."""

    requests: list[ResponseRequest]

    async def handle_response_create(self, request: ResponseRequest) -> Reply | None:
        self.requests.append(request)
        match request.user:
            case "text":
                return "Hi there."
            case "call":
                return ToolCall("get_weather", {"city": "Rome"})
            case "broken call":
                return ToolCall("get_weather", "{not json")
            case "play":
                return ["Listen.", AudioFile(HELLO, " Hello.")]
            case "fail":
                return Error("no credit", ErrorCategory.QUOTA)
            case "silence":
                return []
            case "bug":
                raise RuntimeError("a secret detail")
            case _:
                return None

    async def handle_transcript(self, session_id: str, text: str) -> str | None:
        return "text" if text == "two" else None


@pytest.fixture(scope="module")
def server() -> Generator[Weather]:
    weather = Weather(FOLDER / "counting.yaml")
    weather.requests = []
    with weather as running:
        yield running


@pytest.mark.parametrize(
    ("user", "outcome"),
    [
        ("text", spoken("Hi there.")),
        ("call", 'called with {"city": "Rome"}; completed: nothing'),
        ("broken call", "called with {not json; completed: nothing"),
        ("play", PLAYED),
        ("fail", "failed (no credit): nothing"),
        ("silence", "completed: nothing"),
        ("bug", "failed (The language model failed: the provider had an internal error.): nothing"),
        ("anything else", BY_SCRIPT),
    ],
)
async def test_a_handler_decides_the_reply(server: Weather, user: str, outcome: str) -> None:
    app = await App.open(server)
    assert (await app.type(user)).outcome == outcome
    assert (await app.type("anything else")).outcome == BY_SCRIPT
    await app.close()


async def test_a_bug_of_a_handler_is_in_the_log_with_its_traceback(
    server: Weather, caplog: pytest.LogCaptureFixture
) -> None:
    app = await App.open(server)
    await app.type("bug")
    await app.close()
    assert "handle_response_create raised" in caplog.text
    assert "RuntimeError: a secret detail" in caplog.text


async def test_a_handler_sees_the_whole_request(server: Weather) -> None:
    app = await App.open(server)
    await app.type("first")
    await app.ask(instructions="Be brief.", metadata={"k": "v"}, output_modalities=["text"])
    await app.type("second")
    first, second, third = server.requests[-3:]
    assert [request.turn for request in (first, second, third)] == [1, 2, 3]
    assert {request.session_id for request in (first, second, third)} == {app.session}
    assert (first.spoken, second.spoken) == (True, False)
    assert (second.instructions, second.metadata) == ("Be brief.", {"k": "v"})
    assert [tool.name for tool in first.tools] == ["get_weather"]
    said = [(message.role, message.text) for message in third.messages]
    assert said == [
        ("user", "first"),
        ("assistant", "By the script."),
        ("assistant", "By the script."),
        ("user", "second"),
    ]
    await app.close()


async def test_a_handler_decides_what_was_heard(server: Weather) -> None:
    app = await App.open(server)
    heard = [(await app.speak()).outcome for _ in range(2)]
    assert heard[0] == f"heard 'one'; {BY_SCRIPT}"
    assert heard[1] == "heard 'text'; " + spoken("Hi there.")
    await app.close()


async def test_what_was_said_can_be_looked_at(server: Weather) -> None:
    app = await App.open(server)
    await app.type("text")
    assert server.sessions[-1] == app.session
    events = server.events(app.session)
    assert events == server.events()
    assert events[0]["type"] == "session.created"
    assert [e["type"] for e in events].count("response.done") == 1
    sent = [event["type"] for event in server.client_events()]
    assert sent == ["session.update", "conversation.item.create", "response.create"]
    await app.close()
    with pytest.raises(LookupError):
        server.events("sess_nobody")


async def test_it_can_be_used_in_an_event_loop_and_asks_for_its_key() -> None:
    async with RealtimeServer(FOLDER / "counting.yaml", api_key="sk-app") as server:
        async with connect(server.url) as refused:
            error = json.loads(await refused.recv())["error"]
            with pytest.raises(ConnectionClosed):
                await refused.recv()
        assert (refused.close_code, error["type"]) == (3000, "invalid_request_error")
        client = AsyncOpenAI(base_url=server.base_url, api_key="sk-app")
        async with client.realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(
                session={"type": "realtime", "output_modalities": ["text"]}
            )
            await connection.conversation.item.create(
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "hello"}],
                }
            )
            await connection.response.create()
            said = ""
            events: list[RealtimeServerEvent] = []
            async for event in connection:
                events.append(event)
                if event.type == "response.output_text.delta":
                    said += event.delta
                if event.type == "response.done":
                    break
        assert said == "By the script."
        told = [event["type"] for event in server.events()]
        assert told == [event.type for event in events]
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    script = tmp_path / "bad.yaml"
    script.write_text("version: 1\nrulez: []\n")
    with pytest.raises(ConfigError, match="line 2, rulez: unknown key"):
        RealtimeServer(script).start()


async def test_a_taken_port_is_told_at_once(server: Weather) -> None:
    with pytest.raises(OSError, match="already in use"):
        RealtimeServer(port=server.port).start()


async def test_the_shipped_script_is_the_default() -> None:
    async with RealtimeServer() as server:
        app = await App.open(server)
        assert (await app.speak()).transcript == "hello there"
        await app.close()


# --- faults over HTTP -------------------------------------------------------------------------


async def test_faults_are_set_shown_and_taken_back_over_http(server: Weather) -> None:
    root = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=root, trust_env=False) as http:
        fault = {"stage": "llm", "kind": "error", "message": "no", "count": 2}
        made = await http.post("/testing/faults", json=fault)
        assert made.status_code == 201
        assert made.json() == {**fault, "id": made.json()["id"], "left": 2}
        app = await App.open(server)
        assert (await app.type("text")).outcome == "failed (no): nothing"
        assert [f["left"] for f in (await http.get("/testing/faults")).json()["faults"]] == [1]
        gone = await http.delete(f"/testing/faults/{made.json()['id']}")
        assert gone.json() == {"removed": 1}
        assert (await http.delete(f"/testing/faults/{made.json()['id']}")).status_code == 404
        assert (await app.type("text")).status == "completed"
        await http.post("/testing/faults", json={"stage": "tts", "kind": "empty"})
        assert (await http.delete("/testing/faults")).json() == {"removed": 1}
        await app.close()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"stage": "vad", "kind": "error"}, "stage: Input should be 'stt', 'llm', 'tts' or 'ws'"),
        ({"stage": "llm", "kind": "explode"}, "kind: Input should be 'error', 'timeout', 'hang'"),
        ({"stage": "llm", "kind": "error", "event": "x"}, "event is for stage ws, not llm"),
        ({"stage": "ws", "kind": "error", "user": {"any": ["x"]}}, "user is for stage stt | llm"),
        ({"stage": "ws", "kind": "slow", "delay_ms": 60_000}, "delay_ms of stage ws may be 25000"),
        ({"stage": "ws", "kind": "disconnect", "close_code": 1006}, "1006 cannot be sent"),
        ({"stage": "llm", "kind": "error", "count": 0}, "count"),
        ({"stage": "llm", "kind": "slow", "delay": 5}, "delay: there is no such field, only stage"),
        ([], "should be an object"),
    ],
)
async def test_what_is_no_fault_is_refused(server: Weather, body: object, told: str) -> None:
    url = f"http://127.0.0.1:{server.port}/testing/faults"
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, json=body)
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]


async def test_faults_take_the_api_key_where_there_is_one_and_no_foreign_page() -> None:
    async with RealtimeServer(FOLDER / "counting.yaml", api_key="sk-app") as server:
        url = f"http://127.0.0.1:{server.port}/testing/faults"
        key = {"Authorization": "Bearer sk-app"}
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(url)).status_code == 401
            assert (await http.get(url, headers=key)).status_code == 200
            foreign = await http.get(url, headers=key | {"Origin": "https://evil.example"})
            assert foreign.status_code == 403


# --- the wire, by the strict oracle -----------------------------------------------------------


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (None, "completed"),
        (("tts", "truncate"), "completed"),
        (("tts", "disconnect"), "failed"),
        (("tts", "empty"), "failed"),
        (("llm", "truncate"), "incomplete"),
        (("llm", "disconnect"), "failed"),
        (("llm", "empty"), "completed"),
        (("ws", "error"), "completed"),
    ],
)
async def test_recordings_and_faults_keep_to_the_protocol(
    server: Weather, dialect: Dialect, fault: tuple[Any, Any] | None, status: str
) -> None:
    url = realtime_url(server.port)
    async with RealtimeClient.connect(url, dialect=dialect) as client:
        await configure(client, **AUDIO, **MANUAL)
        if fault:
            server.inject(*fault)
        reply = await ask(client, "play")
        assert reply.status == status
        assert (await ask(client, "text")).status == "completed"
