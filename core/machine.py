"""The realtime session as a state machine: every event in, one ordered list of outputs out.

This module dispatches and joins the two sides: what the end of a turn or a transcript means for
responses. The rules of each are in `user_side` and `transcripts`, `responses` and `response`,
`item_edits`, `session_settings` and `mcp`. The invariants I1 to I14 of the architecture page are
its contract.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from core.conversation import Conversation
from core.item_edits import ItemEdits
from core.legacy import with_legacy_events
from core.mcp import Mcp
from core.mcp_policy import without_mcp
from core.messages import (
    CloseConnection,
    DropSegment,
    EngineEvent,
    Failure,
    McpCallFinished,
    McpToolsFailed,
    McpToolsListed,
    Output,
    StopResponse,
    TranscriptDelta,
    TranscriptFailed,
    TranscriptFinal,
    TranscriptTentative,
    VadPaused,
    VadResumed,
    VadSpeechStarted,
    VadSpeechStopped,
)
from core.playback import Playback
from core.policy import Policy
from core.rate_limits import Allowance, Limiter, with_levels
from core.responses import Responses
from core.session_settings import (
    InForce,
    check_kind,
    check_language,
    check_voice,
    merge_session,
)
from core.speculation import DraftTally
from core.transcripts import Transcripts
from core.user_side import UserSide
from core.validation import unsupported_value
from protocol import (
    CLIENT_EVENT_TYPES,
    PLAYBACK_CLEAR,
    ClientEvent,
    ErrorCode,
    ErrorEvent,
    InputAudioAppend,
    InputAudioClear,
    InputAudioCommit,
    InvalidRequest,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputAudioClear,
    ResponseCancel,
    ResponseCreate,
    Session,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    SessionView,
    error_event,
)


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
        self._session = InForce(session)
        self._defaults = session.settings
        self._policy = policy
        self._conversation = Conversation(conversation_id)
        self._limiter = limiter or Allowance(None, None)
        self._playback = Playback(self._conversation) if policy.playback == "server" else None
        self._mcp = Mcp(self._conversation, policy.mcp, new_id)
        self._transcripts = Transcripts(self._conversation, policy, new_id, self._session)
        self._user = UserSide(self._conversation, self._transcripts, policy, new_id, self._session)
        self._responses = Responses(
            conversation=self._conversation,
            user=self._user,
            mcp=self._mcp,
            limiter=self._limiter,
            playback=self._playback,
            policy=policy,
            new_id=new_id,
            session=self._session,
        )
        self._items = ItemEdits(
            self._conversation,
            self._transcripts,
            self._responses,
            self._mcp,
            policy.item_audio_limit_bytes,
            new_id,
        )
        self._closed = False

    # --- what can be seen of it -------------------------------------------------------------------

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
        return self._responses.drafts

    def is_making(self, run_id: str) -> bool:
        """Whether a response is made of what the engine makes under this name; a draft is none."""
        return self._responses.live.of_run(run_id) is not None

    def backlog_ms(self) -> float:
        """Audio made and not yet let go: past a few seconds the engine should wait."""
        return self._responses.backlog_ms()

    # --- the three ways in ------------------------------------------------------------------------

    def start(self) -> list[Output]:
        """What a new session says and does first."""
        session, refusals = self._session.view, list[Output]()
        try:
            self._mcp.check(self.settings.tools, "session.tools")
        except InvalidRequest as refusal:
            # An ephemeral key outlives the rules it was minted under.
            self._session.view = replace(session, settings=without_mcp(session.settings))
            refusals.append(error_event(refusal))
        outputs: list[Output] = [SessionCreated(self._session.view), *refusals]
        outputs += self._user.start()
        outputs += self._mcp.import_tools(self.settings.tools)
        return self._with_legacy([*outputs, *self._mcp.take_commands()])

    def handle(self, event: ClientEvent | EngineEvent, now: float) -> list[Output]:
        """Take one event at `now` (seconds of a monotonic clock)."""
        if self._closed:
            return []
        try:
            outputs = self._dispatch(event, now)
            if isinstance(event, InputAudioAppend):
                # Fifty a second: nothing that is looked at below follows from one.
                return outputs
            outputs = self._go_on(outputs, now)
        except InvalidRequest as refusal:
            return [error_event(refusal, getattr(event, "event_id", None))]
        return self._told(outputs, now, changed=isinstance(event, ClientEvent))

    def require_room(self, append: InputAudioAppend) -> list[Output]:
        """What is wrong with an append that will come in pieces: all of it is taken, or none."""
        try:
            self._user.require_room(len(append.audio))
        except InvalidRequest as refusal:
            return [error_event(refusal, append.event_id)]
        return []

    def next_deadline(self, now: float) -> float | None:
        """When `handle_timer` wants to be called next."""
        if self._closed:
            return None
        soonest = min(
            self._policy.expires_at_s,
            self._transcripts.deadline(),
            self._user.deadline(),
            self._responses.live.deadline(now),
            math.inf if self._playback is None else self._playback.deadline(),
        )
        return None if soonest == math.inf else soonest

    def handle_timer(self, now: float) -> list[Output]:
        """Do what time alone causes: paced output, transcripts overdue, the end of the session."""
        if self._closed:
            return []
        if now >= self._policy.expires_at_s:
            return self._expire()
        outputs: list[Output] = []
        for item_id, failure in self._transcripts.overdue(now):
            outputs.append(DropSegment(item_id))
            outputs += self._not_understood(item_id, failure, now)
        outputs += self._responses.live.tick(now)
        outputs += self._check_idle(now)
        return self._told(self._go_on(outputs, now), now, changed=False)

    def close(self, now: float) -> None:
        """Nothing comes out any more."""
        self._closed = True
        self._responses.close(now)

    def _go_on(self, outputs: list[Output], now: float) -> list[Output]:
        """What happened, what the MCP client is to do, and the model going on by itself."""
        outputs = [*outputs, *self._mcp.take_commands()]
        return outputs if self._user.speaking else outputs + self._responses.go_on(now)

    def _told(self, outputs: list[Output], now: float, *, changed: bool) -> list[Output]:
        """What happened, with the events that only some operators want told.

        Args:
            outputs: What happened.
            now: The present moment.
            changed: Whether conversation or settings may have changed, and a draft fit no more.
        """
        outputs = [*self._responses.give_up_draft(changed=changed), *outputs]
        if self._playback is not None:
            outputs = self._playback.follow(outputs, now)
        return self._with_legacy(with_levels(outputs, self._limiter, now))

    def _with_legacy(self, outputs: list[Output]) -> list[Output]:
        if not self._policy.legacy_events:
            return outputs
        return with_legacy_events(outputs, self._conversation.id)

    def _dispatch(self, event: ClientEvent | EngineEvent, now: float) -> list[Output]:
        match event:
            case InputAudioAppend():
                return self._user.append(event.audio)
            case VadSpeechStarted():
                return self._speech_started(event, now)
            case VadSpeechStopped():
                return self._speech_stopped(event, now)
            case VadPaused():
                return self._responses.paused(event)
            case VadResumed():
                return self._user.resumed(event)
            case TranscriptTentative():
                return self._responses.heard_so_far(event, now)
            case TranscriptDelta() | TranscriptFinal() | TranscriptFailed():
                return [] if self._transcripts.is_stale(event) else self._recognised(event, now)
            case McpToolsListed():
                return [*self._mcp.listed(event)]
            case McpToolsFailed():
                return [*self._mcp.list_failed(event)]
            case McpCallFinished():
                return self._responses.tool_finished(event, now)
            case SessionUpdate():
                return self._update_session(event, now)
            case InputAudioCommit():
                return self._user.commit(now)
            case InputAudioClear():
                return self._user.clear(now)
            case OutputAudioClear():
                return self._clear_playback(now)
            case ItemCreate():
                return self._items.create(event, now)
            case ItemRetrieve():
                return self._items.retrieve(event)
            case ItemDelete():
                return self._items.delete(event, now)
            case ItemTruncate():
                return self._items.truncate(event)
            case ResponseCreate():
                return self._responses.create(event, now)
            case ResponseCancel():
                return self._responses.cancel(event, now)
            case _:
                return self._responses.take(event, now)

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
        self._session.view = replace(self._session.view, settings=settings)
        outputs = self._user.follow_settings(before, now)
        self._responses.follow_settings()
        outputs.append(SessionUpdated(self._session.view))
        if "tools" in event.session:
            outputs += self._mcp.change_tools(tools_before, settings.tools)
        return outputs

    def _expire(self) -> list[Output]:
        self._closed = True
        minutes, seconds = divmod(round(self._policy.max_session_s), 60)
        length = f"{minutes * 60 + seconds} seconds" if seconds else f"{minutes} minutes"
        message = f"Your session hit the maximum duration of {length}."
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
            active = self._responses.live.active
            if active is not None:
                interrupted = self._responses.stop(active, "turn_detected", now)
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
        reply = self._responses.answer(item_id, now)
        return [*outputs, *reply, *self._transcripts.release_deltas(item_id)]

    def _check_idle(self, now: float) -> list[Output]:
        ended = self._user.commit_silence(now)
        if ended is None:
            return []
        item_id, outputs = ended
        reply = self._responses.answer(item_id, now)
        return [*outputs, *reply, *self._user.show_silence(item_id)]

    # --- transcripts ------------------------------------------------------------------------------

    def _recognised(
        self, event: TranscriptDelta | TranscriptFinal | TranscriptFailed, now: float
    ) -> list[Output]:
        match event:
            case TranscriptDelta():
                return self._transcripts.words(event, now)
            case TranscriptFinal():
                return self._understood(replace(event, text=event.text.strip()), now)
            case TranscriptFailed():
                return self._not_understood(event.item_id, event.failure, now)
            case _:
                assert_never(event)

    def _understood(self, event: TranscriptFinal, now: float) -> list[Output]:
        told = self._transcripts.understood(event, now)
        if told is None:
            return []
        return told + self._responses.understood(event.item_id, event.text, now)

    def _not_understood(self, item_id: str, failure: Failure, now: float) -> list[Output]:
        told = self._transcripts.not_understood(item_id, failure, now)
        if told is None:
            return []
        return told + self._responses.not_understood(item_id, failure, now)

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
            response = self._responses.live.get(track.response_id)
            if response is not None:
                outputs += self._responses.stop(response, "client_cancelled", now)
        return outputs + self._playback.clear(tracks)
