"""The conditions of a script: which words, which turn, which tools."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .words import comparable, plain

NonEmpty = Annotated[str, Field(min_length=1)]
# YAML has lists only: the tuples are read leniently, their members are not.
Phrases = Annotated[tuple[NonEmpty, ...], Field(min_length=1, strict=False)]
Milliseconds = Annotated[int, Field(ge=0, le=600_000)]


def has_phrase(padded_text: str, phrase: str) -> bool:
    """Whether a text, made ready by `padded`, holds the phrase as whole words."""
    return _padded_phrase(phrase) in padded_text


def padded(text: str) -> str:
    """A text made ready for `has_phrase`."""
    return f" {comparable(text)} "


# Only phrases of the script come here; their number is that of the file's lines.
_padded_phrase = lru_cache(maxsize=1024)(padded)


class ScriptModel(BaseModel):
    """Frozen and strict: a misspelt key is an error, since a script is written by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class UserCondition(ScriptModel):
    """The words of the last user turn; all that are given must hold.

    Words and phrases match as whole words, whatever the case and punctuation; in Chinese and
    Japanese they match anywhere. `regex` searches the turn without its punctuation, ignoring case.
    """

    any: Phrases | None = None
    all: Phrases | None = None
    regex: NonEmpty | None = None

    @field_validator("any", "all")
    @classmethod
    def _has_words(cls, phrases: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for phrase in phrases or ():
            if not comparable(phrase):
                raise ValueError(f"{phrase!r} has no letter or digit to match")
        return phrases

    @field_validator("regex")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"bad regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _has_something(self) -> UserCondition:
        if self.any is None and self.all is None and self.regex is None:
            raise ValueError("give any, all or regex")
        return self

    def holds(self, text: str) -> bool:
        """Whether a turn of these words fits."""
        return self.fits(padded(text), plain(text))

    def fits(self, words: str, plain_text: str) -> bool:
        """`holds` for a text that is `padded` and `plain` already."""
        return (
            (self.any is None or any(has_phrase(words, phrase) for phrase in self.any))
            and (self.all is None or all(has_phrase(words, phrase) for phrase in self.all))
            and (self.regex is None or re.search(self.regex, plain_text, re.IGNORECASE) is not None)
        )


class TurnCondition(ScriptModel):
    """The number of a turn: all that are given must hold; a number alone is `eq`."""

    eq: Annotated[int, Field(ge=0)] | None = None
    gte: Annotated[int, Field(ge=0)] | None = None
    lte: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"eq": value} if isinstance(value, int) and not isinstance(value, bool) else value

    def holds(self, turn: int) -> bool:
        return (
            (self.eq is None or turn == self.eq)
            and (self.gte is None or turn >= self.gte)
            and (self.lte is None or turn <= self.lte)
        )


class When(ScriptModel):
    """The conditions of a rule; all that are given must hold, none given always holds.

    `tool_result` is true for the output of any tool, or the name of one. A rule without it never
    answers a tool's output, a rule with it nothing else.
    """

    user: UserCondition | None = None
    turn: TurnCondition | None = None
    instructions: NonEmpty | None = None
    tool_available: NonEmpty | None = None
    tool_result: NonEmpty | Literal[True] | None = None
