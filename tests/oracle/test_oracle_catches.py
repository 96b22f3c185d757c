"""The oracle is silent on right turns, and speaks up for every fault planted in one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest

from tests.oracle import Oracle, SequenceChecker, check_event
from tests.oracle.schema import Dialect, WireEvent
from tests.oracle.turns import (
    BETA_SESSION,
    SESSION,
    TURNS,
    Step,
    Turn,
    barge_in,
    in_beta,
    push_to_talk,
    telephony,
    tool_turn,
    typed_turn,
    voice_turn,
)

Plant = Callable[[Turn], None]

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def _problems(turn: Turn, dialect: Dialect) -> list[str]:
    oracle = Oracle(dialect, record=False)
    for step in turn:
        match step.sender:
            case "client":
                oracle.client(step.event)
            case "server":
                oracle.server(step.event)
    return oracle.finish()


# --- positive control -----------------------------------------------------------------------


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_right_turns_are_clean(name: str, dialect: Dialect) -> None:
    turn = TURNS[name]()
    assert _problems(turn if dialect == "ga" else in_beta(turn), dialect) == []


def test_a_refused_handshake_is_an_error_alone() -> None:
    error = {
        "type": "invalid_request_error",
        "code": "invalid_api_key",
        "message": "Incorrect API key provided.",
        "param": None,
        "event_id": None,
    }
    refusal = Step("server", {"type": "error", "event_id": "event_1", "error": error})
    assert _problems([refusal], "ga") == []
    assert any("(a)" in problem for problem in _problems([refusal, *voice_turn()], "ga"))


def test_an_undecided_connection_opens_in_both_dialects() -> None:
    both = {**BETA_SESSION, **SESSION}
    oracle = Oracle("ga", opening="both", record=False)
    oracle.server({"type": "session.created", "event_id": "event_1", "session": both})
    oracle.assert_clean()
    oracle = Oracle("beta", opening="both", record=False)
    del both["modalities"]
    oracle.server({"type": "session.created", "event_id": "event_1", "session": both})
    with pytest.raises(AssertionError, match=r"beta half: keys: missing session\.modalities"):
        oracle.assert_clean()


def test_nonsense_from_the_client_is_the_servers_business() -> None:
    oracle = Oracle("ga", record=False)
    oracle.client({"type": "session.update", "session": "warm"})
    oracle.client({"type": "session.update", "session": {"audio": {"input": [1]}}})
    oracle.client({"type": "input_audio_buffer.append", "audio": 7})
    oracle.client({"type": "conversation.item.create", "item": "hello"})
    oracle.client({"event_id": 7})
    oracle.server(voice_turn()[0].event)
    oracle.assert_clean()


def test_a_beta_transcription_session_may_name_any_model_and_eagerness() -> None:
    session = {
        "id": "sess_1",
        "object": "realtime.transcription_session",
        "expires_at": 1,
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "my-whisper", "language": None, "prompt": None},
        "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
        "input_audio_noise_reduction": None,
        "include": None,
    }
    updated = {"type": "transcription_session.updated", "event_id": "e", "session": session}
    assert check_event(updated, "beta") == []


def test_the_id_of_a_deleted_item_may_be_used_again() -> None:
    checker = SequenceChecker("ga")
    item = {"id": "mine", "type": "message", "role": "user", "status": "completed", "content": []}
    place = {"previous_item_id": None, "item": item}
    words = {"item_id": "mine", "content_index": 0, "transcript": "hello"}
    heard = {"input": {"transcription": {"model": "m"}, "turn_detection": None}}
    checker.server({"type": "session.created", "session": {"audio": heard}})
    for _ in range(2):
        checker.client({"type": "conversation.item.create", "item": item})
        checker.server({"type": "conversation.item.added", **place})
        checker.server({"type": "conversation.item.done", **place})
        checker.server({"type": "conversation.item.input_audio_transcription.completed", **words})
        checker.server({"type": "conversation.item.deleted", "item_id": "mine"})
    assert checker.finish() == []


def test_a_cut_connection_may_leave_work_open() -> None:
    oracle = Oracle("ga", record=False)
    for step in voice_turn()[:12]:
        (oracle.client if step.sender == "client" else oracle.server)(step.event)
    oracle.assert_clean(complete=False)
    with pytest.raises(AssertionError, match=r"\(b\) resp_1 never got its response\.done"):
        oracle.assert_clean()


# --- ways to plant a fault ------------------------------------------------------------------


def _find(turn: Turn, kind: str, nth: int = 0) -> int:
    """Index of the nth (or, negative, nth last) frame of that type."""
    return [index for index, step in enumerate(turn) if step.event["type"] == kind][nth]


def _parent(event: WireEvent, path: str) -> tuple[Any, Any]:
    """The container that `path` ("a.b.0.c") leads into, and the last key."""
    *steps, last = (int(key) if key.isdigit() else key for key in path.split("."))
    node: Any = event
    for key in steps:
        node = node[key]
    return node, last


def change(kind: str, path: str, value: object, nth: int = 0) -> Plant:
    def plant(turn: Turn) -> None:
        node, key = _parent(turn[_find(turn, kind, nth)].event, path)
        node[key] = value

    return plant


def remove(kind: str, path: str, nth: int = 0) -> Plant:
    def plant(turn: Turn) -> None:
        node, key = _parent(turn[_find(turn, kind, nth)].event, path)
        del node[key]

    return plant


def drop(kind: str, nth: int = 0) -> Plant:
    def plant(turn: Turn) -> None:
        del turn[_find(turn, kind, nth)]

    return plant


def repeat(kind: str, nth: int = 0) -> Plant:
    def plant(turn: Turn) -> None:
        index = _find(turn, kind, nth)
        again = deepcopy(turn[index].event) | {"event_id": "event_again"}
        turn.insert(index + 1, Step("server", again))

    return plant


def move_after(kind: str, other: str, nth: int = 0, other_nth: int = 0) -> Plant:
    def plant(turn: Turn) -> None:
        other_event = turn[_find(turn, other, other_nth)]
        step = turn.pop(_find(turn, kind, nth))
        turn.insert(turn.index(other_event) + 1, step)

    return plant


def send_before(kind: str, event: WireEvent, nth: int = 0) -> Plant:
    def plant(turn: Turn) -> None:
        stamped = {"event_id": "event_planted", **deepcopy(event)}
        turn.insert(_find(turn, kind, nth), Step("server", stamped))

    return plant


def both(first: Plant, second: Plant) -> Plant:
    def plant(turn: Turn) -> None:
        first(turn)
        second(turn)

    return plant


# --- the table ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A right turn, what to break in it, and what the oracle must say."""

    name: str
    turn: Callable[[], Turn]
    plant: Plant
    says: str
    dialect: Dialect = "ga"


_PART = {
    "response_id": "resp_1",
    "item_id": "item_a1",
    "output_index": 0,
    "content_index": 0,
}
_SESSION_INPUT = "session.audio.input"
_FLAT = {key: value for key, value in SESSION.items() if key != "audio"} | {"voice": "alloy"}

FAULTS = [
    # single events: the SDK's types
    Fault("no event_id", voice_turn, remove("response.done", "event_id"), "event_id"),
    Fault("no type", voice_turn, remove("response.done", "type"), "schema"),
    Fault(
        "unknown type",
        voice_turn,
        change("response.created", "type", "response.begun"),
        "schema",
    ),
    Fault(
        "beta event in GA",
        voice_turn,
        change("response.output_audio.delta", "type", "response.audio.delta"),
        "schema",
    ),
    Fault(
        "GA event in beta",
        voice_turn,
        change("response.audio.delta", "type", "response.output_audio.delta"),
        "schema",
        "beta",
    ),
    Fault("flat session", voice_turn, change("session.created", "session", _FLAT), "voice"),
    Fault(
        "GA session in beta",
        voice_turn,
        change("session.created", "session", SESSION),
        "unknown field session",
        "beta",
    ),
    Fault(
        "fractional ms",
        voice_turn,
        change("input_audio_buffer.speech_started", "audio_start_ms", 200.0),
        "audio_start_ms",
    ),
    Fault(
        "wrong sample rate",
        voice_turn,
        change("session.created", f"{_SESSION_INPUT}.format.rate", 16000),
        "rate",
    ),
    Fault(
        "rate on G.711",
        voice_turn,
        change("session.created", f"{_SESSION_INPUT}.format.type", "audio/pcmu"),
        "unknown field session.audio.input.format.rate",
    ),
    Fault(
        "reason of our own",
        barge_in,
        change("response.done", "response.status_details.reason", "barge_in"),
        "reason",
    ),
    Fault(
        "unknown turn detection",
        voice_turn,
        change("session.created", f"{_SESSION_INPUT}.turn_detection.type", "vad"),
        "turn_detection",
    ),
    Fault(
        "role developer",
        typed_turn,
        change("conversation.item.added", "item.role", "developer"),
        "role",
    ),
    Fault(
        "unknown field",
        voice_turn,
        change("response.done", "response.finish_reason", "stop"),
        "unknown field response.finish_reason",
    ),
    Fault(
        "item content named as a part",
        voice_turn,
        change("response.output_item.done", "item.content.0.type", "audio"),
        "item",
    ),
    Fault(
        "part named as item content",
        voice_turn,
        change("response.content_part.added", "part.type", "output_audio"),
        "part",
    ),
    Fault(
        "transcription without usage",
        voice_turn,
        remove(f"{_TRANSCRIPTION}.completed", "usage"),
        "usage",
    ),
    # single events: our own table
    Fault(
        "arguments.done without name",
        tool_turn,
        remove("response.function_call_arguments.done", "name"),
        "name",
    ),
    Fault(
        "name in beta arguments.done",
        tool_turn,
        change("response.function_call_arguments.done", "name", "get_weather"),
        "unknown field name",
        "beta",
    ),
    Fault(
        "conversation.created in GA",
        voice_turn,
        send_before(
            "response.created",
            {"type": "conversation.created", "conversation": {"id": "conv_1"}},
        ),
        "is no event of the ga dialect",
    ),
    Fault(
        "item.created in GA",
        voice_turn,
        change("conversation.item.added", "type", "conversation.item.created"),
        "is no event of the ga dialect",
    ),
    Fault(
        "session without instructions",
        voice_turn,
        remove("session.created", "session.instructions"),
        "missing session.instructions",
    ),
    Fault(
        "turn detection without interrupt_response",
        voice_turn,
        remove("session.created", f"{_SESSION_INPUT}.turn_detection.interrupt_response"),
        "interrupt_response",
    ),
    Fault(
        "beta session without temperature",
        voice_turn,
        remove("session.created", "session.temperature"),
        "missing session.temperature",
        "beta",
    ),
    Fault(
        "response without status",
        voice_turn,
        remove("response.done", "response.status"),
        "missing response.status",
    ),
    Fault(
        "response.created without output",
        voice_turn,
        remove("response.created", "response.output"),
        "missing response.output",
    ),
    Fault(
        "completed response without usage",
        voice_turn,
        change("response.done", "response.usage", None),
        "missing response.usage",
    ),
    Fault(
        "usage that does not add up",
        voice_turn,
        change("response.done", "response.usage.total_tokens", 80),
        "total_tokens",
    ),
    Fault(
        "completed with status_details",
        voice_turn,
        change(
            "response.done",
            "response.status_details",
            {"type": "cancelled", "reason": "turn_detected"},
        ),
        "status_details must be null",
    ),
    Fault(
        "status_details missing on cancelled",
        barge_in,
        change("response.done", "response.status_details", None),
        "status_details must not be null",
    ),
    Fault(
        "status_details of another status",
        barge_in,
        change("response.done", "response.status", "failed"),
        "status_details.type",
    ),
    Fault(
        "failed without an error",
        barge_in,
        both(
            change("response.done", "response.status", "failed"),
            change("response.done", "response.status_details", {"type": "failed"}),
        ),
        "missing details.error.code",
    ),
    Fault(
        "incomplete for no reason",
        barge_in,
        both(
            change("response.done", "response.status", "incomplete"),
            change("response.done", "response.status_details", {"type": "incomplete"}),
        ),
        "status_details.reason",
    ),
    Fault(
        "response born completed",
        voice_turn,
        change("response.created", "response.status", "completed"),
        "response.created wants",
    ),
    Fault(
        "response done in progress",
        voice_turn,
        change("response.done", "response.status", "in_progress"),
        "response.done wants",
    ),
    Fault(
        "usage without details",
        voice_turn,
        remove("response.done", "response.usage.output_token_details.audio_tokens"),
        "missing response.usage.output_token_details.audio_tokens",
    ),
    Fault(
        "input tokens that do not add up",
        voice_turn,
        change("response.done", "response.usage.input_token_details.text_tokens", 15),
        "input_tokens is not",
    ),
    Fault(
        "output tokens that do not add up",
        voice_turn,
        change("response.done", "response.usage.output_token_details.text_tokens", 15),
        "output_tokens is not",
    ),
    Fault(
        "no previous_item_id",
        voice_turn,
        remove("conversation.item.added", "previous_item_id"),
        "missing previous_item_id",
    ),
    Fault("error of four keys", typed_turn, remove("error", "error.param"), "error.param"),
    Fault(
        "null part.text",
        typed_turn,
        change("response.content_part.added", "part.text", None),
        "null part.text",
    ),
    Fault(
        "null part.audio",
        voice_turn,
        change("response.content_part.added", "part.audio", None),
        "null part.audio",
    ),
    Fault(
        "part without its empty string",
        voice_turn,
        remove("response.content_part.added", "part.transcript"),
        "missing part.transcript",
    ),
    Fault(
        "null item status",
        voice_turn,
        change("response.output_item.added", "item.status", None),
        "null item.status",
    ),
    Fault(
        "null item name",
        voice_turn,
        change("conversation.item.added", "item.name", None),
        "item.name",
    ),
    Fault(
        "user audio without a transcript key",
        voice_turn,
        remove("conversation.item.added", "item.content.0.transcript"),
        "missing item.content[0].transcript",
    ),
    Fault(
        "null in a failed transcription",
        voice_turn,
        send_before(
            f"{_TRANSCRIPTION}.completed",
            {
                "type": f"{_TRANSCRIPTION}.failed",
                "item_id": "item_u1",
                "content_index": 0,
                "error": {
                    "type": "transcription_error",
                    "code": "x",
                    "message": "m",
                    "param": None,
                },
            },
        ),
        "null error.param",
    ),
    Fault(
        "item.object in GA",
        voice_turn,
        change("conversation.item.added", "item.object", "realtime.item"),
        "item.object does not belong",
    ),
    Fault(
        "no item.object in beta",
        voice_turn,
        remove("conversation.item.created", "item.object"),
        "missing item.object",
        "beta",
    ),
    Fault(
        "GA content in beta",
        voice_turn,
        change("response.output_item.done", "item.content.0.type", "output_audio"),
        "item",
        "beta",
    ),
    # (a) opening
    Fault("no session.created", voice_turn, drop("session.created"), "(a)"),
    Fault("session.created twice", voice_turn, repeat("session.created"), "(a)"),
    # (b) responses
    Fault("no response.created", voice_turn, drop("response.created"), "(b)"),
    Fault("no response.done", voice_turn, drop("response.done"), "(b)"),
    Fault("two response.created", voice_turn, repeat("response.created"), "(b)"),
    Fault("two response.done", voice_turn, repeat("response.done"), "(b)"),
    Fault(
        "delta after the cancelled done",
        barge_in,
        send_before(
            "conversation.item.truncated",
            {"type": "response.output_audio.delta", **_PART, "delta": "AAA="},
        ),
        "(b)",
    ),
    Fault(
        "metadata lost on the way",
        voice_turn,
        change("response.created", "response.metadata", {"topic": "x"}),
        "(b)",
    ),
    # (c) output items
    Fault(
        "item event without output_item.added",
        voice_turn,
        drop("response.output_item.added"),
        "(c)",
    ),
    Fault("no output_item.done", voice_turn, drop("response.output_item.done"), "(c)"),
    Fault(
        "two output_item.added",
        voice_turn,
        repeat("response.output_item.added"),
        "(c) second response.output_item.added",
    ),
    Fault(
        "call added with its arguments",
        tool_turn,
        change("response.output_item.added", "item.arguments", "{}", nth=1),
        "(c)",
    ),
    Fault(
        "call renamed when done",
        tool_turn,
        change("response.output_item.done", "item.name", "get_time", nth=1),
        "(c) item_f1 changed its name",
    ),
    Fault("two output_item.done", voice_turn, repeat("response.output_item.done"), "(c)"),
    Fault(
        "call added as completed",
        tool_turn,
        change("response.output_item.added", "item.status", "completed", nth=1),
        "(c)",
    ),
    Fault(
        "output_index jumps",
        tool_turn,
        change("response.output_item.added", "output_index", 5, nth=1),
        "(c)",
    ),
    Fault(
        "delta of another item",
        tool_turn,
        change("response.function_call_arguments.delta", "item_id", "item_f2"),
        "(c)",
    ),
    Fault(
        "delta of another call",
        tool_turn,
        change("response.function_call_arguments.delta", "call_id", "call_x"),
        "(c)",
    ),
    Fault(
        "arguments.done names another function",
        tool_turn,
        change("response.function_call_arguments.done", "name", "get_time"),
        "(c)",
    ),
    # (d) parts and deltas
    Fault(
        "delta before its part",
        voice_turn,
        move_after("response.content_part.added", "response.output_audio_transcript.delta"),
        "(d)",
    ),
    Fault("no content_part.done", voice_turn, drop("response.content_part.done"), "(d)"),
    Fault("two content_part.done", voice_turn, repeat("response.content_part.done"), "(d)"),
    Fault(
        "part inside an open one",
        voice_turn,
        both(
            repeat("response.content_part.added"),
            change("response.content_part.added", "content_index", 1, nth=1),
        ),
        "(d) content part of item_a1 added inside",
    ),
    Fault(
        "content_index jumps",
        voice_turn,
        change("response.content_part.added", "content_index", 1),
        "(d) content_index 1",
    ),
    Fault(
        "content part in a call",
        tool_turn,
        send_before(
            "response.function_call_arguments.delta",
            {
                "type": "response.content_part.added",
                **_PART,
                "item_id": "item_f1",
                "output_index": 1,
                "part": {"type": "text", "text": ""},
            },
        ),
        "which is no message",
    ),
    Fault(
        "part changes its type",
        voice_turn,
        change("response.content_part.done", "part", {"type": "text", "text": "Hello there."}),
        "(d) content part changed its type",
    ),
    Fault(
        "text in an audio part",
        voice_turn,
        send_before(
            "response.output_audio.done",
            {"type": "response.output_text.delta", **_PART, "delta": "Hello"},
        ),
        "in a part of type 'audio'",
    ),
    Fault(
        "transcript never ended",
        voice_turn,
        drop("response.output_audio_transcript.done"),
        "(d) content_part.done before",
    ),
    Fault("two audio.done", voice_turn, repeat("response.output_audio.done"), "(d) second"),
    Fault(
        "arguments.done differs",
        tool_turn,
        change("response.function_call_arguments.done", "arguments", "{}"),
        "(d)",
    ),
    Fault(
        "arguments after arguments.done",
        tool_turn,
        move_after(
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            nth=1,
        ),
        "(d)",
    ),
    Fault(
        "completed with an incomplete item",
        barge_in,
        both(
            change("response.done", "response.status", "completed"),
            change("response.done", "response.status_details", None),
        ),
        "(d) resp_1 is completed with an incomplete item",
    ),
    Fault("two text.done", typed_turn, repeat("response.output_text.done"), "(d)"),
    Fault(
        "a lost transcript delta",
        voice_turn,
        drop("response.output_audio_transcript.delta", nth=1),
        "(d)",
    ),
    Fault("a lost text delta", typed_turn, drop("response.output_text.delta"), "(d)"),
    Fault(
        "a lost argument delta",
        tool_turn,
        drop("response.function_call_arguments.delta"),
        "(d)",
    ),
    Fault(
        "a lost beta delta",
        voice_turn,
        drop("response.audio_transcript.delta"),
        "(d)",
        "beta",
    ),
    Fault(
        "text delta after text.done",
        typed_turn,
        move_after("response.output_text.delta", "response.output_text.done", nth=1),
        "(d)",
    ),
    Fault(
        "audio delta after audio.done",
        voice_turn,
        move_after("response.output_audio.delta", "response.output_audio.done"),
        "(d)",
    ),
    Fault(
        "transcript.done before audio.done",
        voice_turn,
        move_after("response.output_audio.done", "response.output_audio_transcript.done"),
        "(d)",
    ),
    Fault("no audio.done", barge_in, drop("response.output_audio.done"), "(d)"),
    Fault(
        "text.done differs",
        typed_turn,
        change("response.output_text.done", "text", "Hello there"),
        "(d)",
    ),
    Fault(
        "part.done differs",
        voice_turn,
        change("response.content_part.done", "part.transcript", "Hello"),
        "(d)",
    ),
    Fault(
        "item.done differs",
        voice_turn,
        change("conversation.item.done", "item.content.0.transcript", "Hello", nth=1),
        "(d)",
    ),
    Fault(
        "response.done differs",
        voice_turn,
        change("response.done", "response.output.0.content.0.transcript", "Hello"),
        "(d)",
    ),
    Fault(
        "response.done without its items",
        voice_turn,
        change("response.done", "response.output", []),
        "(d)",
    ),
    Fault(
        "item still in progress when done",
        voice_turn,
        change("response.output_item.done", "item.status", "in_progress"),
        "(d)",
    ),
    Fault(
        "audio that is not base64",
        voice_turn,
        change("response.output_audio.delta", "delta", "AAA"),
        "(d)",
    ),
    Fault(
        "half a sample",
        voice_turn,
        change("response.output_audio.delta", "delta", "AAAA"),
        "(d) audio delta splits a sample",
    ),
    Fault("a lost end of the transcript", voice_turn, drop(f"{_TRANSCRIPTION}.delta", 1), "(d)"),
    Fault("transcript twice", voice_turn, repeat(f"{_TRANSCRIPTION}.completed"), "(d)"),
    Fault(
        "call completed without arguments.done",
        tool_turn,
        drop("response.function_call_arguments.done"),
        "(d)",
    ),
    # (e) conversation items
    Fault("done without added", typed_turn, drop("conversation.item.added"), "(e)"),
    Fault("added without done", typed_turn, drop("conversation.item.done"), "(e)"),
    Fault("done twice", typed_turn, repeat("conversation.item.done"), "(e)"),
    Fault("added twice", typed_turn, repeat("conversation.item.added"), "(e)"),
    Fault(
        "output item not added",
        voice_turn,
        drop("conversation.item.added", nth=1),
        "(e)",
    ),
    Fault(
        "output item not created, in beta",
        voice_turn,
        drop("conversation.item.created", nth=1),
        "(e)",
        "beta",
    ),
    Fault(
        "output item done without item.done",
        voice_turn,
        drop("conversation.item.done", nth=1),
        "(e)",
    ),
    Fault(
        "item.done after output_item.done",
        voice_turn,
        move_after("conversation.item.done", "response.output_item.done", nth=1),
        "(e)",
    ),
    Fault(
        "output item joins as another one",
        tool_turn,
        change("conversation.item.added", "item.name", "get_time", nth=2),
        "(e)",
    ),
    Fault(
        "part closed after its item",
        voice_turn,
        move_after("response.content_part.done", "conversation.item.done", other_nth=1),
        "(e)",
    ),
    Fault(
        "typed item changed on the way",
        typed_turn,
        change("conversation.item.done", "item.content.0.text", "ho"),
        "(e)",
    ),
    Fault(
        "transcript before its item",
        voice_turn,
        move_after(f"{_TRANSCRIPTION}.completed", "input_audio_buffer.committed"),
        "(e)",
    ),
    Fault(
        "out-of-band item in the conversation",
        push_to_talk,
        send_before(
            "response.content_part.added",
            {
                "type": "conversation.item.added",
                "previous_item_id": "item_u2",
                "item": {
                    "id": "item_oob",
                    "type": "message",
                    "status": "in_progress",
                    "role": "assistant",
                    "content": [],
                },
            },
        ),
        "(e)",
    ),
    # (f) one response at a time
    Fault(
        "two default responses",
        push_to_talk,
        change("response.created", "response.conversation_id", "conv_1", nth=1),
        "(f)",
    ),
    # (g) speech
    Fault(
        "speech_started twice",
        voice_turn,
        repeat("input_audio_buffer.speech_started"),
        "(g)",
    ),
    Fault("no speech_started", voice_turn, drop("input_audio_buffer.speech_started"), "(g)"),
    Fault(
        "stopped names another item",
        voice_turn,
        change("input_audio_buffer.speech_stopped", "item_id", "item_x"),
        "(g)",
    ),
    Fault(
        "committed names another item",
        voice_turn,
        change("input_audio_buffer.committed", "item_id", "item_x"),
        "(g)",
    ),
    Fault("committed twice", voice_turn, repeat("input_audio_buffer.committed"), "(g)"),
    Fault(
        "another item joins in place of the committed one",
        voice_turn,
        drop("conversation.item.added"),
        "(g) item_u1 was committed, item_a1 added",
    ),
    Fault(
        "new speech before the commit",
        barge_in,
        drop("input_audio_buffer.committed"),
        "(g)",
    ),
    Fault(
        "speech reuses an item",
        barge_in,
        change("input_audio_buffer.speech_started", "item_id", "item_u1", nth=1),
        "(g)",
    ),
    Fault(
        "response before the committed item",
        voice_turn,
        move_after("response.created", "input_audio_buffer.committed"),
        "(g)",
    ),
    # (h) the list
    Fault(
        "reply without its predecessor",
        voice_turn,
        change("conversation.item.added", "previous_item_id", None, nth=1),
        "(h)",
    ),
    Fault(
        "reply without its predecessor, in beta",
        voice_turn,
        change("conversation.item.created", "previous_item_id", None, nth=1),
        "(h)",
        "beta",
    ),
    Fault(
        "unknown predecessor",
        voice_turn,
        change("conversation.item.added", "previous_item_id", "item_x"),
        "(h)",
    ),
    Fault(
        "wrong predecessor in done",
        voice_turn,
        change("conversation.item.done", "previous_item_id", None, nth=1),
        "(h)",
    ),
    Fault(
        "wrong predecessor in committed",
        barge_in,
        change("input_audio_buffer.committed", "previous_item_id", "item_u1", nth=1),
        "(h)",
    ),
    Fault(
        "root ignored",
        typed_turn,
        change("conversation.item.added", "previous_item_id", "item_1", nth=1),
        "(h)",
    ),
    Fault(
        "insertion ignored",
        typed_turn,
        change("conversation.item.added", "previous_item_id", "item_1", nth=2),
        "(h)",
    ),
    Fault("deleted twice", typed_turn, repeat("conversation.item.deleted"), "(h)"),
    Fault(
        "truncated an unknown item",
        barge_in,
        change("conversation.item.truncated", "item_id", "item_x"),
        "(h)",
    ),
    # (i) (j) ids of events
    Fault(
        "event_id used twice",
        voice_turn,
        change("response.done", "event_id", "event_0"),
        "(i)",
    ),
    Fault(
        "error names a foreign event",
        typed_turn,
        change("error", "error.event_id", "yours"),
        "(j)",
    ),
    # (k) modality
    Fault(
        "audio in a text response",
        voice_turn,
        change("response.created", "response.output_modalities", ["text"]),
        "(k)",
    ),
    Fault(
        "audio in a beta text response",
        voice_turn,
        change("response.created", "response.modalities", ["text"]),
        "(k)",
        "beta",
    ),
    # (l) positions
    Fault(
        "end before start",
        voice_turn,
        change("input_audio_buffer.speech_stopped", "audio_end_ms", 100),
        "(l)",
    ),
    Fault(
        "positions fall back",
        barge_in,
        change("input_audio_buffer.speech_started", "audio_start_ms", 200, nth=1),
        "(l)",
    ),
    Fault(
        "position beyond what was appended",
        voice_turn,
        change("input_audio_buffer.speech_stopped", "audio_end_ms", 3100),
        "(l)",
    ),
    Fault(
        "position beyond what was appended, in G.711",
        telephony,
        change("input_audio_buffer.speech_stopped", "audio_end_ms", 3100),
        "(l)",
    ),
    # (m) not asked for
    Fault(
        "unasked transcription",
        voice_turn,
        change("session.created", f"{_SESSION_INPUT}.transcription", None),
        "(m)",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_fault_is_reported(fault: Fault) -> None:
    turn = fault.turn()
    if fault.dialect == "beta":
        turn = in_beta(turn)
    fault.plant(turn)
    problems = _problems(turn, fault.dialect)
    assert any(fault.says in problem for problem in problems), problems
