"""The profiles file: which model names have a stack of their own, and what they say of it.

It knows the shape of the file; which engines there are is for `service_providers.py` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from config import Settings
from protocol import ConfigError
from setting_kinds import engine_names

VARIABLE: Final = "PROFILES_FILE"
_KEYS_ELSEWHERE: Final = (
    "keys do not belong into this file: put the key into a variable of the environment or .env, "
    "and the variable's name here, as api_key_env"
)
_WORDING: Final = {
    "missing": "is required",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be an engine or a list of engines",
    "too_short": "must name at least one",
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineSpec(_Section):
    """One engine of a stage; what is None is as the environment has it."""

    provider: str
    model: str | None = None
    voice: str | None = None
    language: str | None = None
    base_url: str | None = None
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    script: Path | None = None
    phrases: tuple[str, ...] | None = None
    voices: dict[str, str] = Field(default_factory=dict)
    """The engine's own voices by the names that clients use."""

    def options(self) -> dict[str, Any]:
        """What the engine is told, without the provider and the names of voices."""
        told = self.model_dump(exclude={"provider", "voices"})
        return {name: value for name, value in told.items() if value is not None}


def _as_engines(value: Any) -> Any:
    """`a,b`, one mapping, or a list of either, as a list of mappings."""
    entries = value if isinstance(value, list) else [value]
    engines: list[Any] = []
    for entry in entries:
        if isinstance(entry, str):
            engines += [{"provider": name} for name in engine_names(entry)]
        else:
            engines.append(entry)
    return tuple(engines)


Engines = Annotated[
    tuple[EngineSpec, ...], BeforeValidator(_as_engines), Field(min_length=1, max_length=8)
]


class VadSpec(_Section):
    """Where a profile's turn detection starts from."""

    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    silence_duration_ms: Annotated[int, Field(ge=0, le=60_000)] | None = None
    prefix_padding_ms: Annotated[int, Field(ge=0, le=10_000)] | None = None


class Profile(_Section):
    """The stack behind one model name; a stage that is None is as the environment has it."""

    stt: Engines | None = None
    llm: Engines | None = None
    tts: Engines | None = None
    vad: VadSpec = VadSpec()
    instructions: str | None = None
    temperature: Annotated[float, Field(ge=0.6, le=1.2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    context_tokens: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    playback: Literal["client", "server"] | None = None
    speculative_turns: bool | None = None
    speculate_after_ms: Annotated[int, Field(ge=0, le=60_000)] | None = None

    def over(self, settings: Settings) -> Settings:
        """The settings of the profile's sessions."""
        sections: dict[str, dict[str, Any]] = {
            "vad": self.vad.model_dump(),
            "session": {
                "instructions": self.instructions,
                "playback": self.playback,
                "speculative_turns": self.speculative_turns,
                "speculate_after_ms": self.speculate_after_ms,
            },
            "llm": {
                "temperature": self.temperature,
                "max_tokens": self.max_tokens,
                "context_tokens": self.context_tokens,
            },
        }
        changed = {
            f"{section}.{name}": value
            for section, fields in sections.items()
            for name, value in fields.items()
            if value is not None
        }
        return patched(settings, changed)


class _File(_Section):
    version: Literal[1]
    default: str
    profiles: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=256)], Profile], Field(min_length=1)
    ]


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profiles by the names of their models, and the one for all other names."""

    path: Path
    default: str
    by_name: Mapping[str, Profile]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models, the default one first."""
        return tuple(sorted(self.by_name, key=lambda name: name != self.default))

    def error(self, place: str, problem: str) -> ConfigError:
        """The refusal of what stands at a place of the file."""
        return ConfigError(VARIABLE, f"{self.path}: {place}: {problem}")


def patched(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with some leaves replaced, each named `section.field`, and checked.

    Raises:
        ValidationError: a value that the leaf cannot have.
    """
    tree: dict[str, Any] = {}
    for path, value in changes.items():
        section, field = path.split(".")
        tree.setdefault(section, {})[field] = value
    sections: dict[str, Any] = {}
    for section, fields in tree.items():
        current: BaseModel = getattr(settings, section)
        values = {name: getattr(current, name) for name in type(current).model_fields}
        sections[section] = type(current).model_validate(values | fields)
    return settings.model_copy(update=sections)


def load_profiles(settings: Settings) -> Profiles | None:
    """Read and check the file the settings name; None when they name none.

    Raises:
        ConfigError: it cannot be read, is no YAML or says what a profile cannot; told by file,
            profile and key.
    """
    path = settings.session.profiles
    if path is None:
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(VARIABLE, f"cannot read {path}: {reason}") from error
    except yaml.YAMLError as error:
        raise ConfigError(VARIABLE, f"{path}: not valid YAML: {_yaml_problem(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(VARIABLE, f"{path}: must be a mapping of version, default and profiles")
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        told = "; ".join(_describe(problem) for problem in problems)
        raise ConfigError(VARIABLE, f"{path}: {told}") from None
    profiles = Profiles(path, file.default, file.profiles)
    if file.default not in file.profiles:
        known = ", ".join(file.profiles)
        raise profiles.error(
            "default", f"must be one of the profiles ({known}), not {file.default!r}"
        )
    return profiles


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or 'cannot be parsed'}"
    return str(error)


def _describe(problem: ErrorDetails) -> str:
    steps = [step for step in problem["loc"] if step != "[key]"]
    place = ""
    if steps[:1] == ["profiles"] and len(steps) > 1:
        place = f"profile {str(steps[1])!r}, "
        steps = steps[2:]
    key = ".".join(str(step) for step in steps)
    return f"{place}{key}: {_wording(problem, str(steps[-1]) if steps else '')}".replace(", :", ":")


def _wording(problem: ErrorDetails, key: str) -> str:
    if problem["type"] == "extra_forbidden":
        if "key" in key or "secret" in key or "token" in key:
            return _KEYS_ELSEWHERE
        return f"unknown key; there are: {', '.join(_siblings(problem['loc']))}"
    message = _WORDING.get(problem["type"])
    return message or problem["msg"].replace("Input should be", "must be").removeprefix(
        "Value error, "
    )


def _siblings(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where an unknown one stands."""
    match loc:
        case ("profiles", _, "vad", _):
            model: type[BaseModel] = VadSpec
        case ("profiles", _, _):
            model = Profile
        case ("profiles", _, _, _, _):
            model = EngineSpec
        case _:
            model = _File
    return list(model.model_fields)
