"""What the core hears from the engine and what it tells the engine to do.

The other two directions, client events and server events, are in `protocol.py`. Positions are
samples at 24 kHz counted from the start of the session; PCM is s16le mono 24 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from protocol import (
    ErrorCategory,
    FunctionTool,
    InputImage,
    McpError,
    McpListedTool,
    McpTool,
    SemanticVad,
    ServerEvent,
    ServerVad,
    Stage,
    TokenLogprob,
    ToolChoice,
    Usage,
)

FinishReason = Literal["stop", "tool_calls", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage could not serve one turn; `message` may reach the client."""

    stage: Stage
    category: ErrorCategory
    message: str


# --- engine → core --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VadSpeechStarted:
    """Speech began at `start_sample`; stale when `generation` is not the current one."""

    generation: int
    start_sample: int


@dataclass(frozen=True, slots=True)
class VadSpeechStopped:
    """A turn is over; its speech ended at `end_sample`.

    `judged_sample` is how far the audio had come that a model took for a complete turn; None when
    the silence window of the setting has passed.
    """

    generation: int
    end_sample: int
    judged_sample: int | None = None


@dataclass(frozen=True, slots=True)
class VadPaused:
    """In the turn under way nobody has spoken for a while; the audio had come to `sample`."""

    generation: int
    sample: int


@dataclass(frozen=True, slots=True)
class VadResumed:
    """The pause that was told last is over: the user goes on with the turn."""

    generation: int


@dataclass(frozen=True, slots=True)
class Passage:
    """What one speaker of a segment said in one go; seconds of the segment's audio."""

    text: str
    speaker: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class TranscriptDelta:
    """More words of a segment that is open or just closed; append-only.

    Stale, as all that is said of a segment, when `attempt` is not that of the latest segment of
    this id (`OpenSegment`). `logprobs` is empty unless they were asked for and the engine has them.
    """

    item_id: str
    delta: str
    logprobs: tuple[TokenLogprob, ...] = ()
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class TranscriptTentative:
    """The words of an open segment as far as they are known in the pause at `sample`.

    May come several times for a pause, each time with all the words.
    """

    item_id: str
    text: str
    sample: int


@dataclass(frozen=True, slots=True)
class TranscriptFinal:
    """All the words of a closed segment; "" when nothing was understood.

    `passages` say who said what, where the engine tells speakers apart and was asked to.
    """

    item_id: str
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    passages: tuple[Passage, ...] = ()
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class TranscriptFailed:
    """A closed segment will get no transcript."""

    item_id: str
    failure: Failure
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ModelText:
    """Text the model generated, as it streams."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model began a function call."""

    response_id: str
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """More of a call's argument JSON."""

    response_id: str
    call_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class ToolCallEnded:
    """A call's arguments are complete."""

    response_id: str
    call_id: str


@dataclass(frozen=True, slots=True)
class ModelFinished:
    """The model ended its reply; speech may still be on its way."""

    response_id: str
    reason: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True)
class SpeechText:
    """The exact slice of the model's text whose audio comes next (audio modality)."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True)
class WordTime:
    """Where one word stands and sounds.

    `start`/`end` are character offsets into the `SpeechText` it belongs to; `start_ms` is
    counted from the first audio of that same text.
    """

    start: int
    end: int
    start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechWords:
    """Word times of the latest `SpeechText`; may come before or between its audio."""

    response_id: str
    words: tuple[WordTime, ...]


@dataclass(frozen=True, slots=True)
class SpeechAudio:
    """Audio of the latest `SpeechText`, whole samples."""

    response_id: str
    pcm: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GenerationEnded:
    """Everything the engine had for this response has been delivered."""

    response_id: str


@dataclass(frozen=True, slots=True)
class GenerationFailed:
    """A stage failed; what was delivered before stays valid, nothing more comes."""

    response_id: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class McpToolsListed:
    """An MCP server's tools, for the `mcp_list_tools` item that asked for them."""

    item_id: str
    tools: tuple[McpListedTool, ...]


@dataclass(frozen=True, slots=True)
class McpToolsFailed:
    """An MCP server's tools could not be listed; the executor logged why."""

    item_id: str


@dataclass(frozen=True, slots=True)
class McpCallFinished:
    """A tool call of an MCP server is over; `outcome` is its output or what went wrong."""

    item_id: str
    outcome: str | McpError


Generated = (
    ModelText
    | ToolCallStarted
    | ToolCallArguments
    | ToolCallEnded
    | ModelFinished
    | SpeechText
    | SpeechWords
    | SpeechAudio
)
Made = Generated | GenerationEnded | GenerationFailed
"""All that the engine says of a response."""
EngineEvent = (
    VadSpeechStarted
    | VadSpeechStopped
    | VadPaused
    | VadResumed
    | TranscriptDelta
    | TranscriptTentative
    | TranscriptFinal
    | TranscriptFailed
    | Made
    | McpToolsListed
    | McpToolsFailed
    | McpCallFinished
)


# --- the context of one response ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChatToolCall:
    """A function call in an assistant message."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the snapshot a response is generated from.

    `tool_call_id` is set for role `tool` only, `tool_calls` for role `assistant` only,
    `images` for role `user` only.
    """

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ChatToolCall, ...] = ()
    tool_call_id: str | None = None
    images: tuple[InputImage, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """All that the engine needs to make one response; immutable, so races cannot touch it."""

    messages: tuple[ChatMessage, ...]
    instructions: str
    tools: tuple[FunctionTool, ...]
    tool_choice: ToolChoice
    speak: bool
    voice: str
    speed: float
    max_output_tokens: int | None
    temperature: float
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


# --- core → engine --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigureVad:
    """Start, change or stop (None) turn detection from the next sample on.

    Forgets what was heard before when `generation` changed; keeps it otherwise, so that
    parameters can change in the middle of speech. With `pause_ms`, silence of that length within
    a turn is told (`VadPaused`, `VadResumed`).
    """

    generation: int
    detection: ServerVad | SemanticVad | None
    pause_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FeedAudio:
    """Audio the client appended: to turn detection, and to the open segment if there is one."""

    pcm: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """Begin transcribing the user item `item_id`; `pcm` is what was said before now.

    `logprobs` and `speakers` say whether these are wanted beside the words, of an engine that has
    them. A client may use the id of a deleted item again while that one is still being recognised:
    `attempt` tells their segments apart.
    """

    item_id: str
    pcm: bytes = field(repr=False)
    language: str | None = None
    prompt: str | None = None
    logprobs: bool = False
    speakers: bool = False
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class SettleSegment:
    """Say what the open segment holds up to the pause at `sample`, with `TranscriptTentative`."""

    item_id: str
    sample: int


@dataclass(frozen=True, slots=True)
class CloseSegment:
    """The item is committed: answer with its `TranscriptFinal` or `TranscriptFailed`.

    The segment's audio ends at `end_sample`, whatever was fed behind it; None takes all. Nobody
    spoke behind the pause at `settled_at`: what was, or will be, answered to the `SettleSegment` of
    that pause is the answer.
    """

    item_id: str
    end_sample: int | None = None
    settled_at: int | None = None


@dataclass(frozen=True, slots=True)
class DropSegment:
    """The segment's audio was discarded: no answer is wanted."""

    item_id: str


@dataclass(frozen=True, slots=True)
class StartResponse:
    """Generate; out-of-band responses run beside the default conversation's."""

    response_id: str
    out_of_band: bool
    request: GenerationRequest


@dataclass(frozen=True, slots=True)
class StopResponse:
    """Stop generating; whatever still arrives for it is dropped."""

    response_id: str


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """The session is over: close the socket behind the events sent so far."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ListMcpTools:
    """Ask an MCP server for its tools: answer with `McpToolsListed` or `McpToolsFailed`."""

    item_id: str
    server: McpTool


@dataclass(frozen=True, slots=True)
class CallMcpTool:
    """Run a tool of an MCP server: answer with `McpCallFinished`.

    `name` is the tool's own name there; `arguments` is the text of a JSON object.
    """

    item_id: str
    server: McpTool
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CancelMcp:
    """Break off a listing or a call: no answer is wanted."""

    item_id: str


McpCommand = ListMcpTools | CallMcpTool | CancelMcp
"""For the session's MCP client; all others are for its pipeline or its connection."""
Command = (
    ConfigureVad
    | FeedAudio
    | OpenSegment
    | SettleSegment
    | CloseSegment
    | DropSegment
    | StartResponse
    | StopResponse
    | CloseConnection
    | McpCommand
)
EngineCommand = (
    ConfigureVad
    | FeedAudio
    | OpenSegment
    | SettleSegment
    | CloseSegment
    | DropSegment
    | StartResponse
    | StopResponse
)
Output = ServerEvent | Command
"""What the core puts out: the client is to hear of it, or the engines are to do it."""
