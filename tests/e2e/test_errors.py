"""Client mistakes: each is one error with all its keys, changes nothing, and the session lives."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import transport
from tests.e2e.wire import TEXT, ask, configure, lives, refusal, shown
from tests.harness import RealtimeClient
from tests.oracle import WireEvent

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIVE_KEYS = {"type", "code", "message", "param", "event_id"}


async def only_error(client: RealtimeClient) -> WireEvent:
    """The one error so far; the session must live on."""
    await lives(client)
    (event,) = client.events_of("error")
    assert event["error"].keys() == FIVE_KEYS
    assert event["error"]["type"] == "invalid_request_error"
    return event["error"]


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ("{", "invalid_json", "failed to parse JSON value"),
        ("", "invalid_json", "failed to parse JSON value"),
        ("hello", "invalid_json", "failed to parse JSON value"),
        ('{"type": "session.update"', "invalid_json", "failed to parse JSON value"),
        ("[" * 100_000, "invalid_json", "failed to parse JSON value"),
        ('[{"type": "response.cancel"}]', "invalid_json", "JSON object"),
        ("null", "invalid_json", "JSON object"),
        ("7", "invalid_json", "JSON object"),
        ('"session.update"', "invalid_json", "JSON object"),
        ("{}", "invalid_event", "The 'type' field is missing."),
        (b"\x00\x01", "invalid_event", "binary frames are not supported"),
        (b'{"type": "response.cancel"}', "invalid_event", "binary frames are not supported"),
        (b"", "invalid_event", "binary frames are not supported"),
    ],
)
async def test_a_frame_that_is_no_event(
    client: RealtimeClient, frame: str | bytes, code: str, words: str
) -> None:
    await client.send_raw(frame)
    error = await only_error(client)
    assert (error["code"], error["param"], error["event_id"]) == (code, None, None)
    assert words in error["message"]


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({}, "invalid_event", None),
        ({"type": 7}, "invalid_type", "type"),
        ({"type": None}, "invalid_type", "type"),
        ({"type": "session.delete"}, "invalid_value", "type"),
        ({"type": "output_audio_buffer.clear"}, "invalid_value", "type"),
        ({"type": "session.update"}, "missing_required_parameter", "session"),
        ({"type": "session.update", "session": "x"}, "invalid_type", "session"),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 5}, "invalid_type", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "*"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAA"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "声音"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "conversation.item.create"}, "missing_required_parameter", "item"),
        ({"type": "conversation.item.create", "item": []}, "invalid_type", "item"),
        ({"type": "conversation.item.delete"}, "missing_required_parameter", "item_id"),
        ({"type": "conversation.item.retrieve", "item_id": 1}, "invalid_type", "item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0},
            "missing_required_parameter",
            "audio_end_ms",
        ),
        ({"type": "response.create", "response": 1}, "invalid_type", "response"),
        (
            {"type": "response.create", "response": {"conversation": "other"}},
            "invalid_value",
            "response.conversation",
        ),
        (
            {"type": "response.create", "response": {"metadata": {"a": 1}}},
            "invalid_type",
            "response.metadata.a",
        ),
        (
            {"type": "response.create", "response": {"tool_choice": "get_time"}},
            "invalid_value",
            "response.tool_choice",
        ),
        (
            {
                "type": "response.create",
                "response": {"input": [{"type": "item_reference", "id": "x"}]},
            },
            "invalid_value",
            "response.input[0].id",
        ),
        ({"type": "response.cancel", "response_id": 4}, "invalid_type", "response_id"),
    ],
)
async def test_an_event_that_cannot_be_carried_out(
    client: RealtimeClient, event: WireEvent, code: str, param: str | None
) -> None:
    await client.send({**event, "event_id": "mine"}, stamp=False)
    error = await only_error(client)
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")
    assert error["message"]
    assert (await ask(client, "hi", **TEXT)).text == "You said: hi."


async def test_an_event_without_an_id_is_refused_without_one(client: RealtimeClient) -> None:
    await client.send({"type": "nothing"}, stamp=False)
    error = await only_error(client)
    assert error["event_id"] is None
    # What could have been meant is named.
    assert "'session.update'" in error["message"]


@pytest.mark.parametrize("event_id", [7, "x" * 513, {"a": 1}])
async def test_an_unusable_event_id_is_not_echoed(client: RealtimeClient, event_id: Any) -> None:
    await client.send({"type": "response.cancel", "event_id": event_id}, stamp=False)
    error = await only_error(client)
    assert (error["param"], error["event_id"]) == ("event_id", None)


async def test_an_event_over_the_limit(client: RealtimeClient) -> None:
    await client.send_raw(json.dumps({"type": "x", "pad": "x" * transport.MAX_MESSAGE_BYTES}))
    error = await only_error(client)
    assert error["code"] == "invalid_event"
    assert "larger than the maximum" in error["message"]


async def test_audio_over_the_limit_is_refused_as_a_whole(client: RealtimeClient) -> None:
    audio = base64.b64encode(bytes(15 * 1024 * 1024 + 2)).decode()
    event_id = await client.send({"type": "input_audio_buffer.append", "audio": audio})
    assert (await refusal(client, event_id))["param"] == "audio"
    event_id = await client.send({"type": "input_audio_buffer.commit"})
    assert (await refusal(client, event_id))["code"] == "input_audio_buffer_commit_empty"


async def test_a_flood_of_errors_is_answered_one_by_one(client: RealtimeClient) -> None:
    sent = [await client.send({"type": f"nonsense.{number}"}) for number in range(200)]
    await lives(client)
    assert [event["error"]["event_id"] for event in client.events_of("error")] == sent


# --- session.update: all of it or nothing -----------------------------------------------------

BAD_SESSIONS: list[tuple[dict[str, WireEvent], str, dict[str, str]]] = [
    (
        {"ga": {"audio": {"output": {"speed": 9}}}, "beta": {"speed": 9}},
        "decimal_above_max_value",
        {"ga": "session.audio.output.speed", "beta": "session.speed"},
    ),
    (
        {
            "ga": {"audio": {"input": {"turn_detection": {"type": "psychic"}}}},
            "beta": {"turn_detection": {"type": "psychic"}},
        },
        "invalid_value",
        {"ga": "session.audio.input.turn_detection.type", "beta": "session.turn_detection.type"},
    ),
    (
        {
            "ga": {"audio": {"input": {"turn_detection": {"threshold": 2}}}},
            "beta": {"turn_detection": {"threshold": 2}},
        },
        "decimal_above_max_value",
        {
            "ga": "session.audio.input.turn_detection.threshold",
            "beta": "session.turn_detection.threshold",
        },
    ),
    (
        {
            "ga": {"audio": {"input": {"format": {"type": "audio/ogg"}}}},
            "beta": {"input_audio_format": "ogg"},
        },
        "invalid_value",
        {"ga": "session.audio.input.format.type", "beta": "session.input_audio_format"},
    ),
    (
        {"ga": {"output_modalities": ["smell"]}, "beta": {"modalities": ["smell"]}},
        "invalid_value",
        {"ga": "session.output_modalities[0]", "beta": "session.modalities[0]"},
    ),
    (
        {"ga": {"max_output_tokens": 5000}, "beta": {"max_response_output_tokens": 5000}},
        "integer_above_max_value",
        {"ga": "session.max_output_tokens", "beta": "session.max_response_output_tokens"},
    ),
    (
        {"ga": {"tools": [{"type": "function"}]}, "beta": {"tools": [{"type": "function"}]}},
        "missing_required_parameter",
        {"ga": "session.tools[0].name", "beta": "session.tools[0].name"},
    ),
    (
        {"ga": {"instructions": 1}, "beta": {"instructions": 1}},
        "invalid_type",
        {"ga": "session.instructions", "beta": "session.instructions"},
    ),
]


@pytest.mark.parametrize(
    ("bad", "code", "param"), BAD_SESSIONS, ids=[row[1] for row in BAD_SESSIONS]
)
async def test_an_update_with_a_mistake_changes_nothing(
    client: RealtimeClient,
    dialect: Any,
    bad: dict[str, WireEvent],
    code: str,
    param: dict[str, str],
) -> None:
    before = await configure(client)
    good = {"instructions": "changed", "tool_choice": "none"}
    event_id = await client.update_session(**{**good, **bad[dialect]})
    error = await refusal(client, event_id)
    assert (error["code"], error["param"]) == (code, param[dialect])
    assert await configure(client) == before
    assert len(client.events_of("session.updated")) == 3


async def test_a_partial_update_keeps_the_rest(client: RealtimeClient, dialect: Any) -> None:
    vad = {"type": "server_vad", "silence_duration_ms": 700}
    await configure(client, instructions="be brief", voice="sage", turn_detection=vad)
    session = await configure(client, turn_detection={"type": "server_vad", "threshold": 0.9})
    detection = shown(dialect, session, "turn_detection")
    assert (detection["threshold"], detection["silence_duration_ms"]) == (0.9, 700)
    assert (detection["create_response"], detection["interrupt_response"]) == (True, True)
    assert session["instructions"] == "be brief"
    assert shown(dialect, session, "voice") == "sage"

    semantic = {"type": "semantic_vad", "eagerness": "high"}
    detection = shown(dialect, await configure(client, turn_detection=semantic), "turn_detection")
    assert "threshold" not in detection or detection["threshold"] is None
    assert detection["interrupt_response"] is True

    asked = {"model": "whisper-1", "language": "en"}
    session = await configure(client, input_audio_transcription=asked)
    assert shown(dialect, session, "input_audio_transcription").items() >= asked.items()
    session = await configure(client, input_audio_transcription=None)
    assert shown(dialect, session, "input_audio_transcription") is None
    assert shown(dialect, session, "voice") == "sage"


async def test_updates_may_come_before_anything_is_read(
    client: RealtimeClient, dialect: Any
) -> None:
    for number in range(20):
        await client.update_session(instructions=str(number))
    sessions = [(await client.wait_for("session.updated"))["session"] for _ in range(20)]
    assert [session["instructions"] for session in sessions] == [str(n) for n in range(20)]


async def test_what_is_not_used_is_accepted(client: RealtimeClient, dialect: Any) -> None:
    unused: WireEvent = {"tracing": "auto", "model": "some-other-model"}
    if dialect == "ga":
        unused |= {
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
            "include": ["item.input_audio_transcription.logprobs"],
            "parallel_tool_calls": True,
            "reasoning": {"effort": "low"},
            "audio": {
                "input": {"noise_reduction": {"type": "near_field"}},
                "output": {"voice": "a voice nobody knows"},
            },
        }
    else:
        unused |= {
            "temperature": 0.7,
            "input_audio_noise_reduction": {"type": "far_field"},
            "voice": "a voice nobody knows",
        }
    await client.update_session(**unused)
    session = (await client.wait_for("session.updated"))["session"]
    assert session["model"] == "gpt-realtime"
    assert session["tracing"] == "auto"
    assert shown(dialect, session, "voice") == "a voice nobody knows"
    assert (await ask(client, "hi")).status == "completed"
