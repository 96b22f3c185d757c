"""The GA dialect: client JSON to `ClientEvent`, `ServerEvent` to server JSON.

Pure and stateless; `event_id` is the only thing it is handed beside the event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dialects import client_events
from dialects.objects import (
    Json,
    base64_text,
    item_json,
    part_json,
    response_json,
    session_json,
)
from protocol import (
    ClientEvent,
    ContentPartAdded,
    ContentPartDone,
    ConversationCreated,
    ErrorEvent,
    FunctionArgumentsDelta,
    FunctionArgumentsDone,
    InputAudioCleared,
    InputAudioCommitted,
    ItemAdded,
    ItemCreated,
    ItemDeleted,
    ItemDone,
    ItemRetrieved,
    ItemTruncated,
    McpArgumentsDelta,
    McpArgumentsDone,
    McpCallCompleted,
    McpCallFailed,
    McpCallInProgress,
    McpListToolsCompleted,
    McpListToolsFailed,
    McpListToolsInProgress,
    OutputAudioDelta,
    OutputAudioDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    OutputTranscriptDelta,
    OutputTranscriptDone,
    PlaybackCleared,
    PlaybackStarted,
    PlaybackStopped,
    RateLimitsUpdated,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TimeoutTriggered,
    TokenLogprob,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptionSegment,
)


def decode(event: dict[str, Any]) -> ClientEvent:
    """Decode one client event, appends excepted (see `client_events.append_audio_field`).

    Raises:
        InvalidRequest: With the client's `event_id`.
    """
    return client_events.decode_ga(event)


def unknown_parameters(event: dict[str, Any]) -> list[str]:
    """Paths of `event` that this server ignores, for the log."""
    return client_events.unknown_parameters(event)


def encode(event: ServerEvent, event_id: str) -> Json | None:
    """The JSON object of one server event; None where the dialect has no such event.

    Args:
        event: What the core emitted.
        event_id: Unique id to stamp on it.
    """
    if isinstance(event, RateLimitsUpdated) and event.moment == "created":
        return None  # GA tells them behind `response.done`.
    return {"type": event.type, "event_id": event_id, **BODIES[type(event)](event)}


# --- bodies: all of an event but `type` and `event_id` ---------------------------------------


def _own_fields(event: Any) -> Json:
    """For events declared in `protocol` with the wire's names in the wire's order."""
    return {name: getattr(event, name) for name in event.__slots__}


def _audio_delta(event: OutputAudioDelta) -> Json:
    return {
        "response_id": event.response_id,
        "item_id": event.item_id,
        "output_index": event.output_index,
        "content_index": event.content_index,
        "delta": base64_text(event.audio),
    }


def _error(event: ErrorEvent) -> Json:
    # All five keys always: clients read them without asking whether they are there.
    return {
        "error": {
            "type": event.error_type,
            "code": event.code,
            "message": event.message,
            "param": event.param,
            "event_id": event.client_event_id,
        }
    }


def _session(event: SessionCreated | SessionUpdated) -> Json:
    return {"session": session_json(event.session)}


def _conversation(event: ConversationCreated) -> Json:
    return {"conversation": {"id": event.conversation_id, "object": "realtime.conversation"}}


def _rate_limits(event: RateLimitsUpdated) -> Json:
    return {"rate_limits": [_own_fields(limit) for limit in event.rate_limits]}


def _conversation_item(event: ItemAdded | ItemCreated | ItemDone) -> Json:
    return {"previous_item_id": event.previous_item_id, "item": item_json(event.item)}


def _retrieved(event: ItemRetrieved) -> Json:
    return {"item": item_json(event.item, with_audio=True)}


def _transcription_delta(event: TranscriptionDelta) -> Json:
    return {
        "item_id": event.item_id,
        "content_index": event.content_index,
        "delta": event.delta,
        **_logprobs(event.logprobs),
    }


def _transcription_completed(event: TranscriptionCompleted) -> Json:
    return {
        "item_id": event.item_id,
        "content_index": event.content_index,
        "transcript": event.transcript,
        "usage": {"type": "duration", "seconds": event.seconds},
        **_logprobs(event.logprobs),
    }


def _logprobs(logprobs: tuple[TokenLogprob, ...] | None) -> Json:
    if logprobs is None:
        return {}
    return {
        "logprobs": [
            {
                "token": piece.token,
                "logprob": piece.logprob,
                "bytes": list(piece.token.encode() if piece.encoded is None else piece.encoded),
            }
            for piece in logprobs
        ]
    }


def _transcription_failed(event: TranscriptionFailed) -> Json:
    error = {"type": "transcription_error", "code": event.code, "message": event.message}
    return {"item_id": event.item_id, "content_index": event.content_index, "error": error}


def _response(event: ResponseCreated | ResponseDone) -> Json:
    return {"response": response_json(event.response)}


def _output_item(event: OutputItemAdded | OutputItemDone) -> Json:
    return {
        "response_id": event.response_id,
        "output_index": event.output_index,
        "item": item_json(event.item),
    }


def _content_part(event: ContentPartAdded | ContentPartDone) -> Json:
    return {
        "response_id": event.response_id,
        "item_id": event.item_id,
        "output_index": event.output_index,
        "content_index": event.content_index,
        "part": part_json(event.part),
    }


BODIES: Mapping[type, Callable[[Any], Json]] = {
    OutputAudioDelta: _audio_delta,
    ErrorEvent: _error,
    SessionCreated: _session,
    SessionUpdated: _session,
    ConversationCreated: _conversation,
    ItemCreated: _conversation_item,
    ItemAdded: _conversation_item,
    ItemDone: _conversation_item,
    ItemRetrieved: _retrieved,
    ItemTruncated: _own_fields,
    ItemDeleted: _own_fields,
    TranscriptionDelta: _transcription_delta,
    TranscriptionSegment: _own_fields,
    TranscriptionCompleted: _transcription_completed,
    TranscriptionFailed: _transcription_failed,
    InputAudioCommitted: _own_fields,
    InputAudioCleared: _own_fields,
    SpeechStarted: _own_fields,
    SpeechStopped: _own_fields,
    TimeoutTriggered: _own_fields,
    PlaybackStarted: _own_fields,
    PlaybackStopped: _own_fields,
    PlaybackCleared: _own_fields,
    RateLimitsUpdated: _rate_limits,
    ResponseCreated: _response,
    ResponseDone: _response,
    OutputItemAdded: _output_item,
    OutputItemDone: _output_item,
    ContentPartAdded: _content_part,
    ContentPartDone: _content_part,
    OutputTextDelta: _own_fields,
    OutputTextDone: _own_fields,
    OutputTranscriptDelta: _own_fields,
    OutputTranscriptDone: _own_fields,
    OutputAudioDone: _own_fields,
    FunctionArgumentsDelta: _own_fields,
    FunctionArgumentsDone: _own_fields,
    McpListToolsInProgress: _own_fields,
    McpListToolsCompleted: _own_fields,
    McpListToolsFailed: _own_fields,
    McpArgumentsDelta: _own_fields,
    McpArgumentsDone: _own_fields,
    McpCallInProgress: _own_fields,
    McpCallCompleted: _own_fields,
    McpCallFailed: _own_fields,
}
