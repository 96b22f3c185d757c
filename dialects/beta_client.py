"""Flat beta client events brought to GA shape, and GA parameter paths brought back to beta.

Reference §3.2 and §3.4. Only fields that are present are mapped, so that a partial update stays
partial and an explicit null stays one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from core.validation import unsupported_value, wrong_type
from dialects.client_events import SERVER_ONLY_FIELDS, WireEvent
from protocol import ErrorCode, InvalidRequest

FORMATS: Mapping[str, Mapping[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}

_SESSION_PATHS: Mapping[str, str] = {
    "instructions": "instructions",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "temperature": "temperature",
    "tracing": "tracing",
    "include": "include",
    "model": "model",
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "turn_detection": "audio.input.turn_detection",
    # Two names for one field: the later, proper one wins, here and in error paths.
    "max_output_tokens": "max_output_tokens",
    "max_response_output_tokens": "max_output_tokens",
}
TRANSCRIPTION_FIELDS = (
    "input_audio_format",
    "input_audio_transcription",
    "turn_detection",
    "input_audio_noise_reduction",
    "include",
)
"""What a flat transcription session shows and lets its client change."""
_TRANSCRIPTION_PATHS = {name: _SESSION_PATHS[name] for name in TRANSCRIPTION_FIELDS}
_RESPONSE_PATHS: Mapping[str, str] = {
    "conversation": "conversation",
    "input": "input",
    "instructions": "instructions",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "temperature": "temperature",
    "metadata": "metadata",
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "output_audio_format": "audio.output.format",
    "max_output_tokens": "max_output_tokens",
    "max_response_output_tokens": "max_output_tokens",
}
_BETA_NAMES: Mapping[str, str] = {
    f"{prefix}.{path}": f"{prefix}.{name}"
    for prefix, paths in (("session", _SESSION_PATHS), ("response", _RESPONSE_PATHS))
    for name, path in paths.items()
    if name != path
}
_WITHOUT_PARTS = frozenset(
    {
        "session.modalities",
        "session.input_audio_format",
        "session.output_audio_format",
        "response.modalities",
        "response.output_audio_format",
    }
)
"""Beta fields that are one value where GA has an object or a list."""


def to_ga(event: WireEvent) -> WireEvent:
    """A beta client event in GA shape; what is wrong in ways both dialects share stays wrong.

    Raises:
        InvalidRequest: With a beta path, for values that have no GA form.
    """
    session: object = event.get("session")
    response: object = event.get("response")
    item: object = event.get("item")
    match event.get("type"):
        case "session.update" if isinstance(session, dict):
            fields = cast("dict[str, Any]", session)
            _refuse_mcp_tools(fields, "session")
            mapped = _unflattened(fields, _SESSION_PATHS, "session")
            return {**event, "session": {"type": "realtime", **mapped}}
        case "transcription_session.update":
            if not isinstance(session, dict):
                return {**event, "type": "session.update"}
            fields = cast("dict[str, Any]", session)
            mapped = _unflattened(fields, _TRANSCRIPTION_PATHS, "session")
            return {
                **event,
                "type": "session.update",
                "session": {"type": "transcription", **mapped},
            }
        case "response.create" if isinstance(response, dict):
            fields = cast("dict[str, Any]", response)
            _refuse_mcp_tools(fields, "response")
            entries: object = fields.get("input")
            if isinstance(entries, list):
                for index, entry in enumerate(cast("list[object]", entries)):
                    _refuse_images(entry, f"response.input[{index}]")
            return {**event, "response": _unflattened(fields, _RESPONSE_PATHS, "response")}
        case "conversation.item.create":
            _refuse_mcp_item(item)
            _refuse_images(item, "item")
            return event
        case _:
            return event


def param_to_beta(path: str) -> str:
    """The beta path of a GA parameter path.

    `session.audio.input.turn_detection.threshold` → `session.turn_detection.threshold`.
    """
    for ga_path, beta_path in _BETA_NAMES.items():
        rest = path.removeprefix(ga_path)
        if path.startswith(ga_path) and (not rest or rest[0] in ".["):
            return beta_path if beta_path in _WITHOUT_PARTS else beta_path + rest
    return path


def unknown_parameters(event: WireEvent) -> list[str]:
    """Paths of `event` that this server ignores, for the log."""
    known = {
        "session.update": ("session", {*_SESSION_PATHS, *SERVER_ONLY_FIELDS}),
        "transcription_session.update": (
            "session",
            {*TRANSCRIPTION_FIELDS, *SERVER_ONLY_FIELDS, "modalities"},
        ),
        "response.create": ("response", {*_RESPONSE_PATHS}),
    }.get(str(event.get("type")))
    if known is None:
        return []
    prefix, names = known
    fields: object = event.get(prefix)
    if not isinstance(fields, dict):
        return []
    return [f"{prefix}.{name}" for name in cast("dict[str, Any]", fields) if name not in names]


def _unflattened(fields: dict[str, Any], paths: Mapping[str, str], prefix: str) -> dict[str, Any]:
    ga_fields: dict[str, Any] = {}
    for name, path in paths.items():
        if name not in fields:
            continue
        *parents, last = path.split(".")
        target = ga_fields
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = _converted(name, fields[name], f"{prefix}.{name}")
    return ga_fields


def _converted(name: str, value: Any, path: str) -> Any:
    if value is None:
        return None
    match name:
        case "input_audio_format" | "output_audio_format":
            if not isinstance(value, str):
                raise wrong_type("a string", value, path)
            if value not in FORMATS:
                raise unsupported_value(value, tuple(FORMATS), path)
            return dict(FORMATS[value])
        case "turn_detection" if isinstance(value, dict):
            # Beta never had an idle timeout, nor the event that reports one.
            fields = cast("dict[str, Any]", value)
            return {key: field for key, field in fields.items() if key != "idle_timeout_ms"}
        case "modalities":
            return _output_modalities(value, path)
        case "tool_choice" if isinstance(value, str):
            # Beta names a function by its bare name.
            known = value in ("auto", "none", "required")
            return value if known else {"type": "function", "name": value}
        case _:
            return value


def _output_modalities(value: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        raise wrong_type("an array", value, path)
    modalities = cast("list[object]", value)
    for index, modality in enumerate(modalities):
        if not isinstance(modality, str):
            raise wrong_type("a string", modality, f"{path}[{index}]")
        if modality not in ("text", "audio"):
            raise unsupported_value(modality, ("text", "audio"), f"{path}[{index}]")
    if not modalities:
        raise InvalidRequest(
            ErrorCode.INVALID_VALUE,
            "Invalid modalities: []. Supported combinations are: ['text'] and ['audio', 'text'].",
            path,
        )
    return ["audio"] if "audio" in modalities else ["text"]


def _refuse_mcp_tools(fields: dict[str, Any], path: str) -> None:
    """Beta is older than MCP: a beta client could make nothing of its items and events."""
    tools: object = fields.get("tools")
    for index, tool in enumerate(cast("list[object]", tools) if isinstance(tools, list) else []):
        if isinstance(tool, dict) and cast("dict[str, Any]", tool).get("type") == "mcp":
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                "Invalid value: 'mcp'. Supported values are: 'function'. "
                "MCP tools are served in the GA dialect only.",
                f"{path}.tools[{index}].type",
            )


def _refuse_mcp_item(item: object) -> None:
    kind: object = cast("dict[str, Any]", item).get("type") if isinstance(item, dict) else None
    if isinstance(kind, str) and kind.startswith("mcp_"):
        raise unsupported_value(
            kind, ("message", "function_call", "function_call_output"), "item.type"
        )


def _refuse_images(item: object, path: str) -> None:
    """Beta has no images, in either direction."""
    content: object = (
        cast("dict[str, Any]", item).get("content") if isinstance(item, dict) else None
    )
    if not isinstance(content, list):
        return
    for index, part in enumerate(cast("list[object]", content)):
        if isinstance(part, dict) and cast("dict[str, Any]", part).get("type") == "input_image":
            raise unsupported_value(
                "input_image", ("input_text", "input_audio"), f"{path}.content[{index}].type"
            )
