"""What the recogniser is to hear, and what becomes of the words that it finds.

It knows segments and items, and neither why a segment begins and ends nor what words cause. One
segment is open at a time: created items are recognised when none is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from core import items
from core.conversation import Conversation, Entry, Known, Pending, Unknown
from core.messages import (
    CloseSegment,
    DropSegment,
    Failure,
    OpenSegment,
    Output,
    Passage,
    TranscriptDelta,
    TranscriptFailed,
    TranscriptFinal,
)
from core.policy import Policy
from core.session_settings import InForce
from core.speech import BYTES_PER_MS
from protocol import (
    ErrorCategory,
    Item,
    Stage,
    TokenLogprob,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptionSegment,
)

LOGPROBS = "item.input_audio_transcription.logprobs"
"""What a client includes to be told how sure the recogniser is."""
_DIARISING = "diarize"
"""Part of the name of the models that tell speakers apart: `gpt-4o-transcribe-diarize`."""


@dataclass(frozen=True, slots=True)
class _Awaited:
    """An item whose words are awaited: since when, how much audio, and whether it was opened."""

    since_s: float
    audio_s: float
    begun: bool = True


class Transcripts:
    """The words of a session's users.

    Args:
        conversation: Where their items are.
        policy: The operator's limits.
        new_id: Makes a unique id from a prefix.
        session: The settings in force.
    """

    def __init__(
        self,
        conversation: Conversation,
        policy: Policy,
        new_id: Callable[[str], str],
        session: InForce,
    ) -> None:
        self._conversation = conversation
        self._policy = policy
        self._new_id = new_id
        self._session = session
        self._open: str | None = None
        """The item that is still being spoken."""
        self._awaited: dict[str, _Awaited] = {}
        self._progress_s = -math.inf
        """When the recogniser last said anything."""
        self._held_deltas: dict[str, list[TranscriptDelta]] = {}
        """Words of the turn under way; some clients know no item before it is added."""
        self._item_audio: dict[str, bytes] = {}
        """Audio of created items, to be recognised once nobody is speaking."""
        self._attempts: dict[str, int] = {}
        """How often the words of an id were given up; what still comes of those is stale."""

    # --- segments ---------------------------------------------------------------------------------

    def open(self, item_id: str, pcm: bytes) -> OpenSegment:
        """Begin with the audio of an item, of which `pcm` was said before now."""
        self._open = item_id
        return self._segment(item_id, pcm)

    def _segment(self, item_id: str, pcm: bytes) -> OpenSegment:
        wanted = self._session.settings.audio.input.transcription
        return OpenSegment(
            item_id,
            pcm,
            language=wanted.language if wanted else None,
            prompt=wanted.prompt if wanted else None,
            logprobs=wanted is not None and self._shows_logprobs,
            speakers=wanted is not None and _DIARISING in (wanted.model or ""),
            attempt=self._attempts.get(item_id, 0),
        )

    def close(
        self, item_id: str, end: int, audio_ms: float, now: float, settled_at: int | None
    ) -> CloseSegment:
        """The item's audio is complete, its words are wanted; see `CloseSegment`."""
        self._open = None
        self._awaited[item_id] = _Awaited(now, audio_ms / 1000)
        return CloseSegment(item_id, end, settled_at)

    def drop(self, item_id: str, now: float) -> list[Output]:
        """The audio of the open segment was discarded."""
        self._open = None
        self._held_deltas.pop(item_id, None)
        return [DropSegment(item_id), *self.open_waiting(now)]

    def recognise(self, item: Item, now: float) -> list[Output]:
        """Have the audio of a created item recognised, as soon as nobody is speaking.

        The deadline counts from now: a user who never ends a turn must hold up no response.
        """
        audio = items.audio_of(item)
        self._item_audio[item.id] = audio
        self._awaited[item.id] = _Awaited(now, _seconds(audio), begun=False)
        return self.open_waiting(now)

    def open_waiting(self, now: float) -> list[Output]:
        """Have created items recognised if nobody is speaking."""
        if self._open is not None:
            return []
        outputs: list[Output] = []
        for item_id, audio in self._item_audio.items():
            self._awaited[item_id] = _Awaited(now, _seconds(audio))
            outputs += [self._segment(item_id, audio), CloseSegment(item_id)]
        self._item_audio.clear()
        return outputs

    def forget(self, item_id: str) -> list[Output]:
        """The item is deleted: its words are no longer wanted."""
        self._give_up(item_id)
        return [DropSegment(item_id)]

    def _give_up(self, item_id: str) -> None:
        self._awaited.pop(item_id, None)
        self._item_audio.pop(item_id, None)
        self._attempts[item_id] = self._attempts.get(item_id, 0) + 1

    # --- words ------------------------------------------------------------------------------------

    def is_announced(self, item_id: str) -> bool:
        """Whether the id belongs to the user's item that is still being spoken."""
        return item_id == self._open

    def is_stale(self, event: TranscriptDelta | TranscriptFinal | TranscriptFailed) -> bool:
        """Whether it tells of words that were given up."""
        return event.attempt != self._attempts.get(event.item_id, 0)

    def words(self, event: TranscriptDelta, now: float) -> list[Output]:
        """More words of a turn."""
        self._progress_s = now
        if self.is_announced(event.item_id):
            self._held_deltas.setdefault(event.item_id, []).append(event)
            return []
        return self._show_delta(event) if self._awaits(event.item_id) else []

    def release_deltas(self, item_id: str) -> list[Output]:
        """Tell the words that were recognised before the item was there."""
        outputs: list[Output] = []
        for delta in self._held_deltas.pop(item_id, []):
            outputs += self._show_delta(delta)
        return outputs

    def understood(self, heard: TranscriptFinal, now: float) -> list[Output] | None:
        """All the words of an item; None when nobody waits for them any more."""
        self._progress_s = now
        entry = self._awaits(heard.item_id)
        if entry is None:
            return None
        entry.transcript = Known(heard.text)
        self._awaited.pop(heard.item_id, None)
        self._item_audio.pop(heard.item_id, None)
        return self.show(entry, heard)

    def not_understood(self, item_id: str, failure: Failure, now: float) -> list[Output] | None:
        """There will be no words of an item; None when nobody waits for them any more."""
        if failure.category is not ErrorCategory.TIMEOUT:
            self._progress_s = now
        entry = self._awaits(item_id)
        if entry is None:
            return None
        entry.transcript = Unknown()
        self._give_up(item_id)
        if self._session.settings.audio.input.transcription is None:
            return []
        index, _ = items.audio_part(entry.item)
        unintelligible = failure.category is ErrorCategory.UNINTELLIGIBLE
        code = "audio_unintelligible" if unintelligible else "server_error"
        return [TranscriptionFailed(item_id, index, code, failure.message)]

    def _awaits(self, item_id: str) -> Entry | None:
        entry = self._conversation.get(item_id)
        return entry if entry is not None and isinstance(entry.transcript, Pending) else None

    # --- what is shown of them --------------------------------------------------------------------

    def show(
        self, entry: Entry, heard: TranscriptFinal, seconds: int | None = None
    ) -> list[Output]:
        """Show the words of an item to a client that asked for them.

        Args:
            entry: The item.
            heard: Its words.
            seconds: How much audio is billed, None for as much as there is.
        """
        if self._session.settings.audio.input.transcription is None:
            return []
        item_id, text = heard.item_id, heard.text
        index, heard_seconds = items.audio_part(entry.item)
        entry.item = items.with_transcript(entry.item, text)
        billed = heard_seconds if seconds is None else seconds
        logprobs = self._shown_logprobs(heard.logprobs)
        return [
            *(self._show_passage(item_id, index, passage) for passage in heard.passages),
            TranscriptionCompleted(item_id, index, text, billed, logprobs),
        ]

    def _show_passage(self, item_id: str, index: int, said: Passage) -> TranscriptionSegment:
        place = self._new_id("seg"), item_id, index
        return TranscriptionSegment(*place, said.text, said.speaker, said.start_s, said.end_s)

    def _show_delta(self, event: TranscriptDelta) -> list[Output]:
        if self._session.settings.audio.input.transcription is None:
            return []
        return [
            TranscriptionDelta(event.item_id, 0, event.delta, self._shown_logprobs(event.logprobs))
        ]

    @property
    def _shows_logprobs(self) -> bool:
        return LOGPROBS in (self._session.settings.include or ())

    def _shown_logprobs(
        self, logprobs: tuple[TokenLogprob, ...]
    ) -> tuple[TokenLogprob, ...] | None:
        return logprobs if logprobs and self._shows_logprobs else None

    # --- deadlines --------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When the next words are overdue; infinite while none are awaited."""
        if not self._awaited:
            return math.inf
        return min(map(self._due, self._awaited.values()))

    def _due(self, awaited: _Awaited) -> float:
        """Until when the words of an item may come.

        A recogniser that works through a backlog is not late: the clock starts again with every
        sign of it. Long audio takes longer to understand.
        """
        since_s = awaited.since_s
        if awaited.begun:
            since_s = max(since_s, self._progress_s)
        return since_s + self._policy.stt_timeout_s + awaited.audio_s

    def overdue(self, now: float) -> list[tuple[str, Failure]]:
        """The items whose words have not come in time, and what to say of it."""
        late = [item_id for item_id, awaited in self._awaited.items() if now >= self._due(awaited)]
        seconds = round(self._policy.stt_timeout_s)
        failure = Failure(
            Stage.STT,
            ErrorCategory.TIMEOUT,
            f"The speech recogniser did not answer within {seconds} s and the length of the audio.",
        )
        return [(item_id, failure) for item_id in late]


def _seconds(pcm: bytes) -> float:
    return len(pcm) / (1000 * BYTES_PER_MS)
