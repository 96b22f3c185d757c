"""The realtime session as a state machine: every event in, one ordered list of outputs out.

This module dispatches; the rules are in `turn`, `response`, `conversation`, `session_settings` and
`context`. The invariants I1 to I11 of the architecture page are its contract.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import assert_never

from core import items, requests
from core.conversation import Conversation, Entry, Known, Pending, Unknown
from core.idle import IDLE_NOTE, IdleWatch
from core.mcp import Mcp
from core.mcp_policy import McpPolicy, without_mcp
from core.messages import (
    CloseConnection,
    CloseSegment,
    Command,
    ConfigureVad,
    DropSegment,
    EngineEvent,
    Failure,
    FeedAudio,
    GenerationEnded,
    GenerationFailed,
    McpCallFinished,
    McpToolsFailed,
    McpToolsListed,
    ModelFinished,
    ModelText,
    OpenSegment,
    SpeechAudio,
    SpeechText,
    SpeechWords,
    StartResponse,
    StopResponse,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
    TranscriptDelta,
    TranscriptFailed,
    TranscriptFinal,
    VadSpeechStarted,
    VadSpeechStopped,
)
from core.response import Generated, Response
from core.session_settings import check_kind, check_language, check_voice, merge_session
from core.turn import (
    IDLE_KEEP_MS,
    SAMPLES_PER_MS,
    InputBuffer,
    Listening,
    Manual,
    Speaking,
    Turn,
    prefix_padding_ms,
    require_committable,
    samples_to_ms,
    silence_window_ms,
)
from protocol import (
    CancelReason,
    ClientEvent,
    ErrorCategory,
    ErrorCode,
    ErrorEvent,
    InputAudio,
    InputAudioAppend,
    InputAudioClear,
    InputAudioCleared,
    InputAudioCommit,
    InputAudioCommitted,
    InputText,
    InvalidRequest,
    ItemAdded,
    ItemCreate,
    ItemDelete,
    ItemDeleted,
    ItemDone,
    ItemRetrieve,
    ItemRetrieved,
    ItemTruncate,
    ItemTruncated,
    McpApprovalResponse,
    Message,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
    ServerEvent,
    ServerVad,
    Session,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    SessionView,
    SpeechStarted,
    SpeechStopped,
    Stage,
    TimeoutTriggered,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    error_event,
)

Output = ServerEvent | Command


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides and a client cannot change.

    `stt_languages` is None when the recogniser takes any language; `expires_at_s` is on the clock
    that `now` is given in. `voice_is_fixed` is OpenAI's rule for a voice that has been heard.
    """

    output_lead_ms: float | None = 5000
    stt_timeout_s: float = 15.0
    generation_timeout_s: float = 30.0
    stt_languages: frozenset[str] | None = None
    stt_engine: str = ""
    item_audio_limit_bytes: int = 16 * 1024 * 1024
    max_parallel_responses: int = 8
    max_output_tokens: int | None = None
    context_tokens: int | None = None
    expires_at_s: float = math.inf
    max_session_s: float = 3600.0
    voice_is_fixed: bool = True
    mcp: McpPolicy = field(default_factory=McpPolicy)


class Machine:
    """One session.

    Args:
        session: Id, expiry and first settings.
        conversation_id: Id of the default conversation.
        policy: The operator's limits.
        new_id: Makes a unique id from a prefix.
    """

    def __init__(
        self,
        session: SessionView,
        *,
        conversation_id: str,
        policy: Policy,
        new_id: Callable[[str], str],
    ) -> None:
        self._session = session
        self._defaults = session.settings
        self._policy = policy
        self._new_id = new_id
        self._conversation = Conversation(conversation_id)
        self._mcp = Mcp(self._conversation, policy.mcp, new_id)
        self._buffer = InputBuffer()
        self._turn: Turn = Manual(None)
        self._vad_generation = 0
        self._active: Response | None = None
        self._last_params = ResponseParams()
        """Of the newest response of the default conversation."""
        self._out_of_band: dict[str, Response] = {}
        self._transcribing: dict[str, float] = {}
        """Committed items whose words are awaited, and until when."""
        self._held_deltas: dict[str, list[str]] = {}
        self._item_audio: dict[str, bytes] = {}
        """Audio of created items, to be recognised once nobody is speaking."""
        self._idle: IdleWatch | None = None
        """Runs from the end of each response of the default conversation."""
        self._closed = False

    @property
    def settings(self) -> Session:
        """The settings in force."""
        return self._session.settings

    # --- the three ways in ------------------------------------------------------------------------

    def start(self) -> list[Output]:
        """What a new session says and does first."""
        refusals: list[Output] = []
        try:
            self._mcp.check(self.settings.tools, "session.tools")
        except InvalidRequest as refusal:
            # An ephemeral key outlives the rules it was minted under.
            self._session = replace(self._session, settings=without_mcp(self.settings))
            refusals.append(error_event(refusal))
        outputs: list[Output] = [SessionCreated(self._session), *refusals]
        detection = self.settings.audio.input.turn_detection
        if detection is not None:
            self._turn = Listening()
            outputs.append(ConfigureVad(self._vad_generation, detection))
        outputs += self._mcp.import_tools(self.settings.tools)
        return [*outputs, *self._mcp.take_commands()]

    def handle(self, event: ClientEvent | EngineEvent, now: float) -> list[Output]:
        """Take one event at `now` (seconds of a monotonic clock)."""
        if self._closed:
            return []
        try:
            return self._with_mcp(self._dispatch(event, now), now)
        except InvalidRequest as refusal:
            return [error_event(refusal, getattr(event, "event_id", None))]

    def next_deadline(self, now: float) -> float | None:
        """When `handle_timer` wants to be called next."""
        if self._closed:
            return None
        moments = [self._policy.expires_at_s, *self._transcribing.values()]
        timeout_ms = self._idle_timeout_ms()
        if self._idle is not None and timeout_ms is not None:
            moments.append(self._idle.deadline(timeout_ms))
        for response in self._responses():
            moment = response.pacer.deadline(now)
            if moment is not None:
                moments.append(moment)
            elif response.generating:
                moments.append(response.progress_s + self._policy.generation_timeout_s)
        soonest = min(moments)
        return None if soonest == math.inf else soonest

    def handle_timer(self, now: float) -> list[Output]:
        """Do what time alone causes: paced output, transcripts overdue, the end of the session."""
        if self._closed:
            return []
        if now >= self._policy.expires_at_s:
            return self._expire()
        outputs: list[Output] = []
        for item_id, deadline in list(self._transcribing.items()):
            if now >= deadline:
                outputs += self._transcript_overdue(item_id, now)
        for response in self._responses():
            waited = response.pacer.queued_ms > 0
            outputs += response.release(now)
            if waited:
                # The engine was told to wait for the pace: that is no stall of its own.
                response.progress_s = now
            elif response.generating:
                outputs += self._check_stall(response, now)
        self._forget_done(now)
        return self._with_mcp(outputs + self._check_idle(now), now)

    def _check_stall(self, response: Response, now: float) -> list[Output]:
        """Fail a response whose engine has fallen silent."""
        if now < response.progress_s + self._policy.generation_timeout_s:
            return []
        seconds = round(self._policy.generation_timeout_s)
        failure = Failure(
            Stage.LLM,
            ErrorCategory.TIMEOUT,
            f"No output came from the engines within {seconds} s.",
        )
        return [StopResponse(response.id), *response.failed(failure, now)]

    def backlog_ms(self) -> float:
        """Audio made and not yet let go: past a few seconds the engine should wait."""
        return max((response.pacer.queued_ms for response in self._responses()), default=0.0)

    def close(self) -> None:
        """Nothing comes out any more."""
        self._closed = True

    def _dispatch(self, event: ClientEvent | EngineEvent, now: float) -> list[Output]:
        match event:
            case InputAudioAppend():
                return self._append(event.audio)
            case SpeechAudio() | SpeechText() | SpeechWords() | ModelText() | ModelFinished():
                return self._generated(event, now)
            case ToolCallStarted() | ToolCallArguments() | ToolCallEnded():
                return self._generated(event, now)
            case VadSpeechStarted():
                return self._speech_started(event, now)
            case VadSpeechStopped():
                return self._speech_stopped(event, now)
            case TranscriptDelta():
                return self._transcript_delta(event)
            case TranscriptFinal():
                return self._transcript_final(event, now)
            case TranscriptFailed():
                return self._transcript_failed(event.item_id, event.failure, now)
            case GenerationEnded() | GenerationFailed():
                return self._generation_over(event, now)
            case McpToolsListed():
                return [*self._mcp.listed(event)]
            case McpToolsFailed():
                return [*self._mcp.list_failed(event)]
            case McpCallFinished():
                return self._mcp_call_finished(event, now)
            case SessionUpdate():
                return self._update_session(event, now)
            case InputAudioCommit():
                return self._commit(now)
            case InputAudioClear():
                return self._clear(now)
            case ItemCreate():
                return self._create_item(event, now)
            case ItemRetrieve():
                return [ItemRetrieved(self._entry(event.item_id, "retrieve").item)]
            case ItemDelete():
                return self._delete_item(event, now)
            case ItemTruncate():
                return self._truncate(event)
            case ResponseCreate():
                return self._create_response(event.params, event, now)
            case ResponseCancel():
                return self._cancel_response(event, now)
            case _:
                assert_never(event)

    # --- session ----------------------------------------------------------------------------------

    def _update_session(self, event: SessionUpdate, now: float) -> list[Output]:
        check_kind(self.settings, event.session.get("type", self.settings.type))
        settings = merge_session(self.settings, event.session, self._defaults)
        check_language(settings, self._policy.stt_languages, self._policy.stt_engine)
        if self._policy.voice_is_fixed:
            check_voice(self.settings, settings, self._conversation.has_assistant_audio)
        tools_before = self.settings.tools
        if "tools" in event.session:
            self._mcp.check(settings.tools, "session.tools")
        before = self.settings.audio.input.turn_detection
        after = settings.audio.input.turn_detection
        self._session = replace(self._session, settings=settings)
        outputs: list[Output] = []
        if after != before:
            self._restart_idle(now)
            outputs += self._change_turn_detection(before is not None, after is not None, now)
        if self._active is not None:
            self._active.pacer.lead_ms = self._lead_ms()
        outputs.append(SessionUpdated(self._session))
        if "tools" in event.session:
            outputs += self._mcp.change_tools(tools_before, settings.tools)
        return outputs

    def _change_turn_detection(self, was_on: bool, is_on: bool, now: float) -> list[Output]:
        """Follow a change of `turn_detection`; audio waiting in the buffer stays there."""
        detection = self.settings.audio.input.turn_detection
        if was_on and is_on:
            return [ConfigureVad(self._vad_generation, detection)]
        self._vad_generation += 1
        outputs: list[Output] = [ConfigureVad(self._vad_generation, detection)]
        match self._turn:
            case Speaking(item_id=item_id):
                self._turn = Manual(item_id)
            case Listening():
                self._turn = Manual(None)
            case Manual(item_id=item_id):
                self._turn = Listening()
                if item_id is not None:
                    outputs += self._drop_segment(item_id, now)
            case _:
                assert_never(self._turn)
        return outputs

    def _expire(self) -> list[Output]:
        self._closed = True
        minutes = round(self._policy.max_session_s / 60)
        message = f"Your session hit the maximum duration of {minutes} minutes."
        return [
            ErrorEvent("invalid_request_error", ErrorCode.SESSION_EXPIRED, message),
            CloseConnection(1001, message),
        ]

    # --- the user's audio -------------------------------------------------------------------------

    def _append(self, pcm: bytes) -> list[Output]:
        if not pcm:
            return []
        outputs: list[Output] = []
        before = self._buffer.end
        self._buffer.append(pcm)
        match self._turn:
            case Manual(item_id=None):
                item_id = self._new_id("item")
                self._turn = Manual(item_id)
                outputs.append(self._open(item_id, self._buffer.read(self._buffer.start, before)))
            case Listening():
                keep_from = self._buffer.end - IDLE_KEEP_MS * SAMPLES_PER_MS
                self._buffer.drop_chunks_until(keep_from)
            case Manual() | Speaking():
                pass
            case _:
                assert_never(self._turn)
        outputs.append(FeedAudio(pcm))
        return outputs

    def _open(self, item_id: str, pcm: bytes) -> OpenSegment:
        wanted = self.settings.audio.input.transcription
        return OpenSegment(
            item_id,
            pcm,
            language=wanted.language if wanted else None,
            prompt=wanted.prompt if wanted else None,
        )

    def _commit(self, now: float) -> list[Output]:
        outputs: list[Output] = []
        match self._turn:
            case Speaking(item_id=item_id, start=start):
                require_committable((self._buffer.end - start) / SAMPLES_PER_MS)
                # The user may go on speaking: the rest is found as a turn of its own.
                outputs.append(self._listen_afresh())
                self._turn = Listening()
            case Manual(item_id=str() as item_id):
                require_committable(self._buffer.duration_ms)
                start = self._buffer.start
                self._turn = Manual(None)
            case Manual() | Listening():
                require_committable(self._buffer.duration_ms)
                if isinstance(self._turn, Listening):
                    outputs.append(self._listen_afresh())
                item_id, start = self._new_id("item"), self._buffer.start
                outputs.append(self._open(item_id, self._buffer.read(start, self._buffer.end)))
            case _:
                assert_never(self._turn)
        outputs += self._commit_item(item_id, start, self._buffer.end, now)
        return outputs + self._release_deltas(item_id)

    def _commit_item(self, item_id: str, start: int, end: int, now: float) -> list[Output]:
        """Make the user's item out of the audio between two positions."""
        self._restart_idle(now)
        audio = self._audio(start, end)
        item = Message(item_id, "user", "completed", (InputAudio(None, audio),))
        self._transcribing[item_id] = now + self._policy.stt_timeout_s
        previous = self._join(
            Entry(item, transcript=Pending(), audio_ms=(end - start) / SAMPLES_PER_MS)
        )
        outputs: list[Output] = [
            CloseSegment(item_id, end),
            InputAudioCommitted(previous, item_id),
            ItemAdded(previous, item),
            ItemDone(previous, item),
        ]
        return outputs + self._open_item_audio(now)

    def _release_deltas(self, item_id: str) -> list[Output]:
        """Tell the words that were recognised before the item was there."""
        outputs: list[Output] = []
        for delta in self._held_deltas.pop(item_id, []):
            outputs += self._delta_event(item_id, delta)
        return outputs

    def _audio(self, start: int, end: int) -> bytes:
        """Take the audio between two positions out of the buffer."""
        audio = self._buffer.read(start, end)
        self._buffer.drop_until(end)
        return audio

    def _join(self, entry: Entry) -> str | None:
        """Add a user's spoken item at the end; returns the predecessor's id."""
        previous = self._conversation.append(entry)
        self._conversation.drop_audio_beyond(self._policy.item_audio_limit_bytes)
        return previous

    def _clear(self, now: float) -> list[Output]:
        outputs: list[Output] = []
        self._restart_idle(now)
        match self._turn:
            case Speaking(item_id=item_id):
                self._turn = Listening()
                outputs.append(self._listen_afresh())
                outputs += self._drop_segment(item_id, now)
            case Listening():
                outputs.append(self._listen_afresh())
            case Manual(item_id=str() as item_id):
                self._turn = Manual(None)
                outputs += self._drop_segment(item_id, now)
            case Manual():
                pass
            case _:
                assert_never(self._turn)
        self._buffer.clear()
        return [*outputs, InputAudioCleared()]

    def _listen_afresh(self) -> ConfigureVad:
        """Have turn detection forget what was appended so far, heard already or not."""
        self._vad_generation += 1
        return ConfigureVad(self._vad_generation, self.settings.audio.input.turn_detection)

    # --- silence ----------------------------------------------------------------------------------

    def _idle_timeout_ms(self) -> int | None:
        """After how much silence the model may speak unasked, if it may at this moment."""
        detection = self.settings.audio.input.turn_detection
        if not isinstance(detection, ServerVad) or not isinstance(self._turn, Listening):
            return None
        return detection.idle_timeout_ms

    def _restart_idle(self, now: float) -> None:
        """Something happened on the user's side: the silence counts from now."""
        if self._idle is not None:
            self._idle = IdleWatch(max(now, self._idle.since_s))

    def _check_idle(self, now: float) -> list[Output]:
        timeout_ms = self._idle_timeout_ms()
        if self._idle is None or timeout_ms is None:
            return []
        start = self._idle.look(now, self._buffer.end, timeout_ms)
        if start is None:
            return []
        self._idle = None
        return self._idle_turn(max(start, self._buffer.start), now)

    def _idle_turn(self, start: int, now: float) -> list[Output]:
        """Commit the silence as the user's turn, and have the model answer it (reference §4.12)."""
        item_id, end = self._new_id("item"), self._buffer.end
        note = Message(self._new_id("item"), "system", "completed", (InputText(IDLE_NOTE),))
        audio = InputAudio(None, self._audio(start, end))
        silence = Message(item_id, "user", "completed", (audio,))
        before = self._conversation.append(Entry(note))
        silent_ms = (end - start) / SAMPLES_PER_MS
        self._join(Entry(silence, transcript=Known(""), audio_ms=silent_ms))
        outputs: list[Output] = [
            TimeoutTriggered(samples_to_ms(start), samples_to_ms(end), item_id),
            ItemAdded(before, note),
            ItemDone(before, note),
            InputAudioCommitted(note.id, item_id),
            ItemAdded(note.id, silence),
            ItemDone(note.id, silence),
        ]
        detection = self.settings.audio.input.turn_detection
        if detection is not None and self._answers(detection.create_response):
            outputs += self._create_response(ResponseParams(), None, now, trigger=item_id)
        return outputs + self._transcribed(item_id, "", seconds=0)

    def _drop_segment(self, item_id: str, now: float) -> list[Output]:
        self._held_deltas.pop(item_id, None)
        return [DropSegment(item_id), *self._open_item_audio(now)]

    def _speech_started(self, event: VadSpeechStarted, now: float) -> list[Output]:
        detection = self.settings.audio.input.turn_detection
        stale = event.generation != self._vad_generation
        if stale or detection is None or not isinstance(self._turn, Listening):
            return []
        item_id = self._new_id("item")
        padding = prefix_padding_ms(detection) * SAMPLES_PER_MS
        start = max(event.start_sample - padding, self._buffer.start)
        self._buffer.drop_until(start)
        self._turn = Speaking(item_id, start)
        interrupted: list[Output] = []
        if detection.interrupt_response and self._active is not None:
            interrupted = self._stop(self._active, "turn_detected", now)
        stop = [output for output in interrupted if isinstance(output, StopResponse)]
        closing = [output for output in interrupted if not isinstance(output, StopResponse)]
        return [
            *stop,
            self._open(item_id, self._buffer.read(start, self._buffer.end)),
            SpeechStarted(samples_to_ms(start), item_id),
            *closing,
        ]

    def _speech_stopped(self, event: VadSpeechStopped, now: float) -> list[Output]:
        detection = self.settings.audio.input.turn_detection
        if (
            event.generation != self._vad_generation
            or detection is None
            or not isinstance(self._turn, Speaking)
        ):
            return []
        item_id, start = self._turn.item_id, self._turn.start
        self._turn = Listening()
        heard_to = event.judged_sample
        if heard_to is None:
            heard_to = event.end_sample + silence_window_ms(detection) * SAMPLES_PER_MS
        end = max(min(heard_to, self._buffer.end), start)
        outputs: list[Output] = [SpeechStopped(samples_to_ms(end), item_id)]
        outputs += self._commit_item(item_id, start, end, now)
        if self._answers(detection.create_response):
            outputs += self._create_response(ResponseParams(), None, now, trigger=item_id)
        return outputs + self._release_deltas(item_id)

    def _answers(self, create_response: bool) -> bool:
        """Whether the end of a turn calls for a response."""
        return create_response and self._active is None and self.settings.type == "realtime"

    # --- transcripts ------------------------------------------------------------------------------

    def _transcript_delta(self, event: TranscriptDelta) -> list[Output]:
        if self._is_announced(event.item_id):
            # Not committed yet: some clients know no item before `conversation.item.added`.
            self._held_deltas.setdefault(event.item_id, []).append(event.delta)
            return []
        entry = self._conversation.get(event.item_id)
        if entry is None or not isinstance(entry.transcript, Pending):
            return []
        return self._delta_event(event.item_id, event.delta)

    def _delta_event(self, item_id: str, delta: str) -> list[Output]:
        if self.settings.audio.input.transcription is None:
            return []
        return [TranscriptionDelta(item_id, 0, delta)]

    def _transcript_final(self, event: TranscriptFinal, now: float) -> list[Output]:
        entry = self._conversation.get(event.item_id)
        if entry is None or not isinstance(entry.transcript, Pending):
            return []
        text = event.text.strip()
        entry.transcript = Known(text)
        self._transcribing.pop(event.item_id, None)
        outputs = self._transcribed(event.item_id, text)
        for response in self._waiting_for(event.item_id):
            if not text and response.trigger_item_id == event.item_id:
                # Nothing was said: the turn is answered with silence, not with a guess.
                outputs += response.finish_empty()
            else:
                outputs += self._heard(response, event.item_id, now)
        self._forget_done(now)
        return outputs

    def _transcribed(self, item_id: str, text: str, seconds: int | None = None) -> list[Output]:
        """Show the words of an item to a client that asked for them."""
        entry = self._conversation.get(item_id)
        if self.settings.audio.input.transcription is None or entry is None:
            return []
        index, heard_seconds = items.audio_part(entry.item)
        entry.item = items.with_transcript(entry.item, text)
        billed = heard_seconds if seconds is None else seconds
        return [TranscriptionCompleted(item_id, index, text, billed)]

    def _transcript_overdue(self, item_id: str, now: float) -> list[Output]:
        seconds = round(self._policy.stt_timeout_s)
        failure = Failure(
            Stage.STT,
            ErrorCategory.TIMEOUT,
            f"The speech recogniser did not answer within {seconds} s.",
        )
        return [DropSegment(item_id), *self._transcript_failed(item_id, failure, now)]

    def _transcript_failed(self, item_id: str, failure: Failure, now: float) -> list[Output]:
        entry = self._conversation.get(item_id)
        if entry is None or not isinstance(entry.transcript, Pending):
            return []
        entry.transcript = Unknown()
        self._transcribing.pop(item_id, None)
        self._item_audio.pop(item_id, None)
        outputs: list[Output] = []
        if self.settings.audio.input.transcription is not None:
            index, _ = items.audio_part(entry.item)
            unintelligible = failure.category is ErrorCategory.UNINTELLIGIBLE
            code = "audio_unintelligible" if unintelligible else "server_error"
            outputs.append(TranscriptionFailed(item_id, index, code, failure.message))
        for response in self._waiting_for(item_id):
            outputs += response.failed(failure, now)
        self._forget_done(now)
        return outputs

    def _waiting_for(self, item_id: str) -> list[Response]:
        return [response for response in self._responses() if item_id in response.waiting_for]

    def _heard(self, response: Response, item_id: str, now: float) -> list[Output]:
        """One of the transcripts a response waits for is settled."""
        response.waiting_for.discard(item_id)
        return [] if response.waiting_for else self._start(response, now)

    # --- MCP --------------------------------------------------------------------------------------

    def _mcp_call_finished(self, event: McpCallFinished, now: float) -> list[Output]:
        for response in self._responses():
            if response.holds(event.item_id):
                outputs: list[Output] = [*response.mcp_finished(event.item_id, event.outcome)]
                self._forget_done(now)
                return outputs
        return [*self._mcp.call_finished(event)]

    def _with_mcp(self, outputs: list[Output], now: float) -> list[Output]:
        """What happened, what the MCP client is to do, and the model going on by itself."""
        outputs = [*outputs, *self._mcp.take_commands()]
        if self._active is not None or isinstance(self._turn, Speaking):
            return outputs
        if not self._mcp.take_follow_up():
            return outputs
        # A choice that forced a tool would force one for ever.
        params = self._last_params.model_copy(update={"tool_choice": "auto"})
        return outputs + self._create_response(params, None, now, follows_up=True)

    # --- items ------------------------------------------------------------------------------------

    def _entry(self, item_id: str, verb: str) -> Entry:
        entry = self._conversation.get(item_id)
        if entry is None:
            raise items.unknown_item(item_id, verb)
        return entry

    def _create_item(self, event: ItemCreate, now: float) -> list[Output]:
        items.check_id(event.item)
        item = items.with_ids(event.item, self._new_id)
        if item.id in self._conversation or self._is_announced(item.id):
            raise items.duplicate_item(item.id)
        items.check_call(item, self._conversation)
        if isinstance(item, McpApprovalResponse):
            self._mcp.servers.check_approval(item)
        entry = items.new_entry(item)
        match event.previous_item_id:
            case None | "":
                previous = self._conversation.append(entry)
            case "root":
                previous = self._conversation.insert(entry, None)
            case str() as after:
                if after not in self._conversation:
                    raise items.unknown_previous(after)
                previous = self._conversation.insert(entry, after)
        self._conversation.drop_audio_beyond(self._policy.item_audio_limit_bytes)
        outputs: list[Output] = [ItemAdded(previous, item), ItemDone(previous, item)]
        if isinstance(item, McpApprovalResponse):
            outputs += self._mcp.decided(item)
        if isinstance(entry.transcript, Pending):
            # The deadline counts from here: a user who never ends a turn must hold up no response.
            self._item_audio[item.id] = items.audio_of(item)
            self._transcribing[item.id] = now + self._policy.stt_timeout_s
            outputs += self._open_item_audio(now)
        return outputs

    def _is_announced(self, item_id: str) -> bool:
        """Whether the id belongs to the user's item that is still being spoken."""
        return isinstance(self._turn, Manual | Speaking) and self._turn.item_id == item_id

    def _open_item_audio(self, now: float) -> list[Output]:
        """Have the audio of created items recognised, when nobody is speaking."""
        if self._turn not in (Listening(), Manual(None)):
            return []
        outputs: list[Output] = []
        for item_id, audio in self._item_audio.items():
            self._transcribing[item_id] = now + self._policy.stt_timeout_s
            outputs += [self._open(item_id, audio), CloseSegment(item_id)]
        self._item_audio.clear()
        return outputs

    def _delete_item(self, event: ItemDelete, now: float) -> list[Output]:
        entry = self._entry(event.item_id, "delete")
        outputs: list[Output] = []
        if self._active is not None and self._active.holds(event.item_id):
            outputs += self._stop(self._active, "client_cancelled", now)
        outputs += self._mcp.deleting(event.item_id)
        self._conversation.remove(event.item_id)
        if isinstance(entry.transcript, Pending):
            self._transcribing.pop(event.item_id, None)
            self._item_audio.pop(event.item_id, None)
            outputs.append(DropSegment(event.item_id))
            for response in self._waiting_for(event.item_id):
                outputs += self._heard(response, event.item_id, now)
        return [*outputs, ItemDeleted(event.item_id)]

    def _truncate(self, event: ItemTruncate) -> list[Output]:
        entry = self._entry(event.item_id, "truncate")
        end_ms = items.truncate(entry, event.content_index, event.audio_end_ms)
        return [ItemTruncated(event.item_id, event.content_index, end_ms)]

    # --- responses --------------------------------------------------------------------------------

    def _responses(self) -> list[Response]:
        active = [] if self._active is None else [self._active]
        return active + list(self._out_of_band.values())

    def _response(self, response_id: str) -> Response | None:
        if self._active is not None and self._active.id == response_id:
            return self._active
        return self._out_of_band.get(response_id)

    def _forget_done(self, now: float) -> None:
        if self._active is not None and self._active.done:
            self._idle = IdleWatch(self._active.silent_from(now))
            self._active = None
        for response in [r for r in self._out_of_band.values() if r.done]:
            del self._out_of_band[response.id]

    def _lead_ms(self) -> float | None:
        """Output is paced only while turn detection may interrupt it."""
        detection = self.settings.audio.input.turn_detection
        if detection is None or not detection.interrupt_response:
            return None
        return self._policy.output_lead_ms

    def _create_response(
        self,
        params: ResponseParams,
        event: ResponseCreate | None,
        now: float,
        trigger: str | None = None,
        follows_up: bool = False,
    ) -> list[Output]:
        if self.settings.type == "transcription":
            raise requests.not_in_transcription()
        out_of_band = params.conversation == "none"
        if self._active is not None and not out_of_band:
            raise requests.already_active(self._active.id)
        if len(self._out_of_band) >= self._policy.max_parallel_responses and out_of_band:
            raise requests.too_many(self._policy.max_parallel_responses)
        self._mcp.check(params.tools, "response.tools")
        plan = requests.plan(
            params,
            None if event is None else event.input,
            self.settings,
            self._conversation,
            self._policy.max_output_tokens,
            self._mcp.servers.known,
            self._policy.context_tokens,
        )
        response = Response(
            plan.view(self._new_id("resp"), None if out_of_band else self._conversation.id),
            prepare=plan.prepare,
            mcp=plan.mcp,
            mcp_servers=self._mcp.servers,
            waiting_for=plan.waiting_for,
            conversation=None if out_of_band else self._conversation,
            new_id=self._new_id,
            lead_ms=None if out_of_band else self._lead_ms(),
            trigger_item_id=trigger,
        )
        if out_of_band:
            self._out_of_band[response.id] = response
        else:
            self._active = response
            self._idle = None
            self._last_params = params
            if not follows_up:
                self._mcp.asked()
        outputs: list[Output] = [response.created()]
        if not response.waiting_for:
            outputs += self._start(response, now)
        return [*outputs, *self._mcp.import_tools(params.tools or ())]

    def _start(self, response: Response, now: float) -> list[Output]:
        request = response.start(now)
        if isinstance(request, Failure):
            outputs: list[Output] = [*response.failed(request, now)]
            self._forget_done(now)
            return outputs
        return [StartResponse(response.id, response.out_of_band, request)]

    def _cancel_response(self, event: ResponseCancel, now: float) -> list[Output]:
        if event.response_id is None:
            response = self._active
        else:
            response = self._response(event.response_id)
        if response is None:
            raise requests.nothing_to_cancel()
        return self._stop(response, "client_cancelled", now)

    def _stop(self, response: Response, reason: CancelReason, now: float) -> list[Output]:
        """Cancel a response: the engine hears of it before the client does."""
        outputs: list[Output] = [StopResponse(response.id)] if response.started else []
        outputs += response.cancel(reason, now)
        self._forget_done(now)
        return outputs

    def _generated(self, event: Generated, now: float) -> list[Output]:
        response = self._response(event.response_id)
        if response is None:
            return []
        outputs: list[Output] = [*response.generated(event, now)]
        self._forget_done(now)
        return outputs

    def _generation_over(
        self, event: GenerationEnded | GenerationFailed, now: float
    ) -> list[Output]:
        response = self._response(event.response_id)
        if response is None:
            return []
        outputs: list[Output] = []
        if isinstance(event, GenerationFailed):
            outputs += response.failed(event.failure, now)
        else:
            outputs += response.ended(now)
        self._forget_done(now)
        return outputs
