"""Writes client events of either dialect as the reference allows them (§2.1-§2.6, §3).

Every choice is drawn from the generator it is given; ids come from what the client knows.
"""

from __future__ import annotations

import random
from typing import Any

from tests.fuzz.mirror import Mirror
from tests.fuzz.values import audio, text

Event = dict[str, Any]

FORMATS: dict[str, list[Any]] = {
    "ga": [{"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}],
    "beta": ["pcm16", "g711_ulaw", "g711_alaw"],
}
VOICES = ("alloy", "marin", "cedar", "ash", "echo")
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
MCP_HOST = "mcp.example.com"
MCP_TOOL = {"type": "mcp", "server_label": "shop", "server_url": f"https://{MCP_HOST}/mcp"}
_IMAGE = "data:image/png;base64,iVBORw0KGgo="
_APPEND_MS = (0, 1, 10, 20, 20, 20, 60, 100, 100, 400, 1000, 2500)


class Author:
    """One client's hand.

    Args:
        rng: What its choices are drawn from.
        mirror: What it knows of its session.
        mcp: Whether the operator allows the MCP server it knows.
    """

    def __init__(self, rng: random.Random, mirror: Mirror, *, mcp: bool) -> None:
        self._rng = rng
        self._mcp = mcp and mirror.dialect == "ga"
        self._mirror = mirror
        self._beta = mirror.dialect == "beta"
        self._written = 0

    def event(self) -> tuple[Event, dict[str, Any]]:
        """A right event, and what `session.updated` must show if it is a `session.update`."""
        kinds = _TRANSCRIPTION_KINDS if self._mirror.kind == "transcription" else _KINDS
        kind = self._rng.choices(list(kinds), list(kinds.values()))[0]
        echo: dict[str, Any] = {}
        match kind:
            case "session.update":
                event, echo = self.session_update()
            case "input_audio_buffer.append":
                event = {"type": kind, "audio": self._audio()}
            case "conversation.item.create":
                event = {"type": kind, "item": self._item(), **self._place()}
            case "conversation.item.retrieve" | "conversation.item.delete":
                event = {"type": kind, "item_id": self._item_id()}
            case "conversation.item.truncate":
                event = {
                    "type": kind,
                    "item_id": self._spoken_id(),
                    "content_index": 0,
                    "audio_end_ms": self._rng.choice((0, 1, 250, 999.5, 1500, 60_000, -1)),
                }
            case "response.create":
                event = {"type": kind, **self._response()}
            case "response.cancel":
                event = {"type": kind, **self._cancelled()}
            case _:
                event = {"type": kind}
        self._written += 1
        if self._rng.random() < 0.85:
            event["event_id"] = f"client_{self._written}"
        return event, echo

    # --- sessions

    def session_update(self) -> tuple[Event, dict[str, Any]]:
        """`session.update`, or beta's own for a session that only listens."""
        transcription = self._mirror.kind == "transcription"
        if self._rng.random() < 0.15:
            kind = "transcription_session" if transcription and self._beta else "session"
            nothing = {} if self._beta else {"type": self._mirror.kind}
            return {"type": f"{kind}.update", "session": nothing}, {}
        if self._beta:
            session = self._beta_session(transcription)
            kind = "transcription_session.update" if transcription else "session.update"
            return {"type": kind, "session": session}, _echo(session)
        session = self._ga_session(transcription)
        return {"type": "session.update", "session": session}, _echo(session)

    def _ga_session(self, transcription: bool) -> Event:
        heard = self._some(
            {
                "format": self._pick(FORMATS["ga"], 0.7),
                "transcription": self._transcription(),
                "noise_reduction": self._noise_reduction(),
                "turn_detection": self._turn_detection(),
            },
            0.4,
        )
        if transcription:
            include = self._rng.choice((None, ["item.input_audio_transcription.logprobs"]))
            rest = self._some({"audio": {"input": heard}, "include": include}, 0.7)
            return {"type": "transcription", **rest}
        spoken = self._some(
            {
                "format": self._pick(FORMATS["ga"], 0.7),
                "voice": self._rng.choice(VOICES),
                "speed": self._rng.choice((0.25, 1, 1.25, 1.5)),
            },
            0.3,
        )
        sides = self._some({"input": heard, "output": spoken}, 0.6)
        fields = self._some(
            {
                **self._shared_session(),
                "output_modalities": self._rng.choice((["audio"], ["text"])),
                "max_output_tokens": self._rng.choice((1, 200, 4096, "inf")),
                "parallel_tool_calls": self._rng.choice((True, False)),
                "reasoning": {"effort": self._rng.choice(("minimal", "low", "high"))},
                "truncation": self._rng.choice(
                    ("auto", "disabled", {"type": "retention_ratio", "retention_ratio": 0.8})
                ),
                "prompt": None,
                "model": "gpt-realtime",
            },
            0.2,
        )
        return {"type": "realtime", **fields, **({"audio": sides} if sides else {})}

    def _beta_session(self, transcription: bool) -> Event:
        heard = {
            "input_audio_format": self._pick(FORMATS["beta"], 0.7),
            "input_audio_transcription": self._transcription(),
            "input_audio_noise_reduction": self._noise_reduction(),
            "turn_detection": self._turn_detection(),
        }
        if transcription:
            return self._some(heard, 0.5)
        return self._some(
            {
                **heard,
                **self._shared_session(),
                "modalities": self._rng.choice((["audio", "text"], ["text"])),
                "voice": self._rng.choice(VOICES),
                "output_audio_format": self._pick(FORMATS["beta"], 0.7),
                "temperature": self._rng.choice((0.6, 0.8, 1.2)),
                "max_response_output_tokens": self._rng.choice((1, 200, 4096, "inf")),
                "speed": self._rng.choice((0.25, 1, 1.5)),
            },
            0.25,
        )

    def _shared_session(self) -> Event:
        return {
            "instructions": text(self._rng),
            "tools": self._tools(),
            "tool_choice": self._rng.choice(("auto", "none", "required")),
            "tracing": self._rng.choice((None, "auto", {"workflow_name": "w"})),
        }

    def _tools(self) -> list[Event]:
        tools = self._rng.choice(([], [TOOL], [TOOL, {**TOOL, "name": "get_time"}]))
        if not self._mcp or self._rng.random() < 0.6:
            return tools
        approval = self._rng.choice(("never", "always"))
        return [*tools, {**MCP_TOOL, "require_approval": approval}]

    def _turn_detection(self) -> Event | None:
        detection: Event | None = self._rng.choice(
            (None, None, {"type": "server_vad"}, {"type": "server_vad"}, {"type": "semantic_vad"})
        )
        if detection is None:
            return None
        own: Event = {
            "threshold": self._rng.choice((0, 0.2, 0.9, 1)),
            "prefix_padding_ms": self._rng.choice((0, 300, 1000)),
            "silence_duration_ms": self._rng.choice((0, 200, 500, 2000)),
            "idle_timeout_ms": self._rng.choice((None, 5000, 5000, 30_000)),
        }
        if self._beta:
            del own["idle_timeout_ms"]
        if detection["type"] == "semantic_vad":
            own = {"eagerness": self._rng.choice(("low", "medium", "high", "auto"))}
        answers = {
            "create_response": self._rng.random() < 0.7,
            "interrupt_response": self._rng.random() < 0.7,
        }
        if self._mirror.kind == "transcription":
            answers = {}
        return {**detection, **self._some({**own, **answers}, 0.4)}

    def _transcription(self) -> Event | None:
        wanted = {"model": "whisper-1", **self._some({"language": "en", "prompt": "x"}, 0.3)}
        return self._pick([wanted, None], 0.7)

    def _noise_reduction(self) -> Event | None:
        return self._rng.choice((None, {"type": "near_field"}, {"type": "far_field"}))

    # --- audio

    def _audio(self) -> str:
        size_bytes = self._rng.choice(_APPEND_MS) * 48
        if self._rng.random() < 0.15:
            size_bytes += self._rng.choice((1, 2, 3))
        return audio(self._rng, size_bytes)

    # --- items

    def _item(self) -> Event:
        item = self._content_item()
        if self._rng.random() < 0.35:
            item["id"] = self._new_id()
        if item["type"] in ("message", "function_call") and self._rng.random() < 0.2:
            item["status"] = "completed"
        return item

    def _content_item(self) -> Event:
        if self._mirror.approvals and self._rng.random() < 0.3:
            asked = self._rng.choice(list(self._mirror.approvals))
            approve = self._rng.random() < 0.6
            return {
                "type": "mcp_approval_response", "approval_request_id": asked, "approve": approve
            }  # fmt: skip
        role = self._rng.choices(("user", "assistant", "system", "call", "output"), (6, 2, 2, 2, 2))
        match role[0]:
            case "user":
                parts = [self._user_part() for _ in range(self._rng.choice((1, 1, 1, 2)))]
                content: Any = text(self._rng) if self._rng.random() < 0.1 else parts
                return {"type": "message", "role": "user", "content": content}
            case "call":
                call_id = {"call_id": f"call_own_{self._written}"}
                arguments = self._rng.choice(("{}", '{"city": "Rome"}', ""))
                call = {"type": "function_call", "name": "get_weather", "arguments": arguments}
                return {**call, **(call_id if self._rng.random() < 0.8 else {})}
            case "output":
                call_id = self._rng.choice([*self._mirror.calls, "call_never"])
                return {"type": "function_call_output", "call_id": call_id, "output": "{}"}
            case role:
                name = "input_text" if role == "system" else "output_text"
                if role == "assistant" and (self._beta or self._rng.random() < 0.2):
                    name = "text"
                content = [{"type": name, "text": text(self._rng)}]
                return {"type": "message", "role": role, "content": content}

    def _user_part(self) -> Event:
        match self._rng.randrange(6):
            case 0:
                size_bytes = 2 * self._rng.choice((0, 480, 2400, 24_000))
                said = self._some({"transcript": "hello"}, 0.3)
                return {"type": "input_audio", "audio": audio(self._rng, size_bytes), **said}
            case 1 if not self._beta:
                return {"type": "input_image", "image_url": _IMAGE}
            case _:
                return {"type": "input_text", "text": text(self._rng)}

    def _place(self) -> Event:
        place = self._rng.random()
        if place < 0.6:
            return {}
        after = self._rng.choice((None, "", "root")) if place < 0.75 else self._item_id()
        return {"previous_item_id": after}

    def _item_id(self) -> str:
        known = list(self._mirror.items)
        choice = self._rng.random()
        if known and choice < 0.8:
            return self._rng.choice(known[-12:])
        gone = list(self._mirror.deleted)
        if gone and choice < 0.9:
            return self._rng.choice(gone[-5:])
        return self._rng.choice(("item_never", self._mirror.announced or "item_never"))

    def _new_id(self) -> str:
        choice = self._rng.random()
        return f"own_{self._written}" if choice < 0.8 else self._item_id()

    def _spoken_id(self) -> str:
        spoken = [
            item_id
            for item_id, item in self._mirror.items.items()
            if item.get("role") == "assistant" and not item_id.startswith("own_")
        ]
        return (
            self._rng.choice(spoken[-6:])
            if spoken and self._rng.random() < 0.8
            else (self._item_id())
        )

    # --- responses

    def _response(self) -> Event:
        if self._rng.random() < 0.3:
            return {}
        out_of_band = self._rng.random() < 0.35
        fields: Event = {
            "conversation": "none" if out_of_band else "auto",
            "instructions": text(self._rng),
            "metadata": self._rng.choice((None, {}, {"topic": "a"}, {"k" * 64: "v" * 512})),
            "tools": self._tools(),
            "tool_choice": self._rng.choice(("auto", "none", "required")),
            "input": [self._input_entry() for _ in range(self._rng.randint(0, 3))],
        }
        voice = self._rng.choice(VOICES)
        if self._beta:
            fields |= {
                "modalities": self._rng.choice((["audio", "text"], ["text"])),
                "voice": voice,
                "output_audio_format": self._rng.choice(FORMATS["beta"]),
                "temperature": 0.7,
                "max_response_output_tokens": self._rng.choice((5, "inf")),
            }
        else:
            fields |= {
                "output_modalities": self._rng.choice((["audio"], ["text"])),
                "audio": {"output": {"voice": voice, "format": self._rng.choice(FORMATS["ga"])}},
                "parallel_tool_calls": True,
                "max_output_tokens": self._rng.choice((5, "inf")),
            }
        chosen = self._some(fields, 0.25)
        if out_of_band:
            chosen["conversation"] = "none"
        return {"response": chosen}

    def _input_entry(self) -> Event:
        if self._rng.random() < 0.4:
            return {"type": "item_reference", "id": self._item_id()}
        entry = self._content_item()
        if entry["type"] != "message":
            return {"type": "message", "role": "user", "content": [self._user_part()]}
        return entry

    def _cancelled(self) -> Event:
        if self._rng.random() < 0.5:
            return {}
        known = [*self._mirror.live, *list(self._mirror.ended)[-2:], "resp_never"]
        return {"response_id": self._rng.choice(known)}

    # --- chance

    def _some(self, fields: Event, chance: float) -> Event:
        """Each field with that chance."""
        return {name: value for name, value in fields.items() if self._rng.random() < chance}

    def _pick(self, values: list[Any], first: float) -> Any:
        """The first value with that chance, else any."""
        return values[0] if self._rng.random() < first else self._rng.choice(values)


_KINDS = {
    "session.update": 7,
    "input_audio_buffer.append": 26,
    "input_audio_buffer.commit": 7,
    "input_audio_buffer.clear": 2,
    "conversation.item.create": 13,
    "conversation.item.retrieve": 6,
    "conversation.item.truncate": 6,
    "conversation.item.delete": 6,
    "response.create": 15,
    "response.cancel": 6,
    "output_audio_buffer.clear": 0.3,
}
_TRANSCRIPTION_KINDS = {**_KINDS, "response.create": 1, "response.cancel": 1, "session.update": 12}
_NOT_ECHOED = ("type", "model", "tools", "modalities")


def _echo(session: Event) -> dict[str, Any]:
    """What of a right update has to be seen in `session.updated`, whole or as part of an object."""
    return {
        name: value
        for name, value in session.items()
        if name not in _NOT_ECHOED and value is not None
    }
