"""Conversation items: created where asked, retrieved, deleted and truncated."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.e2e.gateway import HELLO, STORY, Gateway, tone
from tests.e2e.wire import (
    AUDIO,
    TEXT,
    added,
    ask,
    begin,
    content_type,
    ended,
    lives,
    named,
    refusal,
    respond,
    retrieve,
)
from tests.harness import BYTES_PER_MS, RealtimeClient
from tests.oracle import WireEvent

pytestmark = pytest.mark.asyncio(loop_scope="session")


def message(text: str, role: str = "user", **members: Any) -> WireEvent:
    kind = "text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text}]
    return {"type": "message", "role": role, "content": content, **members}


async def create(client: RealtimeClient, item: WireEvent, **members: Any) -> WireEvent:
    """Create an item; the event that says it was added."""
    await client.send({"type": "conversation.item.create", "item": item, **members})
    return await added(client, **({"id": item["id"]} if "id" in item else {}))


async def create_three(client: RealtimeClient) -> None:
    for item_id in ("a", "b", "c"):
        await create(client, message(item_id, id=item_id))


# --- create -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "previous"),
    [
        ({}, "c"),
        ({"previous_item_id": None}, "c"),
        ({"previous_item_id": ""}, "c"),
        ({"previous_item_id": "root"}, None),
        ({"previous_item_id": "a"}, "a"),
        ({"previous_item_id": "c"}, "c"),
    ],
)
async def test_an_item_goes_where_it_is_asked_to(
    client: RealtimeClient, place: dict[str, Any], previous: str | None
) -> None:
    await create_three(client)
    event = await create(client, message("here", id="new"), **place)
    assert (event["previous_item_id"], event["item"]["id"]) == (previous, "new")
    assert event["item"]["status"] == "completed"
    # The model reads the items in this order: the last user message is what is echoed.
    heard = {None: "c", "a": "c", "c": "here"}[previous]
    assert (await respond(client, **TEXT)).text == f"You said: {heard}."


async def test_the_server_names_items_without_an_id(client: RealtimeClient) -> None:
    first = await create(client, message("one"))
    second = await create(client, message("two"))
    assert first["item"]["id"].startswith("item_")
    assert second["previous_item_id"] == first["item"]["id"] != second["item"]["id"]


@pytest.mark.parametrize(
    ("members", "item", "code", "param"),
    [
        ({"previous_item_id": "x"}, message("m"), "item_create_invalid_previous_item_id", None),
        ({}, message("m", id="b"), "invalid_value", "item.id"),
        ({}, message("m", role="developer"), "invalid_value", "item.role"),
        ({}, {"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
        ({}, {"type": "sticker"}, "invalid_value", "item.type"),
        (
            {},
            {"type": "function_call_output", "call_id": "call_x", "output": "1"},
            "invalid_value",
            "item.call_id",
        ),
        (
            {},
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_audio", "audio": "%%%"}],
            },
            "invalid_value",
            "item.content[0].audio",
        ),
    ],
)
async def test_an_impossible_item_changes_nothing(
    client: RealtimeClient, members: WireEvent, item: WireEvent, code: str, param: str | None
) -> None:
    await create_three(client)
    event_id = await client.send({"type": "conversation.item.create", "item": item, **members})
    error = await refusal(client, event_id)
    assert (error["code"], error["param"]) == (code, param)
    assert (await create(client, message("d")))["previous_item_id"] == "c"


async def test_system_items_may_come_in_mid_session(client: RealtimeClient) -> None:
    await ask(client, "good day", **TEXT)
    await create(client, message("You are a pirate.", role="system"))
    assert (await respond(client, **TEXT)).text == "Arr, good day."


async def test_a_conversation_can_be_replayed(client: RealtimeClient, dialect: Any) -> None:
    await create(client, message("good day"))
    replied = await create(client, message("Good day to you.", role="assistant"))
    assert replied["item"]["content"] == [
        {"type": content_type(dialect, "text"), "text": "Good day to you."}
    ]
    await create(client, message("and now"))
    assert (await respond(client, **TEXT)).text == "You said: and now."


async def test_a_spoken_item_is_understood_before_it_is_answered(
    client: RealtimeClient, hello: bytes
) -> None:
    audio = base64.b64encode(hello).decode()
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_audio", "audio": audio}],
    }
    event = await create(client, item)
    # Its audio is not played back to the client, but the key for its words is there.
    (part,) = event["item"]["content"]
    assert part == {"type": "input_audio", "transcript": None}
    assert (await respond(client, **TEXT)).text == f"You said: {HELLO}."
    (part,) = (await retrieve(client, event["item"]["id"]))["content"]
    assert base64.b64decode(part["audio"]) == hello


async def test_images_are_taken(gateway: Gateway) -> None:
    async with gateway.connect() as client:
        image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
        content = [{"type": "input_text", "text": "what is this"}, image]
        event = await create(client, {"type": "message", "role": "user", "content": content})
        assert event["item"]["content"][1].items() >= image.items()
        assert (await respond(client, **TEXT)).text == "You said: what is this."


# --- retrieve and delete ----------------------------------------------------------------------


async def test_items_can_be_retrieved(client: RealtimeClient, dialect: Any) -> None:
    response = await ask(client, "good day", **TEXT)
    (reply,) = response.final["output"]
    assert await retrieve(client, reply["id"]) == reply
    user = client.events_of(named(dialect, "conversation.item.added"))[0]["item"]
    assert await retrieve(client, user["id"]) == user


async def test_spoken_user_items_are_retrieved_with_their_audio(
    client: RealtimeClient, hello: bytes
) -> None:
    await client.append_fast(hello)
    await client.send({"type": "input_audio_buffer.commit"})
    item_id = (await client.wait_for("input_audio_buffer.committed"))["item_id"]
    (part,) = (await retrieve(client, item_id))["content"]
    assert base64.b64decode(part["audio"]) == hello


async def test_a_deleted_item_is_gone(client: RealtimeClient) -> None:
    await create_three(client)
    await client.send({"type": "conversation.item.delete", "item_id": "c"})
    assert (await client.wait_for("conversation.item.deleted"))["item_id"] == "c"
    assert (await respond(client, **TEXT)).text == "You said: b."
    event_id = await client.send({"type": "conversation.item.retrieve", "item_id": "c"})
    assert (await refusal(client, event_id))["code"] == "item_retrieve_invalid_item_id"
    # Its name is free again.
    assert (await create(client, message("anew", id="c")))["item"]["id"] == "c"


@pytest.mark.parametrize("modality", ["text", "audio"])
async def test_deleting_the_item_that_is_being_made_cancels_its_response(
    client: RealtimeClient, modality: str
) -> None:
    response_id = await begin(client, "stall", **(TEXT if modality == "text" else AUDIO))
    event = await added(client, role="assistant")
    await client.send({"type": "conversation.item.delete", "item_id": event["item"]["id"]})
    assert (await ended(client, response_id))["status"] == "cancelled"
    await client.wait_for("conversation.item.deleted")
    assert (await ask(client, "hi", **TEXT)).status == "completed"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "conversation.item.retrieve"}, "item_retrieve_invalid_item_id"),
        ({"type": "conversation.item.delete"}, "item_delete_invalid_item_id"),
        (
            {"type": "conversation.item.truncate", "content_index": 0, "audio_end_ms": 0},
            "item_truncate_invalid_item_id",
        ),
    ],
)
async def test_unknown_items_are_refused(
    client: RealtimeClient, event: WireEvent, code: str
) -> None:
    error = await refusal(client, await client.send({**event, "item_id": "item_x"}))
    assert error["code"] == code
    assert "item_x" in error["message"]


# --- truncate ---------------------------------------------------------------------------------


async def truncate(
    client: RealtimeClient, item_id: str, audio_end_ms: float, content_index: int = 0
) -> str | None:
    return await client.send(
        {
            "type": "conversation.item.truncate",
            "item_id": item_id,
            "content_index": content_index,
            "audio_end_ms": audio_end_ms,
        }
    )


@pytest.mark.parametrize(
    ("audio_end_ms", "truncated_ms"),
    [(2000, 2000), (2000.75, 2000), (0, 0), (-5, 0), (10_000_000, "all"), (1e12, "all")],
)
async def test_a_reply_is_cut_where_playback_stopped(
    client: RealtimeClient, dialect: Any, audio_end_ms: float, truncated_ms: int | str
) -> None:
    response = await ask(client, "story")
    (reply,) = response.final["output"]
    await truncate(client, reply["id"], audio_end_ms)
    event = await client.wait_for("conversation.item.truncated")
    whole_ms = len(tone(STORY)) // BYTES_PER_MS
    assert event["item_id"] == reply["id"]
    assert event["audio_end_ms"] == (whole_ms if truncated_ms == "all" else truncated_ms)
    (part,) = (await retrieve(client, reply["id"]))["content"]
    heard = part["transcript"]
    assert STORY.startswith(heard)
    share = event["audio_end_ms"] / whole_ms
    assert abs(len(heard) - share * len(STORY)) < 20


async def test_what_was_cut_off_does_not_come_back(client: RealtimeClient) -> None:
    response = await ask(client, "story")
    (reply,) = response.final["output"]
    kept: list[tuple[int, str]] = []
    for audio_end_ms in (2000, 10_000, 1000):
        await truncate(client, reply["id"], audio_end_ms)
        event = await client.wait_for("conversation.item.truncated")
        (part,) = (await retrieve(client, reply["id"]))["content"]
        kept.append((event["audio_end_ms"], part["transcript"]))
    assert [end_ms for end_ms, _ in kept] == [2000, 2000, 1000]
    assert kept[0] == kept[1]
    assert len(kept[2][1]) < len(kept[1][1])


@pytest.mark.parametrize("audio_end_ms", [0, 500, 500.5, 10_000])
async def test_a_written_reply_cannot_be_truncated(
    client: RealtimeClient, audio_end_ms: float
) -> None:
    response = await ask(client, "hi", **TEXT)
    event_id = await truncate(client, response.final["output"][0]["id"], audio_end_ms)
    error = await refusal(client, event_id)
    assert error["message"] == "Only model output audio messages can be truncated"


async def test_a_reply_may_be_truncated_while_it_is_made(client: RealtimeClient) -> None:
    dialect = client.oracle.dialect
    response_id = await begin(client, "stall")
    delta = await client.wait_for(named(dialect, "response.output_audio.delta"))
    await truncate(client, delta["item_id"], 20)
    assert (await client.wait_for("conversation.item.truncated"))["audio_end_ms"] == 20
    await client.send({"type": "response.cancel"})
    assert (await ended(client, response_id))["status"] == "cancelled"
    # A client may well send it twice, or once more after the end.
    await truncate(client, delta["item_id"], 10)
    assert (await client.wait_for("conversation.item.truncated"))["audio_end_ms"] == 10
    await lives(client)
