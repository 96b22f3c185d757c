"""The user's side: what audio is waiting, and whether a turn is under way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import assert_never

from protocol import SAMPLE_RATE_HZ, ErrorCode, InvalidRequest, SemanticVad, ServerVad

BYTES_PER_SAMPLE = 2
SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000
MIN_COMMIT_MS = 100
IDLE_KEEP_MS = 30_000
"""Audio kept while turn detection hears nobody: more than any prefix padding, and bounded."""
MAX_BUFFER_MS = 15 * 60_000
"""Longest uncommitted audio; a client that never commits must not fill the memory."""
SEMANTIC_MAX_WAIT_MS = {"high": 2000, "medium": 4000, "auto": 4000, "low": 8000}
"""Silence that ends a turn which never sounded complete (protocol reference §2.3)."""


def samples_to_ms(samples: int) -> int:
    """Whole milliseconds of a position or length at 24 kHz."""
    return samples // SAMPLES_PER_MS


def silence_window_ms(detection: ServerVad | SemanticVad) -> int:
    """How long silence must last to end a turn, whatever was said."""
    match detection:
        case ServerVad():
            return detection.silence_duration_ms
        case SemanticVad():
            return SEMANTIC_MAX_WAIT_MS[detection.eagerness]
        case _:
            assert_never(detection)


def prefix_padding_ms(detection: ServerVad | SemanticVad) -> int:
    """How much audio before the detected speech belongs to the turn."""
    return detection.prefix_padding_ms if isinstance(detection, ServerVad) else 300


@dataclass(frozen=True, slots=True)
class Manual:
    """Turn detection is off; `item_id` is the item being filled, None before its first audio."""

    item_id: str | None


@dataclass(frozen=True, slots=True)
class Listening:
    """Turn detection is on and hears nobody."""


@dataclass(frozen=True, slots=True)
class Speaking:
    """The user speaks; `start` is the first sample of the turn, padding included.

    `settled_at` is set in a pause: up to there the words were asked for ahead of time.
    """

    item_id: str
    start: int
    settled_at: int | None = None


Turn = Manual | Listening | Speaking


class InputBuffer:
    """The audio appended since the last commit or clear, at a position in the session's audio.

    An append costs the same however much is buffered: chunks are kept as they came.
    """

    __slots__ = ("_chunks", "end", "start")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self.start = 0
        """Position of the first sample kept."""
        self.end = 0
        """Position behind the last sample."""

    @property
    def duration_ms(self) -> float:
        """How much audio waits."""
        return (self.end - self.start) / SAMPLES_PER_MS

    def require_room(self, size_bytes: int) -> None:
        """Check that so much more audio fits.

        Raises:
            InvalidRequest: it does not.
        """
        added_ms = size_bytes / (BYTES_PER_SAMPLE * SAMPLES_PER_MS)
        if self.duration_ms + added_ms > MAX_BUFFER_MS:
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                f"The input audio buffer is full: it holds at most {MAX_BUFFER_MS // 60_000} "
                "minutes. Commit or clear it first.",
                "audio",
            )

    def append(self, pcm: bytes) -> None:
        """Add audio."""
        self._chunks.append(pcm)
        self.end += len(pcm) // BYTES_PER_SAMPLE

    def read(self, start: int, end: int) -> bytes:
        """The audio between two positions, as far as it is still there."""
        parts: list[bytes] = []
        position = self.start
        for chunk in self._chunks:
            size = len(chunk) // BYTES_PER_SAMPLE
            low, high = max(start - position, 0), min(end - position, size)
            if low < high:
                parts.append(chunk[low * BYTES_PER_SAMPLE : high * BYTES_PER_SAMPLE])
            position += size
        return b"".join(parts)

    def drop_until(self, position: int) -> None:
        """Forget what lies before `position`."""
        while self._chunks and self.start < position:
            chunk = self._chunks.popleft()
            size = len(chunk) // BYTES_PER_SAMPLE
            if self.start + size > position:
                keep = self.start + size - position
                self._chunks.appendleft(chunk[-keep * BYTES_PER_SAMPLE :])
                size -= keep
            self.start += size

    def drop_chunks_until(self, position: int) -> None:
        """Forget whole chunks before `position`: cheaper than `drop_until`, keeps a little more."""
        while self._chunks:
            size = len(self._chunks[0]) // BYTES_PER_SAMPLE
            if self.start + size > position:
                return
            self._chunks.popleft()
            self.start += size

    def clear(self) -> None:
        """Forget everything."""
        self._chunks.clear()
        self.start = self.end


def require_committable(duration_ms: float) -> None:
    """Refuse to commit less than 100 ms.

    Raises:
        InvalidRequest: code `input_audio_buffer_commit_empty`.
    """
    if duration_ms < MIN_COMMIT_MS:
        raise InvalidRequest(
            ErrorCode.COMMIT_EMPTY,
            "Error committing input audio buffer: buffer too small. Expected at least "
            f"{MIN_COMMIT_MS}ms of audio, but buffer only has {duration_ms:.2f}ms of audio.",
        )
