"""Arguments of scripted tool calls: filled, fitted, or refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import FunctionTool
from providers.tool_arguments import ArgumentError, build_arguments


def build(parameters: dict[str, Any] | None, given: dict[str, Any] | None = None) -> dict[str, Any]:
    return build_arguments(FunctionTool(name="f", parameters=parameters), given or {})


def placeholder(schema: Any, **rest: Any) -> Any:
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"], **rest}
    return build(parameters)["x"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "x"),
        ({}, "x"),
        (True, "x"),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": "string", "format": "date"}, "2000-01-01"),
        ({"type": "string", "default": "d", "enum": ["a", "d"]}, "d"),
        ({"enum": ["a", "b"]}, "a"),
        ({"const": 7}, 7),
        ({"type": "string", "pattern": "^a", "examples": ["abc"]}, "abc"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "integer", "exclusiveMinimum": 0.5}, 1),
        ({"type": "integer", "maximum": -3}, -4),
        ({"type": "number", "minimum": 0.5}, 0.5),
        ({"type": "boolean"}, False),
        ({"type": ["null", "boolean"]}, False),
        ({"type": "null"}, None),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"properties": {"y": {"type": "integer"}}, "required": ["y"]}, {"y": 1}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, 3),
    ],
)
def test_placeholders_by_type(schema: Any, value: Any) -> None:
    assert placeholder(schema) == value


def test_references_inside_the_schema_are_followed() -> None:
    node = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
        "required": ["value"],
    }
    assert placeholder({"$ref": "#/$defs/node"}, **{"$defs": {"node": node}}) == {"value": 1}


SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "far": {"type": "number"},
        "rain": {"type": "boolean"},
        "at": {"type": "object", "properties": {"hour": {"type": "integer"}}},
        "list": {"type": "array", "items": {"type": "integer"}},
        "code": {"type": "string", "pattern": "(a+)+$"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"city": "Rome"}, {"city": "Rome", "days": 1}),
        ({"city": "5", "days": "5"}, {"city": "5", "days": 5}),
        ({"city": "", "days": 1, "far": "2.5"}, {"city": "", "days": 1, "far": 2.5}),
        ({"city": "", "days": 1, "rain": "True"}, {"city": "", "days": 1, "rain": True}),
        ({"city": "", "days": 1, "at": {"hour": "3"}}, {"city": "", "days": 1, "at": {"hour": 3}}),
        ({"city": "", "days": 1, "list": ["1", 2]}, {"city": "", "days": 1, "list": [1, 2]}),
    ],
)
def test_given_values_are_fitted(given: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert build(SCHEMA, given) == arguments


def test_a_tool_without_parameters_takes_what_is_given() -> None:
    assert build(None) == {}
    assert build(None, {"a": 1}) == {"a": 1}


def test_a_clients_regular_expression_is_never_run() -> None:
    code = "a" * 64 + "!"
    assert build(SCHEMA, {"city": "", "days": 1, "code": code})["code"] == code


DEEP: dict[str, Any] = {}
for _ in range(900):
    DEEP = {"allOf": [DEEP]}

DOUBLING = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 20} for i in range(30)}


@pytest.mark.parametrize(
    ("parameters", "given", "told"),
    [
        (SCHEMA, {"town": "Rome"}, "'additionalProperties'"),
        (SCHEMA, {"days": "many"}, "days would not satisfy 'type'"),
        (SCHEMA, {"far": "NaN"}, "far would not satisfy 'type'"),
        ({"properties": {"x": {"pattern": "^a"}}, "required": ["x"]}, {}, "has to match a pattern"),
        ({"properties": {"x": {"minLength": 10**9}}, "required": ["x"]}, {}, "has to be at least"),
        ({"required": ["x"], "properties": {"x": False}}, {}, "would not satisfy 'false'"),
        ({"type": 5}, {}, "no JSON schema"),
        ({"$ref": "http://localhost:9/schema.json"}, {}, "a $ref to something it does not contain"),
        ({"$ref": "#/$defs/absent"}, {}, "a $ref to something it does not contain"),
        ({"$id": "http://localhost:9/", "$ref": "other"}, {}, "a $ref to something"),
        (DEEP, {}, "nests too deeply"),
        ({"$defs": {**DOUBLING, "a30": {}}, "$ref": "#/$defs/a0"}, {}, "too large"),
        ({"enum": list(range(100_000))}, {}, "too large"),
    ],
)
def test_what_cannot_be_satisfied_is_refused(
    parameters: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        build(parameters, given)
    assert str(caught.value).startswith("tool 'f': ")
    assert told in str(caught.value)
