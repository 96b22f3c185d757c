"""Which espeak voice a requested voice name stands for, and which part of a text it can read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# The built-in voices of the API, each as a variant that differs from all others in pitch (by 4 %)
# or brightness (by 10 %); the voice itself (language, accent) stays the configured one.
API_VOICES: Mapping[str, str] = {
    "alloy": "f1",
    "ash": "adam",
    "ballad": "m7",
    "cedar": "m8",
    "coral": "f2",
    "echo": "m1",
    "fable": "Mike",
    "marin": "f3",
    "nova": "linda",
    "onyx": "david",
    "sage": "Annie",
    "shimmer": "f5",
    "verse": "Reed",
}

# espeak answers 2 ("not found") to each of these, and does not look for the nearest relative.
_BCP47: Mapping[str, str] = {
    "zh": "cmn",
    "zh-cn": "cmn",
    "zh-sg": "cmn",
    "zh-tw": "cmn",
    "zh-hans": "cmn",
    "zh-hant": "cmn",
    "cmn-cn": "cmn",
    "zh-hk": "yue",
    "zh-mo": "yue",
    "zh-yue": "yue",
    "yue-hk": "yue",
}

_LANGUAGE_AND_REGION = re.compile(r"[a-z]{2,3}-([a-z]{2}|[a-z]{4}|[0-9]{3})")

_CHINESE = frozenset({"cmn", "yue", "hak"})


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of espeak: one for a language, in the guise of a variant (of `voices/!v`, or "")."""

    language: str
    variant: str = ""

    @property
    def name(self) -> str:
        """As `espeak_SetVoiceByName` takes it."""
        return f"{self.language}+{self.variant}" if self.variant else self.language

    @property
    def chinese(self) -> bool:
        return self.language.split("-")[0] in _CHINESE


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What an installation of espeak offers.

    `languages` maps each name in lower case (language tag, file, title) to a name it accepts;
    `variants` maps each variant in lower case to its file name.
    """

    languages: Mapping[str, str]
    variants: Mapping[str, str]

    def find(self, requested: str, default: Voice) -> Voice | None:
        """The voice for a requested name.

        Args:
            requested: A voice of the API ("alloy"), an espeak voice ("en-us+f3", "de") or a
                language tag ("zh-CN", "fr_CA").
            default: Whose language the voices of the API speak.

        Returns:
            None for an unknown name.
        """
        if (variant := API_VOICES.get(requested.lower())) is not None:
            return Voice(default.language, variant)
        tag, _, variant_name = requested.strip().replace("_", "-").lower().partition("+")
        variant = self.variants.get(variant_name, "") if variant_name else ""
        if variant_name and not variant:
            return None  # espeak itself ignores an unknown variant in silence
        candidates = [_BCP47.get(tag, tag)]
        if _LANGUAGE_AND_REGION.fullmatch(tag):
            candidates.append(tag.split("-")[0])
        found = (self.languages[name] for name in candidates if name in self.languages)
        language = next(found, None)
        return None if language is None else Voice(language, variant)


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of text for one voice; `start` is its offset in the whole text."""

    start: int
    text: str
    voice: Voice


def is_han(character: str) -> bool:
    """Whether a character is a Chinese ideograph: one word each in word times."""
    return (
        "\u4e00" <= character <= "\u9fff"
        or "\u3400" <= character <= "\u4dbf"
        or "\uf900" <= character <= "\ufaff"
        or "\U00020000" <= character <= "\U0003ffff"
    )


def split_by_script(text: str, voice: Voice, fallback: Voice) -> list[Run]:
    """Cut a text so that Chinese is read by a Chinese voice and all else is not.

    Digits, spaces and punctuation stay with what they follow. The speaker's variant is kept over
    the change of language. `fallback` reads what is not Chinese when `voice` itself is Chinese.
    """
    chinese = voice if voice.chinese else Voice("cmn", voice.variant)
    other = voice
    if voice.chinese:
        language = "en-us" if fallback.chinese else fallback.language
        other = Voice(language, voice.variant)
    return list(_runs(text, chinese, other))


def _runs(text: str, chinese: Voice, other: Voice) -> Iterator[Run]:
    start = 0
    current: Voice | None = None
    for position, character in enumerate(text):
        if is_han(character):
            wanted = chinese
        elif character.isalpha():
            wanted = other
        else:
            continue
        if current is not None and wanted is not current:
            yield Run(start, text[start:position], current)
            start = position
        current = wanted
    if start < len(text):
        yield Run(start, text[start:], current or other)
