"""The default conversation: which items there are, in what order, and what a model sees of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from core.speech import SpeechTimeline
from protocol import FunctionCall, InputAudio, Item, Message, OutputAudio


@dataclass(frozen=True, slots=True)
class Pending:
    """The words of a user's audio are on their way."""


@dataclass(frozen=True, slots=True)
class Known:
    """The words of a user's audio; the wire may not have been told."""

    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The words of a user's audio will never be known."""


Transcript = Pending | Known | Unknown


@dataclass(slots=True)
class Entry:
    """An item and what the wire does not show of it.

    `transcript` is set for user audio; `speech` and `heard_ms` for assistant audio, `heard_ms` once
    it is known that playback stopped early, `cut_ms` once its audio was truncated: what lies behind
    is gone. `audio_ms` is how long a user spoke, and stays when the audio itself is dropped. What
    is `forgotten` was cut off a long conversation: clients still see it, models do not.
    """

    item: Item
    transcript: Transcript | None = None
    speech: SpeechTimeline | None = None
    heard_ms: float | None = None
    cut_ms: float | None = None
    audio_ms: float = 0.0
    forgotten: bool = False

    @property
    def heard_text(self) -> str | None:
        """What the user heard of an assistant's audio, None when all of it."""
        if self.speech is None or self.heard_ms is None:
            return None
        return self.speech.text_until(self.heard_ms)

    def show_heard(self) -> None:
        """Let a finished assistant message say no more than what the user heard of it."""
        text, item = self.heard_text, self.item
        if text is not None and isinstance(item, Message) and item.status != "in_progress":
            self.item = dataclasses.replace(item, content=(OutputAudio(text),))


class Conversation:
    """An ordered list of entries with unique ids; edits are list edits."""

    __slots__ = ("_entries", "_order", "id")

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self._entries: dict[str, Entry] = {}
        self._order: list[str] = []

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[item_id] for item_id in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def get(self, item_id: str) -> Entry | None:
        """The entry with this id."""
        return self._entries.get(item_id)

    @property
    def last_id(self) -> str | None:
        """Id of the newest item in order."""
        return self._order[-1] if self._order else None

    def previous_id(self, item_id: str) -> str | None:
        """Id of the item before this one, None for the first."""
        index = self._order.index(item_id)
        return self._order[index - 1] if index else None

    def append(self, entry: Entry) -> str | None:
        """Add at the end; returns the predecessor's id."""
        previous = self.last_id
        self._entries[entry.item.id] = entry
        self._order.append(entry.item.id)
        return previous

    def insert(self, entry: Entry, after: str | None) -> str | None:
        """Add behind the item `after`, at the front for None; returns the predecessor's id."""
        index = 0 if after is None else self._order.index(after) + 1
        self._entries[entry.item.id] = entry
        self._order.insert(index, entry.item.id)
        return after

    def remove(self, item_id: str) -> None:
        """Forget an item."""
        del self._entries[item_id]
        self._order.remove(item_id)

    def has_call(self, call_id: str) -> bool:
        """Whether a function call with this id is in the conversation."""
        items = (entry.item for entry in self)
        return any(isinstance(item, FunctionCall) and item.call_id == call_id for item in items)

    @property
    def has_assistant_audio(self) -> bool:
        """Whether the model has been heard: its voice is fixed from then on."""
        return any(
            isinstance(part, OutputAudio)
            for entry in self
            if isinstance(entry.item, Message) and entry.item.role == "assistant"
            for part in entry.item.content
        )

    def drop_audio_beyond(self, limit_bytes: int) -> None:
        """Keep at most `limit_bytes` of users' audio, forgetting the oldest first."""
        kept = 0
        for item_id in reversed(self._order):
            entry = self._entries[item_id]
            if not isinstance(entry.item, Message):
                continue
            kept += sum(
                len(p.audio) for p in entry.item.content if isinstance(p, InputAudio) and p.audio
            )
            if kept > limit_bytes:
                entry.item = _without_audio(entry.item)


def _without_audio(item: Message) -> Message:
    content = tuple(
        InputAudio(part.transcript) if isinstance(part, InputAudio) else part
        for part in item.content
    )
    return dataclasses.replace(item, content=content)
