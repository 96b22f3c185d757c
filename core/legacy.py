"""The events that the types still name and OpenAI no longer sends (`LEGACY_EVENTS`)."""

from __future__ import annotations

from collections.abc import Sequence

from core.messages import Output
from protocol import ConversationCreated, ItemAdded, ItemCreated, SessionCreated


def with_legacy_events(outputs: Sequence[Output], conversation_id: str) -> list[Output]:
    """The outputs with `conversation.created` and `conversation.item.created` where they were.

    A transcription session has no conversation to speak of, and gets the second alone.
    """
    told: list[Output] = []
    for output in outputs:
        told.append(output)
        match output:
            case SessionCreated(view) if view.settings.type == "realtime":
                told.append(ConversationCreated(conversation_id))
            case ItemAdded():
                told.append(ItemCreated(output.previous_item_id, output.item))
            case _:
                pass
    return told
