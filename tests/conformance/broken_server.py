"""A WebSocket proxy in front of the gateway that plants one fault into a connection.

Which fault is chosen by the first step of the path: `ws://127.0.0.1:PORT/<fault>/v1/realtime`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.typing import Subprotocol

from conformance.client import LoggedFrame
from conformance.oracle import WireEvent

_FORWARDED = ("authorization", "openai-beta")


@dataclass(frozen=True, slots=True)
class HangUp:
    """The connection ends."""

    code: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame for one of the two sides."""

    to: Literal["client", "server"]
    content: str | bytes


Action = Frame | HangUp


def to_client(event: WireEvent) -> Frame:
    """An event of the server, planted or changed."""
    return Frame("client", json.dumps(event))


def to_server(event: WireEvent) -> Frame:
    """An event of the client, planted or changed."""
    return Frame("server", json.dumps(event))


class Plant:
    """What is done to one connection; this one does nothing."""

    touches_handshake = False

    def heeds(self, offered: str) -> bool:
        """Whether a subprotocol that is offered makes any difference."""
        return True

    def subprotocol(self, offered: Sequence[str]) -> str | None:
        """What the handshake answers."""
        return "realtime" if "realtime" in offered else None

    def opened(self, others: int, path: str) -> Iterable[Action]:
        """The connection has opened, under a path with its query, beside `others` of the fault."""
        return ()

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        """The client sent an event."""
        yield to_server(event)

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        """The server sent an event."""
        yield to_client(event)

    def unreadable(self, frame: str | bytes) -> Iterable[Action]:
        """The client sent a frame that is no event."""
        yield Frame("server", frame)

    def actions(self, sender: str, frame: str | bytes) -> list[Action]:
        """What comes of one frame."""
        event = _event(frame)
        if event is None:
            return list(self.unreadable(frame))
        if sender == "client":
            return list(self.from_client(event))
        return list(self.from_server(event))


def touches(make: Callable[[], Plant], log: Iterable[LoggedFrame]) -> bool:
    """Whether a fault changes anything on a connection that went like this without it."""
    plant = make()
    if plant.touches_handshake:
        return True
    for entry in log:
        other: Literal["client", "server"] = "server" if entry.sender == "client" else "client"
        event = _event(entry.frame)
        content = entry.frame if event is None else json.dumps(event)
        if plant.actions(entry.sender, entry.frame) != [Frame(other, content)]:
            return True
    return False


def _event(frame: str | bytes) -> WireEvent | None:
    if isinstance(frame, bytes):
        return None
    try:
        event = json.loads(frame)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


@dataclass(slots=True)
class BrokenServer:
    """The running proxy."""

    port: int = 0
    open: dict[str, list[ServerConnection]] = field(default_factory=dict)

    def url(self, fault: str) -> str:
        return f"ws://127.0.0.1:{self.port}/{fault}/v1/realtime"


@asynccontextmanager
async def broken_server(
    upstream: str, plants: Mapping[str, Callable[[], Plant]]
) -> AsyncGenerator[BrokenServer]:
    """Serve every fault in front of one gateway.

    Args:
        upstream: `ws://host:port` of the gateway.
        plants: What each fault does to a connection, by its name.
    """
    running = BrokenServer()

    def fault_of(connection: ServerConnection) -> tuple[str, str]:
        assert connection.request is not None
        _, fault, rest = connection.request.path.split("/", 2)
        return fault, f"/{rest}"

    def select(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        answer = plants[fault_of(connection)[0]]().subprotocol(offered)
        return None if answer is None else Subprotocol(answer)

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        fault, path = fault_of(connection)
        headers = connection.request.headers
        offered = [name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(",")]
        beside = running.open.setdefault(fault, [])
        others = sum(other.state is State.OPEN for other in beside)
        beside.append(connection)
        plant = plants[fault]()
        try:
            async with connect(
                upstream + path,
                additional_headers={k: v for k, v in headers.items() if k.lower() in _FORWARDED},
                subprotocols=[Subprotocol(n) for n in offered if n and plant.heeds(n)] or None,
                max_size=None,
                compression=None,
                proxy=None,
            ) as gateway:
                await _relay(plant, plant.opened(others, path), connection, gateway)
        finally:
            beside.remove(connection)

    server: Server
    async with serve(
        handle, "127.0.0.1", 0, max_size=None, compression=None, select_subprotocol=select
    ) as server:
        running.port = next(iter(server.sockets)).getsockname()[1]
        yield running


async def _relay(
    plant: Plant, opening: Iterable[Action], client: ServerConnection, gateway: object
) -> None:
    sides = {"client": client, "server": gateway}

    async def act(actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Frame(to=to, content=content):
                    await sides[to].send(content)  # pyright: ignore[reportAttributeAccessIssue]
                case HangUp(code=code):
                    await client.close(code)

    async def pump(sender: Literal["client", "server"]) -> None:
        with suppress(ConnectionClosed):
            while True:
                frame = await sides[sender].recv()  # pyright: ignore[reportAttributeAccessIssue]
                await act(plant.actions(sender, frame))

    with suppress(ConnectionClosed):
        await act(opening)
    pumps = [asyncio.create_task(pump("client")), asyncio.create_task(pump("server"))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await client.close()
        await gateway.close()  # pyright: ignore[reportAttributeAccessIssue]
        await asyncio.wait(pumps)
