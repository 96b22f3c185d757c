"""The user's turns: when one begins and ends, and which audio is in its item.

It makes the user's spoken items and tells turn detection and recogniser what to listen to; it knows
no response. What the end of a turn causes is for the caller to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from core.conversation import Conversation, Entry, Known, Pending
from core.idle import IDLE_NOTE, IdleWatch
from core.messages import (
    ConfigureVad,
    FeedAudio,
    Output,
    SettleSegment,
    TranscriptFinal,
    VadPaused,
    VadResumed,
    VadSpeechStarted,
    VadSpeechStopped,
)
from core.policy import Policy
from core.session_settings import InForce
from core.transcripts import Transcripts
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
    InputAudio,
    InputAudioCleared,
    InputAudioCommitted,
    InputText,
    ItemAdded,
    ItemDone,
    Message,
    SemanticVad,
    ServerVad,
    SpeechStarted,
    SpeechStopped,
    TimeoutTriggered,
)


class UserSide:
    """What the user says, from the first sample to the item.

    Args:
        conversation: Where the user's items go.
        transcripts: Has them recognised.
        policy: The operator's limits.
        new_id: Makes a unique id from a prefix.
        session: The settings in force.
    """

    def __init__(
        self,
        conversation: Conversation,
        transcripts: Transcripts,
        policy: Policy,
        new_id: Callable[[str], str],
        session: InForce,
    ) -> None:
        self._conversation = conversation
        self._transcripts = transcripts
        self._policy = policy
        self._new_id = new_id
        self._session = session
        self._buffer = InputBuffer()
        self._turn: Turn = Manual(None)
        self._vad_generation = 0
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
        return self._session.settings.audio.input.turn_detection

    def deadline(self) -> float:
        """When the silence may have lasted for the time-out; infinite while it does not count."""
        timeout_ms = None if self._idle is None else self._idle_timeout_ms()
        if self._idle is None or timeout_ms is None:
            return math.inf
        return self._idle.deadline(timeout_ms)

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
                    outputs += self._transcripts.drop(item_id, now)
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
            self._transcripts.open(item_id, self._buffer.read(start, self._buffer.end)),
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
                waiting = self._buffer.read(self._buffer.start, before)
                outputs.append(self._transcripts.open(item_id, waiting))
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
                audio = self._buffer.read(start, self._buffer.end)
                outputs.append(self._transcripts.open(item_id, audio))
            case _:
                assert_never(self._turn)
        outputs += self._commit_item(item_id, start, self._buffer.end, now)
        return outputs + self._transcripts.release_deltas(item_id)

    def clear(self, now: float) -> list[Output]:
        """`input_audio_buffer.clear`."""
        outputs: list[Output] = []
        self._restart_idle(now)
        match self._turn:
            case Speaking(item_id=item_id):
                self._turn = Listening()
                outputs.append(self._listen_afresh())
                outputs += self._transcripts.drop(item_id, now)
            case Listening():
                outputs.append(self._listen_afresh())
            case Manual(item_id=str() as item_id):
                self._turn = Manual(None)
                outputs += self._transcripts.drop(item_id, now)
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
        close = self._transcripts.close(item_id, end, audio_ms, now, settled_at)
        previous = self._join(Entry(item, transcript=Pending(), audio_ms=audio_ms))
        return [
            close,
            InputAudioCommitted(previous, item_id),
            ItemAdded(previous, item),
            ItemDone(previous, item),
            *self._transcripts.open_waiting(now),
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
        return self._transcripts.show(entry, TranscriptFinal(item_id, ""), seconds=0)
