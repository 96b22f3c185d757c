"""The MCP calls of one response: streamed, run by the server, and closed with it.

The events of a call are those of the reference, §4.16. A call that needs approval leaves nothing
but its `mcp_approval_request` in the response; the call itself runs outside of it, later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from core.mcp_servers import McpServers
from core.mcp_tools import McpTarget
from core.response_output import ResponseOutput
from protocol import (
    McpApprovalRequest,
    McpArgumentsDelta,
    McpArgumentsDone,
    McpCall,
    McpCallCompleted,
    McpCallFailed,
    McpCallInProgress,
    McpError,
    McpToolExecutionError,
    ResponseStatus,
    ServerEvent,
)

CANCELLED = McpToolExecutionError("The response ended before the call did.")
NOT_AN_OBJECT = McpToolExecutionError("The model's arguments are not a JSON object.")


@dataclass(slots=True)
class _Call:
    """A call whose arguments are still coming, or which is being run."""

    item: McpCall
    index: int
    target: McpTarget
    arguments: list[str] = field(default_factory=list[str])
    running: bool = False


class McpOutput:
    """The MCP calls of a response.

    Args:
        output: That of the response.
        targets: What each function that is an MCP tool stands for.
        servers: Runs them, and keeps those that await approval.
    """

    def __init__(
        self, output: ResponseOutput, targets: Mapping[str, McpTarget], servers: McpServers
    ) -> None:
        self._output = output
        self._response_id = output.response_id
        self._targets = targets
        self._servers = servers
        self._streaming: dict[str, _Call] = {}
        self._approvals: dict[str, tuple[McpTarget, list[str]]] = {}
        self._running: dict[str, _Call] = {}
        self._ran_any = False

    def knows(self, name: str) -> bool:
        """Whether a function of the model is an MCP tool."""
        return name in self._targets

    def __contains__(self, call_id: str) -> bool:
        """Whether a call's arguments are still coming."""
        return call_id in self._streaming or call_id in self._approvals

    @property
    def running(self) -> bool:
        """Whether a tool is at work: the response is not over before its tools are."""
        return bool(self._running)

    def holds(self, item_id: str) -> bool:
        """Whether the item is a call that is not over."""
        return item_id in self._running or any(
            call.item.id == item_id for call in self._streaming.values()
        )

    def started(self, call_id: str, name: str) -> list[ServerEvent]:
        """The model began a call."""
        target = self._targets[name]
        if target.needs_approval:
            # Nothing is shown before all arguments are there: a client decides by them.
            self._approvals[call_id] = (target, [])
            return []
        item = McpCall(
            self._output.new_id("item"), target.server.server_label, target.tool_name, ""
        )
        call = _Call(item, self._output.take_index(), target)
        self._streaming[call_id] = call
        return self._output.add(item, call.index)

    def arguments(self, call_id: str, delta: str) -> list[ServerEvent]:
        """More of a call's argument JSON."""
        if call_id in self._approvals:
            self._approvals[call_id][1].append(delta)
            return []
        call = self._streaming[call_id]
        call.arguments.append(delta)
        return [McpArgumentsDelta(self._response_id, call.item.id, call.index, delta)]

    def ended(self, call_id: str) -> list[ServerEvent]:
        """A call's arguments are complete: have it run, or approved."""
        if call_id in self._approvals:
            target, pieces = self._approvals.pop(call_id)
            return self._ask(target, "".join(pieces))
        call = self._streaming.pop(call_id)
        arguments = "".join(call.arguments)
        call.item = replace(call.item, arguments=arguments)
        self._running[call.item.id] = call
        self._ran_any = True
        events: list[ServerEvent] = [
            McpArgumentsDone(self._response_id, call.item.id, call.index, arguments),
            McpCallInProgress(call.item.id, call.index),
        ]
        if not is_object(arguments):
            return events + self.finished(call.item.id, NOT_AN_OBJECT)
        self._servers.run(call.item, call.target)
        return events

    def _ask(self, target: McpTarget, arguments: str) -> list[ServerEvent]:
        """Show the arguments under the id of the call to come, and ask whether it may.

        openai-ruby's example of an approval expects both: it matches the later
        `response.mcp_call.completed` with this `arguments.done`.
        """
        call_item_id, index = self._output.new_id("item"), self._output.take_index()
        label, name = target.server.server_label, target.tool_name
        request = McpApprovalRequest(self._output.new_id("mcpr"), label, name, arguments)
        self._servers.ask(request, call_item_id, index, target)
        place = (self._response_id, call_item_id, index)
        return [
            *([McpArgumentsDelta(*place, arguments)] if arguments else []),
            McpArgumentsDone(*place, arguments),
            *self._output.add(request, index),
            *self._output.finish(request, index),
        ]

    def finished(self, item_id: str, outcome: str | McpError) -> list[ServerEvent]:
        """A tool has answered."""
        call = self._running.pop(item_id)
        return [
            outcome_event(item_id, call.index, outcome),
            *self._output.finish(with_outcome(call.item, outcome), call.index),
        ]

    def close(self, status: ResponseStatus, *, in_conversation: bool) -> list[ServerEvent]:
        """The response ends: nothing of it stays open."""
        events: list[ServerEvent] = []
        for call in [*self._running.values()]:
            self._servers.cancel(call.item.id)
            events += self.finished(call.item.id, CANCELLED)
        for call in self._streaming.values():
            item = replace(
                call.item,
                arguments="".join(call.arguments),
                error=CANCELLED,
                status="incomplete",
            )
            events += self._output.finish(item, call.index)
        self._streaming.clear()
        self._approvals.clear()
        if self._ran_any and in_conversation and status == "completed":
            self._servers.follow_up_wanted = True
        return events


def is_object(arguments: str) -> bool:
    """Whether a call's arguments are the JSON object that a tool takes; nothing is an empty one."""
    try:
        return isinstance(json.loads(arguments or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def outcome_event(item_id: str, index: int, outcome: str | McpError) -> ServerEvent:
    """`response.mcp_call.completed` or `.failed`."""
    if isinstance(outcome, str):
        return McpCallCompleted(item_id, index)
    return McpCallFailed(item_id, index)


def with_outcome(item: McpCall, outcome: str | McpError) -> McpCall:
    """The call as it is once it is over."""
    if isinstance(outcome, str):
        return replace(item, output=outcome, status="completed")
    return replace(item, error=outcome, status="completed")
