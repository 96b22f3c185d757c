"""Maps what a vendor says it spoke back to the words of the text it was given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from core.messages import WordTime

from .words import find_words

_REACH: Final = 40
"""How many characters a vendor may leave out at once; further off is another place."""


class CharacterAlignment:
    """Word times from the times of single characters.

    Args:
        text: What was given to the vendor; its characters come in this order.
    """

    def __init__(self, text: str) -> None:
        self._cursor = _Cursor(text)
        self._words = deque(find_words(text))

    def add(self, characters: Iterable[tuple[str, float]]) -> tuple[WordTime, ...]:
        """Take characters with their start in ms; returns the words that begin among them."""
        begun: list[WordTime] = []
        for character, start_ms in characters:
            place = None if character.isspace() else self._cursor.find(character)
            while place is not None and self._words and self._words[0].start <= place[0]:
                word = self._words.popleft()
                begun.append(WordTime(word.start, word.end, max(round(start_ms), 0)))
        return tuple(begun)


class WordAlignment:
    """Word times from a vendor's own words.

    Args:
        text: What was given to the vendor; its words come in this order.
    """

    def __init__(self, text: str) -> None:
        self._cursor = _Cursor(text)

    def add(self, word: str, start_ms: float) -> tuple[WordTime, ...]:
        """Take a word; returns where it stands, or nothing when it is not in the text."""
        place = self._cursor.find(word.strip())
        return () if place is None else (WordTime(*place, max(round(start_ms), 0)),)


class _Cursor:
    """Finds pieces of a text one behind the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded = text.lower() if len(text.lower()) == len(text) else text
        self._position = 0

    def find(self, piece: str) -> tuple[int, int] | None:
        """Start and end of the next such piece, read past; None when it is not near."""
        if not piece:
            return None
        reach = self._position + len(piece) + _REACH
        start = self._text.find(piece, self._position, reach)
        if start < 0:
            start = self._folded.find(piece.lower(), self._position, reach)
        if start < 0:
            return None
        self._position = start + len(piece)
        return start, self._position
