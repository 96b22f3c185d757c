"""What the doubles behind WebSockets share: modes, the log of messages, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

from tests.doubles.modes import Mode
from tests.doubles.server import BODY, Double, LoggedRequest, handler

Piece = str | bytes | tuple[int, str] | dict[str, Any]
"""What a double sends: text, bytes, a close code with its reason, or an object as JSON."""


_MESSAGES = "messages"


def messages_of(request: LoggedRequest) -> list[Any]:
    """What a client has sent over a WebSocket so far: JSON, other text, bytes."""
    return request.body.get(_MESSAGES, [])


class Wire:
    """One accepted WebSocket.

    Attributes:
        mode: What is done to the pieces: see `Mode`.
    """

    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, mode: Mode, garbage: Piece
    ) -> None:
        self.mode = mode
        self._request = request
        self._socket = socket
        self._log: list[Any] = request[BODY].setdefault(_MESSAGES, [])
        self._garbage = garbage
        self._sent = 0

    async def messages(self, patience_s: float | None = None) -> AsyncIterator[Any]:
        """The client's messages until it hangs up; each is logged.

        Raises:
            TimeoutError: none came for `patience_s`.
        """
        while True:
            received = await self._socket.receive(timeout=patience_s)
            match received.type:
                case WSMsgType.TEXT:
                    message = _parsed(received.data)
                case WSMsgType.BINARY:
                    message = received.data
                case _:
                    return
            self._log.append(message)
            yield message

    async def send(self, piece: Piece) -> None:
        """Send a piece, with whatever the mode does to it.

        Raises:
            ConnectionResetError: the connection is over.
        """
        if self.mode.kind == "midcut" and self._sent >= self.mode.after:
            self.cut()
            raise ConnectionResetError("cut by the mode")
        if self.mode.kind == "stall" and self._sent >= self.mode.after:
            await asyncio.Event().wait()
        if self.mode.kind == "malformed" and self._sent == self.mode.after:
            piece = self._garbage
        self._sent += 1
        await asyncio.sleep(self.mode.pause_s)
        match piece:
            case dict():
                await self._socket.send_str(json.dumps(piece, ensure_ascii=False))
            case str():
                await self._socket.send_str(piece)
            case bytes():
                await self._socket.send_bytes(piece)
            case (code, reason):
                await self._socket.close(code=code, message=reason.encode())

    async def send_text_aside(self, text: str) -> None:
        """Send a text that does not count as a piece."""
        await self._socket.send_str(text)

    async def send_raw(self) -> None:
        """Send the pieces of a `raw` mode."""
        for piece in self.mode.pieces:
            await self.send(piece)

    def cut(self) -> None:
        """Drop the connection; what was sent still arrives, a close frame does not."""
        assert self._request.transport is not None
        self._request.transport.close()


Serve = Callable[[Double, web.Request, Wire], Awaitable[None]]
Refuse = Callable[[Mode], web.Response]


def socket_handler(
    double: Double, serve: Serve, refuse: Refuse, garbage: Piece = "{not json"
) -> Callable[[web.Request], Any]:
    """An aiohttp handler of a WebSocket.

    Args:
        serve: Holds the conversation.
        refuse: How the vendor words a `status` at the handshake.
        garbage: What `malformed` sends.
    """

    async def answer(double: Double, request: web.Request, mode: Mode) -> web.StreamResponse:
        if mode.kind == "status":
            return refuse(mode)
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        double.sockets.add(transport)
        closing = asyncio.ensure_future(double.closing.wait())
        serving = asyncio.ensure_future(
            serve(double, request, Wire(request, socket, mode, garbage))
        )
        try:
            await asyncio.wait({closing, serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            double.sockets.discard(transport)
            for task in (closing, serving):
                task.cancel()
            ends = await asyncio.gather(closing, serving, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, ConnectionResetError):
                raise end
        return socket

    return handler(double, answer)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
