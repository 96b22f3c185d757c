"""What every client must get out of a spoken conversation, whichever client it is."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.clients.wiretap import Wire
from tests.harness import BYTES_PER_MS
from tests.oracle import WireEvent

BOUNDS_TOLERANCE_MS = 100
PREFIX_PADDING_MS = 300
INTERRUPTED_AFTER_MS = 1500


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


async def expect_user_turn(wire: Wire, clip: Clip, *, silence_ms: int = 500) -> str:
    """Wait for a recording to be detected, within tolerance of its bounds, and transcribed.

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
    wanted_end_ms = said_at_ms + clip.speech_end_ms + silence_ms
    start_error_ms = started["audio_start_ms"] - wanted_start_ms
    end_error_ms = stopped["audio_end_ms"] - wanted_end_ms
    assert abs(start_error_ms) <= BOUNDS_TOLERANCE_MS, f"start off by {start_error_ms} ms"
    assert abs(end_error_ms) <= BOUNDS_TOLERANCE_MS, f"end off by {end_error_ms} ms"
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


async def expect_spoken_turn(wire: Wire, clip: Clip, *, silence_ms: int = 500) -> Turn:
    """Wait for a user turn and its spoken reply."""
    heard = await expect_user_turn(wire, clip, silence_ms=silence_ms)
    reply = await expect_reply(wire)
    assert heard
    assert reply.transcript
    # Even the shortest reply is a word or two long.
    assert reply.audio_ms > 300
    return Turn(heard, reply)


async def expect_interruption(
    wire: Wire, say: Callable[[Clip], Awaitable[object]], clip: Clip, *, silence_ms: int = 500
) -> tuple[Reply, Turn]:
    """Speak into a long reply that is about to begin: it must be cancelled and followed by another.

    Args:
        wire: The connection.
        say: Speaks a recording.
        clip: What is spoken into the reply.
        silence_ms: The silence window of turn detection.

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


async def listen(duration_ms: float) -> None:
    """Be the user who hears a reply out: clients play in real time what comes faster."""
    await asyncio.sleep(duration_ms / 1000)
