"""Whether every message of the client was answered by an error of its own, or was applied."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from tests.fuzz.mirror import ADDED, Event, Mirror
from tests.fuzz.steps import Send, error_ids, event_of

Outcome = Literal["refused", "applied", "taken"]
"""`taken` is the fate of audio: nothing is said about it."""

MAX_ERROR_CHARS = 1000
_SILENT = "input_audio_buffer.append"
_UNRECOGNISED = frozenset({"invalid_json", "invalid_event"})


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one message."""

    sent: Send
    event: Event | None
    outcome: Outcome
    error: Event | None = None


def judge(
    sent: list[Send], events: list[Event], mirror: Mirror, *, quiet: bool
) -> tuple[list[Fate], list[str]]:
    """Find each message's reply, in order.

    Args:
        sent: The messages, in their order.
        events: What the server sent since the first of them.
        mirror: What the client knew before them.
        quiet: Whether nothing but the one message happened.

    Returns:
        What became of them, and what is wrong with it.
    """
    fates: dict[int, Fate] = {}
    problems: list[str] = []
    claimed: set[int] = set()
    position = 0
    parsed = [(message, event_of(message.frame)) for message in sent]
    named = Counter(error_ids(message.frame, event) for message, event in parsed)
    shared = {ids for ids, count in named.items() if count > 1}
    # Audio is mostly not answered: an error may be its own only if nothing else claims it.
    for number in sorted(range(len(sent)), key=lambda n: _kind(parsed[n][1]) == _SILENT):
        message, event = parsed[number]
        silent = _kind(event) == _SILENT
        ids = error_ids(message.frame, event)
        free = [
            index for index in range(0 if silent else position, len(events)) if index not in claimed
        ]
        refused = next((index for index in free if _is_error(events[index], ids)), None)
        applied = next((index for index in free if _is_applied(event, events[index])), None)
        if ids in shared and refused is not None and applied is not None:
            # The error may be that of the other message with this id.
            found = min(refused, applied)
        else:
            # An error with its id is surely its own; a response may have begun for another reason.
            found = applied if refused is None else refused
        if found is None:
            fates[number] = Fate(message, event, "taken")
            if not silent:
                problems.append(f"no reply to {_kind(event)}")
            continue
        claimed.add(found)
        position = position if silent else found
        reply = events[found]
        if reply["type"] != "error":
            fates[number] = Fate(message, event, "applied")
            problems += _echo_problems(message, event, reply, mirror)
            continue
        error = reply["error"]
        fates[number] = Fate(message, event, "refused", error)
        problems += _error_problems(error)
        if quiet and len(events) > 1:
            others = [other["type"] for other in events if other is not reply]
            problems.append(f"I9: a refused {_kind(event)} also caused {others}")
        if message.valid and error["code"] not in _excuses(event, mirror if quiet else None):
            problems.append(
                f"a right {_kind(event)} was refused: {error['code']} "
                f"{error['param']} {error['message']}"
            )
    for index, event in enumerate(events):
        if event["type"] == "error" and index not in claimed:
            error = event["error"]
            if error["code"] != "session_expired":
                problems.append(f"an error nobody caused: {error['code']} {error['message']}")
    return [fates[number] for number in range(len(sent))], problems


def _kind(event: Event | None) -> str:
    """The type a message claims to have."""
    kind: object = None if event is None else event.get("type")
    return kind if isinstance(kind, str) else "a frame without a type"


def _is_error(event: Event, ids: tuple[str | None, ...]) -> bool:
    return event["type"] == "error" and event["error"]["event_id"] in ids


def _is_applied(sent: Event | None, event: Event) -> bool:
    """Whether a server event is the one that tells that `sent` was carried out."""
    if sent is None:
        return False
    kind: str = event["type"]
    match sent.get("type"):
        case "session.update" | "transcription_session.update":
            return kind.endswith("session.updated")
        case "input_audio_buffer.commit":
            return kind == "input_audio_buffer.committed"
        case "input_audio_buffer.clear":
            return kind == "input_audio_buffer.cleared"
        case "conversation.item.create":
            return kind in ADDED and _is_made(sent.get("item"), event["item"])
        case "conversation.item.retrieve":
            return kind.endswith("item.retrieved") and event["item"]["id"] == sent.get("item_id")
        case "conversation.item.truncate":
            return kind.endswith("item.truncated") and event["item_id"] == sent.get("item_id")
        case "conversation.item.delete":
            return kind.endswith("item.deleted") and event["item_id"] == sent.get("item_id")
        case "response.create":
            return kind == "response.created"
        case "response.cancel":
            wanted = sent.get("response_id") or None
            return (
                kind == "response.done"
                and event["response"]["status"] == "cancelled"
                and wanted in (None, event["response"]["id"])
            )
        case _:
            return False


def _is_made(item: Any, made: Event) -> bool:
    """Whether an item of the conversation is the one a client described."""
    if not isinstance(item, dict):
        return False
    wanted = item.get("id")
    return (
        made["type"] == item.get("type")
        and made.get("role") == (item.get("role") if made["type"] == "message" else None)
        and (not wanted or made["id"] == wanted)
    )


def _error_problems(error: Event) -> list[str]:
    problems: list[str] = []
    if error["type"] != "invalid_request_error":
        problems.append(f"a client's mistake is reported as {error['type']}: {error['message']}")
    if not error["message"] or "Traceback" in error["message"]:
        problems.append(f"an error says {error['message']!r}")
    size = len(error["message"]) + len(error["param"] or "")
    if size > MAX_ERROR_CHARS:
        problems.append(f"the error {error['code']} gives back {size} characters")
    return problems


# --- what only the session's state may refuse ------------------------------------------------


def _excuses(event: Event | None, mirror: Mirror | None) -> frozenset[str]:
    """The codes with which a right event may be refused; any state's, when it is not known."""
    if event is None:
        return _UNRECOGNISED
    codes: set[str] = set()
    match event["type"]:
        case "session.update":
            codes.add("cannot_update_voice")
        case "input_audio_buffer.append":
            codes.add("invalid_value")
        case "input_audio_buffer.commit":
            codes.add("input_audio_buffer_commit_empty")
        case "conversation.item.create":
            codes |= _creation_excuses(event, mirror)
        case "conversation.item.retrieve" | "conversation.item.delete" as kind:
            if mirror is None or event["item_id"] not in mirror.items:
                codes.add(f"item_{kind.rpartition('.')[2]}_invalid_item_id")
        case "conversation.item.truncate":
            codes |= {"item_truncate_invalid_item_id", "unsupported_content_type", "invalid_value"}
        case "response.create":
            codes |= _response_excuses(event, mirror)
        case "response.cancel":
            wanted = event.get("response_id")
            idle = mirror is None or (
                not mirror.active if wanted is None else wanted not in mirror.live
            )
            if idle:
                codes.add("response_cancel_not_active")
        case "output_audio_buffer.clear":
            codes.add("invalid_value")
        case _:
            pass
    return frozenset(codes)


def _creation_excuses(event: Event, mirror: Mirror | None) -> set[str]:
    item, after = event["item"], event.get("previous_item_id")
    codes: set[str] = set()
    if mirror is None or (after and after != "root" and after not in mirror.items):
        codes.add("item_create_invalid_previous_item_id")
    taken = mirror is None or item.get("id") in mirror.items or item.get("id") == mirror.announced
    unknown = item["type"] == "function_call_output" and (
        mirror is None or item["call_id"] not in mirror.calls
    )
    if taken or unknown or item["type"] == "mcp_approval_response":
        codes.add("invalid_value")
    return codes


def _response_excuses(event: Event, mirror: Mirror | None) -> set[str]:
    response = event.get("response") or {}
    codes: set[str] = set()
    if mirror is not None and mirror.kind == "transcription":
        return {"invalid_parameter"}
    if mirror is None:
        codes.add("invalid_parameter")
    out_of_band = response.get("conversation") == "none"
    if mirror is None or (mirror.active and not out_of_band):
        codes.add("conversation_already_has_active_response")
    references = [
        entry["id"] for entry in response.get("input", []) if entry["type"] == "item_reference"
    ]
    if mirror is None or mirror.out_of_band >= 8 or any(i not in mirror.items for i in references):
        codes.add("invalid_value")
    return codes


# --- what an update shows ----------------------------------------------------------------------


def _echo_problems(message: Send, event: Event | None, reply: Event, mirror: Mirror) -> list[str]:
    session = reply.get("session", {})
    if event is not None and event.get("session") in ({}, {"type": mirror.kind}):
        # An update that changes nothing shows that nothing was changed since the last one.
        return [
            f"session.{name} changed without an update"
            for name, value in session.items()
            if mirror.session.get(name) != value
        ]
    return [
        f"session.updated does not show what {name} was set to"
        for name, wanted in message.echo.items()
        if name not in session or not _shows(session[name], wanted)
    ]


def _shows(shown: Any, wanted: Any) -> bool:
    """Whether `wanted` can be seen: an object in part, anything else whole."""
    if isinstance(wanted, dict) and isinstance(shown, dict):
        return all(
            value is None or (name in shown and _shows(shown[name], value))
            for name, value in wanted.items()
        )
    return wanted is None or shown == wanted
