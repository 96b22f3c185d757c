"""GA client events: parsed JSON in, `ClientEvent` out, `InvalidRequest` for anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, cast, get_args

import pybase64
from pydantic import Field

from core.validation import missing, unknown_fields, unsupported_value, validate, wrong_type
from dialects.items import BAD_AUDIO, decode_input, decode_item
from dialects.tools import with_flat_tools
from protocol import (
    CLIENT_EVENT_TYPES,
    PLAYBACK_CLEAR,
    ClientEvent,
    ErrorCode,
    InputAudioAppend,
    InputAudioClear,
    InputAudioCommit,
    InvalidRequest,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputAudioClear,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
    Session,
    SessionKind,
    SessionUpdate,
    WireModel,
)

WireEvent = dict[str, Any]

MAX_EVENT_ID_CHARS = 512

SESSION_KINDS = get_args(SessionKind)
SERVER_ONLY_FIELDS = frozenset({"type", "object", "id", "expires_at", "client_secret"})
"""Session fields that clients echo back although only the server sets them."""


def decode_ga(
    event: WireEvent, translate: Callable[[WireEvent], WireEvent] | None = None
) -> ClientEvent:
    """Decode one client event.

    An `input_audio_buffer.append` is taken for 16-bit PCM at 24 kHz; a connection that may have
    another input format reads it with `append_audio_field` instead.

    Args:
        event: The JSON object as received.
        translate: Brings an event of another dialect to GA shape first.

    Raises:
        InvalidRequest: With the client's `event_id`.
    """
    event_id = validate(_Head, event, "").event_id
    try:
        ga_event = translate(event) if translate else event
        return _decoder(ga_event)(ga_event, event_id)
    except InvalidRequest as exc:
        exc.event_id = event_id
        raise


def append_audio_field(event: WireEvent) -> str:
    """The base64 text of an `input_audio_buffer.append`: all that the fast path needs of it.

    Raises:
        InvalidRequest: When it is missing or no string.
    """
    audio: object = event.get("audio")
    if isinstance(audio, str):
        return audio
    problem = missing("audio") if "audio" not in event else wrong_type("a string", audio, "audio")
    problem.event_id = validate(_Head, event, "").event_id
    raise problem


def unknown_parameters(event: WireEvent) -> list[str]:
    """Paths of `event` that this server ignores, for the log."""
    session: object = event.get("session")
    response: object = event.get("response")
    if event.get("type") == "session.update":
        unknown = unknown_fields(Session, session, "session")
        unknown += _unheard(session)
        return [path for path in unknown if path not in _IGNORED_IN_SESSION]
    if event.get("type") == "response.create":
        unknown = unknown_fields(ResponseParams, response, "response")
        return [path for path in unknown if path != "response.input"]
    return []


# --- one decoder per event ------------------------------------------------------------------


def _unheard(session: object) -> list[str]:
    """Paths that only a realtime session has, in the update of a transcription session."""
    fields = cast("dict[str, Any]", session) if isinstance(session, dict) else {}
    if fields.get("type") != "transcription":
        return []
    known = Session.model_fields.keys() - {"audio", "include"}
    audio: object = fields.get("audio")
    paths = [f"session.{name}" for name in fields if name in known]
    if isinstance(audio, dict) and "output" in audio:
        paths.append("session.audio.output")
    return paths


_IGNORED_IN_SESSION = frozenset(f"session.{name}" for name in SERVER_ONLY_FIELDS)


class _Head(WireModel):
    event_id: Annotated[str, Field(max_length=MAX_EVENT_ID_CHARS)] | None = None


class _WithItem(WireModel):
    item: dict[str, Any]
    previous_item_id: str | None = None


class _WithItemId(WireModel):
    item_id: str


class _Truncation(_WithItemId):
    content_index: Annotated[int, Field(ge=0)]
    audio_end_ms: Annotated[float, Field(allow_inf_nan=False)]


class _WithSession(WireModel):
    session: dict[str, Any]


class _SessionHead(WireModel):
    type: str


class _WithResponse(WireModel):
    response: dict[str, Any] | None = None


class _ResponseInput(WireModel):
    input: list[Any] | None = None


class _WithResponseId(WireModel):
    response_id: str | None = None


def _decoder(event: WireEvent) -> Callable[[WireEvent, str | None], ClientEvent]:
    kind: object = event.get("type")
    if not isinstance(kind, str):
        raise InvalidRequest(ErrorCode.INVALID_EVENT, "The 'type' field is missing.")
    if kind not in _DECODERS:
        raise unsupported_value(kind, CLIENT_EVENT_TYPES, "type")
    return _DECODERS[kind]


def _session_update(event: WireEvent, event_id: str | None) -> ClientEvent:
    session = validate(_WithSession, event, "").session
    kind = validate(_SessionHead, session, "session").type
    if kind not in SESSION_KINDS:
        raise unsupported_value(kind, SESSION_KINDS, "session.type")
    return SessionUpdate(with_flat_tools(session, "session"), event_id)


def _append(event: WireEvent, event_id: str | None) -> ClientEvent:
    try:
        audio = pybase64.b64decode(append_audio_field(event), validate=True)
    except ValueError:
        raise InvalidRequest(ErrorCode.INVALID_VALUE, BAD_AUDIO, "audio") from None
    return InputAudioAppend(audio, event_id)


def _item_create(event: WireEvent, event_id: str | None) -> ClientEvent:
    body = validate(_WithItem, event, "")
    return ItemCreate(decode_item(body.item, "item"), body.previous_item_id or None, event_id)


def _item_truncate(event: WireEvent, event_id: str | None) -> ClientEvent:
    body = validate(_Truncation, event, "")
    return ItemTruncate(body.item_id, body.content_index, body.audio_end_ms, event_id)


def _response_create(event: WireEvent, event_id: str | None) -> ClientEvent:
    sent = validate(_WithResponse, event, "").response
    if sent is None:
        return ResponseCreate(event_id=event_id)
    # For these two null has no meaning but "not given".
    response = {
        name: value
        for name, value in with_flat_tools(sent, "response").items()
        if value is not None or name not in ("conversation", "audio")
    }
    params = validate(ResponseParams, response, "response")
    entries = validate(_ResponseInput, response, "response").input
    context = None if entries is None else decode_input(entries, "response.input")
    return ResponseCreate(params, context, event_id)


def _item_id(event: WireEvent) -> str:
    return validate(_WithItemId, event, "").item_id


_DECODERS: dict[str, Callable[[WireEvent, str | None], ClientEvent]] = {
    "session.update": _session_update,
    "input_audio_buffer.append": _append,
    "input_audio_buffer.commit": lambda _event, event_id: InputAudioCommit(event_id),
    "input_audio_buffer.clear": lambda _event, event_id: InputAudioClear(event_id),
    PLAYBACK_CLEAR: lambda _event, event_id: OutputAudioClear(event_id),
    "conversation.item.create": _item_create,
    "conversation.item.retrieve": lambda event, event_id: ItemRetrieve(_item_id(event), event_id),
    "conversation.item.delete": lambda event, event_id: ItemDelete(_item_id(event), event_id),
    "conversation.item.truncate": _item_truncate,
    "response.create": _response_create,
    "response.cancel": lambda event, event_id: ResponseCancel(
        validate(_WithResponseId, event, "").response_id or None, event_id
    ),
}
