"""The output items of one response: their numbers, their events, and their place in the history."""

from __future__ import annotations

from collections.abc import Callable

from core.conversation import Conversation, Entry
from core.speech import SpeechTimeline
from protocol import Item, ItemAdded, ItemDone, OutputItemAdded, OutputItemDone, ServerEvent


class ResponseOutput:
    """What a response has put out so far.

    Args:
        response_id: Whose items they are.
        conversation: Where they go; None for an out-of-band response.
        new_id: Makes ids from a prefix.
    """

    def __init__(
        self,
        response_id: str,
        conversation: Conversation | None,
        new_id: Callable[[str], str],
    ) -> None:
        self.response_id = response_id
        self.new_id = new_id
        self._conversation = conversation
        self._finished: dict[int, Item] = {}
        self._next_index = 0

    @property
    def items(self) -> tuple[Item, ...]:
        """Those that are finished, by their index."""
        return tuple(self._finished[index] for index in sorted(self._finished))

    def take_index(self) -> int:
        """The next output index."""
        self._next_index += 1
        return self._next_index - 1

    def add(
        self, item: Item, index: int, speech: SpeechTimeline | None = None
    ) -> list[ServerEvent]:
        """Announce an item."""
        events: list[ServerEvent] = [OutputItemAdded(self.response_id, index, item)]
        if self._conversation is not None:
            previous = self._conversation.append(Entry(item, speech=speech))
            events.append(ItemAdded(previous, item))
        return events

    def finish(self, item: Item, index: int) -> list[ServerEvent]:
        """Close an item with what has become of it."""
        self._finished[index] = item
        events: list[ServerEvent] = []
        if self._conversation is not None:
            entry = self._conversation.get(item.id)
            assert entry is not None, "items of a live response are not deleted under it"
            entry.item = item
            # A client may have truncated it before its end; what was sent was sent nevertheless.
            entry.show_heard()
            events.append(ItemDone(self._conversation.previous_id(item.id), item))
        return [*events, OutputItemDone(self.response_id, index, item)]

    def new_call_id(self, call_id: str) -> str:
        """The model's own id, or a fresh one where it gave none or gave one it used before."""
        taken = self._conversation is not None and self._conversation.has_call(call_id)
        return self.new_id("call") if taken or not call_id else call_id

    def heard_until(self, item_id: str, heard_ms: float) -> None:
        """Playback of an item stopped there, unless the client has told better by truncating it."""
        entry = None if self._conversation is None else self._conversation.get(item_id)
        if entry is not None and entry.heard_ms is None:
            entry.heard_ms = heard_ms
