"""What a client is taken to be playing, where the server keeps the time (`PLAYBACK=server`).

It follows the events of a session and adds those of the output buffer; of responses it knows no
more than what these say. The buffer is one queue with one clock: what is sent sounds in the order
it was sent in, and the clock stands still while nothing is left (reference §4.15).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core import items
from core.conversation import Conversation
from core.messages import Output
from core.speech import BYTES_PER_MS
from protocol import (
    ItemTruncated,
    OutputAudioDelta,
    PlaybackCleared,
    PlaybackStarted,
    PlaybackStopped,
    ResponseDone,
)

LEAD_MS = 200.0
"""How far audio runs ahead of the ear: enough for a network's jitter, little to throw away."""


@dataclass(slots=True)
class Track:
    """The audio of one response that has begun to sound.

    `until_s` is when the last of what was sent of it has sounded. A track that is not `aside`
    belongs to the conversation, and the user may interrupt it.
    """

    response_id: str
    item_id: str
    aside: bool
    sent_ms: float = 0.0
    until_s: float = -math.inf
    done: bool = False


@dataclass(frozen=True, slots=True)
class _Sent:
    """One piece of audio on the clock of the buffer."""

    response_id: str
    start_s: float
    end_s: float


class Playback:
    """The output buffer of one session.

    Args:
        conversation: Where the messages are that are cut when their audio is.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._tracks: dict[str, Track] = {}
        self._queue: list[_Sent] = []
        """What was sent and has not sounded, oldest first."""
        self.until_s = -math.inf
        """When all that was sent has sounded."""
        self._last: str | None = None

    def deadline(self) -> float:
        """When the next response stops; infinite while none is about to."""
        return min((t.until_s for t in self._tracks.values() if t.done), default=math.inf)

    def sounding(self, now: float) -> list[Track]:
        """The responses that have begun and are not over, oldest first."""
        return [t for t in self._tracks.values() if not t.done or t.until_s > now]

    def clear(self, tracks: Iterable[Track]) -> list[Output]:
        """The events that clear these; what they cause follows in `follow`."""
        return [PlaybackCleared(track.response_id) for track in tracks]

    def clear_nothing(self) -> list[Output]:
        """The answer to a client that clears an empty buffer: it names what sounded last."""
        return [] if self._last is None else [PlaybackCleared(self._last)]

    def follow(self, outputs: Sequence[Output], now: float) -> list[Output]:
        """The outputs with the events of the buffer where they belong."""
        self._queue = [sent for sent in self._queue if sent.end_s > now]
        followed: list[Output] = []
        for output in outputs:
            match output:
                case OutputAudioDelta():
                    if output.response_id not in self._tracks:
                        followed.append(self._begin(output))
                    self._play(self._tracks[output.response_id], output.audio, now)
                    followed.append(output)
                case ResponseDone(view) if view.id in self._tracks:
                    self._tracks[view.id].done = True
                    followed.append(output)
                case PlaybackCleared(response_id) if response_id in self._tracks:
                    followed += [output, *self._cut(self._tracks.pop(response_id), now)]
                case _:
                    followed.append(output)
        return followed + self._stop(now)

    def _begin(self, delta: OutputAudioDelta) -> PlaybackStarted:
        aside = delta.item_id not in self._conversation
        self._tracks[delta.response_id] = Track(delta.response_id, delta.item_id, aside)
        self._last = delta.response_id
        return PlaybackStarted(delta.response_id)

    def _play(self, track: Track, pcm: bytes, now: float) -> None:
        length_ms = len(pcm) / BYTES_PER_MS
        start_s = max(now, self.until_s)
        track.until_s = self.until_s = start_s + length_ms / 1000
        track.sent_ms += length_ms
        self._queue.append(_Sent(track.response_id, start_s, self.until_s))

    def _stop(self, now: float) -> list[Output]:
        over = [t for t in self._tracks.values() if t.done and t.until_s <= now]
        for track in over:
            del self._tracks[track.response_id]
        return [PlaybackStopped(track.response_id) for track in over]

    def _cut(self, track: Track, now: float) -> list[Output]:
        """Take what has not sounded out of the queue, and out of the message."""
        unheard_s = sum(
            sent.end_s - max(sent.start_s, now)
            for sent in self._queue
            if sent.response_id == track.response_id
        )
        rest = [sent for sent in self._queue if sent.response_id != track.response_id]
        self._queue, self.until_s = [], now
        for sent in rest:
            # What others have sent moves up.
            end_s = self.until_s + sent.end_s - max(sent.start_s, now)
            self._queue.append(replace(sent, start_s=self.until_s, end_s=end_s))
            self._tracks[sent.response_id].until_s = self.until_s = end_s
        entry = self._conversation.get(track.item_id)
        if entry is None or entry.speech is None:
            # Deleted meanwhile; a client may have given its id to an item of its own.
            return []
        heard_ms = items.truncate(entry, 0, track.sent_ms - unheard_s * 1000)
        return [ItemTruncated(track.item_id, 0, heard_ms)]
