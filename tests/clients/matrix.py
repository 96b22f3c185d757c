"""What each public client has been through, and the test that proves it.

The table claims nothing by itself: after each test of this folder the events that its client got
are looked through, and the test fails unless every cell it stands for is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.oracle import WireEvent


class Cell(StrEnum):
    """One thing to go through; each but the last must be followed by a whole reply."""

    SPOKEN = "spoken turn"
    TYPED = "typed turn"
    TOOL = "tool call"
    BARGE_IN = "barge-in"
    CANCEL = "cancel"
    PUSH_TO_TALK = "push-to-talk"
    WRONG_EVENT = "wrong event"
    MCP = "MCP tool"


@dataclass(frozen=True, slots=True)
class Row:
    """One client.

    Attributes:
        client: Its name here, with the dialect it speaks.
        package: Where its version is pinned: a requirement, a dependency in tests/js, or none.
        tests: For each cell the test that proves it, as `file::function` in tests/clients.
        lacks: Why it has no such cell.
    """

    client: str
    package: str
    tests: Mapping[Cell, str]
    lacks: Mapping[Cell, str]


def _row(client: str, package: str, file: str, tests: Mapping[str, str], **lacks: str) -> Row:
    """Cells and reasons are keyed by the names of `Cell`; functions by the cells they prove."""
    proved = {
        Cell[name]: f"{file}::{function}"
        for function, names in tests.items()
        for name in names.split()
    }
    return Row(client, package, proved, {Cell[name]: reason for name, reason in lacks.items()})


_NO_MCP = "server-run tools are not part of it"
_BY_HAND = "TYPED TOOL CANCEL PUSH_TO_TALK WRONG_EVENT"

ROWS: tuple[Row, ...] = (
    *(
        _row(
            f"openai-python, {dialect}",
            "openai",
            "test_openai_python.py",
            {"test_spoken_conversation_with_barge_in": "SPOKEN BARGE_IN", "test_by_hand": _BY_HAND},
            MCP="it has the types, and does nothing with them"
            if dialect == "GA"
            else "not part of the beta dialect",
        )
        for dialect in ("GA", "beta")
    ),
    *(
        _row(
            f"openai-node over TLS, {dialect}",
            "openai (npm)",
            "test_javascript.py",
            {"test_openai_node": "SPOKEN BARGE_IN", "test_openai_node_by_hand": _BY_HAND},
            MCP="it has the types, and does nothing with them"
            if dialect == "GA"
            else "not part of the beta dialect",
        )
        for dialect in ("GA", "beta")
    ),
    _row(
        "openai-agents for Python",
        "openai-agents",
        "test_openai_agents.py",
        {
            "test_spoken_conversation_with_tool_and_barge_in": "SPOKEN BARGE_IN",
            "test_by_hand": _BY_HAND,
        },
        MCP="its realtime sessions run MCP tools in the client",
    ),
    _row(
        "openai-agents for JavaScript",
        "@openai/agents-realtime",
        "test_javascript.py",
        {
            "test_agents": "SPOKEN BARGE_IN",
            "test_agents_by_hand": _BY_HAND,
            "test_agents_with_a_hosted_mcp_server": "MCP",
        },
    ),
    _row(
        "LiveKit's plugin in an AgentSession",
        "livekit-plugins-openai",
        "test_livekit.py",
        {
            "test_spoken_conversation_with_tool_and_barge_in": "SPOKEN BARGE_IN",
            "test_typed_turns_cancel_wrong_event_and_context_sync": "TYPED TOOL CANCEL WRONG_EVENT",
            "test_push_to_talk": "PUSH_TO_TALK",
        },
        MCP=_NO_MCP,
    ),
    _row(
        "Pipecat's OpenAIRealtimeLLMService",
        "pipecat-ai",
        "test_pipecat_client.py",
        {
            "test_spoken_conversation_with_tool_and_barge_in": "SPOKEN TYPED TOOL BARGE_IN",
            "test_cancel_push_to_talk_and_wrong_event": "CANCEL PUSH_TO_TALK WRONG_EVENT",
        },
        MCP="it raises on the events",
    ),
    _row(
        "openai-realtime-api, the legacy client",
        "openai-realtime-api",
        "test_javascript.py",
        {"test_legacy_client": "SPOKEN BARGE_IN", "test_legacy_client_by_hand": _BY_HAND},
        MCP="not part of the beta dialect",
    ),
    _row(
        "Step-Realtime-Console's wire",
        "",
        "test_step_console.py",
        {
            "test_realtime_mode_is_interrupted_by_speech": "SPOKEN BARGE_IN",
            "test_nested_tools_and_settings_in_mid_session": "TYPED TOOL",
            "test_talk_key_interrupts_a_reply": "CANCEL",
            "test_greeting_and_push_to_talk": "PUSH_TO_TALK WRONG_EVENT",
        },
        MCP="not part of the beta dialect",
    ),
    _row(
        "the wire of Twilio's sample, µ-law",
        "",
        "test_twilio.py",
        {"test_call_with_barge_in": "SPOKEN TYPED TOOL BARGE_IN"},
        CANCEL="the caller interrupts by speaking",
        PUSH_TO_TALK="a telephone has no key",
        WRONG_EVENT="its truncation past the end is taken, not refused",
        MCP=_NO_MCP,
    ),
)


# --- what the events prove ------------------------------------------------------------------


def cells_of(events: Sequence[WireEvent]) -> set[Cell]:
    """What a conversation went through, read from the server's events in their order."""
    return set(_cells(events))


def _cells(events: Sequence[WireEvent]) -> Iterator[Cell]:
    detected: set[str] = set()
    for index, event in enumerate(events):
        match event["type"]:
            case "input_audio_buffer.speech_stopped":
                detected.add(event["item_id"])
            case "input_audio_buffer.committed" if _is_answered(events, index):
                by_server = event["item_id"] in detected
                yield Cell.SPOKEN if by_server else Cell.PUSH_TO_TALK
            case "conversation.item.added" | "conversation.item.created":
                item = event["item"]
                if not _is_answered(events, index):
                    continue
                if item["type"] == "function_call_output":
                    yield Cell.TOOL
                if item.get("role") == "user" and _is_text(item):
                    yield Cell.TYPED
            case "response.done" if _goes_on(events, index):
                match event["response"].get("status_details"):
                    case {"reason": "turn_detected"}:
                        yield Cell.BARGE_IN
                    case {"reason": "client_cancelled"}:
                        yield Cell.CANCEL
                    case _:
                        pass
            case "error" if _goes_on(events, index):
                yield Cell.WRONG_EVENT
            case "response.mcp_call.completed" if _goes_on(events, index):
                yield Cell.MCP
            case _:
                pass


def _is_text(item: WireEvent) -> bool:
    return bool(item["content"]) and all(part["type"] == "input_text" for part in item["content"])


def _is_answered(events: Sequence[WireEvent], index: int) -> bool:
    """Whether the next response to be created behind an event is completed."""
    later = events[index + 1 :]
    created = next((e["response"]["id"] for e in later if e["type"] == "response.created"), None)
    return any(_completes(event) and event["response"]["id"] == created for event in later)


def _goes_on(events: Sequence[WireEvent], index: int) -> bool:
    """Whether any response is completed behind an event."""
    return any(_completes(event) for event in events[index + 1 :])


def _completes(event: WireEvent) -> bool:
    return event["type"] == "response.done" and event["response"]["status"] == "completed"


# --- the evidence of one test ---------------------------------------------------------------


class Evidence:
    """What the clients of the test that is running went through."""

    def __init__(self) -> None:
        self._held: dict[str, set[Cell]] = {}

    def clear(self) -> None:
        """Forget the test before."""
        self._held.clear()

    def add(self, client: str, events: Iterable[WireEvent]) -> None:
        """One connection of a client, to its end.

        Args:
            client: Of a `Row`.
            events: All that the server sent.
        """
        self._held.setdefault(client, set()).update(cells_of(list(events)))

    def missing(self, test: str) -> list[str]:
        """The cells that the table says this test proves, and that were not to be seen.

        Args:
            test: `file::function`.
        """
        return [
            f"{row.client}: {cell}"
            for row in ROWS
            for cell, proof in row.tests.items()
            if proof == test and cell not in self._held.get(row.client, set())
        ]


EVIDENCE = Evidence()
