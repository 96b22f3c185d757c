"""Where a run's steps come from: made up as it goes, or replayed from a list."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, Protocol

from tests.fuzz.author import Author
from tests.fuzz.mirror import Mirror
from tests.fuzz.mutations import as_frame, garbage, spoiled, torn
from tests.fuzz.steps import MAX_EVENT_ID_CHARS, Engines, Send, Step, Wait, event_of
from tests.fuzz.values import audio

_WAITS_S = (0.02, 0.1, 0.1, 0.5, 2.0, 6.0, 20.0)
_SETTLING = ("session.update", "transcription_session.update")
_SILENCE_BYTES = 150_000
_SPEECH_BYTES = 24_000
_MOVES_OF_A_TURN = 14
_PATIENCE_S = 6.0


class Script(Protocol):
    """Gives the next step, None at the end."""

    def next(self, mirror: Mirror) -> Step | None: ...


class Replay:
    """Steps that were made before."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = iter(steps)

    def next(self, mirror: Mirror) -> Step | None:
        return next(self._steps, None)


class Improvised:
    """Steps made up from what the client knows by then.

    Args:
        rng: What every choice is drawn from.
        messages: How many messages to send.
        hostility: The share of them that is spoiled.
        marked: Whether the connection told its dialect; if not, the first message does.
        wire: For a real server: never sends two things at once, nor moves engines or clock, and
            names no MCP server.
    """

    def __init__(
        self,
        rng: random.Random,
        messages: int,
        hostility: float,
        *,
        marked: bool = True,
        wire: bool = False,
    ) -> None:
        self._rng = rng
        self._left = messages
        self._hostility = hostility
        self._told = marked
        self._wire = wire
        self._sent: list[dict[str, Any]] = []
        self._author: Author | None = None
        self._planned: list[Step] = []

    def next(self, mirror: Mirror) -> Step | None:
        if self._author is None:
            self._author = Author(self._rng, mirror, mcp=not self._wire)
        if self._left == 0:
            return None
        if self._planned:
            return self._planned.pop(0)
        if not self._wire and self._told:
            chance = self._rng.random()
            if chance < 0.35:
                return Engines(self._rng.getrandbits(32), alone=self._rng.random() < 0.7)
            if chance < 0.38:
                return Wait(self._rng.choice(_WAITS_S))
            if chance < 0.41 and _may_speak_unasked(mirror):
                self._planned = self._silence()
            elif chance < 0.46 and _listens(mirror):
                self._planned = self._turn()
        self._left -= 1
        if not self._told:
            self._told = True
            return self._telling(self._author, mirror.dialect)
        return self._message(self._author)

    def _silence(self) -> list[Step]:
        """A user who says nothing for longer than the model waits."""
        frame = {"type": "input_audio_buffer.append", "audio": audio(self._rng, _SILENCE_BYTES)}
        return [Wait(_PATIENCE_S), Send(as_frame(self._rng, frame), valid=True), Wait(_PATIENCE_S)]

    def _turn(self) -> list[Step]:
        """A user who speaks, and leaves the engines alone with it."""
        frame = {"type": "input_audio_buffer.append", "audio": audio(self._rng, _SPEECH_BYTES)}
        moves = (Engines(self._rng.getrandbits(32)) for _ in range(_MOVES_OF_A_TURN))
        return [Send(as_frame(self._rng, frame), valid=True), *moves]

    def _telling(self, author: Author, dialect: str) -> Send:
        """The first update of a client that speaks one dialect without saying so."""
        event, _ = author.session_update()
        event["session"] |= {"modalities": ["text"]} if dialect == "beta" else {}
        return Send(as_frame(self._rng, event), valid=True)

    def _message(self, author: Author) -> Send:
        event, echo = author.event()
        chance = self._rng.random()
        if chance >= self._hostility:
            frame = as_frame(self._rng, event)
            self._sent = [*self._sent[-8:], event]
            return Send(frame, valid=True, alone=self._settles(frame), echo=echo)
        if chance < self._hostility * 0.12:
            frame = garbage(self._rng)
        elif chance < self._hostility * 0.2:
            frame = torn(self._rng, as_frame(self._rng, event))
        elif chance < self._hostility * 0.26 and self._sent:
            # A message sent before, word for word: its event_id and its ids are used again.
            return Send(as_frame(self._rng, self._rng.choice(self._sent)))
        else:
            frame = as_frame(self._rng, spoiled(self._rng, event))
        return Send(frame, alone=self._settles(frame))

    def _settles(self, frame: str | bytes) -> bool:
        """Whether to wait before the next step.

        A message that could not be told from another by its reply is sent alone.
        """
        if self._wire or self._rng.random() < 0.6:
            return True
        event = event_of(frame)
        if event is None:
            return False
        event_id: object = event.get("event_id")
        known = isinstance(event_id, str) and 0 < len(event_id) <= MAX_EVENT_ID_CHARS
        return not known or event.get("type") in _SETTLING


def _may_speak_unasked(mirror: Mirror) -> bool:
    """Whether the session has an idle timeout, and nobody speaks."""
    return bool(_detection(mirror).get("idle_timeout_ms")) and mirror.announced is None


def _listens(mirror: Mirror) -> bool:
    """Whether the session finds turns by itself, and nobody speaks."""
    return bool(_detection(mirror)) and mirror.announced is None


def _detection(mirror: Mirror) -> dict[str, Any]:
    heard = mirror.session.get("audio", {}).get("input", mirror.session)
    return heard.get("turn_detection") or {}
