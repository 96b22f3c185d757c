"""Gives the client's audio to turn detection and to the recogniser, in the order of commands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from audio_utils import StreamResampler
from core.messages import (
    CloseSegment,
    ConfigureVad,
    DropSegment,
    FeedAudio,
    OpenSegment,
    VadSpeechStarted,
    VadSpeechStopped,
)
from core.turn import silence_window_ms
from protocol import SAMPLE_RATE_HZ, SemanticVad, ServerVad

from .resample import PcmResampler

ENGINE_RATE_HZ: Final = 16_000
"""What turn detection and recognisers are fed."""

AudioCommand = ConfigureVad | FeedAudio | OpenSegment | CloseSegment | DropSegment
VadEvent = VadSpeechStarted | VadSpeechStopped

# Resampling a second takes 0.2 ms. A client may append five minutes in one event.
_SLICE_BYTES: Final = SAMPLE_RATE_HZ * 2

_SEMANTIC_THRESHOLD: Final = 0.5


class VadStreamPort(Protocol):
    """One session's turn detection; positions are 16 kHz samples."""

    def configure(self, *, threshold: float, silence_ms: int) -> None: ...
    def reset(self, position: int) -> None: ...
    def feed(self, samples: NDArray[np.float32]) -> None: ...
    def close(self) -> None: ...


class VadEnginePort(Protocol):
    """The process-wide turn detection engine: `vad_engine.VadEngine`, or a test's."""

    def open(
        self, on_start: Callable[[int], None], on_stop: Callable[[int], None]
    ) -> VadStreamPort: ...


def detection_parameters(detection: ServerVad | SemanticVad) -> tuple[float, int]:
    """Threshold and silence window (ms) of a turn detection setting."""
    threshold = detection.threshold if isinstance(detection, ServerVad) else _SEMANTIC_THRESHOLD
    return threshold, silence_window_ms(detection)


class AudioFeed:
    """Carries out the commands that concern the client's audio, one after another.

    Long audio is worked off in slices, so that the event loop is never held for it; short audio
    that has piled up is joined.

    Args:
        vad: The turn detection engine, shared by all sessions.
        to_recogniser: Queues a frame at the recogniser. It is told a segment's language and
            prompt in the `metadata` of the frame that begins the segment.
        emit: Takes the turn detection events, positions in 24 kHz samples of the session.
    """

    def __init__(
        self,
        vad: VadEnginePort,
        to_recogniser: Callable[[Frame], Awaitable[None]],
        emit: Callable[[VadEvent], None],
    ) -> None:
        self._ear = _Ear(vad, emit)
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


class _Ear:
    """Turn detection of one session: counts samples, so that its positions are the session's."""

    def __init__(self, vad: VadEnginePort, emit: Callable[[VadEvent], None]) -> None:
        self._vad = vad
        self._emit = emit
        self._heard_samples = 0
        self._generation = -1
        self._stream: VadStreamPort | None = None
        self._resampler = _new_resampler()

    def configure(self, command: ConfigureVad) -> None:
        if command.detection is None:
            self.close()
        else:
            threshold, silence_ms = detection_parameters(command.detection)
            fresh = self._stream is None or command.generation != self._generation
            if self._stream is None:
                self._stream = self._vad.open(self._on_start, self._on_stop)
            self._stream.configure(threshold=threshold, silence_ms=silence_ms)
            if fresh:
                self._resampler = _new_resampler()
                self._stream.reset(self._heard_samples * ENGINE_RATE_HZ // SAMPLE_RATE_HZ)
        self._generation = command.generation

    def hear(self, pcm: bytes) -> None:
        self._heard_samples += len(pcm) // 2
        if self._stream is not None:
            ready = self._resampler.process(pcm)
            if ready.size:
                self._stream.feed(ready)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _on_start(self, position: int) -> None:
        self._emit(VadSpeechStarted(self._generation, _session_sample(position)))

    def _on_stop(self, position: int) -> None:
        self._emit(VadSpeechStopped(self._generation, _session_sample(position)))


def _session_sample(position: int) -> int:
    return position * SAMPLE_RATE_HZ // ENGINE_RATE_HZ


def _new_resampler() -> StreamResampler:
    return StreamResampler(SAMPLE_RATE_HZ, ENGINE_RATE_HZ)


def _slices(pcm: bytes) -> Iterator[bytes]:
    if len(pcm) <= _SLICE_BYTES:
        yield pcm
        return
    for start in range(0, len(pcm), _SLICE_BYTES):
        yield pcm[start : start + _SLICE_BYTES]
