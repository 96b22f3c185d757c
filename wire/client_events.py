"""What a client may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    StringConstraints,
)

from wire.items import (
    Item,
)
from wire.session import (
    AudioFormat,
    MaxTokens,
    Modalities,
    Reasoning,
    StoredPrompt,
    Tools,
    Voice,
    WireModel,
    WireToolChoice,
)

MAX_APPEND_BYTES = 15 * 1024 * 1024
"""Largest `input_audio_buffer.append`, counted on the decoded audio."""


@dataclass(frozen=True, slots=True)
class SessionUpdate:
    """`session.update`: the GA-shaped patch, merged and validated by the session settings.

    Its `type` says for which kind of session it was written.
    """

    session: dict[str, Any]
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class InputAudioAppend:
    """`input_audio_buffer.append`: audio already brought to s16le mono 24 kHz."""

    audio: bytes = field(repr=False)
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class InputAudioCommit:
    """`input_audio_buffer.commit`."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class InputAudioClear:
    """`input_audio_buffer.clear`."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutputAudioClear:
    """`output_audio_buffer.clear`, for clients whose playback the server keeps the time of."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemCreate:
    """`conversation.item.create`; an item without a client id carries `id == ""`."""

    item: Item
    previous_item_id: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemRetrieve:
    """`conversation.item.retrieve`."""

    item_id: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemDelete:
    """`conversation.item.delete`."""

    item_id: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemTruncate:
    """`conversation.item.truncate`; `audio_end_ms` may be fractional or beyond the audio."""

    item_id: str
    content_index: int
    audio_end_ms: float
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemReference:
    """An entry of `response.create.response.input` that names a stored item."""

    id: str


class ResponseAudioOutput(WireModel):
    """`response.audio.output` of `response.create`."""

    format: AudioFormat | None = None
    voice: Voice | None = None


class ResponseAudio(WireModel):
    """`response.audio` of `response.create`."""

    output: ResponseAudioOutput = ResponseAudioOutput()


MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class ResponseParams(WireModel):
    """`response.create.response` less `input`: overrides for that response only.

    A field the client left out is None, or absent from `model_fields_set` where None means
    something of its own.
    """

    conversation: Literal["auto", "none"] = "auto"
    instructions: str | None = None
    output_modalities: Modalities | None = None
    audio: ResponseAudio = ResponseAudio()
    tools: Tools | None = None
    tool_choice: WireToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: MaxTokens | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    temperature: Annotated[float, Field(ge=0.6, le=1.2)] | None = None
    prompt: StoredPrompt | None = None
    reasoning: Reasoning | None = None


@dataclass(frozen=True, slots=True)
class ResponseCreate:
    """`response.create`; `input` is None when the conversation is the context."""

    params: ResponseParams = field(default_factory=ResponseParams)
    input: tuple[Item | ItemReference, ...] | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseCancel:
    """`response.cancel`; without an id it means the default conversation's response."""

    response_id: str | None = None
    event_id: str | None = None


ClientEvent = (
    SessionUpdate
    | InputAudioAppend
    | InputAudioCommit
    | InputAudioClear
    | OutputAudioClear
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
)

CLIENT_EVENT_TYPES = (
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.retrieve",
    "conversation.item.delete",
    "conversation.item.truncate",
    "response.create",
    "response.cancel",
)
"""What a refusal of any other type lists, as OpenAI does on a WebSocket."""
PLAYBACK_CLEAR = "output_audio_buffer.clear"
"""Known, and yet of another transport unless the server keeps the time of the playback."""
