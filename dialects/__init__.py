"""Which dialect a connection speaks, as far as its events tell, and what is sent before they do.

The dialects are `dialects.ga` and `dialects.beta`, each with `decode` and `encode`.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from dialects import beta, ga
from protocol import SessionCreated

__all__ = [
    "Dialect",
    "beta",
    "bilingual_session_created",
    "decide",
    "ga",
    "looks_beta",
    "looks_ga",
]

Dialect = Literal["ga", "beta"]

_GA_KEYS = frozenset({"audio", "output_modalities"})
_BETA_SESSION_KEYS = frozenset(
    {
        "modalities",
        "voice",
        "input_audio_format",
        "output_audio_format",
        "turn_detection",
        "input_audio_transcription",
        "input_audio_noise_reduction",
        "temperature",
        "max_response_output_tokens",
    }
)
_BETA_RESPONSE_KEYS = frozenset(
    {"modalities", "voice", "output_audio_format", "max_response_output_tokens"}
)


def decide(event: dict[str, Any]) -> Dialect | None:
    """The dialect that the shape of a client event gives away (reference §1.5, rules 4 and 5).

    None when the shape fits both: then the next event may tell.
    """
    if looks_ga(event):
        return "ga"
    return "beta" if looks_beta(event) else None


def looks_ga(event: dict[str, Any]) -> bool:
    """Whether only a GA client writes such an event.

    A `session.type` is proof on a connection marked beta too: openai-node 5.18-5.23.0 sent the
    beta marker by mistake.
    """
    match event.get("type"):
        case "session.update":
            return not _keys(event, "session").isdisjoint(_GA_KEYS | {"type"})
        case "response.create":
            return not _keys(event, "response").isdisjoint(_GA_KEYS)
        case _:
            return False


def looks_beta(event: dict[str, Any]) -> bool:
    """Whether only a beta client writes such an event."""
    match event.get("type"):
        case "transcription_session.update":
            return True
        case "session.update":
            return not looks_ga(event) and not _keys(event, "session").isdisjoint(
                _BETA_SESSION_KEYS
            )
        case "response.create":
            return not looks_ga(event) and not _keys(event, "response").isdisjoint(
                _BETA_RESPONSE_KEYS
            )
        case _:
            return False


def bilingual_session_created(event: SessionCreated, event_id: str) -> dict[str, Any]:
    """`session.created` for a client that has not shown its dialect yet.

    The GA object with the beta fields beside it; where both dialects have a name, GA's value
    stands.
    """
    encoded = ga.encode(event, event_id)
    assert encoded is not None
    return {**encoded, "session": {**beta.session_fields(event.session), **encoded["session"]}}


def _keys(event: dict[str, Any], field: str) -> frozenset[str]:
    value: object = event.get(field)
    return frozenset(cast("dict[str, Any]", value)) if isinstance(value, dict) else frozenset()
