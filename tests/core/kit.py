"""A session core on a hand-turned clock, and a short notation for what it puts out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import protocol as p
from core import messages as m
from core.machine import Machine, Output
from core.policy import Policy
from core.rate_limits import Limiter
from protocol import (
    Cancelled,
    ErrorEvent,
    Failed,
    FunctionCall,
    FunctionCallOutput,
    Incomplete,
    InputAudio,
    InputAudioAppend,
    InputText,
    Item,
    Message,
    ResponseView,
    Session,
    SessionView,
    Usage,
)

SAMPLES_PER_MS = 24


def pcm(ms: int, fill: int = 0) -> bytes:
    """`ms` of audio in which every sample is `fill`."""
    return fill.to_bytes(2, "little", signed=True) * (ms * SAMPLES_PER_MS)


def session(**patch: Any) -> Session:
    """Default settings with top-level changes."""
    return Session().model_copy(update=patch)


MANUAL = {"audio": {"input": {"turn_detection": None}}}
TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}


class Core:
    """Drives a `Machine`; ids are `item_1`, `resp_1`, … counted per prefix."""

    def __init__(
        self,
        policy: Policy | None = None,
        settings: Session | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        counts: Counter[str] = Counter()

        def new_id(prefix: str) -> str:
            counts[prefix] += 1
            return f"{prefix}_{counts[prefix]}"

        self.now = 100.0
        self.machine = Machine(
            SessionView("sess_1", 0, settings or Session()),
            conversation_id="conv_1",
            policy=policy or Policy(),
            new_id=new_id,
            limiter=limiter,
        )
        self.log: list[Output] = list(self.machine.start())

    def __call__(self, *events: Any) -> list[str]:
        """Feed events at the present moment; returns the outputs in short notation."""
        outputs: list[Output] = []
        for event in events:
            outputs += self.machine.handle(event, self.now)
        self.log += outputs
        return [brief(output) for output in outputs]

    def raw(self, event: Any) -> list[Output]:
        """Feed one event; returns the outputs themselves."""
        outputs = self.machine.handle(event, self.now)
        self.log += outputs
        return outputs

    def wait(self, seconds: float) -> list[str]:
        """Let time pass, calling the timer whenever it is due."""
        end, seen = self.now + seconds, len(self.log)
        while self.tick(end):
            pass
        self.now = end
        return [brief(output) for output in self.log[seen:]]

    def tick(self, end: float) -> bool:
        """Call the timer once when it is due, `end` at the latest; False when it is not."""
        due = self.machine.next_deadline(self.now)
        if due is None or due > end:
            return False
        self.now = max(due, self.now)
        self.log += self.machine.handle_timer(self.now)
        return True

    def update(self, patch: dict[str, Any]) -> list[str]:
        """A `session.update` with this GA-shaped patch."""
        return self(p.SessionUpdate(patch, "ev"))

    # --- shorthands for common histories ------------------------------------------------------

    def speak(self, start_ms: int = 200, end_ms: int = 1200, generation: int = 0) -> list[str]:
        """A whole spoken turn: audio, speech found, silence found."""
        outputs = self(InputAudioAppend(pcm(end_ms + 600)))
        outputs += self(m.VadSpeechStarted(generation, start_ms * SAMPLES_PER_MS))
        return outputs + self(m.VadSpeechStopped(generation, end_ms * SAMPLES_PER_MS))


def user_text(text: str = "hi", item_id: str = "") -> p.ItemCreate:
    """`conversation.item.create` of a typed user message."""
    return p.ItemCreate(Message(item_id, "user", "completed", (InputText(text),)))


def usage(tokens: int = 3) -> Usage:
    """A plain count."""
    return Usage(input_text_tokens=tokens, output_text_tokens=tokens)


def finished(response_id: str = "resp_1", reason: Any = "stop") -> list[Any]:
    """The engine's end of a reply."""
    return [m.ModelFinished(response_id, reason, usage()), m.GenerationEnded(response_id)]


def spoken(text: str, ms: int, response_id: str = "resp_1") -> list[Any]:
    """The engine's text and audio of one clause."""
    return [
        m.ModelText(response_id, text),
        m.SpeechText(response_id, text),
        m.SpeechAudio(response_id, pcm(ms)),
    ]


# --- notation -------------------------------------------------------------------------------------


def _item(item: Item) -> str:
    match item:
        case Message():
            inner = ",".join(_content(part) for part in item.content)
            return f"{item.role} {item.id} {item.status} [{inner}]"
        case FunctionCall():
            return f"call {item.id} {item.status} {item.name}({item.arguments})"
        case FunctionCallOutput():
            return f"output {item.id} {item.call_id}={item.output}"
        case p.McpListTools():
            return (
                f"mcp tools {item.id} {item.server_label} [{','.join(t.name for t in item.tools)}]"
            )
        case p.McpCall():
            end = f" = {item.output}" if item.error is None else f" ! {item.error.message}"
            asked = f" for {item.approval_request_id}" if item.approval_request_id else ""
            outcome = end if item.output is not None or item.error is not None else ""
            return f"mcp call {item.id} {item.name}({item.arguments}){asked}{outcome}"
        case p.McpApprovalRequest():
            return f"approval? {item.id} {item.name}({item.arguments})"
        case p.McpApprovalResponse():
            return f"approval {item.id} {item.approval_request_id} {item.approve}"


def _content(part: p.Content) -> str:
    match part:
        case InputAudio():
            return f"audio {part.transcript!r} {len(part.audio or b'') // 48}ms"
        case p.InputImage():
            return "image"
        case p.OutputAudio():
            return f"said {part.transcript!r}"
        case InputText() | p.OutputText():
            return repr(part.text)


def _response(view: ResponseView) -> str:
    match view.status_details:
        case Cancelled(reason=reason) | Incomplete(reason=reason):
            why = f" {reason}"
        case Failed(code=code):
            why = f" {code}"
        case None:
            why = ""
    ids = ",".join(item.id for item in view.output)
    return f"{view.id} {view.status}{why} [{ids}]"


def brief(output: Output) -> str:
    """One line for one output: commands begin with `>`, events with their short name."""
    match output:
        case m.ConfigureVad():
            kind = output.detection.type if output.detection else "off"
            return f"> vad {output.generation} {kind}"
        case m.FeedAudio():
            return f"> feed {len(output.pcm) // 48}ms"
        case m.OpenSegment():
            return f"> open {output.item_id} {len(output.pcm) // 48}ms"
        case m.SettleSegment():
            return f"> settle {output.item_id} {output.sample // SAMPLES_PER_MS}ms"
        case m.CloseSegment():
            settled = "" if output.settled_at is None else " as settled"
            return f"> close {output.item_id}{settled}"
        case m.DropSegment():
            return f"> drop {output.item_id}"
        case m.StartResponse():
            return f"> start {output.response_id}" + (" oob" if output.out_of_band else "")
        case m.StopResponse():
            return f"> stop {output.response_id}"
        case m.ListMcpTools():
            return f"> mcp list {output.item_id} {output.server.server_label}"
        case m.CallMcpTool():
            return f"> mcp call {output.item_id} {output.name}({output.arguments})"
        case m.CancelMcp():
            return f"> mcp cancel {output.item_id}"
        case m.CloseConnection():
            return f"> bye {output.code}"
        case ErrorEvent():
            return f"error {output.code} {output.client_event_id}"
        case p.SessionCreated() | p.SessionUpdated():
            return output.type
        case p.ItemAdded():
            return f"item.added <{output.previous_item_id}> {_item(output.item)}"
        case p.ItemDone():
            return f"item.done <{output.previous_item_id}> {_item(output.item)}"
        case p.ItemRetrieved():
            return f"item.retrieved {_item(output.item)}"
        case p.ItemTruncated():
            return f"item.truncated {output.item_id} {output.audio_end_ms}ms"
        case p.ItemDeleted():
            return f"item.deleted {output.item_id}"
        case p.TranscriptionDelta():
            return f"transcription.delta {output.item_id} {output.delta!r}"
        case p.TranscriptionCompleted():
            return (
                f"transcription.completed {output.item_id} {output.transcript!r} {output.seconds}s"
            )
        case p.TranscriptionSegment():
            span = f"{output.start}-{output.end}s"
            return f"transcription.segment {output.item_id} {output.speaker} {span} {output.text!r}"
        case p.TranscriptionFailed():
            return f"transcription.failed {output.item_id} {output.code}"
        case p.InputAudioCommitted():
            return f"committed <{output.previous_item_id}> {output.item_id}"
        case p.InputAudioCleared():
            return "cleared"
        case p.SpeechStarted():
            return f"speech_started {output.item_id} {output.audio_start_ms}ms"
        case p.SpeechStopped():
            return f"speech_stopped {output.item_id} {output.audio_end_ms}ms"
        case p.TimeoutTriggered():
            span = f"{output.audio_start_ms}-{output.audio_end_ms}ms"
            return f"timeout_triggered {output.item_id} {span}"
        case p.PlaybackStarted() | p.PlaybackStopped() | p.PlaybackCleared():
            return f"{output.type.removeprefix('output_audio_buffer.')} {output.response_id}"
        case p.RateLimitsUpdated():
            left = ", ".join(f"{x.remaining}/{x.limit} {x.name}" for x in output.rate_limits)
            return f"limits at {output.moment}: {left}"
        case p.ConversationCreated():
            return f"conversation.created {output.conversation_id}"
        case p.ItemCreated():
            return f"item.created <{output.previous_item_id}> {_item(output.item)}"
        case p.ResponseCreated():
            return f"response.created {_response(output.response)}"
        case p.ResponseDone():
            return f"response.done {_response(output.response)}"
        case p.OutputItemAdded():
            return f"output_item.added {output.output_index} {_item(output.item)}"
        case p.OutputItemDone():
            return f"output_item.done {output.output_index} {_item(output.item)}"
        case p.ContentPartAdded() | p.ContentPartDone():
            return (
                f"{output.type.removeprefix('response.')} {output.item_id} {_content(output.part)}"
            )
        case p.OutputTextDelta() | p.OutputTranscriptDelta():
            kind = "text" if isinstance(output, p.OutputTextDelta) else "transcript"
            return f"{kind}.delta {output.item_id} {output.delta!r}"
        case p.OutputTextDone():
            return f"text.done {output.item_id} {output.text!r}"
        case p.OutputTranscriptDone():
            return f"transcript.done {output.item_id} {output.transcript!r}"
        case p.OutputAudioDelta():
            return f"audio.delta {output.item_id} {len(output.audio) // 48}ms"
        case p.OutputAudioDone():
            return f"audio.done {output.item_id}"
        case p.FunctionArgumentsDelta():
            return f"arguments.delta {output.item_id} {output.delta!r}"
        case p.FunctionArgumentsDone():
            return f"arguments.done {output.item_id} {output.name}({output.arguments})"
        case p.McpListToolsInProgress() | p.McpListToolsCompleted() | p.McpListToolsFailed():
            return f"{output.type} {output.item_id}"
        case p.McpArgumentsDelta():
            return f"mcp arguments.delta {output.item_id} {output.output_index} {output.delta!r}"
        case p.McpArgumentsDone():
            return f"mcp arguments.done {output.item_id} {output.output_index} {output.arguments}"
        case p.McpCallInProgress() | p.McpCallCompleted() | p.McpCallFailed():
            name = output.type.removeprefix("response.")
            return f"{name} {output.item_id} {output.output_index}"


def with_detection(**changes: Any) -> Session:
    """Default settings with changes to server VAD."""
    settings = Session()
    detection = p.ServerVad(**changes)
    audio_input = settings.audio.input.model_copy(update={"turn_detection": detection})
    return session(audio=settings.audio.model_copy(update={"input": audio_input}))


def manual() -> Session:
    """Default settings with turn detection off."""
    settings = Session()
    audio_input = settings.audio.input.model_copy(update={"turn_detection": None})
    return session(audio=settings.audio.model_copy(update={"input": audio_input}))


__all__ = ["Core", "brief", "pcm", "replace", "session", "spoken", "user_text"]
