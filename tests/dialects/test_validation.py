"""Session and response settings: which mistake earns which code, message and param."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from pydantic import ValidationError

from core.validation import listed, to_invalid_request, unknown_fields, validate
from protocol import FunctionTool, InvalidRequest, ResponseParams, Session
from tests.dialects.strategies import SHAPED, steadily

LOGPROBS = "item.input_audio_transcription.logprobs"


def _input(**fields: Any) -> dict[str, Any]:
    return {"audio": {"input": fields}}


def _output(**fields: Any) -> dict[str, Any]:
    return {"audio": {"output": fields}}


def _vad(**fields: Any) -> dict[str, Any]:
    return _input(turn_detection={"type": "server_vad", **fields})


def _range(path: str, kind: str, side: str, limit: str, got: str) -> str:
    extreme = (
        "minimum value. Expected a value >="
        if side == "below"
        else ("maximum value. Expected a value <=")
    )
    return f"Invalid '{path}': {kind} {side} {extreme} {limit}, but got {got} instead."


VAD, VOICE = "session.audio.input.turn_detection", "session.audio.output.voice"
RATE, SPEED = "session.audio.input.format.rate", "session.audio.output.speed"
TOKENS, CHOICE = "session.max_output_tokens", "session.tool_choice"

MISTAKES: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {"instructions": 5},
        "invalid_type",
        "Invalid type for 'session.instructions': expected a string, but got an integer instead.",
        "session.instructions",
    ),
    (
        {"audio": "x"},
        "invalid_type",
        "Invalid type for 'session.audio': expected an object, but got a string instead.",
        "session.audio",
    ),
    (
        _input(format="pcm16"),
        "invalid_type",
        "Invalid type for 'session.audio.input.format': "
        "expected an object, but got a string instead.",
        "session.audio.input.format",
    ),
    (
        _input(format={}),
        "missing_required_parameter",
        "Missing required parameter: 'session.audio.input.format.type'.",
        "session.audio.input.format.type",
    ),
    (
        _input(format={"type": "audio/pcm"}),
        "missing_required_parameter",
        f"Missing required parameter: '{RATE}'.",
        RATE,
    ),
    (
        _input(format={"type": "audio/opus"}),
        "invalid_value",
        "Invalid value: 'audio/opus'. "
        "Supported values are: 'audio/pcm', 'audio/pcmu', and 'audio/pcma'.",
        "session.audio.input.format.type",
    ),
    (
        _input(format={"type": "audio/pcm", "rate": 16000}),
        "integer_below_min_value",
        _range(RATE, "integer", "below", "24000", "16000"),
        RATE,
    ),
    (
        _input(format={"type": "audio/pcm", "rate": 48000}),
        "integer_above_max_value",
        _range(RATE, "integer", "above", "24000", "48000"),
        RATE,
    ),
    (
        _input(format={"type": "audio/pcm", "rate": 24000.0}),
        "invalid_type",
        f"Invalid type for '{RATE}': expected an integer, but got a decimal number instead.",
        RATE,
    ),
    (
        _vad(threshold=1.5),
        "decimal_above_max_value",
        _range(f"{VAD}.threshold", "decimal", "above", "1", "1.5"),
        f"{VAD}.threshold",
    ),
    (
        _vad(threshold=-1),
        "decimal_below_min_value",
        _range(f"{VAD}.threshold", "decimal", "below", "0", "-1"),
        f"{VAD}.threshold",
    ),
    (
        _vad(threshold="high"),
        "invalid_type",
        f"Invalid type for '{VAD}.threshold': expected a decimal, but got a string instead.",
        f"{VAD}.threshold",
    ),
    (
        _vad(threshold=True),
        "invalid_type",
        f"Invalid type for '{VAD}.threshold': expected a decimal, but got a boolean instead.",
        f"{VAD}.threshold",
    ),
    (
        _vad(silence_duration_ms=-1),
        "integer_below_min_value",
        _range(f"{VAD}.silence_duration_ms", "integer", "below", "0", "-1"),
        f"{VAD}.silence_duration_ms",
    ),
    (
        _vad(silence_duration_ms=12.0),
        "invalid_type",
        f"Invalid type for '{VAD}.silence_duration_ms': "
        "expected an integer, but got a decimal number instead.",
        f"{VAD}.silence_duration_ms",
    ),
    (
        _vad(prefix_padding_ms=10**400),
        "integer_above_max_value",
        _range(
            f"{VAD}.prefix_padding_ms",
            *("integer", "above", "10000", "a number of over 18 digits"),
        ),
        f"{VAD}.prefix_padding_ms",
    ),
    (
        _vad(idle_timeout_ms=1000),
        "integer_below_min_value",
        _range(f"{VAD}.idle_timeout_ms", "integer", "below", "5000", "1000"),
        f"{VAD}.idle_timeout_ms",
    ),
    (
        _vad(create_response="yes"),
        "invalid_type",
        f"Invalid type for '{VAD}.create_response': expected a boolean, but got a string instead.",
        f"{VAD}.create_response",
    ),
    (
        _input(turn_detection={"threshold": 0.5}),
        "missing_required_parameter",
        f"Missing required parameter: '{VAD}.type'.",
        f"{VAD}.type",
    ),
    (
        _input(turn_detection={"type": "none"}),
        "invalid_value",
        "Invalid value: 'none'. Supported values are: 'server_vad' and 'semantic_vad'.",
        f"{VAD}.type",
    ),
    (
        _input(turn_detection={"type": 1}),
        "invalid_type",
        f"Invalid type for '{VAD}.type': expected a string, but got an integer instead.",
        f"{VAD}.type",
    ),
    (
        _input(turn_detection="server_vad"),
        "invalid_type",
        f"Invalid type for '{VAD}': expected an object, but got a string instead.",
        VAD,
    ),
    (
        _input(turn_detection={"type": "semantic_vad", "eagerness": "mild"}),
        "invalid_value",
        "Invalid value: 'mild'. Supported values are: 'low', 'medium', 'high', and 'auto'.",
        f"{VAD}.eagerness",
    ),
    (
        _input(noise_reduction={"type": "studio"}),
        "invalid_value",
        "Invalid value: 'studio'. Supported values are: 'near_field' and 'far_field'.",
        "session.audio.input.noise_reduction.type",
    ),
    (
        _input(transcription={"model": 1}),
        "invalid_type",
        "Invalid type for 'session.audio.input.transcription.model': "
        "expected a string, but got an integer instead.",
        "session.audio.input.transcription.model",
    ),
    (
        _input(transcription={"keywords": ["a", 1]}),
        "invalid_type",
        "Invalid type for 'session.audio.input.transcription.keywords[1]': "
        "expected a string, but got an integer instead.",
        "session.audio.input.transcription.keywords[1]",
    ),
    (
        _output(voice=5),
        "invalid_type",
        f"Invalid type for '{VOICE}': "
        "expected one of a string or an object, but got an integer instead.",
        VOICE,
    ),
    (
        _output(voice={}),
        "missing_required_parameter",
        f"Missing required parameter: '{VOICE}.id'.",
        f"{VOICE}.id",
    ),
    (
        _output(voice={"id": 1}),
        "invalid_type",
        f"Invalid type for '{VOICE}.id': expected a string, but got an integer instead.",
        f"{VOICE}.id",
    ),
    (
        _output(voice=""),
        "invalid_value",
        f"Invalid '{VOICE}': string too short. Expected a string with minimum length 1, "
        "but got a string with length 0 instead.",
        VOICE,
    ),
    (
        _output(speed=2),
        "decimal_above_max_value",
        _range(SPEED, "decimal", "above", "1.5", "2"),
        SPEED,
    ),
    (
        _output(speed=0.1),
        "decimal_below_min_value",
        _range(SPEED, "decimal", "below", "0.25", "0.1"),
        SPEED,
    ),
    (
        {"max_output_tokens": 5000},
        "integer_above_max_value",
        _range(TOKENS, "integer", "above", "4096", "5000"),
        TOKENS,
    ),
    (
        {"max_output_tokens": 0},
        "integer_below_min_value",
        _range(TOKENS, "integer", "below", "1", "0"),
        TOKENS,
    ),
    (
        {"max_output_tokens": "many"},
        "invalid_value",
        "Invalid value: 'many'. Supported values are: 'inf', or an integer.",
        TOKENS,
    ),
    (
        {"max_output_tokens": None},
        "invalid_type",
        f"Invalid type for '{TOKENS}': expected one of an integer or 'inf', but got null instead.",
        TOKENS,
    ),
    (
        {"output_modalities": ["audio", "text"]},
        "invalid_value",
        "Invalid 'session.output_modalities': array too long. Expected an array with maximum "
        "length 1, but got an array with length 2 instead.",
        "session.output_modalities",
    ),
    (
        {"output_modalities": []},
        "invalid_value",
        "Invalid 'session.output_modalities': array too short. Expected an array with minimum "
        "length 1, but got an array with length 0 instead.",
        "session.output_modalities",
    ),
    (
        {"output_modalities": ["video"]},
        "invalid_value",
        "Invalid value: 'video'. Supported values are: 'audio' and 'text'.",
        "session.output_modalities[0]",
    ),
    (
        {"output_modalities": "audio"},
        "invalid_type",
        "Invalid type for 'session.output_modalities': "
        "expected an array, but got a string instead.",
        "session.output_modalities",
    ),
    (
        {"tool_choice": "some"},
        "invalid_value",
        "Invalid value: 'some'. Supported values are: 'auto', 'none', and 'required', "
        "or an object.",
        CHOICE,
    ),
    (
        {"tool_choice": 1},
        "invalid_type",
        f"Invalid type for '{CHOICE}': "
        "expected one of a string or an object, but got an integer instead.",
        CHOICE,
    ),
    (
        {"tool_choice": {"type": "function"}},
        "missing_required_parameter",
        f"Missing required parameter: '{CHOICE}.name'.",
        f"{CHOICE}.name",
    ),
    (
        {"tool_choice": {"type": "web_search"}},
        "invalid_value",
        "Invalid value: 'web_search'. Supported values are: 'function' and 'mcp'.",
        f"{CHOICE}.type",
    ),
    (
        {"tool_choice": {"type": "mcp"}},
        "missing_required_parameter",
        f"Missing required parameter: '{CHOICE}.server_label'.",
        f"{CHOICE}.server_label",
    ),
    (
        {"tools": {}},
        "invalid_type",
        "Invalid type for 'session.tools': expected an array, but got an object instead.",
        "session.tools",
    ),
    (
        {"tools": [{"name": "f"}, 5]},
        "invalid_type",
        "Invalid type for 'session.tools[1]': expected an object, but got an integer instead.",
        "session.tools[1]",
    ),
    (
        {"tools": [{"type": "mcp", "server_label": "s", "server_url": "u", "authorization": 5}]},
        "invalid_type",
        "Invalid type for 'session.tools[0].authorization': expected a string, "
        "but got an integer instead.",
        "session.tools[0].authorization",
    ),
    (
        {"tools": [{"type": "mcp", "server_url": "u"}]},
        "missing_required_parameter",
        "Missing required parameter: 'session.tools[0].server_label'.",
        "session.tools[0].server_label",
    ),
    (
        {"tools": [{"type": "web_search"}]},
        "invalid_value",
        "Invalid value: 'web_search'. Supported values are: 'function' and 'mcp'.",
        "session.tools[0].type",
    ),
    (
        {"tools": [{"name": "f" * 65}]},
        "string_above_max_length",
        "Invalid 'session.tools[0].name': string too long. Expected a string with maximum length "
        "64, but got a string with length 65 instead.",
        "session.tools[0].name",
    ),
    (
        {"tools": [{"name": "f", "parameters": "x"}]},
        "invalid_type",
        "Invalid type for 'session.tools[0].parameters': "
        "expected an object, but got a string instead.",
        "session.tools[0].parameters",
    ),
    (
        {"tracing": "on"},
        "invalid_value",
        "Invalid value: 'on'. Supported values are: 'auto', or an object.",
        "session.tracing",
    ),
    (
        {"tracing": 1},
        "invalid_type",
        "Invalid type for 'session.tracing': "
        "expected one of 'auto' or an object, but got an integer instead.",
        "session.tracing",
    ),
    (
        {"temperature": 2},
        "decimal_above_max_value",
        _range("session.temperature", "decimal", "above", "1.2", "2"),
        "session.temperature",
    ),
    (
        {"parallel_tool_calls": 1},
        "invalid_type",
        "Invalid type for 'session.parallel_tool_calls': "
        "expected a boolean, but got an integer instead.",
        "session.parallel_tool_calls",
    ),
    (
        {"tracing": {"workflow_name": 1}},
        "invalid_type",
        "Invalid type for 'session.tracing.workflow_name': "
        "expected a string, but got an integer instead.",
        "session.tracing.workflow_name",
    ),
    (
        {"reasoning": {"effort": "heroic"}},
        "invalid_value",
        "Invalid value: 'heroic'. Supported values are: "
        "'minimal', 'low', 'medium', 'high', and 'xhigh'.",
        "session.reasoning.effort",
    ),
    (
        {"prompt": {"version": "1"}},
        "missing_required_parameter",
        "Missing required parameter: 'session.prompt.id'.",
        "session.prompt.id",
    ),
    (
        {"include": ["x"]},
        "invalid_value",
        f"Invalid value: 'x'. Supported values are: '{LOGPROBS}'.",
        "session.include[0]",
    ),
    (
        {"include": "logprobs"},
        "invalid_type",
        "Invalid type for 'session.include': expected an array, but got a string instead.",
        "session.include",
    ),
]


@pytest.mark.parametrize(("patch", "code", "message", "param"), MISTAKES)
def test_session_mistake(patch: dict[str, Any], code: str, message: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(Session, patch, "session", "mine")
    problem = caught.value
    assert (problem.code, problem.message, problem.param) == (code, message, param)
    assert problem.event_id == "mine"


@pytest.mark.parametrize(
    "patch",
    [
        _vad(threshold=1),
        _output(speed=1),
        _output(voice={"id": "voice_1"}),
        _output(voice="a voice nobody has heard of"),
        _input(transcription={"keywords": ["a"], "languages": []}),
        {"tools": [{"type": "function", "name": "f"}], "include": [LOGPROBS]},
        {"tools": ({"type": "function", "name": "f"},)},
        {"max_output_tokens": "inf", "tracing": None, "truncation": "disabled"},
        {"unheard_of": 1},
        Session().model_dump(),
    ],
)
def test_session_is_fine(patch: dict[str, Any]) -> None:
    assert isinstance(validate(Session, patch, "session"), Session)


def test_lists_become_tuples() -> None:
    session = validate(
        Session, {"tools": [{"name": "f"}], "output_modalities": ["text"]}, "session"
    )
    assert session.tools == (FunctionTool(name="f"),)
    assert session.output_modalities == ("text",)


def test_the_first_mistake_is_told() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(Session, {"tools": 1, "instructions": 2, "model": 3}, "session")
    assert caught.value.param == "session.model"


def test_without_a_prefix_the_path_starts_at_the_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(ResponseParams, {"metadata": {"k" * 65: "v"}}, "")
    assert caught.value.param == f"metadata.{'k' * 65}"
    assert caught.value.code == "string_above_max_length"


def test_an_exception_caught_elsewhere_reads_the_same() -> None:
    try:
        Session.model_validate({"tools": 1})
    except ValidationError as exc:
        assert to_invalid_request(exc, Session, "session", "mine").param == "session.tools"


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["a"], "'a'"), (["a", "b"], "'a' and 'b'"), (["a", "b", "c"], "'a', 'b', and 'c'")],
)
def test_listed(values: list[str], expected: str) -> None:
    assert listed(values) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, []),
        ({"voice": "x", "instructions": "y"}, ["session.voice"]),
        (_vad(eagerness="low", threshold=1), [f"{VAD}.eagerness"]),
        (_input(turn_detection={"threshold": 1, "nope": 1}), [f"{VAD}.nope"]),
        ({"tools": [{"name": "f", "x": 1, "parameters": {"anything": 1}}]}, ["session.tools[0].x"]),
        ({"tracing": {"x": 1}, "tool_choice": {"x": 1}}, ["session.tracing.x", f"{CHOICE}.x"]),
        ({"tools": "x", "audio": None}, []),
        ("x", []),
    ],
)
def test_unknown_fields(value: object, expected: list[str]) -> None:
    assert unknown_fields(Session, value, "session") == expected


@steadily
@given(SHAPED)
def test_no_value_escapes_the_mapping(value: object) -> None:
    for model in (Session, ResponseParams):
        unknown_fields(model, value, "x")
        try:
            validate(model, value, "x")
        except InvalidRequest as problem:
            assert problem.param is not None and problem.param.startswith("x")
