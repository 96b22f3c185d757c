"""How each dialect names settings, events and content, so that a check is written once.

Checks use the flat beta names of settings and the GA names of events (protocol reference §3.4,
§3.5); this module brings them to the dialect of the connection.
"""

from __future__ import annotations

from typing import Any

from conformance.oracle import Dialect, WireEvent

FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}

_GA_PATHS = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "turn_detection": "audio.input.turn_detection",
    "max_response_output_tokens": "max_output_tokens",
}
_BETA_NAMES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_text": "response.text",
    "response.output_audio": "response.audio",
    "response.output_audio_transcript": "response.audio_transcript",
}
_GA_NAMES = {beta: ga for ga, beta in _BETA_NAMES.items()}


def fields(dialect: Dialect, **flat: Any) -> dict[str, Any]:
    """The members of a session or response object that the client sends."""
    if dialect == "beta":
        return flat
    shaped: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = _GA_PATHS.get(name, name).split(".")
        target = shaped
        for parent in parents:
            target = target.setdefault(parent, {})
        if name.endswith("_format"):
            value = FORMATS[value]
        elif name == "modalities":
            value = ["audio"] if "audio" in value else ["text"]
        target[last] = value
    return shaped


def path(dialect: Dialect, name: str) -> str:
    """The path of a setting in a session or response object."""
    return name if dialect == "beta" else _GA_PATHS.get(name, name)


def shown(dialect: Dialect, view: WireEvent, name: str) -> Any:
    """One setting of a session or response object the server sent; None when it is not there."""
    if name == "max_response_output_tokens" and "max_output_tokens" in view:
        return view["max_output_tokens"]
    value: Any = view
    for step in path(dialect, name).split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def named(dialect: Dialect, ga_type: str) -> str:
    """The name of a GA event type in a dialect."""
    return ga_type if dialect == "ga" else _renamed(ga_type, _BETA_NAMES)


def ga_type(event: WireEvent) -> str:
    """The GA name of an event of either dialect."""
    return _renamed(str(event.get("type")), _GA_NAMES)


def content_type(dialect: Dialect, kind: str) -> str:
    """`text` or `audio` of an assistant's content, as a dialect calls it."""
    return kind if dialect == "beta" else f"output_{kind}"


def _renamed(event_type: str, names: dict[str, str]) -> str:
    stem, _, step = event_type.rpartition(".")
    return names.get(event_type) or f"{names.get(stem, stem)}.{step}".lstrip(".")
