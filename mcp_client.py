"""Runs the MCP commands of one session: asks remote servers for their tools, and has tools run.

It decides nothing: which servers may be asked is the core's matter, which addresses may be reached
that of `providers.mcp_http`. Every command but a cancelled one is answered with one event.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, assert_never

from config import McpSettings
from core.messages import (
    CallMcpTool,
    CancelMcp,
    EngineEvent,
    ListMcpTools,
    McpCallFinished,
    McpCommand,
    McpToolsFailed,
    McpToolsListed,
)
from protocol import McpTool

if TYPE_CHECKING:
    from providers.mcp_http import Resolve
    from providers.mcp_session import McpSession

logger = logging.getLogger("realtime.mcp")

MAX_AT_ONCE = 8
"""Listings and calls of one session that run at a time; others wait."""


class McpClient:
    """The MCP client of one session.

    Args:
        settings: Time limit and what the operator allows.
        emit: Takes each event at once; must neither block nor raise.
        resolve_host: Looks hosts up; None asks the system.
    """

    def __init__(
        self,
        settings: McpSettings,
        emit: Callable[[EngineEvent], None],
        resolve_host: Resolve | None = None,
    ) -> None:
        self._settings = settings
        self._emit = emit
        self._resolve_host = resolve_host
        self._commands: asyncio.Queue[McpCommand] = asyncio.Queue()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._links: list[_Link] = []

    def execute(self, command: McpCommand) -> None:
        """Take a command of the core; it never blocks and never fails."""
        self._commands.put_nowait(command)

    async def run(self) -> None:
        """Carry out commands until cancelled; closes every connection."""
        # The import takes longer than the event loop may be held.
        library = await asyncio.to_thread(importlib.import_module, "providers.mcp_session")
        async with asyncio.TaskGroup() as group:
            while True:
                command = await self._commands.get()
                match command:
                    case CancelMcp():
                        if (task := self._running.pop(command.item_id, None)) is not None:
                            task.cancel()
                    case ListMcpTools() | CallMcpTool():
                        work = self._carry_out(command, library, group)
                        task = group.create_task(work, name=f"mcp {command.item_id}")
                        self._running[command.item_id] = task
                    case _:
                        assert_never(command)

    async def _carry_out(
        self,
        command: ListMcpTools | CallMcpTool,
        library: Any,
        group: asyncio.TaskGroup,
    ) -> None:
        async with self._slots:
            try:
                async with self._link(command.server, library, group).use() as session:
                    if isinstance(command, ListMcpTools):
                        tools = await session.list_tools()
                        event = McpToolsListed(command.item_id, tools)
                    else:
                        outcome = await session.call(command.name, command.arguments)
                        event = McpCallFinished(command.item_id, outcome)
            except library.McpFailure as failure:
                logger.warning("MCP server %.64r: %s", command.server.server_label, failure)
                if isinstance(command, ListMcpTools):
                    event = McpToolsFailed(command.item_id)
                else:
                    event = McpCallFinished(command.item_id, failure.error)
        self._running.pop(command.item_id, None)
        self._emit(event)

    def _link(self, server: McpTool, library: Any, group: asyncio.TaskGroup) -> _Link:
        """The connection to a server, opened when first used and again after a failure."""
        self._links = [link for link in self._links if not link.retired]
        for link in self._links:
            if link.serves(server):
                return link
        link = _Link(server, self._settings, library, self._resolve_host)
        group.create_task(link.hold(), name=f"mcp connection {server.server_label:.64}")
        self._links.append(link)
        return link


class _Link:
    """One connection to a server; once something failed on it nothing new is begun there."""

    def __init__(
        self,
        server: McpTool,
        settings: McpSettings,
        library: Any,
        resolve_host: Resolve | None,
    ) -> None:
        self.retired = False
        self._server = server
        self._settings = settings
        self._library = library
        self._resolve_host = resolve_host or library.resolve
        self._session: asyncio.Future[McpSession]
        self._session = asyncio.get_running_loop().create_future()
        self._unused = asyncio.Event()
        self._users = 0

    def serves(self, server: McpTool) -> bool:
        """Whether the connection is one to that server with those credentials."""
        ours = self._server
        return (ours.server_url, ours.authorization, ours.headers) == (
            server.server_url,
            server.authorization,
            server.headers,
        )

    async def hold(self) -> None:
        """Keep the connection open: the task that opens it must be the one that closes it."""
        try:
            async with self._library.open_session(
                self._server,
                allow_private=self._settings.allow_private,
                timeout_s=self._settings.timeout_ms / 1000,
                resolve_host=self._resolve_host,
            ) as session:
                self._session.set_result(session)
                await self._unused.wait()
        except self._library.McpFailure as failure:
            self._session.set_exception(failure)
            self._session.exception()
        except Exception as exc:
            # Whoever used it has been told by the call that failed.
            logger.debug("an MCP connection ended: %s", type(exc).__name__)
        finally:
            self.retired = True

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[McpSession]:
        """The open connection.

        Raises:
            McpFailure: it cannot be had; what is raised inside the block retires it.
        """
        self._users += 1
        try:
            yield await asyncio.shield(self._session)
        except Exception:
            self.retired = True
            raise
        finally:
            self._users -= 1
            if self.retired and self._users == 0:
                self._unused.set()
