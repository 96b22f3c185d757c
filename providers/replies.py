"""Replies that a program gives in place of a script's: what it is told, and what it may answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from core.messages import ChatMessage
from protocol import ErrorCategory, FunctionTool, ToolChoice

from .frames import ResponseBeginFrame
from .recording import load_recording
from .script_reply import Call, Fail, PlayRecording, SayToken, Step, finished
from .script_rules import Asked
from .words import tokens


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """One response that is to be made.

    Attributes:
        session_id: The session, as its `session.created` names it.
        turn: The number of the response in its session, from 1.
        user: The words of the last user turn, "" before the first.
        messages: The whole conversation, as a model would be given it.
        spoken: Whether the reply is audio; text otherwise.
        metadata: That of the client's `response.create`.
    """

    session_id: str
    turn: int
    user: str = field(repr=False)
    messages: tuple[ChatMessage, ...] = field(repr=False)
    instructions: str = field(repr=False)
    tools: tuple[FunctionTool, ...]
    tool_choice: ToolChoice
    spoken: bool
    voice: str
    metadata: Mapping[str, str]

    @classmethod
    def read(
        cls, session_id: str, turn: int, asked: Asked, begin: ResponseBeginFrame
    ) -> ResponseRequest:
        """What is asked in a response that has begun."""
        request = begin.request
        return cls(
            session_id,
            turn,
            asked.conversation.user or "",
            request.messages,
            request.instructions,
            request.tools,
            request.tool_choice,
            request.speak,
            request.voice,
            request.metadata or {},
        )


@dataclass(frozen=True, slots=True)
class Text:
    """Say this."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Call a function; a string of arguments goes out as it is, valid JSON or not."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class AudioFile:
    """Play a WAV, FLAC, OGG or MP3 file, with `text` as its transcript."""

    path: str | Path
    text: str = ""


@dataclass(frozen=True, slots=True)
class Error:
    """Fail, as a model's vendor would."""

    message: str
    category: ErrorCategory = ErrorCategory.SERVER


Part = Text | ToolCall | AudioFile | Error
Reply = str | Part | Sequence[str | Part]
"""A text, or parts of a reply in their order; an empty list is a silent reply."""


def steps_of(reply: Reply, max_tokens: int | None) -> tuple[Step, ...]:
    """A reply as what the scripted model carries out.

    Raises:
        ValueError: an audio file that cannot be read.
    """
    parts = [reply] if isinstance(reply, str | Part) else reply
    steps: list[Step] = []
    for part in parts:
        match part:
            case str():
                steps += map(SayToken, tokens(part))
            case Text(text):
                steps += map(SayToken, tokens(text))
            case ToolCall(name, arguments):
                if not isinstance(arguments, str):
                    arguments = json.dumps(dict(arguments), ensure_ascii=False)
                steps.append(Call(name, tuple(tokens(arguments))))
            case AudioFile(path, text):
                steps.append(PlayRecording(text, load_recording(Path(path))))
            case Error(message, category):
                steps.append(Fail(category, message))
            case _:
                assert_never(part)
    return finished(steps, max_tokens)
