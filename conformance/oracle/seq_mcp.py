"""Sequence rules of MCP: listings and calls are begun, have one outcome, and only then are done."""

from __future__ import annotations

from dataclasses import dataclass, field

from conformance.oracle.schema import WireEvent
from conformance.oracle.seq_responses import Report

LETTER = "n"


@dataclass(slots=True)
class _Work:
    """A listing or a call as its events tell it."""

    steps: list[str] = field(default_factory=list[str])
    deltas: list[str] = field(default_factory=list[str])
    arguments: str | None = None
    done: bool = False


class Mcp:
    """All listings and calls of one connection.

    The arguments of a call that needs approval come before its item: they are held against the
    item that joins once the client has approved.

    Args:
        report: Called with the rule's letter and what was wrong.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._work: dict[str, _Work] = {}

    def added(self, item: WireEvent) -> None:
        """An item joined the conversation, or a response."""
        if item["type"] in ("mcp_call", "mcp_list_tools"):
            self._work.setdefault(item["id"], _Work())
        if item["type"] == "mcp_list_tools" and item["tools"]:
            self._report(LETTER, f"{item['id']} lists tools before its server has answered")

    def server(self, event: WireEvent) -> None:
        """Take one `mcp_list_tools.*` or `response.mcp_*` event."""
        item_id = event["item_id"]
        family, _, step = event["type"].rpartition(".")
        if family == "response.mcp_call_arguments":
            self._arguments(self._work.setdefault(item_id, _Work()), item_id, event)
            return
        work = self._work.get(item_id)
        if work is None:
            self._report(LETTER, f"{event['type']} of {item_id}, which was not added")
            return
        expected = [] if step == "in_progress" else ["in_progress"]
        if work.steps != expected or work.done:
            self._report(LETTER, f"{event['type']} of {item_id} after {work.steps}")
        work.steps.append(step)

    def _arguments(self, work: _Work, item_id: str, event: WireEvent) -> None:
        if work.arguments is not None or work.steps:
            self._report(LETTER, f"{event['type']} of {item_id} after its arguments.done")
        elif "delta" in event:
            work.deltas.append(event["delta"])
        else:
            work.arguments = event["arguments"]
            if work.arguments != "".join(work.deltas):
                self._report(LETTER, f"arguments.done of {item_id} is not the sum of its deltas")

    def done(self, item: WireEvent) -> None:
        """An item is final."""
        work = self._work.get(item["id"])
        if work is None or work.done:
            return
        work.done = True
        if item["type"] == "mcp_list_tools":
            self._check_steps(item["id"], work)
            if item["tools"] and work.steps[-1:] == ["failed"]:
                self._report(LETTER, f"{item['id']} failed and lists tools")
        elif item["type"] == "mcp_call":
            self._check_call(item, work)

    def _check_steps(self, item_id: str, work: _Work) -> None:
        if len(work.steps) != 2:
            self._report(LETTER, f"{item_id} is done after {work.steps}, without an outcome")

    def _check_call(self, item: WireEvent, work: _Work) -> None:
        if item["arguments"] != "".join(work.deltas):
            self._report(LETTER, f"arguments of {item['id']} are not its deltas")
        has_output, has_error = item.get("output") is not None, item.get("error") is not None
        if has_output == has_error:
            self._report(LETTER, f"{item['id']} is done with neither or both of output and error")
        if work.arguments is None:
            return  # It was broken off before it could begin.
        self._check_steps(item["id"], work)
        if work.steps[-1:] != ["completed" if has_output else "failed"]:
            self._report(LETTER, f"{item['id']} ended as {work.steps}, unlike its item")
