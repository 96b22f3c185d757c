"""What each setting is, where its value comes from, and whether a set of changes would do.

It reads and judges; it writes nothing, knows no HTTP, and shows no secret.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypedDict
from urllib.parse import urlsplit

from pydantic import SecretStr

import env_file
from config import VARIABLES, Settings, Variable, load_settings
from protocol import ConfigError, Stage

Source = Literal["start", "environment", "file", "default"]
"""`start` is the command line, or the program that made the application."""
Kind = Literal["text", "secret", "choice", "switch", "number", "list", "engines", "path"]

_KINDS: Final[Mapping[str, Kind]] = {
    "boolean": "switch",
    "integer": "number",
    "number": "number",
    "array": "list",
}


class Setting(TypedDict):
    """One row of the table; values are as one would write them into `.env`.

    Attributes:
        value: What the running server has; None when unset, and for secrets.
        saved: What `.env` has at present; None when it has none, and for secrets.
        is_set, is_saved: Whether there is such a value, for secrets too.
        shadowed: Whether the environment has the last word on it.
        restart: Whether a restart would change it.
    """

    name: str
    section: str
    description: str
    kind: Kind
    secret: bool
    choices: list[str]
    minimum: float | None
    maximum: float | None
    separator: str | None
    default: str | None
    value: str | None
    saved: str | None
    is_set: bool
    is_saved: bool
    source: Source
    shadowed: bool
    restart: bool


class SettingsTable:
    """The settings of a running process beside those it would start with next time.

    Args:
        running: What the process was started with.
        environ: Its environment.
        path: Its `.env`.
    """

    def __init__(self, running: Settings, environ: Mapping[str, str], path: Path) -> None:
        self._running = running
        self._environ = {name: value for name, value in environ.items() if value.strip()}
        self.path = path
        self._at_start = self._saved()
        self._given = self._loaded(self._at_start)

    def rows(self) -> list[Setting]:
        """The table, in the order of `.env.example`."""
        saved = self._saved()
        following = self._loaded(saved)
        return [self._row(name, saved, following) for name in VARIABLES]

    def problem(self) -> str:
        """Why the server would not start again as things are; "" when it would."""
        try:
            self.following()
        except ConfigError as error:
            return str(error)
        return ""

    def following(self) -> Settings:
        """What a restart would begin with, but for the command line.

        Raises:
            ConfigError: naming the variable it would refuse.
        """
        return load_settings(self.environment(env_file.read(self.path)), None)

    def environment(self, text: str) -> dict[str, str]:
        """All variables of a process started with this text as its `.env`."""
        return env_file.values(text) | self._environ

    def edited(self, changes: Mapping[str, str | None]) -> str:
        """The text of `.env` with the changes made, after the whole of it was judged.

        Args:
            changes: New values by variable; None takes a variable out of the file.

        Raises:
            ConfigError: naming the variable that would be refused and what it may be.
        """
        for name in changes:
            if name not in VARIABLES:
                raise ConfigError(name, "there is no such setting; .env.example lists them all")
        text = env_file.edited(env_file.read(self.path), changes)
        environ = self.environment(text)
        load_settings(environ, None)
        # What the environment hides today must do tomorrow, without it.
        load_settings(environ | {name: value or "" for name, value in changes.items()}, None)
        return text

    def shadowed(self, names: Collection[str]) -> list[str]:
        """Those of the variables that the environment sets, so that the file does not count."""
        return [name for name in names if name in self._environ]

    def _saved(self) -> dict[str, str]:
        try:
            return env_file.values(env_file.read(self.path))
        except ConfigError:
            # `problem()` tells; the table itself can still be shown.
            return {}

    def _loaded(self, saved: dict[str, str]) -> Settings | None:
        try:
            return load_settings(saved | self._environ, None)
        except ConfigError:
            return None

    def _row(self, name: str, saved: Mapping[str, str], following: Settings | None) -> Setting:
        variable = VARIABLES[name]
        schema = _schema(variable)
        value, default = _leaf(self._running, variable), _leaf(Settings(), variable)
        texts = (_text(value, variable), saved.get(name))
        secret = _is_secret(schema) or any(_has_password(text) for text in texts if text)
        source = self._source(name)
        restart = (
            following is not None
            and source != "start"
            and _leaf(following, variable) != (value if self._given is None else self._was(name))
        )
        return Setting(
            name=name,
            section=variable.section,
            description=" ".join(variable.description.split()),
            kind="secret" if secret else _kind(variable, schema),
            secret=secret,
            choices=_choices(variable, schema),
            minimum=schema.get("minimum"),
            maximum=schema.get("maximum"),
            separator=variable.env.separator,
            default=_text(default, variable),
            value=None if secret else texts[0],
            saved=None if secret else texts[1],
            is_set=texts[0] is not None,
            is_saved=texts[1] is not None,
            source=source,
            shadowed=name in self._environ,
            restart=restart,
        )

    def _was(self, name: str) -> Any:
        assert self._given is not None
        return _leaf(self._given, VARIABLES[name])

    def _source(self, name: str) -> Source:
        if self._given is not None and self._was(name) != _leaf(self._running, VARIABLES[name]):
            return "start"
        if name in self._environ:
            return "environment"
        return "file" if name in self._at_start else "default"


def _leaf(settings: Settings, variable: Variable) -> Any:
    return getattr(getattr(settings, variable.section), variable.field)


def _text(value: Any, variable: Variable) -> str | None:
    """A value as it is written into `.env`; None when that leaves it unset."""
    match value:
        case None | ():
            return None
        case bool():
            return str(value).lower()
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return (variable.env.separator or ",").join(str(part) for part in value)
        case _:
            return str(value)


@cache
def _schema(variable: Variable) -> dict[str, Any]:
    """The JSON schema of a leaf, without its `null`."""
    section: Any = Settings.model_fields[variable.section].default
    schema: dict[str, Any] = type(section).model_json_schema()["properties"][variable.field]
    first: dict[str, Any] = schema.get("anyOf", [{}])[0]
    return schema | first


def _is_secret(schema: Mapping[str, Any]) -> bool:
    return schema.get("format") == "password"


def _has_password(text: str) -> bool:
    """Whether a value is a URL with a password in it."""
    try:
        return urlsplit(text).password is not None
    except ValueError:
        return False


def _kind(variable: Variable, schema: Mapping[str, Any]) -> Kind:
    if "enum" in schema:
        return "choice"
    if _stage(variable) is not None:
        return "engines"
    if schema.get("format") == "file-path":
        return "path"
    return _KINDS.get(schema["type"], "text")


def _choices(variable: Variable, schema: Mapping[str, Any]) -> list[str]:
    stage = _stage(variable)
    if stage is None:
        return list(schema.get("enum", ()))
    # The providers import Pipecat, which takes seconds: a running server has done so already.
    from providers.registry import REGISTRY

    return ["auto", *(row.name for row in REGISTRY if row.stage is stage)]


def _stage(variable: Variable) -> Stage | None:
    """The stage whose engines a setting names."""
    if variable.field != "provider":
        return None
    return Stage(variable.section)
