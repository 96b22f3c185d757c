"""What a client knows of its session from the events it got, in either dialect."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]
ADDED = ("conversation.item.added", "conversation.item.created")


class Mirror:
    """The items and responses there are, and those there were; ids stay in the order they came."""

    def __init__(self, dialect: str, kind: str) -> None:
        self.dialect = dialect
        self.kind = kind
        self.session: Event = {}
        self.items: dict[str, Event] = {}
        self.deleted: dict[str, None] = {}
        self.calls: dict[str, str] = {}
        """Id of each call in the conversation, and of its item."""
        self.approvals: dict[str, None] = {}
        """Items that ask the client whether a tool may run."""
        self.live: dict[str, bool] = {}
        """Responses under way, and whether they are out of band."""
        self.ended: dict[str, None] = {}
        self.announced: str | None = None
        """The item of the speech that is going on."""
        self.closed: tuple[int, str] | None = None

    @property
    def active(self) -> bool:
        """Whether the default conversation has a response under way."""
        return not all(self.live.values())

    @property
    def out_of_band(self) -> int:
        """How many responses run beside it."""
        return sum(self.live.values())

    def take(self, event: Event) -> None:
        """Learn from one server event."""
        match event["type"]:
            case "conversation.item.added" | "conversation.item.created":
                self._added(event["item"])
            case "conversation.item.deleted":
                self._deleted(event["item_id"])
            case "response.created":
                response = event["response"]
                self.live[response["id"]] = response["conversation_id"] is None
            case "response.done":
                self.live.pop(event["response"]["id"], None)
                self.ended[event["response"]["id"]] = None
            case "input_audio_buffer.speech_started":
                self.announced = event["item_id"]
            case "input_audio_buffer.committed" | "input_audio_buffer.cleared":
                self.announced = None
            case kind if kind.endswith(("session.created", "session.updated")):
                self.session = event["session"]
            case _:
                pass

    def _added(self, item: Event) -> None:
        self.items[item["id"]] = item
        self.deleted.pop(item["id"], None)
        if item["type"] == "mcp_approval_request":
            self.approvals[item["id"]] = None
        if item["type"] == "function_call":
            self.calls[item["call_id"]] = item["id"]

    def _deleted(self, item_id: str) -> None:
        self.items.pop(item_id, None)
        self.deleted[item_id] = None
        self.calls = {call: owner for call, owner in self.calls.items() if owner != item_id}
