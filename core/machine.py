"""The realtime session as a state machine: every event in, one ordered list of outputs out.

This module dispatches and joins the two sides: what the end of a turn, a transcript or an item
means for responses. The rules of each are in `user_side`, `response`, `conversation`,
`session_settings`, `context` and `mcp`. The invariants I1 to I14 of the architecture page are its
contract.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from core import items, requests
from core.context import Prepared
from core.conversation import Conversation, Entry, Pending
from core.legacy import with_legacy_events
from core.mcp import Mcp
from core.mcp_policy import without_mcp
from core.messages import (
    CloseConnection,
    Command,
    DropSegment,
    EngineEvent,
    Failure,
    GenerationEnded,
    GenerationFailed,
    McpCallFinished,
    McpToolsFailed,
    McpToolsListed,
    ModelFinished,
    ModelText,
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
    TranscriptTentative,
    VadPaused,
    VadResumed,
    VadSpeechStarted,
    VadSpeechStopped,
)
from core.playback import LEAD_MS, Playback
from core.policy import Policy
from core.rate_limits import Allowance, Limiter, with_levels
from core.response import Made, Response
from core.session_settings import check_kind, check_language, check_voice, merge_session
from core.speculation import DraftTally, Speculation
from core.user_side import UserSide
from core.validation import unsupported_value
from protocol import (
    CLIENT_EVENT_TYPES,
    PLAYBACK_CLEAR,
    CancelReason,
    ClientEvent,
    ErrorCategory,
    ErrorCode,
    ErrorEvent,
    InputAudioAppend,
    InputAudioClear,
    InputAudioCommit,
    InvalidRequest,
    Item,
    ItemAdded,
    ItemCreate,
    ItemDelete,
    ItemDeleted,
    ItemDone,
    ItemReference,
    ItemRetrieve,
    ItemRetrieved,
    ItemTruncate,
    ItemTruncated,
    McpApprovalResponse,
    OutputAudioClear,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
    ServerEvent,
    Session,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    SessionView,
    Stage,
    error_event,
)

Output = ServerEvent | Command


class Machine:
    """One session.

    Args:
        session: Id, expiry and first settings.
        conversation_id: Id of the default conversation.
        policy: The operator's limits.
        new_id: Makes a unique id from a prefix.
        limiter: The limits of its client's key, None for none.
    """

    def __init__(
        self,
        session: SessionView,
        *,
        conversation_id: str,
        policy: Policy,
        new_id: Callable[[str], str],
        limiter: Limiter | None = None,
    ) -> None:
        self._session = session
        self._defaults = session.settings
        self._policy = policy
        self._new_id = new_id
        self._conversation = Conversation(conversation_id)
        self._mcp = Mcp(self._conversation, policy.mcp, new_id)
        self._user = UserSide(self._conversation, policy, new_id, lambda: self.settings)
        self._speculation = Speculation(self._user, self._prepare_ahead, new_id)
        self._limiter = limiter or Allowance(None, None)
        self._playback = Playback(self._conversation) if policy.playback == "server" else None
        self._active: Response | None = None
        self._last_params = ResponseParams()
        """Of the newest response of the default conversation."""
        self._out_of_band: dict[str, Response] = {}
        self._closed = False

    @property
    def settings(self) -> Session:
        """The settings in force."""
        return self._session.settings

    @property
    def appended_samples(self) -> int:
        """How much audio (24 kHz) the client has appended so far."""
        return self._user.appended_samples

    @property
    def drafts(self) -> DraftTally:
        """What became of the replies that were begun ahead of time."""
        return self._speculation.tally

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
        outputs += self._user.start()
        outputs += self._mcp.import_tools(self.settings.tools)
        return self._with_legacy([*outputs, *self._mcp.take_commands()])

    def handle(self, event: ClientEvent | EngineEvent, now: float) -> list[Output]:
        """Take one event at `now` (seconds of a monotonic clock)."""
        if self._closed:
            return []
        try:
            outputs = self._with_mcp(self._dispatch(event, now), now)
        except InvalidRequest as refusal:
            return [error_event(refusal, getattr(event, "event_id", None))]
        changed = isinstance(event, ClientEvent) and not isinstance(event, InputAudioAppend)
        return self._told([*self._give_up_draft(changed), *outputs], now)

    def next_deadline(self, now: float) -> float | None:
        """When `handle_timer` wants to be called next."""
        if self._closed:
            return None
        moments = [self._policy.expires_at_s, self._user.deadline()]
        if self._playback is not None:
            moments.append(self._playback.deadline())
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
        for item_id, failure in self._user.overdue(now):
            outputs.append(DropSegment(item_id))
            outputs += self._transcript_failed(item_id, failure, now)
        for response in self._responses():
            waited = response.pacer.queued_ms > 0
            outputs += response.release(now)
            if waited:
                # The engine was told to wait for the pace: that is no stall of its own.
                response.progress_s = now
            elif response.generating:
                outputs += self._check_stall(response, now)
        self._forget_done(now)
        outputs = self._with_mcp(outputs + self._check_idle(now), now)
        return self._told([*self._give_up_draft(), *outputs], now)

    def _told(self, outputs: list[Output], now: float) -> list[Output]:
        """What happened, with the events that only some operators want told."""
        if self._playback is not None:
            outputs = self._playback.follow(outputs, now)
        return self._with_legacy(with_levels(outputs, self._limiter, now))

    def _with_legacy(self, outputs: list[Output]) -> list[Output]:
        if not self._policy.legacy_events:
            return outputs
        return with_legacy_events(outputs, self._conversation.id)

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
        return [StopResponse(response.run_id), *response.failed(failure, now)]

    def require_room(self, append: InputAudioAppend) -> list[Output]:
        """What is wrong with an append that will come in pieces: all of it is taken, or none."""
        try:
            self._user.require_room(len(append.audio))
        except InvalidRequest as refusal:
            return [error_event(refusal, append.event_id)]
        return []

    def backlog_ms(self) -> float:
        """Audio made and not yet let go: past a few seconds the engine should wait."""
        queued = (response.pacer.queued_ms for response in self._responses())
        return max(self._speculation.held_ms, *queued, 0.0)

    def close(self, now: float) -> None:
        """Nothing comes out any more; what broke off has been paid for nevertheless."""
        self._closed = True
        for response in self._responses():
            usage = response.counted()
            self._limiter.spend(usage.input_tokens + usage.output_tokens, now)
        self._active = None
        self._out_of_band.clear()
        # The two that ask back here: without them it is freed at once and not by the collector.
        self._user.close()
        self._speculation.close()

    def _dispatch(self, event: ClientEvent | EngineEvent, now: float) -> list[Output]:
        match event:
            case InputAudioAppend():
                return self._user.append(event.audio)
            case SpeechAudio() | SpeechText() | SpeechWords() | ModelText() | ModelFinished():
                return self._made(event, now)
            case ToolCallStarted() | ToolCallArguments() | ToolCallEnded():
                return self._made(event, now)
            case GenerationEnded() | GenerationFailed():
                return self._made(event, now)
            case VadSpeechStarted():
                return self._speech_started(event, now)
            case VadSpeechStopped():
                return self._speech_stopped(event, now)
            case VadPaused():
                return self._user.paused(event) if self._answers_turns() else []
            case VadResumed():
                return self._user.resumed(event)
            case TranscriptTentative():
                return [*self._speculation.heard(event)] if self._limiter.is_open(now) else []
            case TranscriptDelta() | TranscriptFinal() | TranscriptFailed():
                return [] if self._user.is_stale(event) else self._recognised(event, now)
            case McpToolsListed():
                return [*self._mcp.listed(event)]
            case McpToolsFailed():
                return [*self._mcp.list_failed(event)]
            case McpCallFinished():
                return self._mcp_call_finished(event, now)
            case SessionUpdate():
                return self._update_session(event, now)
            case InputAudioCommit():
                return self._user.commit(now)
            case InputAudioClear():
                return self._user.clear(now)
            case OutputAudioClear():
                return self._clear_playback(now)
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
        self._session = replace(self._session, settings=settings)
        outputs = self._user.follow_settings(before, now)
        if self._active is not None:
            self._active.pacer.lead_ms = self._lead_ms()
        outputs.append(SessionUpdated(self._session))
        if "tools" in event.session:
            outputs += self._mcp.change_tools(tools_before, settings.tools)
        return outputs

    def _expire(self) -> list[Output]:
        self._closed = True
        minutes = round(self._policy.max_session_s / 60)
        message = f"Your session hit the maximum duration of {minutes} minutes."
        return [
            ErrorEvent("invalid_request_error", ErrorCode.SESSION_EXPIRED, message),
            CloseConnection(1001, message),
        ]

    # --- turns ------------------------------------------------------------------------------------

    def _speech_started(self, event: VadSpeechStarted, now: float) -> list[Output]:
        began = self._user.speech_started(event)
        detection = self.settings.audio.input.turn_detection
        if not began or detection is None:
            return []
        interrupted: list[Output] = []
        if detection.interrupt_response:
            if self._active is not None:
                interrupted = self._stop(self._active, "turn_detected", now)
            interrupted += self._interrupt_playback(now)
        # Barge-in: the engine is stopped before anybody is told anything.
        stop = [output for output in interrupted if isinstance(output, StopResponse)]
        closing = [output for output in interrupted if not isinstance(output, StopResponse)]
        return [*stop, *began, *closing]

    def _speech_stopped(self, event: VadSpeechStopped, now: float) -> list[Output]:
        ended = self._user.speech_stopped(event, now)
        if ended is None:
            return []
        item_id, outputs = ended
        return [*outputs, *self._answer(item_id, now), *self._user.release_deltas(item_id)]

    def _check_idle(self, now: float) -> list[Output]:
        ended = self._user.commit_silence(now)
        if ended is None:
            return []
        item_id, outputs = ended
        return [*outputs, *self._answer(item_id, now), *self._user.show_silence(item_id)]

    def _answer(self, item_id: str, now: float) -> list[Output]:
        """Respond to the end of a turn, if the session does that."""
        if not self._answers_turns():
            return []
        return self._create_response(ResponseParams(), None, now, trigger=item_id)

    def _answers_turns(self) -> bool:
        """Whether a turn that ended now would get a response."""
        detection = self.settings.audio.input.turn_detection
        wanted = detection is not None and detection.create_response
        return wanted and self._active is None and self.settings.type != "transcription"

    def _prepare_ahead(self, turn: Entry) -> Prepared | None:
        """What a response would be made from if this were the user's turn."""
        if not self._answers_turns():
            return None
        plan = self._plan(ResponseParams(), None, supposed=turn)
        prepared = None if plan.waiting_for else plan.prepare()
        return prepared if isinstance(prepared, Prepared) else None

    def _give_up_draft(self, changed: bool = False) -> list[StopResponse]:
        waiting = self._active is not None and not self._active.started
        answering = self._active.trigger_item_id if self._active and waiting else None
        return self._speculation.give_up(answering, changed)

    # --- transcripts ------------------------------------------------------------------------------

    def _recognised(
        self, event: TranscriptDelta | TranscriptFinal | TranscriptFailed, now: float
    ) -> list[Output]:
        match event:
            case TranscriptDelta():
                return self._user.words(event, now)
            case TranscriptFinal():
                return self._transcript_final(event, now)
            case TranscriptFailed():
                return self._transcript_failed(event.item_id, event.failure, now)
            case _:
                assert_never(event)

    def _transcript_final(self, event: TranscriptFinal, now: float) -> list[Output]:
        text = event.text.strip()
        outputs = self._user.understood(replace(event, text=text), now)
        if outputs is None:
            return []
        for response in self._waiting_for(event.item_id):
            if not text and response.trigger_item_id == event.item_id:
                # Nothing was said: the turn is answered with silence, not with a guess.
                outputs += response.finish_empty()
            else:
                outputs += self._heard(response, event.item_id, now)
        self._forget_done(now)
        return outputs

    def _transcript_failed(self, item_id: str, failure: Failure, now: float) -> list[Output]:
        outputs = self._user.not_understood(item_id, failure, now)
        if outputs is None:
            return []
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
        if self._active is not None or self._user.speaking:
            return outputs
        if not self._mcp.take_follow_up():
            return outputs
        # A choice that forced a tool would force one for ever.
        params = self._last_params.model_copy(update={"tool_choice": "auto"})
        return outputs + self._create_response(params, None, now, follows_up=True)

    # --- playback ---------------------------------------------------------------------------------

    def _interrupt_playback(self, now: float) -> list[Output]:
        """The user speaks: of the conversation nothing more is to sound."""
        if self._playback is None:
            return []
        return self._playback.clear(t for t in self._playback.sounding(now) if not t.aside)

    def _clear_playback(self, now: float) -> list[Output]:
        if self._playback is None:
            raise unsupported_value(PLAYBACK_CLEAR, CLIENT_EVENT_TYPES, "type")
        tracks = self._playback.sounding(now)
        if not tracks:
            return self._playback.clear_nothing()
        outputs: list[Output] = []
        for track in tracks:
            # What goes on being made would begin to sound again.
            for response in self._responses():
                if response.id == track.response_id:
                    outputs += self._stop(response, "client_cancelled", now)
        return outputs + self._playback.clear(tracks)

    # --- items ------------------------------------------------------------------------------------

    def _entry(self, item_id: str, verb: str) -> Entry:
        entry = self._conversation.get(item_id)
        if entry is None:
            raise items.unknown_item(item_id, verb)
        return entry

    def _create_item(self, event: ItemCreate, now: float) -> list[Output]:
        items.check_id(event.item)
        item = items.with_ids(event.item, self._new_id)
        if item.id in self._conversation or self._user.is_announced(item.id):
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
            outputs += self._user.recognise(item, now)
        return outputs

    def _delete_item(self, event: ItemDelete, now: float) -> list[Output]:
        entry = self._entry(event.item_id, "delete")
        outputs: list[Output] = []
        if self._active is not None and self._active.holds(event.item_id):
            outputs += self._stop(self._active, "client_cancelled", now)
        outputs += self._mcp.deleting(event.item_id)
        self._conversation.remove(event.item_id)
        if isinstance(entry.transcript, Pending):
            outputs += self._user.forget(event.item_id)
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

    def _forget_done(self, now: float) -> None:
        if self._active is not None and self._active.done:
            self._user.expect_speech(self._active.silent_from(now))
            self._active = None
        for response in [r for r in self._out_of_band.values() if r.done]:
            del self._out_of_band[response.id]

    def _lead_ms(self) -> float | None:
        """Output is paced while turn detection may interrupt it, or the client plays as it comes.

        In the second case all of it is, so that there is always a clock to keep.
        """
        if self._playback is not None:
            return min(self._policy.output_lead_ms or LEAD_MS, LEAD_MS)
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
        plan = self._plan(params, None if event is None else event.input)
        response_id = self._speculation.run_id(trigger) or self._new_id("resp")
        response = Response(
            plan.view(response_id, None if out_of_band else self._conversation.id),
            prepare=plan.prepare,
            mcp=plan.mcp,
            mcp_servers=self._mcp.servers,
            waiting_for=plan.waiting_for,
            conversation=None if out_of_band else self._conversation,
            new_id=self._new_id,
            lead_ms=None if out_of_band and self._playback is None else self._lead_ms(),
            keeps_pace=self._playback is not None,
            trigger_item_id=trigger,
        )
        if self._playback is not None:
            response.pacer.wait_for(self._playback.until_s)
        if out_of_band:
            self._out_of_band[response.id] = response
        else:
            self._active = response
            self._user.expect_nothing()
            self._last_params = params
            if not follows_up:
                self._mcp.asked()
        outputs: list[Output] = [response.created()]
        refusal = self._limiter.admit(self.settings.model, now)
        if refusal is not None:
            outputs += response.failed(refusal, now)
            self._forget_done(now)
            return outputs
        if not response.waiting_for:
            outputs += self._start(response, now)
        return [*outputs, *self._mcp.import_tools(params.tools or ())]

    def _plan(
        self,
        params: ResponseParams,
        given: tuple[Item | ItemReference, ...] | None,
        supposed: Entry | None = None,
    ) -> requests.Plan:
        return requests.plan(
            params,
            given,
            self.settings,
            self._conversation,
            self._policy.max_output_tokens,
            self._mcp.servers.known,
            self._policy.context_tokens,
            supposed,
        )

    def _start(self, response: Response, now: float) -> list[Output]:
        request = response.start(now)
        if isinstance(request, Failure):
            outputs: list[Output] = [*response.failed(request, now)]
            self._forget_done(now)
            return outputs
        draft = self._speculation.take(response.trigger_item_id, request)
        if draft is None:
            if self._speculation.run_id(response.trigger_item_id) is not None:
                # What the engine still says under the old name is not of this request.
                response.run_id = self._new_id("resp")
            return [StartResponse(response.run_id, response.out_of_band, request)]
        return [output for made in draft.held for output in self._made(made, now)]

    def _cancel_response(self, event: ResponseCancel, now: float) -> list[Output]:
        named = event.response_id
        by_id = {response.id: response for response in self._responses()}
        response = self._active if named is None else by_id.get(named)
        if response is None:
            raise requests.nothing_to_cancel()
        return self._stop(response, "client_cancelled", now)

    def _stop(self, response: Response, reason: CancelReason, now: float) -> list[Output]:
        """Cancel a response: the engine hears of it before the client does."""
        outputs: list[Output] = [StopResponse(response.run_id)] if response.started else []
        outputs += response.cancel(reason, now)
        self._forget_done(now)
        return outputs

    def _made(self, event: Made, now: float) -> list[Output]:
        """Give what the engine made to the response it was made for."""
        for response in self._responses():
            if response.started and response.run_id == event.response_id:
                outputs: list[Output] = [*response.take(event, now)]
                self._forget_done(now)
                return outputs
        self._speculation.hold(event)
        return []
