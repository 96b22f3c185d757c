"""`semantic_vad` over the wire, with the real model: what sounds complete ends early."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import SharedAudio
from tests.e2e.gateway import Gateway, speech
from tests.e2e.wire import TEXT, configure, shown
from tests.harness import BYTES_PER_MS

pytestmark = pytest.mark.asyncio(loop_scope="session")

EAGER = {"type": "semantic_vad", "eagerness": "high"}
LAST_ASK_MS = 1400
"""Of the eager level, which gives up after 2000 ms."""
LONGEST_WAIT_MS = {"low": 8000, "medium": 4000, "auto": 4000, "high": 2000}
"""OpenAI's, see protocol §2.3."""
CUT_OFF_MS = 1000
"""Of a speech that is cut off after "and so my": half a sentence however long the pause."""
TOLERANCE_MS = 100


@pytest.fixture
def cut_off(shared_audio: SharedAudio) -> bytes:
    """Real speech that never sounds complete, s16le mono 24 kHz."""
    return shared_audio("en_jfk")[: CUT_OFF_MS * BYTES_PER_MS]


def semantic(eagerness: str) -> dict[str, Any]:
    return {"type": "semantic_vad", "eagerness": eagerness, "create_response": False}


def server(silence_ms: int) -> dict[str, Any]:
    return {"type": "server_vad", "silence_duration_ms": silence_ms, "create_response": False}


def longest_ms(detection: dict[str, Any]) -> int:
    """How much silence ends half a sentence."""
    return detection.get("silence_duration_ms") or LONGEST_WAIT_MS[detection["eagerness"]]


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


async def test_half_a_sentence_is_waited_for_as_long_as_the_level_says(
    gateway: Gateway, cut_off: bytes
) -> None:
    """At the pace of a microphone, so that each answer of the model comes in time to count."""

    async def silence_after_speech_ms(eagerness: str) -> float:
        async with gateway.connect() as client:
            await configure(client, turn_detection=semantic(eagerness), **TEXT)
            after_ms = LONGEST_WAIT_MS[eagerness] + 200
            spoken = await client.speak(cut_off, before_ms=0, after_ms=after_ms, chunk_ms=100)
            stopped = await client.wait_for("input_audio_buffer.speech_stopped")
            return stopped["audio_end_ms"] - spoken.end_ms

    waits = await asyncio.gather(*map(silence_after_speech_ms, LONGEST_WAIT_MS))
    waited_ms = dict(zip(LONGEST_WAIT_MS, waits, strict=True))
    assert waited_ms == pytest.approx(LONGEST_WAIT_MS, abs=TOLERANCE_MS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (semantic("low"), semantic("high")),
        (semantic("high"), semantic("low")),
        (semantic("low"), semantic("medium")),
        (semantic("medium"), server(300)),
        (server(300), semantic("auto")),
        (server(300), server(1200)),
    ],
    ids=lambda rule: rule.get("eagerness", "server"),
)
@pytest.mark.parametrize("heard_ms", [0, 800], ids=["between-turns", "in-mid-speech"])
async def test_the_rule_may_change(
    gateway: Gateway,
    dialect: Any,
    cut_off: bytes,
    before: dict[str, Any],
    after: dict[str, Any],
    heard_ms: int,
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, turn_detection=before)
        for rule, change in ((before, None), (after, after)):
            expected_ms = longest_ms(rule)
            begin_ms = client.appended_bytes / BYTES_PER_MS
            heard = cut_off[: heard_ms * BYTES_PER_MS] if change else b""
            await client.append_fast(heard)
            if heard:
                await client.wait_for("input_audio_buffer.speech_started")
            if change:
                session = await configure(client, turn_detection=change)
                told = shown(dialect, session, "turn_detection")
                assert told.items() >= change.items()
                assert ("eagerness" in told) == (change["type"] == "semantic_vad")
            rest = cut_off[len(heard) :] + bytes((expected_ms + 200) * BYTES_PER_MS)
            await client.append_fast(rest)
            stopped = await client.wait_for("input_audio_buffer.speech_stopped")
            waited_ms = stopped["audio_end_ms"] - begin_ms - CUT_OFF_MS
            assert waited_ms == pytest.approx(expected_ms, abs=TOLERANCE_MS)
        assert len(client.events_of("input_audio_buffer.committed")) == 2
