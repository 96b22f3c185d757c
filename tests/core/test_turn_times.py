"""Where a turn's time went, told from the events of a session on a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.messages import (
    GenerationRequest,
    ModelText,
    SpeechAudio,
    StartResponse,
    ToolCallStarted,
    TranscriptFinal,
    VadSpeechStopped,
)
from core.turn_times import MAX_OPEN_RECORDS, TurnClock, TurnTimes
from protocol import (
    FunctionCall,
    InputAudioCommitted,
    OutputAudioDelta,
    OutputItemAdded,
    OutputTextDelta,
    PcmFormat,
    ResponseCreated,
    ResponseDone,
    ResponseView,
)

REQUEST = GenerationRequest((), "", (), "auto", True, "alloy", 1.0, None, 0.8)
VIEW = ResponseView(
    id="resp_1",
    status="completed",
    status_details=None,
    output=(),
    conversation_id="conv_1",
    output_modalities=("audio",),
    max_output_tokens="inf",
    audio_format=PcmFormat(rate=24_000),
    voice="alloy",
    usage=None,
    metadata=None,
    temperature=0.8,
)
ASIDE = replace(VIEW, id="resp_aside", conversation_id=None)
AUDIO = OutputAudioDelta("resp_1", "item_2", 0, 0, b"\0\0")


def done(times: TurnTimes | None) -> TurnTimes:
    assert times is not None
    return times


def spoken_turn(clock: TurnClock) -> None:
    """Speech ended 0.52 s (of audio) before 10.0; its words come 0.1 s later."""
    clock.heard(VadSpeechStopped(0, 24_000), 10.0, 24_000 + 12_480)
    clock.sent(InputAudioCommitted(None, "item_1"), 10.0)
    clock.sent(ResponseCreated(VIEW), 10.0)
    clock.heard(TranscriptFinal("item_1", "hello"), 10.1, 40_000)
    clock.requested(StartResponse("resp_1", False, REQUEST), 10.1)


def test_a_spoken_turn_has_all_its_stages() -> None:
    clock = TurnClock()
    spoken_turn(clock)
    clock.heard(ModelText("resp_1", "Hi"), 10.3, 50_000)
    clock.heard(ModelText("resp_1", " there"), 10.35, 50_000)
    clock.heard(SpeechAudio("resp_1", b"\0\0"), 10.5, 50_000)
    assert clock.sent(AUDIO, 10.5) is None
    clock.sent(AUDIO, 10.9)
    times = done(clock.sent(ResponseDone(VIEW), 11.5))
    assert times.item_id == "item_1"
    assert times.stages() == pytest.approx(
        {"endpointing": 0.52, "transcript": 0.1, "first_token": 0.2, "first_audio": 0.2}
    )
    assert times.wait_s == pytest.approx(1.02)
    assert times.total_s == pytest.approx(1.5)


def test_a_typed_turn_waits_from_its_request_and_has_no_ear() -> None:
    clock = TurnClock()
    clock.sent(ResponseCreated(VIEW), 5.0)
    clock.requested(StartResponse("resp_1", False, REQUEST), 5.0)
    clock.heard(ModelText("resp_1", "Hi"), 5.25, 0)
    clock.sent(OutputTextDelta("resp_1", "item_2", 0, 0, "Hi"), 5.25)
    times = done(clock.sent(ResponseDone(VIEW), 6.0))
    assert times.stages() == pytest.approx({"first_token": 0.25})
    assert (times.item_id, times.wait_s) == (None, pytest.approx(0.25))


def test_a_function_call_is_what_was_waited_for() -> None:
    clock = TurnClock()
    spoken_turn(clock)
    clock.heard(ToolCallStarted("resp_1", "call_1", "look"), 10.2, 50_000)
    call = FunctionCall("item_3", "call_1", "look", "", "in_progress")
    clock.sent(OutputItemAdded("resp_1", 0, call), 10.2)
    times = done(clock.sent(ResponseDone(VIEW), 10.4))
    assert times.wait_s == pytest.approx(0.72)
    assert times.first_audio_s is None


def test_an_out_of_band_response_takes_no_turn_from_the_conversation() -> None:
    clock = TurnClock()
    clock.sent(InputAudioCommitted(None, "item_1"), 1.0)
    clock.sent(ResponseCreated(ASIDE), 1.0)
    clock.sent(ResponseCreated(VIEW), 1.5)
    aside = done(clock.sent(ResponseDone(ASIDE), 2.0))
    reply = done(clock.sent(ResponseDone(VIEW), 2.0))
    assert (aside.item_id, reply.item_id) == (None, "item_1")


def test_what_was_generated_before_the_end_of_the_turn_never_counts_as_negative() -> None:
    clock = TurnClock()
    clock.requested(StartResponse("resp_1", False, REQUEST), 9.0)
    clock.heard(ModelText("resp_1", "Hi"), 9.2, 0)
    clock.heard(SpeechAudio("resp_1", b"\0\0"), 9.4, 0)
    clock.heard(VadSpeechStopped(0, 0), 10.0, 12_000)
    clock.sent(InputAudioCommitted(None, "item_1"), 10.0)
    clock.heard(TranscriptFinal("item_1", "hello"), 10.0, 12_000)
    clock.sent(ResponseCreated(VIEW), 10.0)
    clock.sent(AUDIO, 10.0)
    times = done(clock.sent(ResponseDone(VIEW), 10.1))
    assert times.stages() == pytest.approx(
        {"endpointing": 0.5, "transcript": 0.0, "first_token": 0.2, "first_audio": 0.2}
    )
    assert times.wait_s == pytest.approx(0.5)


def test_the_times_of_a_draft_that_was_dropped_are_not_those_of_the_reply() -> None:
    clock = TurnClock()
    clock.requested(StartResponse("resp_1", False, REQUEST), 9.0)
    clock.heard(ModelText("resp_1", "Hi"), 9.9, 0)
    clock.sent(ResponseCreated(VIEW), 10.0)
    clock.requested(StartResponse("resp_aside", True, REQUEST), 10.0)
    clock.requested(StartResponse("resp_2", False, REQUEST), 10.0)
    clock.heard(SpeechAudio("resp_1", b"\0\0"), 10.1, 0)
    clock.heard(ModelText("resp_2", "Hello"), 10.25, 0)
    times = done(clock.sent(ResponseDone(VIEW), 11.0))
    assert times.stages() == pytest.approx({"first_token": 0.25})


def test_what_never_ends_is_forgotten_in_the_end() -> None:
    clock = TurnClock()
    for number in range(MAX_OPEN_RECORDS + 1):
        clock.sent(ResponseCreated(replace(VIEW, id=f"resp_{number}")), 1.0)
    assert clock.sent(ResponseDone(replace(VIEW, id="resp_0")), 2.0) is None
    assert clock.sent(ResponseDone(replace(VIEW, id="resp_1")), 2.0) is not None
