"""The user's turn: appended, committed by hand or by turn detection, transcribed on demand."""

from __future__ import annotations

import base64
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from protocol import ErrorCategory, Stage
from providers import scripted_stt
from providers.frames import StageFailedFrame
from tests.conftest import SharedAudio
from tests.e2e.gateway import HELLO, STORY_HEARD, Gateway, run_gateway
from tests.e2e.wire import (
    MANUAL,
    TEXT,
    added,
    begin,
    configure,
    ended,
    lives,
    order,
    refusal,
    respond,
    retrieve,
    shown,
)
from tests.fakes import FakeStt, Perhaps
from tests.harness import BYTES_PER_MS, RealtimeClient
from tests.oracle import WireEvent

pytestmark = pytest.mark.asyncio(loop_scope="session")

VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}
LISTEN: dict[str, Any] = {
    "turn_detection": {"type": "server_vad", "create_response": False},
}
TRANSCRIBE: dict[str, Any] = {"input_audio_transcription": {"model": "whisper-1"}}
TRANSCRIPTION = "conversation.item.input_audio_transcription"
SPEECH_MS = (200, 1080)
"""Where the words lie in the hello clip."""
TOLERANCE_MS = 100


async def commit(client: RealtimeClient) -> WireEvent:
    await client.send({"type": "input_audio_buffer.commit"})
    return await client.wait_for("input_audio_buffer.committed")


async def bounds(client: RealtimeClient) -> tuple[WireEvent, WireEvent]:
    """The next turn's `speech_started` and `speech_stopped`, which must belong together."""
    started = await client.wait_for("input_audio_buffer.speech_started")
    stopped = await client.wait_for("input_audio_buffer.speech_stopped")
    assert started["item_id"] == stopped["item_id"]
    return started, stopped


async def audio_of(client: RealtimeClient, item_id: str) -> bytes:
    (part,) = (await retrieve(client, item_id))["content"]
    return base64.b64decode(part["audio"])


def between(pcm: bytes, start_ms: float, end_ms: float) -> bytes:
    return pcm[int(start_ms * BYTES_PER_MS) : int(end_ms * BYTES_PER_MS)]


def silence(ms: int) -> bytes:
    return bytes(ms * BYTES_PER_MS)


def assert_near(position_ms: int, expected_ms: float) -> None:
    assert abs(position_ms - expected_ms) <= TOLERANCE_MS


# --- by hand ----------------------------------------------------------------------------------


async def test_a_turn_committed_by_hand(client: RealtimeClient, hello: bytes) -> None:
    await configure(client, **TRANSCRIBE, **TEXT)
    since = len(client.events)
    await client.append_fast(hello)
    item_id = (await commit(client))["item_id"]
    completed = await client.wait_for(f"{TRANSCRIPTION}.completed")
    kinds = order(client, since)
    assert kinds[:2] == ["input_audio_buffer.committed", "conversation.item.added"]
    assert set(kinds[2:]) == {f"{TRANSCRIPTION}.delta", f"{TRANSCRIPTION}.completed"}
    event = await added(client, id=item_id)
    assert event["item"]["role"] == "user"
    assert event["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert completed["item_id"] == item_id
    assert (completed["content_index"], completed["transcript"]) == (0, HELLO)
    # The oracle knows that beta has no usage here.
    assert completed.get("usage", {"type": "duration", "seconds": 2})["seconds"] == 2
    # A commit never starts a response by itself.
    await lives(client)
    assert client.events_of("response.created") == []
    assert (await respond(client)).text == f"You said: {HELLO}."
    assert await audio_of(client, item_id) == hello


async def test_turns_are_heard_in_their_order(client: RealtimeClient, hello: bytes) -> None:
    for heard in (HELLO, STORY_HEARD):
        await client.append_fast(hello)
        await commit(client)
        response = await respond(client, **TEXT)
        assert heard in response.text or "lighthouse" in response.text


@pytest.mark.parametrize("sizes", [(1,), (7, 1, 3), (4799,), (2, 1, 1, 1)])
async def test_a_split_sample_is_carried_to_the_next_append(
    client: RealtimeClient, hello: bytes, sizes: tuple[int, ...]
) -> None:
    clip = between(hello, 300, 500)
    for chunk in _cut(clip, sizes):
        await client.append(chunk)
    item_id = (await commit(client))["item_id"]
    assert await audio_of(client, item_id) == clip


def _cut(audio: bytes, sizes: tuple[int, ...]) -> Generator[bytes]:
    """Chunks of these sizes first, then the rest in two odd halves."""
    start = 0
    for size in sizes * 5:
        yield audio[start : start + size]
        start += size
    middle = start + ((len(audio) - start) // 2 | 1)
    yield audio[start:middle]
    yield audio[middle:]


async def test_clearing_forgets_the_audio_and_half_a_sample(
    client: RealtimeClient, hello: bytes
) -> None:
    await client.append(hello[:10_001])
    await lives(client)
    await client.append(hello)
    item_id = (await commit(client))["item_id"]
    assert await audio_of(client, item_id) == hello


@pytest.mark.parametrize("ms", [0, 1, 99])
async def test_too_little_audio_cannot_be_committed(client: RealtimeClient, ms: int) -> None:
    if ms:
        await client.append(silence(ms))
    event_id = await client.send({"type": "input_audio_buffer.commit"})
    await client.append(silence(100))
    error = (await client.wait_for("error"))["error"]
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", event_id)
    assert f"{ms}.00ms" in error["message"]
    # What was there has stayed, and now it is enough.
    item_id = (await commit(client))["item_id"]
    assert len(await audio_of(client, item_id)) == (ms + 100) * BYTES_PER_MS


async def test_a_whole_file_may_come_in_one_append(client: RealtimeClient, hello: bytes) -> None:
    file = (hello + silence(1000)) * 27
    await client.append(file)
    item_id = (await commit(client))["item_id"]
    assert await audio_of(client, item_id) == file


async def test_audio_too_long_for_a_frame_is_not_sent_back(
    client: RealtimeClient, hello: bytes
) -> None:
    # The oracle reports frames over 4 MiB, which end the connection of some clients.
    await client.append((hello + silence(1000)) * 40)
    item_id = (await commit(client))["item_id"]
    (part,) = (await retrieve(client, item_id))["content"]
    assert part == {"type": "input_audio", "transcript": None}
    assert (await respond(client, **TEXT)).text == f"You said: {HELLO}."


# --- turn detection ---------------------------------------------------------------------------


async def test_a_spoken_turn(gateway: Gateway, dialect: Any, hello: bytes) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **VAD, **TRANSCRIBE, **TEXT)
        since = len(client.events)
        spoken = await client.speak(hello, before_ms=500, realtime=False)
        response = await client.collect_response()
        assert order(client, since)[:5] == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "response.created",
        ]
        started, stopped = await bounds(client)
        assert_near(started["audio_start_ms"], spoken.start_ms + SPEECH_MS[0] - 300)
        assert_near(stopped["audio_end_ms"], spoken.start_ms + SPEECH_MS[1] + 500)
        item_id = started["item_id"]
        committed = await client.wait_for("input_audio_buffer.committed")
        assert committed["item_id"] == item_id
        completed = await client.wait_for(f"{TRANSCRIPTION}.completed")
        assert (completed["item_id"], completed["transcript"]) == (item_id, HELLO)
        assert response.text == f"You said: {HELLO}."
        sent = silence(500) + hello + silence(1000)
        heard = between(sent, started["audio_start_ms"], stopped["audio_end_ms"])
        assert await audio_of(client, item_id) == heard


async def test_two_turns_have_their_own_items(gateway: Gateway, hello: bytes) -> None:
    async with gateway.connect() as client:
        await configure(client, **LISTEN)
        for _ in range(2):
            await client.speak(hello, realtime=False)
        first, second = await bounds(client), await bounds(client)
        assert first[0]["item_id"] != second[0]["item_id"]
        # Positions count from the start of the session.
        apart_ms = len(hello) / BYTES_PER_MS + 1200
        assert_near(second[0]["audio_start_ms"] - first[0]["audio_start_ms"], apart_ms)


async def test_without_create_response_the_client_asks(
    gateway: Gateway, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **LISTEN, **TEXT)
        await client.speak(hello, realtime=False)
        await client.wait_for("input_audio_buffer.committed")
        await lives(client)
        assert client.events_of("response.created") == []
        assert (await respond(client)).text == f"You said: {HELLO}."


async def test_without_interrupt_response_a_reply_goes_on(
    gateway: Gateway, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect) as client:
        detection = {"type": "server_vad", "interrupt_response": False}
        await configure(client, turn_detection=detection, **TEXT)
        response_id = await begin(client, "stall")
        await client.speak(hello, realtime=False)
        await client.wait_for("input_audio_buffer.committed")
        await lives(client)
        # One response at a time: the turn that ended meanwhile is not answered by itself.
        assert len(client.events_of("response.created")) == 1
        assert client.events_of("response.done", "error") == []
        await client.send({"type": "response.cancel"})
        await ended(client, response_id)
        assert (await respond(client)).text == f"You said: {HELLO}."


@pytest.mark.parametrize(
    ("change", "start_ms", "end_ms"),
    [
        ({"silence_duration_ms": 900}, 0, 400),
        ({"silence_duration_ms": 200}, 0, -300),
        ({"prefix_padding_ms": 0}, 300, 0),
        ({"prefix_padding_ms": 600, "silence_duration_ms": 800}, -300, 300),
    ],
)
async def test_parameters_may_change_between_turns(
    gateway: Gateway, dialect: Any, hello: bytes, change: dict[str, int], start_ms: int, end_ms: int
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **LISTEN)
        spoken = await client.speak(hello, realtime=False)
        await bounds(client)
        session = await configure(client, turn_detection={"type": "server_vad", **change})
        assert shown(dialect, session, "turn_detection").items() >= change.items()
        spoken = await client.speak(hello, before_ms=800, after_ms=1500, realtime=False)
        started, stopped = await bounds(client)
        assert_near(started["audio_start_ms"], spoken.start_ms + SPEECH_MS[0] - 300 + start_ms)
        assert_near(stopped["audio_end_ms"], spoken.start_ms + SPEECH_MS[1] + 500 + end_ms)


async def test_the_threshold_decides_what_is_speech(gateway: Gateway, hello: bytes) -> None:
    whisper = (np.frombuffer(hello, "<i2") * 0.06).astype("<i2").tobytes()
    async with gateway.connect() as client:
        strict = {"type": "server_vad", "threshold": 0.97, "create_response": False}
        await configure(client, turn_detection=strict)
        unheard = await client.speak(whisper, realtime=False)
        await configure(client, turn_detection={"type": "server_vad", "threshold": 0.1})
        await client.speak(whisper, realtime=False)
        started, _ = await bounds(client)
        assert started["audio_start_ms"] > unheard.end_ms


async def test_parameters_may_change_in_mid_speech(
    gateway: Gateway, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **LISTEN)
        await client.append_fast(silence(200) + between(hello, 0, 700))
        started = await client.wait_for("input_audio_buffer.speech_started")
        await configure(client, turn_detection={"type": "server_vad", "silence_duration_ms": 1500})
        await client.append_fast(hello[700 * BYTES_PER_MS :] + silence(2000))
        stopped = await client.wait_for("input_audio_buffer.speech_stopped")
        assert stopped["item_id"] == started["item_id"]
        assert_near(stopped["audio_end_ms"], 200 + SPEECH_MS[1] + 1500)


async def test_turn_detection_off_in_mid_speech_and_on_again(
    gateway: Gateway, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **LISTEN)
        sent = silence(200) + hello
        await client.append_fast(sent[: 900 * BYTES_PER_MS])
        started = await client.wait_for("input_audio_buffer.speech_started")
        session = await configure(client, **MANUAL)
        assert shown(dialect, session, "turn_detection") is None
        await client.append_fast(sent[900 * BYTES_PER_MS :] + silence(1000))
        item_id = (await commit(client))["item_id"]
        assert item_id == started["item_id"]
        assert client.events_of("input_audio_buffer.speech_stopped") == []
        expected = (sent + silence(1000))[started["audio_start_ms"] * BYTES_PER_MS :]
        assert await audio_of(client, item_id) == expected

        await configure(client, **LISTEN)
        spoken = await client.speak(hello, realtime=False)
        again, stopped = await bounds(client)
        assert again["item_id"] != item_id
        assert_near(again["audio_start_ms"], spoken.start_ms + SPEECH_MS[0] - 300)
        assert_near(stopped["audio_end_ms"], spoken.start_ms + SPEECH_MS[1] + 500)


async def test_a_commit_by_hand_while_the_user_speaks(
    gateway: Gateway, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **LISTEN)
        sent = silence(200) + hello + silence(1000)
        await client.append_fast(sent[: 700 * BYTES_PER_MS])
        started = await client.wait_for("input_audio_buffer.speech_started")
        assert (await commit(client))["item_id"] == started["item_id"]
        assert client.events_of("input_audio_buffer.speech_stopped") == []
        first = await audio_of(client, started["item_id"])
        assert first == between(sent, started["audio_start_ms"], 700)
        # The rest of the speech is a turn of its own, and no sample belongs to both.
        await client.append_fast(sent[700 * BYTES_PER_MS :])
        again, stopped = await bounds(client)
        assert again["item_id"] != started["item_id"]
        assert again["audio_start_ms"] >= 700
        assert_near(stopped["audio_end_ms"], 200 + SPEECH_MS[1] + 500)
        second = await audio_of(client, again["item_id"])
        assert second == between(sent, again["audio_start_ms"], stopped["audio_end_ms"])


async def test_a_commit_by_hand_while_nobody_speaks(gateway: Gateway, dialect: Any) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **VAD)
        await client.append(silence(300))
        item_id = (await commit(client))["item_id"]
        assert await audio_of(client, item_id) == silence(300)
        assert client.events_of("input_audio_buffer.speech_started", "response.created") == []


async def test_clearing_in_mid_speech_forgets_the_turn(
    gateway: Gateway, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **LISTEN)
        await client.append_fast(silence(200) + between(hello, 0, 700))
        first = await client.wait_for("input_audio_buffer.speech_started")
        await lives(client)
        spoken = await client.speak(hello, before_ms=1000, realtime=False)
        started, _ = await bounds(client)
        assert started["item_id"] != first["item_id"]
        assert_near(started["audio_start_ms"], spoken.start_ms + SPEECH_MS[0] - 300)
        assert client.events_of("input_audio_buffer.committed")[0]["item_id"] == started["item_id"]


async def test_semantic_vad_is_served(gateway: Gateway, dialect: Any, hello: bytes) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, turn_detection={"type": "semantic_vad"}, **TEXT)
        await client.speak(hello, after_ms=1500, realtime=False)
        assert (await client.collect_response()).text == f"You said: {HELLO}."


@pytest.mark.parametrize(
    "name", ["en_go_forward", "en_cards_long", "en_weather", "en_cold_hearted_office_10dB"]
)
async def test_real_speech_is_found_where_it_is(
    gateway: Gateway, shared_audio: SharedAudio, manifest: dict[str, Any], name: str
) -> None:
    async with gateway.connect() as client:
        detection = {"type": "server_vad", "create_response": False, "silence_duration_ms": 800}
        await configure(client, turn_detection=detection)
        spoken = await client.speak(shared_audio(name), before_ms=500, realtime=False)
        started, stopped = await bounds(client)
        clip = manifest[name]
        assert_near(started["audio_start_ms"], spoken.start_ms + clip["speech_start_ms"] - 300)
        assert_near(stopped["audio_end_ms"], spoken.start_ms + clip["speech_end_ms"] + 800)


async def test_noise_and_music_start_no_turn(
    gateway: Gateway, shared_audio: SharedAudio, manifest: dict[str, Any], hello: bytes
) -> None:
    clips = [name for name, clip in manifest.items() if clip["kind"] != "speech"]
    assert clips
    for name in clips:
        async with gateway.connect() as client:
            await configure(client, **LISTEN)
            await client.append_fast(shared_audio(name))
            # Speech behind it shows that all of it has been heard by then.
            spoken = await client.speak(hello, before_ms=1500, realtime=False)
            started, _ = await bounds(client)
            assert started["audio_start_ms"] > spoken.start_ms - 300, name


# --- transcription ----------------------------------------------------------------------------


async def test_words_come_back_only_when_asked_for(client: RealtimeClient, hello: bytes) -> None:
    await client.append_fast(hello)
    item_id = (await commit(client))["item_id"]
    assert (await respond(client, **TEXT)).text == f"You said: {HELLO}."
    assert [event for event in client.events if event["type"].startswith(TRANSCRIPTION)] == []
    (part,) = (await retrieve(client, item_id))["content"]
    assert part["transcript"] is None


async def test_the_transcript_is_kept_with_the_item(client: RealtimeClient, hello: bytes) -> None:
    await configure(client, **TRANSCRIBE)
    await client.append_fast(hello)
    item_id = (await commit(client))["item_id"]
    await client.wait_for(f"{TRANSCRIPTION}.completed")
    (part,) = (await retrieve(client, item_id))["content"]
    assert part["transcript"] == HELLO


async def test_hypotheses_are_streamed(dialect: Any, hello: bytes) -> None:
    stt = FakeStt()
    async with run_gateway(stt=stt) as gateway, gateway.connect(dialect) as client:
        await configure(client, **MANUAL, **TRANSCRIBE)
        await client.append_fast(hello)
        item_id = (await commit(client))["item_id"]
        service = await stt.closed.get()
        await service.answer(Perhaps("good"))
        await service.answer(Perhaps("good morning"))
        await service.answer("good morning to you")
        completed = await client.wait_for(f"{TRANSCRIPTION}.completed")
        assert completed["transcript"] == "good morning to you"
        deltas = client.events_of(f"{TRANSCRIPTION}.delta")
        assert "".join(event["delta"] for event in deltas) == "good morning to you"
        assert {event["item_id"] for event in deltas} == {item_id}


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(
    ("category", "code"),
    [
        (ErrorCategory.UNINTELLIGIBLE, "audio_unintelligible"),
        (ErrorCategory.SERVER, "server_error"),
    ],
)
async def test_a_turn_that_is_not_understood_fails(
    dialect: Any, hello: bytes, asked: bool, category: ErrorCategory, code: str
) -> None:
    stt = FakeStt()
    async with run_gateway(stt=stt) as gateway, gateway.connect(dialect) as client:
        await configure(client, **VAD, **TEXT, **(TRANSCRIBE if asked else {}))
        await client.speak(hello, realtime=False)
        created = await client.wait_for("response.created")
        service = await stt.closed.get()
        await service.answer(StageFailedFrame(Stage.STT, category, "no ears today"))
        done = await ended(client, created["response"]["id"])
        assert done["status"] == "failed"
        assert done["status_details"]["error"]["message"] == "no ears today"
        failed = client.events_of(f"{TRANSCRIPTION}.failed")
        assert [event["error"]["code"] for event in failed] == ([code] if asked else [])
        # The next turn is a new one.
        await client.speak(hello, realtime=False)
        await (await stt.closed.get()).answer("good morning")
        assert (await client.collect_response()).text == "You said: good morning."


async def test_a_recogniser_that_never_answers_is_given_up(dialect: Any, hello: bytes) -> None:
    patience = {"stt_timeout_ms": 300}
    async with (
        run_gateway(stt=FakeStt(), session=patience) as gateway,
        gateway.connect(dialect) as client,
    ):
        await configure(client, **VAD, **TEXT, **TRANSCRIBE)
        await client.speak(hello, realtime=False)
        response = await client.collect_response()
        assert response.status == "failed"
        assert len(client.events_of(f"{TRANSCRIPTION}.failed")) == 1


async def test_a_turn_without_words_is_answered_with_silence(dialect: Any, hello: bytes) -> None:
    stt = FakeStt()
    async with run_gateway(stt=stt) as gateway, gateway.connect(dialect) as client:
        await configure(client, **VAD, **TRANSCRIBE)
        await client.speak(hello, realtime=False)
        await (await stt.closed.get()).answer("")
        response = await client.collect_response()
        assert (response.status, response.final["output"]) == ("completed", [])
        completed = await client.wait_for(f"{TRANSCRIPTION}.completed")
        assert completed["transcript"] == ""


async def test_a_language_nobody_here_understands_is_refused(dialect: Any) -> None:
    stt = FakeStt(languages=frozenset({"en"}))
    async with run_gateway(stt=stt) as gateway, gateway.connect(dialect) as client:
        session = await configure(
            client, input_audio_transcription={"model": "whisper-1", "language": "en-GB"}
        )
        assert shown(dialect, session, "input_audio_transcription")["language"] == "en-GB"
        asked: Any = {"model": "whisper-1", "language": "zh"}
        event_id = await client.update_session(
            **({"input_audio_transcription": asked} if dialect == "beta" else {}),
            **({"audio": {"input": {"transcription": asked}}} if dialect == "ga" else {}),
        )
        error = await refusal(client, event_id)
        assert error["code"] == "invalid_value"
        assert "STT_PROVIDER" in error["message"]
        assert error["param"].endswith("transcription.language")


async def test_a_recogniser_is_fed_as_much_at_once_as_it_likes(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    service: Any = getattr(scripted_stt, "_ScriptedSttService")  # noqa: B009  (it is private)
    hear = service.hear
    heard_ms: list[float] = []

    async def noted(self: Any, segment: Any, pcm: bytes) -> None:
        heard_ms.append(len(pcm) / 32)
        await hear(self, segment, pcm)

    monkeypatch.setattr(service, "hear", noted)
    monkeypatch.setattr(service, "frame_ms", 400)
    async with gateway.connect() as client:
        await configure(client, **MANUAL, **TRANSCRIBE)
        await client.append_realtime(silence(1000))
        await commit(client)
        await client.wait_for(f"{TRANSCRIPTION}.completed")
    # The change of rate holds a millisecond back, and a busy machine may join two frames.
    assert heard_ms[0] >= 399
    assert len(heard_ms) <= 4
    assert sum(heard_ms) == 1000
