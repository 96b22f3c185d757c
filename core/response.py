"""One response: from `response.created` to its single `response.done`, whatever happens between.

A `Response` exists only while it is live. Each method takes one thing that happened and returns the
events it causes, in wire order; the last list it ever returns ends with `ResponseDone`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import assert_never

from core import outcome
from core.call_output import CallOutput
from core.context import Prepared
from core.conversation import Conversation
from core.mcp_output import McpOutput
from core.mcp_servers import McpServers
from core.mcp_tools import McpTarget
from core.message_output import MessageOutput
from core.messages import (
    Failure,
    FinishReason,
    Generated,
    GenerationEnded,
    GenerationFailed,
    GenerationRequest,
    Made,
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
from core.outcome import Outcome
from core.pacing import Pacer
from core.response_output import ResponseOutput
from core.response_usage import ResponseUsage
from core.speech import BYTES_PER_MS
from protocol import (
    CancelReason,
    ErrorCategory,
    ItemStatus,
    McpError,
    ResponseCreated,
    ResponseDone,
    ResponseView,
    ServerEvent,
    Stage,
    Usage,
)

MIN_DELTA_MS, MAX_DELTA_MS = 20, 200
"""Lengths of an audio delta: old SDKs close at 1 MiB a frame, and a barge-in wants small steps."""


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
        self.out_of_band = conversation is None
        self.waiting_for = waiting_for
        self.trigger_item_id = trigger_item_id
        self.started = False
        self.done = False
        self.progress_s = 0.0
        """When the engine last did something for it."""
        self.pacer: Pacer[_Paced] = Pacer(lead_ms)
        self._prepare = prepare
        self._view = view
        self._spoken = view.output_modalities == ("audio",)
        self._keeps_pace = keeps_pace
        self._output = ResponseOutput(view.id, conversation, new_id)
        self._message: MessageOutput | None = None
        self._calls = CallOutput(self._output)
        self._mcp = McpOutput(self._output, mcp, mcp_servers)
        self._usage = ResponseUsage()
        self._finish: FinishReason = "stop"
        self._complete_after_tools = False
        self._ended = False
        self._cancelled = False
        self._failure: Failure | None = None
        """Why it will fail once its audio has gone."""

    # --- what it is at ----------------------------------------------------------------------------

    @property
    def generating(self) -> bool:
        """Whether the engine still owes it output."""
        return self.started and not self._ended

    def holds(self, item_id: str) -> bool:
        """Whether this response is still producing that item."""
        return (
            (self._message is not None and self._message.item_id == item_id)
            or self._calls.holds(item_id)
            or self._mcp.holds(item_id)
        )

    def deadline(self, now: float, patience_s: float) -> float:
        """When its output may go on, or an engine that is silent for so long has failed it."""
        moment = self.pacer.deadline(now)
        if moment is not None:
            return moment
        return self.progress_s + patience_s if self.generating else math.inf

    def silent_from(self, now: float) -> float:
        """When the last of what was sent has sounded; a cancelled response is silent at once."""
        return now if self._cancelled else self.pacer.plays_until(now)

    def counted(self) -> Usage:
        """What it has cost by now."""
        return self._usage.total()

    # --- its beginning ----------------------------------------------------------------------------

    def created(self) -> ServerEvent:
        """The first event of its life."""
        return ResponseCreated(self._view)

    def start(self, now: float) -> GenerationRequest | Failure:
        """What the engine is to generate from; it owes output from now on."""
        prepared = self._prepare()
        if isinstance(prepared, Failure):
            return prepared
        self._usage.context = prepared.context
        self.started = True
        self.progress_s = now
        return prepared.request

    # --- what the engine made ---------------------------------------------------------------------

    def take(self, event: Made, now: float) -> list[ServerEvent]:
        """Take what the engine has for it; nothing counts that comes behind its end."""
        match event:
            case GenerationEnded():
                return self.ended(now)
            case GenerationFailed():
                return self.failed(event.failure, now)
            case _ if self._ended:
                return []
            case _:
                self.progress_s = now
                return self._take_piece(event, now)

    def _take_piece(self, event: Generated, now: float) -> list[ServerEvent]:
        match event:
            case SpeechText() | SpeechWords() | SpeechAudio() if not self._spoken:
                return []
            case ModelText():
                return self._write(event.text)
            case ToolCallStarted():
                return self._call_started(event.call_id, event.name)
            case ToolCallArguments():
                return self._call_arguments(event.call_id, event.delta)
            case ToolCallEnded():
                return self._call_ended(event.call_id)
            case ModelFinished():
                self._finish, self._usage.counted = event.reason, event.usage
                # Nothing is left to be spoken: clients that answer a call as soon as its item is
                # done must find the response done as well.
                return self.ended(now) if not self._spoken or self._message is None else []
            case SpeechText():
                message, events = self._open_message()
                message.announce(event.text)
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
        if isinstance(entry, _End):
            return self._complete()
        message = self._message
        if message is None:
            return []
        match entry:
            case str():
                return message.say(entry)
            case bytes():
                self._usage.audio_ms += len(entry) / BYTES_PER_MS
                return [message.sound(entry)]
            case tuple():
                message.time_words(entry)
                return []
            case _:
                assert_never(entry)

    # --- the message ------------------------------------------------------------------------------

    def _write(self, text: str) -> list[ServerEvent]:
        # Some servers send an empty or blank chunk ahead of a tool call: no message opens for it.
        if self._message is None and not text.strip():
            return []
        message, events = self._open_message()
        self._usage.written.append(text)
        return events + message.write(text)

    def _open_message(self) -> tuple[MessageOutput, list[ServerEvent]]:
        if self._message is not None:
            return self._message, []
        self._message = message = MessageOutput(self._output, spoken=self._spoken)
        return message, message.open()

    def _close_message(self, status: ItemStatus) -> list[ServerEvent]:
        message, self._message = self._message, None
        return [] if message is None else message.close(status)

    # --- calls ------------------------------------------------------------------------------------

    def _call_started(self, call_id: str, name: str) -> list[ServerEvent]:
        if call_id in self._calls or call_id in self._mcp:
            return []
        # A message that is only text is complete when a call begins; speech goes on being paced.
        events = [] if self._spoken else self._close_message("completed")
        calls = self._mcp if self._mcp.knows(name) else self._calls
        return events + calls.started(call_id, name)

    def _call_arguments(self, call_id: str, delta: str) -> list[ServerEvent]:
        if not delta:
            return []
        if call_id in self._mcp:
            return self._mcp.arguments(call_id, delta)
        if call_id not in self._calls:
            return []
        self._usage.written.append(delta)
        return self._calls.arguments(call_id, delta)

    def _call_ended(self, call_id: str) -> list[ServerEvent]:
        if call_id in self._mcp:
            return self._mcp.ended(call_id)
        return self._calls.ended(call_id) if call_id in self._calls else []

    def mcp_finished(self, item_id: str, answer: str | McpError) -> list[ServerEvent]:
        """A tool of an MCP server has answered; the last one may have been waited for."""
        events = self._mcp.finished(item_id, answer)
        if self._complete_after_tools and not self._mcp.running:
            events += self._complete()
        return events

    # --- endings ----------------------------------------------------------------------------------

    def _complete(self) -> list[ServerEvent]:
        if self._mcp.running:
            self._complete_after_tools = True
            return []
        failure = self._failure
        if failure is None and self._message is not None and self._message.unspoken:
            failure = Failure(
                Stage.TTS,
                ErrorCategory.SERVER,
                "The speech synthesiser returned no audio for the reply.",
            )
        return self._done(outcome.failed(failure) if failure else outcome.finished(self._finish))

    def finish_empty(self) -> list[ServerEvent]:
        """Complete without output: there was nothing to answer."""
        return self._done(outcome.COMPLETED)

    def cancel(self, reason: CancelReason, now: float) -> list[ServerEvent]:
        """End at once; what was not sent is forgotten, and so is what was not heard."""
        self._cancelled = True
        message = self._message
        if message is not None:
            for entry in takewhile(lambda entry: not isinstance(entry, str), self.pacer.waiting()):
                if isinstance(entry, bytes):
                    message.silence(len(entry))
        events = self._done(outcome.cancelled(reason))
        if message is not None and self._spoken:
            self._output.heard_until(message.item_id, self.pacer.played_ms(now))
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
        return events + self._done(outcome.failed(failure))

    def _done(self, how: Outcome) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        if how.items == "completed" and self._message is not None:
            events += self._message.say_rest()
        events += self._close_message(how.items)
        events += self._calls.close()
        events += self._mcp.close(how.status, in_conversation=not self.out_of_band)
        self.done = True
        view = replace(
            self._view,
            status=how.status,
            status_details=how.details,
            output=self._output.items,
            usage=self.counted(),
        )
        return [*events, ResponseDone(view)]


def _delta_ms(lead_ms: float | None) -> int:
    """How long a delta may be: short beside the lead, or players run dry between two of them."""
    if lead_ms is None:
        return MAX_DELTA_MS
    return min(max(int(lead_ms / 4), MIN_DELTA_MS), MAX_DELTA_MS)
