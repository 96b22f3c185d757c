"""The beta dialect in both directions, its parameter paths, and the choice of a dialect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given

import dialects
from dialects import beta, ga
from dialects.beta_client import param_to_beta
from protocol import (
    AudioInput,
    AudioOutput,
    Cancelled,
    ClientEvent,
    CustomVoice,
    ErrorEvent,
    Failed,
    FunctionCallOutput,
    FunctionTool,
    InputAudio,
    InputText,
    InvalidRequest,
    ItemAdded,
    ItemCreate,
    ItemCreated,
    ItemDone,
    ItemRetrieve,
    ItemRetrieved,
    ItemTruncate,
    McpCall,
    McpEvent,
    McpTool,
    Message,
    NamedToolChoice,
    NoiseReduction,
    OutputAudio,
    OutputItemDone,
    OutputText,
    PcmaFormat,
    PcmuFormat,
    ResponseCreate,
    ResponseDone,
    ResponseParams,
    SemanticVad,
    ServerEvent,
    Session,
    SessionAudio,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    SessionView,
    TimeoutTriggered,
    Transcription,
    TranscriptionSegment,
    Usage,
    error_event,
)
from tests.dialects import samples
from tests.dialects.strategies import EVENTS, steadily
from tests.oracle.required_keys import check_bilingual_session, check_keys
from tests.oracle.schema import check_event

# --- client events --------------------------------------------------------------------------

PCM = {"type": "audio/pcm", "rate": 24000}

SESSION_ROWS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"instructions": "x"}, {"instructions": "x"}),
    ({"modalities": ["text", "audio"]}, {"output_modalities": ["audio"]}),
    ({"modalities": ["audio"]}, {"output_modalities": ["audio"]}),
    ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
    ({"voice": "verse"}, {"audio": {"output": {"voice": "verse"}}}),
    ({"speed": 1.2}, {"audio": {"output": {"speed": 1.2}}}),
    ({"input_audio_format": "pcm16"}, {"audio": {"input": {"format": PCM}}}),
    ({"input_audio_format": "g711_ulaw"}, {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
    (
        {"output_audio_format": "g711_alaw"},
        {"audio": {"output": {"format": {"type": "audio/pcma"}}}},
    ),
    ({"turn_detection": None}, {"audio": {"input": {"turn_detection": None}}}),
    (
        {"turn_detection": {"type": "server_vad", "threshold": 0.4}},
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.4}}}},
    ),
    (
        {"input_audio_transcription": None, "input_audio_noise_reduction": {"type": "near_field"}},
        {"audio": {"input": {"transcription": None, "noise_reduction": {"type": "near_field"}}}},
    ),
    ({"temperature": 0.7}, {"temperature": 0.7}),
    ({"max_response_output_tokens": 100}, {"max_output_tokens": 100}),
    ({"max_output_tokens": 100}, {"max_output_tokens": 100}),
    ({"max_output_tokens": 1, "max_response_output_tokens": 2}, {"max_output_tokens": 2}),
    ({"tool_choice": "auto"}, {"tool_choice": "auto"}),
    ({"tool_choice": "get_weather"}, {"tool_choice": {"type": "function", "name": "get_weather"}}),
    (
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"type": "function", "name": "f"}]},
    ),
    ({"tracing": "auto", "include": None}, {"tracing": "auto", "include": None}),
    ({"nonsense": 1, "client_secret": None, "id": "s"}, {}),
    (
        # The reference client's whole default configuration.
        {
            "modalities": ["text", "audio"],
            "instructions": "",
            "voice": "verse",
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_transcription": None,
            "turn_detection": None,
            "tools": [],
            "tool_choice": "auto",
            "temperature": 0.8,
            "max_response_output_tokens": 4096,
        },
        {
            "instructions": "",
            "tools": [],
            "tool_choice": "auto",
            "temperature": 0.8,
            "output_modalities": ["audio"],
            "audio": {
                "output": {"voice": "verse", "format": PCM},
                "input": {"format": PCM, "transcription": None, "turn_detection": None},
            },
            "max_output_tokens": 4096,
        },
    ),
]


@pytest.mark.parametrize(("sent", "expected"), SESSION_ROWS)
def test_session_update(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    event = beta.decode({"type": "session.update", "session": sent, "event_id": "e"})
    assert event == SessionUpdate({"type": "realtime", **expected}, "e")


RESPONSE_ROWS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
    ({"voice": "v"}, {"audio": {"output": {"voice": "v"}}}),
    ({"output_audio_format": "pcm16"}, {"audio": {"output": {"format": PCM}}}),
    ({"temperature": 0.9}, {"temperature": 0.9}),
    ({"max_response_output_tokens": 5}, {"max_output_tokens": 5}),
    ({"max_output_tokens": "inf"}, {"max_output_tokens": "inf"}),
    ({"tool_choice": "f"}, {"tool_choice": {"type": "function", "name": "f"}}),
    (
        {"conversation": "none", "metadata": {"a": "b"}},
        {"conversation": "none", "metadata": {"a": "b"}},
    ),
    ({"instructions": "x", "tools": []}, {"instructions": "x", "tools": []}),
    ({"commit": True, "cancel_previous": True}, {}),
]


@pytest.mark.parametrize(("sent", "expected"), RESPONSE_ROWS)
def test_response_create(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    event = beta.decode({"type": "response.create", "response": sent})
    assert event == ResponseCreate(ResponseParams.model_validate(expected))


SHARED_ROWS: list[tuple[dict[str, Any], ClientEvent]] = [
    ({"type": "response.create"}, ResponseCreate()),
    ({"type": "conversation.item.retrieve", "item_id": "i"}, ItemRetrieve("i")),
    (
        {
            "type": "conversation.item.truncate",
            "item_id": "i",
            "content_index": 0,
            "audio_end_ms": 5,
        },
        ItemTruncate("i", 0, 5),
    ),
    (
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "text", "text": "a"}, {"type": "audio", "transcript": "b"}],
            },
        },
        ItemCreate(Message("", "assistant", "completed", (OutputText("a"), OutputAudio("b")))),
    ),
    (
        {
            "type": "response.create",
            "response": {"input": [{"type": "message", "role": "user", "content": "x"}]},
        },
        ResponseCreate(input=(Message("", "user", "completed", (InputText("x"),)),)),
    ),
]


@pytest.mark.parametrize(("event", "expected"), SHARED_ROWS)
def test_events_of_both_dialects(event: dict[str, Any], expected: ClientEvent) -> None:
    assert beta.decode(event) == expected


def _session(**fields: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": fields}


def _response(**fields: Any) -> dict[str, Any]:
    return {"type": "response.create", "response": fields}


_FORMATS = "Supported values are: 'pcm16', 'g711_ulaw', and 'g711_alaw'."
_IMAGE = {"type": "message", "role": "user", "content": [{"type": "input_image"}]}
_NO_IMAGES = "Invalid value: 'input_image'. Supported values are: 'input_text' and 'input_audio'."

ERROR_ROWS: list[tuple[dict[str, Any], str, str, str]] = [
    (
        _session(input_audio_format="opus"),
        "invalid_value",
        f"Invalid value: 'opus'. {_FORMATS}",
        "session.input_audio_format",
    ),
    (
        _session(output_audio_format=PCM),
        "invalid_type",
        "Invalid type for 'session.output_audio_format': "
        "expected a string, but got an object instead.",
        "session.output_audio_format",
    ),
    (
        _session(modalities=[]),
        "invalid_value",
        "Invalid modalities: []. Supported combinations are: ['text'] and ['audio', 'text'].",
        "session.modalities",
    ),
    (
        _session(modalities=["text", "video"]),
        "invalid_value",
        "Invalid value: 'video'. Supported values are: 'text' and 'audio'.",
        "session.modalities[1]",
    ),
    (
        _session(modalities="text"),
        "invalid_type",
        "Invalid type for 'session.modalities': expected an array, but got a string instead.",
        "session.modalities",
    ),
    (
        _response(output_audio_format="mp3"),
        "invalid_value",
        f"Invalid value: 'mp3'. {_FORMATS}",
        "response.output_audio_format",
    ),
    (
        _response(voice=5),
        "invalid_type",
        "Invalid type for 'response.voice': "
        "expected one of a string or an object, but got an integer instead.",
        "response.voice",
    ),
    (
        _response(max_response_output_tokens=5000),
        "integer_above_max_value",
        "Invalid 'response.max_response_output_tokens': integer above maximum value. "
        "Expected a value <= 4096, but got 5000 instead.",
        "response.max_response_output_tokens",
    ),
    (
        _response(temperature=2),
        "decimal_above_max_value",
        "Invalid 'response.temperature': decimal above maximum value. "
        "Expected a value <= 1.2, but got 2 instead.",
        "response.temperature",
    ),
    (
        {"type": "session.update"},
        "missing_required_parameter",
        "Missing required parameter: 'session'.",
        "session",
    ),
    (
        _session(tools=[{"type": "mcp"}]),
        "invalid_value",
        "Invalid value: 'mcp'. Supported values are: 'function'. "
        "MCP tools are served in the GA dialect only.",
        "session.tools[0].type",
    ),
    (
        {"type": "response.create", "response": {"tools": [{"type": "mcp"}]}},
        "invalid_value",
        "Invalid value: 'mcp'. Supported values are: 'function'. "
        "MCP tools are served in the GA dialect only.",
        "response.tools[0].type",
    ),
    (
        {"type": "conversation.item.create", "item": {"type": "mcp_approval_response"}},
        "invalid_value",
        "Invalid value: 'mcp_approval_response'. Supported values are: 'message', "
        "'function_call', and 'function_call_output'.",
        "item.type",
    ),
    (
        {"type": "conversation.item.create", "item": _IMAGE},
        "invalid_value",
        _NO_IMAGES,
        "item.content[0].type",
    ),
    (
        _response(input=[_IMAGE]),
        "invalid_value",
        _NO_IMAGES,
        "response.input[0].content[0].type",
    ),
    (
        {"type": "transcription_session.update"},
        "missing_required_parameter",
        "Missing required parameter: 'session'.",
        "session",
    ),
    (
        {"type": "transcription_session.update", "session": {"input_audio_format": "mp3"}},
        "invalid_value",
        "Invalid value: 'mp3'. Supported values are: 'pcm16', 'g711_ulaw', and 'g711_alaw'.",
        "session.input_audio_format",
    ),
]


@pytest.mark.parametrize(("event", "code", "message", "param"), ERROR_ROWS)
def test_mistake_as_the_client_reads_it(
    event: dict[str, Any], code: str, message: str, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        beta.decode({**event, "event_id": "mine"})
    encoded = beta.encode(error_event(caught.value), "event_1")
    assert encoded is not None
    assert encoded["error"] == {
        "type": "invalid_request_error",
        "code": code,
        "message": message,
        "param": param,
        "event_id": "mine",
    }


PATH_ROWS = [
    ("session.audio.input.turn_detection.threshold", "session.turn_detection.threshold"),
    ("session.audio.input.turn_detection", "session.turn_detection"),
    ("session.audio.input.transcription.model", "session.input_audio_transcription.model"),
    ("session.audio.input.noise_reduction.type", "session.input_audio_noise_reduction.type"),
    ("session.audio.input.format.rate", "session.input_audio_format"),
    ("session.audio.output.format.type", "session.output_audio_format"),
    ("session.audio.output.voice", "session.voice"),
    ("session.audio.output.speed", "session.speed"),
    ("session.output_modalities[0]", "session.modalities"),
    ("session.max_output_tokens", "session.max_response_output_tokens"),
    ("response.max_output_tokens", "response.max_response_output_tokens"),
    ("response.audio.output.voice.id", "response.voice.id"),
    ("session.tools[0].name", "session.tools[0].name"),
    ("session.audio.output.voices", "session.audio.output.voices"),
    ("item.content[0].audio", "item.content[0].audio"),
    ("session.voice", "session.voice"),
]


@pytest.mark.parametrize(("path", "expected"), PATH_ROWS)
def test_param_path(path: str, expected: str) -> None:
    assert param_to_beta(path) == expected


def test_the_message_names_the_beta_path_too() -> None:
    path = "session.audio.input.turn_detection.threshold"
    event = ErrorEvent(
        "invalid_request_error", "invalid_type", f"Invalid type for '{path}': x", path
    )
    encoded = beta.encode(event, "event_1")
    assert encoded is not None
    message = encoded["error"]["message"]
    assert message == "Invalid type for 'session.turn_detection.threshold': x"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (_session(voice="x", id="s", audio={}, type="realtime"), ["session.audio"]),
        (
            _response(modalities=["text"], output_modalities=["text"]),
            ["response.output_modalities"],
        ),
        ({"type": "response.cancel", "x": 1}, []),
    ],
)
def test_ignored_fields_are_reported(event: dict[str, Any], expected: list[str]) -> None:
    assert beta.unknown_parameters(event) == expected


@steadily
@given(EVENTS)
def test_nothing_but_invalid_request_is_ever_raised(event: dict[str, Any]) -> None:
    try:
        beta.decode(event)
    except InvalidRequest as problem:
        assert beta.encode(error_event(problem), "event_1")
    beta.unknown_parameters(event)
    assert dialects.decide(event) in ("ga", "beta", None)


# --- server events --------------------------------------------------------------------------


@pytest.mark.parametrize("number", samples.BETA)
def test_equals_the_golden_event_key_by_key(number: int, shared_reference: Path) -> None:
    golden = json.loads((shared_reference / "golden_beta.json").read_text(encoding="utf-8"))
    by_id = {event["event_id"]: event for event in golden}
    assert json.dumps(_encode(samples.BETA[number], samples.event_id(number))) == json.dumps(
        by_id[samples.event_id(number)]
    )


_EVERY_SAMPLE = [*samples.BETA.values(), *samples.GA.values()]


_GA_ONLY = (ItemCreated, ItemDone, TimeoutTriggered, TranscriptionSegment, *get_args(McpEvent))


def _is_beta(event: ServerEvent) -> bool:
    return not isinstance(event, _GA_ONLY) and getattr(event, "moment", "created") == "created"


@pytest.mark.parametrize("event", filter(_is_beta, _EVERY_SAMPLE))
def test_the_sdk_accepts_it(event: ServerEvent) -> None:
    assert _problems(_encode(event)) == []


def test_every_server_event_is_sampled() -> None:
    assert {type(event) for event in _EVERY_SAMPLE} == set(get_args(ServerEvent))


def test_rate_limits_are_told_when_a_response_begins_and_in_ga_when_it_ends() -> None:
    at_the_end, at_the_beginning = samples.GA[15], samples.BETA[78]
    assert beta.encode(at_the_end, "event_1") is None
    assert ga.encode(at_the_beginning, "event_1") is None


def test_an_item_has_one_event_of_its_creation() -> None:
    assert beta.encode(samples.GA[63], "event_1") is None


@pytest.mark.parametrize("number", range(55, 63))
def test_nothing_of_mcp_is_sent(number: int) -> None:
    assert beta.encode(samples.GA[number], "event_1") is None


def test_nothing_of_speakers_is_sent() -> None:
    assert beta.encode(samples.GA[54], "event_1") is None


def test_mcp_items_are_left_out() -> None:
    call = McpCall("item_1", "s", "t", "{}", output="x")
    assert beta.encode(ItemAdded(None, call), "event_1") is None
    assert beta.encode(OutputItemDone("resp_1", 0, call), "event_1") is None
    done = samples.response("completed", None, (call, samples.SPOKEN))
    encoded = _encode(ResponseDone(done))
    assert [item["type"] for item in encoded["response"]["output"]] == ["message"]
    server = McpTool(server_label="s", server_url="https://mcp.example")
    view = SessionView("sess_1", 0, Session(tools=(server, FunctionTool(name="f"))))
    encoded = _encode(SessionUpdated(view))
    assert [tool["name"] for tool in encoded["session"]["tools"]] == ["f"]


def test_item_done_is_not_sent() -> None:
    assert beta.encode(ItemDone(None, samples.SPOKEN), "event_1") is None


def test_text_content_is_named_text() -> None:
    encoded = _encode(ItemAdded(None, samples.WRITTEN))
    assert encoded["item"]["content"] == [{"type": "text", "text": "Hi"}]


def test_a_retrieved_item_replays_its_audio() -> None:
    item = Message("i", "user", "completed", (InputAudio("hey", b"\1\2"),))
    encoded = _encode(ItemRetrieved(item))
    assert encoded["item"]["content"] == [
        {"type": "input_audio", "audio": "AQI=", "transcript": "hey"}
    ]


def test_function_output_item() -> None:
    encoded = _encode(ItemAdded("p", FunctionCallOutput("i", "c", "{}")))
    assert encoded["item"] == {
        "id": "i",
        "type": "function_call_output",
        "call_id": "c",
        "output": "{}",
        "object": "realtime.item",
    }


def test_cancelled_response() -> None:
    view = samples.response("cancelled", Cancelled("turn_detected"), usage=Usage())
    encoded = _encode(ResponseDone(view))
    assert encoded["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert _problems(encoded) == []


def test_failed_response() -> None:
    view = samples.response("failed", Failed("server_error", "server_error", "m"))
    encoded = _encode(ResponseDone(view))
    assert encoded["response"]["status_details"]["error"]["message"] == "m"
    assert _problems(encoded) == []


VIEW_ROWS: list[tuple[Session, str, object]] = [
    (Session(output_modalities=("text",)), "modalities", ["text"]),
    (Session(), "modalities", ["audio", "text"]),
    (Session(tool_choice=NamedToolChoice(name="f")), "tool_choice", "f"),
    (Session(max_output_tokens=9), "max_response_output_tokens", 9),
    (Session(temperature=1.1), "temperature", 1.1),
    (Session(audio=SessionAudio(input=AudioInput(turn_detection=None))), "turn_detection", None),
    (
        Session(audio=SessionAudio(input=AudioInput(turn_detection=SemanticVad()))),
        "turn_detection",
        {
            "type": "semantic_vad",
            "eagerness": "auto",
            "create_response": True,
            "interrupt_response": True,
        },
    ),
    (
        Session(audio=SessionAudio(input=AudioInput(format=PcmuFormat()))),
        "input_audio_format",
        "g711_ulaw",
    ),
    (
        Session(audio=SessionAudio(output=AudioOutput(format=PcmaFormat()))),
        "output_audio_format",
        "g711_alaw",
    ),
    (
        Session(audio=SessionAudio(output=AudioOutput(voice=CustomVoice(id="voice_1")))),
        "voice",
        "voice_1",
    ),
    (
        Session(
            audio=SessionAudio(
                input=AudioInput(transcription=Transcription(model="m", delay="low"))
            )
        ),
        "input_audio_transcription",
        {"model": "m", "language": None, "prompt": None},
    ),
    (
        Session(
            audio=SessionAudio(
                input=AudioInput(noise_reduction=NoiseReduction(type="far_field", strength=0.5))
            )
        ),
        "input_audio_noise_reduction",
        {"type": "far_field"},
    ),
]


@pytest.mark.parametrize(("settings", "key", "expected"), VIEW_ROWS)
def test_session_fields(settings: Session, key: str, expected: object) -> None:
    encoded = _encode(SessionUpdated(SessionView("sess_1", 1, settings)))
    assert encoded["session"][key] == expected
    assert _problems(encoded) == []


def test_what_a_session_shows_can_be_sent_back() -> None:
    shown = _encode(SessionUpdated(samples.BETA_SESSION))["session"]
    event = beta.decode({"type": "session.update", "session": shown})
    assert isinstance(event, SessionUpdate)
    settings = Session.model_validate(event.session)
    assert settings == samples.BETA_SESSION.settings


# --- which dialect --------------------------------------------------------------------------

DECISION_ROWS: list[tuple[dict[str, Any], str | None]] = [
    (_session(type="realtime"), "ga"),
    (_session(type="realtime", voice="x"), "ga"),
    (_session(audio={}), "ga"),
    (_session(output_modalities=["text"]), "ga"),
    (_session(output_modalities=["text"], modalities=["text"]), "ga"),
    (_session(instructions="x", tools=[]), None),
    (_session(max_output_tokens=5), None),
    *(
        (_session(**{key: None}), "beta")
        for key in (
            "modalities",
            "voice",
            "input_audio_format",
            "output_audio_format",
            "turn_detection",
            "input_audio_transcription",
            "input_audio_noise_reduction",
            "temperature",
            "max_response_output_tokens",
        )
    ),
    (_response(output_modalities=["text"]), "ga"),
    (_response(audio={}), "ga"),
    (_response(modalities=["text"]), "beta"),
    (_response(instructions="x"), None),
    ({"type": "response.create"}, None),
    ({"type": "transcription_session.update"}, "beta"),
    ({"type": "input_audio_buffer.append", "audio": ""}, None),
    ({"type": "session.update", "session": None}, None),
    ({"type": []}, None),
    ({}, None),
]


@pytest.mark.parametrize(("event", "expected"), DECISION_ROWS)
def test_decide(event: dict[str, Any], expected: str | None) -> None:
    assert dialects.decide(event) == expected
    assert dialects.looks_ga(event) == (expected == "ga")
    assert dialects.looks_beta(event) == (expected == "beta")


def test_bilingual_session_has_both_halves() -> None:
    encoded = dialects.bilingual_session_created(SessionCreated(samples.GA_SESSION), "event_1")
    assert check_bilingual_session(encoded) == []
    assert encoded["session"]["type"] == "realtime"
    assert encoded["session"]["voice"] == "alloy"
    assert list(encoded)[:2] == ["type", "event_id"]


def test_an_idle_cancel_is_answered_in_the_words_old_clients_expect() -> None:
    event = ErrorEvent("invalid_request_error", "response_cancel_not_active", "Cancellation failed")
    assert _encode(event)["error"]["message"] == "no ongoing response to cancel"


def _encode(event: ServerEvent, event_id: str = "event_1") -> dict[str, Any]:
    encoded = beta.encode(event, event_id)
    assert encoded is not None
    return encoded


def _problems(event: dict[str, Any]) -> list[str]:
    return check_event(event, "beta") + check_keys(event, "beta")
