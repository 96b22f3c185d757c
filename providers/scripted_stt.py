"""Scripted recognition as a provider: the n-th segment of a session gets the n-th transcript."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from random import Random
from typing import ClassVar

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterimTranscriptionFrame,
    StartFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.utils.time import time_now_iso8601

from protocol import ConfigError

from .frames import answering
from .script import Latency
from .words import tokens

Sleep = Callable[[float], Awaitable[None]]

_INTERIM_BYTES = 2 * 16 * 250
"""Audio per word of the growing hypothesis: 250 ms at 16 kHz."""


class ScriptedSttProvider:
    """Hears nothing; tells its transcripts one after the other, over and over.

    Args:
        transcripts: What the segments of a session say, in their order.
        latency: `stt_final_ms` and its jitter are of interest.
        seed: Where the jitter comes from.
        sleep: How time passes; tests run at speed 0.
    """

    name: ClassVar[str] = "scripted"
    languages: frozenset[str] | None = None

    def __init__(
        self,
        transcripts: Sequence[str],
        latency: Latency | None = None,
        seed: int = 0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._transcripts = tuple(transcripts)
        self._latency = latency or Latency()
        self._seed = seed
        self._sleep = sleep

    def describe(self) -> str:
        return f"scripted: no recognition, tells {len(self._transcripts)} transcripts in turn"

    async def start(self) -> None:
        """Check that there is something to tell.

        Raises:
            ConfigError: the script has no transcripts.
        """
        if not self._transcripts:
            raise ConfigError(
                "SCRIPT_FILE", "STT_PROVIDER=scripted needs a script with a `transcripts` list"
            )

    async def close(self) -> None:
        """Nothing to release."""

    def create_service(self) -> STTService:
        random = Random(self._seed)
        return _ScriptedSttService(self._transcripts, self._latency, random, self._sleep)


class _ScriptedSttService(STTService):
    def __init__(
        self, transcripts: tuple[str, ...], latency: Latency, random: Random, sleep: Sleep
    ) -> None:
        super().__init__(
            audio_passthrough=False,
            ttfs_p99_latency=latency.stt_final_ms / 1000,
            settings=STTSettings(model=None, language=None),
        )
        self._transcripts = transcripts
        self._latency = latency
        self._random = random
        self._sleep = sleep
        self._closed_segments = 0
        self._segment: _Segment | None = None
        self._finals: asyncio.Queue[_Segment | None] = asyncio.Queue()
        self._finals_task: asyncio.Task[None] | None = None

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        self._finals_task = self.create_task(self._push_finals(), name="finals")

    async def stop(self, frame: EndFrame) -> None:
        """Tell what is due, then stop."""
        if self._finals_task is not None:
            self._finals.put_nowait(None)
            await self._finals_task
            self._finals_task = None
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        await self._cancel_finals()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._cancel_finals()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        match frame:
            case VADUserStartedSpeakingFrame():
                text = self._transcripts[self._closed_segments % len(self._transcripts)]
                self._segment = _Segment(frame.metadata.get("segment"), text)
            case VADUserStoppedSpeakingFrame() if self._segment is not None:
                self._finals.put_nowait(self._segment)
                self._segment = None
                self._closed_segments += 1
            case _:
                pass
        await super().process_frame(frame, direction)

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Pipecat's hook: one more word of the hypothesis for each 250 ms of audio."""
        if self._segment is not None and (hypothesis := self._segment.hear(audio)):
            partial = InterimTranscriptionFrame(hypothesis, "", time_now_iso8601())
            yield answering(partial, self._segment.name)

    async def _push_finals(self) -> None:
        """Answer closed segments in their order, off the path of the audio."""
        while (segment := await self._finals.get()) is not None:
            jitter = 1 + self._latency.jitter * self._random.uniform(-1, 1)
            await self._sleep(self._latency.stt_final_ms / 1000 * jitter)
            final = TranscriptionFrame(segment.text, "", time_now_iso8601(), finalized=True)
            await self.push_frame(answering(final, segment.name))

    async def _cancel_finals(self) -> None:
        if self._finals_task is not None:
            await self.cancel_task(self._finals_task)
            self._finals_task = None


class _Segment:
    """One open segment: what it will say, and how much of that has been heard."""

    def __init__(self, name: str | None, text: str) -> None:
        self.name = name
        self.text = text
        self._tokens = tokens(text)
        self._heard_bytes = 0
        self._told = 0

    def hear(self, audio: bytes) -> str | None:
        """Take audio; returns the hypothesis if it has grown."""
        self._heard_bytes += len(audio)
        known = min(self._heard_bytes // _INTERIM_BYTES, len(self._tokens))
        if known == self._told:
            return None
        self._told = known
        return "".join(self._tokens[:known]).strip()
