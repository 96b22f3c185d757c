"""Gateways shared by the end-to-end tests; they run in the loop of the whole session."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.gateway import API_KEY, PAGE_ORIGIN, SHORT_LEAD_MS, Gateway, run_gateway, speech
from tests.e2e.wire import MANUAL, configure
from tests.harness import RealtimeClient


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway() -> AsyncGenerator[Gateway]:
    """Scripted ears and answers, the tone voice, no key."""
    async with run_gateway(allowed_origins=(PAGE_ORIGIN,)) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def locked_gateway() -> AsyncGenerator[Gateway]:
    """The same behind a key."""
    async with run_gateway(api_key=API_KEY) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def paced_gateway() -> AsyncGenerator[Gateway]:
    """The same with so short a lead that a reply of a few seconds is paced."""
    async with run_gateway(session={"output_lead_ms": SHORT_LEAD_MS}) as running:
        yield running


@pytest.fixture(params=["ga", "beta"])
def dialect(request: pytest.FixtureRequest) -> Any:
    """Both dialects."""
    return request.param


@pytest_asyncio.fixture(loop_scope="session")
async def client(gateway: Gateway, dialect: Any) -> AsyncGenerator[RealtimeClient]:
    """A client of either dialect with turn detection off."""
    async with gateway.connect(dialect) as connected:
        await configure(connected, **MANUAL)
        yield connected


@pytest.fixture(scope="session")
def hello() -> bytes:
    """The words "hello world", s16le mono 24 kHz."""
    return speech("hello")
