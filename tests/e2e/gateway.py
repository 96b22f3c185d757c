"""The gateway under test: the real application on a real socket, with engines that repeat."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import soundfile
from fastapi import FastAPI

import main
from config import (
    LlmSettings,
    McpSettings,
    ServerSettings,
    SessionSettings,
    Settings,
    UploadSettings,
)
from processors.smart_turn import SmartTurn
from processors.vad_engine import VadEngine
from processors.vad_model import SileroModel
from providers.base import LlmProvider, SttProvider, TtsProvider
from providers.script_file import parse_script
from providers.scripted_llm import ScriptedLlmProvider
from providers.scripted_stt import ScriptedSttProvider
from providers.tone import render
from providers.tone_tts import ToneProvider
from service_providers import Engines
from tests.harness import RealtimeClient, realtime_url, running_server

STORY = (
    "Once upon a time there was a lighthouse at the edge of a cold grey sea. "
    "Its keeper was an old woman who had never once let the lamp go out."
)
SCRIPT = parse_script(
    """
version: 1
transcripts: [hello there, tell me a story, and what then]
rules:
  - {id: weather, when: {user: {any: [weather]}, tool_available: get_weather},
     do: [{tool: get_weather, args: {city: "{user.match(in (\\\\w+))|Paris}"}}]}
  - {id: both, when: {user: {any: [compare]}},
     do: [{say: "One moment."}, {tool: get_weather, args: {city: Rome}}, {tool: get_time}]}
  - {id: slow-call, when: {user: {any: [slowly]}},
     do: [{tool: get_time}, {wait: 400}, {say: "That was a call."}]}
  - {id: speak-and-call, when: {user: {any: [recite]}},
     do: [{say: "%(story)s"}, {tool: get_time}]}
  - {id: result, when: {tool_result: true}, do: [{say: "The tool said {tool}."}]}
  - {id: story, when: {user: {any: [story]}}, do: [{say: "%(story)s"}]}
  - {id: count, when: {user: {any: [count]}}, do: [{say: "One, two, three, four, five, six."}]}
  - {id: hang, when: {user: {any: [hang]}}, do: [{fault: llm.hang}]}
  - {id: late-hang, when: {user: {any: [stall]}},
     do: [{say: "Well now. Let me"}, {fault: llm.hang}]}
  - {id: error, when: {user: {any: [fail]}}, do: [{fault: llm.error, message: "out of order"}]}
  - {id: quota, when: {user: {any: [broke]}}, do: [{fault: llm.error, category: quota}]}
  - {id: late-error, when: {user: {any: [stumble]}},
     do: [{say: "I was about to"}, {fault: llm.disconnect}]}
  - {id: silent, when: {user: {any: [hush]}}, do: [{silent: true}]}
  - {id: pirate, when: {instructions: pirate}, do: [{say: "Arr, {user}."}]}
""".replace("%(story)s", STORY)
)
HELLO, STORY_HEARD, THEN = (turn.text for turn in SCRIPT.transcripts)
API_KEY = "sk-0123456789abcdef-e2e"
PAGE_ORIGIN = "https://app.example"
SHORT_LEAD_MS = 400

_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def speech(name: str) -> bytes:
    """One of the committed clips as s16le mono 24 kHz."""
    samples, rate_hz = soundfile.read(_FIXTURES / f"{name}.wav", dtype="int16")
    assert rate_hz == 24_000
    return samples.astype("<i2").tobytes()


def tone(text: str) -> bytes:
    """What the tone voice makes of a reply; it has no gaps, so clauses need not be known."""
    return render(text)[0]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway."""

    port: int
    app: FastAPI

    def url(self, path: str = "/v1/realtime", **query: str) -> str:
        return realtime_url(self.port, path=path, **query)

    def connect(
        self, dialect: Any = "ga", **options: Any
    ) -> AbstractAsyncContextManager[RealtimeClient]:
        """A client of one dialect; see `RealtimeClient.connect`."""
        return RealtimeClient.connect(options.pop("url", self.url()), dialect=dialect, **options)

    async def active_sessions(self) -> int:
        """What `/health` counts."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/health")
        return answer.json()["active_sessions"]


@asynccontextmanager
async def run_gateway(
    *,
    stt: SttProvider | None = None,
    llm: LlmProvider | None = None,
    tts: TtsProvider | None = None,
    session: dict[str, Any] | None = None,
    context_tokens: int = 28_000,
    mcp: McpSettings | None = None,
    uploads: UploadSettings | None = None,
    **server: Any,
) -> AsyncGenerator[Gateway]:
    """Serve the application with the scripted engines, or those given."""
    settings = Settings(
        server=ServerSettings.model_validate(server),
        session=SessionSettings.model_validate(session or {}),
        llm=LlmSettings(context_tokens=context_tokens),
        mcp=mcp or McpSettings(),
        uploads=uploads or UploadSettings(),
    )
    engines = Engines(
        stt or ScriptedSttProvider(SCRIPT.transcripts, SCRIPT.latency, SCRIPT.seed),
        llm or ScriptedLlmProvider(SCRIPT),
        tts or ToneProvider(),
        vad=VadEngine(SileroModel()),
        judge=SmartTurn(),
    )
    app = main.create_app(settings, engines=engines, announce=lambda ready: None)
    async with running_server(app, ws_max_size=main.WS_MAX_SIZE_BYTES) as port:
        yield Gateway(port, app)
