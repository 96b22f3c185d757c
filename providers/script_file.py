"""Reads a script file; whatever is wrong with it is told by file, line, rule and path at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from protocol import ConfigError

from .script import ACTIONS, Script

DEFAULT_SCRIPT = Path(__file__).parent.parent / "scripts" / "default.yaml"
"""The script in use when `SCRIPT_FILE` names none."""

_VARIABLE = "SCRIPT_FILE"
_WORDING = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping",
}


class ScriptError(ConfigError):
    """A script that does not fit the models.

    Attributes:
        problems: All that is wrong, each with its line, path, and what is allowed.
    """

    def __init__(self, name: str, problems: tuple[str, ...]) -> None:
        super().__init__(_VARIABLE, f"{name}: {'; '.join(problems)}")
        self.problems = problems


def load_script(path: Path) -> Script:
    """Read and check the script at `path`.

    Raises:
        ConfigError: it cannot be read, is no YAML, or does not fit the models; names them all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(_VARIABLE, f"cannot read {path}: {reason}") from error
    return parse_script(text, str(path), path.parent)


def parse_script(text: str, name: str = "script", folder: Path = Path()) -> Script:
    """Parse the YAML of a script.

    Args:
        text: The YAML.
        name: How errors call it.
        folder: Where the files are that it names.

    Raises:
        ConfigError: as `load_script`.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(_VARIABLE, f"{name}: not valid YAML: {_yaml_problem(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(_VARIABLE, f"{name}: a script is a mapping that starts with `version: 1`")
    try:
        return Script.model_validate(content, context={"folder": folder})
    except ValidationError as error:
        told = (_describe(problem, content, root) for problem in error.errors())
        problems = tuple(dict.fromkeys(problem for problem in told if problem))
        raise ScriptError(name, problems) from error


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or 'cannot be parsed'}"
    return str(error)


def _describe(problem: ErrorDetails, content: dict[str, Any], root: yaml.Node | None) -> str | None:
    path, found = _yaml_path(problem["loc"], content)
    if problem["type"] == "too_short" and found:
        return None  # Its members are wrong, each told on its own; pydantic counts what is left.
    message = _WORDING.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden" and (known := _known_keys(problem["loc"])):
        message += f"; there are: {', '.join(known)}"
    if isinstance(problem.get("input"), bool) and "string" in message:
        message += " (YAML reads yes, no, on and off as true and false: put them in quotes)"
    where = [f"line {_line(root, path)}"]
    if path[:1] == ["rules"] and len(path) > 1:
        where.append(_rule_name(content, path[1]))
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{', '.join(where)}, {shown.lstrip('.') or 'script'}: {message}"


def _known_keys(loc: Sequence[int | str]) -> list[str]:
    """The keys that are known where the last step of `loc` stands."""
    models: list[type[BaseModel]] = [Script]
    for step in loc[:-1]:
        if not isinstance(step, str):
            continue
        tagged = [model for model in models if step in model.model_fields and step in ACTIONS]
        fields = [model.model_fields[step] for model in models if step in model.model_fields]
        # The step of a union's tag stays among the models of the step before.
        models = tagged or [model for each in fields for model in _models(each.annotation)]
    return list(dict.fromkeys(key for model in models for key in model.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _yaml_path(loc: Sequence[int | str], content: Any) -> tuple[list[int | str], Any]:
    """The steps of `loc` that the file has, and what stands there.

    Left out are the steps that pydantic adds for the members of its unions; kept is a last step
    that names a missing key.
    """
    path: list[int | str] = []
    at = content
    tagged = False
    for index, step in enumerate(loc):
        if not tagged and path[-2:-1] == ["do"] and step in ACTIONS:
            tagged = True
        elif _has(at, step):
            at = at[step]
            path.append(step)
        elif index == len(loc) - 1 and isinstance(at, dict) and isinstance(step, str):
            return [*path, step], None
    return path, at


def _has(content: Any, step: int | str) -> bool:
    if isinstance(content, dict):
        return step in content
    return isinstance(content, list) and isinstance(step, int) and step < len(content)


def _rule_name(content: dict[str, Any], index: Any) -> str:
    rules = content.get("rules")
    rule = rules[index] if isinstance(rules, list) and isinstance(index, int) else None
    rule_id = rule.get("id") if isinstance(rule, dict) else None
    return f"rule {rule_id!r}" if isinstance(rule_id, str) else f"rule number {index + 1}"


def _line(node: yaml.Node | None, path: Sequence[Any]) -> int:
    """The line, from 1, of the deepest node on `path` that exists."""
    line = 1
    for step in path:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = node.value[step] if step < len(node.value) else None
            line = found.start_mark.line + 1 if found is not None else line
        if found is None:
            break
        node = found
    return line
