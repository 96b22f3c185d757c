"""Planted faults of servers in which a feature is missing, or half there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from conformance.oracle import WireEvent
from tests.conformance.broken_server import Action, HangUp, Plant, to_client, to_server
from tests.conformance.planting import (
    Fault,
    answers,
    dropped,
    fault,
    fresh,
    hears,
    only_if,
    planted,
    put,
    refusal,
    says,
    without,
)

_UPDATE, _UPDATED = "session.update", "session.updated"
_ASK, _ITEM, _APPEND = "response.create", "conversation.item.create", "input_audio_buffer.append"
_CREATED, _ENDED = "response.created", "response.done"
_TRANSCRIPTION = "conversation.item.input_audio_transcription"

_LIMITS = [{"name": "requests", "limit": 10, "remaining": 9, "reset_seconds": 6.0}]


class _AnySoundInterrupts(Plant):
    """Whatever is appended while a reply plays cancels it."""

    def __init__(self) -> None:
        self._playing = False

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if event.get("type") == _APPEND and self._playing:
            self._playing = False
            yield to_server({"type": "response.cancel"})
        yield to_server(event)

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == "response.output_audio.delta":
            self._playing = True
        elif event["type"] == _ENDED:
            self._playing = False
        yield to_client(event)


class _UnaskedSubprotocol(Plant):
    touches_handshake = True

    def subprotocol(self, offered: Sequence[str]) -> str | None:
        return "realtime"


class _KnowsOneAddress(Plant):
    """A query key it does not know is a connection it does not serve."""

    touches_handshake = True

    def opened(self, others: int, path: str) -> Iterable[Action]:
        return [HangUp(1008)] if "temperature=" in path else []


class _SlowToListen(Plant):
    """The first event of a client is lost."""

    def __init__(self) -> None:
        self._listens = False

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if self._listens:
            yield to_server(event)
        self._listens = True


class _NoEarlyResults(Plant):
    """Results of calls are refused until their response is done."""

    def __init__(self) -> None:
        self._active = False

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if self._active and _item_type(event) == "function_call_output":
            yield to_client(refusal(event, "conversation_already_has_active_response"))
        else:
            yield to_server(event)

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] in (_CREATED, _ENDED):
            self._active = event["type"] == _CREATED
        yield to_client(event)


class _NeedsItems(Plant):
    """Nothing is answered before anything was said."""

    def __init__(self) -> None:
        self._said = False

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if event.get("type") in (_ITEM, "input_audio_buffer.commit"):
            self._said = True
        if event.get("type") == _ASK and not self._said:
            yield to_client(refusal(event, "conversation_empty"))
        else:
            yield to_server(event)


class _AnswersEverySecondUpdate(Plant):
    """Updates in quick succession have one answer."""

    def __init__(self) -> None:
        self._answers = True

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == _UPDATED:
            self._answers = not self._answers
            if self._answers:
                return
        yield to_client(event)


class _HearsSpeech(Plant):
    """The first audio of a connection is speech, whatever it is."""

    def __init__(self) -> None:
        self._heard = False

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        yield to_server(event)
        if event.get("type") == _APPEND and not self._heard:
            self._heard = True
            position = {"item_id": "item_planted", "audio_start_ms": 0}
            yield to_client(planted("input_audio_buffer.speech_started", **position))


class _DetectionIsFrozen(Plant):
    """Once audio has come, turn_detection is echoed and stays what it was (peers: NVIDIA)."""

    def __init__(self) -> None:
        self._frozen = False
        self._asked: Any = None

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if event.get("type") == _APPEND:
            self._frozen = True
        audio = event["session"].get("audio", {}) if event.get("type") == _UPDATE else {}
        if self._frozen and audio.get("input", {}).get("turn_detection"):
            self._asked = {"idle_timeout_ms": None, **audio["input"]["turn_detection"]}
            event = {**event, "session": {"type": "realtime"}}
        yield to_server(event)

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if event["type"] == _UPDATED and self._asked is not None:
            event = put("session.audio.input.turn_detection", self._asked)(event)  # type: ignore[assignment]
        yield to_client(event)


def _item_type(event: WireEvent) -> str | None:
    return event.get("item", {}).get("type") if event.get("type") == _ITEM else None


def _refused_if(*words: str, code: str = "not_implemented") -> Any:
    """An answer that refuses events in which one of these occurs."""
    return lambda event: (
        refusal(event, code) if any(word in str(event) for word in words) else event
    )


def _input(event: WireEvent) -> dict[str, Any]:
    session = event["session"] if isinstance(event["session"], dict) else {}
    return session.get("audio", {}).get("input", {})


def _without_nulls(event: WireEvent) -> WireEvent:
    settings = _input(event)
    for name in ("turn_detection", "transcription"):
        if name in settings and settings[name] is None:
            del settings[name]
    return event


def _without_formats(event: WireEvent) -> WireEvent:
    if isinstance(event["session"], dict):
        for side in event["session"].get("audio", {}).values():
            side.pop("format", None)
    return event


def _misspelt(event: WireEvent) -> WireEvent:
    """Every call is one of another function."""
    holders = [event, event.get("item", {}), *event.get("response", {}).get("output", ())]
    for holder in holders:
        if "name" in holder:
            holder["name"] = "getweather"
    return event


def _with_audio(event: WireEvent) -> list[WireEvent]:
    """The text, and audio of the same part."""
    return [event, fresh({**event, "type": "response.output_audio.delta", "delta": "AAAA"})]


MISSING_FEATURES: tuple[Fault, ...] = (
    # the handshake
    fault(
        "subprotocol-unasked",
        _UnaskedSubprotocol,
        "connection/answers-no-subprotocol-unasked",
        within=("connection",),
    ),
    fault(
        "one-address-only",
        _KnowsOneAddress,
        "connection/takes-odd-addresses",
        "ordering/session-first",
        within=("connection",),
    ),
    fault(
        "first-event-lost",
        _SlowToListen,
        "connection/answers-pings",
        "connection/serves-several-at-once",
        "connection/takes-events-at-once",
        within=("connection",),
    ),
    # session.update
    fault(
        "null-skipped",
        hears(_UPDATE, change=_without_nulls),
        "session/null-clears",
        within=("session",),
    ),
    fault(
        "formats-skipped",
        hears(_UPDATE, change=_without_formats),
        "session/g711-formats",
        within=("session",),
    ),
    fault(
        "tools-stay",
        hears(_UPDATE, change=only_if(lambda e: "'tools': []" in str(e), without("session.tools"))),
        "session/tools-are-replaced",
        within=("session",),
    ),
    fault(
        "unused-settings-refused",
        answers(_UPDATE, _refused_if("tracing", "noise_reduction")),
        "session/unused-settings",
    ),
    fault(
        "every-second-update-answered",
        _AnswersEverySecondUpdate,
        "session/empty-instructions",
        "session/g711-formats",
        "session/null-clears",
        "session/response-switches-are-echoed",
        "session/tools-are-replaced",
        "session/unused-settings",
        "session/update-is-partial",
        "session/updates-in-order",
        "session/wrong-update-changes-nothing",
        within=("session",),
    ),
    # turn detection
    fault(
        "silence-is-speech",
        _HearsSpeech,
        "ordering/speech-boundaries",
        "turn-detection/one-item-id",
        "turn-detection/silence-is-no-speech",
        within=("turn-detection",),
    ),
    fault(
        "turns-never-answered",
        hears(
            _UPDATE,
            change=put("session.audio.input.turn_detection.create_response", False),
        ),
        "barge-in/interruption-is-answered",
        "session/response-switches-are-echoed",
        "turn-detection/spoken-turn",
    ),
    fault(
        "detection-frozen",
        _DetectionIsFrozen,
        "turn-detection/turned-on-later",
    ),
    fault(
        "any-sound-interrupts",
        _AnySoundInterrupts,
        "barge-in/no-interruption-unless-wanted",
        "barge-in/silence-does-not-interrupt",
        within=("barge-in",),
    ),
    # transcription
    fault(
        "never-transcribed",
        says(f"{_TRANSCRIPTION}.delta", f"{_TRANSCRIPTION}.completed", change=dropped),
        "transcription/committed-turn",
        "transcription/detected-turn",
        "transcription/transcript-usage",
        "transcription/transcription-session",
    ),
    fault(
        "transcription-not-echoed",
        says(_UPDATED, change=put("session.audio.input.transcription", None)),
        "ordering/transcription-on-request",
        "transcription/setting-is-echoed",
        within=("transcription",),
    ),
    # items and replies
    fault(
        "users-only",
        answers(_ITEM, _refused_if("'role': 'system'", "'role': 'assistant'")),
        "items/other-roles",
    ),
    fault(
        "nothing-to-answer",
        _NeedsItems,
        "responses/empty-conversation",
    ),
    fault(
        "response-instructions-ignored",
        hears(_ASK, change=without("response.instructions")),
        "responses/instructions-have-an-effect",
    ),
    # tools
    fault(
        "call-misspelt",
        says(
            *("response.output_item.added", "response.output_item.done", _ENDED),
            *("conversation.item.added", "conversation.item.done"),
            "response.function_call_arguments.done",
            change=_misspelt,
        ),
        "function-calls/required-call",
    ),
    fault(
        "results-refused",
        answers(
            _ITEM,
            lambda e: (
                refusal(e, "not_implemented") if _item_type(e) == "function_call_output" else e
            ),
        ),
        "function-calls/early-result",
        "function-calls/result-is-answered",
        "function-calls/result-starts-nothing",
        "function-calls/tools-of-one-response",
    ),
    fault(
        "early-results-refused",
        _NoEarlyResults,
        "function-calls/early-result",
    ),
    fault(
        "wrapped-tools-refused",
        answers(_UPDATE, _refused_if("'function': {", code="unknown_parameter")),
        "function-calls/wrapped-tool",
    ),
    # shapes
    fault(
        "text-without-its-part",
        says("response.output_text.delta", change=without("content_index")),
        "ordering/nesting-and-sums",
        "shapes/text",
        within=("responses",),
    ),
    fault(
        "audio-without-its-place",
        says("response.output_audio.done", change=without("output_index")),
        "ordering/nesting-and-sums",
        "shapes/audio",
        within=("responses",),
    ),
    fault(
        "transcript-without-its-place",
        says("response.output_audio_transcript.done", change=without("output_index")),
        "ordering/nesting-and-sums",
        "shapes/audio-transcript",
        within=("responses",),
    ),
    fault(
        "output-item-without-place",
        says("response.output_item.done", change=without("output_index")),
        "ordering/nesting-and-sums",
        "ordering/output-items",
        "shapes/output-items",
        within=("responses",),
    ),
    fault(
        "limits-of-no-kind",
        says(_ENDED, change=lambda e: [e, planted("rate_limits.updated", rate_limits=[{}])]),
        "shapes/other",
        within=("responses",),
    ),
    fault(
        "limits-too-early",
        says(_CREATED, change=lambda e: [e, planted("rate_limits.updated", rate_limits=_LIMITS)]),
        "ordering/rate-limits",
        within=("responses",),
    ),
    fault(
        "playback-of-nothing",
        says(
            _ENDED,
            change=lambda e: [
                e,
                planted("output_audio_buffer.stopped", response_id=e["response"]["id"]),
            ],
        ),
        "ordering/playback",
        within=("function-calls",),
    ),
    fault(
        "audio-in-text",
        says("response.output_text.delta", change=_with_audio),
        "ordering/nesting-and-sums",
        "ordering/no-audio-in-text",
        "responses/overrides-hold-once",
        "responses/text-order",
        within=("responses",),
    ),
    fault(
        "tools-listed-from-nowhere",
        says(
            _UPDATED,
            change=lambda e: [e, planted("mcp_list_tools.completed", item_id="mcpl_planted")],
        ),
        "ordering/mcp-outcomes",
        within=("responses",),
    ),
    fault(
        "tools-listed-of-no-item",
        says(_UPDATED, change=lambda e: [e, planted("mcp_list_tools.in_progress")]),
        "shapes/mcp",
        within=("responses",),
    ),
)
