"""A bug in the core ends the session it happens in, and no other; no engine is blamed for it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from core.machine import Machine
from tests.e2e.gateway import run_gateway
from tests.e2e.wire import configure

pytestmark = pytest.mark.asyncio(loop_scope="session")

VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}
SILENCE = bytes(48_000)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("_speech_started", id="turn detection tells"),
        pytest.param("_recognised", id="the recogniser tells"),
        pytest.param("_update_session", id="the client tells"),
    ],
)
async def test_it_is_told_and_ends_that_session_only(
    step: str, hello: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(self: Machine, event: Any, now: float) -> list[Any]:
        raise LookupError("planted")

    async with run_gateway() as gateway, gateway.connect() as other:
        await configure(other, **VAD)
        async with gateway.connect() as client:
            await configure(client, **VAD)
            with monkeypatch.context() as bug:
                bug.setattr(Machine, step, break_down)
                await client.send(
                    {"type": "session.update", "session": {"type": "realtime", "audio": {}}}
                )
                await client.append(hello + SILENCE)
                error = (await client.wait_for("error"))["error"]
                assert (error["type"], error["code"]) == ("server_error", "server_error")
                assert await client.wait_closed() == (1011, "server_error")
                await client.close(complete=False)
        async with httpx.AsyncClient(trust_env=False) as http:
            told = (await http.get(f"http://127.0.0.1:{gateway.port}/metrics")).text
        assert "realtime_stage_failures_total{" not in told
        await other.append(hello + SILENCE)
        response = (await other.wait_for("response.done"))["response"]
        assert response["status"] == "completed"
