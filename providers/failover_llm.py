"""Several language models as one: a reply that one cannot begin is given by the next."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from pipecat.adapters.llm.services.open_ai_adapter import OpenAILLMAdapter
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    FunctionCallsStartedFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    StartFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings

from protocol import ProviderError, Stage

from .base import LlmProvider
from .failover_exit import InnerService
from .failover_roster import FailoverProvider
from .frames import (
    ModelFinishedFrame,
    ResponseBeginFrame,
    StageFailedFrame,
    ToolCallArgumentsFrame,
    ToolCallEndedFrame,
    ToolCallStartedFrame,
)

_CONTENT = (LLMTextFrame, ToolCallStartedFrame, FunctionCallsStartedFrame, ModelFinishedFrame)
_REPLY = (*_CONTENT, ToolCallArgumentsFrame, ToolCallEndedFrame, MetricsFrame)

_WITHIN_CLAUSE = " '’-"
_LONGEST_UNMARKED = 80


class FailoverLlmProvider(FailoverProvider[LlmProvider]):
    """Language models in the order of preference."""

    def create_service(self) -> LLMService[Any]:
        return FailoverLlmService(self)


class _Attempt:
    """One model's try at one reply; nothing of it leaves before it has begun.

    Args:
        patient: Whether the reply begins with what may be a whole clause, which is what a voice
            waits for: until then another model can take its place unheard. Otherwise it begins
            with its first content.

    Attributes:
        begun: What comes leaves at once; another model would begin the reply again.
        news: Set by the first content, and by a failure.
    """

    def __init__(self, *, patient: bool) -> None:
        self._patient = patient
        self._text = ""
        self.begun = False
        self.failure: ProviderError | None = None
        self.held: list[Frame] = []
        self.news = asyncio.Event()

    def fail(self, failure: ProviderError) -> None:
        """It will not be completed."""
        self.failure = self.failure or failure
        self.news.set()

    def add(self, frame: Frame) -> list[Frame]:
        """Take a frame of the reply; returns what leaves now."""
        self.held.append(frame)
        if _is_content(frame):
            self.news.set()
            if self._patient and isinstance(frame, LLMTextFrame):
                self._text += frame.text
                self.begun = self.begun or not _is_within_clause(self._text)
            else:
                self.begun = True
        if not self.begun:
            return []
        leaving, self.held = self.held, []
        return leaving


class FailoverLlmService(LLMService[Any]):
    """One session's access to the models."""

    # Pipecat's default too, but it would import it when the first session opens.
    adapter_class = OpenAILLMAdapter

    def __init__(self, provider: FailoverLlmProvider) -> None:
        super().__init__(
            settings=LLMSettings(
                model=None,
                system_instruction=None,
                temperature=None,
                max_tokens=None,
                top_p=None,
                top_k=None,
                frequency_penalty=None,
                presence_penalty=None,
                seed=None,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
            )
        )
        self._roster = provider.roster
        self._deadline_s = provider.deadline_s
        self._attempts: dict[int, _Attempt] = {}
        self._begin: ResponseBeginFrame | None = None
        self._models = [
            InnerService(Stage.LLM, service, partial(self._take, index), partial(self._fail, index))
            for index, service in enumerate(provider.services())
        ]

    @property
    def processors(self) -> list[FrameProcessor]:
        """Those inside of it, as of a pipeline."""
        return [part for model in self._models for part in model.processors]

    async def setup(self, setup: FrameProcessorSetup) -> None:
        await super().setup(setup)
        for model in self._models:
            await model.setup(setup)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        for model in self._models:
            await model.process(frame)

    async def stop(self, frame: EndFrame) -> None:
        await super().stop(frame)
        for model in self._models:
            await model.process(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        for model in self._models:
            await model.process(frame)

    async def cleanup(self) -> None:
        await super().cleanup()
        for model in self._models:
            await model.cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case LLMContextFrame():
                await self._answer(frame)
            case ResponseBeginFrame():
                self._begin = frame
                await self.push_frame(frame, direction)
            case _:
                await self.push_frame(frame, direction)

    async def _answer(self, context: LLMContextFrame) -> None:
        await self.push_frame(LLMFullResponseStartFrame())
        order = self._roster.order()
        for index in order:
            failure = await self._try(index, context, has_backup=index != order[-1])
            if failure is None:
                break
        else:
            await self._push_failure(failure)
        await self.push_frame(LLMFullResponseEndFrame())

    async def _try(
        self, index: int, context: LLMContextFrame, *, has_backup: bool
    ) -> ProviderError | None:
        """Have one model reply; returns why it could not begin to.

        What fails later is pushed as a failure of the reply: another model would begin it again.
        """
        model = self._models[index]
        speaks = self._begin is not None and self._begin.request.speak
        attempt = self._attempts[index] = _Attempt(patient=has_backup and speaks)
        await model.service.set_usable(True)
        if self._begin is not None:
            await model.process(self._begin)
        reply = self.create_task(model.process(context), name=f"reply {index}")
        reply.add_done_callback(lambda task: attempt.news.set())
        try:
            await self._beginning(index, attempt, has_backup)
            if attempt.begun or attempt.failure is None:
                await reply
        finally:
            # Also when an interruption ends this: nothing that is still made is wanted.
            del self._attempts[index]
            if not reply.done():
                await self.cancel_task(reply)
        if attempt.failure is None:
            self._roster.worked(index)
            for frame in attempt.held:
                await self.push_frame(frame)
            return None
        self._roster.failed(index, attempt.failure)
        if attempt.begun:
            await self._push_failure(attempt.failure)
            return None
        return attempt.failure

    async def _beginning(self, index: int, attempt: _Attempt, has_backup: bool) -> None:
        """Wait for the first content, a failure or the end of the reply."""
        try:
            async with asyncio.timeout(self._deadline_s if has_backup else None):
                await attempt.news.wait()
        except TimeoutError:
            attempt.fail(self._roster.late(index))

    async def _take(self, index: int, frame: Frame) -> None:
        attempt = self._attempts.get(index)
        if attempt is None or attempt.failure is not None:
            return
        if isinstance(frame, StageFailedFrame):
            attempt.fail(ProviderError(frame.stage, frame.category, frame.message))
        elif isinstance(frame, _REPLY):
            for each in attempt.add(frame):
                await self.push_frame(each)

    def _fail(self, index: int, failure: ProviderError) -> None:
        if attempt := self._attempts.get(index):
            attempt.fail(failure)

    async def _push_failure(self, failure: ProviderError) -> None:
        await self.push_frame(StageFailedFrame(failure.stage, failure.category, failure.message))


def _is_content(frame: Frame) -> bool:
    """Whether a client would hear or see of it, the plain end of a reply included."""
    return isinstance(frame, _CONTENT) and not (isinstance(frame, LLMTextFrame) and not frame.text)


def _is_within_clause(text: str) -> bool:
    """Whether the text ends no clause yet, however clauses are cut: there is no mark in it."""
    return len(text) <= _LONGEST_UNMARKED and all(
        sign.isalnum() or sign in _WITHIN_CLAUSE for sign in text
    )
