"""A real MCP server on a local port, and what it was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from tests.harness import running_server


@dataclass(slots=True)
class McpServer:
    """A running server.

    Attributes:
        port: Where it listens on 127.0.0.1.
        headers: Those of every request.
        methods: HTTP methods of the requests to its endpoint.
        calls: Names of the tools that were run.
        waiting: Set when `wait` has begun.
    """

    legacy: bool = False
    port: int = 0
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    methods: list[str] = field(default_factory=list[str])
    calls: list[str] = field(default_factory=list[str])
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def tool(self, path: str = "/mcp", host: str = "127.0.0.1", **fields: Any) -> dict[str, Any]:
        """The entry of a `tools` list that names it."""
        return {
            "type": "mcp",
            "server_label": "weather",
            "server_url": f"http://{host}:{self.port}{path}",
            "require_approval": "never",
            **fields,
        }

    def _application(self) -> MCPServer:
        server = MCPServer("weather")

        @server.tool(annotations=ToolAnnotations(read_only_hint=True))
        def get_weather(city: str) -> str:
            """The weather of a city."""
            self.calls.append("get_weather")
            return f"sunny in {city}"

        @server.tool()
        async def wait() -> str:
            """Takes its time."""
            self.calls.append("wait")
            self.waiting.set()
            await self._stopping.wait()
            return "at last"

        @server.tool()
        def broken() -> str:
            """Fails."""
            raise RuntimeError("out of order")

        return server

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[McpServer]:
        """Serve on a free port; a legacy server knows only the handshake of MCP's first years."""
        app = self._application().streamable_http_app()

        async def front(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            request = Request(scope, receive)
            body = await request.body()
            self.headers.append(dict(request.headers))
            self.methods.append(request.method)
            answer = self._own_answer(request, body)
            if answer is not None:
                await answer(scope, receive, send)
                return
            sent = False

            async def replay() -> Any:
                nonlocal sent
                if sent:
                    return await receive()
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}

            await app(scope, replay, send)

        async with running_server(front, log_level="critical") as port:
            self.port = port
            try:
                yield self
            finally:
                self._stopping.set()

    def _own_answer(self, request: Request, body: bytes) -> Response | None:
        match request.url.path:
            case "/elsewhere":
                return RedirectResponse(f"http://localhost:{self.port}/mcp")
            case "/moved":
                return RedirectResponse("/mcp")
            case "/forbidden":
                return Response(status_code=403)
            case _ if self.legacy and b"server/discover" in body:
                error = {"code": -32601, "message": "Method not found"}
                asked = json.loads(body)
                return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "error": error})
            case _:
                return None
