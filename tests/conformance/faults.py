"""The planted faults: what each does to the wire, and the checks that it must fail, no others."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from conformance.oracle import Dialect, WireEvent
from tests.conformance.broken_server import Action, HangUp, Plant, to_client, to_server

Change = Callable[[WireEvent], "WireEvent | list[WireEvent] | None"]

_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_KNOWN = (
    *("session.update", "transcription_session.update", "response.create", "response.cancel"),
    *("input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear"),
    *("conversation.item.create", "conversation.item.retrieve", "conversation.item.truncate"),
    "conversation.item.delete",
)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: Also the first step of its path.
        plant: Makes what is done to one connection.
        fails: Ids of the checks and rules that must fail.
        dialect: In which it is planted.
        within: Sections whose connections it is planted into, all by default: what every
            connection would show need not be shown by every one of them.
        jobs: How many checks run at once.
    """

    name: str
    plant: Callable[[], Plant]
    fails: frozenset[str]
    dialect: Dialect = "ga"
    within: tuple[str, ...] = ()
    jobs: int = 8


# --- ways to plant --------------------------------------------------------------------------


class _Says(Plant):
    """The server says something else."""

    def __init__(self, change: Change, kinds: tuple[str, ...]) -> None:
        self._change, self._kinds = change, kinds

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if self._kinds and event.get("type") not in self._kinds:
            return [to_client(event)]
        changed = self._change(deepcopy(event))
        return map(to_client, [changed] if isinstance(changed, dict) else changed or [])


class _Hears(Plant):
    """The server hears something else."""

    def __init__(self, change: Change, kinds: tuple[str, ...]) -> None:
        self._change, self._kinds = change, kinds

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if event.get("type") not in self._kinds:
            return [to_server(event)]
        changed = self._change(deepcopy(event))
        return map(to_server, [changed] if isinstance(changed, dict) else changed or [])


def says(*kinds: str, change: Change) -> Callable[[], Plant]:
    """Server events of these types (all without any) are changed, multiplied or dropped."""
    return lambda: _Says(change, kinds)


def hears(*kinds: str, change: Change) -> Callable[[], Plant]:
    """Client events of these types reach the server changed, multiplied or not at all."""
    return lambda: _Hears(change, kinds)


class _Answers(Plant):
    """Some client events never reach the server; the proxy answers them."""

    def __init__(self, kind: str, answer: Callable[[WireEvent], WireEvent | None]) -> None:
        self._kind, self._answer = kind, answer

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        answer = self._answer(event) if event.get("type") == self._kind else event
        if answer is event:
            return [to_server(event)]
        return [] if answer is None else [to_client(answer)]


def answers(kind: str, answer: Callable[[WireEvent], WireEvent | None]) -> Callable[[], Plant]:
    """Client events of this type are answered by the proxy; returned unchanged they pass."""
    return lambda: _Answers(kind, answer)


def _set(path: str, value: Any) -> Change:
    def change(event: WireEvent) -> WireEvent:
        *parents, last = path.split(".")
        target: Any = event
        for step in parents:
            target = target[int(step)] if step.isdigit() else target.get(step)
            if target is None:
                return event
        if last in target:
            target[last] = value
        return event

    return change


def _without(path: str) -> Change:
    def change(event: WireEvent) -> WireEvent:
        *parents, last = path.split(".")
        target: Any = event
        for step in parents:
            target = target.get(step)
            if target is None:
                return event
        target.pop(last, None)
        return event

    return change


def _drop(event: WireEvent) -> None:
    return None


def _error(event: WireEvent, code: str | None, message: str = "No.") -> WireEvent:
    error = {
        "type": "invalid_request_error",
        "code": code,
        "message": message,
        "param": None,
        "event_id": event.get("event_id"),
    }
    return {"type": "error", "event_id": f"event_planted_{next(_numbers)}", "error": error}


def _planted(kind: str, **fields: Any) -> WireEvent:
    return {"type": kind, "event_id": f"event_planted_{next(_numbers)}", **fields}


def _renamed(old: str, new: str) -> Change:
    return lambda event: {**event, "type": event["type"].replace(old, new)}


def _only(condition: Callable[[WireEvent], bool], change: Change) -> Change:
    return lambda event: change(event) if condition(event) else event


def _of_assistant(event: WireEvent) -> bool:
    return event["item"].get("role") == "assistant"


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
            yield to_client({**self._last, "event_id": f"event_planted_{next(_numbers)}"})


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
                        _planted(
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
            yield to_client(_error(event, "decimal_above_max_value"))
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

    def opened(self, others: int) -> Iterable[Action]:
        return [HangUp(1008)] if others else []


class _EndsTwice(Plant):
    """Every response is done twice."""

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        yield to_client(event)
        if event["type"] == "response.done":
            yield to_client({**event, "event_id": f"event_planted_{next(_numbers)}"})


class _Greets(Plant):
    """Something comes ahead of session.created."""

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "session.created":
            yield to_client(_planted("conversation.created", conversation={"id": "conv_1"}))
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
            return [to_client(_planted("conversation.item.deleted", item_id=item_id))]
        return [to_server(event)]


def _ok(event: WireEvent, code: str) -> bool:
    return event["error"]["code"] == code


def _recode(code: str, new: str) -> Change:
    return _only(lambda event: _ok(event, code), _set("error.code", new))


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


def _fault(
    name: str,
    plant: Callable[[], Plant],
    *fails: str,
    dialect: Dialect = "ga",
    within: tuple[str, ...] = (),
    jobs: int = 8,
) -> Fault:
    return Fault(name, plant, frozenset(fails), dialect, within, jobs)


FAULTS: tuple[Fault, ...] = (
    # ids
    _fault(
        "no-event-id",
        says(_STARTED, change=_without("event_id")),
        "shapes/event-id",
    ),
    _fault(
        "todo-event-ids",
        says(_STARTED, change=_set("event_id", "event_TODO")),
        "ordering/unique-event-ids",
    ),
    _fault(
        "todo-predecessor",
        says(_COMMITTED, change=_set("previous_item_id", "TODO")),
        "input-audio/commit-names-its-predecessor",
        "ordering/predecessors",
        "turn-detection/two-turns",
    ),
    _fault(
        "empty-speech-item-id",
        says(_STARTED, change=_set("item_id", "")),
        "input-audio/commit-under-detection",
        "ordering/speech-boundaries",
        "turn-detection/one-item-id",
    ),
    _fault(
        "another-speech-item-id",
        _OneIdLess,
        "input-audio/commit-under-detection",
        "ordering/speech-boundaries",
        "turn-detection/one-item-id",
    ),
    _fault(
        "client-ids-replaced",
        hears(_ITEM, change=_without_client_id),
        "items/client-ids-are-kept",
        "items/duplicate-id",
    ),
    _fault(
        "error-names-no-event",
        says("error", change=_set("error.event_id", None)),
        "errors/event-id-is-echoed",
    ),
    _fault(
        "error-names-another",
        says("error", change=_set("error.event_id", "event_x")),
        "errors/event-id-is-echoed",
        "ordering/error-origins",
    ),
    # what is announced, and when
    _fault(
        "session-created-second",
        _Greets,
        "connection/opens-with-session-created",
        "dialect-purity/event-names",
        "ordering/session-first",
        within=("connection",),
    ),
    _fault(
        "no-item-done",
        says(_DONE, change=_only(_of_assistant, _drop)),
        "ordering/item-lifetime",
        "responses/audio-order",
        "responses/text-order",
        within=("responses",),
    ),
    _fault(
        "no-user-item-done",
        says(_DONE, change=_only(lambda e: not _of_assistant(e), _drop)),
        "items/create-is-announced",
        "ordering/item-lifetime",
        within=("items", "responses"),
    ),
    _fault(
        "no-item-added",
        says(_ADDED, change=_only(_of_assistant, _drop)),
        "ordering/item-lifetime",
        "ordering/predecessors",
        "responses/audio-order",
        "responses/items-follow-each-other",
        "responses/text-order",
        within=("responses",),
    ),
    _fault(
        "no-output-item-added",
        says(_OUT_ADDED, change=_drop),
        "function-calls/call-order",
        "ordering/item-lifetime",
        "ordering/nesting-and-sums",
        "ordering/output-items",
        "responses/audio-order",
        "responses/text-order",
        within=("responses", "function-calls"),
    ),
    _fault(
        "no-content-part",
        says(_PART, "response.content_part.done", change=_drop),
        "ordering/nesting-and-sums",
        "responses/audio-order",
        "responses/text-order",
        within=("responses",),
    ),
    _fault(
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
    _fault(
        "done-twice",
        _EndsTwice,
        "ordering/response-lifetime",
        within=("responses",),
    ),
    _fault(
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
    _fault(
        "audio-after-done",
        _AudioAfterDone,
        "ordering/response-lifetime",
        "responses/silence-after-cancel",
    ),
    _fault(
        "call-announced-complete",
        says(_OUT_ADDED, _ADDED, change=_announced_whole),
        "function-calls/call-order",
        "ordering/output-items",
    ),
    _fault(
        "root-ignored",
        hears(_ITEM, change=_without_placement),
        "items/items-are-placed",
        "items/unknown-predecessor",
        "ordering/predecessors",
    ),
    # fields
    _fault(
        "metadata-lost",
        says(_CREATED, _ENDED, change=_set("response.metadata", None)),
        "out-of-band/adds-nothing",
        "responses/metadata-is-echoed",
    ),
    _fault(
        "usage-lost",
        says(_ENDED, change=_set("response.usage", None)),
        "responses/usage",
        "shapes/response",
        within=("responses",),
    ),
    _fault(
        "call-without-name",
        says("response.function_call_arguments.done", change=_without("name")),
        "shapes/function-calls",
    ),
    _fault(
        "transcript-without-usage",
        says(f"{_TRANSCRIPTION}.completed", change=_without("usage")),
        "shapes/transcription",
        "transcription/transcript-usage",
    ),
    _fault(
        "no-transcript-key",
        says(_ADDED, _DONE, change=_no_transcript_key),
        "input-audio/commit-makes-an-item",
        "shapes/items",
        "turn-detection/transcript-key",
    ),
    _fault(
        "null-in-part",
        says(_PART, change=_set("part.transcript", None)),
        "shapes/content-parts",
        "shapes/no-nulls",
    ),
    _fault(
        "fractional-position",
        says(_STARTED, change=lambda e: {**e, "audio_start_ms": e["audio_start_ms"] + 0.5}),
        "shapes/input-audio",
    ),
    _fault(
        "wall-clock-position",
        says(_STARTED, change=lambda e: {**e, "audio_start_ms": e["audio_start_ms"] + 1_700_000}),
        "ordering/positions",
        "turn-detection/positions",
    ),
    _fault(
        "no-interrupt-response",
        says(_UPDATED, change=_without("session.audio.input.turn_detection.interrupt_response")),
        "session/response-switches-are-echoed",
        "session/turn-detection-is-merged",
        "shapes/session",
        within=("session",),
    ),
    _fault(
        "session-in-part",
        says(_UPDATED, change=_without("session.max_output_tokens")),
        "session/update-is-answered",
        "shapes/session",
        within=("session",),
    ),
    _fault(
        "expired-session",
        says(_OPENED, change=_set("session.expires_at", 1_500_000_000)),
        "session/expires-in-the-future",
        within=("session",),
    ),
    # audio
    _fault(
        "one-delta-over-1-mib",
        says(_AUDIO, change=_huge),
        "items/truncate-keeps-what-was-heard",
        "shapes/frames",
    ),
    _fault(
        "odd-deltas",
        says(_AUDIO, change=_odd),
        "ordering/nesting-and-sums",
    ),
    _fault(
        "words-lost",
        says(_WORDS, change=_shortened),
        "ordering/nesting-and-sums",
    ),
    _fault(
        "ulaw-taken-for-pcm",
        _AssumesPcm,
        "input-audio/ulaw-is-measured",
        "turn-detection/ulaw-speech",
    ),
    # session.update
    _fault(
        "update-half-applied",
        _HalfApplied,
        "session/wrong-update-changes-nothing",
    ),
    _fault(
        "tools-forgotten",
        _Forgets,
        "session/update-is-partial",
        within=("session",),
    ),
    _fault(
        "empty-instructions-skipped",
        hears(
            _UPDATE,
            change=_updates(
                lambda s: s.pop("instructions") if s.get("instructions") == "" else None
            ),
        ),
        "session/empty-instructions",
    ),
    _fault(
        "semantic-vad-refused",
        answers(_UPDATE, lambda e: _error(e, "invalid_value") if "semantic_vad" in str(e) else e),
        "session/semantic-vad",
        "turn-detection/semantic-turn",
    ),
    _fault(
        "unknown-fields-refused",
        answers(
            _UPDATE, lambda e: _error(e, "unknown_parameter") if "vendor_extension" in str(e) else e
        ),
        "errors/unknown-fields",
    ),
    # the input buffer and turn detection
    _fault(
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
    _fault(
        "commit-starts-response",
        hears("input_audio_buffer.commit", change=lambda e: [e, {"type": "response.create"}]),
        "input-audio/commit-starts-no-response",
    ),
    _fault(
        "clear-only-acknowledged",
        answers("input_audio_buffer.clear", lambda e: _planted("input_audio_buffer.cleared")),
        "input-audio/clear-drops-the-audio",
        within=("input-audio",),
    ),
    _fault(
        "create-response-ignored",
        lambda: _IgnoresSwitch("create_response"),
        "turn-detection/no-response-unless-wanted",
        "turn-detection/two-turns",
    ),
    _fault(
        "interrupt-response-ignored",
        lambda: _IgnoresSwitch("interrupt_response"),
        "barge-in/no-interruption-unless-wanted",
    ),
    _fault(
        "detection-never-off",
        _AlwaysDetects,
        "input-audio/no-detection-when-off",
        within=("input-audio",),
    ),
    _fault(
        "transcription-unasked",
        _Unasked,
        "ordering/transcription-on-request",
        "transcription/nothing-unasked",
    ),
    # items
    _fault(
        "truncate-unacknowledged",
        answers("conversation.item.truncate", lambda e: None),
        "barge-in/truncation-follows",
        "items/truncate",
        "items/truncate-at-a-fraction",
        "items/truncate-keeps-what-was-heard",
        "items/truncate-past-the-end",
        "items/truncate-refused",
    ),
    _fault(
        "truncate-past-end-refused",
        answers(
            "conversation.item.truncate",
            lambda e: (
                _error(
                    e, "invalid_value", "Audio content of 9250ms is already shorter than 57340ms"
                )
                if e["audio_end_ms"] > 60_000
                else e
            ),
        ),
        "items/truncate-past-the-end",
    ),
    _fault(
        "truncate-fraction-refused",
        answers(
            "conversation.item.truncate",
            lambda e: _error(e, "invalid_type") if e["audio_end_ms"] % 1 else e,
        ),
        "items/truncate-at-a-fraction",
    ),
    _fault(
        "truncate-blanks-everything",
        _Blanks,
        "items/truncate-keeps-what-was-heard",
    ),
    _fault(
        "retrieve-not-implemented",
        answers("conversation.item.retrieve", lambda e: _error(e, "not_implemented")),
        "input-audio/committed-audio-is-retrieved",
        "items/retrieve",
        "items/retrieve-unknown",
        "items/truncate-keeps-what-was-heard",
    ),
    _fault(
        "delete-only-acknowledged",
        _Remembers,
        "items/delete",
        "ordering/predecessors",
    ),
    # responses
    _fault(
        "overrides-ignored",
        hears(_ASK, change=_without("response")),
        "function-calls/no-call",
        "function-calls/tools-of-one-response",
        "out-of-band/adds-nothing",
        "out-of-band/is-cancelled-by-id",
        "out-of-band/runs-in-parallel",
        "responses/metadata-is-echoed",
        "responses/metadata-limits",
        "responses/overrides-hold-once",
        "responses/token-limit",
    ),
    _fault(
        "token-limit-ignored",
        hears(_ASK, change=_without("response.max_output_tokens")),
        "responses/token-limit",
    ),
    _fault(
        "second-create-silent",
        says(
            "error",
            change=_only(lambda e: _ok(e, "conversation_already_has_active_response"), _drop),
        ),
        "responses/one-at-a-time",
    ),
    _fault(
        "cancel-not-implemented",
        answers("response.cancel", lambda e: _error(e, "server_error", "not implemented")),
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
    _fault(
        "cancel-code",
        says("error", change=_recode("response_cancel_not_active", "invalid_value")),
        "responses/cancel-nothing",
    ),
    _fault(
        "turn-detected-for-cancel",
        says(_ENDED, change=_reason("client_cancelled", "turn_detected")),
        "responses/cancel",
    ),
    _fault(
        "client-cancelled-for-speech",
        says(_ENDED, change=_reason("turn_detected", "client_cancelled")),
        "barge-in/speech-cancels",
    ),
    _fault(
        "cut-items-completed",
        says(_DONE, _OUT_DONE, _ENDED, change=_complete_items),
        "barge-in/speech-cancels",
        "responses/cancel",
    ),
    _fault(
        "goes-on-after-result",
        hears(_ITEM, change=_goes_on),
        "function-calls/result-starts-nothing",
    ),
    _fault(
        "tool-choice-none-ignored",
        hears(_ASK, change=_forced_tool),
        "function-calls/no-call",
    ),
    _fault(
        "out-of-band-refused",
        answers(
            _ASK,
            lambda e: (
                _error(e, "invalid_value")
                if e.get("response", {}).get("conversation") == "none"
                else e
            ),
        ),
        "out-of-band/adds-nothing",
        "out-of-band/is-cancelled-by-id",
        "out-of-band/runs-in-parallel",
        "out-of-band/takes-input",
    ),
    _fault(
        "out-of-band-ignored",
        hears(_ASK, change=_without("response.conversation")),
        "out-of-band/adds-nothing",
        "out-of-band/is-cancelled-by-id",
        "out-of-band/runs-in-parallel",
    ),
    # errors and endings
    _fault(
        "bad-json-ends-session",
        lambda: _DiesOf(str),
        "errors/not-an-object",
        "errors/not-json",
    ),
    _fault(
        "binary-frame-ends-session",
        lambda: _DiesOf(bytes),
        "errors/binary-frame",
    ),
    _fault(
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
    _fault(
        "unknown-event-silent",
        _Silent,
        "errors/event-id-is-echoed",
        "errors/many-errors",
        "errors/unknown-event",
        "errors/unknown-event-code",
    ),
    _fault(
        "error-without-param",
        says("error", change=_without("error.param")),
        "errors/missing-field",
        "errors/out-of-range",
        "errors/unknown-event-code",
        "errors/wrong-type",
        "shapes/error",
    ),
    _fault(
        "empty-commit-code",
        says("error", change=_recode("input_audio_buffer_commit_empty", "commit_failed")),
        "input-audio/empty-commit",
    ),
    # the handshake
    _fault(
        "no-subprotocol",
        _NoSubprotocol,
        "connection/answers-the-realtime-subprotocol",
        within=("connection",),
    ),
    _fault(
        "key-subprotocol",
        _SecretSubprotocol,
        "connection/answers-the-realtime-subprotocol",
        within=("connection",),
    ),
    _fault(
        "one-client-only",
        _OneClient,
        "connection/serves-several-at-once",
        "ordering/session-first",
        jobs=1,
        within=("connection",),
    ),
    # the dialects
    _fault(
        "beta-audio-in-ga",
        says(_AUDIO, change=_renamed("output_audio", "audio")),
        "dialect-purity/event-names",
    ),
    _fault(
        "item-created-in-ga",
        says(_ADDED, change=_renamed(".added", ".created")),
        "dialect-purity/event-names",
        within=("items", "responses"),
    ),
    _fault(
        "flat-voice-in-ga",
        says(_UPDATED, change=lambda e: {**e, "session": {**e["session"], "voice": "alloy"}}),
        "dialect-purity/fields",
        within=("session",),
    ),
    _fault(
        "beta-content-in-ga",
        says(_OUT_DONE, _DONE, change=lambda e: {**e, "item": _retyped(e["item"])}),
        "dialect-purity/content-types",
        "ordering/nesting-and-sums",
        within=("responses",),
    ),
    _fault(
        "ga-audio-in-beta",
        says("response.audio.delta", change=_renamed(".audio.", ".output_audio.")),
        "dialect-purity/event-names",
        dialect="beta",
    ),
    _fault(
        "ga-session-in-beta",
        says(_UPDATED, change=lambda e: {**e, "session": {**e["session"], "type": "realtime"}}),
        "dialect-purity/fields",
        dialect="beta",
        within=("session",),
    ),
    _fault(
        "no-object-in-beta",
        says("conversation.item.created", change=_without("item.object")),
        "items/retrieve",
        "ordering/item-lifetime",
        "shapes/items",
        dialect="beta",
        within=("items", "responses"),
    ),
    _fault(
        "item-done-in-beta",
        says(
            "response.output_item.done",
            change=lambda e: [
                _planted("conversation.item.done", item=e["item"], previous_item_id=None),
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
)
