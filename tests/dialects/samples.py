"""Server events with the values of the reference's golden ones, by golden `event_id` number."""

from __future__ import annotations

from protocol import (
    PCM24K,
    AudioInput,
    Cancelled,
    ContentPartAdded,
    ContentPartDone,
    ConversationCreated,
    ErrorEvent,
    Failed,
    FunctionArgumentsDelta,
    FunctionArgumentsDone,
    FunctionCall,
    FunctionCallOutput,
    FunctionTool,
    Incomplete,
    InputAudio,
    InputAudioCleared,
    InputAudioCommitted,
    InputText,
    Item,
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
    Message,
    OutputAudio,
    OutputAudioDelta,
    OutputAudioDone,
    OutputItemAdded,
    OutputItemDone,
    OutputText,
    OutputTextDelta,
    OutputTextDone,
    OutputTranscriptDelta,
    OutputTranscriptDone,
    PlaybackCleared,
    PlaybackStarted,
    PlaybackStopped,
    RateLimit,
    RateLimitsUpdated,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    ResponseView,
    ServerEvent,
    ServerVad,
    Session,
    SessionAudio,
    SessionCreated,
    SessionUpdated,
    SessionView,
    SpeechStarted,
    SpeechStopped,
    StatusDetails,
    TimeoutTriggered,
    Transcription,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptionSegment,
    Usage,
)

USER, ASSISTANT, FUNCTION = (f"item_{tail:0>21}" for tail in ("U1", "A1", "F1"))
RESPONSE, CONVERSATION, CALL = (
    "resp_" + "1".zfill(21),
    "conv_" + "1".zfill(21),
    "call_" + "1".zfill(16),
)

_PLACE = (RESPONSE, ASSISTANT, 0, 0)
_CALL_PLACE = (RESPONSE, FUNCTION, 0, CALL)
_USAGE = Usage(input_text_tokens=16, output_text_tokens=20, output_audio_tokens=43)

HEARD = Message(USER, "user", "completed", (InputAudio(),))
TYPED = Message(USER, "user", "completed", (InputText("hey"),))
SPOKEN = Message(ASSISTANT, "assistant", "completed", (OutputAudio("Hi"),))
WRITTEN = Message(ASSISTANT, "assistant", "incomplete", (OutputText("Hi"),))
EMPTY = Message(ASSISTANT, "assistant", "in_progress", ())
CALLED = FunctionCall(FUNCTION, CALL, "f", "{}", "completed")
CALLING = FunctionCall(FUNCTION, CALL, "f", "", "in_progress")
OUTPUT = FunctionCallOutput("item_O", CALL, "{}")


def response(
    status: ResponseStatus,
    details: StatusDetails | None = None,
    output: tuple[Item, ...] = (),
    *,
    conversation_id: str | None = CONVERSATION,
    usage: Usage | None = None,
    metadata: dict[str, str] | None = None,
) -> ResponseView:
    """A response with the defaults of the golden ones."""
    return ResponseView(
        id=RESPONSE,
        status=status,
        status_details=details,
        output=output,
        conversation_id=conversation_id,
        output_modalities=("audio",),
        max_output_tokens="inf",
        audio_format=PCM24K,
        voice="alloy",
        usage=usage,
        metadata=metadata,
        temperature=0.8,
    )


GA_SESSION = SessionView(
    id="sess_" + "1".zfill(21),
    expires_at=1790000000,
    settings=Session(
        instructions="hi",
        tools=(
            FunctionTool(
                name="f", description="d", parameters={"type": "object", "properties": {}}
            ),
        ),
        audio=SessionAudio(input=AudioInput(transcription=Transcription(model="whisper-1"))),
    ),
)
TRANSCRIPTION_SESSION = SessionView(
    id="sess_" + "2".zfill(21), expires_at=1790000000, settings=Session(type="transcription")
)
BETA_SESSION = SessionView(
    id="sess_1",
    expires_at=1790000000,
    settings=Session(
        model="gpt-4o-realtime-preview",
        instructions="hi",
        audio=SessionAudio(input=AudioInput(turn_detection=ServerVad(silence_duration_ms=200))),
    ),
)

SHARED: tuple[ServerEvent | None, ...] = (
    ErrorEvent("invalid_request_error", "invalid_value", "m", "type"),
    SpeechStarted(100, USER),
    SpeechStopped(2000, USER),
    InputAudioCommitted(None, USER),
    InputAudioCleared(),
    ItemDeleted(USER),
    ItemTruncated(ASSISTANT, 0, 1500),
    TranscriptionDelta(USER, 0, "he"),
    TranscriptionCompleted(USER, 0, "hey", 2),
    None,  # usage counted in tokens: a cascade counts seconds
    TranscriptionFailed(USER, 0, "audio_unintelligible", "m"),
    ContentPartAdded(*_PLACE, OutputAudio("")),
    ContentPartDone(*_PLACE, OutputText("Hi")),
    FunctionArgumentsDelta(*_CALL_PLACE, "{"),
    None,  # rate limits, which each dialect tells at another moment
    PlaybackStarted(RESPONSE),
    PlaybackStopped(RESPONSE),
    PlaybackCleared(RESPONSE),
    ConversationCreated("conv_1"),
)
"""Events that both golden files open with; None where the server sends no such event."""

_LIMITS = (RateLimit("tokens", 40_000, 39_000, 1.5),)

GA: dict[int, ServerEvent] = {
    number: event for number, event in enumerate(SHARED, start=1) if event is not None
} | {
    15: RateLimitsUpdated(_LIMITS, "done"),
    20: SessionCreated(GA_SESSION),
    21: SessionCreated(TRANSCRIPTION_SESSION),
    22: SessionUpdated(GA_SESSION),
    23: SessionUpdated(TRANSCRIPTION_SESSION),
    24: ItemAdded(None, HEARD),
    25: ItemAdded(None, TYPED),
    26: ItemAdded(None, Message("item_S", "system", "completed", (InputText("x"),))),
    27: ItemAdded(None, EMPTY),
    28: ItemAdded(None, CALLING),
    29: ItemAdded(None, OUTPUT),
    30: ItemDone(USER, HEARD),
    31: ItemDone(USER, SPOKEN),
    32: ItemDone(USER, WRITTEN),
    33: ItemDone(USER, CALLED),
    34: ItemDone(USER, OUTPUT),
    35: ItemRetrieved(Message(USER, "user", "completed", (InputAudio("hey", b"\0\0"),))),
    36: ResponseCreated(response("in_progress")),
    37: ResponseDone(response("completed", None, (SPOKEN,), usage=_USAGE)),
    38: ResponseDone(response("cancelled", Cancelled("turn_detected"), (WRITTEN,), usage=_USAGE)),
    39: ResponseDone(
        response("cancelled", Cancelled("client_cancelled"), (WRITTEN,), usage=_USAGE)
    ),
    40: ResponseDone(
        response("incomplete", Incomplete("max_output_tokens"), (WRITTEN,), usage=_USAGE)
    ),
    41: ResponseDone(response("failed", Failed("server_error", "server_error", "m"))),
    42: ResponseDone(
        response(
            "completed",
            None,
            (SPOKEN,),
            conversation_id=None,
            usage=_USAGE,
            metadata={"topic": "x"},
        )
    ),
    43: OutputItemAdded(RESPONSE, 0, EMPTY),
    44: OutputItemDone(RESPONSE, 0, SPOKEN),
    45: OutputItemDone(RESPONSE, 1, CALLED),
    46: OutputTextDelta(*_PLACE, "H"),
    47: OutputTextDone(*_PLACE, "Hi"),
    48: OutputAudioDelta(*_PLACE, b"\0\0"),
    49: OutputAudioDone(*_PLACE),
    50: OutputTranscriptDelta(*_PLACE, "H"),
    51: OutputTranscriptDone(*_PLACE, "Hi"),
    52: FunctionArgumentsDone(*_CALL_PLACE, "f", "{}"),
    53: TimeoutTriggered(13216, 19232, USER),
    54: TranscriptionSegment("seg_1", USER, 0, "hey", "spk_1", 0.0, 0.4),
    55: McpListToolsInProgress("mcp_1"),
    56: McpListToolsCompleted("mcp_1"),
    57: McpListToolsFailed("mcp_1"),
    58: McpArgumentsDelta(RESPONSE, "mcp_2", 0, "{", obfuscation="x"),
    59: McpArgumentsDone(RESPONSE, "mcp_2", 0, "{}"),
    60: McpCallInProgress("mcp_2", 0),
    61: McpCallCompleted("mcp_2", 0),
    62: McpCallFailed("mcp_2", 0),
    63: ItemCreated(None, TYPED),
}

BETA: dict[int, ServerEvent] = {
    number: event for number, event in enumerate(SHARED, start=64) if event is not None
} | {
    78: RateLimitsUpdated(_LIMITS, "created"),
    83: SessionCreated(BETA_SESSION),
    84: SessionUpdated(BETA_SESSION),
    86: ItemAdded(None, HEARD),
    87: ItemAdded(USER, SPOKEN),
    88: ItemAdded(USER, CALLING),
    89: ItemRetrieved(HEARD),
    90: ResponseCreated(response("in_progress", conversation_id="conv_1")),
    91: ResponseDone(
        response("completed", None, (SPOKEN,), conversation_id="conv_1", usage=_USAGE)
    ),
    92: OutputItemAdded(RESPONSE, 0, EMPTY),
    93: OutputItemDone(RESPONSE, 0, SPOKEN),
    94: OutputTextDelta(*_PLACE, "H"),
    95: OutputTextDone(*_PLACE, "Hi"),
    96: OutputAudioDelta(*_PLACE, b"\0\0"),
    97: OutputAudioDone(*_PLACE),
    98: OutputTranscriptDelta(*_PLACE, "H"),
    99: OutputTranscriptDone(*_PLACE, "Hi"),
    100: FunctionArgumentsDone(*_CALL_PLACE, "f", "{}"),
}


def event_id(number: int) -> str:
    """The `event_id` of a golden event."""
    return "event_" + str(number).zfill(21)
