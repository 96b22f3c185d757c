"""openai-python, GA and beta, over the address it is documented with."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

from openai import AsyncOpenAI

from tests.clients.conversation import (
    Clip,
    Microphone,
    expect_interruption,
    expect_spoken_turn,
    expect_user_turn,
)
from tests.clients.gateway import Gateway
from tests.clients.wiretap import Tap, tapped
from tests.oracle import Dialect

Clips = Callable[[str], Clip]

_GA_SESSION: dict[str, Any] = {
    "type": "realtime",
    "instructions": "Be brief.",
    "audio": {
        "input": {"transcription": {"model": "gpt-4o-mini-transcribe"}},
        "output": {"voice": "marin"},
    },
}
_BETA_SESSION: dict[str, Any] = {
    "instructions": "Be brief.",
    "modalities": ["text", "audio"],
    "voice": "alloy",
    "input_audio_transcription": {"model": "whisper-1"},
}


def _client(tap: Tap) -> AsyncOpenAI:
    address = f"127.0.0.1:{tap.port}/v1"
    return AsyncOpenAI(
        api_key="test-key", base_url=f"http://{address}", websocket_base_url=f"ws://{address}"
    )


async def _converse(tap: Tap, dialect: Dialect, clips: list[Clip], story: Clip) -> None:
    """Two turns, and a third that interrupts a long reply, by the means of the SDK alone."""
    client: Any = _client(tap)
    realtime = client.realtime if dialect == "ga" else client.beta.realtime
    session = _GA_SESSION if dialect == "ga" else _BETA_SESSION
    seen: list[str] = []

    async with realtime.connect(model="gpt-realtime") as connection:
        wire = tap.wire

        async def read() -> None:
            async for event in connection:
                seen.append(event.type)

        async def append(pcm: bytes) -> None:
            await connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())

        reading = asyncio.create_task(read(), name="sdk reader")
        created = await wire.wait_for("session.created")
        assert created["session"]["id"]
        await connection.session.update(session=session)
        await wire.wait_for("session.updated")

        async with Microphone.open(append, chunk_ms=20 if dialect == "ga" else 100) as microphone:
            for clip in clips:
                await microphone.say(clip)
                await expect_spoken_turn(wire, clip)

            await microphone.say(story)
            await expect_user_turn(wire, story)
            await expect_interruption(wire, microphone.say, clips[0])
    await reading
    assert wire.events_of("error") == []
    assert seen == [entry.event["type"] for entry in wire.received]


async def test_spoken_conversation_with_barge_in(
    gateway: Gateway, clip: Clips, story_clip: Clip
) -> None:
    first = [clip("en_go_forward"), clip("en_seven_of_clubs")]
    second = [clip("en_weather"), clip("en_cards_long")]
    async with (
        tapped(gateway.port, "ga") as ga,
        tapped(gateway.port, "beta") as beta,
        asyncio.TaskGroup() as both,
    ):
        both.create_task(_converse(ga, "ga", first, story_clip))
        both.create_task(_converse(beta, "beta", second, story_clip))
