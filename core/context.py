"""From items to the messages a language model is given: what was said, and what was heard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from core.conversation import Entry, Known
from core.mcp_context import without_mcp_items
from core.messages import ChatMessage, ChatToolCall, GenerationRequest
from core.tokens import input_audio_tokens, message_tokens, text_tokens
from core.truncation import turns, turns_to_drop
from protocol import (
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    Message,
    OutputAudio,
    OutputText,
    Truncation,
)

PENDING_OUTPUT = "The result of this call is not available yet."


@dataclass(frozen=True, slots=True)
class ModelContext:
    """What a model is shown of a conversation, and what that amounts to.

    `dropped` are the entries it is not shown for want of room.
    """

    messages: tuple[ChatMessage, ...]
    text_tokens: int
    audio_tokens: int
    dropped: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a response is generated from, and what its context amounts to."""

    request: GenerationRequest
    context: ModelContext


def model_context(
    entries: Sequence[Entry], fixed_tokens: int, limit: int | None, truncation: Truncation
) -> ModelContext | None:
    """The snapshot of a conversation, cut where it is too long; None when it must not be cut.

    Args:
        entries: The conversation.
        fixed_tokens: Of instructions and tools.
        limit: Most tokens of the whole context, None for no limit.
        truncation: The session's setting.
    """
    by_turn = turns(entries)
    count = turns_to_drop([_turn_tokens(turn) for turn in by_turn], fixed_tokens, limit, truncation)
    if count is None:
        return None
    dropped = [entry for turn in by_turn[:count] for entry in turn]
    kept = [entry for turn in by_turn[count:] for entry in turn]
    # An output stays with a call that stays, wherever a client has put it.
    outputs = [entry for entry in dropped if isinstance(entry.item, FunctionCallOutput)]
    messages = chat_messages([*outputs, *kept])
    return ModelContext(
        messages,
        fixed_tokens + sum(map(message_tokens, messages)),
        input_audio_tokens(sum(entry.audio_ms for entry in kept)),
        tuple(dropped),
    )


def _turn_tokens(turn: Sequence[Entry]) -> int:
    called = {entry.item.call_id for entry in turn if isinstance(entry.item, FunctionCall)}
    apart = [
        entry.item.output
        for entry in turn
        if isinstance(entry.item, FunctionCallOutput) and entry.item.call_id not in called
    ]
    return sum(map(message_tokens, chat_messages(turn))) + sum(map(text_tokens, apart))


def chat_messages(entries: Iterable[Entry]) -> tuple[ChatMessage, ...]:
    """The snapshot of a conversation for one response.

    Chat APIs want each function call followed at once by its output, whatever the user said in
    between, and refuse a call without one: outputs are moved to their call, calls in a row share
    one assistant message, and a call that was not answered yet says so.
    """
    entries = without_mcp_items(entries)
    outputs = {
        entry.item.call_id: entry.item.output
        for entry in entries
        if isinstance(entry.item, FunctionCallOutput)
    }
    messages: list[ChatMessage] = []
    calls: list[FunctionCall] = []
    for entry in entries:
        match entry.item:
            case FunctionCall() as call:
                calls.append(call)
            case FunctionCallOutput():
                continue
            case McpListTools() | McpCall() | McpApprovalRequest() | McpApprovalResponse():
                continue
            case Message() as message:
                text = _text(entry, message)
                images = tuple(p for p in message.content if isinstance(p, InputImage))
                if not text and not images:
                    continue
                _end_calls(messages, calls, outputs)
                messages.append(ChatMessage(message.role, text, images=images))
            case _:
                assert_never(entry.item)
    _end_calls(messages, calls, outputs)
    return tuple(messages)


def _end_calls(
    messages: list[ChatMessage], calls: list[FunctionCall], outputs: dict[str, str]
) -> None:
    """Put the calls collected so far, and their outputs, behind the messages."""
    finished = [call for call in calls if call.status == "completed"]
    calls.clear()
    if not finished:
        return
    said = ""
    if messages and messages[-1].role == "assistant" and not messages[-1].tool_calls:
        said = messages.pop().text
    messages.append(
        ChatMessage(
            "assistant",
            said,
            tool_calls=tuple(ChatToolCall(c.call_id, c.name, c.arguments) for c in finished),
        )
    )
    messages.extend(
        ChatMessage("tool", outputs.get(c.call_id, PENDING_OUTPUT), tool_call_id=c.call_id)
        for c in finished
    )


def _text(entry: Entry, message: Message) -> str:
    if message.role == "assistant" and entry.heard_text is not None:
        return entry.heard_text
    parts = (_part_text(entry, part) for part in message.content)
    return "\n".join(text for text in parts if text)


def _part_text(entry: Entry, part: Content) -> str:
    match part:
        case InputText() | OutputText():
            return part.text
        case OutputAudio():
            return part.transcript
        case InputAudio():
            if isinstance(entry.transcript, Known):
                return entry.transcript.text
            return part.transcript or ""
        case InputImage():
            return ""
        case _:
            assert_never(part)
