"""Builds the arguments of a scripted tool call so that they satisfy the tool's own JSON schema."""

from __future__ import annotations

import json
import math
from typing import Any, cast

from jsonschema.exceptions import best_match

from protocol import FunctionTool

from .tool_schema import HAS_PATTERN, SchemaProblem, safe_schema

_MAX_PADDING = 1000
_NO_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
_FORMATS = {
    "date": "2000-01-01",
    "time": "12:00:00Z",
    "date-time": "2000-01-01T12:00:00Z",
    "email": "user@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_ADVICE = "give a fitting value in the `args` of the script rule"


class ArgumentError(ValueError):
    """No arguments can be made for this tool; the message may reach the client."""


def build_arguments(tool: FunctionTool, given: dict[str, Any]) -> dict[str, Any]:
    """`given`, plus a typed placeholder for each required property that it lacks.

    A given text becomes a number or a boolean where the schema wants one and the text is one.
    A `pattern` is not checked: running a client's regular expression could hold the event loop.

    Raises:
        ArgumentError: the schema cannot be worked with, or the arguments do not satisfy it.
    """
    try:
        schema, draft = safe_schema(tool.parameters or _NO_SCHEMA)
        arguments = _complete(_merge(schema), given)
        problem = best_match(draft(schema).iter_errors(arguments))
    except (SchemaProblem, ArgumentError) as error:
        raise ArgumentError(f"tool {tool.name!r}: {error}") from error
    except (ArithmeticError, RecursionError) as error:
        raise ArgumentError(f"tool {tool.name!r}: its schema is out of all measure") from error
    if problem is not None:
        where = ".".join(str(step) for step in problem.absolute_path) or "the arguments"
        raise ArgumentError(
            f"tool {tool.name!r}: {where} would not satisfy {problem.validator or 'false'!r} "
            f"of its schema; {_ADVICE}"
        )
    return arguments


def _complete(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    arguments = {name: _fit(properties.get(name, True), value) for name, value in given.items()}
    for name in schema.get("required", ()):
        if name not in arguments:
            arguments[name] = _placeholder(properties.get(name, True), name)
    return arguments


def _fit(schema: Any, value: Any) -> Any:
    """`value` with texts read as the type that the schema wants, and its own gaps filled."""
    schema = _merge(schema)
    match value:
        case dict():
            return _complete(schema, cast("dict[str, Any]", value))
        case list():
            return [_fit(schema.get("items", True), item) for item in cast("list[Any]", value)]
        case str():
            return _read(value, _types(schema))
        case _:
            return value


def _read(text: str, types: list[str]) -> Any:
    if not types or "string" in types:
        return text
    if "boolean" in types and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = json.loads(text)
    except (ValueError, RecursionError):
        return text
    match number:
        case int() if "integer" in types or "number" in types:
            return number
        case float() if "number" in types and math.isfinite(number):
            return number
        case _:
            return text


def _placeholder(schema: Any, name: str) -> Any:
    schema = _merge(schema)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if schema.get(key):
            return schema[key][0]
    if HAS_PATTERN in schema:
        raise ArgumentError(f"{name} has to match a pattern; {_ADVICE}")
    match next(iter(_types(schema)), "string"):
        case "object":
            return _complete(schema, {})
        case "array":
            return [_placeholder(schema.get("items", True), name)] * _size(schema, "minItems", name)
        case "integer" | "number" as wanted:
            number = _number(schema)
            return math.ceil(number) if wanted == "integer" or number == int(number) else number
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return _string(schema, name)


def _number(schema: dict[str, Any]) -> float:
    step = schema.get("multipleOf", 1)
    lowest = schema.get("minimum")
    if "exclusiveMinimum" in schema:
        lowest = (math.floor(schema["exclusiveMinimum"] / step) + 1) * step
    if lowest is not None:
        return math.ceil(lowest / step) * step if "multipleOf" in schema else lowest
    highest = schema.get("maximum", schema.get("exclusiveMaximum", step + 1))
    return step if highest > step else math.floor((highest - step) / step) * step


def _string(schema: dict[str, Any], name: str) -> str:
    text = _FORMATS.get(schema.get("format", ""), name)
    text = text.ljust(_size(schema, "minLength", name), "x")
    return text[: schema.get("maxLength", len(text))]


def _size(schema: dict[str, Any], key: str, name: str) -> int:
    size = int(schema.get(key, 0))
    if size > _MAX_PADDING:
        raise ArgumentError(f"{name} has to be at least {size} long; {_ADVICE}")
    return size


def _types(schema: dict[str, Any]) -> list[str]:
    """The JSON types a value may have, the likeliest first; empty when any will do."""
    types = schema.get("type")
    if types is None:
        if "properties" in schema or "required" in schema:
            return ["object"]
        return ["array"] if "items" in schema else []
    listed = cast("list[str]", [types] if isinstance(types, str) else types)
    return sorted(listed, key=lambda wanted: wanted == "null")


def _merge(schema: Any) -> dict[str, Any]:
    """`schema` with `allOf` and the first branch of `anyOf` and `oneOf` merged into it."""
    if not isinstance(schema, dict):
        return {}
    merged = cast("dict[str, Any]", schema)
    parts = [*merged.get("allOf", ())]
    parts += [branches[0] for key in ("anyOf", "oneOf") if (branches := merged.get(key))]
    for part in map(_merge, parts):
        merged = {
            **part,
            **merged,
            "properties": {**part.get("properties", {}), **merged.get("properties", {})},
            "required": [*part.get("required", ()), *merged.get("required", ())],
        }
        for key in ("properties", "required"):
            if not merged[key]:
                del merged[key]
    return merged
