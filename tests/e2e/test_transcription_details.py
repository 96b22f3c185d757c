"""Log probabilities, speakers and reused ids over the wire, from engines that are doubles."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from typing import Any

import pytest
import websockets
from openai import AsyncOpenAI
from pydantic import SecretStr

from providers.base import SttProvider
from providers.deepgram_stt import DeepgramProvider
from providers.openai_stt import OpenAiSttProvider
from providers.script import Latency, SpokenPassage, SpokenTurn
from providers.scripted_stt import ScriptedSttProvider
from tests.doubles import Double, running_double
from tests.e2e.gateway import Gateway, run_gateway
from tests.e2e.wire import lives
from tests.harness import RealtimeClient
from tests.providers.endpoints import endpoint

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRANSCRIPTION = "conversation.item.input_audio_transcription"
SEGMENT = "conversation.item.input_audio_transcription.segment"
LOGPROBS = "item.input_audio_transcription.logprobs"
DIARISING = "gpt-4o-transcribe-diarize"
TOLD = SpokenTurn(
    text="one two",
    logprobs=(-0.1, -0.2),
    speakers=(
        SpokenPassage(speaker="A", text="one", start=0.0, end=0.4),
        SpokenPassage(speaker="B", text="two", start=0.4, end=0.8),
    ),
)


def wanting(dialect: str, model: str, include: list[str] | None) -> dict[str, Any]:
    """The update of a transcription session."""
    if dialect == "ga":
        audio = {"input": {"transcription": {"model": model}}}
        session = {"type": "transcription", "audio": audio, "include": include}
        return {"type": "session.update", "session": session}
    flat = {"input_audio_transcription": {"model": model}, "include": include}
    return {"type": "transcription_session.update", "session": flat}


async def hear(
    gateway: Gateway, dialect: Any, speech: bytes, model: str, include: list[str] | None
) -> list[dict[str, Any]]:
    """The transcription events of one spoken turn."""
    url = f"ws://127.0.0.1:{gateway.port}/v1/realtime?intent=transcription"
    async with gateway.connect(dialect, url=url) as client:
        await client.send(wanting(dialect, model, include))
        await client.speak(speech, realtime=False)
        await client.wait_for(f"{TRANSCRIPTION}.completed")
        await lives(client)
        return [event for event in client.events if event["type"].startswith(TRANSCRIPTION)]


@pytest.mark.parametrize("model", ["whisper-1", DIARISING])
@pytest.mark.parametrize("include", [None, [LOGPROBS]])
async def test_a_client_gets_what_it_asked_for(
    dialect: Any, hello: bytes, model: str, include: list[str] | None
) -> None:
    async with run_gateway(stt=ScriptedSttProvider([TOLD])) as gateway:
        events = await hear(gateway, dialect, hello, model, include)
    steps = [event["type"].rpartition(".")[2] for event in events]
    speakers = model == DIARISING and dialect == "ga"
    assert [step for step in steps if step != "delta"] == [
        *(["segment"] * 2 if speakers else []),
        "completed",
    ]
    if speakers:
        segments = [event for event in events if event["type"] == SEGMENT]
        shown = [(e["speaker"], e["text"], e["start"], e["end"]) for e in segments]
        assert shown == [("A", "one", 0.0, 0.4), ("B", "two", 0.4, 0.8)]
    completed = events[-1]
    if include is None:
        assert not any("logprobs" in event for event in events)
        return
    assert completed["logprobs"] == [
        {"token": "one", "logprob": -0.1, "bytes": [111, 110, 101]},
        {"token": " two", "logprob": -0.2, "bytes": [32, 116, 119, 111]},
    ]
    in_deltas = [p for e in events if e["type"].endswith(".delta") for p in e["logprobs"]]
    assert in_deltas == completed["logprobs"]


def deepgram(double: Double) -> SttProvider:
    return DeepgramProvider(
        SecretStr("dg-secret"), language="en", base_url=double.url("deepgram", "")
    )


@pytest.mark.parametrize("engine", ["deepgram", "gpt-4o-transcribe", DIARISING])
async def test_the_openai_sdk_hands_on_what_an_engine_tells(hello: bytes, engine: str) -> None:
    async with running_double() as double:
        double.transcript = "One two three four."
        stt = (
            deepgram(double)
            if engine == "deepgram"
            else OpenAiSttProvider(endpoint(double, "openai_whisper", engine))
        )
        asked = DIARISING if engine != "gpt-4o-transcribe" else engine
        async with run_gateway(stt=stt) as gateway:
            events = await _turn_by_sdk(gateway.port, hello, asked)
    *segments, completed = events
    assert completed.transcript == "One two three four."
    if engine == "gpt-4o-transcribe":
        assert [(p.token, p.logprob) for p in completed.logprobs] == [
            (token, -0.5) for token in ("One", " two", " three", " four.")
        ]
    elif engine == "deepgram":
        assert completed.logprobs[0].logprob == pytest.approx(math.log(0.99))
        assert bytes(completed.logprobs[1].bytes) == b" two"
    else:
        assert completed.logprobs is None
    if engine == "gpt-4o-transcribe":
        assert segments == []
        return
    said = [(segment.speaker, segment.text) for segment in segments]
    assert said == [("A", "One two"), ("B", "three four.")]
    assert all(0.0 <= segment.start < segment.end for segment in segments)
    assert segments[0].end <= segments[1].start


async def _turn_by_sdk(port: int, speech: bytes, model: str) -> list[Any]:
    """The segments and the end of a spoken turn, as the SDK's own types."""
    sdk: Any = AsyncOpenAI(
        api_key="sk-test",
        base_url=f"http://127.0.0.1:{port}/v1",
        websocket_base_url=f"ws://127.0.0.1:{port}/v1",
    )
    url: dict[str, Any] = {"extra_query": {"intent": "transcription"}}
    async with sdk, sdk.realtime.connect(**url) as connection:
        await connection.send(wanting("ga", model, [LOGPROBS]))
        for pcm in (bytes(9600), speech, bytes(48_000)):
            audio = base64.b64encode(pcm).decode()
            await connection.input_audio_buffer.append(audio=audio)
        found: list[Any] = []
        async with asyncio.timeout(30):
            async for event in connection:
                if event.type in (SEGMENT, f"{TRANSCRIPTION}.completed"):
                    found.append(event)
                if event.type == f"{TRANSCRIPTION}.completed":
                    break
        return found


async def test_an_item_gets_no_transcript_of_the_deleted_one_whose_id_it_has(
    dialect: Any, hello: bytes
) -> None:
    heard = asyncio.Event()

    async def sleep(duration_s: float) -> None:
        await heard.wait()

    stt = ScriptedSttProvider(["old", "new"], Latency(), sleep=sleep)
    audio = base64.b64encode(hello).decode()
    content = [{"type": "input_audio", "audio": audio}]
    item = {"id": "mine", "type": "message", "role": "user", "content": content}
    create = {"type": "conversation.item.create", "item": item}
    async with run_gateway(stt=stt) as gateway, gateway.connect(dialect) as client:
        await _transcribing(client, dialect)
        await client.send(create)
        await client.send({"type": "conversation.item.delete", "item_id": "mine"})
        await client.send(create)
        await lives(client)
        heard.set()
        completed = await client.wait_for(f"{TRANSCRIPTION}.completed")
        assert completed["transcript"] == "new"
        deltas = "".join(event["delta"] for event in client.events_of(f"{TRANSCRIPTION}.delta"))
        assert deltas == "new"


async def _transcribing(client: RealtimeClient, dialect: str) -> None:
    wanted: dict[str, Any] = {"input_audio_transcription": {"model": "whisper-1"}}
    if dialect == "ga":
        audio = {"input": {"transcription": {"model": "whisper-1"}}}
        wanted = {"type": "realtime", "audio": audio}
    await client.send({"type": "session.update", "session": wanted})
    await client.wait_for("session.updated")


async def test_a_client_that_takes_small_frames_can_send_a_large_image(gateway: Gateway) -> None:
    image = "data:image/png;base64," + "A" * 2_000_000
    content = [{"type": "input_image", "image_url": image}, {"type": "input_text", "text": "What?"}]
    item = {"type": "message", "role": "user", "content": content}
    # Its frames are at most 1 MiB by default.
    async with websockets.connect(gateway.url()) as socket, asyncio.timeout(30):
        ga = {"type": "session.update", "session": {"type": "realtime"}}
        await socket.send(json.dumps(ga))
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "conversation.item.done":
                break
    assert event["item"]["content"][0] == {"type": "input_image", "detail": "auto"}


@pytest.mark.parametrize("event_id", ["", "mine", "x" * 512])
@pytest.mark.parametrize(
    "event",
    [
        {"audio": ""},
        {"type": "nonsense"},
        {"type": "input_audio_buffer.append", "audio": "?"},
        {"type": "input_audio_buffer.append"},
        {"type": "input_audio_buffer.commit"},
        {"type": "conversation.item.delete"},
        {"type": "conversation.item.delete", "item_id": "nobody"},
    ],
)
async def test_an_error_names_the_event_as_its_client_did(
    gateway: Gateway, dialect: Any, event: dict[str, Any], event_id: str
) -> None:
    async with gateway.connect(dialect) as client:
        await client.send({**event, "event_id": event_id})
        error = await client.wait_for("error")
        assert error["error"]["event_id"] == event_id
        await lives(client)
