"""The gateway that the conformance command is held against, and what it scores there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest_asyncio

import main
from config import Settings
from conformance.audio import DEFAULT_CLIP, load_clip
from conformance.client import Pace
from conformance.lab import Target
from conformance.oracle import Dialect
from conformance.runner import DialectReport, run
from tests.harness import running_server

_SCRIPT = Path(__file__).with_name("script.yaml")
API_KEY = "sk-0123456789abcdef-conformance"
PACE = Pace(timeout_s=10, settle_s=0.3, realtime=False)


@asynccontextmanager
async def scripted_gateway(**server: object) -> AsyncGenerator[str]:
    """A gateway with a script of its own and scripted ears; yields its address."""
    settings = Settings.model_validate(
        {
            "server": server,
            "stt": {"provider": "scripted"},
            "llm": {"provider": "scripted", "script": _SCRIPT},
            "tts": {"provider": "tone"},
        }
    )
    app = main.create_app(settings, announce=lambda ready: None)
    async with running_server(app, ws_max_size=main.WS_MAX_SIZE_BYTES) as port:
        yield f"ws://127.0.0.1:{port}"


def target(url: str, *, pace: Pace = PACE, api_key: str | None = None) -> Target:
    """A server under test, with the bundled speech."""
    return Target(url, api_key, load_clip(DEFAULT_CLIP), pace)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway_url() -> AsyncGenerator[str]:
    """A gateway without a key."""
    async with scripted_gateway() as url:
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def healthy(gateway_url: str) -> dict[Dialect, DialectReport]:
    """What the gateway itself scores in each dialect."""
    address = target(f"{gateway_url}/v1/realtime")
    return {"ga": await run(address, "ga", jobs=8), "beta": await run(address, "beta", jobs=8)}
