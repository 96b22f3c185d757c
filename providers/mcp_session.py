"""One connection to an MCP server: its tools, and calls of them, in the words of `protocol`.

It is imported when the first MCP server is asked for something, because the `mcp` package takes a
while to import and most sessions never use it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
from mcp import Client, Implementation, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, EmbeddedResource, TextContent, TextResourceContents, Tool

from core.mcp_policy import endpoint
from protocol import (
    McpError,
    McpListedTool,
    McpProtocolError,
    McpTool,
    McpToolExecutionError,
)

from .mcp_http import CONNECTION_CLOSED, MAX_RESPONSE_BYTES, GuardedTransport, Resolve, resolve

ResultT = TypeVar("ResultT")

MAX_TOOLS = 256
"""Tools of one server that are taken."""
MAX_OUTPUT_CHARS = 100_000
"""Longest output of a tool: it goes to the client, and to the model in every later turn."""
MAX_ERROR_CHARS = 1000
REQUEST_TIMEOUT = -32001
CONNECT_TIMEOUT_S = 5.0

# They log whole messages and URLs, and with them what was said and what the client's keys are;
# what goes wrong is told by whoever asked.
for _name in ("mcp", "client", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class McpFailure(Exception):
    """Why a server could not be used; free of secrets."""

    def __init__(self, error: McpError) -> None:
        super().__init__(error.message)
        self.error = error


class McpSession:
    """A connection that is open.

    Args:
        client: The connected client.
        transport: Knows what went wrong below it.
        timeout_s: How long one listing or call may take.
    """

    def __init__(self, client: Client, transport: GuardedTransport, timeout_s: float) -> None:
        self._client = client
        self._transport = transport
        self._timeout_s = timeout_s

    async def list_tools(self) -> tuple[McpListedTool, ...]:
        """All tools of the server, `MAX_TOOLS` at most.

        Raises:
            McpFailure: there is no answer.
        """
        return await self._within_limits(self._all_pages())

    async def call(self, name: str, arguments: str) -> str | McpError:
        """Run a tool.

        Args:
            name: Its own name.
            arguments: The text of a JSON object, or nothing.

        Returns:
            Its output, or the error that the tool itself reports.

        Raises:
            McpFailure: there is no answer.
        """
        calling = self._client.call_tool(name, json.loads(arguments or "{}"))
        return _outcome(await self._within_limits(calling))

    async def _all_pages(self) -> tuple[McpListedTool, ...]:
        tools: list[McpListedTool] = []
        cursor: str | None = None
        while len(tools) < MAX_TOOLS:
            page = await self._client.list_tools(cursor=cursor)
            tools += map(_listed, page.tools)
            cursor = page.next_cursor
            if not cursor or not page.tools:
                break
        return tuple(tools[:MAX_TOOLS])

    async def _within_limits(self, work: Awaitable[ResultT]) -> ResultT:
        self._transport.problem = None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await work
        except Exception as exc:
            raise McpFailure(_error(exc, self._transport.problem, self._timeout_s)) from exc


@asynccontextmanager
async def open_session(
    server: McpTool, *, allow_private: bool, timeout_s: float, resolve_host: Resolve = resolve
) -> AsyncGenerator[McpSession]:
    """Connect to a server; the same task must open and close it.

    Args:
        server: Where to, and with which headers.
        allow_private: Whether it may be in a private network.
        timeout_s: How long connecting, a listing and a call may each take.
        resolve_host: Looks its host up.

    Raises:
        McpFailure: it cannot be reached, or may not.
    """
    origin = endpoint(server.server_url)
    if origin is None:
        raise McpFailure(McpProtocolError(CONNECTION_CLOSED, "The server_url is not plain http."))
    transport = GuardedTransport(origin, allow_private=allow_private, resolve_host=resolve_host)
    headers = {name: value.get_secret_value() for name, value in (server.headers or {}).items()}
    if server.authorization is not None:
        headers["Authorization"] = f"Bearer {server.authorization.get_secret_value()}"
    headers["Accept-Encoding"] = "identity"
    http = httpx2.AsyncClient(
        transport=transport,
        headers=headers,
        # A standing stream may be silent for as long as it likes; requests have their own limit.
        timeout=httpx2.Timeout(CONNECT_TIMEOUT_S, read=None),
        follow_redirects=False,
        trust_env=False,
    )
    client = Client(
        streamable_http_client(
            server.server_url, http_client=http, max_sse_event_size=MAX_RESPONSE_BYTES
        ),
        read_timeout_seconds=timeout_s,
        client_info=Implementation(name="realtime-gateway", version="1"),
        cache=None,
    )
    async with http:
        try:
            async with asyncio.timeout(timeout_s):
                await client.__aenter__()
        except Exception as exc:
            raise McpFailure(_error(exc, transport.problem, timeout_s)) from exc
        try:
            yield McpSession(client, transport, timeout_s)
        finally:
            await client.__aexit__(None, None, None)


def _listed(tool: Tool) -> McpListedTool:
    hints = tool.annotations and tool.annotations.model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    return McpListedTool(tool.name, tool.input_schema, tool.description or "", hints or None)


def _outcome(result: CallToolResult) -> str | McpError:
    text = "\n".join(map(_text, result.content))
    if result.is_error:
        message = text[:MAX_ERROR_CHARS] or "The tool failed and did not say why."
        return McpToolExecutionError(message)
    if not text and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    if len(text) > MAX_OUTPUT_CHARS:
        return McpToolExecutionError(
            f"The tool returned {len(text)} characters, and the maximum is {MAX_OUTPUT_CHARS}."
        )
    return text


def _text(content: Any) -> str:
    """A piece of a tool's output as text; what is no text is named."""
    match content:
        case TextContent():
            return content.text
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return resource.text
        case _:
            return f"[{content.type}]"


def _error(exc: Exception, problem: McpError | None, timeout_s: float) -> McpError:
    """An exception of the client as the wire tells it; the cause below it says more."""
    if problem is not None:
        return problem
    if isinstance(exc, MCPError) and exc.code not in (REQUEST_TIMEOUT, 408):
        return McpProtocolError(exc.code, exc.message[:MAX_ERROR_CHARS])
    if isinstance(exc, TimeoutError | MCPError):
        return McpProtocolError(
            REQUEST_TIMEOUT, f"The MCP server did not answer within {timeout_s:g} s."
        )
    return McpProtocolError(CONNECTION_CLOSED, "The MCP server does not speak MCP as it should.")
