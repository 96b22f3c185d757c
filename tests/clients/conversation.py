"""What every client must get out of a spoken conversation, whichever client it is."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from tests.clients.wiretap import Wire
from tests.harness import BYTES_PER_MS
from tests.oracle import WireEvent

BOUNDS_TOLERANCE_MS = 100
PREFIX_PADDING_MS = 300
INTERRUPTED_AFTER_MS = 1500
SEMANTIC_MAX_WAIT_MS = 4000
"""Longest silence of `semantic_vad` at its default eagerness."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and where in it somebody speaks.

    Attributes:
        pcm: s16le mono 24 kHz.
    """

    name: str
    pcm: bytes
    speech_start_ms: float
    speech_end_ms: float


class Microphone:
    """Audio that never stops: silence in real time, and recordings when somebody speaks."""

    def __init__(self, send: Callable[[bytes], Awaitable[object]], chunk_ms: int) -> None:
        self._send = send
        self._chunk_ms = chunk_ms
        self._waiting = bytearray()
        self._said = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, send: Callable[[bytes], Awaitable[object]], *, chunk_ms: int
    ) -> AsyncGenerator[Microphone]:
        """Record until the end of the block.

        Args:
            send: Hands audio to the client under test.
            chunk_ms: Audio per call of it.
        """
        microphone = cls(send, chunk_ms)
        async with asyncio.TaskGroup() as tasks:
            recording = tasks.create_task(microphone._record(), name="microphone")
            try:
                yield microphone
            finally:
                recording.cancel()

    async def say(self, clip: Clip) -> None:
        """Speak; returns when the last sample has been sent."""
        self._said.clear()
        self._waiting += clip.pcm
        await self._said.wait()

    async def _record(self) -> None:
        loop = asyncio.get_running_loop()
        size = self._chunk_ms * BYTES_PER_MS
        due_s = loop.time()
        while True:
            due_s += self._chunk_ms / 1000
            await asyncio.sleep(due_s - loop.time())
            chunk = bytes(self._waiting[:size])
            del self._waiting[:size]
            await self._send(chunk.ljust(size, b"\0"))
            if not self._waiting:
                self._said.set()


@dataclass(frozen=True, slots=True)
class Reply:
    """One response, as far as it was sent."""

    response: WireEvent
    transcript: str
    audio_ms: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A user turn and what answered it."""

    heard: str
    reply: Reply


async def expect_user_turn(wire: Wire, clip: Clip, *, silence_ms: int | None = 500) -> str:
    """Wait for a recording to be detected, within tolerance of its bounds, and transcribed.

    Args:
        wire: The connection.
        clip: What has been said.
        silence_ms: The silence window of turn detection; None where a model judges whether the
            turn is complete.

    Returns:
        The transcript.
    """
    started = await wire.wait_for("input_audio_buffer.speech_started")
    item_id = started["item_id"]
    stopped = await wire.wait_for("input_audio_buffer.speech_stopped")
    assert stopped["item_id"] == item_id
    # What lies behind the speech may still be on its way.
    said_at_ms = wire.position_ms(clip.pcm[: int(clip.speech_end_ms) * BYTES_PER_MS])
    stops = wire.events_of("input_audio_buffer.speech_stopped")
    turns_before = stops[: stops.index(stopped)]
    # The padding reaches neither into the turn before nor before the first sample of the session.
    earliest_ms = turns_before[-1]["audio_end_ms"] if turns_before else 0
    wanted_start_ms = max(said_at_ms + clip.speech_start_ms - PREFIX_PADDING_MS, earliest_ms)
    shortest_ms, longest_ms = (silence_ms, silence_ms) if silence_ms else (0, SEMANTIC_MAX_WAIT_MS)
    start_error_ms = started["audio_start_ms"] - wanted_start_ms
    silence = stopped["audio_end_ms"] - said_at_ms - clip.speech_end_ms
    assert abs(start_error_ms) <= BOUNDS_TOLERANCE_MS, f"start off by {start_error_ms} ms"
    assert shortest_ms - BOUNDS_TOLERANCE_MS <= silence <= longest_ms + BOUNDS_TOLERANCE_MS, (
        f"ended after {silence} ms of silence"
    )
    completed = await wire.wait_for(
        "conversation.item.input_audio_transcription.completed",
        where=lambda event: event["item_id"] == item_id,
    )
    return completed["transcript"]


async def expect_reply(wire: Wire, *, status: str = "completed") -> Reply:
    """Wait for the next response and put it together."""
    created = await wire.wait_for("response.created")
    return await rest_of_reply(wire, created["response"]["id"], status=status)


async def rest_of_reply(wire: Wire, response_id: str, *, status: str) -> Reply:
    """Wait for the end of a response."""
    done = await wire.wait_for(
        "response.done", where=lambda event: event["response"]["id"] == response_id, timeout_s=40
    )
    assert done["response"]["status"] == status, done["response"]
    own = [e.event for e in wire.received if e.event.get("response_id") == response_id]
    audio = sum(
        len(base64.b64decode(event["delta"]))
        for event in own
        if event["type"] in {"response.output_audio.delta", "response.audio.delta"}
    )
    transcript = "".join(
        event["delta"] for event in own if event["type"].endswith("audio_transcript.delta")
    )
    return Reply(done["response"], transcript, audio / BYTES_PER_MS)


async def expect_spoken_turn(wire: Wire, clip: Clip, *, silence_ms: int | None = 500) -> Turn:
    """Wait for a user turn and its spoken reply."""
    heard = await expect_user_turn(wire, clip, silence_ms=silence_ms)
    reply = await expect_reply(wire)
    assert heard
    assert reply.transcript
    # Even the shortest reply is a word or two long.
    assert reply.audio_ms > 300
    return Turn(heard, reply)


async def expect_interruption(
    wire: Wire,
    say: Callable[[Clip], Awaitable[object]],
    clip: Clip,
    *,
    silence_ms: int | None = 500,
) -> tuple[Reply, Turn]:
    """Speak into a long reply that is about to begin: it must be cancelled and followed by another.

    Args:
        wire: The connection.
        say: Speaks a recording.
        clip: What is spoken into the reply.
        silence_ms: The silence window of turn detection, see `expect_user_turn`.

    Returns:
        The cancelled reply and the new turn.
    """
    created = await wire.wait_for("response.created")
    response_id = created["response"]["id"]
    await wire.wait_for("response.output_audio.delta", "response.audio.delta")
    await listen(INTERRUPTED_AFTER_MS)
    await say(clip)
    cancelled = await rest_of_reply(wire, response_id, status="cancelled")
    details = cancelled.response["status_details"]
    assert (details["type"], details["reason"]) == ("cancelled", "turn_detected")
    assert cancelled.audio_ms > INTERRUPTED_AFTER_MS
    return cancelled, await expect_spoken_turn(wire, clip, silence_ms=silence_ms)


class Hands(Protocol):
    """A client without turn detection, driven by a user who types and holds a key to talk."""

    async def type(self, text: str) -> object:
        """Send a typed message and ask for a reply."""
        ...

    async def cancel(self) -> object:
        """Stop the reply that is playing, and say how much of it was heard."""
        ...

    async def talk(self, clip: Clip) -> object:
        """Send a recording as one turn and ask for a reply."""
        ...

    async def send_nonsense(self) -> object:
        """Send an event the server must refuse."""
        ...


@dataclass(frozen=True, slots=True)
class HandTalk:
    """What was said in `converse_by_hand`.

    Attributes:
        heard: Transcript of the turn that was spoken.
        replies: What came back, in order: to a greeting, a tool call's report, a story that was
            cancelled, what was spoken, and a last question.
    """

    heard: str
    replies: list[Reply]

    @property
    def cancelled(self) -> Reply:
        return self.replies[2]


TYPED = ("all is well", "what is the weather in Oslo", "tell me a story", "still here")


async def converse_by_hand(wire: Wire, hands: Hands, clip: Clip) -> HandTalk:
    """Type, have a tool called, cancel, hold the key to talk, send nonsense, and type again."""
    greeting, weather, story, last = TYPED
    await hands.type(greeting)
    greeted = await expect_reply(wire)
    assert greeting in greeted.transcript

    await hands.type(weather)
    calling = await expect_reply(wire)
    (call,) = calling.response["output"]
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    report = await expect_reply(wire)
    assert "sunny and 21 degrees" in report.transcript

    await hands.type(story)
    created = await wire.wait_for("response.created")
    await wire.wait_for(
        "response.output_audio.delta",
        "response.audio.delta",
        where=lambda event: event["response_id"] == created["response"]["id"],
    )
    await listen(INTERRUPTED_AFTER_MS / 2)
    await hands.cancel()
    cancelled = await rest_of_reply(wire, created["response"]["id"], status="cancelled")
    assert cancelled.response["status_details"]["reason"] == "client_cancelled"
    (item,) = cancelled.response["output"]
    truncated = await wire.wait_for("conversation.item.truncated")
    assert truncated["item_id"] == item["id"]
    assert 0 < truncated["audio_end_ms"] < cancelled.audio_ms

    await hands.talk(clip)
    committed = await wire.wait_for("input_audio_buffer.committed")
    heard = await wire.wait_for("conversation.item.input_audio_transcription.completed")
    assert heard["item_id"] == committed["item_id"]
    spoken = await expect_reply(wire)
    assert spoken.transcript

    assert wire.events_of("error") == []
    await hands.send_nonsense()
    error = await wire.wait_for("error")
    assert error["error"]["type"] == "invalid_request_error"
    await hands.type(last)
    answered = await expect_reply(wire)
    assert last in answered.transcript
    return HandTalk(heard["transcript"], [greeted, report, cancelled, spoken, answered])


async def listen(duration_ms: float) -> None:
    """Be the user who hears a reply out: clients play in real time what comes faster."""
    await asyncio.sleep(duration_ms / 1000)
