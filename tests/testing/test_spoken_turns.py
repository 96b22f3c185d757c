"""Turn detection in test mode: each turn is one turn, pauses and all."""

from __future__ import annotations

from pathlib import Path

from realtime_server import RealtimeServer, Reply, ResponseRequest
from tests.e2e.gateway import speech
from tests.e2e.wire import TEXT, configure
from tests.harness import RealtimeClient, realtime_url

SCRIPT = Path(__file__).parent / "counting.yaml"
PATIENT = {"type": "server_vad", "silence_duration_ms": 1200}
UTTERANCE = speech("weather") + bytes(400 * 48) + speech("hello")


class Counting(RealtimeServer):
    """Numbers its replies."""

    asked = 0

    async def handle_response_create(self, request: ResponseRequest) -> Reply | None:
        self.asked += 1
        return f"{request.turn}: {request.user}"


async def test_a_pause_in_a_turn_is_no_turn() -> None:
    async with Counting(SCRIPT) as server:
        said: list[str] = []
        async with RealtimeClient.connect(realtime_url(server.port)) as client:
            await configure(client, **TEXT, turn_detection=PATIENT)
            for _ in range(2):
                await client.speak(UTTERANCE, after_ms=1600)
                reply = await client.collect_response()
                said.append(reply.text)
        assert said == ["1: one", "2: two"]
        assert server.asked == 2
