"""Hypothesis strategies for what a client may send: any JSON, and JSON of nearly right shape."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from protocol import CLIENT_EVENT_TYPES

steadily = settings(deadline=None, derandomize=True)
"""The same examples in every run, however slow the machine is."""

_KEYS = (
    *("type", "role", "content", "text", "audio", "transcript", "image_url", "item", "id"),
    *("item_id", "previous_item_id", "session", "response", "input", "tools", "tool_choice"),
    *("function", "name", "parameters", "arguments", "call_id", "output", "format", "voice"),
    *("rate", "turn_detection", "modalities", "output_modalities", "metadata", "conversation"),
    *("event_id", "audio_end_ms", "content_index", "max_output_tokens", "input_audio_format"),
)
_WORDS = (
    *("message", "function_call", "function_call_output", "item_reference", "user", "assistant"),
    *("system", "input_text", "output_text", "input_audio", "output_audio", "input_image"),
    *("text", "audio", "realtime", "function", "mcp", "audio/pcm", "pcm16", "server_vad"),
    *("auto", "none", "inf", "YWJjZA=="),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
SHAPED = st.recursive(
    st.sampled_from(_WORDS) | JSON,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5)
    ),
    max_leaves=15,
)
EVENTS = st.builds(
    lambda fields, kind: {**fields, "type": kind},
    st.dictionaries(st.sampled_from(_KEYS), SHAPED, max_size=5),
    st.sampled_from(CLIENT_EVENT_TYPES) | JSON,
)
