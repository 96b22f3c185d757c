"""The MCP servers of a session: what they offer, which calls run, and which await approval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.mcp_tools import McpTarget, allowed
from core.messages import CallMcpTool, CancelMcp, ListMcpTools, McpCommand
from protocol import (
    ErrorCode,
    FunctionTool,
    InvalidRequest,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListedTool,
    McpTool,
    McpToolFilter,
)

MAX_IMPORTS = 32
"""Servers whose tools one session may hold at a time."""

_Identity = tuple[object, ...]


@dataclass(slots=True)
class _Import:
    """A server's tools; None while it has not answered."""

    server: McpTool
    item_id: str
    tools: tuple[McpListedTool, ...] | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """A call that the client was asked about."""

    request: McpApprovalRequest
    call_item_id: str
    output_index: int
    target: McpTarget


class McpServers:
    """Keeps the books; what is to be done gathers in its commands."""

    def __init__(self) -> None:
        self.follow_up_wanted = False
        """A response ended with calls that were run: the model could go on."""
        self._commands: list[McpCommand] = []
        self._imports: dict[_Identity, _Import] = {}
        self._approvals: dict[str, Approval] = {}

    def take_commands(self) -> list[McpCommand]:
        """What is to be done, once."""
        commands, self._commands = self._commands, []
        return commands

    # --- tools ------------------------------------------------------------------------------------

    def known(self, server: McpTool) -> tuple[McpListedTool, ...]:
        """The tools of a server that may be offered by now."""
        imported = self._imports.get(_identity(server))
        return () if imported is None or imported.tools is None else imported.tools

    def missing(self, tools: Iterable[FunctionTool | McpTool]) -> list[McpTool]:
        """The servers of a `tools` list that were not asked for their tools yet."""
        servers = (tool for tool in tools if isinstance(tool, McpTool))
        return [server for server in servers if _identity(server) not in self._imports]

    def require_room(self, tools: Iterable[FunctionTool | McpTool], path: str) -> None:
        """Refuse a `tools` list that would make the session hold too much.

        Raises:
            InvalidRequest: with the limit.
        """
        if len(self._imports) + len(self.missing(tools)) > MAX_IMPORTS:
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                f"Too many MCP servers: a session may use {MAX_IMPORTS} at most.",
                path,
            )

    def import_tools(self, server: McpTool, item_id: str) -> None:
        """Ask a server for its tools on behalf of an item."""
        self._imports[_identity(server)] = _Import(server, item_id)
        self._commands.append(ListMcpTools(item_id, server))

    def imported(
        self, item_id: str, tools: tuple[McpListedTool, ...]
    ) -> tuple[McpListedTool, ...] | None:
        """A server's answer, cut to what the client allows; None when nobody waits for it."""
        for pending in self._imports.values():
            if pending.item_id == item_id and pending.tools is None:
                pending.tools = allowed(pending.server, tools)
                return pending.tools
        return None

    def import_failed(self, item_id: str) -> bool:
        """Forget a server that did not answer, so that it can be tried again.

        Returns:
            Whether somebody waited for it.
        """
        for identity, pending in self._imports.items():
            if pending.item_id == item_id and pending.tools is None:
                del self._imports[identity]
                return True
        return False

    def abandoned(
        self,
        before: Iterable[FunctionTool | McpTool],
        after: Iterable[FunctionTool | McpTool],
    ) -> list[str]:
        """Forget the servers that left the session's tools; the items still waiting for them."""
        kept = {_identity(tool) for tool in after if isinstance(tool, McpTool)}
        unfinished: list[str] = []
        for tool in before:
            if not isinstance(tool, McpTool) or (identity := _identity(tool)) in kept:
                continue
            gone = self._imports.pop(identity, None)
            if gone is not None and gone.tools is None:
                self.cancel(gone.item_id)
                unfinished.append(gone.item_id)
        return unfinished

    # --- calls ------------------------------------------------------------------------------------

    def run(self, call: McpCall, target: McpTarget) -> None:
        """Have a tool run."""
        self._commands.append(CallMcpTool(call.id, target.server, target.tool_name, call.arguments))

    def cancel(self, item_id: str) -> None:
        """Break off a listing or a call."""
        self._commands.append(CancelMcp(item_id))

    def ask(
        self, request: McpApprovalRequest, call_item_id: str, output_index: int, target: McpTarget
    ) -> None:
        """Keep a call until the client has decided about it."""
        self._approvals[request.id] = Approval(request, call_item_id, output_index, target)

    def check_approval(self, response: McpApprovalResponse) -> None:
        """Refuse an answer to a question that was not asked, or was answered.

        Raises:
            InvalidRequest: naming `item.approval_request_id`.
        """
        if response.approval_request_id not in self._approvals:
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                f"Invalid value: '{response.approval_request_id[:64]}'. There is no MCP approval "
                "request with this id that is still to be answered.",
                "item.approval_request_id",
            )

    def decide(self, response: McpApprovalResponse) -> Approval | None:
        """Take the client's answer; the call to run if it agreed."""
        approval = self._approvals.pop(response.approval_request_id)
        return approval if response.approve else None

    def forget(self, item_id: str) -> None:
        """An item was deleted: what it asked for is not asked any more."""
        self._approvals.pop(item_id, None)


def _identity(server: McpTool) -> _Identity:
    """What makes two entries the same source of tools; their approval rules do not matter."""
    headers = server.headers or {}
    wanted = server.allowed_tools
    if isinstance(wanted, McpToolFilter):
        wanted = (wanted.tool_names, wanted.read_only)
    return (
        server.server_label,
        server.server_url,
        server.authorization.get_secret_value() if server.authorization else None,
        tuple(sorted((name, value.get_secret_value()) for name, value in headers.items())),
        wanted,
    )
