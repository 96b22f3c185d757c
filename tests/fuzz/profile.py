"""What kind of session one run is: drawn from its seed, so that a replay meets the same one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from config import LlmSettings, McpSettings, SessionSettings, Settings
from handshake import DialectName
from protocol import SessionKind
from tests.fuzz.author import MCP_HOST

Dialect = Literal["ga", "beta"]


@dataclass(frozen=True, slots=True)
class Profile:
    """One session to be.

    `marked` is False for a connection that does not say its dialect; `debug` has every log line
    formatted; `breaks_off` has the client leave with work under way.
    """

    dialect: Dialect
    kind: SessionKind
    marked: bool
    messages: int
    debug: bool
    breaks_off: bool
    hostility: float
    settings: Settings

    @property
    def opening(self) -> DialectName:
        """What the handshake knows of the dialect."""
        return self.dialect if self.marked else "undecided"


def draw(rng: random.Random, number: int) -> Profile:
    """A session like any that might come; dialects and kinds take turns by its number."""
    kind: SessionKind = "transcription" if number % 8 in (3, 6) else "realtime"
    session = SessionSettings(
        output_lead_ms=rng.choice((0, 400, 5000)),
        max_session_s=rng.choice((86_400, 86_400, 86_400, 3600, 60)),
        stt_timeout_ms=rng.choice((1000, 15_000)),
        generation_timeout_ms=rng.choice((2000, 30_000)),
        speculative_turns=rng.random() < 0.75,
    )
    return Profile(
        dialect="beta" if number % 2 else "ga",
        kind=kind,
        marked=kind == "transcription" or rng.random() < 0.8,
        messages=rng.choice((20, 60, 150, 150, 400, 1500)),
        debug=rng.random() < 0.05,
        breaks_off=rng.random() < 0.5,
        hostility=rng.choice((0.0, 0.25, 0.25, 0.6, 0.9)),
        settings=Settings(
            session=session,
            llm=LlmSettings(context_tokens=rng.choice((0, 200, 28_000))),
            mcp=McpSettings(allowed_hosts=(MCP_HOST,), follow_up=rng.random() < 0.3),
        ),
    )
