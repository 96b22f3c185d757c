"""A TCP relay that reads along: it judges what passes between a client and the gateway.

Neither side notices it: the bytes go through as they are, handshake included, so a client can be
tested unmodified in any language while the oracle sees every frame.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.frames import OP_BINARY, OP_CONT, OP_TEXT, Frame
from websockets.protocol import Protocol, Side

from tests.clients.matrix import EVIDENCE
from tests.harness import BYTES_PER_MS, Received
from tests.oracle import Dialect, Oracle, WireEvent

Where = Callable[[WireEvent], bool]


class Wire:
    """One connection, seen from the middle.

    Attributes:
        received: The server's events, with their times.
        sent: The client's events, appends excepted.
        input_audio: All audio the client has appended.
        cut: What ended the connection, unless it was closed.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.received: list[Received] = []
        self.sent: list[WireEvent] = []
        self.input_audio = bytearray()
        self.cut: Exception | None = None
        self._taken: set[int] = set()
        self._changed = asyncio.Event()

    def events_of(self, *types: str) -> list[WireEvent]:
        """The server's events of these types so far."""
        return [entry.event for entry in self.received if entry.event["type"] in types]

    def position_ms(self, clip: bytes) -> float:
        """Where a recording begins in the audio the client has appended; its last time there."""
        position = self.input_audio.rfind(clip)
        assert position >= 0, "the recording has not been appended as it is"
        return position / BYTES_PER_MS

    async def wait_for(
        self, *types: str, where: Where | None = None, timeout_s: float = 20
    ) -> WireEvent:
        """The server's first event of one of these types that no wait has returned yet."""
        seen = 0
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for index in range(seen, len(self.received)):
                        event = self.received[index].event
                        fits = event["type"] in types and (where is None or where(event))
                        if fits and index not in self._taken:
                            self._taken.add(index)
                            return event
                    seen = len(self.received)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(self._failure(types, timeout_s)) from None

    def take_client(self, text: str) -> None:
        """Read an event of the client."""
        event = json.loads(text)
        self.oracle.client(event)
        if event["type"] == "input_audio_buffer.append":
            self.input_audio += base64.b64decode(event["audio"])
        else:
            self.sent.append(event)

    def take_server(self, text: str) -> None:
        """Read an event of the server."""
        event = json.loads(text)
        self.oracle.server(event)
        self.received.append(Received(time.monotonic(), event))
        self._changed.set()

    def _failure(self, types: tuple[str, ...], timeout_s: float) -> str:
        lines = [f"no {' or '.join(types)} within {timeout_s:g} s; the server sent:"]
        start_s = self.received[0].at_s if self.received else 0.0
        for kind, group in itertools.groupby(self.received, lambda r: str(r.event["type"])):
            run = list(group)
            detail = run[0].event.get("error") or run[0].event.get("transcript") or ""
            lines.append(f"  {run[0].at_s - start_s:8.3f} s  {kind} × {len(run)}  {detail}")
        return "\n".join([*lines, *(f"  wire problem: {p}" for p in self.oracle.problems)])


@dataclass(slots=True)
class Tap:
    """The relay: clients connect to `port`, and each of them makes a `Wire`.

    Attributes:
        wires: The connections in the order they were made.
        handshakes: The clients' requests, as they came.
    """

    gateway_port: int
    dialect: Dialect
    marked: bool
    port: int = 0
    wires: list[Wire] = field(default_factory=list[Wire])
    handshakes: list[str] = field(default_factory=list[str])
    _connected: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wire(self) -> Wire:
        """The only connection."""
        (wire,) = self.wires
        return wire

    async def connected(self) -> Wire:
        """The only connection, once it is there."""
        async with asyncio.timeout(10):
            await self._connected.wait()
        return self.wire

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        wire = Wire(Oracle(self.dialect, opening=None if self.marked else "both"))
        self.wires.append(wire)
        self._connected.set()
        server, to_server = await asyncio.open_connection("127.0.0.1", self.gateway_port)

        async def upstream() -> None:
            head = await client.readuntil(b"\r\n\r\n")
            self.handshakes.append(head.decode())
            to_server.write(head)
            # The parser of a server reads what a client sends, and the other way round.
            await _relay(client, to_server, Protocol(Side.SERVER, max_size=None), wire.take_client)

        async def downstream() -> None:
            to_client.write(await server.readuntil(b"\r\n\r\n"))
            await _relay(server, to_client, Protocol(Side.CLIENT, max_size=None), wire.take_server)

        try:
            await asyncio.gather(upstream(), downstream())
        except (ConnectionError, asyncio.IncompleteReadError) as cut:
            wire.cut = cut
        except Exception as problem:
            wire.oracle.reject(f"the relay could not read the connection: {problem!r}")
        finally:
            to_client.close()
            to_server.close()


async def _relay(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    parser: Protocol,
    take: Callable[[str], None],
) -> None:
    message = b""
    while block := await source.read(1 << 16):
        target.write(block)
        await target.drain()
        parser.receive_data(block)
        for event in parser.events_received():
            assert isinstance(event, Frame)
            assert event.opcode != OP_BINARY
            if event.opcode in (OP_TEXT, OP_CONT):
                message += event.data
                if event.fin:
                    take(message.decode())
                    message = b""
    target.close()


@asynccontextmanager
async def tapped(
    gateway_port: int, dialect: Dialect, client: str, *, marked: bool = True
) -> AsyncGenerator[Tap]:
    """Relay for one test; at the end, everything the server has sent must have been right.

    Args:
        gateway_port: Where the gateway listens.
        dialect: What it is expected to speak with these clients.
        client: Who they are, for the table in `matrix`.
        marked: Whether their handshake tells their dialect; if not, `session.created` is bilingual.
    """
    tap = Tap(gateway_port, dialect, marked)
    listener = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
    tap.port = listener.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        listener.close()
    for wire in tap.wires:
        wire.oracle.assert_clean(complete=False)
        EVIDENCE.add(client, (entry.event for entry in wire.received))
