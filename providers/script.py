"""The vocabulary of a script file: what the scripted engines say and do, as validated models.

Reading a file is in `script_file`, choosing a rule in `script_rules`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from protocol import ErrorCategory

from .faults import InjectedFault
from .recording import load_recording
from .script_template import Template
from .script_when import Milliseconds, NonEmpty, ScriptModel, When
from .words import tokens

PROFILES: dict[str, dict[str, float]] = {
    "instant": {},
    "typical": {
        "stt_final_ms": 300,
        "llm_first_token_ms": 400,
        "llm_token_ms": 25,
        "tts_first_audio_ms": 200,
        "tts_realtime_factor": 0.2,
        "jitter": 0.25,
    },
    "slow": {
        "stt_final_ms": 900,
        "llm_first_token_ms": 1500,
        "llm_token_ms": 90,
        "tts_first_audio_ms": 500,
        "tts_realtime_factor": 0.8,
        "jitter": 0.25,
    },
}
"""What each latency profile sets; what it leaves out is 0."""


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


class SayAudio(ScriptModel):
    """Play a recording as the reply, with `text` as its transcript.

    `say_audio` is a WAV, FLAC, OGG or MP3 file of any rate, mono or stereo, beside the script.
    """

    say_audio: NonEmpty
    text: str = ""

    _template = field_validator("text")(_check_templates)

    @field_validator("say_audio")
    @classmethod
    def _is_audio(cls, file: str, info: ValidationInfo) -> str:
        path = (info.context or {}).get("folder", Path()) / file
        load_recording(path)
        return str(path)


class CallTool(ScriptModel):
    """Call a tool of the session; several in one rule go out in one response."""

    tool: NonEmpty
    args: dict[str, Any] = Field(default_factory=dict)

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


ACTIONS = ("say", "say_audio", "tool", "silent", "wait", "fault")
"""The keys an action is known by."""


def _action_kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return next((kind for kind in ACTIONS if kind in value), None)
    return next((kind for kind in ACTIONS if hasattr(value, kind)), None)


Action = Annotated[
    Annotated[Say, Tag("say")]
    | Annotated[SayAudio, Tag("say_audio")]
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
    """How long things take: a profile's name, or numbers, which override those of the profile.

    From the end of a turn to its transcript, from there to the first token of the reply and from
    each token to the next, from each clause to its first audio; then `tts_realtime_factor` seconds
    for each second of speech. `stt_interim_ms` is how far the words that are told while the user
    speaks are behind the audio. `jitter` is the share by which each time of recogniser and model
    may differ, 0.25 for ± 25 %; the seed of the script decides.
    """

    profile: Literal["instant", "typical", "slow"] = "instant"
    stt_final_ms: Milliseconds = 0
    stt_interim_ms: Milliseconds = 0
    llm_first_token_ms: Milliseconds = 0
    llm_token_ms: Milliseconds = 0
    tts_first_audio_ms: Milliseconds = 0
    tts_realtime_factor: Annotated[float, Field(ge=0, le=100)] = 0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0

    @model_validator(mode="before")
    @classmethod
    def _with_profile(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"profile": value}
        if isinstance(value, dict):
            profile = value.get("profile", "instant")
            defaults = PROFILES.get(profile, {}) if isinstance(profile, str) else {}
            return {**defaults, **value}
        return value


class Defaults(ScriptModel):
    """What happens when no rule matches."""

    fallback: Literal["echo", "silent", "error"] | Say | SayAudio = "echo"


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


class SpokenPassage(ScriptModel):
    """What one speaker of a turn says; seconds from the turn's first audio."""

    speaker: NonEmpty
    text: NonEmpty
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    end: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SpokenTurn(ScriptModel):
    """What the user is taken to say in a turn, and what a recogniser may tell beside the words.

    `logprobs` has one number for each piece of `text`: each word, each Chinese or Japanese
    character. Both are told only to clients that ask.
    """

    text: str
    logprobs: (
        Annotated[
            tuple[Annotated[float, Field(le=0, allow_inf_nan=False)], ...], Field(strict=False)
        ]
        | None
    ) = None
    speakers: Annotated[tuple[SpokenPassage, ...], Field(strict=False)] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_one_for_each(self) -> SpokenTurn:
        pieces = len(tokens(self.text))
        if self.logprobs is not None and len(self.logprobs) != pieces:
            raise ValueError(f"the text has {pieces} pieces, logprobs has {len(self.logprobs)}")
        return self


class Script(ScriptModel):
    """A whole script file."""

    version: Literal[1]
    seed: int = 0
    latency: Latency = Latency()
    defaults: Defaults = Defaults()
    stt: Recognition = Recognition()
    greeting: str | None = None
    transcripts: Annotated[tuple[SpokenTurn, ...], Field(strict=False)] = ()
    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = ()
    faults: Annotated[tuple[InjectedFault, ...], Field(strict=False)] = ()

    _template = field_validator("greeting")(_check_templates)
