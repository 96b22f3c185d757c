"""A reply that is made before it is known whether the user has finished, and shown to nobody.

While the user pauses the engine answers the words so far. What it makes is held here: the response
that the end of the turn creates takes it over if it was made from just what that response is to be
made from, and otherwise nothing of it is ever told.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from core.context import Prepared
from core.conversation import Entry
from core.messages import (
    GenerationFailed,
    GenerationRequest,
    Made,
    ModelText,
    SpeechAudio,
    StartResponse,
    StopResponse,
    TranscriptTentative,
)
from core.speech import BYTES_PER_MS
from core.tokens import text_tokens
from core.user_side import UserSide

Prepare = Callable[[Entry], Prepared | None]
"""What a response would be made from if this item were the user's turn; None where it would not be
answered, or not yet."""


@dataclass(frozen=True, slots=True)
class NoDraft:
    """Nothing is being made ahead of time."""


@dataclass(slots=True)
class Draft:
    """A reply to an item that so far says `text`; `run_id` is what the engine calls it."""

    item_id: str
    text: str
    run_id: str
    prepared: Prepared
    held: list[Made] = field(default_factory=list[Made])
    held_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class FailedDraft:
    """The engine could not reply to the item: no second try in this pause."""

    item_id: str
    text: str
    run_id: str


@dataclass(slots=True)
class DraftTally:
    """What became of a session's drafts; the tokens of those that were dropped are estimates."""

    made: int = 0
    used: int = 0
    dropped: int = 0
    dropped_tokens: int = 0


class Speculation:
    """At most one draft.

    Args:
        user: Says what the turn under way would become.
        new_id: Makes a unique id from a prefix.
    """

    def __init__(self, user: UserSide, new_id: Callable[[str], str]) -> None:
        self._user = user
        self._new_id = new_id
        self._state: NoDraft | Draft | FailedDraft = NoDraft()
        self.tally = DraftTally()

    @property
    def held_ms(self) -> float:
        """Audio that is held back."""
        return self._state.held_ms if isinstance(self._state, Draft) else 0.0

    def run_id(self, item_id: str | None) -> str | None:
        """What a response that answers the item is to be called: the engine knows it already."""
        state = self._state
        return None if isinstance(state, NoDraft) or state.item_id != item_id else state.run_id

    def heard(
        self, event: TranscriptTentative, prepare: Prepare
    ) -> list[StartResponse | StopResponse]:
        """Answer what the turn says by now, unless the draft does so already."""
        text = event.text.strip()
        turn = self._user.supposed_turn(event.item_id, text, event.sample)
        if turn is None or isinstance(self._state, FailedDraft):
            return []
        prepared = prepare(turn) if text else None
        if self._fits(prepared):
            return []
        outputs: list[StartResponse | StopResponse] = [*self._drop()]
        if prepared is not None:
            self._state = Draft(event.item_id, text, self._new_id("resp"), prepared)
            self.tally.made += 1
            outputs.append(StartResponse(self._state.run_id, False, prepared.request))
        return outputs

    def hold(self, event: Made) -> None:
        """Keep what the engine made for the draft; what was made for nothing else is nobody's."""
        draft = self._state
        if not isinstance(draft, Draft) or draft.run_id != event.response_id:
            return
        if isinstance(event, GenerationFailed):
            self._count_dropped(draft)
            self._state = FailedDraft(draft.item_id, draft.text, draft.run_id)
        else:
            draft.held.append(event)
            if isinstance(event, SpeechAudio):
                draft.held_ms += len(event.pcm) / BYTES_PER_MS

    def take(self, item_id: str | None, request: GenerationRequest) -> Draft | None:
        """Give the draft away to the response that answers the item, if it is that reply."""
        draft = self._state
        if not isinstance(draft, Draft) or draft.item_id != item_id:
            return None
        if not _alike(draft.prepared.request, request):
            return None
        self._state = NoDraft()
        self.tally.used += 1
        return draft

    def give_up(
        self, answering: str | None, *, changed: bool, prepare: Prepare
    ) -> list[StopResponse]:
        """Forget a draft of which nothing can come any more.

        Args:
            answering: The item that a response was created for which has yet to start.
            changed: Whether conversation or settings may have changed.
            prepare: What a response would be made from now.
        """
        state = self._state
        if isinstance(state, NoDraft) or state.item_id == answering:
            return []
        turn = self._user.supposed_turn(state.item_id, state.text)
        if turn is None or (changed and not self._fits(prepare(turn))):
            return self._drop()
        return []

    def _fits(self, prepared: Prepared | None) -> bool:
        """Whether the draft is made from just this; a missing one fits where none is wanted."""
        if not isinstance(self._state, Draft):
            return prepared is None
        return prepared is not None and _alike(self._state.prepared.request, prepared.request)

    def _drop(self) -> list[StopResponse]:
        draft, self._state = self._state, NoDraft()
        if not isinstance(draft, Draft):
            return []
        self._count_dropped(draft)
        return [StopResponse(draft.run_id)]

    def _count_dropped(self, draft: Draft) -> None:
        written = "".join(event.text for event in draft.held if isinstance(event, ModelText))
        self.tally.dropped += 1
        self.tally.dropped_tokens += draft.prepared.context.text_tokens + text_tokens(written)


def _alike(made_from: GenerationRequest, wanted: GenerationRequest) -> bool:
    """Whether one reply will do for both: all is the same, the last words but for punctuation.

    Many recognisers punctuate only when they are done, and a reply that was begun on the bare words
    is ahead by as long as that takes.
    """
    if made_from == wanted:
        return True
    if not made_from.messages or not wanted.messages:
        return False
    *before, last = made_from.messages
    final = wanted.messages[-1]
    if _words(last.text) != _words(final.text):
        return False
    return replace(made_from, messages=(*before, replace(last, text=final.text))) == wanted


def _words(text: str) -> list[str]:
    """The words of a text. Marks belong to them: in some scripts they are the vowels."""
    bare = (" " if unicodedata.category(sign)[0] in "PSZ" else sign for sign in text.casefold())
    return "".join(bare).split()
