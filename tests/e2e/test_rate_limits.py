"""Rate limits of a key, shared by its sessions: told with each response, and kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.e2e.gateway import API_KEY, HELLO, Gateway, run_gateway, speech
from tests.e2e.wire import MANUAL, TEXT, ask, configure, lives, order
from tests.harness import RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMITED = {"requests_per_minute": 2, "tokens_per_minute": 100_000}


@pytest_asyncio.fixture(loop_scope="session")
async def limited() -> AsyncGenerator[Gateway]:
    """Two responses a minute for whoever has the key."""
    async with run_gateway(api_key=API_KEY, session=LIMITED) as running:
        yield running


def told(client: RealtimeClient) -> list[dict[str, tuple[int, int]]]:
    """What the client was told: remaining and limit by name, in order."""
    return [
        {x["name"]: (x["remaining"], x["limit"]) for x in event["rate_limits"]}
        for event in client.events_of("rate_limits.updated")
    ]


async def test_limits_are_told_where_the_dialect_tells_them(limited: Gateway, dialect: Any) -> None:
    async with limited.connect(dialect, api_key=API_KEY) as client:
        await configure(client, **MANUAL, **TEXT)
        response = await ask(client, "hi")
        await lives(client)
        kinds = order(client)
        place = kinds.index("rate_limits.updated")
        assert kinds[place - 1] == ("response.done" if dialect == "ga" else "response.created")
        (levels,) = told(client)
        assert levels["requests"] == (1, 2)
        used = response.final["usage"]["total_tokens"] if dialect == "ga" else 0
        assert levels["tokens"] == (100_000 - used, 100_000)
        (event,) = client.events_of("rate_limits.updated")
        reset_s = {x["name"]: x["reset_seconds"] for x in event["rate_limits"]}
        assert 25 < reset_s["requests"] <= 30


async def test_over_the_limit_responses_fail_and_the_session_lives(
    limited: Gateway, dialect: Any
) -> None:
    async with limited.connect(dialect, api_key=API_KEY) as client:
        await configure(client, **MANUAL, **TEXT)
        for _ in range(2):
            assert (await ask(client, "hi")).status == "completed"
        failed = await ask(client, "hi")
        assert failed.status == "failed"
        error = failed.final["status_details"]["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert error["message"].startswith(
            "Rate limit reached for gpt-realtime on requests per min (RPM): Limit 2, Used 2."
        )
        assert failed.final["output"] == []
        await lives(client)
        assert client.events_of("error") == []


async def test_automatic_responses_are_limited_and_the_user_is_heard(limited: Gateway) -> None:
    async with limited.connect(api_key=API_KEY) as client:
        await configure(client, **MANUAL, **TEXT)
        for _ in range(2):
            await ask(client, "hi")
        heard = {"input_audio_transcription": {"model": "whisper-1"}}
        await configure(client, turn_detection={"type": "server_vad"}, **heard)
        await client.speak(speech("hello"), realtime=False)
        failed = await client.collect_response()
        assert failed.final["status_details"]["error"]["code"] == "rate_limit_exceeded"
        kind = "conversation.item.input_audio_transcription.completed"
        assert (await client.wait_for(kind))["transcript"] == HELLO


async def test_all_sessions_of_a_key_and_of_its_ephemeral_keys_share_the_limits(
    limited: Gateway,
) -> None:
    url = f"http://127.0.0.1:{limited.port}/v1/realtime/client_secrets"
    async with httpx.AsyncClient(trust_env=False) as http:
        minted = await http.post(url, headers={"Authorization": f"Bearer {API_KEY}"})
    ephemeral = minted.json()["value"]
    for key in (API_KEY, ephemeral):
        async with limited.connect(api_key=key) as client:
            await configure(client, **MANUAL, **TEXT)
            assert (await ask(client, "hi")).status == "completed"
    async with limited.connect(api_key=ephemeral) as client:
        await configure(client, **MANUAL, **TEXT)
        assert (await ask(client, "hi")).status == "failed"


async def test_without_a_key_everybody_shares_one_limit() -> None:
    async with run_gateway(session={"tokens_per_minute": 5}) as gateway:
        async with gateway.connect(api_key=None) as client:
            await configure(client, **MANUAL, **TEXT)
            assert (await ask(client, "hi")).status == "completed"
            await lives(client)
            assert told(client) == [{"tokens": (0, 5)}]
        async with gateway.connect(api_key="any") as client:
            await configure(client, **MANUAL, **TEXT)
            assert (await ask(client, "hi")).status == "failed"


async def test_without_limits_nothing_is_told(gateway: Gateway, dialect: Any) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **MANUAL, **TEXT)
        await ask(client, "hi")
        await lives(client)
        assert told(client) == []
