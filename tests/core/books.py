"""What the events of the output buffer, of limits and of older days may say, kept beside a session.

Each book takes every output of a session in order and fails at the first that cannot be.
"""

from __future__ import annotations

from dataclasses import dataclass

import protocol as p
from core import messages as m
from core.machine import Output
from core.playback import LEAD_MS

SLACK_MS = 0.01


@dataclass(slots=True)
class _Track:
    item_id: str
    sent_ms: float = 0.0
    done: bool = False
    over: bool = False


class PlaybackBook:
    """I12, of a session whose server keeps the time of the playback, or does not."""

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self._tracks: dict[str, _Track] = {}
        self._until_s = 0.0
        self._aside: set[str] = set()
        self._parts: set[str] = set()
        self._cleared: _Track | None = None
        self.asked = False
        """Whether the client has just asked for an empty buffer."""

    def check(self, output: Output, now: float) -> None:
        """Take the next output, at `now`."""
        cleared, self._cleared = self._cleared, None
        match output:
            case p.ResponseCreated(view):
                if view.conversation_id is None:
                    self._aside.add(view.id)
            case p.ContentPartAdded():
                self._parts.add(output.response_id)
            case p.PlaybackStarted(response_id):
                assert self._kept, "I12: a client plays by itself"
                assert response_id not in self._tracks, "I12: started twice"
                assert response_id in self._parts, "I12: started before its part"
                self._tracks[response_id] = _Track("")
            case p.OutputAudioDelta() if self._kept:
                self._play(output, now)
            case p.ResponseDone(view) if view.id in self._tracks:
                self._tracks[view.id].done = True
            case p.PlaybackStopped(response_id):
                track = self._tracks[response_id]
                assert track.done, "I12: stopped before response.done"
                assert not track.over, "I12: stopped twice"
                track.over = True
            case p.PlaybackCleared(response_id):
                track = self._tracks[response_id]
                assert track.done, "I12: cleared before response.done"
                assert self.asked or not track.over, "I12: cleared in silence"
                self._cleared = None if track.over else track
                track.over = True
                self._until_s = now
            case p.ItemTruncated() if cleared is not None:
                assert output.item_id == cleared.item_id, "I12: another item is cut"
                assert 0 <= output.audio_end_ms <= cleared.sent_ms, "I12: cut beyond its audio"
            case _:
                pass

    def _play(self, delta: p.OutputAudioDelta, now: float) -> None:
        assert delta.response_id in self._tracks, "I12: audio before started"
        track = self._tracks[delta.response_id]
        assert not track.over, "I12: audio after the end"
        track.item_id = delta.item_id
        length_ms = len(delta.audio) / 48
        track.sent_ms += length_ms
        self._until_s = max(self._until_s, now) + length_ms / 1000
        if not self._aside:
            # Two at a time are each as far ahead as one.
            assert (self._until_s - now) * 1000 <= LEAD_MS + SLACK_MS, "I12: too far ahead"


class LimitsBook:
    """I13: limits stand at both ends of a response, and what is over them asks no engine."""

    def __init__(self) -> None:
        self._last: Output | None = None
        self._created: set[str] = set()
        self._started: set[str] = set()
        self._drafts: set[str] = set()

    def check(self, output: Output) -> None:
        """Take the next output."""
        last, self._last = self._last, output
        match output:
            case p.RateLimitsUpdated(limits, moment):
                kind = p.ResponseCreated if moment == "created" else p.ResponseDone
                assert isinstance(last, kind), "I13: limits in the wrong place"
                assert all(0 <= x.remaining <= x.limit for x in limits)
                assert all(x.reset_seconds >= 0 for x in limits)
            case p.ResponseCreated(view):
                self._created.add(view.id)
            case m.StartResponse(response_id) if response_id in self._created:
                self._started.add(response_id)
            case m.StartResponse(response_id):
                self._drafts.add(response_id)
            case m.StopResponse(response_id):
                self._drafts.discard(response_id)
            case p.ResponseDone(view):
                details = view.status_details
                if isinstance(details, p.Failed) and details.code == "rate_limit_exceeded":
                    assert view.id not in self._started, "I13: an engine was asked"
                    assert view.id not in self._drafts, "I13: a draft goes on"
                    assert view.output == ()
            case p.ItemCreated():
                assert isinstance(last, p.ItemAdded)
                assert (last.previous_item_id, last.item) == (output.previous_item_id, output.item)
            case _:
                pass


class RunsBook:
    """I7 and I14: what the engine was asked for, under which name, and for which response.

    A request without a response is a draft: there is at most one, and never one beside a response
    of the conversation. The response that takes it over has its name.
    """

    def __init__(self) -> None:
        self.ever: list[str] = []
        self.draft: str | None = None
        self._live: set[str] = set()
        self._of: dict[str, str] = {}

    def of(self, response_id: str) -> str:
        """The run that a response speaks for."""
        if response_id not in self._of:
            assert self.draft == response_id, "I14: output that was never asked for"
            self._of[response_id] = response_id
            self.draft = None
        return self._of[response_id]

    def started(self, command: m.StartResponse, live: set[str], out_of_band: set[str]) -> None:
        """Take a request; `live` are the responses of which there is no end yet."""
        run_id = command.response_id
        assert run_id not in self.ever, "a name is used once"
        waiting = [r for r in live - out_of_band if r not in self._of and r != self.draft]
        if run_id in live:
            self._of[run_id] = run_id
        elif waiting:
            self._of[waiting[0]] = run_id
        else:
            assert self.draft is None, "I14: two drafts"
            assert not live - out_of_band, "I14: a draft beside a response"
            self.draft = run_id
        self.ever.append(run_id)
        self._live.add(run_id)

    def stopped(self, command: m.StopResponse) -> None:
        """Take a stop."""
        assert command.response_id in self.ever, "stopped what never began"
        self._live.discard(command.response_id)
        if self.draft == command.response_id:
            self.draft = None

    def failed(self, run_id: str) -> None:
        """The engine gives up a run by itself."""
        self._live.discard(run_id)
        if self.draft == run_id:
            self.draft = None

    def done(self, view: p.ResponseView) -> None:
        """Take the end of a response."""
        if self.draft == view.id:
            assert view.status in ("completed", "incomplete"), "I14: a draft outlives its response"
            # Taken over, though it had nothing to say.
            self._of[view.id], self.draft = view.id, None
        run_id = self._of.get(view.id)
        if view.status == "cancelled" and run_id is not None:
            assert run_id not in self._live, "I7: done before StopResponse"
