"""The one mapping from a pydantic `ValidationError` to the `InvalidRequest` a client reads.

It knows the wording of protocol reference §5, and no particular field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Sized
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from protocol import ErrorCode, InvalidRequest

ModelT = TypeVar("ModelT", bound=BaseModel)

_EXPECTED = {
    "bool_type": "a boolean",
    "bytes_type": "a string",
    "dict_type": "an object",
    "float_type": "a decimal",
    "int_type": "an integer",
    "list_type": "an array",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "string_type": "a string",
    "tuple_type": "an array",
}
_GOT: dict[type, str] = {
    bool: "a boolean",
    dict: "an object",
    float: "a decimal number",
    int: "an integer",
    list: "an array",
    NoneType: "null",
    str: "a string",
    tuple: "an array",
}
_MAX_QUOTED_CHARS = 64
_MAX_QUOTED_INT = 10**18


def validate(
    model: type[ModelT], value: object, prefix: str, event_id: str | None = None
) -> ModelT:
    """Build `model` from parsed JSON.

    Args:
        model: A strict model; lists are taken where it declares tuples.
        value: What the client sent.
        prefix: Path of `value` in the client event, "" for the event itself.
        event_id: The client's id of the event, when the caller knows it.

    Raises:
        InvalidRequest: Naming the first field that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise to_invalid_request(exc, model, prefix, event_id) from None


def to_invalid_request(
    exc: ValidationError, model: type[BaseModel], prefix: str, event_id: str | None = None
) -> InvalidRequest:
    """Word the first wrong field of `exc` as OpenAI words it (protocol reference §5).

    A union that fits no alternative makes pydantic report every alternative. One that took the
    value apart and disliked something inside tells most; next, one that has the JSON type the
    client sent; without either, all alternatives are named in one sentence.
    """
    errors = exc.errors(include_url=False)
    paths = [_wire_path(model, prefix, error["loc"]) for error in errors]
    path = paths[0]
    while inside := [other for other in paths if other.startswith((f"{path}.", f"{path}["))]:
        path = inside[0]
    rivals = [error for other, error in zip(paths, errors, strict=True) if other == path]
    wanted = [_expected(error) for error in rivals if _is_other_type(error)]
    fitting = [error for error in rivals if not _is_other_type(error)]
    if fitting:
        problem = _describe(path, fitting[0], wanted)
    else:
        problem = _invalid_type(path, wanted, rivals[0]["input"])
    problem.event_id = event_id
    return problem


def quoted(value: str) -> str:
    """`value` in single quotes, cut to a length that is fit for an error message."""
    cut = value if len(value) <= _MAX_QUOTED_CHARS else value[: _MAX_QUOTED_CHARS - 1] + "…"
    return f"'{cut}'"


def listed(values: Sequence[str]) -> str:
    """`'a'`, `'a' and 'b'`, `'a', 'b', and 'c'`."""
    names = [f"'{value}'" for value in values]
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def unsupported_value(value: str, supported: Sequence[str], param: str) -> InvalidRequest:
    """The error for a string outside a closed set."""
    return InvalidRequest(
        ErrorCode.INVALID_VALUE,
        f"Invalid value: {quoted(value)}. Supported values are: {listed(supported)}.",
        param,
    )


def wrong_type(expected: str, value: object, param: str) -> InvalidRequest:
    """The error for a value of another JSON type than `expected`, e.g. `an object`."""
    return _invalid_type(param, [expected], value)


def missing(param: str) -> InvalidRequest:
    """The error for a required field that is absent."""
    return InvalidRequest(
        ErrorCode.MISSING_REQUIRED_PARAMETER, f"Missing required parameter: '{param}'.", param
    )


def string_too_long(param: str, value: str, limit: int) -> InvalidRequest:
    """The error for a string of more than `limit` characters."""
    return InvalidRequest(
        ErrorCode.STRING_ABOVE_MAX_LENGTH,
        f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
        f"but got a string with length {len(value)} instead.",
        param,
    )


def unknown_fields(model: type[BaseModel], value: object, prefix: str = "") -> list[str]:
    """Paths of what `value` holds and `model` does not declare: ignored, but worth a log line."""
    return list(_unknown(list(_alternatives(model)), value, prefix))


# --- one error ------------------------------------------------------------------------------


def _describe(path: str, error: ErrorDetails, others: list[str]) -> InvalidRequest:
    """Word one pydantic error whose JSON type is right; `others` are the types also allowed."""
    context = error.get("ctx", {})
    value: Any = error["input"]
    match error["type"]:
        case "missing":
            return missing(path)
        case "union_tag_not_found":
            return missing(_join(path, _quotes(context["discriminator"])[0]))
        case "union_tag_invalid":
            name = _quotes(context["discriminator"])[0]
            tag, tag_path = value[name], _join(path, name)
            if not isinstance(tag, str):
                return wrong_type("a string", tag, tag_path)
            return unsupported_value(tag, _quotes(context["expected_tags"]), tag_path)
        case "literal_error":
            problem = unsupported_value(value, _quotes(context["expected"]), path)
            if others:
                problem.message = f"{problem.message[:-1]}, or {' or '.join(others)}."
            return problem
        case "greater_than_equal":
            return _out_of_range(path, value, "below", context["ge"])
        case "less_than_equal":
            return _out_of_range(path, value, "above", context["le"])
        case "string_too_long":
            return string_too_long(path, value, context["max_length"])
        case "too_long" | "too_short" | "string_too_short" as kind:
            return _wrong_size(path, value, kind, context)
        case "finite_number":
            message = f"Invalid '{path}': expected a finite number."
        case _:
            # Validators of our own speak in full sentences.
            message = error["msg"]
    return InvalidRequest(ErrorCode.INVALID_VALUE, message, path)


def _wrong_size(path: str, value: Sized, kind: str, context: dict[str, Any]) -> InvalidRequest:
    size = len(value)
    what = "a string" if isinstance(value, str) else "an array"
    if isinstance(value, dict):
        what = "an object"
    side, extreme = ("long", "max") if kind == "too_long" else ("short", "min")
    return InvalidRequest(
        ErrorCode.INVALID_VALUE,
        f"Invalid '{path}': {what.split()[1]} too {side}. Expected {what} with {extreme}imum "
        f"length {context[f'{extreme}_length']}, but got {what} with length {size} instead.",
        path,
    )


def _out_of_range(
    path: str, value: float, side: Literal["below", "above"], limit: float
) -> InvalidRequest:
    codes = {
        ("integer", "below"): ErrorCode.INTEGER_BELOW_MIN,
        ("integer", "above"): ErrorCode.INTEGER_ABOVE_MAX,
        ("decimal", "below"): ErrorCode.DECIMAL_BELOW_MIN,
        ("decimal", "above"): ErrorCode.DECIMAL_ABOVE_MAX,
    }
    # Pydantic keeps the limit in the type of the field, whatever the type of the value is.
    kind = "integer" if isinstance(limit, int) else "decimal"
    extreme, sign = ("minimum", ">=") if side == "below" else ("maximum", "<=")
    shown_limit = str(limit) if isinstance(limit, int) else f"{limit:g}"
    # Python refuses to print an int of thousands of digits, and nobody wants to read one.
    huge = isinstance(value, int) and abs(value) >= _MAX_QUOTED_INT
    shown = "a number of over 18 digits" if huge else str(value)
    return InvalidRequest(
        codes[kind, side],
        f"Invalid '{path}': {kind} {side} {extreme} value. "
        f"Expected a value {sign} {shown_limit}, but got {shown} instead.",
        path,
    )


def _invalid_type(path: str, expected: list[str], value: object) -> InvalidRequest:
    names = list(dict.fromkeys(expected))
    wanted = names[0] if len(names) == 1 else f"one of {' or '.join(names)}"
    got = _GOT.get(type(value), "another value")
    return InvalidRequest(
        ErrorCode.INVALID_TYPE,
        f"Invalid type for '{path}': expected {wanted}, but got {got} instead.",
        path,
    )


def _is_other_type(error: ErrorDetails) -> bool:
    if error["type"] == "literal_error":
        return not isinstance(error["input"], str)
    return error["type"] in _EXPECTED


def _expected(error: ErrorDetails) -> str:
    if error["type"] != "literal_error":
        return _EXPECTED[error["type"]]
    values = _quotes(error.get("ctx", {})["expected"])
    return f"'{values[0]}'" if len(values) == 1 else "a string"


def _quotes(text: str) -> list[str]:
    """The values of pydantic's `'a', 'b' or 'c'`."""
    return re.findall(r"'([^']*)'", text)


# --- paths ----------------------------------------------------------------------------------


def _wire_path(model: type[BaseModel], prefix: str, loc: Sequence[int | str]) -> str:
    """The client's path of a pydantic `loc`, without the tags of union members in it."""
    path = prefix
    shapes: list[Any] = list(_alternatives(model))
    for step in loc:
        below = list(_below(shapes, step))
        if below:
            path, shapes = _join(path, step), below
    return path


def _join(path: str, step: int | str) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def _alternatives(shape: Any) -> Iterator[Any]:
    """The members of a type, with `Annotated`, unions, None and root models taken apart."""
    origin = get_origin(shape)
    if origin is Annotated:
        yield from _alternatives(get_args(shape)[0])
    elif origin is Union or origin is UnionType:
        for member in get_args(shape):
            yield from _alternatives(member)
    elif isinstance(shape, type) and issubclass(shape, RootModel):
        yield from _alternatives(cast("type[BaseModel]", shape).model_fields["root"].annotation)
    elif shape is not NoneType:
        yield shape


def _below(shapes: Sequence[Any], step: int | str) -> Iterator[Any]:
    """The types that `step` can lead to; nothing when it is no field, index or key."""
    for shape in shapes:
        origin, args = get_origin(shape), get_args(shape)
        if _is_model(shape):
            if step in shape.model_fields:
                yield from _alternatives(shape.model_fields[step].annotation)
        elif origin is tuple and isinstance(step, int):
            yield from _alternatives(args[0])
        elif origin is dict and args[1] is not Any:
            # Below a free-form dict nothing can be wrong: there a step is only a union's tag.
            yield from _alternatives(args[1])


def _is_model(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, BaseModel)


def _unknown(shapes: Sequence[Any], value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        models = [shape for shape in shapes if _is_model(shape) and _has_tags_of(shape, fields)]
        for key, entry in fields.items() if models else ():
            below = list(_below(models, key))
            if below:
                yield from _unknown(below, entry, _join(path, key))
            else:
                yield _join(path, key)
    elif isinstance(value, list):
        for index, entry in enumerate(cast("list[object]", value)):
            yield from _unknown(list(_below(shapes, index)), entry, _join(path, index))


def _has_tags_of(model: type[BaseModel], fields: dict[str, object]) -> bool:
    """Whether `model` is the union member that `fields` names by its `type` or `role`."""
    return all(
        fields[name] in get_args(model.model_fields[name].annotation)
        for name in ("type", "role")
        if name in fields and name in model.model_fields
    )
