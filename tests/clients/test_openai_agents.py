"""openai-agents: its runner and session, whose every event goes through strict pydantic models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from agents import function_tool
from agents.realtime import (
    RealtimeAgent,
    RealtimeAudioInterrupted,
    RealtimeError,
    RealtimeHistoryAdded,
    RealtimeHistoryUpdated,
    RealtimeModelSendRawMessage,
    RealtimeRunner,
    RealtimeSession,
    RealtimeSessionEvent,
)
from agents.realtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    InputAudio,
    InputText,
    RealtimeToolCallItem,
    UserMessageItem,
)

from tests.clients.conversation import (
    TYPED,
    Clip,
    Microphone,
    converse_by_hand,
    expect_interruption,
    expect_reply,
    expect_spoken_turn,
    expect_user_turn,
)
from tests.clients.gateway import Gateway
from tests.clients.wiretap import tapped
from tests.harness import realtime_url

SEMANTIC_SILENCE_MS = None
"""The client's default is `semantic_vad`, where a model judges when a turn ends."""


@dataclass(slots=True)
class _Application:
    """What an application is told by its session.

    Attributes:
        history: The conversation as the SDK keeps it.
    """

    session: RealtimeSession
    history: list[Any] = field(default_factory=list[Any])
    _events: list[RealtimeSessionEvent] = field(default_factory=list[RealtimeSessionEvent])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Take its events until it is closed."""
        async for event in self.session:
            self._events.append(event)
            if isinstance(event, RealtimeHistoryUpdated):
                self.history[:] = event.history
            elif isinstance(event, RealtimeHistoryAdded):
                self.history.append(event.item)
            self._changed.set()

    def events_of(self, kind: type[Any]) -> list[Any]:
        """Its events of one type."""
        return [event for event in self._events if isinstance(event, kind)]

    async def until_told(self, transcript: str) -> None:
        """Wait until this is the last thing that was said."""
        async with asyncio.timeout(10):
            while True:
                match self.history[-1:]:
                    case [AssistantMessageItem(content=[AssistantAudio(transcript=last)])]:
                        if last == transcript:
                            return
                    case _:
                        pass
                self._changed.clear()
                await self._changed.wait()


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
    forward, weather = clip("en_go_forward"), clip("en_weather")
    async with tapped(gateway.port, "ga", "openai-agents for Python") as tap:
        session = await RealtimeRunner(agent).run(
            model_config={"url": realtime_url(tap.port), "api_key": "test-key"}
        )
        application = _Application(session)
        async with session:
            wire = tap.wire
            reading = asyncio.create_task(application.read(), name="session reader")
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
                await application.until_told(last.reply.transcript)
        await reading

    assert wire.events_of("error") == []
    assert application.events_of(RealtimeError) == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert cities == ["paris"]
    spoken, heard = [first.reply, report, cancelled, last.reply], []
    for item in application.history:
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
    assert [item.type for item in application.history].index("function_call") == 3
    assert heard == [first.heard, asked, story, last.heard]
    assert application.events_of(RealtimeAudioInterrupted)


@dataclass(frozen=True, slots=True)
class _Hands:
    """An application on the SDK that types, and holds a key to talk; see `Hands`."""

    session: RealtimeSession

    async def type(self, text: str) -> None:
        await self.session.send_message(text)

    async def cancel(self) -> None:
        await self.session.interrupt()

    async def talk(self, clip: Clip) -> None:
        await self.session.send_audio(clip.pcm, commit=True)
        await self._send_raw("response.create")

    async def send_nonsense(self) -> None:
        # It sends no event that it does not know itself.
        await self._send_raw("conversation.item.delete", item_id="item_of_another_session")

    async def _send_raw(self, event_type: str, **fields: str) -> None:
        raw = RealtimeModelSendRawMessage(message={"type": event_type, "other_data": fields})
        await self.session.model.send_event(raw)


async def test_by_hand(patient_gateway: Gateway, clip: Callable[[str], Clip]) -> None:
    cities: list[str] = []

    @function_tool
    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        cities.append(city)
        return "sunny and 21 degrees"

    agent = RealtimeAgent(name="assistant", instructions="Be brief.", tools=[get_weather])
    async with tapped(patient_gateway.port, "ga", "openai-agents for Python") as tap:
        session = await RealtimeRunner(agent).run(
            model_config={
                "url": realtime_url(tap.port),
                "api_key": "test-key",
                "initial_model_settings": {"audio": {"input": {"turn_detection": None}}},
            }
        )
        application = _Application(session)
        async with session:
            reading = asyncio.create_task(application.read(), name="session reader")
            await tap.wire.wait_for("session.updated")
            talk = await converse_by_hand(tap.wire, _Hands(session), clip("en_go_forward"))
            await application.until_told(talk.replies[-1].transcript)
        await reading

    assert cities == ["Oslo"]
    assert len(application.events_of(RealtimeError)) == 1
    typed: list[str | None] = []
    replies = list(talk.replies)
    for item in application.history:
        match item:
            case UserMessageItem(content=[InputText(text=text)]):
                typed.append(text)
            case UserMessageItem(content=[InputAudio(transcript=transcript)]):
                assert transcript == talk.heard
            case AssistantMessageItem(content=[AssistantAudio(transcript=transcript)]):
                reply = replies.pop(0)
                assert transcript
                assert reply.transcript.startswith(transcript)
                assert (reply is talk.cancelled) == (transcript != reply.transcript)
            case RealtimeToolCallItem():
                assert (item.name, item.output) == ("get_weather", "sunny and 21 degrees")
            case _:
                raise AssertionError(f"not part of this conversation: {item}")
    assert not replies
    assert tuple(typed) == TYPED
