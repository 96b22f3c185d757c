"""MCP items as a language model knows them: function calls, each with a result or word of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.conversation import Entry
from core.mcp_tools import function_name
from protocol import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
)

AWAITING_APPROVAL = "The user has not yet been asked, or has not yet answered, whether it may run."
DECLINED = "The user did not allow this call."


def without_mcp_items(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with functions in the place of MCP items."""
    entries = list(entries)
    answers = {
        entry.item.approval_request_id: entry.item
        for entry in entries
        if isinstance(entry.item, McpApprovalResponse)
    }
    approved = {
        entry.item.approval_request_id for entry in entries if isinstance(entry.item, McpCall)
    }
    plain: list[Entry] = []
    for entry in entries:
        match entry.item:
            case McpListTools() | McpApprovalResponse():
                continue
            case McpCall() as call:
                plain += map(Entry, _call(call))
            case McpApprovalRequest() as request:
                if request.id not in approved:
                    plain += map(Entry, _request(request, answers.get(request.id)))
            case _:
                plain.append(entry)
    return plain


def _call(call: McpCall) -> Iterator[Item]:
    if call.status == "incomplete":
        return
    name = function_name(call.server_label, call.name)
    yield FunctionCall(call.id, call.id, name, call.arguments, "completed")
    if call.error is not None:
        yield FunctionCallOutput("", call.id, f"Error: {call.error.message}")
    elif call.output is not None:
        yield FunctionCallOutput("", call.id, call.output)


def _request(request: McpApprovalRequest, answer: McpApprovalResponse | None) -> Iterator[Item]:
    name = function_name(request.server_label, request.name)
    yield FunctionCall(request.id, request.id, name, request.arguments, "completed")
    if answer is None or answer.approve:
        yield FunctionCallOutput("", request.id, AWAITING_APPROVAL)
    else:
        reason = f" {answer.reason}" if answer.reason else ""
        yield FunctionCallOutput("", request.id, DECLINED + reason)
