"""What one assistant message said and when: text, words and audio on one time line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.messages import WordTime

BYTES_PER_MS = 48
"""s16le mono at 24 kHz."""


@dataclass(slots=True)
class _Clause:
    """One stretch of text and the audio that speaks it."""

    text: str
    start_ms: float
    duration_ms: float = 0.0
    words: list[WordTime] = field(default_factory=list[WordTime])

    def text_until(self, ms: float) -> str:
        """The words heard within the first `ms` of this clause.

        A word counts as heard once half of it has sounded: cutting at its first sample keeps words
        nobody recognised, cutting at its last drops words everybody did. Without word times the
        text is cut in proportion, at a word's end.
        """
        if ms >= self.duration_ms:
            return self.text
        if not self.words:
            return _cut_at_word(self.text, len(self.text) * ms / max(self.duration_ms, 1.0))
        end = 0
        for word, following in zip(self.words, [*self.words[1:], None], strict=True):
            word_end_ms = following.start_ms if following else self.duration_ms
            if (word.start_ms + word_end_ms) / 2 > ms:
                break
            end = word.end
        return self.text[:end]


def _cut_at_word(text: str, length: float) -> str:
    """The prefix of about `length` characters that ends between words.

    A word that `length` has got half through is kept, as one is whose times are known. CJK text has
    no spaces: every character is a place to cut.
    """
    cut = min(int(length), len(text))
    begin = end = cut
    while begin > 0 and not _between_words(text, begin):
        begin -= 1
    while end < len(text) and not _between_words(text, end + 1):
        end += 1
    end = min(end + 1, len(text))
    return text[: end if length >= (begin + end) / 2 else begin].rstrip()


def _between_words(text: str, index: int) -> bool:
    """Whether text may be cut in front of the character at `index`."""
    if index >= len(text):
        return True
    before, after = text[index - 1], text[index]
    return after.isspace() or before.isspace() or not (before.isascii() and after.isascii())


class SpeechTimeline:
    """Grows as speech is sent; answers what had been said by a moment of the audio."""

    __slots__ = ("_clauses", "audio_ms")

    def __init__(self) -> None:
        self._clauses: list[_Clause] = []
        self.audio_ms = 0.0

    @property
    def text(self) -> str:
        """All text put on the time line."""
        return "".join(clause.text for clause in self._clauses)

    def add_text(self, text: str) -> None:
        """Text whose audio follows."""
        self._clauses.append(_Clause(text, self.audio_ms))

    def add_words(self, words: Sequence[WordTime]) -> None:
        """Word times of the latest text, see `WordTime` for the units."""
        if self._clauses:
            self._clauses[-1].words.extend(words)

    def add_audio(self, size_bytes: int) -> None:
        """Audio of the latest text, s16le mono 24 kHz."""
        duration_ms = size_bytes / BYTES_PER_MS
        self.audio_ms += duration_ms
        if self._clauses:
            self._clauses[-1].duration_ms += duration_ms

    def expect_audio(self, size_bytes: int) -> None:
        """Audio of the latest text that was made and will never be sent.

        Nobody hears it, but without it what was sent would seem to say the whole text.
        """
        if self._clauses:
            self._clauses[-1].duration_ms += size_bytes / BYTES_PER_MS

    def text_until(self, ms: float) -> str:
        """The text heard when playback stopped after `ms` of this message's audio."""
        heard: list[str] = []
        for clause in self._clauses:
            if ms <= clause.start_ms:
                break
            heard.append(clause.text_until(ms - clause.start_ms))
        return "".join(heard).strip()
