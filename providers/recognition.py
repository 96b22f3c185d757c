"""What a recogniser understood of a segment: its words, how sure it is of them, who said them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from core.messages import Passage
from protocol import TokenLogprob

_LEAST_PROBABILITY: Final = 1e-10
"""JSON has no minus infinity."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """Words, and what was asked for beside them.

    Attributes:
        text: All words, without space around them; "" where there are none.
        logprobs: Pieces of `text` in their order; empty unless asked for.
        passages: Who said what, in the order of time; empty unless asked for.
    """

    text: str = field(repr=False)
    logprobs: tuple[TokenLogprob, ...] = field(default=(), repr=False)
    passages: tuple[Passage, ...] = field(default=(), repr=False)


def log_probability(probability: float) -> float:
    """The natural logarithm of a probability, or of a confidence that is used as one."""
    return math.log(min(max(probability, _LEAST_PROBABILITY), 1.0))


def along(text: str, words: Iterable[tuple[str, float]]) -> tuple[TokenLogprob, ...]:
    """Log probabilities of words as those of the pieces of `text` that they stand in.

    Args:
        text: What the words are of.
        words: Each as it is written in `text`, and its log probability.

    Returns:
        Pieces that joined are `text`, up to its last known word. A word that `text` does not have
        is left out.
    """
    pieces: list[TokenLogprob] = []
    told = 0
    for word, logprob in words:
        at = text.find(word, told)
        if at >= 0 and word:
            pieces.append(TokenLogprob(text[told : at + len(word)], logprob))
            told = at + len(word)
    return tuple(pieces)


def between(
    logprobs: Iterable[TokenLogprob], start: int, end: int | None
) -> tuple[TokenLogprob, ...]:
    """The pieces that begin between two characters of the text; to its end for None."""
    pieces: list[TokenLogprob] = []
    at = 0
    for piece in logprobs:
        if start <= at and (end is None or at < end):
            pieces.append(piece)
        at += len(piece.token)
    return tuple(pieces)
