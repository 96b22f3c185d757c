"""The wire of Twilio's sample: a telephone call in µ-law both ways, frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from audio_utils import G711, Float32, OutputEncoder, pcm16_to_float32
from tests.clients.conversation import BOUNDS_TOLERANCE_MS, PREFIX_PADDING_MS, Clip
from tests.clients.gateway import Gateway
from tests.clients.matrix import EVIDENCE
from tests.harness import BYTES_PER_MS, CollectedResponse, RealtimeClient, realtime_url
from tests.oracle import WireEvent

_FRAME_MS = 20
_BYTES_PER_MS = 8
_SILENCE = b"\xff"
_EARLY_FRAMES = 5
"""Sent before the session is configured, 100 ms after the socket is open."""
_SESSION: dict[str, Any] = {
    "type": "realtime",
    "model": "gpt-realtime",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"},
    },
    "instructions": "You are a helpful and bubbly assistant.",
}
_WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


class _Telephone:
    """A caller whose line is never quiet, and the position in the call of what is said."""

    def __init__(self, client: RealtimeClient) -> None:
        self.client = client
        self._waiting = bytearray()
        self._said = asyncio.Event()
        self._frames = 0

    @property
    def timestamp_ms(self) -> int:
        """Twilio's clock: media sent since the call began."""
        return self._frames * _FRAME_MS

    @property
    def heard_ms(self) -> float:
        """The same on the server's clock, which took the early frames for PCM."""
        early_ms = _EARLY_FRAMES * _FRAME_MS * _BYTES_PER_MS / BYTES_PER_MS
        return early_ms + (self._frames - _EARLY_FRAMES) * _FRAME_MS

    async def say(self, clip: Clip) -> float:
        """Speak; returns where on the server's clock the recording began."""
        encoder = OutputEncoder("audio/pcmu")
        began_ms = self.heard_ms
        self._said.clear()
        self._waiting += encoder.encode(clip.pcm) + encoder.flush()
        await self._said.wait()
        return began_ms

    async def send_frames(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        size = _FRAME_MS * _BYTES_PER_MS
        while True:
            frame = bytes(self._waiting[:size]).ljust(size, _SILENCE)
            del self._waiting[:size]
            self._frames += 1
            await self.client.append(frame)
            if self._frames == _EARLY_FRAMES:
                await self.client.send({"type": "session.update", "session": _SESSION})
            if not self._waiting:
                self._said.set()
            due_s += _FRAME_MS / 1000
            await asyncio.sleep(due_s - loop.time())


@asynccontextmanager
async def _call(gateway: Gateway) -> AsyncGenerator[_Telephone]:
    url = realtime_url(gateway.port, model="gpt-realtime", temperature="0.8")
    async with (
        RealtimeClient.connect(url, marked=False, user_agent_header=None) as client,
        asyncio.TaskGroup() as tasks,
    ):
        telephone = _Telephone(client)
        sending = tasks.create_task(telephone.send_frames(), name="telephone line")
        try:
            yield telephone
        finally:
            sending.cancel()


async def test_call_with_barge_in(gateway: Gateway, clip: Callable[[str], Clip]) -> None:
    forward = clip("en_go_forward")
    async with _call(gateway) as telephone:
        client = telephone.client
        updated = (await client.wait_for("session.updated"))["session"]
        assert updated["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        assert updated["audio"]["output"]["format"] == {"type": "audio/pcmu"}

        greeting = await _greeting(client)

        began_ms = await telephone.say(forward)
        await _expect_turn(client, forward, began_ms)
        echo = await client.collect_response()
        assert echo.status == "completed"

        await _use_a_tool(client)

        # Typed, for on a narrow line the recogniser may not understand the request.
        await client.say_text("Tell me a story.")
        await client.create_response()
        created = await client.wait_for("response.created")
        delta = await client.wait_for(
            "response.output_audio.delta",
            where=lambda event: event["response_id"] == created["response"]["id"],
        )
        started_at_ms = telephone.timestamp_ms
        await asyncio.sleep(1)
        began_ms = await telephone.say(forward)
        await client.wait_for(
            "input_audio_buffer.speech_started",
            where=lambda event: event["audio_start_ms"] > began_ms - 2 * PREFIX_PADDING_MS,
        )
        # The sample counts the time of the call, whatever has been played; here it overshoots.
        call_ms = telephone.timestamp_ms - started_at_ms + 60_000
        truncate = {
            "type": "conversation.item.truncate",
            "item_id": delta["item_id"],
            "content_index": 0,
            "audio_end_ms": call_ms,
        }
        await client.send(truncate, stamp=False)
        truncated = await client.wait_for("conversation.item.truncated")
        assert truncated["item_id"] == delta["item_id"]
        assert truncated["audio_end_ms"] < call_ms
        done = await client.wait_for(
            "response.done",
            where=lambda event: event["response"]["id"] == created["response"]["id"],
        )
        assert done["response"]["status"] == "cancelled", done
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        last = await client.collect_response()
        assert last.status == "completed"
        assert client.events_of("error") == []
    EVIDENCE.add("the wire of Twilio's sample, µ-law", client.events)
    async with RealtimeClient.connect(realtime_url(gateway.port)) as client:
        wideband = await _greeting(client)
    assert greeting.transcript == wideband.transcript
    assert _likeness(greeting.audio, wideband.audio) > 0.95


async def _expect_turn(client: RealtimeClient, clip: Clip, began_ms: float) -> None:
    """The bounds of a turn are those of the speech on the line."""
    started: WireEvent = await client.wait_for("input_audio_buffer.speech_started")
    stopped: WireEvent = await client.wait_for("input_audio_buffer.speech_stopped")
    start_ms = began_ms + clip.speech_start_ms - PREFIX_PADDING_MS
    end_ms = began_ms + clip.speech_end_ms + 500
    assert abs(started["audio_start_ms"] - max(start_ms, 0)) <= BOUNDS_TOLERANCE_MS
    assert abs(stopped["audio_end_ms"] - end_ms) <= BOUNDS_TOLERANCE_MS


async def _use_a_tool(client: RealtimeClient) -> None:
    """What those add who build on the sample: a tool, and its result sent back."""
    await client.update_session(tools=[_WEATHER_TOOL])
    await client.wait_for("session.updated")
    await client.say_text("what is the weather in Oslo")
    await client.create_response()
    (call,) = (await client.collect_response()).calls
    assert (call["name"], call["arguments"]) == ("get_weather", '{"city": "Oslo"}')
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    await client.send({"type": "conversation.item.create", "item": output})
    await client.create_response()
    report = await client.collect_response()
    assert report.status == "completed"
    assert "sunny" in report.transcript
    assert report.audio


async def _greeting(client: RealtimeClient) -> CollectedResponse:
    """The typed item with which the sample has the assistant speak first."""
    await client.say_text("Hello there!")
    await client.create_response()
    return await client.collect_response()


def _likeness(ulaw: bytes, pcm: bytes) -> float:
    """Correlation of the loudness of µ-law at 8 kHz with that of the same speech at 24 kHz."""
    decoded = G711.of("ulaw").decode(ulaw).astype("<i2").tobytes()
    narrow = _loudness(pcm16_to_float32(decoded), 8)
    wide = _loudness(pcm16_to_float32(pcm), 24)
    assert abs(narrow.size - wide.size) <= 1
    length = min(narrow.size, wide.size)
    return float(np.corrcoef(narrow[:length], wide[:length])[0, 1])


def _loudness(samples: Float32, samples_per_ms: int) -> Float32:
    """Root mean square of each frame."""
    size = _FRAME_MS * samples_per_ms
    frames = samples[: samples.size // size * size].reshape(-1, size)
    return np.sqrt(np.mean(np.square(frames), axis=1))
