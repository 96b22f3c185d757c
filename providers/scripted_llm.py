"""The scripted model as a provider: plays the replies that a script file decides on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar, assert_never, cast

from pipecat.adapters.llm.services.open_ai_adapter import OpenAILLMAdapter
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings

from core.messages import GenerationRequest
from protocol import Stage, Usage

from .frames import (
    ModelFinishedFrame,
    RecordingFrame,
    ResponseBeginFrame,
    StageFailedFrame,
    ToolCallArgumentsFrame,
    ToolCallEndedFrame,
    ToolCallStartedFrame,
)
from .script import Script
from .script_file import DEFAULT_SCRIPT, load_script
from .script_reply import Call, Fail, Finish, Hang, Pause, PlayRecording, SayToken, Step, reply
from .script_rules import Asked, Conversation

Sleep = Callable[[float], Awaitable[None]]
Compose = Callable[[Asked, ResponseBeginFrame | None], Awaitable[Sequence[Step]]]
"""The steps of a reply to what is asked in a response."""

MODEL = "scripted-1"


class ScriptedLlmProvider:
    """Answers from a script file: the same replies each run, tool calls and failures on demand.

    Args:
        source: The script, or the file it is in; None is the shipped one.
        sleep: How time passes; tests run at speed 0.
    """

    name: ClassVar[str] = "scripted"

    def __init__(self, source: Path | Script | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self._path = None if isinstance(source, Script) else source or DEFAULT_SCRIPT
        self._script = source if isinstance(source, Script) else None
        self._sleep = sleep

    def describe(self) -> str:
        where = "a script in memory" if self._path is None else str(self._path)
        return f"{MODEL}: no language model, replies come from {where}"

    async def start(self) -> None:
        """Read the script.

        Raises:
            ConfigError: it cannot be used.
        """
        if self._script is None and self._path is not None:
            self._script = await asyncio.to_thread(load_script, self._path)

    async def close(self) -> None:
        """Nothing to release."""

    @property
    def script(self) -> Script:
        """What it plays; known once it was started."""
        if self._script is None:
            raise RuntimeError("the scripted model was not started")
        return self._script

    def create_service(self) -> ScriptedLlmService:
        return ScriptedLlmService(self.script, self._sleep)


class ScriptedLlmService(LLMService):
    """One session's model."""

    # Pipecat's default too, but it would import it (and the OpenAI SDK, 250 ms) when the first
    # session opens.
    adapter_class = OpenAILLMAdapter

    def __init__(self, script: Script, sleep: Sleep) -> None:
        super().__init__(
            settings=LLMSettings(
                model=MODEL,
                system_instruction=None,
                temperature=None,
                max_tokens=None,
                top_p=None,
                top_k=None,
                frequency_penalty=None,
                presence_penalty=None,
                seed=script.seed,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
            )
        )
        self.compose: Compose = self._by_script
        """Writes each reply."""
        self._script = script
        self._sleep = sleep
        self._begin: ResponseBeginFrame | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case LLMContextFrame():
                # An interruption cancels the task this runs in; what was pushed stays, no end
                # frame follows.
                await self._answer(cast("list[dict[str, Any]]", frame.context.messages))
            case ResponseBeginFrame():
                self._begin = frame
                await self.push_frame(frame, direction)
            case _:
                await self.push_frame(frame, direction)

    async def _by_script(self, asked: Asked, begin: ResponseBeginFrame | None) -> Sequence[Step]:
        return reply(self._script, asked)

    async def _answer(self, messages: list[dict[str, Any]]) -> None:
        request = None if self._begin is None else self._begin.request
        asked = _asked(messages, request)
        latency = _LatencyDraw(self._script, asked.conversation.turn)
        await self.push_frame(LLMFullResponseStartFrame())
        await self._pass(latency.first_token_ms())
        calls = 0
        for step in await self.compose(asked, self._begin):
            match step:
                case SayToken():
                    await self.push_frame(LLMTextFrame(step.text))
                    await self._pass(latency.token_ms())
                case PlayRecording() if asked.speak:
                    await self.push_frame(RecordingFrame(step.text, step.pcm))
                case PlayRecording():
                    await self.push_frame(LLMTextFrame(step.text))
                case Call():
                    calls += 1
                    await self._push_call(step, self._call_id(asked, calls), latency)
                case Pause():
                    await self._pass(step.duration_ms)
                case Hang():
                    await asyncio.Event().wait()
                case Fail():
                    await self.push_frame(StageFailedFrame(Stage.LLM, step.category, step.message))
                case Finish():
                    usage = Usage(
                        input_text_tokens=asked.conversation.tokens,
                        output_text_tokens=step.output_tokens,
                    )
                    await self.push_frame(ModelFinishedFrame(step.reason, usage))
                case _:
                    assert_never(step)
        await self.push_frame(LLMFullResponseEndFrame())

    async def _push_call(self, call: Call, call_id: str, latency: _LatencyDraw) -> None:
        await self.push_frame(ToolCallStartedFrame(call_id, call.name))
        for delta in call.arguments:
            await self.push_frame(ToolCallArgumentsFrame(call_id, delta))
            await self._pass(latency.token_ms())
        await self.push_frame(ToolCallEndedFrame(call_id))

    def _call_id(self, asked: Asked, number: int) -> str:
        """An id that no other call of the session has and a repeated run gives again."""
        begin = self._begin
        owner = f"turn {asked.conversation.turn}" if begin is None else begin.response_id
        return "call_" + hashlib.sha256(f"{owner} {number}".encode()).hexdigest()[:16]

    async def _pass(self, duration_ms: float) -> None:
        # Also for 0 ms: a long reply must give way to other sessions, and to an interruption.
        await self._sleep(duration_ms / 1000)


class _LatencyDraw:
    """The times of one reply, with the jitter that seed and turn give."""

    def __init__(self, script: Script, turn: int) -> None:
        self._latency = script.latency
        self._random = Random(f"{script.seed} {turn}")

    def first_token_ms(self) -> float:
        return self._jittered(self._latency.llm_first_token_ms)

    def token_ms(self) -> float:
        return self._jittered(self._latency.llm_token_ms)

    def _jittered(self, mean_ms: int) -> float:
        return mean_ms * (1 + self._latency.jitter * self._random.uniform(-1, 1))


def _asked(messages: list[dict[str, Any]], request: GenerationRequest | None) -> Asked:
    if request is None:
        return Asked(Conversation.read(messages, ""))
    return Asked(
        conversation=Conversation.read(messages, request.instructions),
        speak=request.speak,
        tools=request.tools,
        tool_choice=request.tool_choice,
        parallel=request.parallel_tool_calls is not False,
        max_tokens=request.max_output_tokens,
        rule_id=(request.metadata or {}).get("rule"),
    )
