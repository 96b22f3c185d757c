"""PLAYBACK=server: for devices that play audio as it comes, as OpenAI does for WebRTC."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.gateway import STORY, Gateway, run_gateway, speech, tone
from tests.e2e.wire import (
    AUDIO,
    MANUAL,
    TEXT,
    ask,
    begin,
    configure,
    ended,
    ga_kind,
    lives,
    named,
    order,
    refusal,
    retrieve,
)
from tests.harness import BYTES_PER_MS, RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}
STARTED = "output_audio_buffer.started"
STOPPED = "output_audio_buffer.stopped"
CLEARED = "output_audio_buffer.cleared"
LEAD_MS = 200
SLACK_MS = 150
"""For timers and a busy machine."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def playing() -> AsyncGenerator[Gateway]:
    """A gateway that keeps the time of the playback."""
    async with run_gateway(session={"playback": "server"}) as running:
        yield running


def sent_ms(client: RealtimeClient, response_id: str) -> float:
    """How much audio of a response has come."""
    kind = named(client.oracle.dialect, "response.output_audio.delta")
    deltas = [e["delta"] for e in client.events_of(kind) if e["response_id"] == response_id]
    return sum(len(base64.b64decode(delta)) for delta in deltas) / BYTES_PER_MS


@pytest.mark.parametrize("detection", [VAD, MANUAL])
async def test_a_reply_starts_is_paced_and_stops(
    playing: Gateway, dialect: Any, detection: dict[str, Any]
) -> None:
    async with playing.connect(dialect) as client:
        await configure(client, **detection, **AUDIO)
        response = await ask(client, "hi")
        stopped = await client.wait_for(STOPPED)
        assert stopped["response_id"] == response.id
        assert response.audio == tone("You said: hi.")
        kinds = order(client)
        assert kinds.index("response.content_part.added") < kinds.index(STARTED)
        assert kinds[kinds.index(STARTED) + 1] == "response.output_audio.delta"
        assert kinds.index("response.done") < kinds.index(STOPPED)
        at_s = {r.event["type"]: r.at_s for r in client.received}
        took_ms = (at_s[STOPPED] - at_s[STARTED]) * 1000
        length_ms = len(response.audio) / BYTES_PER_MS
        assert took_ms > length_ms - SLACK_MS


async def test_an_interruption_clears_the_buffer_and_cuts_the_item(
    playing: Gateway, dialect: Any
) -> None:
    async with playing.connect(dialect) as client:
        detection = {"type": "server_vad", "create_response": False}
        await configure(client, turn_detection=detection, **AUDIO)
        response_id = await begin(client, "story")
        started = await client.wait_for(STARTED)
        assert started["response_id"] == response_id
        await client.wait_for(named(dialect, "response.output_audio.delta"))
        await client.speak(speech("hello"), realtime=False)
        done = await ended(client, response_id)
        assert done["status_details"]["reason"] == "turn_detected"
        truncated = await client.wait_for("conversation.item.truncated")
        kinds = order(client)
        assert kinds[kinds.index(CLEARED) - 1] == "response.done"
        assert kinds[kinds.index(CLEARED) + 1] == "conversation.item.truncated"
        (item,) = done["output"]
        assert truncated["item_id"] == item["id"]
        sent = sent_ms(client, response_id)
        assert sent - LEAD_MS <= truncated["audio_end_ms"] <= sent
        (part,) = (await retrieve(client, item["id"]))["content"]
        assert STORY.startswith(part["transcript"])
        # The server has cut it: what the item says is what was heard, not what was sent.
        assert len(part["transcript"]) <= len(item["content"][0]["transcript"])


async def test_a_client_cuts_a_reply_off(playing: Gateway, dialect: Any) -> None:
    async with playing.connect(dialect) as client:
        await configure(client, **MANUAL, **AUDIO)
        response_id = await begin(client, "story")
        await client.wait_for(STARTED)
        await client.send({"type": "response.cancel"})
        await client.send({"type": "output_audio_buffer.clear"})
        cleared = await client.wait_for(CLEARED)
        assert cleared["response_id"] == response_id
        await client.wait_for("conversation.item.truncated")
        await lives(client)
        kinds = [ga_kind(event) for event in client.events]
        assert STOPPED not in kinds
        assert kinds[-2:] == ["conversation.item.truncated", "input_audio_buffer.cleared"]


async def test_a_clear_alone_ends_the_reply_and_a_second_one_does_no_harm(playing: Gateway) -> None:
    async with playing.connect() as client:
        await configure(client, **MANUAL, **AUDIO)
        response_id = await begin(client, "story")
        await client.wait_for(STARTED)
        for _ in range(2):
            await client.send({"type": "output_audio_buffer.clear"})
            assert (await client.wait_for(CLEARED))["response_id"] == response_id
        (done,) = client.events_of("response.done")
        assert done["response"]["status_details"]["reason"] == "client_cancelled"


async def test_a_text_answer_does_not_sound(playing: Gateway, dialect: Any) -> None:
    async with playing.connect(dialect) as client:
        await configure(client, **MANUAL, **TEXT)
        await ask(client, "hi")
        await lives(client)
        assert not [e for e in client.events if e["type"].startswith("output_audio_buffer.")]


async def test_by_default_clients_play_by_themselves(gateway: Gateway, dialect: Any) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **VAD, **AUDIO)
        await ask(client, "hi")
        event_id = await client.send({"type": "output_audio_buffer.clear"})
        error = await refusal(client, event_id)
        assert (error["code"], error["param"]) == ("invalid_value", "type")
        assert not [e for e in client.events if e["type"].startswith("output_audio_buffer.")]
