"""Strict validation of one server event against the OpenAI SDK's own types, both dialects.

The SDK's models allow extra fields and leave most fields optional: extras are reported here, by
walking what validation left over; what may not be missing is `required_keys.py`'s matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from openai.types import realtime as ga_types
from openai.types.beta import realtime as beta_types
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

Dialect = Literal["ga", "beta"]
WireEvent = dict[str, Any]

_ALLOWED_EXTRAS = re.compile(
    r"""
    session\.(id|object|expires_at|client_secret|include)  # typed with the request's model
    | obfuscation
    | (.*\.)?item\.phase | response\.output\[\d+\]\.phase
    | response\.usage\.output_token_details\.reasoning_tokens
    """,
    re.VERBOSE,
)
"""Fields that OpenAI's own wire carries although the SDK's types lack them (reference §8.1)."""

_ALLOWED_BETA_EXTRAS = re.compile(
    r"response\.usage\.input_token_details\.cached_tokens_details"
    r"|session\.input_audio_noise_reduction"
    r"|session\.turn_detection\.eagerness"
)
"""On the beta wire, not in its types (reference §3.1 and §3.3).

`eagerness` is missing in those of a transcription session alone, which may ask for it."""

_BETA_MODEL_STAND_IN = "gpt-4o-realtime-preview"
_BETA_TRANSCRIPTION_STAND_IN = "whisper-1"


def _adapter(server_event: Any) -> TypeAdapter[Any]:
    """An adapter that picks the event's class by `type` and so rejects unknown ones.

    The SDK annotates its union with a discriminator of its own, which pydantic ignores: without
    ours an event is tried against every member and the errors name all of them.
    """
    union: Any = get_args(server_event)[0]
    discriminated: Any = Annotated[union, Field(discriminator="type")]
    return TypeAdapter(discriminated)


_ADAPTERS: dict[Dialect, TypeAdapter[Any]] = {
    "ga": _adapter(ga_types.RealtimeServerEvent),
    "beta": _adapter(beta_types.RealtimeServerEvent),
}


def event_types(dialect: Dialect) -> frozenset[str]:
    """Every server event type the SDK knows in `dialect`."""
    members = get_args(
        get_args(
            ga_types.RealtimeServerEvent if dialect == "ga" else beta_types.RealtimeServerEvent
        )[0]
    )
    return frozenset(get_args(member.model_fields["type"].annotation)[0] for member in members)


def check_event(event: WireEvent, dialect: Dialect) -> list[str]:
    """Validate one event as the server put it on the wire.

    Args:
        event: The parsed JSON object.
        dialect: Whose types to hold it against.

    Returns:
        One line per problem, `[]` when the event is fine.
    """
    candidate = _with_beta_exemptions(event) if dialect == "beta" else event
    if candidate.get("type") == "transcription_session.created" and dialect == "beta":
        # The first event of such a session; the SDK types only its twin (reference §3.1).
        candidate = {**candidate, "type": "transcription_session.updated"}
    try:
        model = _ADAPTERS[dialect].validate_python(candidate, strict=True)
    except ValidationError as error:
        return [
            f"schema: {'.'.join(str(step) for step in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
    return [f"schema: unknown field {path}" for path in _unknown_fields(model, dialect)]


def _with_beta_exemptions(event: WireEvent) -> WireEvent:
    """The event with the fields changed that the SDK types wrongly (reference §8.7).

    Two closed lists of model names, which custom models are not on, and a key that the wire lacks.
    """
    session = event.get("session")
    if not isinstance(session, dict):
        return event
    patch: WireEvent = {}
    if isinstance(session.get("model"), str):
        patch["model"] = _BETA_MODEL_STAND_IN
    transcription = str(event.get("type")).startswith("transcription_session.")
    if transcription and "client_secret" not in session:
        patch["client_secret"] = {"value": "", "expires_at": 0}
    heard = session.get("input_audio_transcription")
    if transcription and isinstance(heard, dict) and isinstance(heard.get("model"), str):
        patch["input_audio_transcription"] = {**heard, "model": _BETA_TRANSCRIPTION_STAND_IN}
    return {**event, "session": {**session, **patch}}


def _unknown_fields(model: BaseModel, dialect: Dialect) -> list[str]:
    return [
        path
        for path in _extras(model, "")
        if not _ALLOWED_EXTRAS.fullmatch(path)
        and not (dialect == "beta" and _ALLOWED_BETA_EXTRAS.fullmatch(path))
    ]


def _extras(value: object, path: str) -> Iterator[str]:
    """Paths of all fields below `value` that its model does not declare."""
    match value:
        case BaseModel():
            prefix = f"{path}." if path else ""
            for name in value.model_extra or {}:
                yield prefix + name
            for name in type(value).model_fields:
                yield from _extras(getattr(value, name), prefix + name)
        case list():
            for index, entry in enumerate(value):
                yield from _extras(entry, f"{path}[{index}]")
        case _:
            return
