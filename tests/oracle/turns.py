"""Hand-written turns that are right in every detail, as a base to plant faults in."""

from __future__ import annotations

import base64
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from tests.oracle.schema import WireEvent


@dataclass(frozen=True, slots=True)
class Step:
    """One frame: who sent it, and what."""

    sender: Literal["client", "server"]
    event: WireEvent


Turn = list[Step]

_AUDIO = {
    "input": {
        "format": {"type": "audio/pcm", "rate": 24000},
        "transcription": {"model": "whisper-1", "language": None, "prompt": None},
        "noise_reduction": None,
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
            "idle_timeout_ms": None,
            "create_response": True,
            "interrupt_response": True,
        },
    },
    "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
}
SESSION: WireEvent = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "model": "gpt-realtime",
    "output_modalities": ["audio"],
    "instructions": "Be brief.",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "expires_at": 1790000000,
    "audio": _AUDIO,
    "include": None,
}
USAGE: WireEvent = {
    "total_tokens": 79,
    "input_tokens": 16,
    "output_tokens": 63,
    "input_token_details": {
        "text_tokens": 16,
        "audio_tokens": 0,
        "image_tokens": 0,
        "cached_tokens": 0,
        "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 63, "audio_tokens": 0},
}


class _Writer:
    """Writes steps with ids that do not repeat."""

    def __init__(self) -> None:
        self.steps: Turn = []
        self._responses = 0

    def client(self, kind: str, **fields: Any) -> None:
        fields.setdefault("event_id", f"client_{len(self.steps)}")
        self.steps.append(Step("client", {"type": kind, **deepcopy(fields)}))

    def server(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{len(self.steps)}", **deepcopy(fields)}
        self.steps.append(Step("server", event))

    def open(self) -> None:
        self.server("session.created", session=SESSION)

    def hear(self, audio_ms: int) -> None:
        audio = base64.b64encode(bytes(48 * audio_ms)).decode()
        self.client("input_audio_buffer.append", audio=audio)

    def item(self, previous: str | None, item: WireEvent) -> None:
        self.server("conversation.item.added", previous_item_id=previous, item=item)
        self.server("conversation.item.done", previous_item_id=previous, item=item)

    def spoken(self, item_id: str, previous: str | None, start_ms: int, end_ms: int) -> None:
        """A user's speech, up to the item it becomes."""
        self.server("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=item_id)
        self.server("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item_id)
        self.committed(item_id, previous)

    def committed(self, item_id: str, previous: str | None) -> None:
        self.server("input_audio_buffer.committed", previous_item_id=previous, item_id=item_id)
        self.item(
            previous,
            {
                "id": item_id,
                "type": "message",
                "status": "completed",
                "role": "user",
                "content": [{"type": "input_audio", "transcript": None}],
            },
        )

    def transcript(self, item_id: str) -> None:
        kind = "conversation.item.input_audio_transcription"
        self.server(f"{kind}.delta", item_id=item_id, content_index=0, delta="go ")
        self.server(f"{kind}.delta", item_id=item_id, content_index=0, delta="forward")
        self.server(
            f"{kind}.completed",
            item_id=item_id,
            content_index=0,
            transcript="go forward",
            usage={"type": "duration", "seconds": 2},
        )

    def response(
        self,
        *,
        out_of_band: bool = False,
        text: bool = False,
        audio_format: WireEvent | None = None,
    ) -> WireEvent:
        self._responses += 1
        view = {
            "object": "realtime.response",
            "id": f"resp_{self._responses}",
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "conversation_id": None if out_of_band else "conv_1",
            "output_modalities": ["text" if text else "audio"],
            "max_output_tokens": "inf",
            "audio": {
                "output": {
                    "format": audio_format or _AUDIO["output"]["format"],
                    "voice": "alloy",
                }
            },
            "usage": None,
            "metadata": None,
        }
        self.server("response.created", response=view)
        return view

    def message(
        self,
        view: WireEvent,
        item_id: str,
        previous: str | None,
        *,
        status: str = "completed",
        index: int = 0,
    ) -> WireEvent:
        """An assistant message in the response's modality, whole or cut short."""
        in_band = view["conversation_id"] is not None
        text = view["output_modalities"] == ["text"]
        key = "text" if text else "transcript"
        at = {"response_id": view["id"], "output_index": index}
        item: WireEvent = {
            "id": item_id,
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        self.server("response.output_item.added", **at, item=item)
        if in_band:
            self.server("conversation.item.added", previous_item_id=previous, item=item)
        part = {"type": "text" if text else "audio", key: ""}
        inside = {**at, "item_id": item_id, "content_index": 0}
        self.server("response.content_part.added", **inside, part=part)
        family = "response.output_text" if text else "response.output_audio_transcript"
        for delta in ("Hello", " there."):
            self.server(f"{family}.delta", **inside, delta=delta)
            if not text:
                pcm = view["audio"]["output"]["format"]["type"] == "audio/pcm"
                delta = "AAABAA==" if pcm else "AAAB"
                self.server("response.output_audio.delta", **inside, delta=delta)
        if not text:
            self.server("response.output_audio.done", **inside)
        self.server(f"{family}.done", **inside, **{key: "Hello there."})
        part = {**part, key: "Hello there."}
        self.server("response.content_part.done", **inside, part=part)
        content = {"type": "output_text" if text else "output_audio", key: "Hello there."}
        item = {**item, "status": status, "content": [content]}
        if in_band:
            self.server("conversation.item.done", previous_item_id=previous, item=item)
        self.server("response.output_item.done", **at, item=item)
        return item

    def call(self, view: WireEvent, item_id: str, previous: str | None, index: int) -> WireEvent:
        at = {"response_id": view["id"], "output_index": index}
        item: WireEvent = {
            "id": item_id,
            "type": "function_call",
            "status": "in_progress",
            "name": "get_weather",
            "call_id": f"call_{item_id}",
            "arguments": "",
        }
        self.server("response.output_item.added", **at, item=item)
        self.server("conversation.item.added", previous_item_id=previous, item=item)
        inside = {**at, "item_id": item_id, "call_id": item["call_id"]}
        family = "response.function_call_arguments"
        for delta in ('{"city":', '"Paris"}'):
            self.server(f"{family}.delta", **inside, delta=delta)
        arguments = '{"city":"Paris"}'
        self.server(f"{family}.done", **inside, name=item["name"], arguments=arguments)
        item = {**item, "status": "completed", "arguments": arguments}
        self.server("conversation.item.done", previous_item_id=previous, item=item)
        self.server("response.output_item.done", **at, item=item)
        return item

    def done(self, view: WireEvent, output: list[WireEvent], reason: str | None = None) -> None:
        details = None if reason is None else {"type": "cancelled", "reason": reason}
        self.server(
            "response.done",
            response={
                **view,
                "status": "completed" if reason is None else "cancelled",
                "status_details": details,
                "output": output,
                "usage": USAGE,
            },
        )


def voice_turn() -> Turn:
    """Speech, its transcript, a spoken reply, and the client's look at its own item."""
    w = _Writer()
    w.open()
    w.hear(3000)
    w.spoken("item_u1", None, 200, 2400)
    view = w.response()
    w.transcript("item_u1")
    w.done(view, [w.message(view, "item_a1", "item_u1")])
    w.client("conversation.item.retrieve", item_id="item_u1")
    heard = {"type": "input_audio", "transcript": "go forward"}
    w.server(
        "conversation.item.retrieved",
        item={
            "id": "item_u1",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [heard],
        },
    )
    return w.steps


def typed_turn() -> Turn:
    """A text reply; then items put before and between the others, a deletion and an error."""
    w = _Writer()
    w.open()
    w.client("session.update", session={"type": "realtime", "output_modalities": ["text"]})
    w.server("session.updated", session={**SESSION, "output_modalities": ["text"]})
    for item_id, role, previous, answer in (
        ("item_1", "user", None, None),
        ("item_0", "system", "root", None),
        ("item_half", "user", "item_0", "item_0"),
    ):
        item = {
            "id": item_id,
            "type": "message",
            "status": "completed",
            "role": role,
            "content": [{"type": "input_text", "text": "hey"}],
        }
        w.client("conversation.item.create", previous_item_id=previous, item=item)
        w.item(answer, item)
    w.client("response.create")
    view = w.response(text=True)
    w.done(view, [w.message(view, "item_a1", "item_1")])
    w.client("conversation.item.delete", item_id="item_1")
    w.server("conversation.item.deleted", item_id="item_1")
    w.client("conversation.item.delete", item_id="item_1", event_id="mine")
    w.server(
        "error",
        error={
            "type": "invalid_request_error",
            "code": "item_delete_invalid_item_id",
            "message": "Error deleting item: the item with id 'item_1' does not exist.",
            "param": None,
            "event_id": "mine",
        },
    )
    return w.steps


def tool_turn() -> Turn:
    """Speech and two calls in one response, the outputs sent back, a second response."""
    w = _Writer()
    w.open()
    w.hear(3000)
    w.spoken("item_u1", None, 200, 2400)
    view = w.response()
    output = [w.message(view, "item_a1", "item_u1")]
    output.append(w.call(view, "item_f1", "item_a1", 1))
    output.append(w.call(view, "item_f2", "item_f1", 2))
    w.done(view, output)
    last = "item_f2"
    for number in (1, 2):
        item = {
            "id": f"item_o{number}",
            "type": "function_call_output",
            "call_id": f"call_item_f{number}",
            "output": "{}",
        }
        w.client(
            "conversation.item.create",
            item={key: value for key, value in item.items() if key != "id"},
        )
        w.item(last, item)
        last = item["id"]
    w.client("response.create")
    view = w.response()
    w.done(view, [w.message(view, "item_a2", last)])
    return w.steps


def barge_in() -> Turn:
    """A reply cut short by new speech, truncated by the client, and the turn that follows."""
    w = _Writer()
    w.open()
    w.hear(3000)
    w.spoken("item_u1", None, 200, 2400)
    view = w.response()
    message = w.message(view, "item_a1", "item_u1", status="incomplete")
    # The closing events come because of the speech, so the speech is announced before them.
    closing = next(
        index
        for index, step in enumerate(w.steps)
        if step.event["type"] == "response.output_audio.done"
    )
    tail, w.steps[closing:] = w.steps[closing:], []
    w.hear(3000)
    w.server("input_audio_buffer.speech_started", audio_start_ms=3200, item_id="item_u2")
    w.steps += [
        Step(step.sender, {**step.event, "event_id": f"late_{n}"}) for n, step in enumerate(tail)
    ]
    w.done(view, [message], "turn_detected")
    w.client("conversation.item.truncate", item_id="item_a1", content_index=0, audio_end_ms=150)
    w.server("conversation.item.truncated", item_id="item_a1", content_index=0, audio_end_ms=150)
    w.server("input_audio_buffer.speech_stopped", audio_end_ms=5600, item_id="item_u2")
    w.committed("item_u2", "item_a1")
    view = w.response()
    w.done(view, [w.message(view, "item_a2", "item_u2")])
    return w.steps


def push_to_talk() -> Turn:
    """Manual commits, one of them in the middle of speech, a clear, and an aside out of band."""
    w = _Writer()
    w.open()
    w.hear(3000)
    w.server("input_audio_buffer.speech_started", audio_start_ms=200, item_id="item_u1")
    w.client("input_audio_buffer.commit")
    w.committed("item_u1", None)
    w.server("input_audio_buffer.speech_started", audio_start_ms=3000, item_id="item_x")
    w.client("input_audio_buffer.clear")
    w.server("input_audio_buffer.cleared")
    w.server("input_audio_buffer.speech_started", audio_start_ms=3000, item_id="item_u2")
    w.client("input_audio_buffer.commit")
    w.committed("item_u2", "item_u1")
    w.client("response.create")
    view = w.response()
    w.client("response.create", response={"conversation": "none"})
    aside = w.response(out_of_band=True, text=True)
    w.done(aside, [w.message(aside, "item_oob", None)])
    w.done(view, [w.message(view, "item_a1", "item_u2")])
    return w.steps


def telephony() -> Turn:
    """G.711 both ways, speech nobody understood, and silence that times out."""
    w = _Writer()
    w.open()
    pcmu = {"format": {"type": "audio/pcmu"}}
    audio = {side: {**_AUDIO[side], **pcmu} for side in ("input", "output")}
    w.client("session.update", session={"type": "realtime", "audio": audio})
    w.server("session.updated", session={**SESSION, "audio": audio})
    encoded = base64.b64encode(bytes(8 * 3000)).decode()
    w.client("input_audio_buffer.append", audio=encoded)
    w.spoken("item_u1", None, 200, 2400)
    w.server(
        "conversation.item.input_audio_transcription.failed",
        item_id="item_u1",
        content_index=0,
        error={"type": "transcription_error", "code": "audio_unintelligible", "message": "m"},
    )
    view = w.response(audio_format=pcmu["format"])
    w.done(view, [w.message(view, "item_a1", "item_u1")])
    w.client("input_audio_buffer.append", audio=encoded)
    w.server(
        "input_audio_buffer.timeout_triggered",
        audio_start_ms=2400,
        audio_end_ms=6000,
        item_id="item_u2",
    )
    w.committed("item_u2", "item_a1")
    return w.steps


TURNS = {
    turn.__name__: turn
    for turn in (voice_turn, typed_turn, tool_turn, barge_in, push_to_talk, telephony)
}


# --- the same turns in beta -----------------------------------------------------------------

_BETA_TYPES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
_NOT_IN_BETA = {"conversation.item.done", "input_audio_buffer.timeout_triggered"}
_BETA_FORMATS = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw"}
_BETA_CONTENT = {"output_text": "text", "output_audio": "audio"}
BETA_SESSION: WireEvent = {
    "id": "sess_1",
    "object": "realtime.session",
    "expires_at": 1790000000,
    "model": "gpt-realtime",
    "modalities": ["audio", "text"],
    "instructions": "Be brief.",
    "voice": "alloy",
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": {"model": "whisper-1"},
    "input_audio_noise_reduction": None,
    "turn_detection": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "create_response": True,
        "interrupt_response": True,
    },
    "tools": [],
    "tool_choice": "auto",
    "temperature": 0.8,
    "max_response_output_tokens": "inf",
    "speed": 1.0,
    "tracing": None,
    "client_secret": None,
}


def in_beta(turn: Turn) -> Turn:
    """The same turn as a beta connection carries it."""
    return [Step(step.sender, event) for step in turn if (event := _beta_event(step)) is not None]


def _beta_event(step: Step) -> WireEvent | None:
    event = deepcopy(step.event)
    if step.sender == "client":
        return event
    if event["type"] in _NOT_IN_BETA:
        return None
    event["type"] = _BETA_TYPES.get(event["type"], event["type"])
    if event["type"] == "response.function_call_arguments.done":
        del event["name"]
    if "session" in event:
        event["session"] = _beta_session(event["session"])
    if "item" in event:
        event["item"] = _beta_item(event["item"])
    if "response" in event:
        event["response"] = _beta_response(event["response"])
    return event


def _beta_session(session: WireEvent) -> WireEvent:
    audio = session["audio"]
    return deepcopy(BETA_SESSION) | {
        "modalities": _modalities(session),
        "input_audio_format": _BETA_FORMATS[audio["input"]["format"]["type"]],
        "output_audio_format": _BETA_FORMATS[audio["output"]["format"]["type"]],
    }


def _modalities(ga: WireEvent) -> list[str]:
    return ["text"] if ga["output_modalities"] == ["text"] else ["audio", "text"]


def _beta_item(item: WireEvent) -> WireEvent:
    for content in item.get("content", ()):
        content["type"] = _BETA_CONTENT.get(content["type"], content["type"])
    return {**item, "object": "realtime.item"}


def _beta_response(view: WireEvent) -> WireEvent:
    modalities = _modalities(view)
    audio_format = view["audio"]["output"]["format"]["type"]
    view = {key: value for key, value in view.items() if key not in ("output_modalities", "audio")}
    if view["usage"] is not None:
        heard = view["usage"]["input_token_details"]
        del heard["image_tokens"], heard["cached_tokens_details"]
    return view | {
        "modalities": modalities,
        "voice": "alloy",
        "output_audio_format": _BETA_FORMATS[audio_format],
        "temperature": 0.8,
        "output": [_beta_item(item) for item in view["output"]],
    }
