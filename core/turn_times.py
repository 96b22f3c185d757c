"""Where the time of a turn goes: what was waited for between the last word and the first sound.

It looks on at a session's events and changes nothing. Times are seconds of the session's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from core.messages import (
    ModelText,
    SpeechAudio,
    StartResponse,
    ToolCallStarted,
    TranscriptFailed,
    TranscriptFinal,
    VadSpeechStopped,
)
from protocol import (
    SAMPLE_RATE_HZ,
    FunctionCall,
    InputAudioCommitted,
    McpCall,
    OutputAudioDelta,
    OutputItemAdded,
    OutputTextDelta,
    ResponseCreated,
    ResponseDone,
    ResponseView,
    ServerEvent,
)

Record = TypeVar("Record")

MAX_OPEN_RECORDS = 64
"""Turns and requests remembered at a time: what never comes to an end must not pile up."""


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """One response and the turn that it answers, in seconds; None for what it did not have.

    Attributes:
        response: As its `response.done` shows it.
        item_id: The user's spoken item that it answers.
        endpointing_s: From the end of the speech to the decision that the turn is over: the
            silence window and what turn detection adds.
        transcript_s: From that decision to the final words; 0 when they were there before.
        first_token_s: From the request to the model's first text or tool call.
        first_audio_s: From that text to its first audio.
        wait_s: What the user waits for: from the end of the speech, or else from the committed
            audio or the `response.create`, to the first audio or text that is sent.
        total_s: From `response.created` to `response.done`.
    """

    response: ResponseView
    item_id: str | None
    endpointing_s: float | None
    transcript_s: float | None
    first_token_s: float | None
    first_audio_s: float | None
    wait_s: float | None
    total_s: float

    def stages(self) -> dict[str, float]:
        """The stages it had, by their names in metrics and logs."""
        stages = {
            "endpointing": self.endpointing_s,
            "transcript": self.transcript_s,
            "first_token": self.first_token_s,
            "first_audio": self.first_audio_s,
        }
        return {name: seconds for name, seconds in stages.items() if seconds is not None}


@dataclass(slots=True)
class _Turn:
    over_s: float
    endpointing_s: float | None
    transcript_s: float | None = None


@dataclass(slots=True)
class _Request:
    start_s: float
    first_token_s: float | None = None
    first_audio_s: float | None = None


@dataclass(slots=True)
class _Reply:
    created_s: float
    item_id: str | None
    run_id: str
    """What the engines call it: another name where a draft of its own name was dropped."""
    first_output_s: float | None = None


@dataclass(slots=True)
class TurnClock:
    """Takes the times of one session's turns.

    Whoever drives the session shows it each engine event before the core has it, and each output
    of the core in its order.
    """

    _turns: dict[str, _Turn] = field(default_factory=dict[str, _Turn])
    _requests: dict[str, _Request] = field(default_factory=dict[str, _Request])
    _replies: dict[str, _Reply] = field(default_factory=dict[str, _Reply])
    _active: _Reply | None = None
    """The reply of the conversation that is live."""
    _endpointing_s: float | None = None
    _unanswered: str | None = None

    def heard(self, event: object, now: float, appended_samples: int) -> None:
        """Note an engine event.

        Args:
            event: Any; most are passed over.
            now: The session's clock.
            appended_samples: How much audio (24 kHz) the client has appended so far.
        """
        match event:
            case VadSpeechStopped():
                waited = max(appended_samples - event.end_sample, 0)
                self._endpointing_s = waited / SAMPLE_RATE_HZ
            case TranscriptFinal() | TranscriptFailed():
                if (turn := self._turns.get(event.item_id)) and turn.transcript_s is None:
                    turn.transcript_s = now - turn.over_s
            case ModelText() | ToolCallStarted():
                request = self._requests.get(event.response_id)
                if request is not None and request.first_token_s is None:
                    request.first_token_s = now
            case SpeechAudio():
                request = self._requests.get(event.response_id)
                if request is not None and request.first_audio_s is None:
                    request.first_audio_s = now
            case _:
                pass

    def requested(self, command: StartResponse, now: float) -> None:
        """Note that the engines were asked for a response."""
        _bound(self._requests)
        self._requests[command.response_id] = _Request(now)
        if self._active is not None and not command.out_of_band:
            self._active.run_id = command.response_id

    def sent(self, event: ServerEvent, now: float) -> TurnTimes | None:
        """Note an event that goes to the client; at the end of a response, its times."""
        match event:
            case InputAudioCommitted(item_id=item_id):
                _bound(self._turns)
                self._turns[item_id] = _Turn(now, self._endpointing_s)
                self._endpointing_s = None
                self._unanswered = item_id
            case ResponseCreated(response):
                _bound(self._replies)
                self._replies[response.id] = reply = _Reply(now, None, response.id)
                if response.conversation_id is not None:
                    reply.item_id, self._unanswered = self._unanswered, None
                    self._active = reply
            case OutputTextDelta() | OutputAudioDelta():
                self._first_output(event.response_id, now)
            case OutputItemAdded(item=FunctionCall() | McpCall()):
                self._first_output(event.response_id, now)
            case ResponseDone(response):
                return self._report(response, now)
            case _:
                pass
        return None

    def _first_output(self, response_id: str, now: float) -> None:
        reply = self._replies.get(response_id)
        if reply is not None and reply.first_output_s is None:
            reply.first_output_s = now

    def _report(self, response: ResponseView, now: float) -> TurnTimes | None:
        reply = self._replies.pop(response.id, None)
        if reply is None:
            return None
        if reply is self._active:
            self._active = None
        request = self._requests.pop(reply.run_id, None)
        turn = self._turns.pop(reply.item_id, None) if reply.item_id else None
        asked_s = reply.created_s
        if turn is not None:
            asked_s = turn.over_s - (turn.endpointing_s or 0.0)
        return TurnTimes(
            response,
            reply.item_id,
            turn.endpointing_s if turn else None,
            turn.transcript_s if turn else None,
            _between(request.start_s, request.first_token_s) if request else None,
            _between(request.first_token_s, request.first_audio_s) if request else None,
            _between(asked_s, reply.first_output_s),
            now - reply.created_s,
        )


def _between(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else max(end_s - start_s, 0.0)


def _bound(records: dict[str, Record]) -> None:
    while len(records) >= MAX_OPEN_RECORDS:
        del records[next(iter(records))]
