"""Edges other servers of this protocol have cut their clients with, where no other test is of them.

`tests/test_peers_edges.py` lists all of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.gateway import Gateway, run_gateway, speech
from tests.e2e.wire import TEXT, configure, shown
from tests.fakes import FakeStt
from tests.harness import BYTES_PER_MS, RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTICED_MS = 200
"""Six windows of Silero: three that start a turn, and those it takes to be sure."""


@pytest.mark.parametrize(("name", "begins_ms"), [("weather", 226), ("story", 334)])
async def test_speech_is_noticed_at_once(gateway: Gateway, name: str, begins_ms: int) -> None:
    """Not at the next tick of a clock (LocalAI looks every 300 ms): no more audio is needed."""
    async with gateway.connect() as client:
        await client.append_fast(speech(name)[: (begins_ms + NOTICED_MS) * BYTES_PER_MS])
        started = await client.wait_for("input_audio_buffer.speech_started")
        assert started["audio_start_ms"] <= begins_ms


async def test_a_response_is_announced_before_anything_is_understood(
    dialect: Any, hello: bytes
) -> None:
    """N.E.K.O hangs up when it takes five seconds, as where it waits for the first audio."""
    recogniser = FakeStt()
    async with run_gateway(stt=recogniser) as gateway, gateway.connect(dialect) as client:
        await configure(client, turn_detection={"type": "server_vad"}, **TEXT)
        await client.speak(hello, realtime=False)
        await client.wait_for("response.created")
        service = await recogniser.closed.get()
        await service.answer("hello world")
        assert (await client.wait_for("response.done"))["response"]["status"] == "completed"


async def test_no_language_is_assumed(client: RealtimeClient, dialect: Any) -> None:
    """Speaches starts with an English recogniser and the prompt of OpenAI's sample."""
    opened = client.events_of("session.created")[0]["session"]
    assert shown(dialect, opened, "input_audio_transcription") is None
    wanted = {"model": "whisper-1"}
    session = await configure(client, input_audio_transcription=wanted)
    told = shown(dialect, session, "input_audio_transcription")
    assert (told.get("language"), told.get("prompt")) == (None, None)


async def test_an_update_of_the_language_alone_goes_on_transcribing(
    client: RealtimeClient, dialect: Any, hello: bytes
) -> None:
    """The object replaces the one before; in LocalAI no recogniser was left then."""
    await configure(client, input_audio_transcription={"model": "whisper-1"})
    session = await configure(client, input_audio_transcription={"language": "en"})
    assert shown(dialect, session, "input_audio_transcription")["language"] == "en"
    await client.append_fast(hello)
    await client.send({"type": "input_audio_buffer.commit"})
    committed = await client.wait_for("input_audio_buffer.committed")
    completed = await client.wait_for("conversation.item.input_audio_transcription.completed")
    assert completed["item_id"] == committed["item_id"]
    assert completed["transcript"]
