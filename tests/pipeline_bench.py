"""Runs a `PipelineManager` on fakes and reads its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from core.messages import (
    ChatMessage,
    EngineCommand,
    EngineEvent,
    GenerationEnded,
    GenerationFailed,
    GenerationRequest,
    StartResponse,
    StopResponse,
)
from pipeline_manager import EngineSet, PipelineManager

from .fakes import FakeLlm, FakeStt, FakeTts, FakeVadEngine

Event = TypeVar("Event")

PATIENCE_S = 10.0
"""How long an event may take before a test is given up; no test depends on its value."""


@dataclass
class Bench:
    """A running manager; `events` is all it has emitted so far."""

    stt: FakeStt = field(default_factory=FakeStt)
    llm: FakeLlm = field(default_factory=FakeLlm)
    tts: FakeTts = field(default_factory=FakeTts)
    vad: FakeVadEngine = field(default_factory=FakeVadEngine)
    events: list[EngineEvent] = field(default_factory=list[Any])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        engines = EngineSet(self.stt, self.llm, self.tts, self.vad)
        self.manager = PipelineManager(engines, self._take)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        run = asyncio.create_task(self.manager.run())
        try:
            yield self
        finally:
            await self.manager.close()
            await run

    def _take(self, event: EngineEvent) -> None:
        self.events.append(event)
        self._changed.set()

    def do(self, *commands: EngineCommand) -> None:
        for command in commands:
            self.manager.execute(command)

    def ask(self, response_id: str, text: str = "", **changes: Any) -> None:
        out_of_band = changes.pop("out_of_band", False)
        self.do(StartResponse(response_id, out_of_band, request(text, **changes)))

    def stop(self, response_id: str) -> None:
        self.do(StopResponse(response_id))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what has been emitted (or given to a fake) fulfils a condition."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                try:
                    async with asyncio.timeout(0.01):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def until_over(self, *response_ids: str) -> None:
        """Wait until the responses have ended, either way."""

        def over() -> bool:
            ended = {e.response_id for e in self.of(GenerationEnded)}
            failed = {e.response_id for e in self.of(GenerationFailed)}
            return set(response_ids) <= ended | failed

        await self.until(over)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def about(self, response_id: str) -> list[EngineEvent]:
        return [e for e in self.events if getattr(e, "response_id", None) == response_id]


def request(text: str = "", **changes: Any) -> GenerationRequest:
    """A request whose last message is `text`."""
    fields: dict[str, Any] = {
        "messages": (ChatMessage("user", text),),
        "instructions": "",
        "tools": (),
        "tool_choice": "auto",
        "speak": True,
        "voice": "alloy",
        "speed": 1.0,
        "max_output_tokens": None,
        "temperature": 0.8,
    }
    return GenerationRequest(**(fields | changes))
