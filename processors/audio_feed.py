"""Gives the client's audio to turn detection and to the recogniser, in the order of commands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from core.messages import (
    CloseSegment,
    ConfigureVad,
    DropSegment,
    FeedAudio,
    OpenSegment,
)
from protocol import SAMPLE_RATE_HZ

from .ear import ENGINE_RATE_HZ, Ear, TurnJudgePort, VadEnginePort, VadEvent
from .resample import PcmResampler

AudioCommand = ConfigureVad | FeedAudio | OpenSegment | CloseSegment | DropSegment

# Resampling a second takes 0.2 ms. A client may append five minutes in one event.
_SLICE_BYTES: Final = SAMPLE_RATE_HZ * 2

class AudioFeed:
    """Carries out the commands that concern the client's audio, one after another.

    Long audio is worked off in slices, so that the event loop is never held for it; short audio
    that has piled up is joined.

    Args:
        vad: The turn detection engine, shared by all sessions.
        judge: Says for `semantic_vad` whether a turn is complete, see `Ear`.
        to_recogniser: Queues a frame at the recogniser. It is told a segment's language and
            prompt in the `metadata` of the frame that begins the segment.
        emit: Takes the turn detection events, positions in 24 kHz samples of the session.
    """

    def __init__(
        self,
        vad: VadEnginePort,
        judge: TurnJudgePort | None,
        to_recogniser: Callable[[Frame], Awaitable[None]],
        emit: Callable[[VadEvent], None],
    ) -> None:
        self._ear = Ear(vad, judge, emit)
        self._to_recogniser = to_recogniser
        self._segment: _OpenSegment | None = None
        self._waiting: deque[AudioCommand] = deque()
        self._arrival = asyncio.Event()

    def put(self, command: AudioCommand) -> None:
        """Take a command; it is carried out in its turn."""
        self._waiting.append(command)
        self._arrival.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._arrival.wait()
                self._arrival.clear()
                while self._waiting:
                    await self._carry_out(self._waiting.popleft())
        finally:
            self._ear.close()

    async def _carry_out(self, command: AudioCommand) -> None:
        match command:
            case FeedAudio():
                for pcm in _slices(self._with_successors(command.pcm)):
                    self._ear.hear(pcm)
                    if self._segment is not None:
                        await self._transcribe(self._segment.resampler.resample(pcm))
                    await asyncio.sleep(0)
            case ConfigureVad():
                self._ear.configure(command)
            case OpenSegment():
                await self._open(command)
            case CloseSegment() | DropSegment():
                if self._segment is not None and self._segment.item_id == command.item_id:
                    await self._close()
            case _:
                assert_never(command)

    def _with_successors(self, pcm: bytes) -> bytes:
        chunks = [pcm]
        size = len(pcm)
        while size < _SLICE_BYTES and self._waiting:
            successor = self._waiting[0]
            if not isinstance(successor, FeedAudio):
                break
            self._waiting.popleft()
            chunks.append(successor.pcm)
            size += len(successor.pcm)
        return pcm if len(chunks) == 1 else b"".join(chunks)

    async def _open(self, command: OpenSegment) -> None:
        if self._segment is not None:
            await self._close()
        resampler = PcmResampler(SAMPLE_RATE_HZ, ENGINE_RATE_HZ)
        self._segment = _OpenSegment(command.item_id, resampler)
        frame = VADUserStartedSpeakingFrame()
        frame.metadata = {"language": command.language, "prompt": command.prompt}
        await self._to_recogniser(frame)
        for pcm in _slices(command.pcm):
            await self._transcribe(resampler.resample(pcm))
            await asyncio.sleep(0)

    async def _close(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            await self._transcribe(segment.resampler.flush())
            # 0 is the measured truth, and keeps Pipecat from timing the recogniser.
            await self._to_recogniser(VADUserStoppedSpeakingFrame(stop_secs=0.0))

    async def _transcribe(self, pcm: bytes) -> None:
        if pcm:
            await self._to_recogniser(InputAudioRawFrame(pcm, ENGINE_RATE_HZ, 1))


@dataclass(frozen=True, slots=True)
class _OpenSegment:
    item_id: str
    resampler: PcmResampler


def _slices(pcm: bytes) -> Iterator[bytes]:
    if len(pcm) <= _SLICE_BYTES:
        yield pcm
        return
    for start in range(0, len(pcm), _SLICE_BYTES):
        yield pcm[start : start + _SLICE_BYTES]
