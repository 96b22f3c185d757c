"""When a response is created, begun and stopped, and what it is given to say.

Who may have one, what it is made from, and the draft that it may take over come together here.
"""

from __future__ import annotations

from collections.abc import Callable

from core import requests
from core.context import Prepared
from core.conversation import Conversation, Entry
from core.live_responses import LiveResponses
from core.mcp import Mcp
from core.messages import (
    Failure,
    Made,
    McpCallFinished,
    Output,
    StartResponse,
    StopResponse,
    TranscriptTentative,
    VadPaused,
)
from core.playback import LEAD_MS, Playback
from core.policy import Policy
from core.rate_limits import Limiter
from core.response import Response
from core.session_settings import InForce
from core.speculation import DraftTally, Speculation
from core.user_side import UserSide
from protocol import (
    CancelReason,
    Item,
    ItemReference,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
)


class Responses:
    """The model's side of a session.

    Args:
        conversation: The default conversation.
        user: Says what the turn under way would become.
        mcp: Knows the tools of MCP servers, and runs them.
        limiter: The limits of the client's key.
        playback: What the client plays, where the server keeps the time.
        policy: The operator's limits.
        new_id: Makes a unique id from a prefix.
        session: The settings in force.
    """

    def __init__(
        self,
        *,
        conversation: Conversation,
        user: UserSide,
        mcp: Mcp,
        limiter: Limiter,
        playback: Playback | None,
        policy: Policy,
        new_id: Callable[[str], str],
        session: InForce,
    ) -> None:
        self.live = LiveResponses(user, policy.generation_timeout_s)
        self._conversation = conversation
        self._user = user
        self._mcp = mcp
        self._limiter = limiter
        self._playback = playback
        self._policy = policy
        self._new_id = new_id
        self._session = session
        self._speculation = Speculation(user, new_id)
        self._last_params = ResponseParams()
        """Of the newest response of the default conversation."""

    @property
    def drafts(self) -> DraftTally:
        """What became of the replies that were begun ahead of time."""
        return self._speculation.tally

    def backlog_ms(self) -> float:
        """Audio made and not yet let go."""
        return max(self._speculation.held_ms, self.live.queued_ms())

    def close(self, now: float) -> None:
        """Nothing comes of them any more; what broke off has been paid for nevertheless."""
        for response in self.live:
            usage = response.counted()
            self._limiter.spend(usage.input_tokens + usage.output_tokens, now)
        self.live.clear()

    # --- creating ---------------------------------------------------------------------------------

    def create(self, event: ResponseCreate, now: float) -> list[Output]:
        """`response.create`.

        Raises:
            InvalidRequest: it may not be had, or asks for what is not there.
        """
        return self._create(event.params, event.input, now)

    def answer(self, item_id: str, now: float) -> list[Output]:
        """Respond to the end of a turn, if the session does that."""
        if not self._answers_turns():
            return []
        return self._create(ResponseParams(), None, now, trigger=item_id)

    def go_on(self, now: float) -> list[Output]:
        """Respond to what tools have answered, if the model may by itself."""
        if self.live.active is not None or not self._mcp.take_follow_up():
            return []
        # A choice that forced a tool would force one for ever.
        params = self._last_params.model_copy(update={"tool_choice": "auto"})
        return self._create(params, None, now, follows_up=True)

    def _create(
        self,
        params: ResponseParams,
        given: tuple[Item | ItemReference, ...] | None,
        now: float,
        *,
        trigger: str | None = None,
        follows_up: bool = False,
    ) -> list[Output]:
        out_of_band = params.conversation == "none"
        self._require_room(out_of_band)
        self._mcp.check(params.tools, "response.tools")
        response = self._new_response(params, given, trigger)
        self.live.add(response)
        if not out_of_band:
            self._last_params = params
            if not follows_up:
                self._mcp.asked()
        outputs: list[Output] = [response.created()]
        refusal = self._limiter.admit(self._session.settings.model, now)
        if refusal is not None:
            outputs += response.failed(refusal, now)
            self.live.forget_done(now)
            return outputs
        if not response.waiting_for:
            outputs += self._start(response, now)
        return [*outputs, *self._mcp.import_tools(params.tools or ())]

    def _require_room(self, out_of_band: bool) -> None:
        if self._session.settings.type == "transcription":
            raise requests.not_in_transcription()
        if not out_of_band and self.live.active is not None:
            raise requests.already_active(self.live.active.id)
        if out_of_band and self.live.out_of_band >= self._policy.max_parallel_responses:
            raise requests.too_many(self._policy.max_parallel_responses)

    def _new_response(
        self,
        params: ResponseParams,
        given: tuple[Item | ItemReference, ...] | None,
        trigger: str | None,
    ) -> Response:
        conversation = None if params.conversation == "none" else self._conversation
        plan = self._plan(params, given)
        response_id = self._speculation.run_id(trigger) or self._new_id("resp")
        response = Response(
            plan.view(response_id, None if conversation is None else conversation.id),
            prepare=plan.prepare,
            mcp=plan.mcp,
            mcp_servers=self._mcp.servers,
            waiting_for=plan.waiting_for,
            conversation=conversation,
            new_id=self._new_id,
            lead_ms=self._lead_ms(out_of_band=conversation is None),
            keeps_pace=self._playback is not None,
            trigger_item_id=trigger,
        )
        if self._playback is not None:
            response.pacer.wait_for(self._playback.until_s)
        return response

    def _plan(
        self,
        params: ResponseParams,
        given: tuple[Item | ItemReference, ...] | None,
        supposed: Entry | None = None,
    ) -> requests.Plan:
        return requests.plan(
            params,
            given,
            self._session.settings,
            self._conversation,
            self._policy.max_output_tokens,
            self._mcp.servers.known,
            self._policy.context_tokens,
            supposed,
        )

    def _lead_ms(self, *, out_of_band: bool) -> float | None:
        """Output is paced while turn detection may interrupt it, or the client plays as it comes.

        In the second case all of it is, so that there is always a clock to keep.
        """
        if self._playback is not None:
            return min(self._policy.output_lead_ms or LEAD_MS, LEAD_MS)
        detection = self._session.settings.audio.input.turn_detection
        if out_of_band or detection is None or not detection.interrupt_response:
            return None
        return self._policy.output_lead_ms

    def follow_settings(self) -> None:
        """Follow a change of the settings."""
        if self.live.active is not None:
            self.live.active.pacer.lead_ms = self._lead_ms(out_of_band=False)

    # --- beginning, ahead of time or not ----------------------------------------------------------

    def _start(self, response: Response, now: float) -> list[Output]:
        request = response.start(now)
        if isinstance(request, Failure):
            outputs: list[Output] = [*response.failed(request, now)]
            self.live.forget_done(now)
            return outputs
        draft = self._speculation.take(response.trigger_item_id, request)
        if draft is None:
            if self._speculation.run_id(response.trigger_item_id) is not None:
                # What the engine still says under the old name is not of this request.
                response.run_id = self._new_id("resp")
            return [StartResponse(response.run_id, response.out_of_band, request)]
        return [output for made in draft.held for output in self.take(made, now)]

    def _answers_turns(self) -> bool:
        """Whether a turn that ended now would get a response."""
        settings = self._session.settings
        detection = settings.audio.input.turn_detection
        wanted = detection is not None and detection.create_response
        return wanted and self.live.active is None and settings.type != "transcription"

    def paused(self, event: VadPaused) -> list[Output]:
        """The turn may be over: its words are wanted if a reply could be begun."""
        return self._user.paused(event) if self._answers_turns() else []

    def heard_so_far(self, event: TranscriptTentative, now: float) -> list[Output]:
        """Begin a reply to what the turn says by now, if one may be had."""
        if not self._limiter.is_open(now):
            return []
        return [*self._speculation.heard(event, self._prepare_ahead)]

    def give_up_draft(self, *, changed: bool) -> list[StopResponse]:
        """Stop a draft of which nothing can come any more.

        Args:
            changed: Whether conversation or settings may have changed.
        """
        active = self.live.active
        answering = None if active is None or active.started else active.trigger_item_id
        return self._speculation.give_up(answering, changed=changed, prepare=self._prepare_ahead)

    def _prepare_ahead(self, turn: Entry) -> Prepared | None:
        """What a response would be made from if this were the user's turn."""
        if not self._answers_turns():
            return None
        plan = self._plan(ResponseParams(), None, supposed=turn)
        prepared = None if plan.waiting_for else plan.prepare()
        return prepared if isinstance(prepared, Prepared) else None

    # --- the words they wait for ------------------------------------------------------------------

    def understood(self, item_id: str, text: str, now: float) -> list[Output]:
        """The words of an item are known."""
        outputs: list[Output] = []
        for response in self.live.waiting_for(item_id):
            if not text and response.trigger_item_id == item_id:
                # Nothing was said: the turn is answered with silence, not with a guess.
                outputs += response.finish_empty()
            else:
                outputs += self._wait_no_more(response, item_id, now)
        self.live.forget_done(now)
        return outputs

    def not_understood(self, item_id: str, failure: Failure, now: float) -> list[Output]:
        """The words of an item will never be known."""
        outputs: list[Output] = []
        for response in self.live.waiting_for(item_id):
            outputs += response.failed(failure, now)
        self.live.forget_done(now)
        return outputs

    def item_gone(self, item_id: str, now: float) -> list[Output]:
        """An item whose words were awaited has been deleted."""
        outputs: list[Output] = []
        for response in self.live.waiting_for(item_id):
            outputs += self._wait_no_more(response, item_id, now)
        return outputs

    def _wait_no_more(self, response: Response, item_id: str, now: float) -> list[Output]:
        response.waiting_for.discard(item_id)
        return [] if response.waiting_for else self._start(response, now)

    # --- what is made for them --------------------------------------------------------------------

    def take(self, event: Made, now: float) -> list[Output]:
        """Give what the engine made to the response it was made for."""
        response = self.live.of_run(event.response_id)
        if response is None:
            self._speculation.hold(event)
            return []
        outputs: list[Output] = [*response.take(event, now)]
        self.live.forget_done(now)
        return outputs

    def tool_finished(self, event: McpCallFinished, now: float) -> list[Output]:
        """A tool of an MCP server has answered a response, or an approved call."""
        for response in self.live:
            if response.holds(event.item_id):
                outputs: list[Output] = [*response.mcp_finished(event.item_id, event.outcome)]
                self.live.forget_done(now)
                return outputs
        return [*self._mcp.call_finished(event)]

    # --- stopping ---------------------------------------------------------------------------------

    def cancel(self, event: ResponseCancel, now: float) -> list[Output]:
        """`response.cancel`.

        Raises:
            InvalidRequest: there is none, or none of that id.
        """
        named = event.response_id
        response = self.live.active if named is None else self.live.get(named)
        if response is None:
            raise requests.nothing_to_cancel()
        return self.stop(response, "client_cancelled", now)

    def stop(self, response: Response, reason: CancelReason, now: float) -> list[Output]:
        """Cancel a response: the engine hears of it before the client does."""
        outputs: list[Output] = [StopResponse(response.run_id)] if response.started else []
        outputs += response.cancel(reason, now)
        self.live.forget_done(now)
        return outputs
