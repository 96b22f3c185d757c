"""Which words were heard when playback stopped."""

from __future__ import annotations

import pytest

from core.messages import WordTime
from core.speech import SpeechTimeline

MS = 48


def timed() -> SpeechTimeline:
    """Two clauses with word times: "Hello world. " for 1 s, "How are you?" for 1.2 s."""
    line = SpeechTimeline()
    line.add_text("Hello world. ")
    line.add_words((WordTime(0, 5, 0), WordTime(6, 12, 400)))
    line.add_audio(1000 * MS)
    line.add_text("How are you?")
    line.add_words((WordTime(0, 3, 0), WordTime(4, 7, 400), WordTime(8, 12, 800)))
    line.add_audio(1200 * MS)
    return line


@pytest.mark.parametrize(
    ("ms", "heard"),
    [
        (0, ""),
        (150, ""),
        (250, "Hello"),
        (650, "Hello"),
        (750, "Hello world."),
        (1000, "Hello world."),
        (1100, "Hello world."),
        (1250, "Hello world. How"),
        (1700, "Hello world. How are"),
        (2100, "Hello world. How are you?"),
        (9999, "Hello world. How are you?"),
    ],
)
def test_words_by_their_times(ms: float, heard: str) -> None:
    assert timed().text_until(ms) == heard


@pytest.mark.parametrize(
    ("ms", "heard"),
    [
        (0, ""),
        (80, ""),
        (100, "one"),
        (500, "one two"),
        (600, "one two three"),
        (750, "one two three"),
        (1000, "one two three four"),
    ],
)
def test_proportional_without_word_times(ms: float, heard: str) -> None:
    line = SpeechTimeline()
    line.add_text("one two three four")
    line.add_audio(1000 * MS)
    assert line.text_until(ms) == heard


def test_chinese_is_cut_between_characters() -> None:
    line = SpeechTimeline()
    line.add_text("今天天气很好")
    line.add_audio(600 * MS)
    assert line.text_until(240) == "今天"
    assert line.text_until(250) == "今天天"


def test_text_whose_audio_has_not_begun_was_not_heard() -> None:
    line = timed()
    line.add_text(" Never sent.")
    assert "Never" not in line.text_until(2200)
