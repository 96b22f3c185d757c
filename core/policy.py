"""What the operator decides about sessions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from core.mcp_policy import McpPolicy


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides and a client cannot change.

    `stt_languages` is None when the recogniser takes any language; `expires_at_s` is on the clock
    that `now` is given in. `voice_is_fixed` is OpenAI's rule for a voice that has been heard.
    `playback` says who keeps the time of what is played.
    `speculate_after_ms` is the pause in a turn after which a reply is prepared, None for never.
    """

    output_lead_ms: float | None = 5000
    stt_timeout_s: float = 15.0
    generation_timeout_s: float = 30.0
    stt_languages: frozenset[str] | None = None
    stt_engine: str = ""
    item_audio_limit_bytes: int = 16 * 1024 * 1024
    max_parallel_responses: int = 8
    max_output_tokens: int | None = None
    context_tokens: int | None = None
    expires_at_s: float = math.inf
    max_session_s: float = 3600.0
    voice_is_fixed: bool = True
    playback: Literal["client", "server"] = "client"
    legacy_events: bool = False
    speculate_after_ms: int | None = None
    mcp: McpPolicy = field(default_factory=McpPolicy)
