"""A load client: its share of the sessions, in a process and on a core of its own.

It plays a conversation to each of them in real time and notes when which server event came. What
that means is for others to say.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection

import uvloop

from .client import Stream, append_frames, connected
from .lag import CLIENT_LATE_MS, Event, Heard
from .recordings import conversation, load_clips
from .stats import Summary

SPAWN = multiprocessing.get_context("spawn")
"""How load clients are started: nothing of the starter's memory or event loop comes along."""

KINDS = {
    "input_audio_buffer.speech_started": "started",
    "input_audio_buffer.speech_stopped": "stopped",
    "response.output_audio.delta": "audio",
}
"""The server events that are noted, and what they are called from then on."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One session's part in a load.

    Attributes:
        part: At which eighth of the conversation it begins; sessions of the same part hear the
            same, so that what the server makes of it can be compared.
        delay_s: How long after the others it begins.
    """

    part: int
    delay_s: float


PARTS = 8


def seats(count: int, duration_s: float, chunk_s: float) -> tuple[Seat, ...]:
    """Spread sessions evenly over the conversation, and their packets over the chunk.

    Args:
        count: Of the sessions.
        duration_s: Of the conversation.
        chunk_s: Of one append.
    """
    in_part = -(-count // PARTS)
    return tuple(
        Seat(
            index % PARTS,
            duration_s / PARTS * (index // PARTS) / in_part + chunk_s * index / count,
        )
        for index in range(count)
    )


def first_frame(part: int, frames: int) -> int:
    """With which of a conversation's frames a seat begins."""
    return frames * part // PARTS


@dataclass(frozen=True, slots=True)
class Order:
    """What a load client is to do."""

    url: str
    core: int
    recordings: int
    pause_ms: int
    chunk_ms: int
    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """When to speak: moments of `time.perf_counter()`, the same clock in all processes."""

    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it.

    Attributes:
        heard: For each seat what came, and when the client was itself late.
        late_ms: By how much the client sent too late.
    """

    heard: tuple[Heard, ...]
    late_ms: Summary


def main(pipe: Connection, order: Order) -> None:
    """Open the sessions, say so, wait for the span, speak, and send the report."""
    os.sched_setaffinity(0, {order.core})
    uvloop.run(_speak(pipe, order))


async def _speak(pipe: Connection, order: Order) -> None:
    spoken = conversation(load_clips(order.recordings), order.pause_ms)
    frames = append_frames(spoken.pcm, order.chunk_ms)
    async with connected(order.url, len(order.seats)) as sessions:
        gc.collect()
        gc.freeze()
        gc.disable()
        pipe.send(None)
        span: Span = await asyncio.to_thread(pipe.recv)
        streams = [
            Stream(
                session,
                frames,
                order.chunk_ms,
                span.begin_s + seat.delay_s,
                first_frame(seat.part, len(frames)),
            )
            for session, seat in zip(sessions, order.seats, strict=True)
        ]
        async with asyncio.TaskGroup() as microphones:
            for stream in streams:
                microphones.create_task(stream.play(span.end_s), name="microphone")
        late_ms = [late_s * 1000 for stream in streams for late_s in stream.lateness_s]
        pipe.send(Report(tuple(map(_heard, streams)), Summary.of(late_ms)))


def _heard(stream: Stream) -> Heard:
    return Heard(
        tuple(
            Event(KINDS[arrival.event["type"]], arrival.at_s - stream.begin_s)
            for arrival in stream.session.arrivals
            if arrival.event["type"] in KINDS
        ),
        tuple(
            (number + 1) * stream.chunk_ms / 1000
            for number, late_s in enumerate(stream.lateness_s)
            if late_s * 1000 > CLIENT_LATE_MS
        ),
    )
