"""A client's socket on which frames go wrong: the faults of stage `ws`.

It knows frames and the types of the events in them; it must not know what they mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

import orjson

from dialects import ga
from protocol import Disconnected, ErrorEvent
from providers.faults import InjectedFault

Sleep = Callable[[float], Awaitable[None]]

_PING_TIMEOUT: Final = (1011, "keepalive ping timeout")
"""What a client sees of a server that has given it up."""


class Socket(Protocol):
    """The part of a WebSocket that is passed through."""

    async def receive(self) -> MutableMapping[str, Any]: ...
    async def send_text(self, data: str) -> None: ...
    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class FaultySocket:
    """Passes frames on until a fault strikes.

    Args:
        socket: The client's.
        take: Says for the type of the event about to be sent whether a fault strikes.
        note: Is told every frame that comes and goes, as `client` or `server`, before any fault.
        new_id: Makes a unique id from a prefix.
        sleep: How time passes.
    """

    def __init__(
        self,
        socket: Socket,
        *,
        take: Callable[[str], InjectedFault | None],
        note: Callable[[str, str], None],
        new_id: Callable[[str], str],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._socket = socket
        self._take = take
        self._note = note
        self._new_id = new_id
        self._sleep = sleep
        self._silent = False
        self._ended = False

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._socket.receive()
        if isinstance(text := message.get("text"), str):
            self._note("client", text)
        return message

    async def send_text(self, data: str) -> None:
        if not self._ended:
            self._note("server", data)
        if self._silent:
            return
        fault = self._take(orjson.loads(data)["type"])
        if fault is None:
            await self._socket.send_text(data)
        else:
            await self._strike(fault, data)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        if not self._ended:
            await self._socket.close(code, reason)

    async def _strike(self, fault: InjectedFault, data: str) -> None:
        match fault.kind:
            case "error":
                event = ErrorEvent("server_error", "server_error", fault.told)
                # Errors look the same in every dialect.
                frame = ga.encode(event, self._new_id("event"))
                await self._socket.send_text(orjson.dumps(frame).decode())
                await self._socket.send_text(data)
            case "timeout":
                self._silent = True
                await self._sleep(fault.delay_ms / 1000)
                await self._end(*_PING_TIMEOUT)
            case "hang":
                self._silent = True
            case "disconnect":
                await self._end(fault.close_code, fault.told)
            case "truncate":
                await self._socket.send_text(data[: len(data) // 2])
                await self._end(fault.close_code, fault.told)
            case "slow":
                await self._sleep(fault.delay_ms / 1000)
                await self._socket.send_text(data)
            case "malformed":
                await self._socket.send_text(data.removesuffix("}"))
            case "empty":
                await self._socket.send_text("")

    async def _end(self, code: int, reason: str) -> None:
        self._silent = self._ended = True
        await self._socket.close(code, reason)
        raise Disconnected(code, reason)
