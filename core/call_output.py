"""The function calls of a response: streamed to the client, whose they are to run."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.response_output import ResponseOutput
from protocol import (
    FunctionArgumentsDelta,
    FunctionArgumentsDone,
    FunctionCall,
    ItemStatus,
    ServerEvent,
)


@dataclass(slots=True)
class _Call:
    """A call whose arguments are still coming; `call_id` is what the client knows it by."""

    item_id: str
    index: int
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list[str])

    def item(self, status: ItemStatus) -> FunctionCall:
        arguments = "".join(self.arguments)
        return FunctionCall(self.item_id, self.call_id, self.name, arguments, status)


class CallOutput:
    """The calls, by the ids that the model gave them.

    Args:
        output: That of the response.
    """

    def __init__(self, output: ResponseOutput) -> None:
        self._output = output
        self._calls: dict[str, _Call] = {}

    def __contains__(self, call_id: str) -> bool:
        """Whether a call's arguments are still coming."""
        return call_id in self._calls

    def holds(self, item_id: str) -> bool:
        """Whether the item is one of those."""
        return any(call.item_id == item_id for call in self._calls.values())

    def started(self, call_id: str, name: str) -> list[ServerEvent]:
        """The model began a call."""
        output = self._output
        call = _Call(output.new_id("item"), output.take_index(), output.new_call_id(call_id), name)
        self._calls[call_id] = call
        return output.add(call.item("in_progress"), call.index)

    def arguments(self, call_id: str, delta: str) -> list[ServerEvent]:
        """More of a call's argument JSON."""
        call = self._calls[call_id]
        call.arguments.append(delta)
        place = (self._output.response_id, call.item_id, call.index, call.call_id)
        return [FunctionArgumentsDelta(*place, delta)]

    def ended(self, call_id: str) -> list[ServerEvent]:
        """A call's arguments are complete."""
        call = self._calls.pop(call_id)
        item = call.item("completed")
        place = (self._output.response_id, call.item_id, call.index, call.call_id)
        return [
            FunctionArgumentsDone(*place, call.name, item.arguments),
            *self._output.finish(item, call.index),
        ]

    def close(self) -> list[ServerEvent]:
        """Close calls that never got all their arguments.

        Without `arguments.done`: some clients run the tool on it, whatever the item's status.
        """
        events: list[ServerEvent] = []
        for call in self._calls.values():
            events += self._output.finish(call.item("incomplete"), call.index)
        self._calls.clear()
        return events
