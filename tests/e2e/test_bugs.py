"""A bug in the core ends the session it happens in, and no other; no engine is blamed for it."""

from __future__ import annotations

from typing import Any

import pytest

from core.machine import Machine
from tests.e2e.gateway import Gateway
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
    step: str, gateway: Gateway, hello: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(self: Machine, event: Any, now: float) -> list[Any]:
        raise LookupError("planted")

    async with gateway.connect() as other:
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
        await other.append(hello + SILENCE)
        response = (await other.wait_for("response.done"))["response"]
        assert response["status"] == "completed"
