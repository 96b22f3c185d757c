"""What the checks say to a model they know nothing about, and the tools they offer it."""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"modalities": ["text"]}
AUDIO: dict[str, Any] = {"modalities": ["audio", "text"]}

SHORT = "Good morning! Please answer in one short sentence."
COUNT = "Count to ten, please."
LONG = "Tell me a long story, please."
WEATHER = "What is the weather in Paris?"
PIRATE = "Talk like a pirate: begin your answer with “Arr”."

WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}

VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 400,
    "create_response": True,
    "interrupt_response": True,
}


def vad(**changes: Any) -> dict[str, Any]:
    """Server turn detection with some members changed."""
    return {**VAD, **changes}
