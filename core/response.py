"""One response: from `response.created` to its single `response.done`, whatever happens between.

A `Response` exists only while it is live. Each method takes one thing that happened and returns the
events it causes, in wire order; the last list it ever returns ends with `ResponseDone`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import assert_never

from core.context import ModelContext, Prepared
from core.conversation import Conversation
from core.mcp_output import McpOutput
from core.mcp_servers import McpServers
from core.mcp_tools import McpTarget
from core.messages import (
    Failure,
    FinishReason,
    GenerationEnded,
    GenerationFailed,
    GenerationRequest,
    ModelFinished,
    ModelText,
    SpeechAudio,
    SpeechText,
    SpeechWords,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
    WordTime,
)
from core.pacing import Pacer
from core.response_output import ResponseOutput
from core.speech import BYTES_PER_MS, SpeechTimeline
from core.tokens import output_audio_tokens, text_tokens
from protocol import (
    Cancelled,
    CancelReason,
    ContentPartAdded,
    ContentPartDone,
    ErrorCategory,
    Failed,
    FunctionArgumentsDelta,
    FunctionArgumentsDone,
    FunctionCall,
    Incomplete,
    ItemStatus,
    McpError,
    Message,
    OutputAudio,
    OutputAudioDelta,
    OutputAudioDone,
    OutputText,
    OutputTextDelta,
    OutputTextDone,
    OutputTranscriptDelta,
    OutputTranscriptDone,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    ResponseView,
    ServerEvent,
    Stage,
    StatusDetails,
    Usage,
)

MIN_DELTA_MS, MAX_DELTA_MS = 20, 200
"""Lengths of an audio delta: old SDKs close at 1 MiB a frame, and a barge-in wants small steps."""

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


@dataclass(slots=True)
class _MessageOutput:
    """The assistant message of a response, open until its last part closes."""

    item_id: str
    index: int
    sent: list[str] = field(default_factory=list[str])
    generated: list[str] = field(default_factory=list[str])
    announced_chars: int = 0
    speech: SpeechTimeline = field(default_factory=SpeechTimeline)


@dataclass(slots=True)
class _CallOutput:
    """A function call whose arguments are still coming."""

    item_id: str
    index: int
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list[str])


class _End:
    """Marks the end of the output in the pacer's queue."""


_Paced = str | tuple[WordTime, ...] | bytes | _End


class Response:
    """A live response.

    Args:
        view: What `response.created` shows; everything but output and outcome is fixed by it.
        prepare: Takes the snapshot of the context, once the words it waits for are known.
        waiting_for: User items whose transcripts the model must see first.
        conversation: Where its items go; None for an out-of-band response.
        new_id: Makes ids from a prefix.
        lead_ms: How far audio may run ahead of real time, None for no limit.
        mcp: Which of the model's functions are MCP tools.
        mcp_servers: Runs those.
        keeps_pace: Whether its audio is paced even when it fails.
        trigger_item_id: The user item whose end of turn caused it, None for `response.create`.
    """

    def __init__(
        self,
        view: ResponseView,
        *,
        prepare: Callable[[], Prepared | Failure],
        waiting_for: set[str],
        conversation: Conversation | None,
        new_id: Callable[[str], str],
        lead_ms: float | None,
        mcp: Mapping[str, McpTarget],
        mcp_servers: McpServers,
        keeps_pace: bool = False,
        trigger_item_id: str | None = None,
    ) -> None:
        self.id = view.id
        self.run_id = view.id
        """What the engine calls it; another name where it took up something else under `id`."""
        self._prepare = prepare
        self._context: ModelContext | None = None
        self.waiting_for = waiting_for
        self.trigger_item_id = trigger_item_id
        self.started = False
        self.done = False
        self.progress_s = 0.0
        """When the engine last did something for it."""
        self.pacer: Pacer[_Paced] = Pacer(lead_ms)
        self._view = view
        self._conversation = conversation
        self._new_id = new_id
        self._spoken = view.output_modalities == ("audio",)
        self._message: _MessageOutput | None = None
        self._calls: dict[str, _CallOutput] = {}
        self._output = ResponseOutput(view.id, conversation)
        self._mcp = McpOutput(view.id, mcp, mcp_servers, new_id, self._output)
        self._complete_after_tools = False
        self._finish: FinishReason = "stop"
        self._usage = Usage()
        self._written: list[str] = []
        """All that the model wrote, to be counted where it does not count itself."""
        self._audio_ms = 0.0
        self._ended = False
        self._cancelled = False
        self._keeps_pace = keeps_pace
        self._failure: Failure | None = None
        """Why it will fail once its audio has gone."""

    @property
    def out_of_band(self) -> bool:
        return self._conversation is None

    def created(self) -> ServerEvent:
        """The first event of its life."""
        return ResponseCreated(self._view)

    def start(self, now: float) -> GenerationRequest | Failure:
        """What the engine is to generate from; it owes output from now on."""
        prepared = self._prepare()
        if isinstance(prepared, Failure):
            return prepared
        self._context = prepared.context
        self.started = True
        self.progress_s = now
        return prepared.request

    def holds(self, item_id: str) -> bool:
        """Whether this response is still producing that item."""
        return (
            (self._message is not None and self._message.item_id == item_id)
            or any(call.item_id == item_id for call in self._calls.values())
            or self._mcp.holds(item_id)
        )

    # --- what the engine made -----------------------------------------------------------------

    def take(self, event: Made, now: float) -> list[ServerEvent]:
        """Take what the engine has for it, be it the end."""
        match event:
            case GenerationEnded():
                return self.ended(now)
            case GenerationFailed():
                return self.failed(event.failure, now)
            case _:
                return self.generated(event, now)

    def generated(self, event: Generated, now: float) -> list[ServerEvent]:
        """Take one piece of output from the engine; nothing counts that comes behind its end."""
        if self._ended:
            return []
        self.progress_s = now
        match event:
            case SpeechText() | SpeechWords() | SpeechAudio() if not self._spoken:
                return []
            case ModelText():
                return self._model_text(event.text)
            case ToolCallStarted():
                return self._call_started(event.call_id, event.name)
            case ToolCallArguments():
                return self._call_arguments(event.call_id, event.delta)
            case ToolCallEnded():
                return self._call_ended(event.call_id)
            case ModelFinished():
                self._finish, self._usage = event.reason, event.usage
                # Nothing is left to be spoken: clients that answer a call as soon as its item is
                # done must find the response done as well.
                return self.ended(now) if not self._spoken or self._message is None else []
            case SpeechText():
                events = self._open_message()
                assert self._message is not None
                self._message.announced_chars += len(event.text)
                self.pacer.push(event.text)
                return events + self.release(now)
            case SpeechWords():
                self.pacer.push(event.words)
                return self.release(now)
            case SpeechAudio():
                size_bytes = _delta_ms(self.pacer.lead_ms) * BYTES_PER_MS
                for start in range(0, len(event.pcm), size_bytes):
                    piece = event.pcm[start : start + size_bytes]
                    self.pacer.push(piece, len(piece) / BYTES_PER_MS)
                return self.release(now)
            case _:
                assert_never(event)

    @property
    def generating(self) -> bool:
        """Whether the engine still owes it output."""
        return self.started and not self._ended

    def ended(self, now: float) -> list[ServerEvent]:
        """The engine delivered everything; what is queued still goes at its pace."""
        if self._ended:
            return []
        self._ended = True
        self.pacer.push(_End())
        return self.release(now)

    def release(self, now: float) -> list[ServerEvent]:
        """Let go what the pace allows."""
        events: list[ServerEvent] = []
        for entry in self.pacer.release(now):
            events += self._let_go(entry)
        return events

    def _let_go(self, entry: _Paced) -> list[ServerEvent]:
        message = self._message
        match entry:
            case _End():
                return self._complete()
            case str():
                assert message is not None
                message.speech.add_text(entry)
                return self._transcript_delta(message, entry)
            case bytes():
                if message is None:
                    return []
                message.speech.add_audio(len(entry))
                self._audio_ms += len(entry) / BYTES_PER_MS
                return [OutputAudioDelta(self.id, message.item_id, message.index, 0, entry)]
            case tuple():
                if message is not None:
                    message.speech.add_words(entry)
                return []
            case _:
                assert_never(entry)

    # --- text ---------------------------------------------------------------------------------

    def _model_text(self, text: str) -> list[ServerEvent]:
        # Some servers send an empty or blank chunk ahead of a tool call: no message opens for it.
        if self._message is None and not text.strip():
            return []
        events = self._open_message()
        message = self._message
        assert message is not None
        message.generated.append(text)
        self._written.append(text)
        if self._spoken:
            return events
        delta = text if message.sent else text.lstrip()
        message.sent.append(delta)
        return [*events, OutputTextDelta(self.id, message.item_id, message.index, 0, delta)]

    def _transcript_delta(self, message: _MessageOutput, text: str) -> list[ServerEvent]:
        delta = text if message.sent else text.lstrip()
        if not delta:
            return []
        message.sent.append(delta)
        return [OutputTranscriptDelta(self.id, message.item_id, message.index, 0, delta)]

    def _open_message(self) -> list[ServerEvent]:
        if self._message is not None:
            return []
        self._message = message = _MessageOutput(self._new_id("item"), self._output.take_index())
        item = Message(message.item_id, "assistant", "in_progress", ())
        part = OutputAudio("") if self._spoken else OutputText("")
        return [
            *self._output.add(item, message.index, message.speech if self._spoken else None),
            ContentPartAdded(self.id, message.item_id, message.index, 0, part),
        ]

    def _close_message(self, status: ItemStatus) -> list[ServerEvent]:
        message = self._message
        if message is None:
            return []
        self._message = None
        text = "".join(message.sent)
        place = (self.id, message.item_id, message.index, 0)
        part: OutputAudio | OutputText
        events: list[ServerEvent]
        if self._spoken:
            part = OutputAudio(text)
            events = [OutputAudioDone(*place), OutputTranscriptDone(*place, text)]
        else:
            part = OutputText(text)
            events = [OutputTextDone(*place, text)]
        item = Message(message.item_id, "assistant", status, (part,))
        return [*events, ContentPartDone(*place, part), *self._output.finish(item, message.index)]

    # --- MCP calls --------------------------------------------------------------------------------

    def mcp_finished(self, item_id: str, outcome: str | McpError) -> list[ServerEvent]:
        """A tool of an MCP server has answered; the last one may have been waited for."""
        events = self._mcp.finished(item_id, outcome)
        if self._complete_after_tools and not self._mcp.running:
            events += self._complete()
        return events

    # --- function calls -----------------------------------------------------------------------

    def _call_started(self, call_id: str, name: str) -> list[ServerEvent]:
        if call_id in self._calls or call_id in self._mcp:
            return []
        # A message that is only text is complete when a call begins; speech goes on being paced.
        events = [] if self._spoken else self._close_message("completed")
        if self._mcp.knows(name):
            return events + self._mcp.started(call_id, name)
        call = _CallOutput(
            self._new_id("item"), self._output.take_index(), self._wire_call_id(call_id), name
        )
        self._calls[call_id] = call
        item = FunctionCall(call.item_id, call.call_id, name, "", "in_progress")
        return events + self._output.add(item, call.index, None)

    def _wire_call_id(self, call_id: str) -> str:
        """The model's own id, or a fresh one where it gave none or gave one it used before."""
        taken = self._conversation is not None and self._conversation.has_call(call_id)
        return self._new_id("call") if taken or not call_id else call_id

    def _call_arguments(self, call_id: str, delta: str) -> list[ServerEvent]:
        if call_id in self._mcp and delta:
            return self._mcp.arguments(call_id, delta)
        call = self._calls.get(call_id)
        if call is None or not delta:
            return []
        call.arguments.append(delta)
        self._written.append(delta)
        return [FunctionArgumentsDelta(self.id, call.item_id, call.index, call.call_id, delta)]

    def _call_ended(self, call_id: str) -> list[ServerEvent]:
        if call_id in self._mcp:
            return self._mcp.ended(call_id)
        call = self._calls.pop(call_id, None)
        if call is None:
            return []
        arguments = "".join(call.arguments)
        item = FunctionCall(call.item_id, call.call_id, call.name, arguments, "completed")
        return [
            FunctionArgumentsDone(
                self.id, call.item_id, call.index, call.call_id, call.name, arguments
            ),
            *self._output.finish(item, call.index),
        ]

    def _drop_calls(self) -> list[ServerEvent]:
        """Close calls that never got all their arguments.

        Without `arguments.done`: some clients run the tool on it, whatever the item's status.
        """
        events: list[ServerEvent] = []
        for call in self._calls.values():
            arguments = "".join(call.arguments)
            item = FunctionCall(call.item_id, call.call_id, call.name, arguments, "incomplete")
            events += self._output.finish(item, call.index)
        self._calls.clear()
        return events

    # --- endings ------------------------------------------------------------------------------

    def _complete(self) -> list[ServerEvent]:
        if self._mcp.running:
            self._complete_after_tools = True
            return []
        failure = self._failure or self._unspoken()
        if failure is not None:
            return self._done("failed", _failed(failure), "incomplete")
        match self._finish:
            case "length":
                return self._done("incomplete", Incomplete("max_output_tokens"), "incomplete")
            case "content_filter":
                return self._done("incomplete", Incomplete("content_filter"), "incomplete")
            case "stop" | "tool_calls":
                return self._done("completed", None, "completed")
            case _:
                assert_never(self._finish)

    def _unspoken(self) -> Failure | None:
        """Speech that should be there and is not: nothing is called spoken that never sounded."""
        message = self._message
        if not self._spoken or message is None:
            return None
        text = "".join(message.generated)
        silent = text if message.speech.audio_ms == 0 else text[message.announced_chars :]
        if not any(character.isalnum() for character in silent):
            return None
        return Failure(
            Stage.TTS,
            ErrorCategory.SERVER,
            "The speech synthesiser returned no audio for the reply.",
        )

    def finish_empty(self) -> list[ServerEvent]:
        """Complete without output: there was nothing to answer."""
        return self._done("completed", None, "completed")

    def silent_from(self, now: float) -> float:
        """When the last of what was sent has sounded; a cancelled response is silent at once."""
        return now if self._cancelled else self.pacer.plays_until(now)

    def cancel(self, reason: CancelReason, now: float) -> list[ServerEvent]:
        """End at once; what was not sent is forgotten, and so is what was not heard."""
        self._cancelled = True
        message = self._message
        if message is not None:
            for entry in takewhile(lambda entry: not isinstance(entry, str), self.pacer.waiting()):
                if isinstance(entry, bytes):
                    message.speech.expect_audio(len(entry))
        events = self._done("cancelled", Cancelled(reason), "incomplete")
        if message is not None and self._conversation is not None and self._spoken:
            entry = self._conversation.get(message.item_id)
            # Only the client can know better, and says so by truncating the item.
            if entry is not None and entry.heard_ms is None:
                entry.heard_ms = self.pacer.played_ms(now)
        return events

    def failed(self, failure: Failure, now: float) -> list[ServerEvent]:
        """End with an error; everything that was made still goes out first."""
        if self._keeps_pace and self.pacer.queued_ms:
            self._failure = failure
            return self.ended(now)
        self.pacer.lead_ms = None
        events: list[ServerEvent] = []
        for entry in self.pacer.release(now):
            if not isinstance(entry, _End):
                events += self._let_go(entry)
        return events + self._done("failed", _failed(failure), "incomplete")

    def _done(
        self, status: ResponseStatus, details: StatusDetails | None, items: ItemStatus
    ) -> list[ServerEvent]:
        if items == "completed" and self._spoken and self._message is not None:
            message = self._message
            rest = "".join(message.generated)[message.announced_chars :]
            events = self._transcript_delta(message, rest.rstrip())
        else:
            events = []
        events += self._close_message(items)
        events += self._drop_calls()
        events += self._mcp.close(status, in_conversation=not self.out_of_band)
        self.done = True
        usage = self.counted()
        view = replace(
            self._view,
            status=status,
            status_details=details,
            output=self._output.items,
            usage=usage,
        )
        return [*events, ResponseDone(view)]

    def counted(self) -> Usage:
        """What it has cost: the model's counts and those of speech, or estimates for want of them.

        A response that was cut short has cost what went in and what had come out by then.
        """
        if self._context is None:
            return self._usage
        usage = replace(
            self._usage,
            input_audio_tokens=self._context.audio_tokens,
            output_audio_tokens=output_audio_tokens(self._audio_ms),
        )
        if usage.input_text_tokens or usage.output_text_tokens:
            return usage
        return replace(
            usage,
            input_text_tokens=self._context.text_tokens,
            output_text_tokens=text_tokens("".join(self._written)),
            estimated=True,
        )


def _delta_ms(lead_ms: float | None) -> int:
    """How long a delta may be: short beside the lead, or players run dry between two of them."""
    if lead_ms is None:
        return MAX_DELTA_MS
    return min(max(int(lead_ms / 4), MIN_DELTA_MS), MAX_DELTA_MS)


def _failed(failure: Failure) -> Failed:
    """The `status_details.error` of a failed stage, in the codes clients know (§5)."""
    match failure.category:
        case ErrorCategory.QUOTA:
            kind, code = "insufficient_quota", "insufficient_quota"
        case ErrorCategory.RATE_LIMIT:
            kind, code = "rate_limit_error", "rate_limit_exceeded"
        case ErrorCategory.CONTEXT_LENGTH:
            kind, code = "invalid_request_error", "context_length_exceeded"
        case ErrorCategory.INVALID_REQUEST:
            kind, code = "invalid_request_error", "invalid_value"
        case _:
            kind, code = "server_error", "server_error"
    return Failed(kind, code, failure.message)
