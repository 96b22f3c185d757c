"""What a client does to the items of the conversation, and what that means for both sides."""

from __future__ import annotations

from collections.abc import Callable

from core import items
from core.conversation import Conversation, Entry, Pending
from core.mcp import Mcp
from core.messages import Output
from core.responses import Responses
from core.transcripts import Transcripts
from protocol import (
    Item,
    ItemAdded,
    ItemCreate,
    ItemDelete,
    ItemDeleted,
    ItemDone,
    ItemRetrieve,
    ItemRetrieved,
    ItemTruncate,
    ItemTruncated,
    McpApprovalResponse,
)


class ItemEdits:
    """Carries out `conversation.item.*`; each method refuses with `InvalidRequest`.

    Args:
        conversation: The default conversation.
        transcripts: Finds the words of created audio.
        responses: May be making, or waiting for, an item that is deleted.
        mcp: Takes a client's answers about tools.
        audio_limit_bytes: How much audio the items may hold.
        new_id: Makes a unique id from a prefix.
    """

    def __init__(
        self,
        conversation: Conversation,
        transcripts: Transcripts,
        responses: Responses,
        mcp: Mcp,
        audio_limit_bytes: int,
        new_id: Callable[[str], str],
    ) -> None:
        self._conversation = conversation
        self._transcripts = transcripts
        self._responses = responses
        self._mcp = mcp
        self._audio_limit_bytes = audio_limit_bytes
        self._new_id = new_id

    def create(self, event: ItemCreate, now: float) -> list[Output]:
        """`conversation.item.create`."""
        item = self._checked(event.item)
        entry = items.new_entry(item)
        previous = self._insert(entry, event.previous_item_id)
        self._conversation.drop_audio_beyond(self._audio_limit_bytes)
        outputs: list[Output] = [ItemAdded(previous, item), ItemDone(previous, item)]
        if isinstance(item, McpApprovalResponse):
            outputs += self._mcp.decided(item)
        if isinstance(entry.transcript, Pending):
            outputs += self._transcripts.recognise(item, now)
        return outputs

    def retrieve(self, event: ItemRetrieve) -> list[Output]:
        """`conversation.item.retrieve`."""
        return [ItemRetrieved(self._entry(event.item_id, "retrieve").item)]

    def delete(self, event: ItemDelete, now: float) -> list[Output]:
        """`conversation.item.delete`."""
        entry = self._entry(event.item_id, "delete")
        outputs: list[Output] = []
        active = self._responses.live.active
        if active is not None and active.holds(event.item_id):
            outputs += self._responses.stop(active, "client_cancelled", now)
        outputs += self._mcp.deleting(event.item_id)
        self._conversation.remove(event.item_id)
        if isinstance(entry.transcript, Pending):
            outputs += self._transcripts.forget(event.item_id)
            outputs += self._responses.item_gone(event.item_id, now)
        return [*outputs, ItemDeleted(event.item_id)]

    def truncate(self, event: ItemTruncate) -> list[Output]:
        """`conversation.item.truncate`."""
        entry = self._entry(event.item_id, "truncate")
        end_ms = items.truncate(entry, event.content_index, event.audio_end_ms)
        return [ItemTruncated(event.item_id, event.content_index, end_ms)]

    def _entry(self, item_id: str, verb: str) -> Entry:
        entry = self._conversation.get(item_id)
        if entry is None:
            raise items.unknown_item(item_id, verb)
        return entry

    def _checked(self, item: Item) -> Item:
        """An item as it is created: with all its ids, and none that is taken."""
        items.check_id(item)
        item = items.with_ids(item, self._new_id)
        if item.id in self._conversation or self._transcripts.is_announced(item.id):
            raise items.duplicate_item(item.id)
        items.check_call(item, self._conversation)
        if isinstance(item, McpApprovalResponse):
            self._mcp.servers.check_approval(item)
        return item

    def _insert(self, entry: Entry, after: str | None) -> str | None:
        """Put an item behind another, at the end for None; returns the predecessor's id."""
        if not after:
            return self._conversation.append(entry)
        if after == "root":
            return self._conversation.insert(entry, None)
        if after not in self._conversation:
            raise items.unknown_previous(after)
        return self._conversation.insert(entry, after)
