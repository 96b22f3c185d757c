"""Gives the client's audio to turn detection and to the recogniser, in the order of commands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, assert_never

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from audio_utils import float32_to_pcm16
from core.messages import (
    CloseSegment,
    ConfigureVad,
    DropSegment,
    FeedAudio,
    OpenSegment,
    SettleSegment,
)
from protocol import SAMPLE_RATE_HZ
from providers.frames import SettleFrame

from .decimator import Decimator, Float32
from .ear import ENGINE_RATE_HZ, Ear, TurnJudgePort, VadEnginePort, VadEvent

AudioCommand = ConfigureVad | FeedAudio | OpenSegment | SettleSegment | CloseSegment | DropSegment

# Resampling a second takes 0.1 ms. A client may append five minutes in one event.
_SLICE_BYTES: Final = SAMPLE_RATE_HZ * 2


class AudioFeed:
    """Carries out the commands that concern the client's audio, one after another.

    Long audio is worked off in slices, so that the event loop is never held for it; short audio
    that has piled up is joined. Turn detection hears all audio first: the recogniser gets of an
    open segment only what turn detection has passed, so that however fast audio is appended, no
    word behind the end of a turn is heard as part of it.

    Args:
        vad: The turn detection engine, shared by all sessions.
        judge: Says for `semantic_vad` whether a turn is complete, see `Ear`.
        to_recogniser: Queues a frame at the recogniser. It is told a segment's id, and
            what is known and wanted of it, in the `metadata` of the frame that begins the segment,
            and in that of the frame that ends it the pause behind which nobody spoke.
        emit: Takes the turn detection events, positions in 24 kHz samples of the session.
        caught_up: Called when `behind` has become False.
        frame_ms: How much audio is worth a frame: each costs the recogniser's pipeline several
            task switches, however short it is. What is less is heard with the next, or at once
            when the words are asked for.
    """

    def __init__(
        self,
        vad: VadEnginePort,
        judge: TurnJudgePort | None,
        to_recogniser: Callable[[Frame], Awaitable[None]],
        emit: Callable[[VadEvent], None],
        caught_up: Callable[[], None],
        frame_ms: int = 100,
    ) -> None:
        self._frame_bytes = SAMPLE_RATE_HZ * 2 * frame_ms // 1000
        self._ear = Ear(vad, judge, emit)
        self._to_recogniser = to_recogniser
        self._caught_up = caught_up
        self._segment: _Segment | None = None
        self._waiting: deque[AudioCommand] = deque()
        self._waiting_bytes = 0
        self._fed_samples = 0
        self._arrival = asyncio.Event()
        self._at_rest = False

    @property
    def behind(self) -> bool:
        """Whether enough audio waits; the turns in it should be found before more comes."""
        return self._waiting_bytes > _SLICE_BYTES

    def put(self, command: AudioCommand) -> None:
        """Take a command; it is carried out in its turn, at once where nothing has to wait."""
        if isinstance(command, FeedAudio):
            size_bytes = len(command.pcm)
            if size_bytes <= _SLICE_BYTES and self._may_hear_now:
                self._hear(command.pcm)
                if self._segment is not None and self._ready(self._segment) >= self._frame_bytes:
                    self._arrival.set()
                return
            self._waiting_bytes += size_bytes
        self._waiting.append(command)
        self._arrival.set()

    @property
    def _may_hear_now(self) -> bool:
        """Whether audio can go straight to turn detection: nothing is before it."""
        return self._at_rest and not self._waiting and self._ear.keeps_up

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                self._at_rest = True
                await self._arrival.wait()
                self._at_rest = False
                self._arrival.clear()
                while self._waiting:
                    await self._carry_out(self._waiting.popleft())
                if self._segment is not None:
                    await self._give(self._segment)
        finally:
            self._ear.close()

    async def _carry_out(self, command: AudioCommand) -> None:
        match command:
            case FeedAudio():
                for pcm in _slices(self._with_successors(command.pcm)):
                    await self._feed(pcm)
            case ConfigureVad():
                self._ear.configure(command)
            case OpenSegment():
                await self._open(command)
            case SettleSegment():
                if (segment := self._named(command.item_id)) is not None:
                    await self._give_until(segment, command.sample)
                    await self._to_recogniser(SettleFrame(command.sample))
            case CloseSegment():
                if (segment := self._named(command.item_id)) is not None:
                    await self._close(segment, command.end_sample, command.settled_at)
            case DropSegment():
                if (segment := self._named(command.item_id)) is not None:
                    await self._close(segment, segment.position)
            case _:
                assert_never(command)

    def _named(self, item_id: str) -> _Segment | None:
        """The open segment, if it is that one."""
        segment = self._segment
        return segment if segment is not None and segment.item_id == item_id else None

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

    def _hear(self, pcm: bytes) -> None:
        self._fed_samples += len(pcm) // 2
        if self._segment is not None:
            self._segment.put(pcm)
        self._ear.hear(pcm)

    async def _feed(self, pcm: bytes) -> None:
        self._hear(pcm)
        await self._ear.keep_up()
        if self._segment is not None:
            await self._give(self._segment)
        was_behind = self.behind
        self._waiting_bytes -= len(pcm)
        if was_behind and not self.behind:
            self._caught_up()
        if self._waiting:
            await asyncio.sleep(0)

    async def _open(self, command: OpenSegment) -> None:
        if self._segment is not None:
            await self._close(self._segment, self._segment.position)
        # What was said before now ends where the feed stands.
        start = self._fed_samples - len(command.pcm) // 2
        self._segment = segment = _Segment(command.item_id, start)
        for pcm in _slices(command.pcm):
            segment.put(pcm)
        frame = VADUserStartedSpeakingFrame()
        frame.metadata = {
            "segment": command.item_id,
            "language": command.language,
            "prompt": command.prompt,
            "logprobs": command.logprobs,
            "speakers": command.speakers,
        }
        await self._to_recogniser(frame)
        self._ear.turn_taken(segment.position)
        await self._give(segment)

    def _ready(self, segment: _Segment) -> int:
        """How many bytes the recogniser may hear: it is known whose turn they belong to."""
        settled = self._ear.settled_sample - segment.position
        return min(segment.held_bytes, 2 * settled)

    async def _give(self, segment: _Segment) -> None:
        """Let the recogniser hear what is ready, if that is enough to be worth a frame."""
        ready = self._ready(segment)
        if ready >= self._frame_bytes:
            await self._give_bytes(segment, ready)

    async def _give_until(self, segment: _Segment, end: int | None) -> None:
        """Let the recogniser hear all that the segment holds up to a position; None means all."""
        held = segment.held_bytes
        await self._give_bytes(
            segment, held if end is None else min(held, 2 * (end - segment.position))
        )

    async def _give_bytes(self, segment: _Segment, size_bytes: int) -> None:
        while size_bytes > 0:
            pcm = segment.take(min(size_bytes, _SLICE_BYTES))
            size_bytes -= len(pcm)
            await self._transcribe(segment.decimator.process(pcm))
            await asyncio.sleep(0)

    async def _close(
        self, segment: _Segment, end: int | None, settled_at: int | None = None
    ) -> None:
        await self._give_until(segment, end)
        self._segment = None
        self._ear.turn_taken(segment.position)
        await self._transcribe(segment.decimator.flush())
        # 0 is the measured truth, and keeps Pipecat from timing the recogniser.
        frame = VADUserStoppedSpeakingFrame(stop_secs=0.0)
        frame.metadata = {"settled_at": settled_at}
        await self._to_recogniser(frame)

    async def _transcribe(self, samples: Float32) -> None:
        if samples.size:
            pcm = float32_to_pcm16(samples)
            await self._to_recogniser(InputAudioRawFrame(pcm, ENGINE_RATE_HZ, 1))


class _Segment:
    """Audio for the recogniser, of which it hears nothing else: the rate is changed per segment.

    Args:
        item_id: The item it is of.
        start: Position of its first sample.
    """

    __slots__ = ("_held", "decimator", "held_bytes", "item_id", "position")

    def __init__(self, item_id: str, start: int) -> None:
        self.item_id = item_id
        self.decimator = Decimator()
        self.position = start
        """Position of the next sample to take."""
        self.held_bytes = 0
        self._held: deque[bytes] = deque()

    def put(self, pcm: bytes) -> None:
        """Hold more audio."""
        self._held.append(pcm)
        self.held_bytes += len(pcm)

    def take(self, size_bytes: int) -> bytes:
        """The next audio; there must be as much, and it is whole samples."""
        parts: list[bytes] = []
        missing = size_bytes
        while missing:
            part = self._held.popleft()
            if len(part) > missing:
                self._held.appendleft(part[missing:])
                part = part[:missing]
            parts.append(part)
            missing -= len(part)
        self.held_bytes -= size_bytes
        self.position += size_bytes // 2
        return b"".join(parts)


def _slices(pcm: bytes) -> Iterator[bytes]:
    for start in range(0, len(pcm), _SLICE_BYTES):
        yield pcm[start : start + _SLICE_BYTES] if len(pcm) > _SLICE_BYTES else pcm
