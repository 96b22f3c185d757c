"""How text falls into words and tokens, for Chinese and Japanese as for scripts with spaces."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# Han with its extensions, kana (full and half width): scripts written without spaces between
# words. Hangul is not among them.
_CJK = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_CJK_PUNCTUATION = (
    "\u3001-\u3004\u3008-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65…—“”‘’"
)

_CJK_CHAR = re.compile(f"[{_CJK}]")
_TOKEN = re.compile(rf"\s*(?:[{_CJK}][{_CJK_PUNCTUATION}]*|[^\s{_CJK}]+)|\s+")
_WORD = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")
_NUMBER_MARK = re.compile(r"(?<=\d)[.,:](?=\d)")


@dataclass(frozen=True, slots=True)
class Word:
    """A word and where it stands: `text[start:end]`, punctuation around it left out."""

    text: str
    start: int
    end: int


def is_cjk(char: str) -> bool:
    """Whether `char` belongs to a script that puts no spaces between words."""
    return _CJK_CHAR.match(char) is not None


def is_speakable(text: str) -> bool:
    """Whether `text` has anything to say: a letter, a digit, a symbol such as an emoji or `€`."""
    return any(char.isalnum() or unicodedata.category(char) in ("So", "Sc") for char in text)


def tokens(text: str) -> list[str]:
    """The pieces a reply is streamed and counted in; joined they are `text` again.

    A piece is what stands between spaces, with the space in front of it; a Chinese or Japanese
    character is a piece of its own, with the punctuation behind it.
    """
    return _TOKEN.findall(text)


def find_words(text: str) -> list[Word]:
    """The words of `text` in their order; a Chinese or Japanese character is a word."""
    words: list[Word] = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        while start < end and not is_speakable(text[start]):
            start += 1
        while end > start and not _closes_word(text[end - 1]):
            end -= 1
        if start < end:
            words.append(Word(text[start:end], start, end))
    return words


def plain(text: str) -> str:
    """`text` without punctuation and symbols, one space between words, case kept.

    Apostrophes inside words and the marks inside numbers (`3.14`, `12:30`) stay.
    """
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    kept = {match.start() for match in _NUMBER_MARK.finditer(text)}
    for index in range(1, len(text) - 1):
        if text[index] == "'" and text[index - 1].isalnum() and text[index + 1].isalnum():
            kept.add(index)
    return " ".join(
        "".join(
            char if index in kept or unicodedata.category(char)[0] not in "PS" else " "
            for index, char in enumerate(text)
        ).split()
    )


def comparable(text: str) -> str:
    """`text` as space-separated case-folded words, so that phrases compare as whole words.

    `f" {phrase} " in f" {text} "` finds a phrase in any script: each Chinese or Japanese
    character stands alone.
    """
    folded = plain(text).casefold().replace("'", "")
    return " ".join(_CJK_CHAR.sub(lambda match: f" {match.group()} ", folded).split())


def _closes_word(char: str) -> bool:
    # A combining vowel sign or variation selector belongs to the letter or symbol before it.
    return is_speakable(char) or unicodedata.category(char)[0] == "M"
