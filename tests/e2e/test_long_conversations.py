"""Truncation and token counts over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.gateway import Gateway, run_gateway
from tests.e2e.wire import MANUAL, TEXT, ask, configure, respond
from tests.harness import RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

TURNS = 5
LIMIT = 80


async def costs(client: RealtimeClient) -> list[int]:
    """Text tokens that went into each of some equal turns."""
    answers = [await ask(client, "count") for _ in range(TURNS)]
    assert [answer.status for answer in answers] == ["completed"] * TURNS
    return [answer.final["usage"]["input_token_details"]["text_tokens"] for answer in answers]


async def test_a_context_grows_until_it_is_full(dialect: Any) -> None:
    async with run_gateway(context_tokens=LIMIT) as small, small.connect(dialect) as client:
        await configure(client, **MANUAL, **TEXT)
        paid = await costs(client)
    assert paid[0] < paid[1] < paid[2]
    assert paid[-1] < paid[0] + (TURNS - 1) * (paid[1] - paid[0])


async def test_a_client_may_set_a_limit_of_its_own(gateway: Gateway) -> None:
    truncation = {
        "type": "retention_ratio",
        "retention_ratio": 0.5,
        "token_limits": {"post_instructions": 50},
    }
    async with gateway.connect() as client:
        shown = await configure(client, truncation=truncation, **MANUAL, **TEXT)
        assert shown["truncation"] == truncation
        paid = await costs(client)
    assert paid[-1] < paid[0] + (TURNS - 1) * (paid[1] - paid[0])


async def test_disabled_fails_the_response_and_not_the_session() -> None:
    async with run_gateway(context_tokens=LIMIT) as small, small.connect() as client:
        await configure(client, truncation="disabled", **MANUAL, **TEXT)
        statuses = [(await ask(client, "count")).final for _ in range(TURNS)]
        assert statuses[0]["status"] == "completed"
        assert statuses[-1]["status"] == "failed"
        error = statuses[-1]["status_details"]["error"]
        assert error["code"] == "context_length_exceeded"
        await configure(client, truncation="auto")
        assert (await respond(client)).status == "completed"


async def test_usage_counts_text_by_the_model_and_speech_by_its_length(
    gateway: Gateway, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **MANUAL)
        await client.append(hello)
        await client.send({"type": "input_audio_buffer.commit"})
        answer = await respond(client)
    usage = answer.final["usage"]
    heard, made = usage["input_token_details"], usage["output_token_details"]
    assert heard["audio_tokens"] == -(-len(hello) // 4800)
    assert made["audio_tokens"] == -(-len(answer.audio) // 2400)
    assert heard["text_tokens"] > 0 and made["text_tokens"] > 0
    assert usage["input_tokens"] == heard["text_tokens"] + heard["audio_tokens"]
    assert usage["output_tokens"] == made["text_tokens"] + made["audio_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert ("image_tokens" in heard) == (dialect == "ga")
