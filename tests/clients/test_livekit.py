"""LiveKit's OpenAI plugin in a whole `AgentSession` that has a loudspeaker but no room."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, ErrorEvent, RunContext, function_tool, io
from livekit.agents.llm import ChatMessage, RealtimeModelError
from livekit.plugins import openai
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from tests.clients.conversation import (
    Clip,
    Microphone,
    Reply,
    expect_interruption,
    expect_reply,
    expect_user_turn,
    rest_of_reply,
)
from tests.clients.gateway import Gateway
from tests.clients.wiretap import Tap, Wire, tapped
from tests.harness import BYTES_PER_MS

Clips = Callable[[str], Clip]

_RATE_HZ = 24_000
_CHUNK_MS = 20


class _Ear(io.AudioInput):
    """What the microphone hears, as the session takes it."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def hear(self, pcm: bytes) -> None:
        self._frames.put_nowait(rtc.AudioFrame(pcm, _RATE_HZ, 1, len(pcm) // 2))

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class _Loudspeaker(io.AudioOutput):
    """Plays in real time, says when a message is over, and can be silenced."""

    def __init__(self) -> None:
        super().__init__(
            label="loudspeaker",
            capabilities=io.AudioOutputCapabilities(pause=False),
            sample_rate=_RATE_HZ,
        )
        self._queued_s = 0.0
        self._since_s = 0.0
        self._end: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._queued_s:
            self._since_s = time.monotonic()
            self.on_playback_started(created_at=time.time())
        self._queued_s += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._queued_s and self._end is None:
            left_s = self._since_s + self._queued_s - time.monotonic()
            self._end = asyncio.get_running_loop().call_later(left_s, self._finish, False)

    def clear_buffer(self) -> None:
        if self._queued_s:
            self._finish(True)

    def _finish(self, interrupted: bool) -> None:
        played_s = min(time.monotonic() - self._since_s, self._queued_s)
        if self._end is not None:
            self._end.cancel()
        self._queued_s, self._end = 0.0, None
        self.on_playback_finished(playback_position=played_s, interrupted=interrupted)


class _Assistant(Agent):
    """An agent with one tool."""

    def __init__(self) -> None:
        super().__init__(instructions="Be brief.")
        self.cities: list[str] = []

    @function_tool
    async def get_weather(self, context: RunContext, city: str) -> str:
        """Tell the weather of a city."""
        self.cities.append(city)
        return "sunny and 21 degrees"


@dataclass(slots=True)
class _Call:
    """A session at work.

    Attributes:
        errors: What the session has reported to its application.
        user_states: What it has told about the user, with the states before.
    """

    session: AgentSession
    agent: _Assistant
    wire: Wire
    ear: _Ear
    errors: list[ErrorEvent] = field(default_factory=list[ErrorEvent])
    user_states: list[str] = field(default_factory=list[str])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.session.on("error", self.errors.append)
        self.session.on("user_state_changed", lambda e: self.user_states.append(e.new_state))
        self.session.on("conversation_item_added", lambda _: self._changed.set())

    @property
    def said(self) -> list[tuple[str, str, bool]]:
        """Role, text and whether it was interrupted, of every message of the session's history."""
        return [
            (item.role, item.text_content or "", item.interrupted)
            for item in self.session.history.items
            if isinstance(item, ChatMessage)
        ]

    def mirror(self) -> list[str]:
        """The ids of the conversation as the plugin believes the server has it."""
        return [item.id for item in self.agent.realtime_llm_session.chat_ctx.items]

    async def until_said(self, role: str, text: str) -> None:
        """Wait for the last message of the history."""
        async with asyncio.timeout(10):
            while not self.said or self.said[-1][:2] != (role, text):
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def _calling(gateway: Gateway, turn_detection: ServerVad | None) -> AsyncGenerator[_Call]:
    """Run a session on the gateway until the end of the block."""
    async with (
        # Its handshake does not tell the dialect; its first session.update does.
        tapped(gateway.port, "ga", "LiveKit's plugin in an AgentSession", marked=False) as tap,
        _session(tap, turn_detection) as call,
    ):
        yield call


@asynccontextmanager
async def _session(tap: Tap, turn_detection: ServerVad | None) -> AsyncGenerator[_Call]:
    model = openai.realtime.RealtimeModel(
        base_url=f"http://127.0.0.1:{tap.port}/v1",
        api_key="test-key",
        turn_detection=turn_detection,
    )
    session: AgentSession = AgentSession(
        llm=model,
        vad=None,
        # The loudspeaker has no echo that the first seconds would have to be spared from.
        aec_warmup_duration=None,
        turn_handling={
            "turn_detection": "realtime_llm" if turn_detection else "manual",
            # It would need a loudspeaker that can pause.
            "interruption": {"resume_false_interruption": False},
        },
    )
    ear, agent = _Ear(), _Assistant()
    session.input.audio, session.output.audio = ear, _Loudspeaker()
    await session.start(agent, record=False)
    call = _Call(session, agent, await tap.connected(), ear)
    try:
        # Audio settings, instructions and tools each come in an update of their own.
        for _ in range(3):
            await call.wire.wait_for("session.updated")
        yield call
    finally:
        await session.aclose()
        await model.aclose()


def _complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("livekit")
    ]


async def test_spoken_conversation_with_tool_and_barge_in(
    gateway: Gateway, clip: Clips, story_clip: Clip, caplog: pytest.LogCaptureFixture
) -> None:
    weather, forward = clip("en_weather"), clip("en_go_forward")
    async with (
        _calling(gateway, ServerVad(type="server_vad")) as call,
        Microphone.open(call.ear.hear, chunk_ms=_CHUNK_MS) as microphone,
    ):
        wire = call.wire
        await microphone.say(weather)
        asked = await expect_user_turn(wire, weather)
        calling = await expect_reply(wire)
        assert [item["type"] for item in calling.response["output"]] == ["function_call"]
        report = await expect_reply(wire)
        assert "sunny and 21 degrees" in report.transcript
        await call.until_said("assistant", report.transcript)

        await microphone.say(story_clip)
        story = await expect_user_turn(wire, story_clip)
        cancelled, last = await expect_interruption(wire, microphone.say, forward)
        (item,) = cancelled.response["output"]
        await wire.wait_for(
            "conversation.item.truncated", where=lambda event: event["item_id"] == item["id"]
        )
        await call.until_said("assistant", last.reply.transcript)
        mirror = call.mirror()
    # The plugin cancels what the server has cancelled already, and knows the answer to that.
    assert {event["error"]["message"] for event in wire.events_of("error")} <= {
        "Cancellation failed: no active response found"
    }
    assert (call.errors, _complaints(caplog)) == ([], [])
    assert call.agent.cities == ["paris"]
    assert call.user_states.count("speaking") == 3
    assert [said for said in call.said if said[0] == "user"] == [
        ("user", heard, False) for heard in (asked, story, last.heard)
    ]
    told = [said for said in call.said if said[0] == "assistant"]
    assert told == [
        ("assistant", report.transcript, False),
        ("assistant", told[1][1], True),
        ("assistant", last.reply.transcript, False),
    ]
    assert told[1][1]
    assert cancelled.transcript.startswith(told[1][1])
    assert mirror == _server_items(wire)


def _server_items(wire: Wire) -> list[str]:
    """The conversation, as the server's own events tell it."""
    ids: list[str] = []
    for event in wire.events_of("conversation.item.added", "conversation.item.deleted"):
        if event["type"].endswith("deleted"):
            ids.remove(event["item_id"])
        else:
            before = event["previous_item_id"]
            ids.insert(ids.index(before) + 1 if before else 0, event["item"]["id"])
    return ids


async def test_typed_turns_cancel_wrong_event_and_context_sync(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with _calling(gateway, ServerVad(type="server_vad")) as call:
        wire, session = call.wire, call.session

        async def ask(text: str) -> Reply:
            speech = session.generate_reply(user_input=text)
            reply = await expect_reply(wire)
            async with asyncio.timeout(20):
                await speech
            assert call.said[-2:] == [
                ("user", text, False),
                ("assistant", reply.transcript, False),
            ]
            return reply

        assert (await ask("all is well")).transcript

        # A tool call: the plugin finds the response that is meant for it by its metadata.
        speech = session.generate_reply(user_input="what is the weather in Oslo")
        calling, report = await expect_reply(wire), await expect_reply(wire)
        async with asyncio.timeout(20):
            await speech
        assert [item["type"] for item in calling.response["output"]] == ["function_call"]
        assert call.agent.cities == ["Oslo"]
        assert call.said[-1] == ("assistant", report.transcript, False)
        created = [event["response"] for event in wire.events_of("response.created")]
        assert all(response["metadata"]["client_event_id"] for response in created)

        # Cancelled by the application in the middle of a long reply.
        speech = session.generate_reply(user_input="tell me a story")
        started = await wire.wait_for("response.created")
        await wire.wait_for("response.output_audio.delta")
        await asyncio.sleep(1)
        async with asyncio.timeout(10):
            await session.interrupt()
        cancelled = await rest_of_reply(wire, started["response"]["id"], status="cancelled")
        assert cancelled.response["status_details"]["reason"] == "client_cancelled"
        truncated = await wire.wait_for("conversation.item.truncated")
        assert 500 < truncated["audio_end_ms"] < cancelled.audio_ms
        role, told, interrupted = call.said[-1]
        assert (role, interrupted) == ("assistant", True)
        assert cancelled.transcript.startswith(told)

        # A change of the context goes over as deletes and creates, each of them acknowledged.
        context = session.history.copy()
        dropped = context.items.pop(0)
        context.add_message(role="system", content="The user is called Ada.")
        context.items.insert(0, ChatMessage(role="user", content=["good evening"]))
        await call.agent.update_chat_ctx(context)
        kept = [item.id for item in context.items if item.type != "agent_config_update"]
        assert dropped.id not in kept
        assert call.mirror() == _server_items(wire)
        assert [item for item in call.mirror() if item in kept] == [
            item for item in kept if item in call.mirror()
        ]
        assert {context.items[0].id, context.items[-1].id} <= set(call.mirror())

        assert (call.errors, _complaints(caplog)) == ([], [])
        caplog.clear()
        # A wrong event becomes an error the application may ignore; the session lives.
        rt_session: Any = call.agent.realtime_llm_session
        rt_session.send_event({"type": "no.such.event", "event_id": "wrong_1"})
        await wire.wait_for("error", where=lambda event: event["error"]["event_id"] == "wrong_1")
        assert (await ask("still here")).transcript
    (reported,) = call.errors
    assert isinstance(reported.error, RealtimeModelError)
    assert reported.error.recoverable
    assert len(_complaints(caplog)) == 1


async def test_push_to_talk(
    gateway: Gateway, clip: Clips, caplog: pytest.LogCaptureFixture
) -> None:
    forward = clip("en_go_forward")
    async with _calling(gateway, None) as call:
        wire, session = call.wire, call.session

        async def hold_key_and_say(pcm: bytes) -> None:
            session.interrupt()
            session.clear_user_turn()
            await wire.wait_for("input_audio_buffer.cleared")
            size = _CHUNK_MS * BYTES_PER_MS
            for start in range(0, len(pcm), size):
                await call.ear.hear(pcm[start : start + size])
                await asyncio.sleep(0.001)

        await hold_key_and_say(forward.pcm)
        session.commit_user_turn()
        committed = await wire.wait_for("input_audio_buffer.committed")
        heard = await wire.wait_for("conversation.item.input_audio_transcription.completed")
        assert heard["item_id"] == committed["item_id"]
        reply = await expect_reply(wire)
        await call.until_said("assistant", reply.transcript)
    assert wire.events_of("error", "input_audio_buffer.speech_started") == []
    assert (call.errors, _complaints(caplog)) == ([], [])
    assert call.said == [
        ("user", heard["transcript"], False),
        ("assistant", reply.transcript, False),
    ]
