"""Turns an engine's word events into the word times of one text."""

from __future__ import annotations

from .voices import is_han

_LONGEST_SYLLABLE_MS = 300


class WordTimeline:
    """Collects word starts in the order they are spoken; each word comes out once.

    espeak-ng reports several words at one position for a number, and no word at all for some
    Chinese characters ("你好" gives only 你): the former are dropped, the latter interpolated.

    Args:
        text: The text the offsets point into.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._last_end = 0
        self._last_ms = 0
        self._ready: list[tuple[int, int, int]] = []

    def add(self, start: int, length: int, start_ms: int) -> None:
        """A word begins at character `start`, `start_ms` after the start of the audio."""
        if start < self._last_end or start >= len(self._text):
            return
        start_ms = max(start_ms, self._last_ms)
        self._fill_gap(start, start_ms)
        end = min(start + max(length, 1), len(self._text))
        self._ready.append((start, end, start_ms))
        self._last_end, self._last_ms = end, start_ms

    def finish(self, end_ms: int) -> None:
        """The audio ends at `end_ms`; no word follows."""
        self._fill_gap(len(self._text), max(end_ms, self._last_ms))

    def take(self) -> list[tuple[int, int, int]]:
        """The words known since the last call: (start, end, start_ms), ascending."""
        words, self._ready = self._ready, []
        return words

    def _fill_gap(self, end: int, end_ms: int) -> None:
        missing = [
            position for position in range(self._last_end, end) if is_han(self._text[position])
        ]
        step_ms = min((end_ms - self._last_ms) / (len(missing) + 1), _LONGEST_SYLLABLE_MS)
        for count, position in enumerate(missing, start=1):
            self._ready.append((position, position + 1, self._last_ms + int(count * step_ms)))
