"""The settings of a session, as both dialects mean them and as GA spells them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
)

SAMPLE_RATE_HZ = 24_000
"""Rate of every PCM buffer between the socket and the pipeline, mono s16le."""


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
