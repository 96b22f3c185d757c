"""The GA JSON of every server event: the golden files, the SDK's types, the rendering rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from dialects import beta, ga
from protocol import (
    AudioInput,
    AudioOutput,
    CustomVoice,
    ErrorEvent,
    FunctionTool,
    InputAudio,
    InputImage,
    ItemAdded,
    ItemDone,
    ItemRetrieved,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpHttpError,
    McpItem,
    McpListedTool,
    McpListTools,
    McpProtocolError,
    McpTool,
    McpToolChoice,
    McpToolExecutionError,
    Message,
    NamedToolChoice,
    NoiseReduction,
    PcmaFormat,
    PcmuFormat,
    Reasoning,
    SemanticVad,
    ServerEvent,
    Session,
    SessionAudio,
    SessionUpdated,
    SessionView,
    TokenLogprob,
    Tracing,
    Transcription,
    TranscriptionCompleted,
    TranscriptionDelta,
)
from tests.dialects import samples
from tests.oracle.required_keys import check_keys
from tests.oracle.schema import check_event

NOT_SERVED = ("dtmf",)


@pytest.mark.parametrize("number", samples.GA)
def test_equals_the_golden_event_key_by_key(number: int, shared_reference: Path) -> None:
    golden = _golden(shared_reference)[samples.event_id(number)]
    assert json.dumps(_encode(number)) == json.dumps(golden)


def test_the_golden_events_left_out_are_of_types_that_are_not_sent(shared_reference: Path) -> None:
    numbers = {samples.event_id(number) for number in samples.GA}
    left_out = [event for key, event in _golden(shared_reference).items() if key not in numbers]
    for event in left_out:
        known_type = any(part in event["type"] for part in NOT_SERVED)
        token_usage = event.get("usage", {}).get("type") == "tokens"
        assert known_type or token_usage, event


@pytest.mark.parametrize("number", samples.GA)
def test_the_sdk_accepts_it(number: int) -> None:
    assert _problems(_encode(number)) == []


def test_every_server_event_has_a_body_and_a_sample() -> None:
    assert set(ga.BODIES) == set(get_args(ServerEvent))
    assert {type(event) for event in samples.GA.values()} == set(get_args(ServerEvent))


@pytest.mark.parametrize("number", samples.GA)
def test_type_comes_first_and_event_id_second(number: int) -> None:
    assert list(_encode(number))[:2] == ["type", "event_id"]


def test_logprobs_are_there_only_when_given() -> None:
    pieces = (TokenLogprob("hé", -0.5), TokenLogprob("\ufffd", -1.0, b"\xe4\xbd"))
    for event in (
        TranscriptionDelta("item_1", 0, "hé\ufffd", pieces),
        TranscriptionCompleted("item_1", 0, "hé\ufffd", 1, pieces),
    ):
        encoded = ga.encode(event, "event_1")
        assert encoded is not None
        assert encoded["logprobs"] == [
            {"token": "hé", "logprob": -0.5, "bytes": [104, 195, 169]},
            {"token": "\ufffd", "logprob": -1.0, "bytes": [228, 189]},
        ]
        assert _problems(encoded) == []
        assert beta.encode(event, "event_1") == encoded
        plain = ga.encode(replace(event, logprobs=None), "event_1")
        assert plain is not None
        assert "logprobs" not in plain


def test_error_has_its_five_keys_even_when_empty() -> None:
    encoded = ga.encode(ErrorEvent("server_error", None, "m"), "event_1")
    assert encoded == {
        "type": "error",
        "event_id": "event_1",
        "error": {
            "type": "server_error",
            "code": None,
            "message": "m",
            "param": None,
            "event_id": None,
        },
    }


def test_error_echoes_the_client_event_id() -> None:
    event = ErrorEvent("invalid_request_error", "invalid_value", "m", "session.type", "mine")
    encoded = ga.encode(event, "event_1")
    assert encoded is not None
    assert encoded["error"]["event_id"] == "mine"
    assert encoded["error"]["param"] == "session.type"


@pytest.mark.parametrize(
    ("event_class", "audio", "expected"),
    [
        (ItemAdded, b"\1\2", {"type": "input_audio", "transcript": "hey"}),
        (ItemRetrieved, b"\1\2", {"type": "input_audio", "audio": "AQI=", "transcript": "hey"}),
        (ItemRetrieved, None, {"type": "input_audio", "transcript": "hey"}),
        pytest.param(
            ItemRetrieved,
            bytes(3_000_002),
            {"type": "input_audio", "transcript": "hey"},
            id="too long for a client's frame limit",
        ),
    ],
)
def test_only_a_retrieved_item_replays_its_audio(
    event_class: type, audio: bytes | None, expected: dict[str, Any]
) -> None:
    item = Message("item_1", "user", "completed", (InputAudio("hey", audio),))
    event = ItemRetrieved(item) if event_class is ItemRetrieved else ItemAdded(None, item)
    encoded = ga.encode(event, "event_1")
    assert encoded is not None
    assert encoded["item"]["content"] == [expected]


def test_an_image_is_shown_with_its_detail() -> None:
    part = InputImage("data:image/png;base64,AAAA", "low")
    encoded = ga.encode(ItemAdded(None, Message("i", "user", "completed", (part,))), "event_1")
    assert encoded is not None
    assert encoded["item"]["content"] == [
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    ]
    assert _problems(encoded) == []


@pytest.mark.parametrize(
    ("event_class", "sizes", "shown"),
    [
        (ItemAdded, [400_000], [True]),
        (ItemAdded, [600_000], [False]),
        (ItemAdded, [300_000, 300_000, 100_000], [True, False, True]),
        (ItemDone, [600_000], [False]),
        (ItemRetrieved, [3_900_000], [True]),
        (ItemRetrieved, [4_100_000], [False]),
        (ItemRetrieved, [2_100_000, 2_100_000], [True, False]),
    ],
)
def test_images_that_have_no_room_in_a_frame_are_left_out(
    event_class: type, sizes: list[int], shown: list[bool]
) -> None:
    parts = tuple(InputImage("data:image/png;base64," + "A" * size, "low") for size in sizes)
    item = Message("item_1", "user", "completed", parts)
    event = ItemRetrieved(item) if event_class is ItemRetrieved else event_class(None, item)
    encoded = ga.encode(event, "event_1")
    assert encoded is not None
    assert ["image_url" in part for part in encoded["item"]["content"]] == shown
    assert {part["detail"] for part in encoded["item"]["content"]} == {"low"}
    assert _problems(encoded) == []


SESSION_ROWS: list[tuple[Session, str, object]] = [
    (
        Session(tool_choice=NamedToolChoice(name="f")),
        "tool_choice",
        _f := {"type": "function", "name": "f"},
    ),
    (Session(tools=(FunctionTool(name="f"),)), "tools", [_f]),
    (Session(tools=(FunctionTool(name="f", parameters={}),)), "tools", [{**_f, "parameters": {}}]),
    (Session(tracing=Tracing(workflow_name="w")), "tracing", {"workflow_name": "w"}),
    (Session(max_output_tokens=7), "max_output_tokens", 7),
    (Session(parallel_tool_calls=False), "parallel_tool_calls", False),
    (Session(reasoning=Reasoning(effort="low")), "reasoning", {"effort": "low"}),
    (Session(output_modalities=("text",)), "output_modalities", ["text"]),
    (
        Session(include=("item.input_audio_transcription.logprobs",)),
        "include",
        ["item.input_audio_transcription.logprobs"],
    ),
]


@pytest.mark.parametrize(("settings", "key", "expected"), SESSION_ROWS)
def test_session_fields(settings: Session, key: str, expected: object) -> None:
    encoded = _session(settings)
    assert encoded["session"][key] == expected
    assert _problems(encoded) == []


AUDIO_ROWS: list[tuple[AudioInput | AudioOutput, str, object]] = [
    (AudioInput(format=PcmuFormat()), "format", {"type": "audio/pcmu"}),
    (AudioOutput(format=PcmaFormat()), "format", {"type": "audio/pcma"}),
    (AudioOutput(voice=CustomVoice(id="voice_1")), "voice", {"id": "voice_1"}),
    (AudioOutput(speed=1.25), "speed", 1.25),
    (AudioInput(turn_detection=None), "turn_detection", None),
    (
        AudioInput(turn_detection=SemanticVad(eagerness="high")),
        "turn_detection",
        {
            "type": "semantic_vad",
            "eagerness": "high",
            "create_response": True,
            "interrupt_response": True,
        },
    ),
    (
        AudioInput(noise_reduction=NoiseReduction(type="near_field")),
        "noise_reduction",
        {"type": "near_field"},
    ),
    (
        AudioInput(transcription=Transcription(model="m", delay="low", keywords=("a",))),
        "transcription",
        {"model": "m", "language": None, "prompt": None, "delay": "low", "keywords": ["a"]},
    ),
]


@pytest.mark.parametrize(("side", "key", "expected"), AUDIO_ROWS)
def test_session_audio_fields(side: AudioInput | AudioOutput, key: str, expected: object) -> None:
    hears = isinstance(side, AudioInput)
    audio = SessionAudio(input=side) if hears else SessionAudio(output=side)
    encoded = _session(Session(audio=audio))
    assert encoded["session"]["audio"]["input" if hears else "output"][key] == expected
    assert _problems(encoded) == []


@pytest.mark.parametrize("key", ["temperature", "parallel_tool_calls", "reasoning"])
def test_a_plain_session_lacks(key: str) -> None:
    assert key not in _session(Session())["session"]


def _encode(number: int) -> dict[str, Any]:
    encoded = ga.encode(samples.GA[number], samples.event_id(number))
    assert encoded is not None
    return encoded


def _session(settings: Session) -> dict[str, Any]:
    encoded = ga.encode(SessionUpdated(SessionView("sess_1", 1, settings)), "event_1")
    assert encoded is not None
    return encoded


def _problems(event: dict[str, Any]) -> list[str]:
    return check_event(event, "ga") + check_keys(event, "ga", legacy=True)


def _golden(folder: Path) -> dict[str, dict[str, Any]]:
    events = json.loads((folder / "golden_ga.json").read_text(encoding="utf-8"))
    return {event.get("event_id", ""): event for event in events}


# --- MCP ------------------------------------------------------------------------------------

_MCP_CALL = McpCall("i", "s", "t", "{}")
_CALL_JSON = {
    "id": "i",
    "type": "mcp_call",
    "server_label": "s",
    "name": "t",
    "arguments": "{}",
    "output": None,
}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            McpListTools(
                "i",
                "s",
                (
                    McpListedTool("t", {"type": "object"}),
                    McpListedTool("u", {}, "d", {"readOnlyHint": True}),
                ),
            ),
            {
                "id": "i",
                "type": "mcp_list_tools",
                "server_label": "s",
                "tools": [
                    {"name": "t", "description": "", "input_schema": {"type": "object"}},
                    {
                        "name": "u",
                        "description": "d",
                        "input_schema": {},
                        "annotations": {"readOnlyHint": True},
                    },
                ],
            },
        ),
        (_MCP_CALL, _CALL_JSON),
        (
            replace(_MCP_CALL, output="x", approval_request_id="r"),
            {**_CALL_JSON, "output": "x", "approval_request_id": "r"},
        ),
        (
            replace(_MCP_CALL, error=McpProtocolError(-32602, "m")),
            {**_CALL_JSON, "error": {"type": "protocol_error", "code": -32602, "message": "m"}},
        ),
        (
            replace(_MCP_CALL, error=McpHttpError(503, "m")),
            {**_CALL_JSON, "error": {"type": "http_error", "code": 503, "message": "m"}},
        ),
        (
            replace(_MCP_CALL, error=McpToolExecutionError("m")),
            {**_CALL_JSON, "error": {"type": "tool_execution_error", "message": "m"}},
        ),
        (
            McpApprovalRequest("i", "s", "t", "{}"),
            {
                "id": "i",
                "type": "mcp_approval_request",
                "server_label": "s",
                "name": "t",
                "arguments": "{}",
            },
        ),
        (
            McpApprovalResponse("i", "r", False, "no"),
            {
                "id": "i",
                "type": "mcp_approval_response",
                "approval_request_id": "r",
                "approve": False,
                "reason": "no",
            },
        ),
    ],
)
def test_mcp_items(item: McpItem, expected: dict[str, Any]) -> None:
    encoded = ga.encode(ItemAdded(None, item), "event_1")
    assert encoded is not None
    assert encoded["item"] == expected
    assert _problems(encoded) == []


def test_secrets_of_an_mcp_server_are_not_shown() -> None:
    sent = {
        "type": "mcp",
        "server_label": "s",
        "server_url": "https://mcp.example",
        "allowed_tools": ["t"],
        "require_approval": {"never": {"tool_names": ["t"]}},
    }
    server = McpTool.model_validate({**sent, "authorization": "hush", "headers": {"X-Key": "hush"}})
    assert "hush" not in repr(server)
    session = Session(tools=(server,), tool_choice=McpToolChoice(server_label="s"))
    encoded = ga.encode(SessionUpdated(SessionView("sess_1", 0, session)), "event_1")
    assert encoded is not None
    assert encoded["session"]["tools"] == [
        {**sent, "authorization": "<redacted>", "headers": {"X-Key": "<redacted>"}}
    ]
    assert encoded["session"]["tool_choice"] == {"type": "mcp", "server_label": "s"}
    assert _problems(encoded) == []
