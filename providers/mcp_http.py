"""The HTTP side of an MCP client: one origin, addresses that were checked, and bounded answers.

It knows nothing of MCP itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import httpx2

from core.mcp_policy import Endpoint, is_never_allowed, is_public
from protocol import McpError, McpHttpError, McpProtocolError

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, in the order to try them."""

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
"""Longest answer to one HTTP request; streamed answers are counted as they come."""
CONNECTION_CLOSED = -32000
"""The code that MCP's own clients give a server that cannot be talked to."""
GOODBYE_TIMEOUT_S = 1.0
"""For the request that ends a server's session: nobody waits for a server on the way out."""


class Refused(Exception):
    """A request that is not sent, or an answer not taken; the text says why, without secrets."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends to one origin only, at addresses that were looked up once and then checked.

    The name is never resolved again, so that a second answer of its DNS cannot lead elsewhere
    (rebinding); TLS still proves the name. A redirect to another origin ends here too.

    Args:
        origin: Where requests may go.
        allow_private: Whether it may be in a private network.
        resolve_host: Looks the host up.
        inner: Sends what is allowed; None is a plain HTTP transport that knows no proxy.
    """

    def __init__(
        self,
        origin: Endpoint,
        *,
        allow_private: bool,
        resolve_host: Resolve = resolve,
        inner: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.problem: McpError | None = None
        """What went wrong last: the MCP client keeps statuses and causes to itself."""
        self._origin = origin
        self._allow_private = allow_private
        self._resolve = resolve_host
        self._inner = inner or httpx2.AsyncHTTPTransport(trust_env=False)
        self._addresses: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._send(request)
        except Refused as refusal:
            self._failed(f"Refused: {refusal}.")
            raise
        except (httpx2.TransportError, OSError):
            self._failed("The MCP server cannot be reached.")
            raise
        if response.headers.get("content-encoding", "identity") != "identity":
            # A few compressed bytes can become more than the memory holds.
            await response.aclose()
            self._failed("The MCP server compressed its answer, which it was not asked to.")
            raise Refused("the answer of the MCP server is compressed")
        if response.status_code >= 400 and request.method == "POST":
            status = response.status_code
            self.problem = McpHttpError(
                status, f"The MCP server answered with HTTP status {status}."
            )
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_BoundedStream(stream, self._failed),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        url, origin = request.url, self._origin
        port = url.port or (443 if url.scheme == "https" else 80)
        if (url.scheme, url.host, port) != (origin.scheme, origin.host, origin.port):
            raise Refused("the MCP server redirected to another origin")
        extensions = {**request.extensions, "sni_hostname": origin.host}
        if request.method == "DELETE":
            extensions["timeout"] = httpx2.Timeout(GOODBYE_TIMEOUT_S).as_dict()
        *others, final = await self._pinned()
        for address in others:
            with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                return await self._send_to(address, request, extensions)
        return await self._send_to(final, request, extensions)

    async def _send_to(
        self, address: str, request: httpx2.Request, extensions: dict[str, Any]
    ) -> httpx2.Response:
        # A request of its own: a redirect must be judged by the name, not by the address.
        pinned = httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions=extensions,
        )
        return await self._inner.handle_async_request(pinned)

    async def _pinned(self) -> list[str]:
        if not self._addresses:
            found = await self._resolve(self._origin.host, self._origin.port)
            if not found:
                raise Refused("the host of the MCP server has no address")
            for text in found:
                self._check(text)
            self._addresses = found
        return self._addresses

    def _check(self, text: str) -> None:
        """Refuse the host if any of its addresses may not be reached."""
        address = ip_address(text)
        if is_never_allowed(address) or (not is_public(address) and not self._allow_private):
            raise Refused("the host of the MCP server has a private address")
        if is_public(address) and self._origin.scheme != "https":
            raise Refused("a public MCP server must be reached by https")

    def _failed(self, why: str) -> None:
        self.problem = McpProtocolError(CONNECTION_CLOSED, why)


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, failed: Callable[[str], None]) -> None:
        self._inner = inner
        self._failed = failed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for piece in self._inner:
            received += len(piece)
            if received > MAX_RESPONSE_BYTES:
                self._failed(f"The MCP server sent more than {MAX_RESPONSE_BYTES} bytes.")
                raise Refused("the answer of the MCP server is too long")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()
