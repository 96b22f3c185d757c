"""What the server tells a client.

`event_id` is stamped where events become JSON, so the core stays free of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from wire.items import (
    Item,
    OutputAudio,
    OutputText,
)
from wire.responses import (
    ResponseView,
    SessionView,
)


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    type: ClassVar[str] = "error"
    error_type: str
    code: str | None
    message: str
    param: str | None = None
    client_event_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionCreated:
    type: ClassVar[str] = "session.created"
    session: SessionView


@dataclass(frozen=True, slots=True)
class SessionUpdated:
    type: ClassVar[str] = "session.updated"
    session: SessionView


@dataclass(frozen=True, slots=True)
class ConversationCreated:
    """A legacy event, sent only where the operator asks for it."""

    type: ClassVar[str] = "conversation.created"
    conversation_id: str


@dataclass(frozen=True, slots=True)
class ItemCreated:
    """The legacy twin of `ItemAdded`, which beta has anyway: there `ItemAdded` bears this name."""

    type: ClassVar[str] = "conversation.item.created"
    previous_item_id: str | None
    item: Item


@dataclass(frozen=True, slots=True)
class ItemAdded:
    type: ClassVar[str] = "conversation.item.added"
    previous_item_id: str | None
    item: Item


@dataclass(frozen=True, slots=True)
class ItemDone:
    type: ClassVar[str] = "conversation.item.done"
    previous_item_id: str | None
    item: Item


@dataclass(frozen=True, slots=True)
class ItemRetrieved:
    type: ClassVar[str] = "conversation.item.retrieved"
    item: Item


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    type: ClassVar[str] = "conversation.item.truncated"
    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    type: ClassVar[str] = "conversation.item.deleted"
    item_id: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How sure the recogniser is of a piece of the transcript.

    Attributes:
        token: The piece, with the space in front of it; what it is a piece of, the engine decides.
        logprob: Natural logarithm of its probability, at most 0.
        encoded: The bytes of a token that is no whole character; None where UTF-8 tells them.
    """

    token: str
    logprob: float
    encoded: bytes | None = None


@dataclass(frozen=True, slots=True)
class TranscriptionDelta:
    """`logprobs` is None unless the client asked for them and the engine has them."""

    type: ClassVar[str] = "conversation.item.input_audio_transcription.delta"
    item_id: str
    content_index: int
    delta: str
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class TranscriptionSegment:
    """What one speaker said in one go; `start` and `end` are seconds of the item's audio."""

    type: ClassVar[str] = "conversation.item.input_audio_transcription.segment"
    id: str
    item_id: str
    content_index: int
    text: str
    speaker: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class TranscriptionCompleted:
    """`seconds` is the item's audio, rounded up to whole seconds as OpenAI bills it."""

    type: ClassVar[str] = "conversation.item.input_audio_transcription.completed"
    item_id: str
    content_index: int
    transcript: str
    seconds: int
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class TranscriptionFailed:
    type: ClassVar[str] = "conversation.item.input_audio_transcription.failed"
    item_id: str
    content_index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class InputAudioCommitted:
    type: ClassVar[str] = "input_audio_buffer.committed"
    previous_item_id: str | None
    item_id: str


@dataclass(frozen=True, slots=True)
class InputAudioCleared:
    type: ClassVar[str] = "input_audio_buffer.cleared"


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    type: ClassVar[str] = "input_audio_buffer.speech_started"
    audio_start_ms: int
    item_id: str


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    type: ClassVar[str] = "input_audio_buffer.speech_stopped"
    audio_end_ms: int
    item_id: str


@dataclass(frozen=True, slots=True)
class TimeoutTriggered:
    """Nobody spoke for `idle_timeout_ms`; `item_id` will hold the silence between the two."""

    type: ClassVar[str] = "input_audio_buffer.timeout_triggered"
    audio_start_ms: int
    audio_end_ms: int
    item_id: str


@dataclass(frozen=True, slots=True)
class PlaybackStarted:
    """The first audio of a response leaves, where the server keeps the time of its playback."""

    type: ClassVar[str] = "output_audio_buffer.started"
    response_id: str


@dataclass(frozen=True, slots=True)
class PlaybackStopped:
    """All audio of a response that is done has sounded."""

    type: ClassVar[str] = "output_audio_buffer.stopped"
    response_id: str


@dataclass(frozen=True, slots=True)
class PlaybackCleared:
    """What had been sent of a response and had not sounded is to be thrown away."""

    type: ClassVar[str] = "output_audio_buffer.cleared"
    response_id: str


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How much of one limit is left; `reset_seconds` is how long until all of it is."""

    name: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class RateLimitsUpdated:
    """The limits of the key at one moment of a response: each dialect tells them at its own."""

    type: ClassVar[str] = "rate_limits.updated"
    rate_limits: tuple[RateLimit, ...]
    moment: Literal["created", "done"]


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    type: ClassVar[str] = "response.created"
    response: ResponseView


@dataclass(frozen=True, slots=True)
class ResponseDone:
    type: ClassVar[str] = "response.done"
    response: ResponseView


@dataclass(frozen=True, slots=True)
class OutputItemAdded:
    type: ClassVar[str] = "response.output_item.added"
    response_id: str
    output_index: int
    item: Item


@dataclass(frozen=True, slots=True)
class OutputItemDone:
    type: ClassVar[str] = "response.output_item.done"
    response_id: str
    output_index: int
    item: Item


@dataclass(frozen=True, slots=True)
class ContentPartAdded:
    """`part.type` is `text` or `audio` on the wire, by the class of `part`."""

    type: ClassVar[str] = "response.content_part.added"
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    part: OutputText | OutputAudio


@dataclass(frozen=True, slots=True)
class ContentPartDone:
    type: ClassVar[str] = "response.content_part.done"
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    part: OutputText | OutputAudio


@dataclass(frozen=True, slots=True)
class OutputTextDelta:
    type: ClassVar[str] = "response.output_text.delta"
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str


@dataclass(frozen=True, slots=True)
class OutputTextDone:
    type: ClassVar[str] = "response.output_text.done"
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    text: str


@dataclass(frozen=True, slots=True)
class OutputTranscriptDelta:
    type: ClassVar[str] = "response.output_audio_transcript.delta"
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str


@dataclass(frozen=True, slots=True)
class OutputTranscriptDone:
    type: ClassVar[str] = "response.output_audio_transcript.done"
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    transcript: str


@dataclass(frozen=True, slots=True)
class OutputAudioDelta:
    """`audio` is in the response's own output format by the time it reaches a dialect."""

    type: ClassVar[str] = "response.output_audio.delta"
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    audio: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutputAudioDone:
    type: ClassVar[str] = "response.output_audio.done"
    response_id: str
    item_id: str
    output_index: int
    content_index: int


@dataclass(frozen=True, slots=True)
class FunctionArgumentsDelta:
    type: ClassVar[str] = "response.function_call_arguments.delta"
    response_id: str
    item_id: str
    output_index: int
    call_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class FunctionArgumentsDone:
    type: ClassVar[str] = "response.function_call_arguments.done"
    response_id: str
    item_id: str
    output_index: int
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class McpListToolsInProgress:
    type: ClassVar[str] = "mcp_list_tools.in_progress"
    item_id: str


@dataclass(frozen=True, slots=True)
class McpListToolsCompleted:
    type: ClassVar[str] = "mcp_list_tools.completed"
    item_id: str


@dataclass(frozen=True, slots=True)
class McpListToolsFailed:
    type: ClassVar[str] = "mcp_list_tools.failed"
    item_id: str


@dataclass(frozen=True, slots=True)
class McpArgumentsDelta:
    """`obfuscation` hides nothing here, but agents-js drops the event without the key."""

    type: ClassVar[str] = "response.mcp_call_arguments.delta"
    response_id: str
    item_id: str
    output_index: int
    delta: str
    obfuscation: str = ""


@dataclass(frozen=True, slots=True)
class McpArgumentsDone:
    type: ClassVar[str] = "response.mcp_call_arguments.done"
    response_id: str
    item_id: str
    output_index: int
    arguments: str


@dataclass(frozen=True, slots=True)
class McpCallInProgress:
    type: ClassVar[str] = "response.mcp_call.in_progress"
    item_id: str
    output_index: int


@dataclass(frozen=True, slots=True)
class McpCallCompleted:
    type: ClassVar[str] = "response.mcp_call.completed"
    item_id: str
    output_index: int


@dataclass(frozen=True, slots=True)
class McpCallFailed:
    type: ClassVar[str] = "response.mcp_call.failed"
    item_id: str
    output_index: int


McpEvent = (
    McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
    | McpArgumentsDelta
    | McpArgumentsDone
    | McpCallInProgress
    | McpCallCompleted
    | McpCallFailed
)
ServerEvent = (
    ErrorEvent
    | SessionCreated
    | SessionUpdated
    | ConversationCreated
    | ItemCreated
    | ItemAdded
    | ItemDone
    | ItemRetrieved
    | ItemTruncated
    | ItemDeleted
    | TranscriptionDelta
    | TranscriptionSegment
    | TranscriptionCompleted
    | TranscriptionFailed
    | InputAudioCommitted
    | InputAudioCleared
    | SpeechStarted
    | SpeechStopped
    | TimeoutTriggered
    | PlaybackStarted
    | PlaybackStopped
    | PlaybackCleared
    | RateLimitsUpdated
    | ResponseCreated
    | ResponseDone
    | OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | OutputTextDelta
    | OutputTextDone
    | OutputTranscriptDelta
    | OutputTranscriptDone
    | OutputAudioDelta
    | OutputAudioDone
    | FunctionArgumentsDelta
    | FunctionArgumentsDone
    | McpEvent
)
