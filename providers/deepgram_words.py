"""What Deepgram tells of the words beside the words: how sure it is of them, and who said them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final

from core.messages import Passage
from protocol import TokenLogprob

from .deepgram_wire import Word, join_pieces
from .recognition import along, log_probability

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def confidences(text: str, words: Iterable[Word]) -> tuple[TokenLogprob, ...]:
    """The words' confidences, in the place of probabilities, as logarithms."""
    return along(text, ((word.text, log_probability(word.confidence)) for word in words))


def passages(words: Iterable[Word], start_s: float) -> tuple[Passage, ...]:
    """Who said what: the words of one speaker up to the next one's.

    Args:
        words: In the order of time; those without a speaker are left out.
        start_s: Where in the stream the segment begins.
    """
    spoken = [word for word in words if word.speaker is not None]
    found: list[Passage] = []
    for speaker, group in groupby(spoken, lambda word: word.speaker):
        said = tuple(group)
        text = ""
        for word in said:
            text = join_pieces(text, word.text)
        first_s, last_s = said[0].start_s - start_s, said[-1].end_s - start_s
        times = round(max(first_s, 0.0), 3), round(max(last_s, 0.0), 3)
        found.append(Passage(text, _label(speaker or 0), *times))
    return tuple(found)


def _label(speaker: int) -> str:
    """As OpenAI labels speakers: A, B, ..."""
    return _LETTERS[speaker] if speaker < len(_LETTERS) else str(speaker)
