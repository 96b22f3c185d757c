"""The user's side of a session: whose turn it is, what was said in it, and which words it was.

It makes the user's items and tells the engines what to listen to; it knows no response. What the
end of a turn causes is for the caller to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from core import items
from core.conversation import Conversation, Entry, Known, Pending, Unknown
from core.idle import IDLE_NOTE, IdleWatch
from core.messages import (
    CloseSegment,
    Command,
    ConfigureVad,
    DropSegment,
    Failure,
    FeedAudio,
    OpenSegment,
    Passage,
    SettleSegment,
    TranscriptDelta,
    TranscriptFailed,
    TranscriptFinal,
    VadPaused,
    VadResumed,
    VadSpeechStarted,
    VadSpeechStopped,
)
from core.policy import Policy
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
    ErrorCategory,
    InputAudio,
    InputAudioCleared,
    InputAudioCommitted,
    InputText,
    Item,
    ItemAdded,
    ItemDone,
    Message,
    SemanticVad,
    ServerEvent,
    ServerVad,
    Session,
    SpeechStarted,
    SpeechStopped,
    Stage,
    TimeoutTriggered,
    TokenLogprob,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptionSegment,
)

Output = ServerEvent | Command

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


def _seconds(pcm: bytes) -> float:
    return len(pcm) / (2000 * SAMPLES_PER_MS)


class UserSide:
    """What the user says, from the first sample to the words.

    Args:
        conversation: Where the user's items go.
        policy: The operator's limits.
        new_id: Makes a unique id from a prefix.
        settings: Gives the settings in force.
    """

    def __init__(
        self,
        conversation: Conversation,
        policy: Policy,
        new_id: Callable[[str], str],
        settings: Callable[[], Session],
    ) -> None:
        self._conversation = conversation
        self._policy = policy
        self._new_id = new_id
        self._settings = settings
        self._buffer = InputBuffer()
        self._turn: Turn = Manual(None)
        self._vad_generation = 0
        self._transcribing: dict[str, _Awaited] = {}
        """Items whose words are awaited."""
        self._progress_s = -math.inf
        """When the recogniser last said anything."""
        self._held_deltas: dict[str, list[TranscriptDelta]] = {}
        """Words of the turn under way; some clients know no item before it is added."""
        self._item_audio: dict[str, bytes] = {}
        """Audio of created items, to be recognised once nobody is speaking."""
        self._attempts: dict[str, int] = {}
        """How often the words of an id were given up; what still comes of those is stale."""
        self._idle: IdleWatch | None = None

    @property
    def speaking(self) -> bool:
        """Whether turn detection hears the user."""
        return isinstance(self._turn, Speaking)

    @property
    def appended_samples(self) -> int:
        """How much audio the client has appended so far."""
        return self._buffer.end

    @property
    def _detection(self) -> ServerVad | SemanticVad | None:
        return self._settings().audio.input.turn_detection

    def close(self) -> None:
        """The session is over: nobody is asked for the settings in force any more."""
        last = self._settings()
        self._settings = lambda: last

    def deadline(self) -> float:
        """When something on this side is due: a transcript, or the end of the silence."""
        moments = [math.inf, *map(self._words_due, self._transcribing.values())]
        timeout_ms = self._idle_timeout_ms()
        if self._idle is not None and timeout_ms is not None:
            moments.append(self._idle.deadline(timeout_ms))
        return min(moments)

    # --- turn detection ---------------------------------------------------------------------------

    def start(self) -> list[Output]:
        """Begin to listen, if the session has turn detection."""
        if self._detection is None:
            return []
        self._turn = Listening()
        return [self._configure_vad()]

    def follow_settings(self, before: ServerVad | SemanticVad | None, now: float) -> list[Output]:
        """Follow a change of `turn_detection`; audio waiting in the buffer stays there."""
        after = self._detection
        if after == before:
            return []
        self._restart_idle(now)
        if before is not None and after is not None:
            return [self._configure_vad()]
        outputs: list[Output] = [self._listen_afresh()]
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

    def _listen_afresh(self) -> ConfigureVad:
        """Have turn detection forget what was appended so far, heard already or not."""
        self._vad_generation += 1
        return self._configure_vad()

    def _configure_vad(self) -> ConfigureVad:
        pause_ms = self._policy.speculate_after_ms
        return ConfigureVad(self._vad_generation, self._detection, pause_ms)

    def speech_started(self, event: VadSpeechStarted) -> list[Output]:
        """A turn begins; nothing when the event is stale."""
        detection = self._detection
        stale = event.generation != self._vad_generation
        if stale or detection is None or not isinstance(self._turn, Listening):
            return []
        item_id = self._new_id("item")
        padding = prefix_padding_ms(detection) * SAMPLES_PER_MS
        start = max(event.start_sample - padding, self._buffer.start)
        self._buffer.drop_until(start)
        self._turn = Speaking(item_id, start)
        return [
            self._open(item_id, self._buffer.read(start, self._buffer.end)),
            SpeechStarted(samples_to_ms(start), item_id),
        ]

    def speech_stopped(
        self, event: VadSpeechStopped, now: float
    ) -> tuple[str, list[Output]] | None:
        """The turn ends: its item and what it causes on this side; None when the event is stale."""
        detection = self._detection
        stale = event.generation != self._vad_generation
        if stale or detection is None or not isinstance(self._turn, Speaking):
            return None
        item_id, start, settled_at = self._turn.item_id, self._turn.start, self._turn.settled_at
        self._turn = Listening()
        heard_to = event.judged_sample
        if heard_to is None:
            heard_to = event.end_sample + silence_window_ms(detection) * SAMPLES_PER_MS
        end = max(min(heard_to, self._buffer.end), start)
        stopped = SpeechStopped(samples_to_ms(end), item_id)
        return item_id, [stopped, *self._commit_item(item_id, start, end, now, settled_at)]

    def paused(self, event: VadPaused) -> list[Output]:
        """The turn may be over: ask for its words ahead of time. Nothing when that is stale."""
        turn = self._turn
        if event.generation != self._vad_generation or not isinstance(turn, Speaking):
            return []
        self._turn = replace(turn, settled_at=event.sample)
        return [SettleSegment(turn.item_id, event.sample)]

    def resumed(self, event: VadResumed) -> list[Output]:
        """The turn was not over."""
        if event.generation == self._vad_generation and isinstance(self._turn, Speaking):
            self._turn = replace(self._turn, settled_at=None)
        return []

    def supposed_turn(self, item_id: str, text: str, sample: int | None = None) -> Entry | None:
        """The item that the turn under way becomes if it ends in this pause; None for another's.

        Args:
            sample: The pause; None for whichever it is.
        """
        turn = self._turn
        if not isinstance(turn, Speaking) or turn.item_id != item_id or turn.settled_at is None:
            return None
        if sample not in (None, turn.settled_at):
            return None
        audio_ms = (turn.settled_at - turn.start) / SAMPLES_PER_MS
        item = Message(item_id, "user", "completed", (InputAudio(None),))
        return Entry(item, transcript=Known(text), audio_ms=audio_ms)

    # --- audio ------------------------------------------------------------------------------------

    def require_room(self, size_bytes: int) -> None:
        """Refuse audio that the buffer cannot hold, before any of it is taken.

        While turn detection hears nobody there is always room: old silence is let go of.

        Raises:
            InvalidRequest: the buffer would hold more than it may.
        """
        if not isinstance(self._turn, Listening):
            self._buffer.require_room(size_bytes)

    def append(self, pcm: bytes) -> list[Output]:
        """`input_audio_buffer.append`.

        Raises:
            InvalidRequest: the buffer is full; nothing was added.
        """
        self.require_room(len(pcm))
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

    def commit(self, now: float) -> list[Output]:
        """`input_audio_buffer.commit`.

        Raises:
            InvalidRequest: there is too little audio.
        """
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
        return outputs + self.release_deltas(item_id)

    def clear(self, now: float) -> list[Output]:
        """`input_audio_buffer.clear`."""
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

    def _commit_item(
        self, item_id: str, start: int, end: int, now: float, settled_at: int | None = None
    ) -> list[Output]:
        """Make the user's item out of the audio between two positions."""
        self._restart_idle(now)
        audio = self._take_audio(start, end)
        item = Message(item_id, "user", "completed", (InputAudio(None, audio),))
        audio_ms = (end - start) / SAMPLES_PER_MS
        self._transcribing[item_id] = _Awaited(now, audio_ms / 1000)
        previous = self._join(Entry(item, transcript=Pending(), audio_ms=audio_ms))
        return [
            CloseSegment(item_id, end, settled_at),
            InputAudioCommitted(previous, item_id),
            ItemAdded(previous, item),
            ItemDone(previous, item),
            *self._open_item_audio(now),
        ]

    def _take_audio(self, start: int, end: int) -> bytes:
        audio = self._buffer.read(start, end)
        self._buffer.drop_until(end)
        return audio

    def _join(self, entry: Entry) -> str | None:
        """Add a user's spoken item at the end; returns the predecessor's id."""
        previous = self._conversation.append(entry)
        self._conversation.drop_audio_beyond(self._policy.item_audio_limit_bytes)
        return previous

    # --- what the recogniser is to hear -----------------------------------------------------------

    def _open(self, item_id: str, pcm: bytes) -> OpenSegment:
        wanted = self._settings().audio.input.transcription
        return OpenSegment(
            item_id,
            pcm,
            language=wanted.language if wanted else None,
            prompt=wanted.prompt if wanted else None,
            logprobs=wanted is not None and self._shows_logprobs,
            speakers=wanted is not None and _DIARISING in (wanted.model or ""),
            attempt=self._attempts.get(item_id, 0),
        )

    @property
    def _shows_logprobs(self) -> bool:
        return LOGPROBS in (self._settings().include or ())

    def _drop_segment(self, item_id: str, now: float) -> list[Output]:
        self._held_deltas.pop(item_id, None)
        return [DropSegment(item_id), *self._open_item_audio(now)]

    def recognise(self, item: Item, now: float) -> list[Output]:
        """Have the audio of a created item recognised, as soon as nobody is speaking.

        The deadline counts from now: a user who never ends a turn must hold up no response.
        """
        audio = items.audio_of(item)
        self._item_audio[item.id] = audio
        self._transcribing[item.id] = _Awaited(now, _seconds(audio), begun=False)
        return self._open_item_audio(now)

    def _open_item_audio(self, now: float) -> list[Output]:
        if self._turn not in (Listening(), Manual(None)):
            return []
        outputs: list[Output] = []
        for item_id, audio in self._item_audio.items():
            self._transcribing[item_id] = _Awaited(now, _seconds(audio))
            outputs += [self._open(item_id, audio), CloseSegment(item_id)]
        self._item_audio.clear()
        return outputs

    def forget(self, item_id: str) -> list[Output]:
        """The item is deleted: its words are no longer wanted."""
        self._give_up(item_id)
        return [DropSegment(item_id)]

    def _give_up(self, item_id: str) -> None:
        self._transcribing.pop(item_id, None)
        self._item_audio.pop(item_id, None)
        self._attempts[item_id] = self._attempts.get(item_id, 0) + 1

    # --- words ------------------------------------------------------------------------------------

    def is_announced(self, item_id: str) -> bool:
        """Whether the id belongs to the user's item that is still being spoken."""
        return isinstance(self._turn, Manual | Speaking) and self._turn.item_id == item_id

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

    def _show_delta(self, event: TranscriptDelta) -> list[Output]:
        if self._settings().audio.input.transcription is None:
            return []
        return [
            TranscriptionDelta(event.item_id, 0, event.delta, self._shown_logprobs(event.logprobs))
        ]

    def _shown_logprobs(
        self, logprobs: tuple[TokenLogprob, ...]
    ) -> tuple[TokenLogprob, ...] | None:
        return logprobs if logprobs and self._shows_logprobs else None

    def _awaits(self, item_id: str) -> Entry | None:
        entry = self._conversation.get(item_id)
        return entry if entry is not None and isinstance(entry.transcript, Pending) else None

    def understood(self, heard: TranscriptFinal, now: float) -> list[Output] | None:
        """All the words of an item; None when nobody waits for them any more."""
        self._progress_s = now
        entry = self._awaits(heard.item_id)
        if entry is None:
            return None
        entry.transcript = Known(heard.text)
        self._transcribing.pop(heard.item_id, None)
        return self._show_words(entry, heard)

    def _show_words(
        self, entry: Entry, heard: TranscriptFinal, seconds: int | None = None
    ) -> list[Output]:
        """Show the words of an item to a client that asked for them."""
        if self._settings().audio.input.transcription is None:
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

    def not_understood(self, item_id: str, failure: Failure, now: float) -> list[Output] | None:
        """There will be no words of an item; None when nobody waits for them any more."""
        if failure.category is not ErrorCategory.TIMEOUT:
            self._progress_s = now
        entry = self._awaits(item_id)
        if entry is None:
            return None
        entry.transcript = Unknown()
        self._give_up(item_id)
        if self._settings().audio.input.transcription is None:
            return []
        index, _ = items.audio_part(entry.item)
        unintelligible = failure.category is ErrorCategory.UNINTELLIGIBLE
        code = "audio_unintelligible" if unintelligible else "server_error"
        return [TranscriptionFailed(item_id, index, code, failure.message)]

    def _words_due(self, awaited: _Awaited) -> float:
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
        seconds = round(self._policy.stt_timeout_s)
        failure = Failure(
            Stage.STT,
            ErrorCategory.TIMEOUT,
            f"The speech recogniser did not answer within {seconds} s and the length of the audio.",
        )
        awaited = self._transcribing.items()
        return [(item_id, failure) for item_id, a in awaited if now >= self._words_due(a)]

    # --- silence ----------------------------------------------------------------------------------

    def _idle_timeout_ms(self) -> int | None:
        """After how much silence the model may speak unasked, if it may at this moment."""
        detection = self._detection
        if not isinstance(detection, ServerVad) or not isinstance(self._turn, Listening):
            return None
        return detection.idle_timeout_ms

    def expect_speech(self, since_s: float) -> None:
        """The reply is over, its sound at `since_s`: from there on the silence counts."""
        self._idle = IdleWatch(since_s)

    def expect_nothing(self) -> None:
        """It is the model's turn: silence is what it should be."""
        self._idle = None

    def _restart_idle(self, now: float) -> None:
        """Something happened on the user's side: the silence counts from now."""
        if self._idle is not None:
            self._idle = IdleWatch(max(now, self._idle.since_s))

    def commit_silence(self, now: float) -> tuple[str, list[Output]] | None:
        """Make the user's turn of a silence that has lasted for the time-out (reference §4.12).

        Returns:
            Its item and what it causes on this side; None while there is none.
        """
        timeout_ms = self._idle_timeout_ms()
        if self._idle is None or timeout_ms is None:
            return None
        began = self._idle.look(now, self._buffer.end, timeout_ms)
        if began is None:
            return None
        self._idle = None
        item_id, start, end = self._new_id("item"), max(began, self._buffer.start), self._buffer.end
        note = Message(self._new_id("item"), "system", "completed", (InputText(IDLE_NOTE),))
        audio = InputAudio(None, self._take_audio(start, end))
        silence = Message(item_id, "user", "completed", (audio,))
        before = self._conversation.append(Entry(note))
        silent_ms = (end - start) / SAMPLES_PER_MS
        self._join(Entry(silence, transcript=Known(""), audio_ms=silent_ms))
        return item_id, [
            TimeoutTriggered(samples_to_ms(start), samples_to_ms(end), item_id),
            ItemAdded(before, note),
            ItemDone(before, note),
            InputAudioCommitted(note.id, item_id),
            ItemAdded(note.id, silence),
            ItemDone(note.id, silence),
        ]

    def show_silence(self, item_id: str) -> list[Output]:
        """Tell the words of a silence, of which there are none."""
        entry = self._conversation.get(item_id)
        if entry is None:
            return []
        return self._show_words(entry, TranscriptFinal(item_id, ""), seconds=0)
