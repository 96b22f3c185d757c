"""The one port all doubles share, its log, and the modes that tests set."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from providers.script import Script
from providers.script_file import parse_script
from tests.doubles.modes import OK, Mode

Answer = Callable[["Double", web.Request, Mode], Awaitable[web.StreamResponse]]

BODY = web.RequestKey("body", dict[str, Any])
"""What a request brought, parsed; `{}` when it brought nothing."""

LEFT = "left"
"""Set in the body of a logged request whose client closed the connection before its answer."""

_DEFAULT_SCRIPT = parse_script("version: 1\n")


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as it came.

    Attributes:
        provider: Whose double it went to.
        path: Without the provider's prefix, with the query.
        authorization: The header that holds the key.
        body: JSON, or the fields of a form; bytes of a file field as they are.
    """

    provider: str
    path: str
    authorization: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class Double:
    """The running doubles.

    Attributes:
        port: Where they listen.
        log: Every request, in the order it came.
        script: What the chat double answers by.
        transcript: What the transcription double hears.
        sockets: What carries the WebSockets that are open.
    """

    port: int = 0
    log: list[LoggedRequest] = field(default_factory=list[LoggedRequest])
    script: Script = _DEFAULT_SCRIPT
    transcript: str = "hello there"
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    runner: web.AppRunner = field(init=False, repr=False)
    sockets: set[asyncio.Transport] = field(default_factory=set[asyncio.Transport])
    _always: dict[str, Mode] = field(default_factory=dict[str, Mode])
    _next: defaultdict[str, deque[Mode]] = field(
        default_factory=lambda: defaultdict[str, deque[Mode]](deque)
    )

    def url(self, provider: str, path: str = "/v1") -> str:
        """The base URL of a provider's double."""
        return f"http://127.0.0.1:{self.port}/{provider}{path}"

    def always(self, provider: str, mode: Mode) -> None:
        """How every request is answered from now on."""
        self._always[provider] = mode

    def once(self, provider: str, *modes: Mode) -> None:
        """How the next requests are answered, one mode each."""
        self._next[provider].extend(modes)

    def forget(self) -> None:
        """Answer as always from now on: drop the modes of `once` that nothing has used."""
        self._next.clear()

    def hang_up(self) -> None:
        """Drop the WebSockets that are open, without a word."""
        for transport in self.sockets:
            transport.abort()

    def take_mode(self, provider: str) -> Mode:
        """How the request that has just come is to be answered."""
        queue = self._next[provider]
        return queue.popleft() if queue else self._always.get(provider, OK)

    def requests(self, path: str = "") -> list[LoggedRequest]:
        """The logged requests whose path ends so."""
        return [request for request in self.log if request.path.endswith(path)]


def handler(double: Double, answer: Answer) -> Callable[[web.Request], Any]:
    """An aiohttp handler that logs, and carries out the modes that no vendor differs in."""

    async def handle(request: web.Request) -> web.StreamResponse:
        provider = request.match_info["provider"]
        double.log.append(await _logged(provider, request))
        mode = double.take_mode(provider)
        match mode.kind:
            case "hang":
                await left(double, request)
            case "reset":
                assert request.transport is not None
                request.transport.abort()
            case _:
                return await answer(double, request, mode)
        return web.Response()

    return handle


async def _logged(provider: str, request: web.Request) -> LoggedRequest:
    body: dict[str, Any] = {}
    if request.content_type == "application/json":
        body = await request.json()
    elif request.content_type.startswith("multipart/"):
        form = await request.post()
        body = {
            name: value.file.read() if isinstance(value, web.FileField) else value
            for name, value in form.items()
        }
    request[BODY] = body
    return LoggedRequest(
        provider,
        request.path_qs.removeprefix(f"/{provider}"),
        request.headers.get("Authorization") or request.headers.get("xi-api-key") or "",
        dict(request.headers),
        body,
    )


async def left(double: Double, request: web.Request) -> None:
    """Wait until the client has closed the connection, and log it under `LEFT`."""
    # aiohttp tells a handler nothing of it.
    while request.transport is not None and not request.transport.is_closing():
        if double.closing.is_set():
            return
        await asyncio.sleep(0.01)
    request[BODY][LEFT] = True


async def stream(
    double: Double,
    request: web.Request,
    mode: Mode,
    pieces: list[bytes],
    content_type: str,
    garbage: bytes,
) -> web.StreamResponse:
    """Send an answer in pieces, with whatever `mode` does to it."""
    response = web.StreamResponse(headers={"Content-Type": content_type, **mode.headers})
    await response.prepare(request)
    for number, piece in enumerate(pieces):
        if mode.kind == "midcut" and number == mode.after:
            assert request.transport is not None
            # What was written still leaves; the chunked body never gets its end.
            request.transport.close()
            return response
        if mode.kind == "malformed" and number == mode.after:
            await response.write(garbage)
            break
        if mode.kind == "stall" and number == mode.after:
            await left(double, request)
            return response
        await asyncio.sleep(mode.pause_s)
        await response.write(piece)
    await response.write_eof()
    return response
