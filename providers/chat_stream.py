"""Reads the chunks of a streamed chat completion; knows no HTTP and no Pipecat service."""

from __future__ import annotations

from typing import Any, Final

from core.messages import FinishReason
from protocol import Usage

from .frames import ModelFinishedFrame
from .reasoning import ReasoningFilter
from .tool_call_stream import ToolCallFrame, ToolCallStream

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


class IncompleteReply(Exception):
    """The stream ended before the model did; the message says what was missing."""


class ReplyReader:
    """One reply, chunk by chunk.

    Chunks are read without trust, since the SDK checks none: `choices` may be empty (OpenAI's
    usage chunk; some servers send one unasked), a role chunk may come before a tool call, a delta
    may be null, usage may come at the end, with every chunk, or inside the choice, and thoughts
    may stand in front of the answer or in a field of their own (`reasoning_content`, `reasoning`,
    `thinking`), which is not looked at.
    """

    def __init__(self) -> None:
        self._calls = ToolCallStream()
        self._reasoning = ReasoningFilter()
        self._reason: str | None = None
        self._usage = Usage()

    @property
    def finished(self) -> bool:
        """Whether the model has said that it stopped; only usage may still come."""
        return self._reason is not None

    def read(self, chunk: Any) -> tuple[str, list[ToolCallFrame]]:
        """Take a chunk; returns its text (answer or refusal) and what it says of calls."""
        self._count(_member(chunk, "usage"))
        choices = _member(chunk, "choices")
        if not isinstance(choices, list | tuple) or not choices:
            return "", []
        choice = choices[0]
        self._count(_member(choice, "usage"))
        delta = _member(choice, "delta")
        text = self._reasoning.add(_text(_member(delta, "content")))
        text = text or _text(_member(delta, "refusal"))
        calls: list[ToolCallFrame] = []
        for call in _member(delta, "tool_calls") or ():
            calls += self._calls.read(call)
        self._reason = _text(_member(choice, "finish_reason")) or self._reason
        if self.finished:
            text += self._reasoning.end()
        return text, calls

    def finish(self) -> list[ToolCallFrame | ModelFinishedFrame]:
        """The stream has ended.

        Raises:
            IncompleteReply: the model had not.
        """
        if self._reason is None:
            raise IncompleteReply("ended the stream before its reply was complete")
        if self._calls.nameless:
            raise IncompleteReply("asked for a function without naming it")
        # Ollama and others say "stop" although there are calls.
        reason = _REASONS.get(self._reason, "stop")
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self._calls.any else "stop"
        cut = reason in ("length", "content_filter")
        return [*self._calls.finish(cut=cut), ModelFinishedFrame(reason, self._usage)]

    def _count(self, usage: Any) -> None:
        if not usage:
            return
        details = _member(usage, "prompt_tokens_details")
        cached = _count(details, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens")
        self._usage = Usage(
            input_text_tokens=_count(usage, "prompt_tokens"),
            cached_tokens=cached,
            output_text_tokens=_count(usage, "completion_tokens"),
        )


def _member(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(holder: Any, name: str) -> int:
    value = _member(holder, name)
    return value if isinstance(value, int) else 0
