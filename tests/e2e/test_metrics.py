"""What /metrics says after real turns, read with Prometheus' own parser."""

from __future__ import annotations

import asyncio
import logging
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from metrics import DEPTHS_EVERY, LAG_INTERVAL_S, Depths, Metrics
from tests.e2e.gateway import API_KEY, Gateway, run_gateway
from tests.e2e.wire import ask, configure, refusal

pytestmark = pytest.mark.asyncio(loop_scope="session")


def samples(exposition: str) -> dict[str, float]:
    """Every sample by its name and labels, as `name{a=b,c=d}`."""
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": (
            sample.value
        )
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


async def scrape(gateway: Gateway, key: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        return await http.get(f"http://127.0.0.1:{gateway.port}/metrics")


async def read(gateway: Gateway) -> dict[str, float]:
    return samples((await scrape(gateway)).text)


async def test_turns_and_sessions_are_counted(
    hello: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_gateway() as gateway:
        async with gateway.connect() as client:
            with caplog.at_level(logging.INFO, "realtime.session"):
                await client.speak(hello)
                await client.collect_response()
            open_now = await read(gateway)
            await configure(client, output_modalities=["text"])
            await ask(client, "count, please")
        async with gateway.connect("beta") as client:
            sent = await client.send({"type": "response.cancel"})
            await refusal(client, sent)
        then = await read(gateway)
    assert open_now["realtime_sessions{}"] == 1
    assert open_now["realtime_responses_total{reason=,status=completed}"] == 1
    for stage in ("endpointing", "transcript", "first_token", "first_audio"):
        assert open_now[f"realtime_turn_stage_seconds_count{{stage={stage}}}"] == 1, stage
    # The silence window is 500 ms; it ends where its last analysis window does.
    assert 0.5 <= open_now["realtime_turn_stage_seconds_sum{stage=endpointing}"] < 5
    waited = open_now["realtime_turn_wait_seconds_sum{}"]
    assert waited >= open_now["realtime_turn_stage_seconds_sum{stage=endpointing}"]
    assert then["realtime_responses_total{reason=,status=completed}"] == 2
    assert then["realtime_turn_stage_seconds_count{stage=endpointing}"] == 1
    assert then["realtime_turn_stage_seconds_count{stage=first_token}"] == 2
    assert then["realtime_tokens_total{direction=output,kind=text}"] > 0
    assert then["realtime_sessions_opened_total{dialect=ga}"] == 1
    assert then["realtime_sessions_opened_total{dialect=beta}"] == 1
    assert then["realtime_session_open_seconds_count{}"] == 2
    assert then["realtime_errors_total{code=response_cancel_not_active}"] == 1
    lines = [r.getMessage() for r in caplog.records if "completed after" in r.getMessage()]
    line = next(line for line in lines if "endpointing" in line)
    for word in ("endpointing", "transcript", "first_token", "first_audio", "= waited", "tokens"):
        assert word in line


async def test_failures_are_counted_by_stage_and_sessions_close(gateway: Gateway) -> None:
    before = await read(gateway)
    async with gateway.connect() as client:
        await ask(client, "fail now")
    name = "realtime_stage_failures_total{category=server,stage=llm}"
    after = await read(gateway)
    assert after[name] == before.get(name, 0) + 1
    ended = "realtime_responses_total{reason=server_error,status=failed}"
    assert after[ended] == before.get(ended, 0) + 1


async def test_a_key_guards_the_metrics(locked_gateway: Gateway) -> None:
    refused = await scrape(locked_gateway)
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "invalid_request_error"
    allowed = await scrape(locked_gateway, API_KEY)
    assert allowed.status_code == 200
    assert allowed.headers["content-type"].startswith("text/plain")


async def test_the_event_loop_and_the_queues_are_looked_at() -> None:
    metrics = Metrics()
    looks = [Depths({"outbox_bytes": 7}, 10, 4), Depths({"outbox_bytes": 0}, 25, 4)]
    told: list[Depths] = []
    enough = asyncio.Event()

    def depths() -> Depths:
        told.append(looks[min(len(told), 1)])
        if len(told) == 2:
            enough.set()
        return told[-1]

    watch = asyncio.create_task(metrics.watch(depths))
    await enough.wait()
    await asyncio.sleep(0)
    watch.cancel()
    read = samples(metrics.exposition().decode())
    assert read["realtime_event_loop_lag_seconds_count{}"] >= 2 * DEPTHS_EVERY
    assert read["realtime_queue_depth{queue=outbox_bytes}"] == 0
    assert read["realtime_vad_windows_total{outcome=scored}"] == 25
    assert read["realtime_vad_windows_total{outcome=skipped}"] == 4


async def test_a_held_event_loop_shows() -> None:
    metrics = Metrics()
    watch = asyncio.create_task(metrics.watch(lambda: Depths({})))
    await asyncio.sleep(0.01)
    time.sleep(LAG_INTERVAL_S + 0.3)  # noqa: ASYNC251  (what a bug would do)
    await asyncio.sleep(0.05)
    watch.cancel()
    read = samples(metrics.exposition().decode())
    assert read["realtime_event_loop_lag_seconds_bucket{le=0.1}"] == 0
    assert read["realtime_event_loop_lag_seconds_bucket{le=+Inf}"] == 1
