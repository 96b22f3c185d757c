"""A light WebSocket client for load: prepared frames out, types and times of events in.

It shares nothing with the server under test, and as little as possible with other clients: one
task per stream, no task per connection, and frames that are encoded once for all sessions.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from .recordings import BYTES_PER_MS

Event = dict[str, Any]


class SessionLost(Exception):
    """The server refused or ended a session in the middle of a measurement."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One server event; `at_s` is `time.perf_counter()` when its last byte was read."""

    at_s: float
    event: Event


class Session(asyncio.Protocol):
    """One connection to a server under test; made by `connect`.

    Attributes:
        opening_s: From before the TCP connect to the arrival of `session.created`.
        arrivals: Every event so far, without the audio it carried.
    """

    def __init__(self, url: str) -> None:
        self.began_s = time.perf_counter()
        self.arrivals: list[Arrival] = []
        self.opening_s = 0.0
        self._protocol = ClientProtocol(
            parse_uri(url), subprotocols=[Subprotocol("realtime")], max_size=None
        )
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()
        self._closing = False
        self._lost: str | None = None
        self._gone = asyncio.Event()

    # --- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._protocol.send_request(self._protocol.connect())
        self._write_pending()

    def data_received(self, data: bytes) -> None:
        now_s = time.perf_counter()
        self._protocol.receive_data(data)
        for received in self._protocol.events_received():
            if isinstance(received, Response):
                if self._protocol.handshake_exc is not None:
                    self._lost = str(self._protocol.handshake_exc)
            elif isinstance(received, Frame) and received.opcode is Opcode.TEXT:
                event: Event = orjson.loads(received.data)
                event.pop("delta", None)
                self.arrivals.append(Arrival(now_s, event))
            elif isinstance(received, Frame) and received.opcode is Opcode.CLOSE:
                self._lost = "closed by the server"
        self._write_pending()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._lost or str(exc or "connection lost")
        self._changed.set()
        self._gone.set()

    def _write_pending(self) -> None:
        assert self._transport is not None
        for piece in self._protocol.data_to_send():
            if piece:
                self._transport.write(piece)
            else:
                self._transport.write_eof()

    # --- what a measurement does

    def write(self, frame: bytes) -> None:
        """Send a frame made by `encode`.

        Raises:
            SessionLost: the connection is gone.
        """
        if self._lost is not None or self._transport is None:
            raise SessionLost(self._lost or "not connected")
        self._transport.write(frame)

    async def wait_for(self, event_type: str, *, timeout_s: float = 20, since: int = 0) -> Arrival:
        """The first event of a type, whether it has come already or not.

        Args:
            event_type: GA name.
            timeout_s: How long to wait.
            since: Index in `arrivals` from which to look.

        Raises:
            SessionLost: the connection ended.
            TimeoutError: it did not come.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                while since < len(self.arrivals):
                    if self.arrivals[since].event["type"] == event_type:
                        return self.arrivals[since]
                    since += 1
                if self._lost is not None and not self._closing:
                    raise SessionLost(self._lost)
                self._changed.clear()
                await self._changed.wait()

    def abort(self) -> None:
        """Be gone without a word, as a client whose network fails."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close and wait until the socket is gone."""
        self._closing = True
        if self._lost is None and self._transport is not None:
            self._protocol.send_close(1000)
            self._write_pending()
            try:
                async with asyncio.timeout(10):
                    await self._gone.wait()
            except TimeoutError:
                self._transport.abort()


async def connect(url: str) -> Session:
    """Open a session and wait for its `session.created`."""
    session = Session(url)
    target = parse_uri(url)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: session, target.host, target.port)
    created = await session.wait_for("session.created", timeout_s=60)
    session.opening_s = created.at_s - session.began_s
    return session


@asynccontextmanager
async def connected(url: str, sessions: int = 1) -> AsyncGenerator[list[Session]]:
    """That many sessions, opened one after the other and closed at the end."""
    opened: list[Session] = []
    try:
        for _ in range(sessions):
            opened.append(await connect(url))
        yield opened
    finally:
        await asyncio.gather(*(session.close() for session in opened))


# --- frames ---------------------------------------------------------------------------------


def encode(event: Event) -> bytes:
    """A client event as it goes over the wire, its mask included.

    A mask need not differ between frames for the server to do its work, so one encoding serves
    all sessions.
    """
    return Frame(Opcode.TEXT, json.dumps(event).encode()).serialize(mask=True)


def append_frames(pcm: bytes, chunk_ms: int) -> tuple[bytes, ...]:
    """`pcm` as appends of `chunk_ms`; a shorter rest is left out."""
    size = chunk_ms * BYTES_PER_MS
    return tuple(
        encode(
            {
                "type": "input_audio_buffer.append",
                "audio": base64.b64encode(pcm[start : start + size]).decode(),
            }
        )
        for start in range(0, len(pcm) - size + 1, size)
    )


@dataclass(slots=True)
class Stream:
    """A microphone: frames at their pace from a given moment on.

    Args:
        session: Where to.
        frames: Played over and over.
        chunk_ms: Audio per frame.
        begin_s: `time.perf_counter()` at which the first sample is spoken; its frame leaves when
            its last one is.
        first_frame: Where in `frames` to begin.

    Attributes:
        lateness_s: By how much each frame left too late: what the client itself adds.
    """

    session: Session
    frames: Sequence[bytes]
    chunk_ms: int
    begin_s: float
    first_frame: int = 0
    lateness_s: list[float] = field(default_factory=list[float])

    async def play(self, until_s: float) -> None:
        """Send what is due until `until_s`."""
        sent = 0
        while True:
            due_s = self.begin_s + (sent + 1) * self.chunk_ms / 1000
            if due_s > until_s:
                return
            await asyncio.sleep(due_s - time.perf_counter())
            self.session.write(self.frames[(self.first_frame + sent) % len(self.frames)])
            self.lateness_s.append(time.perf_counter() - due_s)
            sent += 1
