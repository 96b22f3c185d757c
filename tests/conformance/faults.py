"""The planted faults: what each does to the wire, and the checks that it must fail, no others."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from conformance.oracle import WireEvent
from tests.conformance.broken_server import Action, HangUp, Plant, to_client, to_server
from tests.conformance.missing_features import MISSING_FEATURES
from tests.conformance.planting import (
    Change,
    Fault,
    answers,
    dropped,
    fault,
    fresh,
    hears,
    of_assistant,
    only_if,
    planted,
    put,
    refusal,
    renamed,
    says,
    without,
)

_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_KNOWN = (
    *("session.update", "transcription_session.update", "response.create", "response.cancel"),
    *("input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear"),
    *("conversation.item.create", "conversation.item.retrieve", "conversation.item.truncate"),
    "conversation.item.delete",
)


# --- faults with a memory -------------------------------------------------------------------


class _CreatedLate(Plant):
    """response.created comes behind the first output item (peers: deferred to first audio)."""

    def __init__(self) -> None:
        self._held: WireEvent | None = None

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "response.created":
            self._held = event
            return
        yield to_client(event)
        if self._held is not None and event["type"].startswith("response."):
            yield to_client(self._held)
            self._held = None


class _AudioAfterDone(Plant):
    """What was in the pipe when the response was cancelled still comes."""

    def __init__(self) -> None:
        self._last: WireEvent | None = None

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        yield to_client(event)
        if event["type"] == "response.output_audio.delta":
            self._last = event
        elif self._last is not None and event.get("response", {}).get("status") == "cancelled":
            yield to_client(fresh(self._last))


class _Unasked(Plant):
    """Transcripts come although the session has no transcription."""

    def __init__(self) -> None:
        self._committed: str | None = None
        self._wanted = False

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        yield to_client(event)
        match event["type"]:
            case "session.updated":
                self._wanted = event["session"]["audio"]["input"]["transcription"] is not None
            case "input_audio_buffer.committed":
                self._committed = event["item_id"]
            case "conversation.item.done" if event["item"]["id"] == self._committed:
                if not self._wanted:
                    yield to_client(
                        planted(
                            f"{_TRANSCRIPTION}.completed",
                            item_id=self._committed,
                            content_index=0,
                            transcript="hello",
                            usage={"type": "duration", "seconds": 1},
                        )
                    )
            case _:
                pass


class _HalfApplied(Plant):
    """A refused session.update leaves its first half behind."""

    def __init__(self) -> None:
        self._skip = 0

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        session = event.get("session")
        if isinstance(session, dict) and "instructions" in session and _threshold(session) > 1:
            self._skip += 1
            half = {"type": "realtime", "instructions": session["instructions"]}
            yield to_server({"type": "session.update", "session": half})
            yield to_client(refusal(event, "decimal_above_max_value"))
        else:
            yield to_server(event)

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "session.updated" and self._skip:
            self._skip -= 1
        else:
            yield to_client(event)


def _threshold(session: WireEvent) -> float:
    detection = session.get("audio", {}).get("input", {}).get("turn_detection") or {}
    return detection.get("threshold", 0)


class _DiesOf(Plant):
    """A frame that is no event ends the session."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def unreadable(self, frame: str | bytes) -> Iterable[Action]:
        if isinstance(frame, self._kind):
            return [HangUp(1003)]
        return super().unreadable(frame)


class _DiesOfErrors(Plant):
    """The session ends with its first error."""

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        yield to_client(event)
        if event["type"] == "error":
            yield HangUp(1011)


class _Silent(Plant):
    """Unknown events are only logged."""

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if "type" not in event or event["type"] in _KNOWN:
            yield to_server(event)


class _NoSubprotocol(Plant):
    touches_handshake = True

    def subprotocol(self, offered: Sequence[str]) -> str | None:
        return None


class _SecretSubprotocol(Plant):
    touches_handshake = True

    def subprotocol(self, offered: Sequence[str]) -> str | None:
        return offered[-1] if offered else None


class _OneClient(Plant):
    """There is one pipeline: the second client is turned away."""

    touches_handshake = True

    def opened(self, others: int, path: str) -> Iterable[Action]:
        return [HangUp(1008)] if others else []


class _EndsTwice(Plant):
    """Every response is done twice."""

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        yield to_client(event)
        if event["type"] == "response.done":
            yield to_client(fresh(event))


class _Greets(Plant):
    """Something comes ahead of session.created."""

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "session.created":
            yield to_client(planted("conversation.created", conversation={"id": "conv_1"}))
        yield to_client(event)


class _Forgets(Plant):
    """Each update sets what it does not name back to nothing."""

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if event.get("type") == "session.update" and isinstance(event["session"], dict):
            event = {**event, "session": {"tools": [], **event["session"]}}
        yield to_server(event)


class _OneIdLess(Plant):
    """The committed item is not the one that speech_started announced."""

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "input_audio_buffer.speech_started":
            event = {**event, "item_id": "item_other"}
        yield to_client(event)


# --- changes --------------------------------------------------------------------------------


def _updates(change: Callable[[dict[str, Any]], Any]) -> Change:
    """A change to the session of a session.update, where it is an object."""

    def whole(event: WireEvent) -> WireEvent:
        if isinstance(event.get("session"), dict):
            change(event["session"])
        return event

    return whole


def _detection(session: dict[str, Any]) -> Any:
    return session.get("audio", {}).get("input", {}).get("turn_detection", "absent")


class _IgnoresSwitch(Plant):
    """A switch of turn detection is echoed and always on."""

    def __init__(self, switch: str) -> None:
        self._switch, self._asked = switch, True

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        session = event.get("session")
        detection = _detection(session) if isinstance(session, dict) else None
        if isinstance(detection, dict) and detection.get(self._switch) is False:
            self._asked = False
            event = deepcopy(event)
            _detection(event["session"])[self._switch] = True
        elif isinstance(detection, dict):
            self._asked = True
        yield to_server(event)

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "session.updated" and not self._asked:
            event = deepcopy(event)
            if isinstance(detection := _detection(event["session"]), dict):
                detection[self._switch] = False
        yield to_client(event)


class _AlwaysDetects(Plant):
    """turn_detection null is echoed, and detection goes on."""

    def __init__(self) -> None:
        self._off = False

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        session = event.get("session")
        if isinstance(session, dict) and _detection(session) is None:
            event = deepcopy(event)
            event["session"]["audio"]["input"]["turn_detection"] = {
                "type": "server_vad",
                "create_response": False,
                "interrupt_response": False,
                "silence_duration_ms": 300,
            }
            self._off = True
        elif isinstance(session, dict) and isinstance(_detection(session), dict):
            self._off = False
        yield to_server(event)

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "session.updated" and self._off:
            event = deepcopy(event)
            event["session"]["audio"]["input"]["turn_detection"] = None
        yield to_client(event)


class _AssumesPcm(Plant):
    """The input format is echoed, and the audio taken for PCM."""

    def __init__(self) -> None:
        self._format: Any = None

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        session = event.get("session")
        audio = session.get("audio", {}) if isinstance(session, dict) else {}
        if "format" in audio.get("input", {}):
            event = deepcopy(event)
            self._format = event["session"]["audio"]["input"].pop("format")
        yield to_server(event)

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "session.updated" and self._format is not None:
            event = deepcopy(event)
            event["session"]["audio"]["input"]["format"] = self._format
        yield to_client(event)


def _shortened(event: WireEvent) -> WireEvent:
    return {**event, "delta": event["delta"][:-1]}


def _huge(event: WireEvent) -> WireEvent:
    return {**event, "delta": base64.b64encode(bytes(900_000)).decode()}


def _odd(event: WireEvent) -> WireEvent:
    return {**event, "delta": base64.b64encode(base64.b64decode(event["delta"]) + b"\0").decode()}


def _reason(old: str, new: str) -> Change:
    def change(event: WireEvent) -> WireEvent:
        details = event["response"].get("status_details") or {}
        if details.get("reason") == old:
            details["reason"] = new
        return event

    return change


def _complete_items(event: WireEvent) -> WireEvent:
    items = [event["item"]] if "item" in event else event["response"]["output"]
    for item in items:
        if item.get("status") == "incomplete":
            item["status"] = "completed"
    return event


def _cancel_without_end(event: WireEvent) -> WireEvent | None:
    return None if event["response"]["status"] == "cancelled" else event


def _no_transcript_key(event: WireEvent) -> WireEvent:
    for part in event["item"].get("content", ()):
        if part["type"] == "input_audio":
            part.pop("transcript", None)
    return event


def _announced_whole(event: WireEvent) -> WireEvent:
    if event["item"]["type"] == "function_call":
        event["item"].update(status="completed", arguments='{"city":"Paris"}')
    return event


def _without_placement(event: WireEvent) -> WireEvent:
    event.pop("previous_item_id", None)
    return event


def _without_client_id(event: WireEvent) -> WireEvent:
    event["item"].pop("id", None)
    return event


def _forced_tool(event: WireEvent) -> WireEvent:
    if (event.get("response") or {}).get("tool_choice") == "none":
        event["response"]["tool_choice"] = "required"
    return event


def _goes_on(event: WireEvent) -> list[WireEvent]:
    goes_on = event["item"].get("type") == "function_call_output"
    return [event, {"type": "response.create"}] if goes_on else [event]


class _Blanks(Plant):
    """After a truncation nothing is left of the transcript."""

    def __init__(self) -> None:
        self._cut: set[str] = set()

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "conversation.item.truncated":
            self._cut.add(event["item_id"])
        elif event["type"] == "conversation.item.retrieved" and event["item"]["id"] in self._cut:
            event = deepcopy(event)
            event["item"]["content"][0]["transcript"] = ""
        yield to_client(event)


class _Remembers(Plant):
    """A deleted item is acknowledged, and stays."""

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        item_id = event.get("item_id", "item_nowhere")
        if event.get("type") == "conversation.item.delete" and item_id != "item_nowhere":
            return [to_client(planted("conversation.item.deleted", item_id=item_id))]
        return [to_server(event)]


def _ok(event: WireEvent, code: str) -> bool:
    return event["error"]["code"] == code


def _recode(code: str, new: str) -> Change:
    return only_if(lambda event: _ok(event, code), put("error.code", new))


def _retyped(item: WireEvent) -> WireEvent:
    return (
        {
            **item,
            "content": [
                {**part, "type": part["type"].removeprefix("output_")}
                for part in item.get("content", ())
            ],
        }
        if "content" in item
        else item
    )


# --- the table ------------------------------------------------------------------------------

_STARTED = "input_audio_buffer.speech_started"
_COMMITTED = "input_audio_buffer.committed"
_ADDED, _DONE = "conversation.item.added", "conversation.item.done"
_CREATED, _ENDED = "response.created", "response.done"
_OUT_ADDED, _OUT_DONE = "response.output_item.added", "response.output_item.done"
_AUDIO, _WORDS = "response.output_audio.delta", "response.output_audio_transcript.delta"
_PART = "response.content_part.added"
_UPDATE, _UPDATED, _OPENED = "session.update", "session.updated", "session.created"
_ASK, _ITEM = "response.create", "conversation.item.create"


FAULTS: tuple[Fault, ...] = (
    # ids
    fault(
        "no-event-id",
        says(_STARTED, change=without("event_id")),
        "shapes/event-id",
    ),
    fault(
        "todo-event-ids",
        says(_STARTED, change=put("event_id", "event_TODO")),
        "ordering/unique-event-ids",
    ),
    fault(
        "todo-predecessor",
        says(_COMMITTED, change=put("previous_item_id", "TODO")),
        "input-audio/commit-names-its-predecessor",
        "ordering/predecessors",
        "turn-detection/two-turns",
    ),
    fault(
        "empty-speech-item-id",
        says(_STARTED, change=put("item_id", "")),
        "input-audio/commit-under-detection",
        "ordering/speech-boundaries",
        "turn-detection/one-item-id",
    ),
    fault(
        "another-speech-item-id",
        _OneIdLess,
        "input-audio/commit-under-detection",
        "ordering/speech-boundaries",
        "turn-detection/one-item-id",
    ),
    fault(
        "client-ids-replaced",
        hears(_ITEM, change=_without_client_id),
        "items/client-ids-are-kept",
        "items/duplicate-id",
    ),
    fault(
        "error-names-no-event",
        says("error", change=put("error.event_id", None)),
        "errors/event-id-is-echoed",
    ),
    fault(
        "error-names-another",
        says("error", change=put("error.event_id", "event_x")),
        "errors/event-id-is-echoed",
        "ordering/error-origins",
    ),
    # what is announced, and when
    fault(
        "session-created-second",
        _Greets,
        "connection/opens-with-session-created",
        "dialect-purity/event-names",
        "ordering/session-first",
        within=("connection",),
    ),
    fault(
        "no-item-done",
        says(_DONE, change=only_if(of_assistant, dropped)),
        "ordering/item-lifetime",
        "responses/audio-order",
        "responses/text-order",
        within=("responses",),
    ),
    fault(
        "no-user-item-done",
        says(_DONE, change=only_if(lambda e: not of_assistant(e), dropped)),
        "items/create-is-announced",
        "ordering/item-lifetime",
        within=("items", "responses"),
    ),
    fault(
        "no-item-added",
        says(_ADDED, change=only_if(of_assistant, dropped)),
        "ordering/item-lifetime",
        "ordering/predecessors",
        "responses/audio-order",
        "responses/items-follow-each-other",
        "responses/text-order",
        within=("responses",),
    ),
    fault(
        "no-output-item-added",
        says(_OUT_ADDED, change=dropped),
        "function-calls/call-order",
        "ordering/item-lifetime",
        "ordering/nesting-and-sums",
        "ordering/output-items",
        "responses/audio-order",
        "responses/text-order",
        within=("responses", "function-calls"),
    ),
    fault(
        "no-content-part",
        says(_PART, "response.content_part.done", change=dropped),
        "ordering/nesting-and-sums",
        "responses/audio-order",
        "responses/text-order",
        within=("responses",),
    ),
    fault(
        "created-late",
        _CreatedLate,
        "ordering/item-lifetime",
        "ordering/nesting-and-sums",
        "ordering/output-items",
        "ordering/response-lifetime",
        "responses/audio-order",
        "responses/text-order",
        within=("responses",),
    ),
    fault(
        "done-twice",
        _EndsTwice,
        "ordering/response-lifetime",
        within=("responses",),
    ),
    fault(
        "cancelled-never-done",
        says(_ENDED, change=_cancel_without_end),
        "barge-in/interruption-is-answered",
        "barge-in/reply-ends-first",
        "barge-in/speech-cancels",
        "barge-in/truncation-follows",
        "ordering/one-response",
        "ordering/response-lifetime",
        "out-of-band/is-cancelled-by-id",
        "out-of-band/runs-in-parallel",
        "responses/cancel",
        "responses/one-at-a-time",
        "responses/respond-after-cancel",
        "responses/silence-after-cancel",
    ),
    fault(
        "audio-after-done",
        _AudioAfterDone,
        "ordering/response-lifetime",
        "responses/silence-after-cancel",
    ),
    fault(
        "call-announced-complete",
        says(_OUT_ADDED, _ADDED, change=_announced_whole),
        "function-calls/call-order",
        "ordering/output-items",
    ),
    fault(
        "root-ignored",
        hears(_ITEM, change=_without_placement),
        "items/items-are-placed",
        "items/unknown-predecessor",
        "ordering/predecessors",
    ),
    # fields
    fault(
        "metadata-lost",
        says(_CREATED, _ENDED, change=put("response.metadata", None)),
        "out-of-band/adds-nothing",
        "responses/metadata-is-echoed",
    ),
    fault(
        "usage-lost",
        says(_ENDED, change=put("response.usage", None)),
        "responses/usage",
        "shapes/response",
        within=("responses",),
    ),
    fault(
        "call-without-name",
        says("response.function_call_arguments.done", change=without("name")),
        "shapes/function-calls",
    ),
    fault(
        "transcript-without-usage",
        says(f"{_TRANSCRIPTION}.completed", change=without("usage")),
        "shapes/transcription",
        "transcription/transcript-usage",
    ),
    fault(
        "no-transcript-key",
        says(_ADDED, _DONE, change=_no_transcript_key),
        "input-audio/commit-makes-an-item",
        "shapes/items",
        "turn-detection/transcript-key",
    ),
    fault(
        "null-in-part",
        says(_PART, change=put("part.transcript", None)),
        "shapes/content-parts",
        "shapes/no-nulls",
    ),
    fault(
        "fractional-position",
        says(_STARTED, change=lambda e: {**e, "audio_start_ms": e["audio_start_ms"] + 0.5}),
        "shapes/input-audio",
    ),
    fault(
        "wall-clock-position",
        says(_STARTED, change=lambda e: {**e, "audio_start_ms": e["audio_start_ms"] + 1_700_000}),
        "ordering/positions",
        "turn-detection/positions",
    ),
    fault(
        "no-interrupt-response",
        says(_UPDATED, change=without("session.audio.input.turn_detection.interrupt_response")),
        "session/response-switches-are-echoed",
        "session/turn-detection-is-merged",
        "shapes/session",
        within=("session",),
    ),
    fault(
        "session-in-part",
        says(_UPDATED, change=without("session.max_output_tokens")),
        "session/update-is-answered",
        "shapes/session",
        within=("session",),
    ),
    fault(
        "expired-session",
        says(_OPENED, change=put("session.expires_at", 1_500_000_000)),
        "session/expires-in-the-future",
        within=("session",),
    ),
    # audio
    fault(
        "one-delta-over-1-mib",
        says(_AUDIO, change=_huge),
        "items/truncate-keeps-what-was-heard",
        "shapes/frames",
    ),
    fault(
        "odd-deltas",
        says(_AUDIO, change=_odd),
        "ordering/nesting-and-sums",
    ),
    fault(
        "words-lost",
        says(_WORDS, change=_shortened),
        "ordering/nesting-and-sums",
    ),
    fault(
        "ulaw-taken-for-pcm",
        _AssumesPcm,
        "input-audio/ulaw-is-measured",
        "turn-detection/ulaw-speech",
    ),
    # session.update
    fault(
        "update-half-applied",
        _HalfApplied,
        "session/wrong-update-changes-nothing",
    ),
    fault(
        "tools-forgotten",
        _Forgets,
        "session/update-is-partial",
        within=("session",),
    ),
    fault(
        "empty-instructions-skipped",
        hears(
            _UPDATE,
            change=_updates(
                lambda s: s.pop("instructions") if s.get("instructions") == "" else None
            ),
        ),
        "session/empty-instructions",
    ),
    fault(
        "semantic-vad-refused",
        answers(_UPDATE, lambda e: refusal(e, "invalid_value") if "semantic_vad" in str(e) else e),
        "session/semantic-vad",
        "turn-detection/semantic-turn",
    ),
    fault(
        "unknown-fields-refused",
        answers(
            _UPDATE,
            lambda e: refusal(e, "unknown_parameter") if "vendor_extension" in str(e) else e,
        ),
        "errors/unknown-fields",
    ),
    # the input buffer and turn detection
    fault(
        "commit-ignored",
        answers("input_audio_buffer.commit", lambda e: None),
        "input-audio/clear-drops-the-audio",
        "input-audio/commit-makes-an-item",
        "input-audio/commit-names-its-predecessor",
        "input-audio/commit-starts-no-response",
        "input-audio/commit-under-detection",
        "input-audio/committed-audio-is-retrieved",
        "input-audio/committed-turn-is-answered",
        "input-audio/empty-commit",
        "input-audio/odd-appends",
        "input-audio/one-large-append",
        "input-audio/ulaw-is-measured",
        "transcription/committed-turn",
        "transcription/transcript-usage",
    ),
    fault(
        "commit-starts-response",
        hears("input_audio_buffer.commit", change=lambda e: [e, {"type": "response.create"}]),
        "input-audio/commit-starts-no-response",
    ),
    fault(
        "clear-only-acknowledged",
        answers("input_audio_buffer.clear", lambda e: planted("input_audio_buffer.cleared")),
        "input-audio/clear-drops-the-audio",
        within=("input-audio",),
    ),
    fault(
        "create-response-ignored",
        lambda: _IgnoresSwitch("create_response"),
        "turn-detection/no-response-unless-wanted",
        "turn-detection/two-turns",
    ),
    fault(
        "interrupt-response-ignored",
        lambda: _IgnoresSwitch("interrupt_response"),
        "barge-in/no-interruption-unless-wanted",
    ),
    fault(
        "detection-never-off",
        _AlwaysDetects,
        "input-audio/no-detection-when-off",
        within=("input-audio",),
    ),
    fault(
        "transcription-unasked",
        _Unasked,
        "ordering/transcription-on-request",
        "transcription/nothing-unasked",
    ),
    # items
    fault(
        "truncate-unacknowledged",
        answers("conversation.item.truncate", lambda e: None),
        "barge-in/truncation-follows",
        "items/truncate",
        "items/truncate-at-a-fraction",
        "items/truncate-keeps-what-was-heard",
        "items/truncate-past-the-end",
        "items/truncate-refused",
    ),
    fault(
        "truncate-past-end-refused",
        answers(
            "conversation.item.truncate",
            lambda e: (
                refusal(
                    e, "invalid_value", "Audio content of 9250ms is already shorter than 57340ms"
                )
                if e["audio_end_ms"] > 60_000
                else e
            ),
        ),
        "items/truncate-past-the-end",
    ),
    fault(
        "truncate-fraction-refused",
        answers(
            "conversation.item.truncate",
            lambda e: refusal(e, "invalid_type") if e["audio_end_ms"] % 1 else e,
        ),
        "items/truncate-at-a-fraction",
    ),
    fault(
        "truncate-blanks-everything",
        _Blanks,
        "items/truncate-keeps-what-was-heard",
    ),
    fault(
        "retrieve-not-implemented",
        answers("conversation.item.retrieve", lambda e: refusal(e, "not_implemented")),
        "input-audio/committed-audio-is-retrieved",
        "items/retrieve",
        "items/retrieve-unknown",
        "items/truncate-keeps-what-was-heard",
    ),
    fault(
        "delete-only-acknowledged",
        _Remembers,
        "items/delete",
        "ordering/predecessors",
    ),
    # responses
    fault(
        "overrides-ignored",
        hears(_ASK, change=without("response")),
        "function-calls/no-call",
        "function-calls/tools-of-one-response",
        "out-of-band/adds-nothing",
        "out-of-band/is-cancelled-by-id",
        "out-of-band/runs-in-parallel",
        "responses/instructions-have-an-effect",
        "responses/metadata-is-echoed",
        "responses/metadata-limits",
        "responses/overrides-hold-once",
        "responses/token-limit",
    ),
    fault(
        "token-limit-ignored",
        hears(_ASK, change=without("response.max_output_tokens")),
        "responses/token-limit",
    ),
    fault(
        "second-create-silent",
        says(
            "error",
            change=only_if(lambda e: _ok(e, "conversation_already_has_active_response"), dropped),
        ),
        "responses/one-at-a-time",
    ),
    fault(
        "cancel-not-implemented",
        answers("response.cancel", lambda e: refusal(e, "server_error", "not implemented")),
        "ordering/item-lifetime",
        "ordering/response-lifetime",
        "out-of-band/is-cancelled-by-id",
        "out-of-band/runs-in-parallel",
        "responses/cancel",
        "responses/cancel-nothing",
        "responses/one-at-a-time",
        "responses/respond-after-cancel",
        "responses/silence-after-cancel",
    ),
    fault(
        "cancel-code",
        says("error", change=_recode("response_cancel_not_active", "invalid_value")),
        "responses/cancel-nothing",
    ),
    fault(
        "turn-detected-for-cancel",
        says(_ENDED, change=_reason("client_cancelled", "turn_detected")),
        "responses/cancel",
    ),
    fault(
        "client-cancelled-for-speech",
        says(_ENDED, change=_reason("turn_detected", "client_cancelled")),
        "barge-in/speech-cancels",
    ),
    fault(
        "cut-items-completed",
        says(_DONE, _OUT_DONE, _ENDED, change=_complete_items),
        "barge-in/speech-cancels",
        "responses/cancel",
    ),
    fault(
        "goes-on-after-result",
        hears(_ITEM, change=_goes_on),
        "function-calls/result-starts-nothing",
    ),
    fault(
        "tool-choice-none-ignored",
        hears(_ASK, change=_forced_tool),
        "function-calls/no-call",
    ),
    fault(
        "out-of-band-refused",
        answers(
            _ASK,
            lambda e: (
                refusal(e, "invalid_value")
                if e.get("response", {}).get("conversation") == "none"
                else e
            ),
        ),
        "out-of-band/adds-nothing",
        "out-of-band/is-cancelled-by-id",
        "out-of-band/runs-in-parallel",
        "out-of-band/takes-input",
    ),
    fault(
        "out-of-band-ignored",
        hears(_ASK, change=without("response.conversation")),
        "out-of-band/adds-nothing",
        "out-of-band/is-cancelled-by-id",
        "out-of-band/runs-in-parallel",
    ),
    # errors and endings
    fault(
        "bad-json-ends-session",
        lambda: _DiesOf(str),
        "errors/not-an-object",
        "errors/not-json",
    ),
    fault(
        "binary-frame-ends-session",
        lambda: _DiesOf(bytes),
        "errors/binary-frame",
    ),
    fault(
        "errors-end-session",
        _DiesOfErrors,
        "errors/binary-frame",
        "errors/event-id-is-echoed",
        "errors/many-errors",
        "errors/missing-field",
        "errors/no-type",
        "errors/not-an-object",
        "errors/not-json",
        "errors/out-of-range",
        "errors/outside-the-set",
        "errors/unknown-event",
        "errors/unknown-event-code",
        "errors/wrong-type",
        "input-audio/bad-base64",
        "input-audio/empty-commit",
        "input-audio/ulaw-is-measured",
        "items/delete",
        "items/delete-unknown",
        "items/duplicate-id",
        "items/retrieve-unknown",
        "items/truncate-refused",
        "items/unknown-predecessor",
        "responses/cancel-nothing",
        "responses/metadata-limits",
        "responses/one-at-a-time",
        "session/wrong-update-changes-nothing",
    ),
    fault(
        "unknown-event-silent",
        _Silent,
        "errors/event-id-is-echoed",
        "errors/many-errors",
        "errors/unknown-event",
        "errors/unknown-event-code",
    ),
    fault(
        "error-without-param",
        says("error", change=without("error.param")),
        "errors/missing-field",
        "errors/out-of-range",
        "errors/unknown-event-code",
        "errors/wrong-type",
        "shapes/error",
    ),
    fault(
        "empty-commit-code",
        says("error", change=_recode("input_audio_buffer_commit_empty", "commit_failed")),
        "input-audio/empty-commit",
    ),
    # the handshake
    fault(
        "no-subprotocol",
        _NoSubprotocol,
        "connection/answers-the-realtime-subprotocol",
        within=("connection",),
    ),
    fault(
        "key-subprotocol",
        _SecretSubprotocol,
        "connection/answers-the-realtime-subprotocol",
        within=("connection",),
    ),
    fault(
        "one-client-only",
        _OneClient,
        "connection/serves-several-at-once",
        "ordering/session-first",
        jobs=1,
        within=("connection",),
    ),
    # the dialects
    fault(
        "beta-audio-in-ga",
        says(_AUDIO, change=renamed("output_audio", "audio")),
        "dialect-purity/event-names",
    ),
    fault(
        "item-created-in-ga",
        says(_ADDED, change=renamed(".added", ".created")),
        "dialect-purity/event-names",
        within=("items", "responses"),
    ),
    fault(
        "flat-voice-in-ga",
        says(_UPDATED, change=lambda e: {**e, "session": {**e["session"], "voice": "alloy"}}),
        "dialect-purity/fields",
        within=("session",),
    ),
    fault(
        "beta-content-in-ga",
        says(_OUT_DONE, _DONE, change=lambda e: {**e, "item": _retyped(e["item"])}),
        "dialect-purity/content-types",
        "ordering/nesting-and-sums",
        within=("responses",),
    ),
    fault(
        "ga-audio-in-beta",
        says("response.audio.delta", change=renamed(".audio.", ".output_audio.")),
        "dialect-purity/event-names",
        dialect="beta",
    ),
    fault(
        "ga-session-in-beta",
        says(_UPDATED, change=lambda e: {**e, "session": {**e["session"], "type": "realtime"}}),
        "dialect-purity/fields",
        dialect="beta",
        within=("session",),
    ),
    fault(
        "no-object-in-beta",
        says("conversation.item.created", change=without("item.object")),
        "items/retrieve",
        "ordering/item-lifetime",
        "shapes/items",
        dialect="beta",
        within=("items", "responses"),
    ),
    fault(
        "item-done-in-beta",
        says(
            "response.output_item.done",
            change=lambda e: [
                planted("conversation.item.done", item=e["item"], previous_item_id=None),
                e,
            ],
        ),
        "dialect-purity/event-names",
        "ordering/item-lifetime",
        "responses/audio-order",
        "responses/text-order",
        dialect="beta",
        within=("responses",),
    ),
    *MISSING_FEATURES,
)
