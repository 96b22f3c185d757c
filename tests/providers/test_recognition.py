"""Probabilities of words laid along the text they are of."""

from __future__ import annotations

import math

import pytest

from core.messages import Passage
from protocol import TokenLogprob
from providers.deepgram_wire import Word
from providers.deepgram_words import passages
from providers.recognition import along, between, log_probability


@pytest.mark.parametrize(
    ("text", "words", "pieces"),
    [
        ("", ["one"], []),
        ("one two", ["one", "two"], ["one", " two"]),
        ("one one", ["one", "one"], ["one", " one"]),
        ("one two", ["<s>", "one", "<sil>", "two", "</s>"], ["one", " two"]),
        ("one two three", ["two"], ["one two"]),
        ("你好。", ["你", "好。"], ["你", "好。"]),
        ("one", ["", "one"], ["one"]),
    ],
)
def test_words_become_pieces_of_the_text(text: str, words: list[str], pieces: list[str]) -> None:
    found = along(text, ((word, -1.0) for word in words))
    assert found == tuple(TokenLogprob(piece, -1.0) for piece in pieces)


def test_a_probability_becomes_its_natural_logarithm() -> None:
    assert log_probability(0.5) == pytest.approx(math.log(0.5))
    assert log_probability(1.0002) == 0.0
    assert -30 < log_probability(0.0) < -20


@pytest.mark.parametrize(
    ("start", "end", "told"), [(0, None, 3), (0, 3, 1), (3, 7, 1), (4, None, 1), (9, None, 0)]
)
def test_pieces_belong_where_they_begin(start: int, end: int | None, told: int) -> None:
    pieces = tuple(TokenLogprob(word, -1.0) for word in ("one", " two", " x"))
    assert len(between(pieces, start, end)) == told


def word(text: str, start_s: float, speaker: int | None) -> Word:
    return Word(text, start_s, start_s + 0.5, 0.9, speaker)


def test_the_words_of_one_speaker_are_a_passage() -> None:
    said = (word("Hi.", 4.0, 0), word("It's", 4.5, 1), word("me.", 5.0, 1), word("Oh!", 5.5, 0))
    assert passages(said, 4.2) == (
        Passage("Hi.", "A", 0.0, 0.3),
        Passage("It's me.", "B", 0.3, 1.3),
        Passage("Oh!", "A", 1.3, 1.8),
    )
    assert passages((word("Hi.", 0.0, None),), 0.0) == ()
    assert passages((word("Hi.", 0.0, 26),), 0.0)[0].speaker == "26"
