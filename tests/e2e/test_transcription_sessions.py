"""`?intent=transcription` over the wire: words and no answers, in both dialects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.gateway import HELLO, STORY_HEARD, Gateway
from tests.e2e.wire import lives, order, refusal
from tests.harness import RealtimeClient
from tests.oracle import WireEvent

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRANSCRIPTION = "conversation.item.input_audio_transcription"
MODEL = {"model": "whisper-1"}


def update(dialect: str, **heard: Any) -> WireEvent:
    """The update of a transcription session; GA names of `audio.input`."""
    if dialect == "ga":
        session = {"type": "transcription", "audio": {"input": heard}}
        return {"type": "session.update", "session": session}
    names = {"transcription": "input_audio_transcription", "turn_detection": "turn_detection"}
    flat = {names[name]: value for name, value in heard.items()}
    return {"type": "transcription_session.update", "session": flat}


def kind(dialect: str, step: str) -> str:
    return f"session.{step}" if dialect == "ga" else f"transcription_session.{step}"


@pytest.fixture
def url(gateway: Gateway) -> str:
    return f"ws://127.0.0.1:{gateway.port}/v1/realtime?intent=transcription"


async def configure(client: RealtimeClient, **heard: Any) -> WireEvent:
    dialect = client.oracle.dialect
    await client.send(update(dialect, **heard))
    return (await client.wait_for(kind(dialect, "updated")))["session"]


async def test_spoken_turns_are_transcribed_in_order(
    gateway: Gateway, url: str, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect, url=url) as client:
        created = await client.wait_for(kind(dialect, "created"))
        assert created["session"]["object"] == "realtime.transcription_session"
        assert "instructions" not in created["session"]
        shown = await configure(client, transcription=MODEL)
        heard = shown["audio"]["input"] if dialect == "ga" else shown
        key = "transcription" if dialect == "ga" else "input_audio_transcription"
        assert heard[key]["model"] == "whisper-1"
        since = len(client.events)
        ids: list[str] = []
        for words in (HELLO, STORY_HEARD):
            await client.speak(hello, realtime=False)
            committed = await client.wait_for("input_audio_buffer.committed")
            assert committed["previous_item_id"] == (ids[-1] if ids else None)
            completed = await client.wait_for(f"{TRANSCRIPTION}.completed")
            assert completed["transcript"] == words
            assert completed["usage"]["type"] == "duration"
            ids.append(committed["item_id"])
        await lives(client)
        turn = [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            f"{TRANSCRIPTION}.delta",
            f"{TRANSCRIPTION}.completed",
        ]
        told = [step for step in order(client, since) if step != "input_audio_buffer.cleared"]
        assert told == turn * 2
        deltas = [event["delta"] for event in client.events_of(f"{TRANSCRIPTION}.delta")]
        assert "".join(deltas) == HELLO + STORY_HEARD


async def test_without_turn_detection_the_client_commits(
    gateway: Gateway, url: str, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect, url=url) as client:
        await configure(client, transcription=MODEL, turn_detection=None)
        await client.append(hello)
        await client.send({"type": "input_audio_buffer.commit"})
        completed = await client.wait_for(f"{TRANSCRIPTION}.completed")
        assert completed["transcript"] == HELLO
        await lives(client)
        assert not [event for event in client.events if event["type"].startswith("response.")]


async def test_a_response_is_refused(gateway: Gateway, url: str, dialect: Any) -> None:
    async with gateway.connect(dialect, url=url) as client:
        error = await refusal(client, await client.send({"type": "response.create"}))
        assert error["code"] == "invalid_parameter"
        assert "response.create" in error["message"]


@pytest.mark.parametrize("transcribing", [True, False])
async def test_an_update_for_the_other_kind_is_refused(
    gateway: Gateway, url: str, dialect: Any, transcribing: bool
) -> None:
    wrong = update(dialect, transcription=None)
    if transcribing:
        wrong = {"type": "session.update", "session": {}}
        if dialect == "ga":
            wrong["session"] = {"type": "realtime"}
    async with gateway.connect(dialect, url=url if transcribing else gateway.url()) as client:
        error = await refusal(client, await client.send(wrong))
        assert (error["code"], error["param"]) == ("invalid_parameter", None)
        session, other = "transcription", "realtime"
        if not transcribing:
            session, other = other, session
        assert error["message"] == (
            f"Passing a {other} session update event to a {session} session is not allowed."
        )


async def test_with_a_model_it_is_refused(gateway: Gateway, url: str) -> None:
    async with gateway.connect(url=f"{url}&model=m") as client:
        error = await client.wait_for("error")
        assert error["error"]["code"] == "invalid_model"
        assert (await client.wait_closed())[0] == 4000
