"""`POST /process_audio`: uploads, the stream of events, conversations, and what is refused."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from pydantic import SecretStr

from config import UploadSettings
from providers.script_file import Script, parse_script
from providers.scripted_llm import ScriptedLlmProvider
from providers.scripted_stt import ScriptedSttProvider
from tests.e2e.gateway import API_KEY, PAGE_ORIGIN, Gateway, run_gateway, speech
from tests.test_conversation_store import needs_redis, running_redis

BEARER = {"Authorization": f"Bearer {API_KEY}"}
SCRIPT = """
version: 1
defaults: {fallback: {say: "Turn {turn}: {user}."}}
transcripts: [%s]
rules:
  - {id: error, when: {user: {any: [fail]}}, do: [{fault: llm.error, message: "out of order"}]}
  - {id: late, when: {user: {any: [stumble]}}, do: [{say: "I was."}, {fault: llm.disconnect}]}
  - {id: hang, when: {user: {any: [hang]}}, do: [{say: "Well."}, {fault: llm.hang}]}
  - {id: wait, when: {user: {any: [wait]}}, do: [{wait: 1000}, {say: "Well then."}]}
  - {id: lines, when: {user: {any: [poem]}}, do: [{say: "Roses.\\n\\nViolets."}]}
"""


def script(heard: str) -> Script:
    return parse_script(SCRIPT % heard)


@asynccontextmanager
async def gateway_that_hears(heard: str = "hello there", **options: Any) -> AsyncGenerator[Gateway]:
    rules = script(heard)
    stt = ScriptedSttProvider(rules.transcripts, rules.latency, rules.seed)
    async with run_gateway(stt=stt, llm=ScriptedLlmProvider(rules), **options) as gateway:
        yield gateway


def sound(
    format: str = "WAV", *, rate_hz: int = 24_000, channels: int = 1, seconds: float | None = None
) -> bytes:
    """A recording as a file."""
    pcm = np.frombuffer(speech("hello"), "<i2")
    if seconds is not None:
        pcm = np.resize(pcm, round(seconds * rate_hz))
    file = io.BytesIO()
    soundfile.write(file, np.column_stack([pcm] * channels), rate_hz, format=format)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Told:
    """What an upload was answered."""

    answer: httpx.Response
    events: list[tuple[str, str]]

    def of(self, name: str) -> list[str]:
        return [text for kind, text in self.events if kind == name]

    @property
    def conversation_id(self) -> str:
        return self.answer.headers["conversation-id"]


def parse_events(body: str) -> list[tuple[str, str]]:
    """Name and data of each server-sent event, as a browser reads them."""
    events: list[tuple[str, str]] = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        fields = [line.split(": ", 1) for line in block.split("\n")]
        name = next((value for key, value in fields if key == "event"), "message")
        events.append((name, "\n".join(value for key, value in fields if key == "data")))
    return events


async def post(
    gateway: Gateway, file: bytes | None = None, *, query: str = "", **fields: str
) -> Told:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        answer = await http.post(
            f"http://127.0.0.1:{gateway.port}/process_audio{query}",
            files={"file": ("turn.wav", sound() if file is None else file)},
            data=fields,
        )
    return Told(answer, parse_events(answer.text) if answer.status_code == 200 else [])


def error_of(told: Told) -> tuple[int, str | None, str | None]:
    error = told.answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"].endswith(".")
    return told.answer.status_code, error["code"], error["param"]


# --- what comes back --------------------------------------------------------------------------


async def test_a_turn_streams_transcript_and_answer() -> None:
    async with gateway_that_hears() as gateway:
        told = await post(gateway)
        assert await gateway.active_sessions() == 0
    assert told.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [name for name, _ in told.events] == (
        ["transcript", *["message"] * (len(told.events) - 2), "end"]
    )
    assert told.of("transcript") == ["hello there"]
    assert len(told.of("message")) > 1
    assert "".join(told.of("message")) == "Turn 1: hello there."
    assert json.loads(told.of("end")[0]) == {"conversation_id": told.conversation_id}
    assert told.conversation_id.startswith("conv_")


async def test_lines_of_an_answer_stay_lines() -> None:
    async with gateway_that_hears("a poem") as gateway:
        told = await post(gateway)
    assert "".join(told.of("message")) == "Roses.\n\nViolets."


@pytest.mark.parametrize(
    "file",
    [
        sound("FLAC"),
        sound("OGG"),
        sound("MP3"),
        sound("WAV", rate_hz=44_100, channels=2),
        sound("WAV", rate_hz=8000),
    ],
    ids=["flac", "ogg", "mp3", "stereo", "narrow"],
)
async def test_other_files_are_heard(file: bytes) -> None:
    async with gateway_that_hears() as gateway:
        assert (await post(gateway, file)).of("transcript") == ["hello there"]


# --- conversations ----------------------------------------------------------------------------


async def test_a_conversation_goes_on() -> None:
    async with gateway_that_hears() as gateway:
        first = await post(gateway)
        second = await post(gateway, conversation_id=first.conversation_id)
        third = await post(gateway, query=f"?conversation_id={first.conversation_id}")
        stranger = await post(gateway, conversation_id="one-of_mine")
    answers = ["".join(told.of("message"))[:6] for told in (first, second, third, stranger)]
    assert answers == ["Turn 1", "Turn 2", "Turn 3", "Turn 1"]
    assert first.conversation_id == second.conversation_id == third.conversation_id
    assert stranger.conversation_id == "one-of_mine"


@needs_redis
async def test_a_conversation_outlives_its_server(tmp_path: Path) -> None:
    with running_redis(tmp_path) as url:
        uploads = UploadSettings(redis_url=SecretStr(url))
        async with gateway_that_hears(uploads=uploads) as gateway:
            await post(gateway, conversation_id="mine")
        async with gateway_that_hears(uploads=uploads) as gateway:
            told = await post(gateway, conversation_id="mine")
    assert "".join(told.of("message")) == "Turn 2: hello there."


@needs_redis
async def test_without_its_redis_the_endpoint_is_unavailable(tmp_path: Path) -> None:
    with ExitStack() as redis:
        url = redis.enter_context(running_redis(tmp_path))
        async with gateway_that_hears(uploads=UploadSettings(redis_url=SecretStr(url))) as gateway:
            redis.close()
            assert error_of(await post(gateway))[0] == 503


@needs_redis
async def test_an_answer_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    with ExitStack() as redis:
        url = redis.enter_context(running_redis(tmp_path))
        uploads = UploadSettings(redis_url=SecretStr(url))
        async with gateway_that_hears("wait", uploads=uploads) as gateway:
            async with asyncio.TaskGroup() as tasks:
                turn = tasks.create_task(post(gateway))
                await until_sessions(gateway, 1)
                redis.close()
            told = turn.result()
    assert "".join(told.of("message")) == "Well then."
    error = json.loads(told.of("error")[0])["error"]
    assert (error["type"], error["code"]) == ("server_error", "conversation_not_kept")


# --- what goes wrong in a turn ----------------------------------------------------------------


@pytest.mark.parametrize(("heard", "answer"), [("fail", ""), ("stumble", "I was.")])
async def test_a_failed_turn_ends_with_its_error(heard: str, answer: str) -> None:
    async with gateway_that_hears(heard) as gateway:
        told = await post(gateway, conversation_id="mine")
    assert [name for name, _ in told.events][-2:] == ["error", "end"]
    assert told.of("transcript") == [heard]
    assert "".join(told.of("message")).startswith(answer)
    error = json.loads(told.of("error")[0])["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]


async def test_a_server_that_goes_down_ends_the_turn() -> None:
    async with gateway_that_hears("hang") as gateway, asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(post(gateway))
        await until_sessions(gateway, 1)
        await gateway.app.state.registry.drain()
        told = await turn
        late = await post(gateway)
    for answered in (told, late):
        assert json.loads(answered.of("error")[0])["error"]["code"] == "session_ended"
        assert [name for name, _ in answered.events][-1] == "end"


async def test_a_client_that_leaves_ends_the_session() -> None:
    async with gateway_that_hears("hang") as gateway:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            url = f"http://127.0.0.1:{gateway.port}/process_audio"
            async with http.stream("POST", url, files={"file": sound()}) as answer:
                async for line in answer.aiter_lines():
                    if line == "data: hang":
                        break
                assert await gateway.active_sessions() == 1
        await until_sessions(gateway, 0)


async def until_sessions(gateway: Gateway, count: int) -> None:
    async with asyncio.timeout(10):
        for _ in itertools.count():
            if await gateway.active_sessions() == count:
                break
            await asyncio.sleep(0.01)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "fields", "refusal"),
    [
        (b"no sound at all", {}, (400, "invalid_value", "file")),
        (b"", {}, (400, "invalid_value", "file")),
        (sound(seconds=0.099), {}, (400, "invalid_value", "file")),
        (sound(seconds=2.1), {}, (413, "audio_too_long", "file")),
        (sound("FLAC", seconds=2.1), {}, (413, "audio_too_long", "file")),
        (bytes(200_001), {}, (413, "file_too_large", "file")),
        (bytes(2_000_000), {}, (413, "file_too_large", "file")),
        (sound(), {"conversation_id": "a b"}, (400, "invalid_value", "conversation_id")),
        (sound(), {"conversation_id": "x" * 65}, (400, "invalid_value", "conversation_id")),
        (sound(), {"model": "x" * 257}, (400, "string_above_max_length", "model")),
    ],
    ids=[
        *("noise", "empty", "short", "long", "long-flac", "large", "very-large"),
        *("spaced-id", "long-id", "long-model"),
    ],
)
async def test_a_bad_upload_is_refused(
    file: bytes, fields: dict[str, str], refusal: tuple[int, str, str]
) -> None:
    uploads = UploadSettings(max_bytes=200_000, max_seconds=2)
    async with gateway_that_hears(uploads=uploads) as gateway:
        assert error_of(await post(gateway, file, **fields)) == refusal


async def test_no_more_is_read_than_is_taken() -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    chunks = itertools.chain([head], itertools.repeat(bytes(100_000)))
    read_bytes = 0
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal read_bytes
        chunk = next(chunks)
        read_bytes += len(chunk)
        assert read_bytes < 1_000_000
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/process_audio",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
    }
    async with gateway_that_hears(uploads=UploadSettings(max_bytes=200_000)) as gateway:
        await gateway.app(scope, receive, send)
    assert sent[0]["status"] == 413


@pytest.mark.parametrize(
    ("request_options", "status", "code"),
    [
        ({"json": {"file": "x"}}, 415, "unsupported_content_type"),
        ({"content": sound()}, 415, "unsupported_content_type"),
        ({"files": {"audio": sound()}}, 400, "missing_required_parameter"),
        ({"files": [("file", sound()), ("file", sound())]}, 400, None),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, None),
        (
            {"files": {"other": ("", b"")}, "data": {"file": "text"}},
            400,
            "missing_required_parameter",
        ),
    ],
    ids=["json", "raw", "other-name", "two", "no-boundary", "text"],
)
async def test_a_bad_body_is_refused(
    request_options: dict[str, Any], status: int, code: str | None
) -> None:
    async with gateway_that_hears() as gateway, httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{gateway.port}/process_audio"
        answer = await http.post(url, **request_options)
    assert error_of(Told(answer, []))[:2] == (status, code)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        (BEARER, 200),
        ({"api-key": API_KEY}, 200),
    ],
)
async def test_the_key_decides(headers: dict[str, str], status: int) -> None:
    async with (
        gateway_that_hears(api_key=API_KEY) as gateway,
        httpx.AsyncClient(trust_env=False, headers=headers) as http,
    ):
        url = f"http://127.0.0.1:{gateway.port}/process_audio"
        answer = await http.post(url, files={"file": sound()})
    assert answer.status_code == status


async def test_pages_of_other_origins_stay_out_without_a_key() -> None:
    async with gateway_that_hears() as gateway, httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{gateway.port}/process_audio"
        foreign = await http.post(url, files={"file": sound()}, headers={"Origin": PAGE_ORIGIN})
        own = await http.post(
            url, files={"file": sound()}, headers={"Origin": "http://localhost:3000"}
        )
    assert error_of(Told(foreign, []))[:2] == (403, "origin_not_allowed")
    assert own.status_code == 200
    assert own.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert own.headers["access-control-expose-headers"] == "Conversation-ID"
