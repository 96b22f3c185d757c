"""The beta dialect, as a translation of the GA vocabulary at the socket's edge.

Reference §3.4 and §3.5: flat sessions, other names for content and output events, and one
`conversation.item.created` where GA says `added` and `done`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, assert_never, get_args

from dialects import beta_client, client_events, ga
from dialects.beta_client import FORMATS, TRANSCRIPTION_FIELDS, param_to_beta
from dialects.objects import (
    Json,
    as_sent,
    audio_input_json,
    item_json,
    response_json,
    tool_json,
)
from protocol import (
    ClientEvent,
    CustomVoice,
    ErrorCode,
    ErrorEvent,
    FunctionArgumentsDone,
    FunctionTool,
    Item,
    ItemAdded,
    ItemCreated,
    ItemDone,
    ItemRetrieved,
    McpEvent,
    McpItem,
    McpToolChoice,
    NamedToolChoice,
    OutputAudioDelta,
    OutputAudioDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    OutputTranscriptDelta,
    OutputTranscriptDone,
    PcmaFormat,
    PcmFormat,
    PcmuFormat,
    RateLimitsUpdated,
    ResponseCreated,
    ResponseDone,
    ResponseView,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    SessionView,
    TimeoutTriggered,
    TranscriptionSegment,
)

CANCEL_IDLE_MESSAGE = "no ongoing response to cancel"
"""Step-Realtime-Console hangs up on any other answer to a `response.cancel` that found nothing."""
_FORMAT_NAMES = {form["type"]: name for name, form in FORMATS.items()}
_CONTENT_NAMES = {"output_text": "text", "output_audio": "audio"}
_EVENT_NAMES: Mapping[type, str] = {
    ItemAdded: "conversation.item.created",
    OutputTextDelta: "response.text.delta",
    OutputTextDone: "response.text.done",
    OutputAudioDelta: "response.audio.delta",
    OutputAudioDone: "response.audio.done",
    OutputTranscriptDelta: "response.audio_transcript.delta",
    OutputTranscriptDone: "response.audio_transcript.done",
}
_SUPPRESSED = frozenset(
    {ItemCreated, ItemDone, TimeoutTriggered, TranscriptionSegment, *get_args(McpEvent)}
)


def decode(event: dict[str, Any]) -> ClientEvent:
    """Decode one client event, appends excepted (see `client_events.append_audio_field`).

    Raises:
        InvalidRequest: With the client's `event_id`; its `param` may be a GA path, which `encode`
            turns into the beta one.
    """
    return client_events.decode_ga(event, beta_client.to_ga)


def unknown_parameters(event: dict[str, Any]) -> list[str]:
    """Paths of `event` that this server ignores, for the log."""
    return beta_client.unknown_parameters(event)


def encode(event: ServerEvent, event_id: str) -> Json | None:
    """The JSON object of one server event; None for those that beta does not have.

    Args:
        event: What the core emitted.
        event_id: Unique id to stamp on it.
    """
    kind = type(event)
    if kind in _SUPPRESSED or isinstance(getattr(event, "item", None), McpItem):
        return None
    if isinstance(event, RateLimitsUpdated) and event.moment == "done":
        return None  # Beta tells them right behind `response.created`.
    name = _EVENT_NAMES.get(kind, event.type)
    if isinstance(event, SessionCreated | SessionUpdated):
        prefix = "transcription_" if event.session.settings.type == "transcription" else ""
        name = prefix + event.type
    return {"type": name, "event_id": event_id, **_BODIES[kind](event)}


def session_fields(view: SessionView) -> Json:
    """The flat beta session, of either kind."""
    if view.settings.type == "transcription":
        fields = _realtime_fields(view)
        # Nothing answers and nothing can be interrupted: these two are not shown.
        detection = _without(fields["turn_detection"], "create_response", "interrupt_response")
        fields["turn_detection"] = detection
        return {
            "id": view.id,
            "object": "realtime.transcription_session",
            "expires_at": view.expires_at,
            **{name: fields[name] for name in TRANSCRIPTION_FIELDS},
        }
    return _realtime_fields(view)


def _realtime_fields(view: SessionView) -> Json:
    session = view.settings
    heard = audio_input_json(session.audio.input)
    return {
        "id": view.id,
        "object": "realtime.session",
        "expires_at": view.expires_at,
        "model": session.model,
        "modalities": _modalities(session.output_modalities),
        "instructions": session.instructions,
        "voice": _voice(session.audio.output.voice),
        "input_audio_format": _format(session.audio.input.format),
        "output_audio_format": _format(session.audio.output.format),
        "input_audio_transcription": _only(heard["transcription"], "model", "language", "prompt"),
        "input_audio_noise_reduction": _only(heard["noise_reduction"], "type"),
        "turn_detection": _without(heard["turn_detection"], "idle_timeout_ms"),
        "tools": [tool_json(tool) for tool in session.tools if isinstance(tool, FunctionTool)],
        "tool_choice": _tool_choice(session.tool_choice),
        "temperature": session.temperature,
        "max_response_output_tokens": session.max_output_tokens,
        "speed": session.audio.output.speed,
        "tracing": as_sent(session.tracing),
        "client_secret": None,
        "include": list(session.include) if session.include is not None else None,
    }


# --- objects --------------------------------------------------------------------------------


def _modalities(modalities: tuple[str, ...]) -> list[str]:
    return ["audio", "text"] if "audio" in modalities else ["text"]


def _voice(voice: str | CustomVoice) -> str:
    return voice if isinstance(voice, str) else voice.id


def _format(form: PcmFormat | PcmuFormat | PcmaFormat) -> str:
    return _FORMAT_NAMES[form.type]


def _tool_choice(choice: str | NamedToolChoice | McpToolChoice) -> str:
    """A string, as the SDK types it: a function is named by its bare name."""
    match choice:
        case str():
            return choice
        case NamedToolChoice():
            return choice.name
        case McpToolChoice():
            return "auto"
        case _:
            assert_never(choice)


def _only(fields: Json | None, *names: str) -> Json | None:
    return {name: fields[name] for name in names} if fields is not None else None


def _without(fields: Json | None, *names: str) -> Json | None:
    if fields is None:
        return None
    return {name: value for name, value in fields.items() if name not in names}


def _item(item: Item, *, with_audio: bool = False) -> Json:
    return _renamed(item_json(item, with_audio=with_audio))


def _renamed(item: Json) -> Json:
    """A GA item under its beta names."""
    beta_item = {**item, "object": "realtime.item"}
    if "content" in item:
        beta_item["content"] = [
            {**part, "type": _CONTENT_NAMES.get(part["type"], part["type"])}
            for part in item["content"]
        ]
    return beta_item


def _response_object(response: ResponseView) -> Json:
    ga_response = response_json(response)
    return {
        "object": "realtime.response",
        "id": response.id,
        "status": response.status,
        "status_details": ga_response["status_details"],
        "output": [_item(item) for item in response.output if not isinstance(item, McpItem)],
        "conversation_id": response.conversation_id,
        "modalities": _modalities(response.output_modalities),
        "voice": _voice(response.voice),
        "output_audio_format": _format(response.audio_format),
        "temperature": response.temperature,
        "max_output_tokens": response.max_output_tokens,
        "usage": _usage(ga_response["usage"]),
        "metadata": response.metadata,
    }


def _usage(usage: Json | None) -> Json | None:
    """Beta counts no image tokens, and its types know no details of the cached ones."""
    if usage is None:
        return None
    details = _without(usage["input_token_details"], "image_tokens", "cached_tokens_details")
    return {**usage, "input_token_details": details}


# --- bodies ---------------------------------------------------------------------------------


def _error(event: ErrorEvent) -> Json:
    if event.code == ErrorCode.CANCEL_NOT_ACTIVE:
        event = replace(event, message=CANCEL_IDLE_MESSAGE)
    body = ga.BODIES[ErrorEvent](event)
    if event.param is not None:
        param = param_to_beta(event.param)
        message = event.message.replace(f"'{event.param}'", f"'{param}'")
        body["error"].update(param=param, message=message)
    return body


def _session(event: SessionCreated | SessionUpdated) -> Json:
    return {"session": session_fields(event.session)}


def _item_created(event: ItemAdded) -> Json:
    return {"previous_item_id": event.previous_item_id, "item": _item(event.item)}


def _retrieved(event: ItemRetrieved) -> Json:
    return {"item": _item(event.item, with_audio=True)}


def _response(event: ResponseCreated | ResponseDone) -> Json:
    return {"response": _response_object(event.response)}


def _output_item(event: OutputItemAdded | OutputItemDone) -> Json:
    return {
        "response_id": event.response_id,
        "output_index": event.output_index,
        "item": _item(event.item),
    }


def _arguments_done(event: FunctionArgumentsDone) -> Json:
    body = ga.BODIES[FunctionArgumentsDone](event)
    del body["name"]
    return body


_BODIES: Mapping[type, Callable[[Any], Json]] = {
    **ga.BODIES,
    ErrorEvent: _error,
    SessionCreated: _session,
    SessionUpdated: _session,
    ItemAdded: _item_created,
    ItemRetrieved: _retrieved,
    ResponseCreated: _response,
    ResponseDone: _response,
    OutputItemAdded: _output_item,
    OutputItemDone: _output_item,
    FunctionArgumentsDone: _arguments_done,
}
