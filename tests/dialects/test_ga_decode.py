"""GA client events: what each one decodes to, and which error each mistake earns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from dialects import ga
from dialects.client_events import append_audio_field
from dialects.items import MAX_IMAGE_BYTES
from protocol import (
    CLIENT_EVENT_TYPES,
    PLAYBACK_CLEAR,
    ClientEvent,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputAudioAppend,
    InputAudioClear,
    InputAudioCommit,
    InputImage,
    InputText,
    InvalidRequest,
    ItemCreate,
    ItemDelete,
    ItemReference,
    ItemRetrieve,
    ItemTruncate,
    Message,
    NamedToolChoice,
    OutputAudio,
    OutputAudioClear,
    OutputText,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
    SessionUpdate,
)
from tests.dialects.strategies import EVENTS, steadily

PIXEL = "data:image/png;base64,AAAA"
BAD_AUDIO = (
    "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) "
    "but got an invalid value."
)

# --- good events ----------------------------------------------------------------------------

EVENT_ROWS: list[tuple[dict[str, Any], ClientEvent]] = [
    ({"type": "input_audio_buffer.commit"}, InputAudioCommit("e")),
    ({"type": "input_audio_buffer.clear"}, InputAudioClear("e")),
    ({"type": "output_audio_buffer.clear"}, OutputAudioClear("e")),
    ({"type": "input_audio_buffer.append", "audio": "AQID"}, InputAudioAppend(b"\1\2\3", "e")),
    ({"type": "conversation.item.retrieve", "item_id": "i"}, ItemRetrieve("i", "e")),
    ({"type": "conversation.item.delete", "item_id": "i"}, ItemDelete("i", "e")),
    (
        {
            "type": "conversation.item.truncate",
            "item_id": "i",
            "content_index": 0,
            "audio_end_ms": 12.5,
        },
        ItemTruncate("i", 0, 12.5, "e"),
    ),
    (
        {
            "type": "conversation.item.truncate",
            "item_id": "i",
            "content_index": 1,
            "audio_end_ms": -3,
        },
        ItemTruncate("i", 1, -3, "e"),
    ),
    ({"type": "response.cancel"}, ResponseCancel(None, "e")),
    ({"type": "response.cancel", "response_id": None}, ResponseCancel(None, "e")),
    ({"type": "response.cancel", "response_id": "r"}, ResponseCancel("r", "e")),
    ({"type": "response.create"}, ResponseCreate(event_id="e")),
    ({"type": "response.create", "response": None}, ResponseCreate(event_id="e")),
    ({"type": "response.create", "response": {}}, ResponseCreate(event_id="e")),
    (
        {"type": "session.update", "session": {"type": "realtime", "instructions": "x"}},
        SessionUpdate({"type": "realtime", "instructions": "x"}, "e"),
    ),
]


@pytest.mark.parametrize(("event", "expected"), EVENT_ROWS)
def test_event(event: dict[str, Any], expected: ClientEvent) -> None:
    assert ga.decode({**event, "event_id": "e"}) == expected


def test_every_client_event_type_is_in_the_table() -> None:
    kinds = {event["type"] for event, _ in EVENT_ROWS} | {"conversation.item.create"}
    assert kinds == {*CLIENT_EVENT_TYPES, PLAYBACK_CLEAR}


@pytest.mark.parametrize(
    ("sent", "expected"), [({}, None), ({"event_id": None}, None), ({"event_id": "e"}, "e")]
)
def test_event_id_is_optional(sent: dict[str, Any], expected: str | None) -> None:
    assert ga.decode({"type": "input_audio_buffer.clear", **sent}) == InputAudioClear(expected)


# --- items ----------------------------------------------------------------------------------


def _message(role: str, content: object, **extra: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **extra}


ITEM_ROWS: list[tuple[dict[str, Any], object]] = [
    (
        _message("user", [{"type": "input_text", "text": "hi"}], id="mine"),
        Message("mine", "user", "completed", (InputText("hi"),)),
    ),
    (
        _message("system", [{"type": "input_text", "text": "hi"}]),
        Message("", "system", "completed", (InputText("hi"),)),
    ),
    (
        _message("assistant", [{"type": "output_text", "text": "hi"}]),
        Message("", "assistant", "completed", (OutputText("hi"),)),
    ),
    (
        _message("assistant", [{"type": "output_audio", "transcript": "hi", "audio": "AAAA"}]),
        Message("", "assistant", "completed", (OutputAudio("hi"),)),
    ),
    (
        _message("assistant", [{"type": "output_audio", "text": "hi"}]),
        Message("", "assistant", "completed", (OutputAudio("hi"),)),
    ),
    (
        _message("user", [{"type": "input_audio", "audio": "AQI="}]),
        Message("", "user", "completed", (InputAudio(None, b"\1\2"),)),
    ),
    (
        _message("user", [{"type": "input_audio", "audio": "AQI=", "transcript": "hi"}]),
        Message("", "user", "completed", (InputAudio("hi", b"\1\2"),)),
    ),
    (
        _message("user", [{"type": "input_audio", "transcript": "hi"}]),
        Message("", "user", "completed", (InputAudio("hi", None),)),
    ),
    (
        _message("user", [{"type": "input_image", "image_url": PIXEL, "detail": "low"}]),
        Message("", "user", "completed", (InputImage(PIXEL, "low"),)),
    ),
    (
        _message("user", [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": ""}]),
        Message("", "user", "completed", (InputText("a"), InputText(""))),
    ),
    (_message("user", []), Message("", "user", "completed", ())),
    (
        {"type": "function_call", "name": "f", "arguments": "{}"},
        FunctionCall("", "", "f", "{}", "completed"),
    ),
    (
        {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": "{}"},
        FunctionCall("i", "c", "f", "{}", "completed"),
    ),
    (
        {"type": "function_call_output", "call_id": "c", "output": "{}"},
        FunctionCallOutput("", "c", "{}"),
    ),
    # Spellings of other dialects and of careless clients.
    (_message("user", "hi"), Message("", "user", "completed", (InputText("hi"),))),
    (_message("assistant", "hi"), Message("", "assistant", "completed", (OutputText("hi"),))),
    (
        _message("assistant", [{"type": "text", "text": "hi"}]),
        Message("", "assistant", "completed", (OutputText("hi"),)),
    ),
    (
        _message("assistant", [{"type": "audio", "transcript": "hi"}]),
        Message("", "assistant", "completed", (OutputAudio("hi"),)),
    ),
    (
        _message("user", [{"type": "text", "text": "hi"}]),
        Message("", "user", "completed", (InputText("hi"),)),
    ),
    (
        _message("user", [{"text": "a"}, {"audio": "AQI="}, {"image_url": PIXEL}]),
        Message(
            "", "user", "completed", (InputText("a"), InputAudio(None, b"\1\2"), InputImage(PIXEL))
        ),
    ),
    (
        _message("assistant", [{"text": "a"}, {"transcript": "b"}]),
        Message("", "assistant", "completed", (OutputText("a"), OutputAudio("b"))),
    ),
    (
        _message("user", "hi", status="in_progress", object="realtime.item", phase="x", id=None),
        Message("", "user", "completed", (InputText("hi"),)),
    ),
]


@pytest.mark.parametrize(("sent", "expected"), ITEM_ROWS)
def test_item(sent: dict[str, Any], expected: object) -> None:
    event = ga.decode({"type": "conversation.item.create", "item": sent})
    assert event == ItemCreate(expected)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, None),
        ({"previous_item_id": None}, None),
        ({"previous_item_id": ""}, None),
        ({"previous_item_id": "root"}, "root"),
        ({"previous_item_id": "i"}, "i"),
    ],
)
def test_previous_item_id(sent: dict[str, Any], expected: str | None) -> None:
    item = _message("user", "hi")
    event = ga.decode({"type": "conversation.item.create", "item": item, **sent})
    assert isinstance(event, ItemCreate)
    assert event.previous_item_id == expected


# --- response.create ------------------------------------------------------------------------


def _response(**fields: Any) -> ResponseCreate:
    event = ga.decode({"type": "response.create", "response": fields})
    assert isinstance(event, ResponseCreate)
    return event


PARAM_ROWS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"conversation": "none"}, {"conversation": "none"}),
    ({"conversation": None}, {}),
    ({"instructions": "x"}, {"instructions": "x"}),
    ({"output_modalities": ["text"]}, {"output_modalities": ["text"]}),
    ({"metadata": {"k": "v"}}, {"metadata": {"k": "v"}}),
    ({"max_output_tokens": "inf"}, {"max_output_tokens": "inf"}),
    ({"max_output_tokens": 4096}, {"max_output_tokens": 4096}),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    (
        {"audio": {"output": {"voice": "v", "format": {"type": "audio/pcmu"}}}},
        {"audio": {"output": {"voice": "v", "format": {"type": "audio/pcmu"}}}},
    ),
    ({"audio": None}, {}),
    ({"modalities": ["text"], "nonsense": 1}, {}),
    ({"tools": [{"name": "f"}]}, {"tools": [{"type": "function", "name": "f"}]}),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"tools": [{"type": "function", "name": "f", "parameters": {}}]},
    ),
]


@pytest.mark.parametrize(("sent", "expected"), PARAM_ROWS)
def test_response_params(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _response(**sent).params == ResponseParams.model_validate(expected)


def test_a_forced_function_in_chat_spelling() -> None:
    choice = {"type": "function", "function": {"name": "f"}}
    assert _response(tool_choice=choice).params.tool_choice == NamedToolChoice(name="f")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, None),
        ({"input": None}, None),
        ({"input": []}, ()),
        (
            {"input": [{"type": "item_reference", "id": "i"}, _message("user", "hi")]},
            (ItemReference("i"), Message("", "user", "completed", (InputText("hi"),))),
        ),
    ],
)
def test_response_input(sent: dict[str, Any], expected: object) -> None:
    assert _response(**sent).input == expected


# --- session.update -------------------------------------------------------------------------


def _session(**fields: Any) -> dict[str, Any]:
    event = ga.decode({"type": "session.update", "session": {"type": "realtime", **fields}})
    assert isinstance(event, SessionUpdate)
    return event.session


TOOL_ROWS: list[tuple[object, object]] = [
    ([{"type": "function", "name": "f"}], [{"type": "function", "name": "f"}]),
    (
        [{"type": "function", "function": {"name": "f", "description": "d"}}],
        [{"type": "function", "name": "f", "description": "d"}],
    ),
    ([{"function": {"name": "f"}}], [{"type": "function", "name": "f"}]),
    ([{"name": "f"}], [{"name": "f"}]),
    ([], []),
    (None, None),
    ("x", "x"),
    ([3], [3]),
]


@pytest.mark.parametrize(("sent", "expected"), TOOL_ROWS)
def test_session_tools_are_flat_and_otherwise_raw(sent: object, expected: object) -> None:
    assert _session(tools=sent)["tools"] == expected


def test_session_fields_stay_as_sent() -> None:
    patch = {"audio": {"input": {"turn_detection": None}}, "nonsense": [1], "tracing": None}
    assert _session(**patch) == {"type": "realtime", **patch}


def test_the_event_itself_is_not_changed() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    _session(tools=tools)
    assert tools == [{"type": "function", "function": {"name": "f"}}]


# --- bad events -----------------------------------------------------------------------------


def _create(item: object, **fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": item, **fields}


def _user(part: object) -> dict[str, Any]:
    return _create(_message("user", [part]))


def _truncate(**fields: Any) -> dict[str, Any]:
    event = {
        "type": "conversation.item.truncate",
        "item_id": "i",
        "content_index": 0,
        "audio_end_ms": 0,
    }
    return {**event, **fields}


def _update(**fields: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **fields}}


def _respond(**fields: Any) -> dict[str, Any]:
    return {"type": "response.create", "response": fields}


def _wrong(path: str, expected: str, got: str) -> str:
    return f"Invalid type for '{path}': expected {expected}, but got {got} instead."


def _missing(path: str) -> str:
    return f"Missing required parameter: '{path}'."


_ALL_TYPES = (
    "'session.update', 'input_audio_buffer.append', 'input_audio_buffer.commit', "
    "'input_audio_buffer.clear', 'conversation.item.create', 'conversation.item.retrieve', "
    "'conversation.item.delete', 'conversation.item.truncate', 'response.create', "
    "and 'response.cancel'"
)
_ITEM_TYPES = "'message', 'function_call', 'function_call_output', and 'mcp_approval_response'"

ERROR_ROWS: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({}, "invalid_event", "The 'type' field is missing.", None),
    ({"type": None}, "invalid_event", "The 'type' field is missing.", None),
    ({"type": ["x"]}, "invalid_event", "The 'type' field is missing.", None),
    (
        {"type": "nope"},
        "invalid_value",
        f"Invalid value: 'nope'. Supported values are: {_ALL_TYPES}.",
        "type",
    ),
    (
        {"type": "x" * 100},
        "invalid_value",
        f"Invalid value: '{'x' * 63}…'. Supported values are: {_ALL_TYPES}.",
        "type",
    ),
    (
        {"type": "input_audio_buffer.append"},
        "missing_required_parameter",
        _missing("audio"),
        "audio",
    ),
    (
        {"type": "input_audio_buffer.append", "audio": 1},
        "invalid_type",
        _wrong("audio", "a string", "an integer"),
        "audio",
    ),
    ({"type": "input_audio_buffer.append", "audio": "é"}, "invalid_value", BAD_AUDIO, "audio"),
    ({"type": "session.update"}, "missing_required_parameter", _missing("session"), "session"),
    (
        {"type": "session.update", "session": []},
        "invalid_type",
        _wrong("session", "an object", "an array"),
        "session",
    ),
    (
        {"type": "session.update", "session": {}},
        "missing_required_parameter",
        _missing("session.type"),
        "session.type",
    ),
    (
        _update(type=1),
        "invalid_type",
        _wrong("session.type", "a string", "an integer"),
        "session.type",
    ),
    (
        _update(type="chat"),
        "invalid_value",
        "Invalid value: 'chat'. Supported values are: 'realtime' and 'transcription'.",
        "session.type",
    ),
    (
        _update(tools=[{"name": "f"}, {"type": "mcp", "connector_id": "connector_gmail"}]),
        "invalid_value",
        "Invalid 'session.tools[1].connector_id': this server reaches MCP servers by 'server_url' "
        "only.",
        "session.tools[1].connector_id",
    ),
    (
        _update(tools=[{"type": "mcp", "server_label": "s"}] * 2),
        "invalid_value",
        "Invalid value: 's'. MCP server labels must be unique.",
        "session.tools[1].server_label",
    ),
    (
        _update(tools=[{"name": "f"}, {"function": {"name": "f"}}]),
        "invalid_value",
        "Invalid value: 'f'. Tool names must be unique.",
        "session.tools[1].name",
    ),
    ({"type": "conversation.item.create"}, "missing_required_parameter", _missing("item"), "item"),
    (_create("x"), "invalid_type", _wrong("item", "an object", "a string"), "item"),
    (_create({}), "missing_required_parameter", _missing("item.type"), "item.type"),
    (
        _create({"type": "item_reference", "id": "i"}),
        "invalid_value",
        f"Invalid value: 'item_reference'. Supported values are: {_ITEM_TYPES}.",
        "item.type",
    ),
    (
        _create({"type": "mcp_call"}),
        "invalid_value",
        f"Invalid value: 'mcp_call'. Supported values are: {_ITEM_TYPES}. "
        "Only the server makes the other MCP items.",
        "item.type",
    ),
    (
        _create({"type": "mcp_approval_response", "approval_request_id": "r"}),
        "missing_required_parameter",
        _missing("item.approve"),
        "item.approve",
    ),
    (
        _respond(input=[{"type": "mcp_approval_response"}]),
        "invalid_value",
        "Invalid value: 'mcp_approval_response'. Approvals are given with "
        "conversation.item.create.",
        "response.input[0].type",
    ),
    (
        _create({"type": []}),
        "invalid_type",
        _wrong("item.type", "a string", "an array"),
        "item.type",
    ),
    (
        _create({"type": "message", "content": "x"}),
        "missing_required_parameter",
        _missing("item.role"),
        "item.role",
    ),
    (
        _create(_message("developer", "x")),
        "invalid_value",
        "Invalid value: 'developer'. Supported values are: 'system', 'user', and 'assistant'.",
        "item.role",
    ),
    (
        _create({"type": "message", "role": "user"}),
        "missing_required_parameter",
        _missing("item.content"),
        "item.content",
    ),
    (
        _create(_message("user", {})),
        "invalid_type",
        _wrong("item.content", "an array", "an object"),
        "item.content",
    ),
    (
        _user("x"),
        "invalid_type",
        _wrong("item.content[0]", "an object", "a string"),
        "item.content[0]",
    ),
    (
        _user({}),
        "missing_required_parameter",
        _missing("item.content[0].type"),
        "item.content[0].type",
    ),
    (
        _user({"type": "output_text", "text": "x"}),
        "invalid_value",
        "Invalid value: 'output_text'. Supported values are: "
        "'input_text', 'input_audio', and 'input_image'.",
        "item.content[0].type",
    ),
    (
        _create(_message("assistant", [{"type": "input_text", "text": "x"}])),
        "invalid_value",
        "Invalid value: 'input_text'. Supported values are: 'output_text' and 'output_audio'.",
        "item.content[0].type",
    ),
    (
        _create(_message("system", [{"type": "input_audio", "audio": "AAAA"}])),
        "invalid_value",
        "Invalid value: 'input_audio'. Supported values are: 'input_text'.",
        "item.content[0].type",
    ),
    (
        _user({"type": "input_text"}),
        "missing_required_parameter",
        _missing("item.content[0].text"),
        "item.content[0].text",
    ),
    (
        _user({"type": "input_text", "text": None}),
        "invalid_type",
        _wrong("item.content[0].text", "a string", "null"),
        "item.content[0].text",
    ),
    (
        _user({"type": "input_audio"}),
        "missing_required_parameter",
        _missing("item.content[0].audio"),
        "item.content[0].audio",
    ),
    (
        _user({"type": "input_audio", "audio": 5}),
        "invalid_type",
        _wrong("item.content[0].audio", "a string", "an integer"),
        "item.content[0].audio",
    ),
    (
        _user({"type": "input_audio", "audio": "AQID"}),
        "invalid_value",
        BAD_AUDIO,
        "item.content[0].audio",
    ),
    (
        _user({"type": "input_audio", "audio": "not base64!"}),
        "invalid_value",
        BAD_AUDIO,
        "item.content[0].audio",
    ),
    (
        _user({"type": "input_image", "image_url": "https://example.com/a.png"}),
        "invalid_value",
        "Invalid 'image_url'. Expected a base64 data URI of a png, jpeg, webp or gif image.",
        "item.content[0].image_url",
    ),
    (
        _user({"type": "input_image", "image_url": "data:image/png;base64,"}),
        "invalid_value",
        "Invalid 'image_url'. Expected a base64 data URI of a png, jpeg, webp or gif image.",
        "item.content[0].image_url",
    ),
    (
        _user({"type": "input_image", "image_url": "data:image/png;base64,@@@@"}),
        "invalid_value",
        "Invalid 'image_url'. Expected a base64 data URI of a png, jpeg, webp or gif image.",
        "item.content[0].image_url",
    ),
    (
        _user({"type": "input_image", "image_url": "data:image/png;base64,AAAAA"}),
        "invalid_value",
        "Invalid 'image_url'. Expected a base64 data URI of a png, jpeg, webp or gif image.",
        "item.content[0].image_url",
    ),
    (
        _user({"type": "input_image", "image_url": PIXEL + "A" * (MAX_IMAGE_BYTES * 4 // 3)}),
        "invalid_value",
        "Invalid 'image_url'. Expected an image of at most 10 MiB.",
        "item.content[0].image_url",
    ),
    (
        _user({"type": "input_image", "image_url": PIXEL, "detail": "full"}),
        "invalid_value",
        "Invalid value: 'full'. Supported values are: 'auto', 'low', and 'high'.",
        "item.content[0].detail",
    ),
    (
        _create(_message("assistant", [{"type": "output_audio", "audio": "AAAA"}])),
        "invalid_value",
        "Invalid value: 'output_audio'. Assistant audio is accepted only with its "
        "'transcript'; use 'output_text' otherwise.",
        "item.content[0]",
    ),
    (
        _create({"type": "function_call", "arguments": "{}"}),
        "missing_required_parameter",
        _missing("item.name"),
        "item.name",
    ),
    (
        _create({"type": "function_call", "name": "f", "arguments": {}}),
        "invalid_type",
        _wrong("item.arguments", "a string", "an object"),
        "item.arguments",
    ),
    (
        _create({"type": "function_call_output", "output": "x"}),
        "missing_required_parameter",
        _missing("item.call_id"),
        "item.call_id",
    ),
    (
        _create(_message("user", "x", id=3)),
        "invalid_type",
        _wrong("item.id", "a string", "an integer"),
        "item.id",
    ),
    (
        _create(_message("user", "x"), previous_item_id=3),
        "invalid_type",
        _wrong("previous_item_id", "a string", "an integer"),
        "previous_item_id",
    ),
    (
        {"type": "conversation.item.retrieve"},
        "missing_required_parameter",
        _missing("item_id"),
        "item_id",
    ),
    (
        {"type": "conversation.item.delete", "item_id": None},
        "invalid_type",
        _wrong("item_id", "a string", "null"),
        "item_id",
    ),
    (
        _truncate(audio_end_ms=True),
        "invalid_type",
        _wrong("audio_end_ms", "a decimal", "a boolean"),
        "audio_end_ms",
    ),
    (
        _truncate(audio_end_ms="5"),
        "invalid_type",
        _wrong("audio_end_ms", "a decimal", "a string"),
        "audio_end_ms",
    ),
    (
        _truncate(audio_end_ms=float("nan")),
        "invalid_value",
        "Invalid 'audio_end_ms': expected a finite number.",
        "audio_end_ms",
    ),
    (
        _truncate(content_index=-1),
        "integer_below_min_value",
        "Invalid 'content_index': integer below minimum value. "
        "Expected a value >= 0, but got -1 instead.",
        "content_index",
    ),
    (
        _truncate(content_index=0.0),
        "invalid_type",
        _wrong("content_index", "an integer", "a decimal number"),
        "content_index",
    ),
    (
        {"type": "response.create", "response": "x"},
        "invalid_type",
        _wrong("response", "an object", "a string"),
        "response",
    ),
    (
        _respond(conversation="other"),
        "invalid_value",
        "Invalid value: 'other'. Supported values are: 'auto' and 'none'.",
        "response.conversation",
    ),
    (
        _respond(output_modalities=["audio", "text"]),
        "invalid_value",
        "Invalid 'response.output_modalities': array too long. Expected an array with maximum "
        "length 1, but got an array with length 2 instead.",
        "response.output_modalities",
    ),
    (
        _respond(output_modalities=["text", "audio"]),
        "invalid_value",
        "Invalid 'response.output_modalities': array too long. Expected an array with maximum "
        "length 1, but got an array with length 2 instead.",
        "response.output_modalities",
    ),
    (
        _respond(metadata={"k": 1}),
        "invalid_type",
        _wrong("response.metadata.k", "a string", "an integer"),
        "response.metadata.k",
    ),
    (
        _respond(metadata={"k": "v" * 513}),
        "string_above_max_length",
        "Invalid 'response.metadata.k': string too long. Expected a string with maximum length "
        "512, but got a string with length 513 instead.",
        "response.metadata.k",
    ),
    (
        _respond(metadata={str(key): "v" for key in range(17)}),
        "invalid_value",
        "Invalid 'response.metadata': object too long. Expected an object with maximum "
        "length 16, but got an object with length 17 instead.",
        "response.metadata",
    ),
    (
        _respond(tools=[{"type": "mcp", "server_label": "s"}]),
        "missing_required_parameter",
        _missing("response.tools[0].server_url"),
        "response.tools[0].server_url",
    ),
    (
        _respond(tools=[{"type": "mcp", "tunnel_id": "t"}]),
        "invalid_value",
        "Invalid 'response.tools[0].tunnel_id': this server reaches MCP servers by 'server_url' "
        "only.",
        "response.tools[0].tunnel_id",
    ),
    (
        _respond(tools=[{"type": "function"}]),
        "missing_required_parameter",
        _missing("response.tools[0].name"),
        "response.tools[0].name",
    ),
    (
        _respond(input="x"),
        "invalid_type",
        _wrong("response.input", "an array", "a string"),
        "response.input",
    ),
    (
        _respond(input=[[]]),
        "invalid_type",
        _wrong("response.input[0]", "an object", "an array"),
        "response.input[0]",
    ),
    (
        _respond(input=[_message("user", "x"), {"type": "item_reference"}]),
        "missing_required_parameter",
        _missing("response.input[1].id"),
        "response.input[1].id",
    ),
    (
        _respond(input=[_message("user", [{"type": "input_audio", "audio": "A"}])]),
        "invalid_value",
        BAD_AUDIO,
        "response.input[0].content[0].audio",
    ),
    (
        {"type": "response.cancel", "response_id": 1},
        "invalid_type",
        _wrong("response_id", "a string", "an integer"),
        "response_id",
    ),
]


@pytest.mark.parametrize(("event", "code", "message", "param"), ERROR_ROWS)
def test_mistake(event: dict[str, Any], code: str, message: str, param: str | None) -> None:
    problem = _refused(ga.decode, {**event, "event_id": "mine"})
    assert (problem.code, problem.message, problem.param) == (code, message, param)
    assert problem.event_id == "mine"


@pytest.mark.parametrize(
    ("event_id", "code"), [(1, "invalid_type"), ("x" * 513, "string_above_max_length")]
)
def test_bad_event_id(event_id: object, code: str) -> None:
    problem = _refused(ga.decode, {"type": "input_audio_buffer.clear", "event_id": event_id})
    assert (problem.code, problem.param, problem.event_id) == (code, "event_id", None)


def test_append_field_is_handed_over_undecoded() -> None:
    assert append_audio_field({"type": "input_audio_buffer.append", "audio": "!"}) == "!"


@pytest.mark.parametrize(
    ("event", "code"), [({}, "missing_required_parameter"), ({"audio": None}, "invalid_type")]
)
def test_append_field_mistakes(event: dict[str, Any], code: str) -> None:
    problem = _refused(append_audio_field, {**event, "event_id": "mine"})
    assert (problem.code, problem.param, problem.event_id) == (code, "audio", "mine")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (_update(id="s", object="o", expires_at=0, voice="x"), ["session.voice"]),
        (
            _update(audio={"input": {"format": {"type": "audio/pcmu", "rate": 8000}, "x": 1}}),
            ["session.audio.input.format.rate", "session.audio.input.x"],
        ),
        (_update(tools=[{"name": "f", "strict": True}]), ["session.tools[0].strict"]),
        (_respond(modalities=["text"], input=[]), ["response.modalities"]),
        (_respond(metadata={"anything": "x"}), []),
        ({"type": "response.cancel", "x": 1}, []),
    ],
)
def test_ignored_fields_are_reported(event: dict[str, Any], expected: list[str]) -> None:
    assert ga.unknown_parameters(event) == expected


# --- no input breaks it ---------------------------------------------------------------------


@steadily
@given(EVENTS)
def test_nothing_but_invalid_request_is_ever_raised(event: dict[str, Any]) -> None:
    try:
        ga.decode(event)
    except InvalidRequest as problem:
        assert problem.message
    ga.unknown_parameters(event)


def _refused(decode: Callable[[dict[str, Any]], object], event: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(event)
    return caught.value
