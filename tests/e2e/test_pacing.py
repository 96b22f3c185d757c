"""Output runs a bounded lead ahead of real time while it may be interrupted, and only then."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest

from tests.e2e.gateway import SHORT_LEAD_MS, STORY, Gateway, tone
from tests.e2e.wire import AUDIO, MANUAL, ask, begin, configure, ended, named
from tests.harness import BYTES_PER_MS, RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}
STORY_MS = len(tone(STORY)) / BYTES_PER_MS
SLACK_MS = 150
"""For timers and a busy machine; what went early in spite of the lead would be seconds."""
TIME = {"type": "function", "name": "get_time", "parameters": {"type": "object"}}


def leads_ms(client: RealtimeClient, response_id: str) -> list[float]:
    """For each audio delta, how far the audio ran ahead of the clock when it came."""
    kind = named(client.oracle.dialect, "response.output_audio.delta")
    deltas = [
        received
        for received in client.received
        if received.event["type"] == kind and received.event["response_id"] == response_id
    ]
    sizes = (len(base64.b64decode(received.event["delta"])) for received in deltas)
    return [
        total / BYTES_PER_MS - (received.at_s - deltas[0].at_s) * 1000
        for total, received in zip(itertools.accumulate(sizes), deltas, strict=True)
    ]


async def audio_deltas(client: RealtimeClient, count: int) -> None:
    for _ in range(count):
        await client.wait_for(named(client.oracle.dialect, "response.output_audio.delta"))


async def test_an_interruptible_reply_is_paced(paced_gateway: Gateway, dialect: Any) -> None:
    async with paced_gateway.connect(dialect) as client:
        await configure(client, **VAD)
        response_id = await begin(client, "story")
        await audio_deltas(client, 10)
        await client.send({"type": "response.cancel"})
        await ended(client, response_id)
        leads = leads_ms(client, response_id)
        assert max(leads) <= SHORT_LEAD_MS + SLACK_MS
        # It keeps up with the player, or there would be gaps.
        assert min(leads) > 0


async def test_a_paced_reply_is_whole_in_the_end(paced_gateway: Gateway) -> None:
    async with paced_gateway.connect() as client:
        await configure(client, **VAD)
        response = await ask(client, "hi")
        assert response.status == "completed"
        assert response.audio == tone("You said: hi.")
        assert max(leads_ms(client, response.id)) <= SHORT_LEAD_MS + SLACK_MS


@pytest.mark.parametrize("detection", [None, {"type": "server_vad", "interrupt_response": False}])
async def test_what_nothing_may_interrupt_goes_as_fast_as_it_is_made(
    paced_gateway: Gateway, dialect: Any, detection: Any
) -> None:
    async with paced_gateway.connect(dialect) as client:
        await configure(client, turn_detection=detection)
        response = await ask(client, "story")
        took_ms = (response.received[-1].at_s - response.received[0].at_s) * 1000
        assert len(response.audio) == STORY_MS * BYTES_PER_MS
        assert took_ms < STORY_MS / 3


async def test_turning_detection_off_lets_the_rest_go(paced_gateway: Gateway, dialect: Any) -> None:
    async with paced_gateway.connect(dialect) as client:
        await configure(client, **VAD)
        response_id = await begin(client, "story")
        await audio_deltas(client, 3)
        await configure(client, **MANUAL)
        done = await ended(client, response_id, timeout_s=STORY_MS / 3000)
        assert done["status"] == "completed"


async def test_tool_calls_do_not_wait_for_speech(paced_gateway: Gateway, dialect: Any) -> None:
    async with paced_gateway.connect(dialect) as client:
        await configure(client, **VAD, **AUDIO, tools=[TIME])
        response_id = await begin(client, "recite")
        called = await client.wait_for(
            "response.output_item.done", where=lambda e: e["item"]["type"] == "function_call"
        )
        assert called["output_index"] == 1
        # Its speech has hardly begun by then.
        leads = leads_ms(client, response_id)
        assert len(leads) * 200 < STORY_MS / 2
        assert client.events_of("response.done") == []
        await client.send({"type": "response.cancel"})
        done = await ended(client, response_id)
        assert [item["status"] for item in done["output"]] == ["incomplete", "completed"]


async def test_the_default_lead_is_five_seconds(gateway: Gateway) -> None:
    async with gateway.connect() as client:
        await configure(client, **VAD)
        response_id = await begin(client, "story")
        await audio_deltas(client, 40)
        await client.send({"type": "response.cancel"})
        await ended(client, response_id)
        leads = leads_ms(client, response_id)
        assert 4000 < max(leads) <= 5000 + SLACK_MS
