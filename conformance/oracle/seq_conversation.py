"""Sequence rules of the conversation: each item is added and done once, in the order it claims."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.oracle.schema import WireEvent
from conformance.oracle.seq_responses import Report


@dataclass(frozen=True, slots=True)
class _Request:
    """A `conversation.item.create` of the client that has not been answered yet."""

    event_id: str | None
    item_id: str | None
    kind: tuple[str, str | None]
    after: str | None


class Conversation:
    """The item list, rebuilt from `previous_item_id` alone.

    Args:
        report: Called with the rule's letter and what was wrong.
        has_item_done: Whether the dialect has `conversation.item.done`.
    """

    def __init__(self, report: Report, *, has_item_done: bool) -> None:
        self._report = report
        self._has_item_done = has_item_done
        self._order: list[str] = []
        self._added: dict[str, WireEvent] = {}
        self._open: dict[str, str | None] = {}
        self._requests: list[_Request] = []

    @property
    def tail(self) -> str | None:
        return self._order[-1] if self._order else None

    def was_added(self, item_id: str) -> bool:
        return item_id in self._added

    def requested(self, event: WireEvent) -> None:
        """The client sent a `conversation.item.create`."""
        item = event.get("item") or {}
        self._requests.append(
            _Request(
                event.get("event_id"),
                item.get("id") or None,
                (item.get("type", "message"), item.get("role")),
                event.get("previous_item_id") or None,
            )
        )

    def refused(self, client_event_id: str) -> None:
        """The server answered that client event with an error."""
        self._requests = [r for r in self._requests if r.event_id != client_event_id]

    def added(self, event: WireEvent, expected: set[str | None] | None) -> None:
        """`conversation.item.added` (beta `created`).

        Args:
            event: The event under its GA name.
            expected: The predecessors that would be right; None for an item the server did not
                make itself: then the client's own request says where it belongs.
        """
        item, previous = event["item"], event["previous_item_id"]
        item_id = item["id"]
        if item_id in self._order:
            self._report("e", f"second conversation.item.added of {item_id}")
            return
        if expected is None:
            expected = self._as_requested(item, previous)
        if previous not in expected:
            self._report(
                "h", f"{item_id} claims to follow {previous}, not {sorted(map(str, expected))}"
            )
        if previous is not None and previous not in self._order:
            self._report("h", f"{item_id} claims to follow {previous}, which is not in the list")
            previous = self.tail
        self._order.insert(self._order.index(previous) + 1 if previous else 0, item_id)
        self._added[item_id] = item
        if self._has_item_done:
            self._open[item_id] = event["previous_item_id"]

    def done(self, event: WireEvent, *, is_output: bool) -> None:
        """`conversation.item.done`; an item the client made must come back unchanged."""
        item_id = event["item"]["id"]
        if item_id not in self._open:
            what = "second" if item_id in self._added else "unannounced"
            self._report("e", f"{what} conversation.item.done of {item_id}")
            return
        # An insertion or deletion ahead of an item in progress moves its predecessor, so both
        # the place it was added at and the place it has now are true.
        places = {self._open.pop(item_id)}
        if item_id in self._order:
            index = self._order.index(item_id)
            places.add(self._order[index - 1] if index else None)
            if event["previous_item_id"] not in places:
                self._report("h", f"{item_id} done after {event['previous_item_id']}, not {places}")
        grows = event["item"]["type"] in ("mcp_list_tools", "mcp_call")
        if not (is_output or grows) and event["item"] != self._added[item_id]:
            self._report("e", f"{item_id} changed between added and done")

    def named(self, event: WireEvent) -> None:
        """An event that is about an item of the list: retrieved, truncated or deleted."""
        item_id = event["item"]["id"] if "item" in event else event["item_id"]
        if item_id not in self._order:
            self._report("h", f"{event['type']} of {item_id}, which is not in the list")
        elif event["type"] == "conversation.item.deleted":
            self._order.remove(item_id)

    def finish(self) -> None:
        for item_id in self._open:
            self._report("e", f"{item_id} never got its conversation.item.done")

    def _as_requested(self, item: WireEvent, previous: str | None) -> set[str | None]:
        """Where the client wanted this item; at the end when nobody asked for it."""
        kind = (item["type"], item.get("role"))
        by_id = [r for r in self._requests if r.item_id == item["id"]]
        candidates = by_id or [r for r in self._requests if r.item_id is None and r.kind == kind]
        places = [self._place(request) for request in candidates]
        if previous in places:
            self._requests.remove(candidates[places.index(previous)])
        return set(places) or {self.tail}

    def _place(self, request: _Request) -> str | None:
        if request.after is None:
            return self.tail
        return None if request.after == "root" else request.after
