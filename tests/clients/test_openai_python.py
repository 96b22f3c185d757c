"""openai-python, GA and beta, over the address it is documented with."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from openai import AsyncOpenAI

from tests.clients.conversation import (
    Clip,
    Microphone,
    converse_by_hand,
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
    handed: list[dict[str, Any]] = []

    async with realtime.connect(model="gpt-realtime") as connection:
        wire = tap.wire

        async def read() -> None:
            async for event in connection:
                handed.append(event.to_dict())

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
    # Nothing is lost or made up on its way through the SDK's types.
    assert handed == [entry.event for entry in wire.received]


async def test_spoken_conversation_with_barge_in(
    gateway: Gateway, clip: Clips, story_clip: Clip
) -> None:
    first = [clip("en_go_forward"), clip("en_seven_of_clubs")]
    second = [clip("en_weather"), clip("en_cards_long")]
    async with (
        tapped(gateway.port, "ga", "openai-python, GA") as ga,
        tapped(gateway.port, "beta", "openai-python, beta") as beta,
        asyncio.TaskGroup() as both,
    ):
        both.create_task(_converse(ga, "ga", first, story_clip))
        both.create_task(_converse(beta, "beta", second, story_clip))


_WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@dataclass(slots=True)
class _Hands:
    """An application on the SDK that types, and holds a key to talk; see `Hands`.

    Attributes:
        heard: The last delta of the reply that plays, and when it began.
        cities: What the tool was asked for.
        errors: Messages of the errors it was handed.
    """

    connection: Any
    heard: tuple[Any, float] | None = None
    cities: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])

    async def read(self) -> None:
        async for event in self.connection:
            # The SDK never validates: an event it does not know comes out as some other class.
            assert get_args(type(event).model_fields["type"].annotation) == (event.type,)
            match event.type:
                case "response.output_audio.delta" | "response.audio.delta":
                    if self.heard is None or self.heard[0].item_id != event.item_id:
                        self.heard = event, time.monotonic()
                case "response.output_item.done" if event.item.type == "function_call":
                    self.cities.append(json.loads(event.item.arguments)["city"])
                    await self._send_item(
                        type="function_call_output",
                        call_id=event.item.call_id,
                        output="sunny and 21 degrees",
                    )
                case "response.done" if event.response.output[0].type == "function_call":
                    await self.connection.response.create()
                case "error":
                    self.errors.append(event.error.message)
                case _:
                    pass

    async def type(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        await self._send_item(type="message", role="user", content=content)
        await self.connection.response.create()

    async def cancel(self) -> None:
        assert self.heard is not None
        delta, began_s = self.heard
        await self.connection.response.cancel()
        await self.connection.conversation.item.truncate(
            item_id=delta.item_id,
            content_index=delta.content_index,
            audio_end_ms=round((time.monotonic() - began_s) * 1000),
        )

    async def talk(self, clip: Clip) -> None:
        buffer = self.connection.input_audio_buffer
        await buffer.clear()
        await buffer.append(audio=base64.b64encode(clip.pcm).decode())
        await buffer.commit()
        await self.connection.response.create()

    async def send_nonsense(self) -> None:
        await self.connection.send({"type": "no.such.event"})

    async def _send_item(self, **item: Any) -> None:
        await self.connection.conversation.item.create(item=item)


async def _converse_by_hand(tap: Tap, dialect: Dialect, clip: Clip) -> None:
    client: Any = _client(tap)
    realtime = client.realtime if dialect == "ga" else client.beta.realtime
    async with realtime.connect(model="gpt-realtime") as connection:
        hands = _Hands(connection)
        reading = asyncio.create_task(hands.read(), name="sdk reader")
        if dialect == "ga":
            audio = _GA_SESSION["audio"] | {
                "input": _GA_SESSION["audio"]["input"] | {"turn_detection": None}
            }
            session = _GA_SESSION | {"audio": audio, "tools": [_WEATHER_TOOL]}
        else:
            session = _BETA_SESSION | {"turn_detection": None, "tools": [_WEATHER_TOOL]}
        await connection.session.update(session=session)
        await tap.wire.wait_for("session.updated")
        await converse_by_hand(tap.wire, hands, clip)
    await reading
    assert hands.cities == ["Oslo"]
    assert len(hands.errors) == 1


async def test_by_hand(patient_gateway: Gateway, clip: Clips) -> None:
    forward = clip("en_go_forward")
    async with (
        tapped(patient_gateway.port, "ga", "openai-python, GA") as ga,
        tapped(patient_gateway.port, "beta", "openai-python, beta") as beta,
        asyncio.TaskGroup() as both,
    ):
        both.create_task(_converse_by_hand(ga, "ga", forward))
        both.create_task(_converse_by_hand(beta, "beta", forward))
