"""`speed` with a voice that has one speed only: stretched behind it, words and all."""

from __future__ import annotations

from typing import Any

import pytest

from providers.tone_tts import ToneProvider
from tests.e2e.gateway import STORY, run_gateway, tone
from tests.e2e.wire import AUDIO, MANUAL, ask, configure, retrieve
from tests.harness import BYTES_PER_MS

pytestmark = pytest.mark.asyncio(loop_scope="session")


class OneSpeedVoice(ToneProvider):
    """The tone voice, unable to hurry."""

    speeds: tuple[float, float] = (1.0, 1.0)


@pytest.mark.parametrize("speed", [0.5, 1.5])
async def test_a_voice_with_one_speed_is_stretched(dialect: Any, speed: float) -> None:
    async with run_gateway(tts=OneSpeedVoice()) as gateway, gateway.connect(dialect) as client:
        await configure(client, speed=speed, **MANUAL, **AUDIO)
        reply = await ask(client, "tell me a story")
        assert reply.transcript == STORY
        # Each clause is rounded to whole samples.
        assert len(reply.audio) == pytest.approx(len(tone(STORY)) / speed, abs=BYTES_PER_MS)
        half_ms = len(tone(STORY)) // BYTES_PER_MS // 2 / speed
        item_id = reply.final["output"][0]["id"]
        await client.send(
            {
                "type": "conversation.item.truncate",
                "item_id": item_id,
                "content_index": 0,
                "audio_end_ms": round(half_ms),
            }
        )
        await client.wait_for("conversation.item.truncated")
        kept = (await retrieve(client, item_id))["content"][0]["transcript"]
    assert STORY.startswith(kept)
    assert len(kept) == pytest.approx(len(STORY) / 2, abs=12)
