"""Pipecat's own OpenAI Realtime service as the client, in a pipeline as its users build it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMMessagesAppendFrame,
    LLMRunFrame,
    OutputAudioRawFrame,
    StartFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    InputAudioTranscription,
    SessionProperties,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from tests.clients.conversation import (
    Clip,
    Microphone,
    expect_interruption,
    expect_reply,
    expect_user_turn,
    listen,
    rest_of_reply,
)
from tests.clients.gateway import Gateway
from tests.clients.wiretap import tapped

_CLIENT = "Pipecat's OpenAIRealtimeLLMService"
_RATE_HZ = 24_000


class _Loudspeaker(BaseOutputTransport):
    """Pipecat's output transport, which plays in real time and can be interrupted."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_sample_rate=_RATE_HZ))
        self.played_s = 0.0

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        duration_s = frame.num_frames / frame.sample_rate
        await asyncio.sleep(duration_s)
        self.played_s += duration_s
        return True


@dataclass(slots=True)
class _Bot:
    service: OpenAIRealtimeLLMService
    worker: PipelineWorker
    context: LLMContext
    loudspeaker: _Loudspeaker
    errors: list[str] = field(default_factory=list[str])
    turn_ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Role and text of the client's own context; the call's id for a tool call."""
        found: list[tuple[str, str]] = []
        for message in self.context.get_messages():
            assert isinstance(message, dict)
            content = message.get("content")
            if calls := message.get("tool_calls"):
                (call,) = calls
                content = call["id"]
            assert isinstance(content, str)
            found.append((message["role"], content))
        return found

    async def until_said(self, role: str, text: str) -> None:
        """Wait for the last message of its context."""
        async with asyncio.timeout(10):
            while self.messages[-1:] != [(role, text)]:
                await self.turn_ended.wait()
                self.turn_ended.clear()

    async def hear(self, pcm: bytes) -> None:
        frame = InputAudioRawFrame(audio=pcm, sample_rate=_RATE_HZ, num_channels=1)
        await self.worker.queue_frame(frame)


@asynccontextmanager
async def _running_bot(
    port: int, *tools: Any, turn_detection: Literal[False] | None = None
) -> AsyncGenerator[_Bot]:
    """Run a bot until the end of the block.

    Args:
        port: Where the gateway is.
        tools: Functions the model may call.
        turn_detection: False for manual turns, None for those the server detects.
    """
    detection: dict[str, Any] = {} if turn_detection is None else {"turn_detection": False}
    service = OpenAIRealtimeLLMService(
        api_key="test-key",
        base_url=f"ws://127.0.0.1:{port}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(
            system_instruction="Be brief.",
            session_properties=SessionProperties(
                audio=AudioConfiguration(
                    input=AudioInput(transcription=InputAudioTranscription(), **detection)
                ),
            ),
        ),
    )
    context = LLMContext(tools=list(tools))
    user, assistant = LLMContextAggregatorPair(context)
    loudspeaker = _Loudspeaker()
    worker = PipelineWorker(
        Pipeline([user, service, loudspeaker, assistant]),
        params=PipelineParams(audio_in_sample_rate=_RATE_HZ, audio_out_sample_rate=_RATE_HZ),
    )
    bot = _Bot(service, worker, context, loudspeaker)

    @worker.event_handler("on_pipeline_error")
    async def on_pipeline_error(worker: PipelineWorker, frame: ErrorFrame) -> None:
        bot.errors.append(frame.error)

    @assistant.event_handler("on_assistant_turn_stopped")
    async def on_assistant_turn_stopped(*_: Any) -> None:
        bot.turn_ended.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run(), name="pipecat client")
    try:
        yield bot
    finally:
        await worker.cancel()
        await running


async def test_spoken_conversation_with_tool_and_barge_in(
    gateway: Gateway, clip: Callable[[str], Clip], story_clip: Clip
) -> None:
    cities: list[str] = []

    async def get_weather(params: FunctionCallParams, city: str) -> None:
        """Tell the weather of a city.

        Args:
            city: Its name.
        """
        cities.append(city)
        await params.result_callback({"weather": "sunny and 21 degrees"})

    complaints: list[str] = []
    sink = logger.add(lambda message: complaints.append(str(message)), level="WARNING")
    forward, weather = clip("en_go_forward"), clip("en_weather")
    try:
        async with (
            # The handshake of this client tells nothing; its first session.update does.
            tapped(gateway.port, "ga", _CLIENT, marked=False) as tap,
            _running_bot(tap.port, get_weather) as bot,
        ):
            wire = await tap.connected()
            await wire.wait_for("session.updated")
            async with Microphone.open(bot.hear, chunk_ms=20) as microphone:
                # Pipecat sends typed messages that were there when it began, others it keeps.
                bot.context.add_message({"role": "user", "content": "all is well"})
                await bot.worker.queue_frame(LLMRunFrame())
                greeting = await expect_reply(wire)
                assert "all is well" in greeting.transcript
                await microphone.say(weather)
                asked = await expect_user_turn(wire, weather)
                calling = await expect_reply(wire)
                report = await expect_reply(wire)
                await listen(report.audio_ms)

                await microphone.say(story_clip)
                story = await expect_user_turn(wire, story_clip)
                cancelled, last = await expect_interruption(wire, microphone.say, forward)
                (item,) = cancelled.response["output"]
                await wire.wait_for(
                    "conversation.item.truncated", where=lambda e: e["item_id"] == item["id"]
                )
                await bot.until_said("assistant", last.reply.transcript)
    finally:
        logger.remove(sink)

    assert wire.events_of("error") == []
    assert (bot.errors, complaints) == ([], [])
    (call,) = calling.response["output"]
    assert (call["type"], cities) == ("function_call", ["paris"])
    typed, *said = bot.messages
    assert typed == ("user", "all is well")
    # The user has spoken into two replies, of which Pipecat keeps what it has begun to play.
    for position, reply in ((0, greeting), (-3, cancelled)):
        role, words = said.pop(position)
        assert role == "assistant"
        assert words
        assert reply.transcript.startswith(words)
    # The question and the call it led to meet in its context only by chance in their order: one
    # comes by way of the user's aggregator, the other by the assistant's.
    assert ("user", asked) in said[:3]
    said.remove(("user", asked))
    assert said == [
        ("assistant", call["call_id"]),
        ("tool", '{"weather": "sunny and 21 degrees"}'),
        ("assistant", report.transcript),
        ("user", story),
        ("user", last.heard),
        ("assistant", last.reply.transcript),
    ]


async def test_cancel_push_to_talk_and_wrong_event(
    patient_gateway: Gateway, clip: Callable[[str], Clip]
) -> None:
    cities: list[str] = []

    async def get_weather(params: FunctionCallParams, city: str) -> None:
        """Tell the weather of a city.

        Args:
            city: Its name.
        """
        cities.append(city)
        await params.result_callback({"weather": "sunny and 21 degrees"})

    weather = clip("en_weather")
    async with (
        tapped(patient_gateway.port, "ga", _CLIENT, marked=False) as tap,
        _running_bot(tap.port, get_weather, turn_detection=False) as bot,
    ):
        wire = await tap.connected()
        await wire.wait_for("session.updated")
        # The one request of this client that may be refused without an end to its session.
        with pytest.raises(Exception, match="item_of_nobody"):
            await bot.service.retrieve_conversation_item("item_of_nobody")
        assert len(wire.events_of("error")) == 1

        story_wanted: Any = {"role": "user", "content": "tell me a story"}
        await bot.worker.queue_frame(LLMMessagesAppendFrame([story_wanted], run_llm=True))
        story = await wire.wait_for("response.created")
        delta = await wire.wait_for(
            "response.output_audio.delta",
            where=lambda event: event["response_id"] == story["response"]["id"],
        )
        await listen(700)

        # Holding the key clears, cancels and truncates; releasing it commits and asks.
        for _ in range(2):
            await bot.worker.queue_frame(InterruptionFrame())
            await wire.wait_for("input_audio_buffer.cleared")
        cancelled = await rest_of_reply(wire, story["response"]["id"], status="cancelled")
        truncated = await wire.wait_for("conversation.item.truncated")
        assert truncated["item_id"] == delta["item_id"]
        assert 0 < truncated["audio_end_ms"] < cancelled.audio_ms
        await bot.hear(weather.pcm)
        await bot.worker.queue_frame(UserStoppedSpeakingFrame())
        await wire.wait_for("input_audio_buffer.committed")
        calling, report = await expect_reply(wire), await expect_reply(wire)
        await bot.until_said("assistant", report.transcript)

    (call,) = calling.response["output"]
    assert (call["type"], cities) == ("function_call", ["paris"])
    assert "sunny and 21 degrees" in report.transcript
    # The second time there was nothing to cancel, which it knows by the code of the error.
    assert {event["error"]["code"] for event in wire.events_of("error")[1:]} == {
        "response_cancel_not_active"
    }
    assert bot.errors == []
    role, words = bot.messages[1]
    assert role == "assistant"
    assert cancelled.transcript.startswith(words)
