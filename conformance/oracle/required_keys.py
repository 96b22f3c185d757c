"""The keys each server event must carry, and the values the SDK's types are too lenient about.

The SDK leaves nearly everything optional, and closed-world clients break on what it lets pass:
a missing `transcript` key, an explicit null, a field or content type of the other dialect. The
tables follow the protocol reference §2.2–2.7, §3 and §8.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from conformance.oracle.schema import Dialect, WireEvent, check_event

Node = Mapping[str, Any]

# --- one row per event type -----------------------------------------------------------------

_P4 = ("response_id", "item_id", "output_index", "content_index")
_CALL = ("response_id", "item_id", "output_index", "call_id")
_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_ITEM_AT = ("previous_item_id", "item")

_COMMON: dict[str, tuple[str, ...]] = {
    "error": ("error",),
    "session.created": ("session",),
    "session.updated": ("session",),
    "conversation.item.retrieved": ("item",),
    "conversation.item.truncated": ("item_id", "content_index", "audio_end_ms"),
    "conversation.item.deleted": ("item_id",),
    f"{_TRANSCRIPTION}.delta": ("item_id", "content_index", "delta"),
    f"{_TRANSCRIPTION}.completed": ("item_id", "content_index", "transcript", "usage"),
    f"{_TRANSCRIPTION}.failed": ("item_id", "content_index", "error"),
    "input_audio_buffer.committed": ("previous_item_id", "item_id"),
    "input_audio_buffer.cleared": (),
    "input_audio_buffer.speech_started": ("audio_start_ms", "item_id"),
    "input_audio_buffer.speech_stopped": ("audio_end_ms", "item_id"),
    "output_audio_buffer.started": ("response_id",),
    "output_audio_buffer.stopped": ("response_id",),
    "output_audio_buffer.cleared": ("response_id",),
    "response.created": ("response",),
    "response.done": ("response",),
    "response.output_item.added": ("response_id", "output_index", "item"),
    "response.output_item.done": ("response_id", "output_index", "item"),
    "response.content_part.added": (*_P4, "part"),
    "response.content_part.done": (*_P4, "part"),
    "response.function_call_arguments.delta": (*_CALL, "delta"),
    "rate_limits.updated": ("rate_limits",),
}

REQUIRED: dict[Dialect, dict[str, tuple[str, ...]]] = {
    "ga": _COMMON
    | {
        "conversation.item.added": _ITEM_AT,
        "conversation.item.done": _ITEM_AT,
        f"{_TRANSCRIPTION}.segment": (
            *("id", "item_id", "content_index", "text", "speaker", "start", "end"),
        ),
        "input_audio_buffer.timeout_triggered": ("audio_start_ms", "audio_end_ms", "item_id"),
        "input_audio_buffer.dtmf_event_received": ("event", "received_at"),
        "response.output_text.delta": (*_P4, "delta"),
        "response.output_text.done": (*_P4, "text"),
        "response.output_audio.delta": (*_P4, "delta"),
        "response.output_audio.done": _P4,
        "response.output_audio_transcript.delta": (*_P4, "delta"),
        "response.output_audio_transcript.done": (*_P4, "transcript"),
        "response.function_call_arguments.done": (*_CALL, "name", "arguments"),
        "mcp_list_tools.in_progress": ("item_id",),
        "mcp_list_tools.completed": ("item_id",),
        "mcp_list_tools.failed": ("item_id",),
        "response.mcp_call_arguments.delta": (
            *("response_id", "item_id", "output_index", "delta", "obfuscation"),
        ),
        "response.mcp_call_arguments.done": (
            *("response_id", "item_id", "output_index", "arguments"),
        ),
        "response.mcp_call.in_progress": ("item_id", "output_index"),
        "response.mcp_call.completed": ("item_id", "output_index"),
        "response.mcp_call.failed": ("item_id", "output_index"),
    },
    "beta": _COMMON
    | {
        "transcription_session.created": ("session",),
        "transcription_session.updated": ("session",),
        "conversation.created": ("conversation",),
        "conversation.item.created": _ITEM_AT,
        "response.text.delta": (*_P4, "delta"),
        "response.text.done": (*_P4, "text"),
        "response.audio.delta": (*_P4, "delta"),
        "response.audio.done": _P4,
        "response.audio_transcript.delta": (*_P4, "delta"),
        "response.audio_transcript.done": (*_P4, "transcript"),
        "response.function_call_arguments.done": (*_CALL, "arguments"),
    },
}
"""Event types a dialect may use, each with its required keys besides `event_id`.

Not the SDK's whole GA union: `conversation.created` and `conversation.item.created` are members
of it, but an extra `conversation.created` broke a GA client and neither is on OpenAI's GA wire.
"""

LEGACY: dict[str, tuple[str, ...]] = {
    "conversation.created": ("conversation",),
    "conversation.item.created": _ITEM_AT,
}
"""Those two, for connections that asked for them."""

# --- the objects inside ---------------------------------------------------------------------

_ERROR = ("type", "code", "message", "param", "event_id")

_SESSION: dict[Dialect, tuple[str, ...]] = {
    "ga": (
        *("type", "object", "id", "model", "output_modalities", "instructions", "tools"),
        *("tool_choice", "max_output_tokens", "tracing", "truncation", "prompt", "expires_at"),
        *("audio.input.format", "audio.input.transcription", "audio.input.noise_reduction"),
        *("audio.input.turn_detection", "audio.output.format", "audio.output.voice"),
        *("audio.output.speed", "include"),
    ),
    "beta": (
        *("id", "object", "expires_at", "model", "modalities", "instructions", "voice"),
        *("input_audio_format", "output_audio_format", "input_audio_transcription"),
        *("input_audio_noise_reduction", "turn_detection", "tools", "tool_choice"),
        *("temperature", "max_response_output_tokens", "speed", "tracing"),
    ),
}
_GA_TRANSCRIPTION_SESSION = (
    *("type", "object", "id", "expires_at", "include", "audio.input.format"),
    *("audio.input.transcription", "audio.input.noise_reduction", "audio.input.turn_detection"),
)
_BETA_TRANSCRIPTION_SESSION = (
    *("id", "object", "input_audio_format", "input_audio_transcription", "turn_detection"),
)
_FOREIGN_SESSION_KEYS: dict[Dialect, frozenset[str]] = {
    "ga": frozenset(
        {
            *("modalities", "voice", "input_audio_format", "output_audio_format", "speed"),
            *("input_audio_transcription", "input_audio_noise_reduction", "turn_detection"),
            *("temperature", "max_response_output_tokens", "client_secret"),
        }
    ),
    "beta": frozenset(
        {
            *("type", "audio", "output_modalities", "max_output_tokens", "truncation", "prompt"),
            *("reasoning", "parallel_tool_calls"),
        }
    ),
}
_TURN_DETECTION: dict[Dialect, dict[str, tuple[str, ...]]] = {
    "ga": {
        "server_vad": (
            *("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"),
            *("create_response", "interrupt_response"),
        ),
        "semantic_vad": ("eagerness", "create_response", "interrupt_response"),
    },
    "beta": {
        "server_vad": (
            *("threshold", "prefix_padding_ms", "silence_duration_ms"),
            *("create_response", "interrupt_response"),
        ),
        "semantic_vad": ("eagerness", "create_response", "interrupt_response"),
    },
}

_RESPONSE_COMMON = (
    *("object", "id", "status", "status_details", "output", "conversation_id"),
    *("max_output_tokens", "usage", "metadata"),
)
_RESPONSE: dict[Dialect, tuple[str, ...]] = {
    "ga": (
        *_RESPONSE_COMMON,
        *("output_modalities", "audio.output.format", "audio.output.voice"),
    ),
    "beta": (*_RESPONSE_COMMON, "modalities", "voice", "output_audio_format", "temperature"),
}
_FOREIGN_RESPONSE_KEYS: dict[Dialect, frozenset[str]] = {
    "ga": frozenset({"modalities", "voice", "output_audio_format", "temperature"}),
    "beta": frozenset({"output_modalities", "audio"}),
}
_STATUS_REASONS: dict[str, frozenset[str]] = {
    "cancelled": frozenset({"turn_detected", "client_cancelled"}),
    "incomplete": frozenset({"max_output_tokens", "content_filter"}),
}
_USAGE_COMMON = (
    *("total_tokens", "input_tokens", "output_tokens"),
    *("input_token_details.text_tokens", "input_token_details.audio_tokens"),
    *("input_token_details.cached_tokens", "output_token_details.text_tokens"),
    "output_token_details.audio_tokens",
)
_USAGE: dict[Dialect, tuple[str, ...]] = {
    "ga": (
        *_USAGE_COMMON,
        "input_token_details.image_tokens",
        *(
            f"input_token_details.cached_tokens_details.{kind}_tokens"
            for kind in ("text", "audio", "image")
        ),
    ),
    "beta": _USAGE_COMMON,
}

_ITEM = {
    "message": ("id", "role", "status", "content"),
    "function_call": ("id", "status", "name", "call_id", "arguments"),
    "function_call_output": ("id", "call_id", "output"),
    "mcp_list_tools": ("id", "server_label", "tools"),
    "mcp_call": ("id", "server_label", "name", "arguments", "output"),
    "mcp_approval_request": ("id", "server_label", "name", "arguments"),
    "mcp_approval_response": ("id", "approval_request_id", "approve"),
}
_CONTENT: dict[Dialect, dict[tuple[str, str], tuple[str, ...]]] = {
    "ga": {
        ("system", "input_text"): ("text",),
        ("user", "input_text"): ("text",),
        ("user", "input_audio"): ("transcript",),
        # Optional in every client's types: a server may leave out what makes the frame too large.
        ("user", "input_image"): (),
        ("assistant", "output_text"): ("text",),
        ("assistant", "output_audio"): ("transcript",),
    },
    "beta": {
        ("system", "input_text"): ("text",),
        ("user", "input_text"): ("text",),
        ("user", "input_audio"): ("transcript",),
        ("assistant", "text"): ("text",),
        ("assistant", "audio"): ("transcript",),
    },
}
_NO_NULLS_IN_ITEM = ("id", "type", "name", "arguments", "call_id", "role", "status", "content")
_PART_STRING = {"text": "text", "audio": "transcript"}


# --- checks ---------------------------------------------------------------------------------


def check_keys(event: WireEvent, dialect: Dialect, *, legacy: bool = False) -> list[str]:
    """Check one event against the tables above.

    Args:
        event: The parsed JSON object.
        dialect: The dialect the connection uses.
        legacy: Whether the events of `LEGACY` may come.

    Returns:
        One line per problem, `[]` when the event is fine.
    """
    return [f"keys: {problem}" for problem in _event(event, dialect, legacy=legacy)]


def check_bilingual_session(event: WireEvent) -> list[str]:
    """Check the `session.created` of a connection whose dialect is still open.

    It carries the GA object and the flat beta fields at once (reference §1.5), so that each
    client finds its own; taken apart again, either half must be whole.
    """
    problems: list[str] = []
    for dialect in ("ga", "beta"):
        foreign = _FOREIGN_SESSION_KEYS[dialect]
        session = {key: value for key, value in event["session"].items() if key not in foreign}
        half = {**event, "session": session}
        problems += [
            f"bilingual session, {dialect} half: {problem}"
            for problem in check_event(half, dialect) + check_keys(half, dialect)
        ]
    return problems


def _event(event: WireEvent, dialect: Dialect, *, legacy: bool) -> Iterator[str]:
    kind = event.get("type", "")
    required = ({**LEGACY, **REQUIRED[dialect]} if legacy else REQUIRED[dialect]).get(kind)
    if required is None:
        yield f"{kind!r} is no event of the {dialect} dialect"
        return
    if kind != "input_audio_buffer.dtmf_event_received":
        required = ("event_id", *required)
    missing = list(_missing(event, required, ""))
    yield from missing
    if missing:
        return
    match kind:
        case "error":
            yield from _missing(event["error"], _ERROR, "error.")
            yield from _nulls(event["error"], ("type", "message"), "error.")
        case "session.created" | "session.updated":
            yield from _session(event["session"], dialect)
        case "transcription_session.created" | "transcription_session.updated":
            yield from _missing(event["session"], _BETA_TRANSCRIPTION_SESSION, "session.")
        case "response.created" | "response.done":
            yield from _response(event["response"], dialect, final=kind == "response.done")
        case "response.content_part.added" | "response.content_part.done":
            yield from _part(event["part"], added=kind == "response.content_part.added")
        case "conversation.item.input_audio_transcription.completed":
            yield from _transcription_usage(event["usage"])
        case "conversation.item.input_audio_transcription.failed":
            yield from _missing(event["error"], ("type", "code", "message"), "error.")
            yield from _nulls(event["error"], ("type", "code", "message", "param"), "error.")
        case "conversation.created":
            yield from _missing(event["conversation"], ("id", "object"), "conversation.")
        case "rate_limits.updated":
            for limit in event["rate_limits"]:
                keys = ("name", "limit", "remaining", "reset_seconds")
                yield from _missing(limit, keys, "rate_limits[].")
                yield from _nulls(limit, keys, "rate_limits[].")
        case _ if "item" in required:
            yield from _item(event["item"], dialect, "item")
        case _:
            pass


def _missing(node: Node, paths: tuple[str, ...], prefix: str) -> Iterator[str]:
    for path in paths:
        here: Any = node
        for key in path.split("."):
            if not isinstance(here, Mapping) or key not in here:
                yield f"missing {prefix}{path}"
                break
            here = here[key]


def _nulls(node: Node, keys: tuple[str, ...], prefix: str) -> Iterator[str]:
    for key in keys:
        if key in node and node[key] is None:
            yield f"null {prefix}{key}: agents-js drops the whole event"


def _foreign(node: Node, keys: frozenset[str], dialect: Dialect, prefix: str) -> Iterator[str]:
    for key in sorted(keys & node.keys()):
        yield f"{prefix}{key} does not belong in the {dialect} dialect"


def _session(session: Node, dialect: Dialect) -> Iterator[str]:
    if dialect == "ga" and session.get("type") == "transcription":
        yield from _missing(session, _GA_TRANSCRIPTION_SESSION, "session.")
    else:
        yield from _missing(session, _SESSION[dialect], "session.")
    yield from _foreign(session, _FOREIGN_SESSION_KEYS[dialect], dialect, "session.")
    if dialect == "ga":
        audio = session.get("audio", {})
        hearing = audio.get("input", {})
        transcription, detection = hearing.get("transcription"), hearing.get("turn_detection")
        for side in ("input", "output"):
            audio_format = audio.get(side, {}).get("format")
            if audio_format is not None:
                yield from _audio_format(audio_format, f"session.audio.{side}.format.")
    else:
        transcription = session.get("input_audio_transcription")
        detection = session.get("turn_detection")
    if transcription is not None:
        keys = ("model", "language", "prompt") if dialect == "ga" else ("model",)
        yield from _missing(transcription, keys, "session transcription.")
    if detection is not None:
        keys = ("type", *_TURN_DETECTION[dialect].get(detection.get("type"), ()))
        yield from _missing(detection, keys, "session turn_detection.")


def _audio_format(audio_format: Node, prefix: str) -> Iterator[str]:
    pcm = audio_format.get("type") == "audio/pcm"
    yield from _missing(audio_format, ("type", "rate") if pcm else ("type",), prefix)


def _response(response: Node, dialect: Dialect, *, final: bool) -> Iterator[str]:
    missing = list(_missing(response, _RESPONSE[dialect], "response."))
    yield from missing
    yield from _foreign(response, _FOREIGN_RESPONSE_KEYS[dialect], dialect, "response.")
    if missing:
        return
    if dialect == "ga":
        yield from _audio_format(response["audio"]["output"]["format"], "response.audio.output.")
    for index, item in enumerate(response["output"]):
        yield from _item(item, dialect, f"response.output[{index}]")
    yield from _status_details(response["status"], response["status_details"])
    if not final:
        if response["status"] != "in_progress" or response["output"] or response["usage"]:
            yield "response.created wants status in_progress, output [] and usage null"
        return
    if response["status"] == "in_progress":
        yield "response.done wants a final status"
    if response["usage"] is not None:
        yield from _usage(response["usage"], dialect)
    elif response["status"] != "failed":
        yield "missing response.usage"


def _status_details(status: str, details: Node | None) -> Iterator[str]:
    if status in ("completed", "in_progress"):
        if details is not None:
            yield f"response.status_details must be null on {status}"
    elif details is None:
        yield f"response.status_details must not be null on {status}"
    elif details.get("type") != status:
        yield f"response.status_details.type {details.get('type')!r} differs from {status!r}"
    elif status == "failed":
        yield from _missing(details, ("error.type", "error.code", "error.message"), "details.")
    elif details.get("reason") not in _STATUS_REASONS[status]:
        yield f"response.status_details.reason {details.get('reason')!r} on {status}"


def _usage(usage: Node, dialect: Dialect) -> Iterator[str]:
    missing = list(_missing(usage, _USAGE[dialect], "response.usage."))
    yield from missing
    if missing:
        return
    heard, said = usage["input_token_details"], usage["output_token_details"]
    if usage["total_tokens"] != usage["input_tokens"] + usage["output_tokens"]:
        yield "response.usage.total_tokens is not input + output"
    input_tokens = heard["text_tokens"] + heard["audio_tokens"] + heard.get("image_tokens", 0)
    if usage["input_tokens"] != input_tokens:
        yield "response.usage.input_tokens is not the sum of its details"
    if usage["output_tokens"] != said["text_tokens"] + said["audio_tokens"]:
        yield "response.usage.output_tokens is not the sum of its details"


def _transcription_usage(usage: Node) -> Iterator[str]:
    if usage.get("type") == "duration":
        yield from _missing(usage, ("seconds",), "usage.")
    else:
        details = ("input_token_details.text_tokens", "input_token_details.audio_tokens")
        tokens = ("type", "total_tokens", "input_tokens", "output_tokens")
        yield from _missing(usage, (*tokens, *details), "usage.")


def _part(part: Node, *, added: bool) -> Iterator[str]:
    yield from _nulls(part, ("audio", "text", "transcript"), "part.")
    key = _PART_STRING.get(part.get("type", ""))
    if key is None:
        yield f"part.type {part.get('type')!r} is neither 'text' nor 'audio'"
    elif key not in part:
        yield f"missing part.{key}"
    elif added and part[key] != "":
        yield f"part.{key} must be '' when the part is added: clients append the deltas to it"


def _item(item: Node, dialect: Dialect, where: str) -> Iterator[str]:
    yield from _nulls(item, _NO_NULLS_IN_ITEM, f"{where}.")
    if dialect == "beta":
        yield from _missing(item, ("object",), f"{where}.")
    else:
        yield from _foreign(item, frozenset({"object"}), dialect, f"{where}.")
    kind = item.get("type", "")
    if kind in _ITEM:
        yield from _missing(item, _ITEM[kind], f"{where}.")
    if kind == "message":
        for index, content in enumerate(item.get("content") or ()):
            at = f"{where}.content[{index}]"
            yield from _content(content, item.get("role", ""), dialect, at)


def _content(content: Node, role: str, dialect: Dialect, where: str) -> Iterator[str]:
    kind = content.get("type", "")
    keys = _CONTENT[dialect].get((role, kind))
    if keys is None:
        yield f"{where}.type {kind!r} does not belong to role {role!r} in the {dialect} dialect"
        return
    yield from _missing(content, keys, f"{where}.")
    if kind != "input_audio":
        yield from _nulls(content, keys, f"{where}.")
