"""LEGACY_EVENTS: what the types still name and OpenAI no longer sends, for clients that wait."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.gateway import Gateway, run_gateway, speech
from tests.e2e.wire import AUDIO, ask, configure, lives

pytestmark = pytest.mark.asyncio(loop_scope="session")

VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def older() -> AsyncGenerator[Gateway]:
    """A gateway that sends them."""
    async with run_gateway(session={"legacy_events": True}) as running:
        yield running


@pytest.mark.parametrize("marked", [True, False])
async def test_conversation_created_follows_the_session(
    older: Gateway, dialect: Any, marked: bool
) -> None:
    async with older.connect(dialect, legacy=True, marked=marked) as client:
        created = await client.wait_for("conversation.created")
        assert [e["type"] for e in client.events[:2]] == ["session.created", "conversation.created"]
        await configure(client, **VAD, **AUDIO)
        response = await ask(client, "hi")
        assert created["conversation"] == {
            "id": response.final["conversation_id"],
            "object": "realtime.conversation",
        }


async def test_items_of_every_origin_are_created_besides_added(older: Gateway) -> None:
    async with older.connect(legacy=True) as client:
        await configure(client, **VAD, **AUDIO)
        await ask(client, "hi")
        await client.speak(speech("hello"), realtime=False)
        await client.collect_response()
        await lives(client)

        def places(kind: str) -> list[tuple[Any, Any]]:
            return [(e["previous_item_id"], e["item"]) for e in client.events_of(kind)]

        assert len(places("conversation.item.created")) == 4
        assert places("conversation.item.created") == places("conversation.item.added")


async def test_beta_has_one_event_of_a_creation(older: Gateway) -> None:
    async with older.connect("beta") as client:
        await client.say_text("hi")
        await lives(client)
        assert len(client.events_of("conversation.item.created")) == 1


async def test_by_default_there_are_none(gateway: Gateway) -> None:
    async with gateway.connect() as client:
        await configure(client, **VAD, **AUDIO)
        await ask(client, "hi")
        kinds = {event["type"] for event in client.events}
        assert not kinds & {"conversation.created", "conversation.item.created"}
