"""The vocabulary of a script file: what the scripted engines say and do, as validated models.

Reading a file is in `script_file`, choosing a rule in `script_rules`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from protocol import ErrorCategory

from .script_template import Template
from .words import comparable

NonEmpty = Annotated[str, Field(min_length=1)]
# YAML has lists only: the tuples are read leniently, their members are not.
Phrases = Annotated[tuple[NonEmpty, ...], Field(min_length=1, strict=False)]
Milliseconds = Annotated[int, Field(ge=0, le=600_000)]

PROFILES: dict[str, dict[str, float]] = {
    "fast": {},
    "natural": {
        "stt_final_ms": 250,
        "ttft_ms": 350,
        "token_ms": 25,
        "tts_first_ms": 120,
        "jitter": 0.25,
    },
    "slow": {
        "stt_final_ms": 900,
        "ttft_ms": 1500,
        "token_ms": 90,
        "tts_first_ms": 500,
        "jitter": 0.25,
    },
    "custom": {},
}
"""What each latency profile sets; what it leaves out is 0."""


class ScriptModel(BaseModel):
    """Frozen and strict: a misspelt key is an error, since a script is written by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# --- when -----------------------------------------------------------------------------------


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


class TurnCondition(ScriptModel):
    """The number of user turns so far, this one included."""

    eq: Annotated[int, Field(ge=0)] | None = None
    gte: Annotated[int, Field(ge=0)] | None = None
    lte: Annotated[int, Field(ge=0)] | None = None

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

    @field_validator("turn", mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"eq": value} if isinstance(value, int) and not isinstance(value, bool) else value


# --- do -------------------------------------------------------------------------------------


def _check_templates(value: Any) -> Any:
    match value:
        case str():
            Template(value)
        case dict():
            for inner in value.values():
                _check_templates(inner)
        case list():
            for inner in value:
                _check_templates(inner)
        case _:
            pass
    return value


class Say(ScriptModel):
    """Say a template; with `chunks`, only its first tokens."""

    say: str
    chunks: Annotated[int, Field(ge=1)] | None = None

    _template = field_validator("say")(_check_templates)


class CallTool(ScriptModel):
    """Call a tool of the session; several in one rule go out in one response."""

    tool: NonEmpty
    args: dict[str, Any] = {}

    _templates = field_validator("args")(_check_templates)


class Silent(ScriptModel):
    """Answer with nothing."""

    silent: Literal[True]


class Wait(ScriptModel):
    """Let time pass, in milliseconds."""

    wait: Milliseconds


class Fault(ScriptModel):
    """End the reply in a failure; what stands before it in the rule has been sent by then.

    `llm.error` fails with `category`, `llm.disconnect` as a lost connection, `llm.hang` never
    ends by itself, `llm.empty` ends with nothing more.
    """

    fault: Literal["llm.error", "llm.disconnect", "llm.hang", "llm.empty"]
    category: Annotated[ErrorCategory, Field(strict=False)] = ErrorCategory.SERVER
    message: NonEmpty | None = None


ACTIONS = ("say", "tool", "silent", "wait", "fault")
"""The keys an action is known by."""


def _action_kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return next((kind for kind in ACTIONS if kind in value), None)
    return next((kind for kind in ACTIONS if hasattr(value, kind)), None)


Action = Annotated[
    Annotated[Say, Tag("say")]
    | Annotated[CallTool, Tag("tool")]
    | Annotated[Silent, Tag("silent")]
    | Annotated[Wait, Tag("wait")]
    | Annotated[Fault, Tag("fault")],
    Discriminator(
        _action_kind,
        custom_error_type="unknown_action",
        custom_error_message=f"an action is a mapping with one of the keys {', '.join(ACTIONS)}",
    ),
]


# --- the file -------------------------------------------------------------------------------


class Rule(ScriptModel):
    """When to do what."""

    id: NonEmpty
    when: When = When()
    do: Annotated[tuple[Action, ...], Field(min_length=1, strict=False)]


class Latency(ScriptModel):
    """How long things take; a field that is given overrides its profile.

    `jitter` is the share by which each time may differ, 0.25 for ± 25 %.
    """

    profile: Literal["fast", "natural", "slow", "custom"] = "fast"
    stt_final_ms: Milliseconds = 0
    ttft_ms: Milliseconds = 0
    token_ms: Milliseconds = 0
    tts_first_ms: Milliseconds = 0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0

    @model_validator(mode="before")
    @classmethod
    def _with_profile(cls, value: Any) -> Any:
        if isinstance(value, dict):
            profile = value.get("profile", "fast")
            defaults = PROFILES.get(profile, {}) if isinstance(profile, str) else {}
            return {**defaults, **value}
        return value


class Defaults(ScriptModel):
    """What happens when no rule matches."""

    fallback: Literal["echo", "silent", "error"] | Say = "echo"


class Recognition(ScriptModel):
    """How the user's speech becomes words while this script plays, unless the settings say.

    `general` hears free English, `phrases` only the phrases listed, `scripted` nothing: it tells
    the script's `transcripts` in turn.
    """

    mode: Literal["general", "phrases", "scripted"] = "general"
    phrases: Annotated[tuple[NonEmpty, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _has_phrases(self) -> Recognition:
        if self.mode == "phrases" and not self.phrases:
            raise ValueError("mode phrases needs a list of phrases")
        return self


class Script(ScriptModel):
    """A whole script file."""

    version: Literal[1]
    seed: int = 0
    latency: Latency = Latency()
    defaults: Defaults = Defaults()
    stt: Recognition = Recognition()
    greeting: str | None = None
    transcripts: Annotated[tuple[str, ...], Field(strict=False)] = ()
    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = ()

    _template = field_validator("greeting")(_check_templates)
