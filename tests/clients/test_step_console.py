"""The wire of StepFun's Step-Realtime-Console, event by event as its library sends it.

It hangs up on every error but one and throws on events out of order; both are asserted here.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.clients.conversation import Clip
from tests.clients.gateway import Gateway
from tests.clients.matrix import EVIDENCE
from tests.harness import BYTES_PER_MS, CollectedResponse, RealtimeClient, realtime_url
from tests.oracle import WireEvent

Clips = Callable[[str], Clip]

FORGIVEN = "no ongoing response to cancel"
"""The only error message on which the console does not disconnect."""

_CHUNK_MS = 100
_SESSION: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "instructions": "你是一个和人对话的 AI，叫做小跃。\n{{.Date}}",
    "voice": "qingchunshaonv",
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": None,
    "turn_detection": None,
    "tools": [],
    "tool_choice": "auto",
    "temperature": 0.8,
    "max_response_output_tokens": 4096,
}
_NESTED_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def gateway(embedded_gateway: Gateway) -> Generator[Gateway]:
    """A gateway that has nothing to complain about but StepFun's voices, which it has not."""
    known = len(embedded_gateway.complaints())
    yield embedded_gateway
    for complaint in embedded_gateway.complaints()[known:]:
        assert "espeak-ng has no voice" in complaint


class _Library:
    """What the console's library keeps of the server's events, and where it would throw."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.responses: set[str] = set()

    def take(self, event: WireEvent) -> None:
        assert event["event_id"], event
        match event["type"]:
            case "error":
                assert event["error"]["message"] == FORGIVEN, event
            case "conversation.item.created":
                item = event["item"]
                self.items.setdefault(
                    item["id"],
                    {"parts": list(item.get("content", ())), "transcript": "", "audio": b""},
                )
            case "response.created":
                assert event["response"]["output"] == []
                self.responses.add(event["response"]["id"])
            case "response.output_item.added":
                assert event["response_id"] in self.responses
            case "response.content_part.added":
                part = event["part"]
                assert part["transcript" if part["type"] == "audio" else "text"] == ""
                self.items[event["item_id"]]["parts"].append(part)
            case "response.audio_transcript.delta":
                item = self.items[event["item_id"]]
                assert item["parts"][event["content_index"]]["type"] == "audio"
                item["transcript"] += event["delta"]
            case "response.audio.delta":
                audio = base64.b64decode(event["delta"])
                assert len(audio) % 2 == 0
                self.items[event["item_id"]]["audio"] += audio
            case "conversation.item.truncated":
                item = self.items[event["item_id"]]
                item["audio"] = item["audio"][: event["audio_end_ms"] * BYTES_PER_MS]
                item["transcript"] = ""
            case (
                "response.output_item.done"
                | "conversation.item.deleted"
                | "response.audio.done"
                | "response.function_call_arguments.delta"
                | "conversation.item.input_audio_transcription.completed"
            ):
                assert (event.get("item") or {}).get("id", event.get("item_id")) in self.items
            case _:
                pass


class _Console:
    """The buttons of the console, as events."""

    def __init__(self, client: RealtimeClient) -> None:
        self.client = client
        self.session = dict(_SESSION)
        self._numbers = itertools.count(1)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.client.send({"event_id": f"evt_{next(self._numbers)}", "type": kind, **fields})

    async def update_session(self, **changes: Any) -> None:
        """It sends the whole session each time."""
        self.session |= changes
        await self.send("session.update", session=self.session)

    async def type(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send("conversation.item.create", item=item)
        await self.send("response.create")

    async def press_talk_key(self, playing: WireEvent | None, played_samples: int = 0) -> None:
        """Silence what is playing, and tell the server how much of it was heard."""
        if playing is not None:
            await self.send("response.cancel")
            await self.send(
                "conversation.item.truncate",
                item_id=playing["item_id"],
                content_index=playing["content_index"],
                audio_end_ms=played_samples * 1000 // 24_000,
            )

    async def release_talk_key(self) -> None:
        await self.send("input_audio_buffer.commit")
        await self.send("response.create")

    async def hear(self, pcm: bytes) -> None:
        for start in range(0, len(pcm), _CHUNK_MS * BYTES_PER_MS):
            chunk = pcm[start : start + _CHUNK_MS * BYTES_PER_MS]
            await self.send("input_audio_buffer.append", audio=base64.b64encode(chunk).decode())


@asynccontextmanager
async def _console(gateway: Gateway) -> AsyncGenerator[_Console]:
    """Connect as its relay does, which knows no path and sends one header."""
    url = realtime_url(gateway.port, path="/", model="step-audio-2")
    async with RealtimeClient.connect(
        url, dialect="beta", marked=False, opening="beta", user_agent_header=None
    ) as client:
        console = _Console(client)
        await console.update_session()
        await console.type("Hello!")
        yield console
    EVIDENCE.add("Step-Realtime-Console's wire", client.events)
    library = _Library()
    for event in client.events:
        library.take(event)
    for item in library.items.values():
        assert len(item["audio"]) % 2 == 0


def _spoken(response: CollectedResponse) -> str:
    assert response.status == "completed", response.final
    assert response.audio
    assert response.transcript
    return response.transcript


async def test_greeting_and_push_to_talk(gateway: Gateway, clip: Clips) -> None:
    forward = clip("en_go_forward")
    async with _console(gateway) as console:
        client = console.client
        created = await client.wait_for("session.created")
        assert client.events[0] is created
        assert created["session"]["model"] == "step-audio-2"
        updated = (await client.wait_for("session.updated"))["session"]
        assert (updated["turn_detection"], updated["input_audio_transcription"]) == (None, None)
        assert updated["voice"] == "qingchunshaonv"
        assert updated["max_response_output_tokens"] == 4096
        assert "nice to hear you" in _spoken(await client.collect_response())

        await console.press_talk_key(None)
        await console.hear(forward.pcm)
        await console.release_talk_key()
        committed = await client.wait_for("input_audio_buffer.committed")
        echo = _spoken(await client.collect_response())
        assert "forward" in echo or "hello" in echo.lower()
        (heard,) = (
            event["item"]
            for event in client.events_of("conversation.item.created")
            if event["item"]["id"] == committed["item_id"]
        )
        assert (heard["role"], heard["content"][0]["type"]) == ("user", "input_audio")

        # The key is pressed when the reply is over: the one error this client forgives.
        await console.send("response.cancel")
        error = (await client.wait_for("error"))["error"]
        assert (error["code"], error["message"]) == ("response_cancel_not_active", FORGIVEN)
        await console.type("still here")
        assert "still here" in _spoken(await client.collect_response())


async def test_talk_key_interrupts_a_reply(gateway: Gateway, clip: Clips) -> None:
    forward = clip("en_go_forward")
    async with _console(gateway) as console:
        client = console.client
        await client.collect_response()
        await console.type("tell me a story")
        story = await client.wait_for("response.created")
        delta = await client.wait_for("response.audio.delta", where=_of(story))
        played_samples = 24_000 * 9 // 10
        async with asyncio.timeout(20):
            while _sent_bytes(client, story) < 2 * 2 * played_samples:
                await client.wait_for("response.audio.delta", where=_of(story))
        await console.press_talk_key(delta, played_samples)
        # It does not wait for an answer, and the key may be released at once.
        await console.hear(forward.pcm)
        await console.release_talk_key()
        truncated = await client.wait_for("conversation.item.truncated")
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (delta["item_id"], 900)
        done = await client.wait_for("response.done", where=_is(story))
        assert done["response"]["status"] == "cancelled"
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        _spoken(await client.collect_response())
        assert client.events_of("error") == []


def _is(created: WireEvent) -> Callable[[WireEvent], bool]:
    return lambda event: event["response"]["id"] == created["response"]["id"]


def _of(created: WireEvent) -> Callable[[WireEvent], bool]:
    return lambda event: event["response_id"] == created["response"]["id"]


def _sent_bytes(client: RealtimeClient, created: WireEvent) -> int:
    deltas = filter(_of(created), client.events_of("response.audio.delta"))
    return sum(len(base64.b64decode(event["delta"])) for event in deltas)


async def test_nested_tools_and_settings_in_mid_session(gateway: Gateway) -> None:
    async with _console(gateway) as console:
        client = console.client
        await client.collect_response()
        await client.wait_for("session.updated")
        await console.update_session(tools=[_NESTED_TOOL])
        updated = (await client.wait_for("session.updated"))["session"]
        assert [tool["name"] for tool in updated["tools"]] == ["get_weather"]

        await console.type("what is the weather in Oslo")
        calling = await client.collect_response()
        (call,) = calling.calls
        assert (call["name"], call["arguments"]) == ("get_weather", '{"city": "Oslo"}')
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": '"sunny"'}
        await console.send("conversation.item.create", item=output)
        await console.send("response.create")
        assert "sunny" in _spoken(await client.collect_response())

        # The console offers another voice in mid-conversation, and hangs up when it is refused.
        await console.update_session(voice="wenrounansheng")
        updated = (await client.wait_for("session.updated"))["session"]
        assert updated["voice"] == "wenrounansheng"
        assert client.events_of("error") == []


async def test_realtime_mode_is_interrupted_by_speech(
    gateway: Gateway, clip: Clips, story_clip: Clip
) -> None:
    forward = clip("en_go_forward")
    async with _console(gateway) as console:
        client = console.client
        await client.collect_response()
        await client.wait_for("session.updated")
        await console.update_session(turn_detection={"type": "server_vad"})
        updated = (await client.wait_for("session.updated"))["session"]
        assert updated["turn_detection"]["type"] == "server_vad"

        await console.hear(story_clip.pcm + bytes(800 * BYTES_PER_MS))
        story = await client.wait_for("response.created")
        delta = await client.wait_for("response.audio.delta", where=_of(story))
        await asyncio.sleep(1)
        await console.hear(forward.pcm[: 1000 * BYTES_PER_MS])
        await client.wait_for("input_audio_buffer.speech_started")
        await client.wait_for("input_audio_buffer.speech_started")
        # The console cancels what the server has cancelled already.
        await console.press_talk_key(delta, 24_000)
        await console.hear(forward.pcm[1000 * BYTES_PER_MS :] + bytes(800 * BYTES_PER_MS))
        done = await client.wait_for("response.done", where=_is(story))
        assert done["response"]["status"] == "cancelled"
        await client.wait_for("conversation.item.truncated")
        _spoken(await client.collect_response())
