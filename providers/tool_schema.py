"""Turns a client's JSON schema into one that is safe to work with on the event loop.

Nothing of it is fetched from anywhere, its regular expressions are never run, and its references
are followed a bounded number of times.
"""

from __future__ import annotations

from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

_MAX_NESTED_REFERENCES = 4
_MAX_NODES = 2_000

HAS_PATTERN = "x-has-pattern"
"""Stands in the safe schema where the original has a `pattern`."""

_DROPPED = frozenset({"$schema", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$defs"})
_NAMED_SCHEMAS = frozenset({"properties", "dependentSchemas"})
_SCHEMA_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
# fmt: off
_SCHEMAS = frozenset({
    "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
})
# fmt: on


_TOO_LARGE = "its schema is too large for the scripted model"


class SchemaProblem(ValueError):
    """A schema that cannot be worked with; the message may reach the client."""


def safe_schema(schema: dict[str, Any]) -> tuple[dict[str, Any], type[Validator]]:
    """`schema` with its references replaced by what they name, and the validator of its draft.

    Behind four nested references (a recursive schema) anything goes.

    Raises:
        SchemaProblem: it is no JSON schema, or refers to something it does not contain.
    """
    _check_size(schema)
    draft = Draft202012Validator
    if isinstance(schema.get("$schema"), str):
        draft = validator_for(schema, default=Draft202012Validator)
    try:
        draft.check_schema(schema)
        plain = _Expander(schema).expand(schema, 0)
    except SchemaError as error:
        raise SchemaProblem("its parameters are no JSON schema") from error
    except Unresolvable as error:
        raise SchemaProblem("its schema has a $ref to something it does not contain") from error
    except RecursionError as error:
        raise SchemaProblem("its schema nests too deeply") from error
    return cast("dict[str, Any]", plain), draft


def _check_size(schema: dict[str, Any]) -> None:
    pending: list[Any] = [schema]
    nodes = 0
    while pending:
        node = pending.pop()
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        pending.extend(inner)
        nodes += 1
        if nodes + len(pending) > _MAX_NODES:
            raise SchemaProblem(_TOO_LARGE)


class _Expander:
    def __init__(self, schema: dict[str, Any]) -> None:
        # Without its `$id` the schema is its own and only document.
        own = {key: value for key, value in schema.items() if key not in ("$id", "$schema")}
        resource = Resource.from_contents(own, default_specification=DRAFT202012)
        self._resolver = Registry().with_resource("", resource).resolver()
        self._nodes = 0

    def expand(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict):
            return schema
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise SchemaProblem(_TOO_LARGE)
        plain: dict[str, Any] = {}
        for key, value in cast("dict[str, Any]", schema).items():
            if key in _DROPPED:
                continue
            if key == "pattern":
                plain[HAS_PATTERN] = True
            elif key == "patternProperties":
                continue
            elif key in _NAMED_SCHEMAS:
                plain[key] = {name: self.expand(inner, depth) for name, inner in value.items()}
            elif key in _SCHEMA_LISTS or (key in _SCHEMAS and isinstance(value, list)):
                plain[key] = [self.expand(inner, depth) for inner in value]
            elif key in _SCHEMAS:
                plain[key] = self.expand(value, depth)
            elif key != "$ref":
                plain[key] = value
        if isinstance(reference := schema.get("$ref"), str):
            target = self._follow(reference, depth)
            plain["allOf"] = [*plain.get("allOf", ()), target]
        return plain

    def _follow(self, reference: str, depth: int) -> Any:
        if depth == _MAX_NESTED_REFERENCES:
            return True
        return self.expand(self._resolver.lookup(reference).contents, depth + 1)
