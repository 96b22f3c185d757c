"""How many tokens text, images and speech are taken for: an estimate, the model is unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from core.messages import ChatMessage
from protocol import FunctionTool

CHARACTERS_PER_TOKEN = 4
"""Of ASCII text. Common tokenisers need a token for 4 to 5 characters of English prose and for 3 of
JSON or code."""
MESSAGE_TOKENS = 4
"""What role and delimiters of a message cost."""
IMAGE_TOKENS = {"low": 85, "auto": 765, "high": 765}
"""As OpenAI counts an image of up to 1024 x 1024 pixels."""
INPUT_AUDIO_TOKENS_PER_SECOND = 10
OUTPUT_AUDIO_TOKENS_PER_SECOND = 20
"""How OpenAI counts speech, heard and spoken (protocol reference §7)."""


def text_tokens(text: str) -> int:
    """Tokens of a text: a quarter of its ASCII characters and each of the others.

    Chinese, Japanese and Korean take about a token a character; Cyrillic and the like take less,
    so that they are overestimated rather than cut off by the model.
    """
    foreign = 0 if text.isascii() else sum(not character.isascii() for character in text)
    return math.ceil((len(text) - foreign) / CHARACTERS_PER_TOKEN) + foreign


def message_tokens(message: ChatMessage) -> int:
    """Tokens of one message, calls and images included."""
    calls = sum(text_tokens(call.name) + text_tokens(call.arguments) for call in message.tool_calls)
    images = sum(IMAGE_TOKENS[image.detail] for image in message.images)
    return MESSAGE_TOKENS + text_tokens(message.text) + calls + images


def instruction_tokens(instructions: str, tools: Iterable[FunctionTool]) -> int:
    """Tokens of what precedes the conversation."""
    definitions = (json.dumps(tool.model_dump(), ensure_ascii=False) for tool in tools)
    return MESSAGE_TOKENS + text_tokens(instructions) + sum(map(text_tokens, definitions))


def input_audio_tokens(duration_ms: float) -> int:
    """Tokens of what users said."""
    return math.ceil(duration_ms * INPUT_AUDIO_TOKENS_PER_SECOND / 1000)


def output_audio_tokens(duration_ms: float) -> int:
    """Tokens of what the model said."""
    return math.ceil(duration_ms * OUTPUT_AUDIO_TOKENS_PER_SECOND / 1000)
