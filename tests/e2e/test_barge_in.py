"""Barge-in: the user speaks, the reply stops, and nothing of it comes behind its end."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.e2e.gateway import HELLO, STORY, Gateway, speech, tone
from tests.e2e.wire import (
    AUDIO,
    TEXT,
    ask,
    begin,
    configure,
    ended,
    ga_kind,
    lives,
    named,
    order,
    retrieve,
)
from tests.harness import BYTES_PER_MS, RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}
CANCELLED = {"type": "cancelled", "reason": "turn_detected"}


async def barge_in(client: RealtimeClient) -> str:
    """Start a long spoken reply and speak into it; the reply's id."""
    response_id = await begin(client, "story", **AUDIO)
    await client.wait_for(named(client.oracle.dialect, "response.output_audio.delta"))
    await client.speak(speech("hello"), realtime=False)
    return response_id


async def test_speech_stops_the_reply_and_begins_a_new_turn(
    paced_gateway: Gateway, dialect: Any
) -> None:
    async with paced_gateway.connect(dialect) as client:
        await configure(client, **VAD, **TEXT)
        response_id = await barge_in(client)
        done = await ended(client, response_id)
        assert (done["status"], done["status_details"]) == ("cancelled", CANCELLED)
        (item,) = done["output"]
        assert item["status"] == "incomplete"
        kinds = order(client)
        started = kinds.index("input_audio_buffer.speech_started")
        assert kinds[started : started + 6] == [
            "input_audio_buffer.speech_started",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        (part,) = item["content"]
        assert STORY.startswith(part["transcript"])
        assert len(part["transcript"]) < len(STORY)

        answer = await client.collect_response()
        assert answer.text == f"You said: {HELLO}."
        # Nothing of the reply came behind its end, of whatever kind.
        last = next(
            index
            for index, event in enumerate(client.events)
            if ga_kind(event) == "response.done" and event["response"]["id"] == response_id
        )
        assert response_id not in str(client.events[last + 1 :])
        assert len(heard_audio(client, response_id)) < len(tone(STORY)) / 2


def heard_audio(client: RealtimeClient, response_id: str) -> bytes:
    """All audio of a response so far."""
    kind = named(client.oracle.dialect, "response.output_audio.delta")
    deltas = [e["delta"] for e in client.events_of(kind) if e["response_id"] == response_id]
    return b"".join(base64.b64decode(delta) for delta in deltas)


async def test_what_was_sent_is_the_beginning_of_the_reply(paced_gateway: Gateway) -> None:
    async with paced_gateway.connect() as client:
        await configure(client, **VAD, **TEXT)
        response_id = await barge_in(client)
        await ended(client, response_id)
        audio = heard_audio(client, response_id)
        assert audio
        assert tone(STORY).startswith(audio)


async def test_clients_that_cancel_and_truncate_too_do_no_harm(
    paced_gateway: Gateway, dialect: Any
) -> None:
    async with paced_gateway.connect(dialect) as client:
        await configure(client, **VAD, **TEXT)
        response_id = await barge_in(client)
        await client.wait_for("input_audio_buffer.speech_started")
        await client.send({"type": "response.cancel", "response_id": response_id})
        done = await ended(client, response_id)
        (item,) = done["output"]
        await client.send(
            {
                "type": "conversation.item.truncate",
                "item_id": item["id"],
                "content_index": 0,
                "audio_end_ms": 150.5,
            }
        )
        truncated = await client.wait_for("conversation.item.truncated")
        assert truncated["audio_end_ms"] == 150
        (part,) = (await retrieve(client, item["id"]))["content"]
        assert len(part["transcript"]) < 20
        assert [e["error"]["code"] for e in client.events_of("error")] in (
            [],
            ["response_cancel_not_active"],
        )
        # The turn of the barge-in is answered in any case.
        assert (await client.collect_response()).text == f"You said: {HELLO}."


async def test_a_reply_that_has_not_begun_is_stopped_too(
    paced_gateway: Gateway, dialect: Any
) -> None:
    async with paced_gateway.connect(dialect) as client:
        await configure(client, **VAD, **TEXT)
        response_id = await begin(client, "hang")
        await client.speak(speech("hello"), realtime=False)
        done = await ended(client, response_id)
        assert (done["status_details"], done["output"]) == (CANCELLED, [])
        assert (await client.collect_response()).text == f"You said: {HELLO}."


async def test_a_reply_that_was_sent_in_full_is_left_alone(gateway: Gateway, dialect: Any) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **VAD, **TEXT)
        first = await ask(client, "hi", **AUDIO)
        assert first.status == "completed"
        await client.speak(speech("hello"), realtime=False)
        assert (await client.collect_response()).text == f"You said: {HELLO}."
        assert len(client.events_of("response.done")) == 2


async def test_out_of_band_responses_are_not_interrupted(
    paced_gateway: Gateway, dialect: Any
) -> None:
    async with paced_gateway.connect(dialect) as client:
        detection = {"type": "server_vad", "create_response": False}
        await configure(client, turn_detection=detection, **TEXT)
        response_id = await begin(client, "stall", conversation="none")
        await client.speak(speech("hello"), realtime=False)
        await client.wait_for("input_audio_buffer.committed")
        await lives(client)
        assert client.events_of("response.done") == []
        await client.send({"type": "response.cancel", "response_id": response_id})
        assert (await ended(client, response_id))["status"] == "cancelled"


async def test_one_barge_in_after_another(paced_gateway: Gateway, dialect: Any) -> None:
    """Every reply but the last is cut; the ids of each stay its own, as the oracle checks."""
    async with paced_gateway.connect(dialect) as client:
        await configure(client, **VAD, **AUDIO)
        await client.say_text("story")
        await client.create_response()
        for _ in range(4):
            created = await client.wait_for("response.created")
            delta = named(dialect, "response.output_audio.delta")
            response_id = created["response"]["id"]
            await client.wait_for(delta, where=lambda e, r=response_id: e["response_id"] == r)
            await client.speak(speech("hello"), realtime=False)
            done = await ended(client, response_id)
            assert done["status_details"] == CANCELLED
            audio = heard_audio(client, response_id)
            (item,) = done["output"]
            said = tone(item["content"][0]["transcript"])
            # Each transcript is ahead of its audio, and both are one reply's.
            assert said.startswith(audio)
            assert len(audio) / BYTES_PER_MS < 1500
        created = await client.wait_for("response.created")
        await client.send({"type": "response.cancel"})
        await ended(client, created["response"]["id"])
