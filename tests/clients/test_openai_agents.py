"""openai-agents: its runner and session, whose every event goes through strict pydantic models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from agents import function_tool
from agents.realtime import (
    RealtimeAgent,
    RealtimeAudioInterrupted,
    RealtimeError,
    RealtimeHistoryAdded,
    RealtimeHistoryUpdated,
    RealtimeRunner,
    RealtimeSessionEvent,
)
from agents.realtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    InputAudio,
    RealtimeToolCallItem,
    UserMessageItem,
)

from tests.clients.conversation import (
    Clip,
    Microphone,
    expect_interruption,
    expect_reply,
    expect_spoken_turn,
    expect_user_turn,
)
from tests.clients.gateway import Gateway
from tests.clients.wiretap import tapped
from tests.harness import realtime_url

SEMANTIC_SILENCE_MS = 600
"""What the gateway makes of the client's default turn detection, `semantic_vad`."""


async def test_spoken_conversation_with_tool_and_barge_in(
    gateway: Gateway,
    clip: Callable[[str], Clip],
    story_clip: Clip,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cities: list[str] = []

    @function_tool
    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        cities.append(city)
        return "sunny and 21 degrees"

    agent = RealtimeAgent(name="assistant", instructions="Be brief.", tools=[get_weather])
    events: list[RealtimeSessionEvent] = []
    history: list[Any] = []
    changed = asyncio.Event()
    forward, weather = clip("en_go_forward"), clip("en_weather")
    async with tapped(gateway.port, "ga") as tap:
        session = await RealtimeRunner(agent).run(
            model_config={"url": realtime_url(tap.port), "api_key": "test-key"}
        )

        async def read() -> None:
            async for event in session:
                events.append(event)
                if isinstance(event, RealtimeHistoryUpdated):
                    history[:] = event.history
                elif isinstance(event, RealtimeHistoryAdded):
                    history.append(event.item)
                changed.set()

        async with session:
            wire = tap.wire
            reading = asyncio.create_task(read(), name="session reader")
            await wire.wait_for("session.updated")
            async with Microphone.open(session.send_audio, chunk_ms=40) as microphone:
                await microphone.say(forward)
                first = await expect_spoken_turn(wire, forward, silence_ms=SEMANTIC_SILENCE_MS)

                await microphone.say(weather)
                asked = await expect_user_turn(wire, weather, silence_ms=SEMANTIC_SILENCE_MS)
                calling = await expect_reply(wire)
                assert [item["type"] for item in calling.response["output"]] == ["function_call"]
                report = await expect_reply(wire)
                assert "sunny and 21 degrees" in report.transcript

                await microphone.say(story_clip)
                story = await expect_user_turn(wire, story_clip, silence_ms=SEMANTIC_SILENCE_MS)
                cancelled, last = await expect_interruption(
                    wire, microphone.say, forward, silence_ms=SEMANTIC_SILENCE_MS
                )
                (item,) = cancelled.response["output"]
                await wire.wait_for(
                    "conversation.item.truncated", where=lambda e: e["item_id"] == item["id"]
                )
                async with asyncio.timeout(10):
                    while not _ends_with(history, last.reply.transcript):
                        await changed.wait()
                        changed.clear()
        await reading

    assert wire.events_of("error") == []
    assert [event for event in events if isinstance(event, RealtimeError)] == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert cities == ["paris"]
    spoken, heard = [first.reply, report, cancelled, last.reply], []
    for item in history:
        match item:
            case UserMessageItem(content=[InputAudio(transcript=transcript)]):
                heard.append(transcript)
            case AssistantMessageItem(content=[AssistantAudio(transcript=transcript)]):
                # What the user spoke over has been truncated; the rest is whole.
                assert transcript
                assert spoken.pop(0).transcript.startswith(transcript)
            case RealtimeToolCallItem():
                assert (item.name, item.output) == ("get_weather", "sunny and 21 degrees")
            case _:
                raise AssertionError(f"not part of this conversation: {item}")
    assert not spoken
    assert [item.type for item in history].index("function_call") == 3
    assert heard == [first.heard, asked, story, last.heard]
    assert sum(isinstance(event, RealtimeAudioInterrupted) for event in events) >= 1


def _ends_with(history: list[Any], transcript: str) -> bool:
    match history[-1]:
        case AssistantMessageItem(content=[AssistantAudio(transcript=last)]):
            return last == transcript
        case _:
            return False
