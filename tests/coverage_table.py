"""Every event of the protocol, in both dialects, and what the gateway does with it.

`tools/coverage_page.py` renders docs/protocol-coverage.md from these rows, and
tests/conformance/test_coverage.py holds each of them against the running gateway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conformance.oracle import Dialect

BOTH: tuple[Dialect, ...] = ("ga", "beta")
GA: tuple[Dialect, ...] = ("ga",)
BETA: tuple[Dialect, ...] = ("beta",)

Proof = Literal["conformance", "here"]


@dataclass(frozen=True, slots=True)
class ClientRow:
    """What the gateway does with one client event.

    Attributes:
        event: Its type.
        dialects: Where this holds.
        outcome: "refused" always says so with an error, and the session lives on.
        answer: The event that answers it; the error's code where it is refused; "" for none.
        note: What a reader should know.
        session: The kind of session it is sent in.
        playback: Who keeps the time of what is played there, `PLAYBACK`.
    """

    event: str
    dialects: tuple[Dialect, ...]
    outcome: Literal["supported", "refused", "ignored"]
    answer: str
    note: str = ""
    session: Literal["realtime", "transcription"] = "realtime"
    playback: Literal["client", "server"] = "client"


@dataclass(frozen=True, slots=True)
class ServerRow:
    """Whether the gateway sends one server event.

    Attributes:
        event: Its type.
        dialects: Where this holds.
        outcome: "emitted", or why not: another transport has it, or nothing here could cause it.
        proof: Where it is seen: in the conformance run, in the test of this table, or in the
            test whose path this is; "" where it is not emitted.
        note: When it comes, or why it does not.
    """

    event: str
    dialects: tuple[Dialect, ...]
    outcome: Literal["emitted", "not emitted", "not applicable"]
    proof: str
    note: str = ""


_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_RUN: Proof = "conformance"
_HERE: Proof = "here"
_IDLE = "tests/e2e/test_idle.py"
_MCP = "tests/e2e/test_mcp.py"
_DETAILS = "tests/e2e/test_transcription_details.py"
_LEGACY = "tests/e2e/test_legacy_events.py"
_PLAYBACK = "tests/e2e/test_playback.py"
_LIMITS = "tests/e2e/test_rate_limits.py"

CLIENT_ROWS: tuple[ClientRow, ...] = (
    ClientRow("session.update", BOTH, "supported", "session.updated", "a deep, partial merge"),
    ClientRow(
        "session.update",
        GA,
        "supported",
        "session.updated",
        "with `type: transcription`",
        "transcription",
    ),
    ClientRow(
        "transcription_session.update",
        BETA,
        "supported",
        "transcription_session.updated",
        "on `?intent=transcription`",
        "transcription",
    ),
    ClientRow(
        "transcription_session.update",
        BETA,
        "refused",
        "invalid_parameter",
        "a realtime session does not become a transcription session",
    ),
    ClientRow("transcription_session.update", GA, "refused", "invalid_value", "not an event of GA"),
    ClientRow("input_audio_buffer.append", BOTH, "supported", "", "has no answer"),
    ClientRow("input_audio_buffer.commit", BOTH, "supported", "input_audio_buffer.committed"),
    ClientRow("input_audio_buffer.clear", BOTH, "supported", "input_audio_buffer.cleared"),
    ClientRow("conversation.item.create", GA, "supported", "conversation.item.added"),
    ClientRow("conversation.item.create", BETA, "supported", "conversation.item.created"),
    ClientRow("conversation.item.retrieve", BOTH, "supported", "conversation.item.retrieved"),
    ClientRow(
        "conversation.item.truncate",
        BOTH,
        "supported",
        "conversation.item.truncated",
        "beyond the audio it is clamped",
    ),
    ClientRow("conversation.item.delete", BOTH, "supported", "conversation.item.deleted"),
    ClientRow("response.create", BOTH, "supported", "response.created"),
    ClientRow("response.cancel", BOTH, "supported", "response.done"),
    ClientRow(
        "output_audio_buffer.clear",
        BOTH,
        "supported",
        "output_audio_buffer.cleared",
        "with `PLAYBACK=server`",
        playback="server",
    ),
    ClientRow(
        "output_audio_buffer.clear",
        BOTH,
        "refused",
        "invalid_value",
        "otherwise refused (`invalid_value`), as OpenAI does on a WebSocket: the client plays",
    ),
)

SERVER_ROWS: tuple[ServerRow, ...] = (
    ServerRow("error", BOTH, "emitted", _RUN),
    ServerRow("session.created", BOTH, "emitted", _RUN),
    ServerRow("session.updated", BOTH, "emitted", _RUN),
    ServerRow(
        "transcription_session.created",
        BETA,
        "emitted",
        _HERE,
        "on `?intent=transcription`; of the older service, outside the SDK's types, not counted",
    ),
    ServerRow(
        "transcription_session.updated", BETA, "emitted", _HERE, "on `?intent=transcription`"
    ),
    ServerRow(
        "conversation.created",
        BOTH,
        "emitted",
        _LEGACY,
        "with `LEGACY_EVENTS=true` only: OpenAI no longer sends it, and it broke clients",
    ),
    ServerRow(
        "conversation.item.created",
        GA,
        "emitted",
        _LEGACY,
        "in GA with `LEGACY_EVENTS=true` only, beside `added`",
    ),
    ServerRow("conversation.item.created", BETA, "emitted", _RUN),
    ServerRow("conversation.item.added", GA, "emitted", _RUN),
    ServerRow("conversation.item.done", GA, "emitted", _RUN),
    ServerRow("conversation.item.retrieved", BOTH, "emitted", _RUN),
    ServerRow("conversation.item.truncated", BOTH, "emitted", _RUN),
    ServerRow("conversation.item.deleted", BOTH, "emitted", _RUN),
    ServerRow(f"{_TRANSCRIPTION}.delta", BOTH, "emitted", _RUN, "append-only"),
    ServerRow(f"{_TRANSCRIPTION}.completed", BOTH, "emitted", _RUN),
    ServerRow(f"{_TRANSCRIPTION}.failed", BOTH, "emitted", _HERE, "the recogniser failed"),
    ServerRow(
        f"{_TRANSCRIPTION}.segment",
        GA,
        "emitted",
        _DETAILS,
        "with a diarising transcription model, or `DEEPGRAM_DIARIZE`, from engines that tell "
        "speakers apart",
    ),
    ServerRow("input_audio_buffer.committed", BOTH, "emitted", _RUN),
    ServerRow("input_audio_buffer.cleared", BOTH, "emitted", _RUN),
    ServerRow("input_audio_buffer.speech_started", BOTH, "emitted", _RUN),
    ServerRow("input_audio_buffer.speech_stopped", BOTH, "emitted", _RUN),
    ServerRow(
        "input_audio_buffer.timeout_triggered", GA, "emitted", _IDLE, "with `idle_timeout_ms`"
    ),
    ServerRow("input_audio_buffer.dtmf_event_received", GA, "not applicable", "", "SIP calls only"),
    ServerRow("output_audio_buffer.started", BOTH, "emitted", _PLAYBACK, "with `PLAYBACK=server`"),
    ServerRow("output_audio_buffer.stopped", BOTH, "emitted", _PLAYBACK, "with `PLAYBACK=server`"),
    ServerRow("output_audio_buffer.cleared", BOTH, "emitted", _PLAYBACK, "with `PLAYBACK=server`"),
    ServerRow("response.created", BOTH, "emitted", _RUN),
    ServerRow("response.done", BOTH, "emitted", _RUN),
    ServerRow("response.output_item.added", BOTH, "emitted", _RUN),
    ServerRow("response.output_item.done", BOTH, "emitted", _RUN),
    ServerRow("response.content_part.added", BOTH, "emitted", _RUN),
    ServerRow("response.content_part.done", BOTH, "emitted", _RUN),
    ServerRow("response.output_text.delta", GA, "emitted", _RUN),
    ServerRow("response.output_text.done", GA, "emitted", _RUN),
    ServerRow("response.text.delta", BETA, "emitted", _RUN),
    ServerRow("response.text.done", BETA, "emitted", _RUN),
    ServerRow("response.output_audio_transcript.delta", GA, "emitted", _RUN),
    ServerRow("response.output_audio_transcript.done", GA, "emitted", _RUN),
    ServerRow("response.audio_transcript.delta", BETA, "emitted", _RUN),
    ServerRow("response.audio_transcript.done", BETA, "emitted", _RUN),
    ServerRow("response.output_audio.delta", GA, "emitted", _RUN, "20 to 200 ms each"),
    ServerRow("response.output_audio.done", GA, "emitted", _RUN),
    ServerRow("response.audio.delta", BETA, "emitted", _RUN, "20 to 200 ms each"),
    ServerRow("response.audio.done", BETA, "emitted", _RUN),
    ServerRow("response.function_call_arguments.delta", BOTH, "emitted", _RUN),
    ServerRow("response.function_call_arguments.done", BOTH, "emitted", _RUN),
    ServerRow("mcp_list_tools.in_progress", GA, "emitted", _MCP),
    ServerRow("mcp_list_tools.completed", GA, "emitted", _MCP),
    ServerRow("mcp_list_tools.failed", GA, "emitted", _MCP),
    ServerRow("response.mcp_call_arguments.delta", GA, "emitted", _MCP),
    ServerRow("response.mcp_call_arguments.done", GA, "emitted", _MCP),
    ServerRow("response.mcp_call.in_progress", GA, "emitted", _MCP),
    ServerRow("response.mcp_call.completed", GA, "emitted", _MCP),
    ServerRow("response.mcp_call.failed", GA, "emitted", "tests/core/test_mcp.py"),
    ServerRow("rate_limits.updated", BOTH, "emitted", _LIMITS, "with `RATE_LIMIT_*_PER_MINUTE`"),
)
