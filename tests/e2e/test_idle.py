"""`idle_timeout_ms` over the wire."""

from __future__ import annotations

import pytest

from tests.e2e.gateway import Gateway
from tests.e2e.wire import order
from tests.harness import BYTES_PER_MS

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIMEOUT_MS = 5000
"""The shortest that a client may ask for."""


async def test_the_model_speaks_up_when_nobody_does(gateway: Gateway) -> None:
    async with gateway.connect() as client:
        await client.update_session(
            output_modalities=["text"],
            audio={
                "input": {
                    "transcription": {"model": "whisper-1"},
                    "turn_detection": {"type": "server_vad", "idle_timeout_ms": TIMEOUT_MS},
                }
            },
        )
        await client.say_text("count")
        await client.create_response()
        await client.collect_response()
        since = len(client.events)
        await client.append_realtime(bytes(3000 * BYTES_PER_MS), chunk_ms=100)
        triggered = await client.wait_for("input_audio_buffer.timeout_triggered")
        await client.collect_response()
        await client.wait_for("conversation.item.input_audio_transcription.completed")
    assert order(client, since)[:6] == [
        "input_audio_buffer.timeout_triggered",
        "conversation.item.added",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "response.created",
        "conversation.item.input_audio_transcription.completed",
    ]
    note, silence = client.events_of("conversation.item.added")[2:4]
    assert note["item"]["role"] == "system"
    assert (silence["item"]["id"], silence["previous_item_id"]) == (
        triggered["item_id"],
        note["item"]["id"],
    )
    assert triggered["audio_end_ms"] - triggered["audio_start_ms"] <= 3000
