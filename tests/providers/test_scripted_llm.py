"""The scripted model as a Pipecat service: frames, time, interruption."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.tests.utils import SleepFrame, run_test

from core.messages import GenerationRequest
from protocol import ConfigError, ErrorCategory, FunctionTool, Stage, Usage
from providers.frames import (
    ModelFinishedFrame,
    ResponseBeginFrame,
    ResponseEndFrame,
    StageFailedFrame,
    ToolCallArgumentsFrame,
    ToolCallEndedFrame,
    ToolCallStartedFrame,
)
from providers.script_file import parse_script
from providers.scripted_llm import ScriptedLlmProvider

SCRIPT = """
version: 1
latency: {llm_first_token_ms: 100, llm_token_ms: 10, jitter: 0.5}
rules:
  - {id: tool, when: {user: {any: [tool]}}, do: [{say: Wait.}, {tool: f, args: {a: "x y"}}]}
  - {id: fail, when: {user: {any: [fail]}}, do: [{say: One two}, {fault: llm.disconnect}]}
  - {id: hang, when: {user: {any: [hang]}}, do: [{say: One}, {fault: llm.hang}]}
  - {id: wait, when: {user: {any: [wait]}}, do: [{wait: 3000}, {say: Done}]}
"""
TOOL = FunctionTool(
    name="f", parameters={"type": "object", "properties": {"a": {"type": "string"}}}
)


class Slept:
    """Time that passes at once and is written down, in milliseconds."""

    def __init__(self) -> None:
        self.durations_ms: list[float] = []

    async def __call__(self, duration_s: float) -> None:
        self.durations_ms.append(duration_s * 1000)
        await asyncio.sleep(0)


def begin(response_id: str, **changes: Any) -> ResponseBeginFrame:
    fields: dict[str, Any] = {
        "messages": (),
        "instructions": "",
        "tools": (TOOL,),
        "tool_choice": "auto",
        "speak": True,
        "voice": "",
        "speed": 1.0,
        "max_output_tokens": None,
        "temperature": 0.8,
        **changes,
    }
    return ResponseBeginFrame(response_id, GenerationRequest(**fields))


def context(text: str) -> LLMContextFrame:
    return LLMContextFrame(LLMContext([{"role": "user", "content": text}]))


def response(response_id: str, text: str, **changes: Any) -> list[Frame]:
    return [begin(response_id, **changes), context(text), ResponseEndFrame(response_id)]


async def run(frames: Sequence[Frame], sleep: Slept | None = None) -> list[Frame]:
    provider = ScriptedLlmProvider(parse_script(SCRIPT), sleep or Slept())
    await provider.start()
    received, _ = await run_test(provider.create_service(), frames_to_send=frames, start_timeout=20)
    await provider.close()
    ours = (LLMTextFrame, LLMFullResponseStartFrame, LLMFullResponseEndFrame, InterruptionFrame)
    return [f for f in received if isinstance(f, ours) or type(f).__module__ == "providers.frames"]


def told(frames: Sequence[Frame]) -> list[str]:
    return [frame.text for frame in frames if isinstance(frame, LLMTextFrame)]


async def test_a_text_reply() -> None:
    frames = await run(response("r1", "hello there"))
    assert [type(frame) for frame in frames] == [
        ResponseBeginFrame,
        LLMFullResponseStartFrame,
        *[LLMTextFrame] * 4,
        ModelFinishedFrame,
        LLMFullResponseEndFrame,
        ResponseEndFrame,
    ]
    assert told(frames) == ["You", " said:", " hello", " there."]
    finished = frames[-3]
    assert isinstance(finished, ModelFinishedFrame)
    assert finished.reason == "stop"
    assert finished.usage == Usage(input_text_tokens=2, output_text_tokens=4)


async def test_a_tool_call_streams_its_arguments() -> None:
    frames = (await run(response("r1", "tool")))[2:-2]
    started = frames[1]
    assert isinstance(started, ToolCallStartedFrame)
    assert started.function_name == "f"
    deltas = [frame for frame in frames if isinstance(frame, ToolCallArgumentsFrame)]
    assert len(deltas) > 1
    assert json.loads("".join(frame.delta for frame in deltas)) == {"a": "x y"}
    ended, finished = frames[-2:]
    assert isinstance(ended, ToolCallEndedFrame)
    assert {started.call_id, ended.call_id, *(frame.call_id for frame in deltas)} == {
        started.call_id
    }
    assert isinstance(finished, ModelFinishedFrame)
    assert finished.reason == "tool_calls"


async def test_call_ids_repeat_between_runs_and_differ_between_responses() -> None:
    def ids(frames: Sequence[Frame]) -> list[str]:
        return [frame.call_id for frame in frames if isinstance(frame, ToolCallStartedFrame)]

    frames = [*response("r1", "tool"), *response("r2", "tool")]
    first, second = ids(await run(frames)), ids(await run(response("r1", "tool")))
    assert len(set(first)) == 2
    assert second == first[:1]


async def test_the_request_sets_limits_and_rule() -> None:
    frames = await run(
        [
            *response("r1", "hello", max_output_tokens=2),
            *response("r2", "hello", metadata={"rule": "tool"}, tool_choice="none"),
        ]
    )
    assert told(frames) == ["You", " said:", "Wait."]
    reasons = [frame.reason for frame in frames if isinstance(frame, ModelFinishedFrame)]
    assert reasons == ["length", "stop"]


async def test_a_context_alone_is_answered_without_tools() -> None:
    assert told(await run([context("hello")])) == ["You", " said:", " hello."]


async def test_a_failure_takes_the_place_of_the_end_of_the_reply() -> None:
    frames = await run(response("r1", "fail"))
    assert told(frames) == ["One", " two"]
    failed, end = frames[-3:-1]
    assert isinstance(failed, StageFailedFrame)
    assert (failed.stage, failed.category) == (Stage.LLM, ErrorCategory.CONNECTIVITY)
    assert isinstance(end, LLMFullResponseEndFrame)
    assert not any(isinstance(frame, ModelFinishedFrame) for frame in frames)


async def test_an_interruption_ends_a_reply_that_hangs_and_the_next_one_is_whole() -> None:
    frames = await run(
        [
            begin("r1"),
            context("hang"),
            SleepFrame(0.05),
            InterruptionFrame(),
            *response("r2", "hello"),
        ]
    )
    at = next(i for i, frame in enumerate(frames) if isinstance(frame, InterruptionFrame))
    assert told(frames[:at]) == ["One"]
    assert told(frames[at:]) == ["You", " said:", " hello."]
    ends = (ModelFinishedFrame, LLMFullResponseEndFrame)
    assert not any(isinstance(frame, ends) for frame in frames[:at])


class Stuck:
    """Time that stands still behind the n-th wait, until the waiting task is cancelled."""

    def __init__(self, free: int) -> None:
        self._free = free
        self.cancelled = False

    async def __call__(self, duration_s: float) -> None:
        self._free -= 1
        if self._free == -1:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True


async def test_an_interruption_in_the_middle_of_a_reply_drops_its_rest() -> None:
    stuck = Stuck(3)
    provider = ScriptedLlmProvider(parse_script(SCRIPT), stuck)
    received, _ = await run_test(
        provider.create_service(),
        frames_to_send=[
            *response("r1", "a b c d e"),
            SleepFrame(0.05),
            InterruptionFrame(),
            *response("r2", "hello"),
        ],
        start_timeout=20,
    )
    assert stuck.cancelled
    assert told(received) == ["You", " said:", " a", "You", " said:", " hello."]


async def test_latency_repeats_with_the_seed_and_keeps_to_the_jitter() -> None:
    first, second = Slept(), Slept()
    await run(response("r1", "hello there"), first)
    await run(response("r1", "hello there"), second)
    assert first.durations_ms == second.durations_ms
    ttft, *rest = first.durations_ms
    assert 50 <= ttft <= 150
    assert len(rest) == 4
    assert all(5 <= duration <= 15 for duration in rest)
    assert len(set(rest)) > 1


async def test_wait_lets_time_pass() -> None:
    slept = Slept()
    assert told(await run(response("r1", "wait"), slept)) == ["Done"]
    assert 3000 in slept.durations_ms


async def test_the_shipped_script_is_the_default() -> None:
    provider = ScriptedLlmProvider()
    await provider.start()
    received, _ = await run_test(
        provider.create_service(),
        frames_to_send=[LLMContextFrame(LLMContext([]))],
        start_timeout=20,
    )
    assert "".join(told(received)).startswith("Hello, this is the scripted voice.")


async def test_a_bad_script_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text("version: 3", encoding="utf-8")
    with pytest.raises(ConfigError, match="SCRIPT_FILE"):
        await ScriptedLlmProvider(path).start()


def test_it_says_that_there_is_no_language_model(tmp_path: Path) -> None:
    told_line = ScriptedLlmProvider(tmp_path / "mine.yaml").describe()
    assert "no language model" in told_line
    assert "mine.yaml" in told_line
