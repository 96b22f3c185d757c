"""`semantic_vad` over the wire, with the real model: what sounds complete ends early."""

from __future__ import annotations

import pytest

from tests.e2e.gateway import Gateway, speech
from tests.e2e.wire import TEXT, configure
from tests.harness import BYTES_PER_MS

pytestmark = pytest.mark.asyncio(loop_scope="session")

EAGER = {"type": "semantic_vad", "eagerness": "high"}
LAST_ASK_MS = 1400
"""Of the eager level, which gives up after 2000 ms."""


async def test_a_complete_question_does_not_wait_for_the_longest_silence(gateway: Gateway) -> None:
    async with gateway.connect() as client:
        await configure(client, turn_detection=EAGER, **TEXT)
        spoken = await client.speak(speech("weather"), after_ms=LAST_ASK_MS, realtime=False)
        await client.collect_response()
        stopped = client.events_of("input_audio_buffer.speech_stopped")[0]
        assert stopped["audio_end_ms"] < spoken.end_ms + LAST_ASK_MS


async def test_a_pause_in_the_middle_of_a_question_is_waited_for(gateway: Gateway) -> None:
    weather = speech("weather")
    middle = len(weather) // 2 // BYTES_PER_MS * BYTES_PER_MS
    async with gateway.connect() as client:
        await configure(client, turn_detection=EAGER, **TEXT)
        await client.append_realtime(weather[:middle], chunk_ms=100)
        await client.append_realtime(bytes(400 * BYTES_PER_MS), chunk_ms=100)
        await client.append_realtime(weather[middle:], chunk_ms=100)
        await client.append_fast(bytes(LAST_ASK_MS * BYTES_PER_MS))
        await client.collect_response()
        assert len(client.events_of("input_audio_buffer.speech_stopped")) == 1
        assert len(client.events_of("input_audio_buffer.committed")) == 1
