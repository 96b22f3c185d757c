"""From items to the messages a language model is given: what was said, and what was heard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from core.conversation import Entry, Known
from core.messages import ChatMessage, ChatToolCall
from protocol import (
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Message,
    OutputAudio,
    OutputText,
)

PENDING_OUTPUT = "The result of this call is not available yet."


def chat_messages(entries: Iterable[Entry]) -> tuple[ChatMessage, ...]:
    """The snapshot of a conversation for one response.

    Chat APIs want each function call followed at once by its output, whatever the user said in
    between, and refuse a call without one: outputs are moved to their call, calls in a row share
    one assistant message, and a call that was not answered yet says so.
    """
    entries = list(entries)
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
