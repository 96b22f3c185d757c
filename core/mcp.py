"""MCP outside of responses: importing tools, asking the client, running what it approved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from core.conversation import Conversation, Entry
from core.mcp_output import CANCELLED, NOT_AN_OBJECT, is_object, outcome_event, with_outcome
from core.mcp_policy import McpPolicy, check_tools
from core.mcp_servers import Approval, McpServers
from core.messages import McpCallFinished, McpCommand, McpToolsFailed, McpToolsListed
from protocol import (
    FunctionTool,
    Item,
    ItemAdded,
    ItemDone,
    McpApprovalResponse,
    McpCall,
    McpCallInProgress,
    McpError,
    McpListTools,
    McpListToolsCompleted,
    McpListToolsFailed,
    McpListToolsInProgress,
    McpTool,
    ServerEvent,
)

MAX_FOLLOW_UPS = 8
"""Responses in a row that the model may start by itself: a tool loop has to end."""

_Tools = Iterable[FunctionTool | McpTool]


class Mcp:
    """The MCP side of a session.

    Args:
        conversation: The default conversation, which its items join.
        policy: The operator's rules.
        new_id: Makes ids from a prefix.
    """

    def __init__(
        self, conversation: Conversation, policy: McpPolicy, new_id: Callable[[str], str]
    ) -> None:
        self.servers = McpServers()
        self._conversation = conversation
        self._policy = policy
        self._new_id = new_id
        self._listing: dict[str, McpListTools] = {}
        self._approved: dict[str, tuple[McpCall, int]] = {}
        self._follow_ups = 0

    def check(self, tools: _Tools | None, path: str) -> None:
        """Refuse servers the operator did not allow, and too many of them.

        Raises:
            InvalidRequest: naming the field.
        """
        check_tools(tools, self._policy, path)
        self.servers.require_room(tools or (), path)

    def take_commands(self) -> list[McpCommand]:
        """What is to be done outside, once."""
        return self.servers.take_commands()

    # --- tools ------------------------------------------------------------------------------------

    def change_tools(self, before: _Tools, after: _Tools) -> list[ServerEvent]:
        """Follow a change of the session's tools: what left is forgotten, what is new imported."""
        after = tuple(after)
        events: list[ServerEvent] = []
        for item_id in self.servers.abandoned(before, after):
            events += self._list_ended(item_id, None)
        return events + self.import_tools(after)

    def import_tools(self, tools: _Tools) -> list[ServerEvent]:
        """Ask the servers that are new for their tools (reference §4.16)."""
        events: list[ServerEvent] = []
        for server in self.servers.missing(tools):
            item = McpListTools(self._new_id("mcpl"), server.server_label)
            self._listing[item.id] = item
            events += [self._join(item), McpListToolsInProgress(item.id)]
            self.servers.import_tools(server, item.id)
        return events

    def listed(self, event: McpToolsListed) -> list[ServerEvent]:
        """A server has answered."""
        tools = self.servers.imported(event.item_id, event.tools)
        if tools is None:
            return []
        item = replace(self._listing[event.item_id], tools=tools)
        return self._list_ended(event.item_id, item)

    def list_failed(self, event: McpToolsFailed) -> list[ServerEvent]:
        """A server has not answered; the next update that names it tries again."""
        if not self.servers.import_failed(event.item_id):
            return []
        return self._list_ended(event.item_id, None)

    def _list_ended(self, item_id: str, answered: McpListTools | None) -> list[ServerEvent]:
        item = self._listing.pop(item_id, None)
        if item is None:
            return []
        if answered is None:
            return [McpListToolsFailed(item_id), self._finish(item)]
        return [McpListToolsCompleted(item_id), self._finish(answered)]

    # --- approvals --------------------------------------------------------------------------------

    def decided(self, response: McpApprovalResponse) -> list[ServerEvent]:
        """The client has spoken: run the call, or leave the model with its refusal."""
        approval = self.servers.decide(response)
        return [] if approval is None else self._run(approval)

    def _run(self, approval: Approval) -> list[ServerEvent]:
        request, index = approval.request, approval.output_index
        call = McpCall(
            approval.call_item_id,
            request.server_label,
            request.name,
            request.arguments,
            approval_request_id=request.id,
        )
        self._approved[call.id] = (call, index)
        events: list[ServerEvent] = [self._join(call), McpCallInProgress(call.id, index)]
        if not is_object(call.arguments):
            return events + self._call_ended(call.id, NOT_AN_OBJECT)
        self.servers.run(call, approval.target)
        return events

    def call_finished(self, event: McpCallFinished) -> list[ServerEvent]:
        """A call that the client had approved is over; nothing for any other."""
        if event.item_id not in self._approved:
            return []
        self.servers.follow_up_wanted = True
        return self._call_ended(event.item_id, event.outcome)

    def _call_ended(self, item_id: str, outcome: str | McpError) -> list[ServerEvent]:
        call, index = self._approved.pop(item_id)
        return [outcome_event(item_id, index, outcome), self._finish(with_outcome(call, outcome))]

    # --- items ------------------------------------------------------------------------------------

    def deleting(self, item_id: str) -> list[ServerEvent]:
        """Let go of an item that the client is about to delete."""
        self.servers.forget(item_id)
        if item_id in self._approved:
            self.servers.cancel(item_id)
            return self._call_ended(item_id, CANCELLED)
        if item_id in self._listing and self.servers.import_failed(item_id):
            self.servers.cancel(item_id)
            return self._list_ended(item_id, None)
        return []

    def _join(self, item: Item) -> ServerEvent:
        return ItemAdded(self._conversation.append(Entry(item)), item)

    def _finish(self, item: Item) -> ServerEvent:
        entry = self._conversation.get(item.id)
        assert entry is not None, "an item that is deleted is let go of first"
        entry.item = item
        return ItemDone(self._conversation.previous_id(item.id), item)

    # --- going on ---------------------------------------------------------------------------------

    def asked(self) -> None:
        """Somebody else than this server wanted a response: the model may call tools afresh."""
        self._follow_ups = 0
        self.servers.follow_up_wanted = False

    def take_follow_up(self) -> bool:
        """Whether the model is to go on by itself now, all tools being done.

        OpenAI leaves it to the client, whose SDKs send `response.create` when a call is done: it
        is the operator's choice, for clients that know nothing of MCP.
        """
        if not self.servers.follow_up_wanted or self._approved:
            return False
        self.servers.follow_up_wanted = False
        if not self._policy.follow_up or self._follow_ups >= MAX_FOLLOW_UPS:
            return False
        self._follow_ups += 1
        return True
