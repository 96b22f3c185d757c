"""What may be done to single items: creating, naming, truncating, transcribing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from core.conversation import Conversation, Entry, Known, Pending
from core.speech import BYTES_PER_MS
from core.validation import quoted
from protocol import (
    SAMPLE_RATE_HZ,
    ErrorCode,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InvalidRequest,
    Item,
    Message,
)

_UNKNOWN = {
    "delete": (ErrorCode.ITEM_DELETE_UNKNOWN, "deleting"),
    "retrieve": (ErrorCode.ITEM_RETRIEVE_UNKNOWN, "retrieving"),
    "truncate": (ErrorCode.ITEM_TRUNCATE_UNKNOWN, "truncating"),
}


def unknown_item(item_id: str, verb: str) -> InvalidRequest:
    """The error for an operation on an item that is not there."""
    code, gerund = _UNKNOWN[verb]
    return InvalidRequest(
        code, f"Error {gerund} item: the item with id {quoted(item_id)} does not exist."
    )


def unknown_previous(item_id: str) -> InvalidRequest:
    """The error for an insertion behind an item that is not there."""
    return InvalidRequest(
        ErrorCode.ITEM_CREATE_UNKNOWN_PREVIOUS,
        f"Error adding item: the previous item with id {quoted(item_id)} does not exist.",
    )


def duplicate_item(item_id: str) -> InvalidRequest:
    """The error for a client id that is taken; OpenAI appends a second item, which is a bug."""
    return InvalidRequest(
        ErrorCode.INVALID_VALUE,
        f"Error adding item: an item with id {quoted(item_id)} already exists. Use another id.",
        "item.id",
    )


def check_id(item: Item) -> None:
    """Refuse an id that means something else.

    Raises:
        InvalidRequest: `root` is the place in front of all items.
    """
    if item.id == "root":
        raise InvalidRequest(
            ErrorCode.INVALID_VALUE,
            "Invalid value: 'root'. It names the beginning of the conversation. Use another id.",
            "item.id",
        )


def with_ids(item: Item, new_id: Callable[[str], str]) -> Item:
    """The item with ids for those the client left out."""
    if not item.id:
        item = replace(item, id=new_id("item"))
    if isinstance(item, FunctionCall) and not item.call_id:
        item = replace(item, call_id=new_id("call"))
    return item


def check_call(item: Item, conversation: Conversation) -> None:
    """Refuse an output whose call is not in the conversation.

    Raises:
        InvalidRequest: naming `item.call_id`.
    """
    if not isinstance(item, FunctionCallOutput):
        return
    if not conversation.has_call(item.call_id):
        raise InvalidRequest(
            ErrorCode.INVALID_VALUE,
            f"Invalid value: {quoted(item.call_id)}. There is no function call with this id in the "
            "conversation.",
            "item.call_id",
        )


def new_entry(item: Item) -> Entry:
    """The entry of a created item; its audio is still to be understood unless it brings words."""
    entry = Entry(item, audio_ms=len(audio_of(item)) / BYTES_PER_MS)
    if isinstance(item, Message) and item.role == "user" and audio_of(item):
        known = [p.transcript for p in item.content if isinstance(p, InputAudio) and p.transcript]
        entry.transcript = Known(" ".join(known)) if known else Pending()
    return entry


def audio_of(item: Item) -> bytes:
    """All audio of a user's item, s16le mono 24 kHz."""
    if not isinstance(item, Message):
        return b""
    return b"".join(p.audio for p in item.content if isinstance(p, InputAudio) and p.audio)


def audio_part(item: Item) -> tuple[int, int]:
    """Index of the first audio part and the seconds of audio, rounded up as OpenAI bills them."""
    index = 0
    if isinstance(item, Message):
        index = next((i for i, p in enumerate(item.content) if isinstance(p, InputAudio)), 0)
    return index, math.ceil(len(audio_of(item)) / (2 * SAMPLE_RATE_HZ))


def with_transcript(item: Item, text: str) -> Item:
    """The item with its first audio part showing these words."""
    if not isinstance(item, Message):
        return item
    index, _ = audio_part(item)
    content = tuple(
        InputAudio(text, part.audio) if i == index and isinstance(part, InputAudio) else part
        for i, part in enumerate(item.content)
    )
    return replace(item, content=content)


def truncate(entry: Entry, content_index: int, audio_end_ms: float) -> int:
    """Cut an assistant's audio where playback stopped; returns the milliseconds kept.

    An end that is fractional, negative or beyond the audio is clamped: elsewhere an error here has
    muted whole sessions.

    Raises:
        InvalidRequest: the item has no assistant audio, or no such part.
    """
    item = entry.item
    if entry.speech is None or not isinstance(item, Message) or item.role != "assistant":
        raise InvalidRequest(
            ErrorCode.UNSUPPORTED_CONTENT_TYPE, "Only model output audio messages can be truncated"
        )
    if content_index != 0:
        raise InvalidRequest(
            ErrorCode.INVALID_VALUE,
            f"Invalid value: {content_index}. The item has one content part, with index 0.",
            "content_index",
        )
    there_ms = entry.speech.audio_ms if entry.cut_ms is None else entry.cut_ms
    end_ms = min(max(audio_end_ms, 0.0), there_ms)
    entry.heard_ms = entry.cut_ms = end_ms
    entry.show_heard()
    return int(end_ms)
