"""The GA wire vocabulary: sessions, items, client events, server events and errors.

Everything inside the gateway speaks these types; `dialects/` turns them into the JSON of the
dialect a connection uses. This module knows no transport, no engine and no session state.

Error tree::

    RealtimeError
    ├── InvalidRequest   the client's fault: one `error` event, the session lives
    ├── ProviderError    a stage failed: the response or transcription fails, the session lives
    ├── ConfigError      the operator's fault: the process refuses to start, naming the variable
    └── ConnectionRefused  the handshake's fault: an `error` event, then a close code
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, assert_never, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints

SAMPLE_RATE_HZ = 24_000
"""Rate of every PCM buffer between the socket and the pipeline, mono s16le."""
MAX_APPEND_BYTES = 15 * 1024 * 1024
"""Largest `input_audio_buffer.append`, counted on the decoded audio."""


# --- errors ---------------------------------------------------------------------------------


class ErrorCode(StrEnum):
    """The `error.code` values of protocol reference §5 that this server sends."""

    INVALID_JSON = "invalid_json"
    INVALID_EVENT = "invalid_event"
    INVALID_VALUE = "invalid_value"
    INVALID_TYPE = "invalid_type"
    INVALID_PARAMETER = "invalid_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    MISSING_REQUIRED_PARAMETER = "missing_required_parameter"
    INTEGER_BELOW_MIN = "integer_below_min_value"
    INTEGER_ABOVE_MAX = "integer_above_max_value"
    DECIMAL_BELOW_MIN = "decimal_below_min_value"
    DECIMAL_ABOVE_MAX = "decimal_above_max_value"
    STRING_ABOVE_MAX_LENGTH = "string_above_max_length"
    COMMIT_EMPTY = "input_audio_buffer_commit_empty"
    RESPONSE_ACTIVE = "conversation_already_has_active_response"
    CANCEL_NOT_ACTIVE = "response_cancel_not_active"
    CANNOT_UPDATE_VOICE = "cannot_update_voice"
    ITEM_DELETE_UNKNOWN = "item_delete_invalid_item_id"
    ITEM_RETRIEVE_UNKNOWN = "item_retrieve_invalid_item_id"
    ITEM_TRUNCATE_UNKNOWN = "item_truncate_invalid_item_id"
    ITEM_CREATE_UNKNOWN_PREVIOUS = "item_create_invalid_previous_item_id"
    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
    INVALID_API_KEY = "invalid_api_key"
    INVALID_MODEL = "invalid_model"
    BETA_DISABLED = "beta_api_shape_disabled"
    SESSION_EXPIRED = "session_expired"


class RealtimeError(Exception):
    """Base of every error this gateway raises on purpose."""


class InvalidRequest(RealtimeError):
    """A client event that cannot be carried out; nothing of it was applied.

    Args:
        code: One of `ErrorCode`, or None where OpenAI sends none.
        message: What was wrong and what is allowed; never a key, audio or transcript.
        param: Path of the offending field, e.g. `session.audio.input.format.rate`.
        event_id: The client's `event_id`; filled in by the caller that knows the event.
    """

    def __init__(
        self,
        code: ErrorCode | None,
        message: str,
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id


class Stage(StrEnum):
    """The pipeline stage an engine serves."""

    VAD = "vad"
    STT = "stt"
    LLM = "llm"
    TTS = "tts"


class ErrorCategory(StrEnum):
    """What kind of failure a provider had: says whether a retry makes sense."""

    AUTHENTICATION = "authentication"
    QUOTA = "quota"
    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    CONNECTIVITY = "connectivity"
    SERVER = "server"
    INVALID_REQUEST = "invalid_request"
    UNINTELLIGIBLE = "unintelligible"
    CONTEXT_LENGTH = "context_length"

    @property
    def retryable(self) -> bool:
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        ErrorCategory.RATE_LIMIT,
        ErrorCategory.TIMEOUT,
        ErrorCategory.CONNECTIVITY,
        ErrorCategory.SERVER,
    }
)


class ProviderError(RealtimeError):
    """A pipeline stage failed while it served one turn.

    Args:
        stage: Which stage.
        category: Whether a retry makes sense.
        message: Free of secrets, audio and transcripts: it reaches the client.
    """

    def __init__(self, stage: Stage, category: ErrorCategory, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.category = category
        self.message = message


class ConfigError(RealtimeError):
    """A setting that the process cannot start with.

    Args:
        variable: The environment variable to change.
        message: What was wrong and what is allowed.
    """

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(f"{variable}: {message}")
        self.variable = variable


class Disconnected(Exception):
    """The connection is over: the client left, or it was cut off because it does not read.

    Args:
        code: The WebSocket close code.
        reason: The close reason, if any.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".strip())
        self.code = code
        self.reason = reason


class ConnectionRefused(RealtimeError):
    """A handshake that ends in an `error` event and a close, by protocol reference §1.7.

    Args:
        code: `error.code`, None for a missing credential.
        message: Text of the error.
        close_code: 3000 for credentials, 4000 for requests, 1001 for expiry.
    """

    def __init__(self, code: ErrorCode | None, message: str, close_code: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.close_code = close_code

    @property
    def close_reason(self) -> str:
        """`<error.type>[.<error.code>]`, as OpenAI words it (at most 123 bytes)."""
        return "invalid_request_error" + (f".{self.code}" if self.code else "")


# --- session --------------------------------------------------------------------------------


class WireModel(BaseModel):
    """Frozen; unknown fields are ignored (and logged at the edge), never an error."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


# Strict mode refuses a JSON array for a tuple; relaxing the tuple alone leaves its entries strict.
_FromArray = Field(strict=False)
Strings = Annotated[tuple[str, ...], _FromArray]


class PcmFormat(WireModel):
    """16-bit little-endian mono PCM; the API knows only 24 kHz."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Annotated[int, Field(ge=SAMPLE_RATE_HZ, le=SAMPLE_RATE_HZ)]


class PcmuFormat(WireModel):
    """G.711 µ-law, 8 kHz."""

    type: Literal["audio/pcmu"] = "audio/pcmu"


class PcmaFormat(WireModel):
    """G.711 A-law, 8 kHz."""

    type: Literal["audio/pcma"] = "audio/pcma"


AudioFormat = Annotated[PcmFormat | PcmuFormat | PcmaFormat, Field(discriminator="type")]
PCM24K = PcmFormat(rate=SAMPLE_RATE_HZ)


class Transcription(WireModel):
    """`audio.input.transcription`: whether and how the client hears its own words back."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    keywords: Strings | None = None
    languages: Strings | None = None


class NoiseReduction(WireModel):
    """`audio.input.noise_reduction`: accepted and echoed; no filter is applied.

    The light ones cost clean speech more than they give noisy speech (docs/turn-detection.md).
    """

    type: Literal["near_field", "far_field"]
    strength: float | None = None


class ServerVad(WireModel):
    """Turn detection by speech probability and a window of silence."""

    type: Literal["server_vad"] = "server_vad"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Field(ge=0, le=10_000)] = 300
    silence_duration_ms: Annotated[int, Field(ge=0, le=60_000)] = 500
    idle_timeout_ms: Annotated[int, Field(ge=5_000, le=30_000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(WireModel):
    """Turn detection that waits longer when the user seems unfinished."""

    type: Literal["semantic_vad"] = "semantic_vad"
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(WireModel):
    """`session.audio.input`."""

    format: AudioFormat = PCM24K
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: TurnDetection | None = ServerVad()


class CustomVoice(WireModel):
    """A voice named by id."""

    id: str


Voice = Annotated[str, StringConstraints(min_length=1)] | CustomVoice


class AudioOutput(WireModel):
    """`session.audio.output`."""

    format: AudioFormat = PCM24K
    voice: Voice = "alloy"
    speed: Annotated[float, Field(ge=0.25, le=1.5)] = 1.0


class SessionAudio(WireModel):
    """`session.audio`."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class FunctionTool(WireModel):
    """A tool the client runs; `parameters` is its JSON schema, passed on verbatim."""

    type: Literal["function"] = "function"
    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class NamedToolChoice(WireModel):
    """`tool_choice` that forces one function."""

    type: Literal["function"] = "function"
    name: str


class McpToolFilter(WireModel):
    """Tools of an MCP server: those named, those whose `readOnlyHint` fits, or who do both."""

    tool_names: Strings | None = None
    read_only: bool | None = None


class McpApprovalFilter(WireModel):
    """`require_approval` by tool; a tool that neither filter names needs approval."""

    always: McpToolFilter | None = None
    never: McpToolFilter | None = None


class McpTool(WireModel):
    """The tools of a remote MCP server, which this server lists and runs.

    `authorization` is sent to it as a bearer token; like `headers` it is never shown again.
    """

    type: Literal["mcp"] = "mcp"
    server_label: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    server_url: Annotated[str, StringConstraints(max_length=2048)]
    server_description: Annotated[str, StringConstraints(max_length=1024)] | None = None
    authorization: SecretStr | None = None
    headers: Annotated[dict[str, SecretStr], Field(max_length=32)] | None = None
    allowed_tools: Strings | McpToolFilter | None = None
    require_approval: Literal["always", "never"] | McpApprovalFilter | None = None


class McpToolChoice(WireModel):
    """`tool_choice` that forces one tool of an MCP server, or any of them."""

    type: Literal["mcp"] = "mcp"
    server_label: str
    name: str | None = None


def _function_by_default(value: object) -> object:
    """An object that names no type is a function: for long there was nothing else."""
    if isinstance(value, dict) and "type" not in value:
        return {"type": "function", **cast("dict[str, object]", value)}
    return cast(object, value)


ToolChoice = Literal["auto", "none", "required"] | NamedToolChoice
"""What an engine is told."""
WireToolChoice = (
    Literal["auto", "none", "required"]
    | Annotated[
        NamedToolChoice | McpToolChoice,
        Field(discriminator="type"),
        BeforeValidator(_function_by_default),
    ]
)
"""What a client may ask for."""
MaxTokens = Annotated[int, Field(ge=1, le=4096)] | Literal["inf"]
Modality = Literal["audio", "text"]
Modalities = Annotated[tuple[Modality, ...], _FromArray, Field(min_length=1, max_length=1)]
Tool = Annotated[
    FunctionTool | McpTool, Field(discriminator="type"), BeforeValidator(_function_by_default)
]
Tools = Annotated[tuple[Tool, ...], _FromArray]


class TokenLimits(WireModel):
    """`session.truncation.token_limits`."""

    post_instructions: Annotated[int, Field(ge=0)] | None = None


class RetentionRatio(WireModel):
    """`session.truncation` that drops to a share of the limit once the limit is reached."""

    type: Literal["retention_ratio"]
    retention_ratio: Annotated[float, Field(ge=0, le=1)]
    token_limits: TokenLimits | None = None


Truncation = Literal["auto", "disabled"] | RetentionRatio


class Tracing(WireModel):
    """`session.tracing`: accepted and echoed, nothing is traced."""

    workflow_name: str | None = None
    group_id: str | None = None
    metadata: dict[str, Any] | None = None


class Reasoning(WireModel):
    """`session.reasoning`: accepted and echoed."""

    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class StoredPrompt(WireModel):
    """`session.prompt`: accepted and echoed; this server stores no prompts."""

    id: str
    version: str | None = None
    variables: dict[str, Any] | None = None


Include = Annotated[tuple[Literal["item.input_audio_transcription.logprobs"], ...], _FromArray]
SessionKind = Literal["realtime", "transcription"]


class Session(WireModel):
    """The effective settings of one session, without the ids that the connection adds.

    A transcription session listens and never answers: of its settings only `audio.input` and
    `include` mean anything and are shown. Its kind is settled when it begins.

    `temperature` left the GA dialect; it is kept for beta clients and shown to them only.
    """

    type: SessionKind = "realtime"
    model: str = "gpt-realtime"
    output_modalities: Modalities = ("audio",)
    instructions: str = ""
    tools: Tools = ()
    tool_choice: WireToolChoice = "auto"
    max_output_tokens: MaxTokens = "inf"
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    tracing: Literal["auto"] | Tracing | None = None
    truncation: Truncation = "auto"
    prompt: StoredPrompt | None = None
    include: Include | None = None
    audio: SessionAudio = SessionAudio()
    temperature: Annotated[float, Field(ge=0.6, le=1.2)] = 0.8


# --- items ----------------------------------------------------------------------------------

ItemStatus = Literal["completed", "incomplete", "in_progress"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class InputText:
    """Text a client wrote."""

    text: str


@dataclass(frozen=True, slots=True)
class InputAudio:
    """Audio a user spoke.

    `transcript` is what the wire shows, None until and unless transcription is on; `audio` is
    s16le mono at 24 kHz, None once retention dropped it.
    """

    transcript: str | None = None
    audio: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image as a data URI."""

    image_url: str = field(repr=False)
    detail: Literal["auto", "low", "high"] = "auto"


@dataclass(frozen=True, slots=True)
class OutputText:
    """Text the model wrote."""

    text: str


@dataclass(frozen=True, slots=True)
class OutputAudio:
    """Audio the model spoke: its words only, the wire never replays the sound."""

    transcript: str


Content = InputText | InputAudio | InputImage | OutputText | OutputAudio


@dataclass(frozen=True, slots=True)
class Message:
    """A `message` item."""

    id: str
    role: Role
    status: ItemStatus
    content: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A `function_call` item; `arguments` is a JSON string."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


@dataclass(frozen=True, slots=True)
class FunctionCallOutput:
    """A `function_call_output` item; the wire shows no status for it."""

    id: str
    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class McpListedTool:
    """A tool as its MCP server describes it; the schema and annotations are passed on verbatim."""

    name: str
    input_schema: dict[str, Any]
    description: str = ""
    annotations: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class McpListTools:
    """An `mcp_list_tools` item: what an MCP server offers, nothing until it has answered."""

    id: str
    server_label: str
    tools: tuple[McpListedTool, ...] = ()


@dataclass(frozen=True, slots=True)
class McpProtocolError:
    """The MCP server, or the way to it, failed; `code` is JSON-RPC's."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class McpToolExecutionError:
    """The tool ran and failed, or was not let run."""

    message: str


@dataclass(frozen=True, slots=True)
class McpHttpError:
    """The MCP server answered with an HTTP error."""

    code: int
    message: str


McpError = McpProtocolError | McpToolExecutionError | McpHttpError


@dataclass(frozen=True, slots=True)
class McpCall:
    """An `mcp_call` item; the wire shows no status, only `output` or `error` once it is over.

    `incomplete` means that the model never finished its `arguments`.
    """

    id: str
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: McpError | None = None
    approval_request_id: str | None = None
    status: ItemStatus = "in_progress"


@dataclass(frozen=True, slots=True)
class McpApprovalRequest:
    """An `mcp_approval_request` item: a call that waits for the client's word."""

    id: str
    server_label: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class McpApprovalResponse:
    """An `mcp_approval_response` item: the client's word."""

    id: str
    approval_request_id: str
    approve: bool
    reason: str | None = None


McpItem = McpListTools | McpCall | McpApprovalRequest | McpApprovalResponse
Item = Message | FunctionCall | FunctionCallOutput | McpItem


# --- client events --------------------------------------------------------------------------


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

    params: ResponseParams = ResponseParams()
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


# --- responses ------------------------------------------------------------------------------

ResponseStatus = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
CancelReason = Literal["turn_detected", "client_cancelled"]
IncompleteReason = Literal["max_output_tokens", "content_filter"]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`status_details` of a cancelled response."""

    reason: CancelReason


@dataclass(frozen=True, slots=True)
class Incomplete:
    """`status_details` of a response the model could not finish."""

    reason: IncompleteReason


@dataclass(frozen=True, slots=True)
class Failed:
    """`status_details` of a failed response; the error never carries a secret."""

    type: str
    code: str
    message: str


StatusDetails = Cancelled | Incomplete | Failed


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one response.

    Text is counted by the language model. The model of a cascade hears and speaks text only, so
    speech is counted beside it as OpenAI counts it, by its length: what users said in the context
    of this response, and what was spoken in it. `estimated` says that the model gave no count and
    text was estimated by its length; the wire has no field for that.
    """

    input_text_tokens: int = 0
    cached_tokens: int = 0
    input_audio_tokens: int = 0
    output_text_tokens: int = 0
    output_audio_tokens: int = 0
    estimated: bool = False

    @property
    def input_tokens(self) -> int:
        return self.input_text_tokens + self.input_audio_tokens

    @property
    def output_tokens(self) -> int:
        return self.output_text_tokens + self.output_audio_tokens


@dataclass(frozen=True, slots=True)
class ResponseView:
    """A response as an event shows it, at the moment of that event."""

    id: str
    status: ResponseStatus
    status_details: StatusDetails | None
    output: tuple[Item, ...]
    conversation_id: str | None
    output_modalities: tuple[Modality, ...]
    max_output_tokens: int | Literal["inf"]
    audio_format: PcmFormat | PcmuFormat | PcmaFormat
    voice: str | CustomVoice
    usage: Usage | None
    metadata: dict[str, str] | None
    temperature: float


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as an event shows it: the effective settings and the connection's ids."""

    id: str
    expires_at: int
    settings: Session


# --- server events --------------------------------------------------------------------------
# `event_id` is stamped where events become JSON, so the core stays free of it.


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
class TranscriptionDelta:
    type: ClassVar[str] = "conversation.item.input_audio_transcription.delta"
    item_id: str
    content_index: int
    delta: str


@dataclass(frozen=True, slots=True)
class TranscriptionCompleted:
    """`seconds` is the item's audio, rounded up to whole seconds as OpenAI bills it."""

    type: ClassVar[str] = "conversation.item.input_audio_transcription.completed"
    item_id: str
    content_index: int
    transcript: str
    seconds: int


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
    | ItemAdded
    | ItemDone
    | ItemRetrieved
    | ItemTruncated
    | ItemDeleted
    | TranscriptionDelta
    | TranscriptionCompleted
    | TranscriptionFailed
    | InputAudioCommitted
    | InputAudioCleared
    | SpeechStarted
    | SpeechStopped
    | TimeoutTriggered
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


def error_event(exc: RealtimeError, event_id: str | None = None) -> ErrorEvent:
    """The one mapping from an exception to the `error` event that reports it."""
    match exc:
        case InvalidRequest():
            return ErrorEvent(
                "invalid_request_error", exc.code, exc.message, exc.param, exc.event_id or event_id
            )
        case ConnectionRefused():
            return ErrorEvent("invalid_request_error", exc.code, exc.message)
        case _:
            return ErrorEvent("server_error", "server_error", str(exc), None, event_id)


def item_content(item: Item) -> tuple[Content, ...]:
    """The content parts of an item, empty for function items."""
    match item:
        case Message():
            return item.content
        case FunctionCall() | FunctionCallOutput():
            return ()
        case McpListTools() | McpCall() | McpApprovalRequest() | McpApprovalResponse():
            return ()
        case _:
            assert_never(item)
