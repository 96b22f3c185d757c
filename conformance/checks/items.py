"""Checks of the conversation's items: create, place, retrieve, delete, truncate."""

from __future__ import annotations

from typing import Any

from conformance.checks.prompts import AUDIO, COUNT, SHORT, TEXT
from conformance.client import Client
from conformance.lab import Lab
from conformance.names import content_type
from conformance.oracle import WireEvent
from conformance.registry import check, expect

_CLAMP = "clients rule 13; peers §4 (6)"


def _typed(text: str, role: str = "user", **fields: Any) -> WireEvent:
    kind = "input_text" if role != "assistant" else fields.pop("kind")
    content = [{"type": kind, "text": text}]
    return {"type": "message", "role": role, "content": content, **fields}


async def _refused(client: Client, event: WireEvent) -> WireEvent:
    return await client.refused(client.send(event))


async def _retrieved(client: Client, item_id: str) -> WireEvent:
    await client.send({"type": "conversation.item.retrieve", "item_id": item_id})
    event = await client.wait(
        "conversation.item.retrieved", where=lambda e: e["item"].get("id") == item_id
    )
    return event["item"]


async def _spoken(client: Client) -> WireEvent:
    """An assistant item with audio."""
    reply = await client.ask(COUNT, **AUDIO)
    return next(item for item in reply.final["output"] if item["type"] == "message")


@check(
    "items",
    "a created item is announced, and done in the GA dialect, with its content",
    source="protocol §4.13; clients rule 8",
)
async def create_is_announced(lab: Lab) -> None:
    async with lab.session() as client:
        item = await client.say(SHORT)
        expect(item["content"][0].get("text") == SHORT, "The item came back changed.", item)
        expect(item.get("status") == "completed", "The item is not completed.", item)
        if lab.dialect == "ga":
            done = await client.wait("conversation.item.done")
            expect(done["item"] == item, "conversation.item.done carries another item.", done)


@check("items", "an id the client chose is kept", source="protocol §2, §4.13")
async def client_ids_are_kept(lab: Lab) -> None:
    async with lab.session() as client:
        item = await client.add(_typed(SHORT, id="my_own_item"))
        expect(item["id"] == "my_own_item", "The item got another id.", item)


@check(
    "items", "`root` puts an item in front, an id behind its item", source="protocol §2.1, §4.13"
)
async def items_are_placed(lab: Lab) -> None:
    async with lab.session() as client:
        last = await client.say("First said.")
        front = await client.add_event(_typed("In front."), previous_item_id="root")
        expect(front["previous_item_id"] is None, "The item is not the first.", front)
        behind = await client.add_event(_typed("Behind."), previous_item_id=front["item"]["id"])
        expect(behind["previous_item_id"] == front["item"]["id"], "It stands elsewhere.", behind)
        appended = await client.add_event(_typed("Last."))
        expect(
            appended["previous_item_id"] == last["id"],
            "The item appended last does not follow the one said first.",
            appended,
        )


@check("items", "an item after an unknown one is refused, and not added", source="protocol §5")
async def unknown_predecessor(lab: Lab) -> None:
    async with lab.session() as client:
        event = {
            "type": "conversation.item.create",
            "previous_item_id": "item_nowhere",
            "item": _typed(SHORT, id="never_there"),
        }
        error = await _refused(client, event)
        expect(
            error.get("code") == "item_create_invalid_previous_item_id",
            f"The code is {error.get('code')!r}.",
            error,
        )
        added = client.of("conversation.item.added")
        expect(not added, "The refused item was added.", added)


@check(
    "items", "a second item of the same id is refused", source="protocol §4.13", level="recommended"
)
async def duplicate_id(lab: Lab) -> None:
    async with lab.session() as client:
        await client.add(_typed(SHORT, id="twice"))
        event = {"type": "conversation.item.create", "item": _typed("Again.", id="twice")}
        await _refused(client, event)


@check(
    "items",
    "system messages and assistant history may be added at any time",
    source="protocol §2.6; clients rule 13",
)
async def other_roles(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        await client.ask(SHORT)
        await client.add(_typed("Speak like a sailor.", "system"))
        kind = content_type(lab.dialect, "text")
        item = await client.add(_typed("Aye.", "assistant", kind=kind))
        expect(item["content"][0].get("text") == "Aye.", "The item came back changed.", item)


@check(
    "items",
    "retrieve gives the whole item",
    source="protocol §4.13, §4.17; clients rule 13",
)
async def retrieve(lab: Lab) -> None:
    async with lab.session() as client:
        said = await client.say(SHORT)
        item = await _retrieved(client, said["id"])
        expect(item == said, "The item is not the one that was added.", item)


@check("items", "retrieve of an unknown item is refused by its code", source="protocol §5")
async def retrieve_unknown(lab: Lab) -> None:
    async with lab.session() as client:
        error = await _refused(
            client, {"type": "conversation.item.retrieve", "item_id": "item_nowhere"}
        )
        expect(
            error.get("code") == "item_retrieve_invalid_item_id",
            f"The code is {error.get('code')!r}.",
            error,
        )


@check("items", "delete is acknowledged, and the item is gone", source="protocol §4.13")
async def delete(lab: Lab) -> None:
    async with lab.session() as client:
        item = await client.say(SHORT)
        await client.send({"type": "conversation.item.delete", "item_id": item["id"]})
        event = await client.wait("conversation.item.deleted")
        expect(event["item_id"] == item["id"], "It names another item.", event)
        await _refused(client, {"type": "conversation.item.retrieve", "item_id": item["id"]})


@check("items", "delete of an unknown item is refused by its code", source="protocol §5")
async def delete_unknown(lab: Lab) -> None:
    async with lab.session() as client:
        error = await _refused(
            client, {"type": "conversation.item.delete", "item_id": "item_nowhere"}
        )
        expect(
            error.get("code") == "item_delete_invalid_item_id",
            f"The code is {error.get('code')!r}.",
            error,
        )


async def _truncate(client: Client, item_id: str, audio_end_ms: float) -> WireEvent:
    await client.send(
        {
            "type": "conversation.item.truncate",
            "item_id": item_id,
            "content_index": 0,
            "audio_end_ms": audio_end_ms,
        }
    )
    answer = await client.wait("conversation.item.truncated", "error")
    expect(answer["type"] != "error", "The truncation was refused.", answer)
    expect(answer["item_id"] == item_id, "It names another item.", answer)
    return answer


@check(
    "items",
    "truncate is acknowledged",
    source="protocol §4.8, §4.13; peers §3b (accepted and never acknowledged)",
)
async def truncate(lab: Lab) -> None:
    async with lab.session() as client:
        item = await _spoken(client)
        answer = await _truncate(client, item["id"], 300)
        expect(answer["audio_end_ms"] == 300, "The position changed.", answer)


@check(
    "items",
    "truncate past the end of the audio is clamped, not refused: an error has muted whole sessions",
    source=_CLAMP,
    level="recommended",
)
async def truncate_past_the_end(lab: Lab) -> None:
    async with lab.session() as client:
        item = await _spoken(client)
        await _truncate(client, item["id"], 3_600_000)
        reply = await client.ask(SHORT, **TEXT)
        expect(reply.final["status"] == "completed", "The next reply failed.", reply.final)


@check("items", "truncate at a fraction of a ms is taken", source=_CLAMP, level="recommended")
async def truncate_at_a_fraction(lab: Lab) -> None:
    async with lab.session() as client:
        item = await _spoken(client)
        await _truncate(client, item["id"], 250.5)


@check(
    "items",
    "truncate keeps the words that were heard: a part of them, neither none nor all",
    source="peers §3b (the whole part blanked, or kept)",
    level="recommended",
)
async def truncate_keeps_what_was_heard(lab: Lab) -> None:
    async with lab.session() as client:
        reply = await client.ask(COUNT, **AUDIO)
        item = reply.final["output"][0]
        said = item["content"][0]["transcript"]
        await _truncate(client, item["id"], reply.audio_bytes // 48 // 2)
        part = (await _retrieved(client, item["id"]))["content"][0]
        kept = part.get("transcript") or ""
        expect(
            kept and kept != said and said.startswith(kept.rstrip(" …")),
            f"Of {said!r} it keeps {kept!r} after half of the audio.",
            part,
        )


@check(
    "items",
    "truncate of an item without audio, or none, is refused",
    source="protocol §4.13, §5",
)
async def truncate_refused(lab: Lab) -> None:
    async with lab.session() as client:
        said = await client.say(SHORT)
        for item_id in (said["id"], "item_nowhere"):
            event = {
                "type": "conversation.item.truncate",
                "item_id": item_id,
                "content_index": 0,
                "audio_end_ms": 100,
            }
            await _refused(client, event)
