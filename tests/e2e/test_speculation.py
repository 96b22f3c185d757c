"""Replies begun in a pause, over the wire: sooner, and otherwise as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pipecat.frames.frames import Frame
from pipecat.processors.aggregators.llm_context import LLMContext

from config import McpSettings
from protocol import ErrorCategory, Stage
from providers.frames import (
    StageFailedFrame,
    ToolCallArgumentsFrame,
    ToolCallEndedFrame,
    ToolCallStartedFrame,
)
from tests.e2e.gateway import HELLO, Gateway, run_gateway, speech
from tests.e2e.mcp_server import McpServer
from tests.e2e.wire import AUDIO, TEXT, configure, lives, order
from tests.fakes import FakeLlm, echo
from tests.harness import BYTES_PER_MS, RealtimeClient
from tests.providers.service_line import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

VAD: dict[str, Any] = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}
TRANSCRIBE: dict[str, Any] = {"input_audio_transcription": {"model": "whisper-1"}}
TIME = {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}}
PAUSE_MS = 300
"""Long enough for a draft, and no end of a turn."""


WORDS = speech("hello")[150 * BYTES_PER_MS : 1100 * BYTES_PER_MS]
"""Without the silence around them, which would be part of a pause."""


def silence(ms: int) -> bytes:
    return bytes(ms * BYTES_PER_MS)


async def pause_after_speech(client: RealtimeClient, llm: FakeLlm) -> None:
    """Say something and pause, until the model was asked for a reply to that."""
    asked = len(llm.contexts)
    await client.append_fast(silence(50) + WORDS + silence(PAUSE_MS))
    await eventually(lambda: len(llm.contexts) > asked)


async def end_turn(client: RealtimeClient) -> None:
    await client.append_fast(silence(1000))


def calls(name: str) -> Any:
    """A model that calls a tool when the user has spoken, and repeats what it says."""

    async def reply(context: LLMContext) -> AsyncIterator[str | Frame]:
        last: Any = context.messages[-1]
        if last["role"] == "tool":
            yield str(last["content"])
            return
        yield ToolCallStartedFrame("call_a", name)
        yield ToolCallArgumentsFrame("call_a", '{"city": "Rome"}')
        yield ToolCallEndedFrame("call_a")

    return reply


def frames(client: RealtimeClient) -> list[str]:
    """What was sent, ids by the order of their first appearance, runs of deltas as one."""
    ids: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        return ids.setdefault(match[0], f"{match[1]}#{len(ids)}")

    told: list[str] = []
    for event in client.events:
        kind: str = event["type"]
        if kind == "error" or kind.startswith("session."):
            continue
        shown = {name: value for name, value in event.items() if name != "event_id"}
        if kind.endswith(".delta"):
            del shown["delta"]
        text = json.dumps(shown, sort_keys=True)
        told.append(re.sub(r"\b(item|resp|conv)_\w+", named, text))
    return [text for text, _ in itertools.groupby(told)]


@pytest.mark.parametrize("modality", [TEXT, AUDIO], ids=["text", "audio"])
async def test_the_wire_is_the_same_with_and_without(
    dialect: Any, modality: dict[str, Any]
) -> None:
    told: list[list[str]] = []
    for speculative in (False, True):
        llm = FakeLlm(echo)
        async with (
            run_gateway(llm=llm, session={"speculative_turns": speculative}) as gateway,
            gateway.connect(dialect) as client,
        ):
            await configure(client, **VAD, **TRANSCRIBE, **modality)
            await client.append_fast(silence(200) + WORDS + silence(PAUSE_MS))
            if speculative:
                await eventually(lambda llm=llm: llm.contexts)
            await lives_without_clearing(client)
            await end_turn(client)
            response = await client.collect_response()
            assert (response.text or response.transcript).strip() == HELLO
            told.append(frames(client))
    assert told[0] == told[1]


async def lives_without_clearing(client: RealtimeClient) -> None:
    """Wait until all that was appended has been answered; the audio stays."""
    await client.send({"type": "conversation.item.delete", "item_id": "nothing"})
    await client.wait_for("error")


async def test_a_reply_begun_in_the_pause_is_the_reply() -> None:
    llm = FakeLlm(echo)
    async with run_gateway(llm=llm) as gateway:
        async with gateway.connect() as client:
            await configure(client, **VAD, **TRANSCRIBE, **TEXT)
            since = len(client.events)
            await pause_after_speech(client, llm)
            await lives_without_clearing(client)
            assert "response.created" not in order(client)
            await end_turn(client)
            assert (await client.collect_response()).text.strip() == HELLO
            told = order(client, since)
            places = [
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "response.created",
                "conversation.item.input_audio_transcription.completed",
                "response.output_item.added",
            ]
            assert [kind for kind in told if kind in places] == places
        await eventually_counted(gateway, used=1)
    assert str(llm.contexts[-1].messages[-1]["content"]) == HELLO  # type: ignore[index]


async def eventually_counted(gateway: Gateway, **outcomes: int) -> None:
    """What `/metrics` says of replies begun early, once the session is over."""
    address = f"http://127.0.0.1:{gateway.port}/metrics"
    async with httpx.AsyncClient(trust_env=False) as client:
        while await gateway.active_sessions():
            pass
        text = (await client.get(address)).text
    for outcome, count in outcomes.items():
        assert f'realtime_speculative_turns_total{{outcome="{outcome}"}} {count}.0' in text


async def test_a_turn_that_goes_on_shows_nothing_of_the_reply() -> None:
    llm = FakeLlm(echo)
    async with run_gateway(llm=llm) as gateway, gateway.connect() as client:
        await configure(client, **VAD, **TRANSCRIBE, **AUDIO)
        await pause_after_speech(client, llm)
        await pause_after_speech(client, llm)
        await lives_without_clearing(client)
        assert not [kind for kind in order(client) if kind.startswith("response.")]
        await end_turn(client)
        await client.collect_response()
        await lives(client)
        assert len(client.events_of("input_audio_buffer.committed")) == 1
        assert len(client.events_of("response.created")) == 1
        assert len(llm.contexts) >= 2


async def test_a_function_is_called_when_the_turn_is_over_and_not_before() -> None:
    llm = FakeLlm(calls("get_time"))
    async with run_gateway(llm=llm) as gateway, gateway.connect() as client:
        await configure(client, **VAD, **TEXT, tools=[TIME])
        await pause_after_speech(client, llm)
        await lives_without_clearing(client)
        assert client.events_of("response.function_call_arguments.done") == []
        await end_turn(client)
        response = await client.collect_response()
        assert [call["name"] for call in response.calls] == ["get_time"]


async def test_an_mcp_tool_is_not_run_for_a_turn_that_goes_on() -> None:
    llm = FakeLlm(calls("weather__get_weather"))
    mcp = McpSettings(allowed_hosts=("127.0.0.1",), allow_private=True, timeout_ms=20_000)
    async with (
        McpServer().running() as server,
        run_gateway(llm=llm, mcp=mcp) as gateway,
        gateway.connect() as client,
    ):
        await configure(client, **VAD, **TEXT, tools=[server.tool()])
        await client.wait_for("mcp_list_tools.completed")
        await pause_after_speech(client, llm)
        await pause_after_speech(client, llm)
        await lives_without_clearing(client)
        assert server.calls == []
        await end_turn(client)
        await client.collect_response()
        await eventually(lambda: server.calls)
        assert server.calls == ["get_weather"]


@pytest.mark.parametrize("off", [{"speculative_turns": False}, {"speculate_after_ms": 800}])
async def test_it_can_be_switched_off(off: dict[str, Any]) -> None:
    llm = FakeLlm(echo)
    async with run_gateway(llm=llm, session=off) as gateway, gateway.connect() as client:
        await configure(client, **VAD, **TEXT)
        await client.append_fast(silence(200) + WORDS + silence(PAUSE_MS))
        await lives_without_clearing(client)
        assert llm.contexts == []
        await end_turn(client)
        await client.collect_response()
        assert len(llm.contexts) == 1


async def test_a_draft_that_fails_is_made_afresh_and_fails_no_turn() -> None:
    async def failing_once(context: LLMContext) -> AsyncIterator[str | Frame]:
        if len(llm.contexts) == 1:
            yield StageFailedFrame(Stage.LLM, ErrorCategory.SERVER, "not now")
            return
        yield "Here I am."

    llm = FakeLlm(failing_once)
    async with run_gateway(llm=llm) as gateway:
        async with gateway.connect() as client:
            await configure(client, **VAD, **TEXT)
            await pause_after_speech(client, llm)
            await lives_without_clearing(client)
            await end_turn(client)
            reply = await client.collect_response()
            assert (reply.status, reply.text.strip()) == ("completed", "Here I am.")
        address = f"http://127.0.0.1:{gateway.port}/metrics"
        async with httpx.AsyncClient(trust_env=False) as http:
            assert "realtime_stage_failures_total{" not in (await http.get(address)).text
