"""Whose audio the recogniser hears, however fast it is appended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
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
    VadSpeechStarted,
    VadSpeechStopped,
)
from processors.audio_feed import AudioFeed
from processors.decimator import Decimator
from processors.vad_engine import VadEngine
from protocol import ServerVad
from providers.frames import SettleFrame
from tests.fakes import FakeVadEngine

MS = 24
LOUD = 8000


class LoudnessModel:
    """Speech is what is loud."""

    def run(self, windows: Any, state: Any) -> tuple[Any, Any]:
        loud = np.abs(windows[:, 64:]).mean(axis=1) > 0.05
        return loud.astype(np.float32), state


def tone(ms: int) -> bytes:
    time = np.arange(ms * MS) / 24_000
    return (LOUD * np.sin(2 * np.pi * 440 * time)).astype("<i2").tobytes()


def silence(ms: int) -> bytes:
    return bytes(2 * ms * MS)


class Feed:
    """An `AudioFeed` driven as the core drives it, from audio appended at once."""

    def __init__(self, vad: Any, frame_ms: int = 100) -> None:
        self.heard: list[float] = []
        self.audio = b""
        self.frames_ms: list[float] = []
        self.settles: list[tuple[int, float]] = []
        self.settled_at: int | None = None
        self.closed = False
        self.events: list[Any] = []
        self.caught_up = 0
        self._rate = 16_000
        self.feed = AudioFeed(
            vad, None, self._to_recogniser, self.events.append, self._count, frame_ms
        )

    def _count(self) -> None:
        self.caught_up += 1

    async def _to_recogniser(self, frame: Frame) -> None:
        match frame:
            case VADUserStartedSpeakingFrame():
                self.heard.append(0.0)
            case InputAudioRawFrame():
                self.heard[-1] += len(frame.audio) / 32
                self.frames_ms.append(len(frame.audio) / 32)
                self.audio += frame.audio
            case VADUserStoppedSpeakingFrame():
                self.settled_at = frame.metadata["settled_at"]
                self.closed = True
            case SettleFrame():
                self.settles.append((frame.sample, self.heard[-1]))
            case _:
                raise AssertionError(frame)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.feed.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  (what is waited for has no event)
                await asyncio.sleep(0)


async def test_words_behind_a_turn_are_not_heard_as_part_of_it() -> None:
    engine = VadEngine(LoudnessModel(), tick_s=0)  # type: ignore[arg-type]  # a double
    feed = Feed(engine)
    audio = silence(500) + tone(1000) + silence(1000) + tone(1000) + silence(1000)
    async with feed.running():
        feed.feed.put(ConfigureVad(0, ServerVad(silence_duration_ms=500)))
        feed.feed.put(FeedAudio(audio))
        await feed.until(lambda: feed.events)
        assert isinstance(feed.events[0], VadSpeechStarted)
        # The core opens the turn with all it has, which is already more than the turn.
        start = 400 * MS
        feed.feed.put(OpenSegment("a", audio[2 * start :]))
        await feed.until(lambda: len(feed.events) >= 2)
        stopped = feed.events[1]
        assert isinstance(stopped, VadSpeechStopped)
        end = stopped.end_sample + 500 * MS
        feed.feed.put(CloseSegment("a", end))
        feed.feed.put(OpenSegment("b", audio[2 * end :]))
        feed.feed.put(CloseSegment("b", len(audio) // 2))
        await feed.until(lambda: len(feed.heard) == 2 and feed.heard[1] > 0)
        await feed.until(lambda: not feed.feed.behind)
        await asyncio.sleep(0.05)
    total_ms = len(audio) / 48 - 400
    assert feed.heard[0] == pytest.approx((end - start) / MS, abs=1)
    assert sum(feed.heard) == pytest.approx(total_ms, abs=1)
    await engine.close()


async def test_without_turn_detection_the_recogniser_hears_audio_as_it_comes() -> None:
    feed = Feed(FakeVadEngine())
    async with feed.running():
        feed.feed.put(OpenSegment("a", b""))
        for _ in range(5):
            feed.feed.put(FeedAudio(tone(100)))
        await feed.until(lambda: feed.heard and feed.heard[0] > 400)
        feed.feed.put(CloseSegment("a", 500 * MS))
        await feed.until(lambda: feed.heard[0] == pytest.approx(500, abs=1))


async def test_a_dropped_segment_is_not_decoded_to_its_end() -> None:
    engine = VadEngine(LoudnessModel(), tick_s=0)  # type: ignore[arg-type]  # a double
    feed = Feed(engine)
    async with feed.running():
        feed.feed.put(ConfigureVad(0, ServerVad()))
        feed.feed.put(FeedAudio(tone(400)))
        feed.feed.put(OpenSegment("a", tone(400)))
        feed.feed.put(DropSegment("a"))
        feed.feed.put(OpenSegment("b", b""))
        await feed.until(lambda: len(feed.heard) == 2)
    assert feed.heard[0] <= 400
    await engine.close()


async def test_it_says_when_it_is_behind_and_when_no_longer() -> None:
    feed = Feed(FakeVadEngine())
    for _ in range(30):
        feed.feed.put(FeedAudio(silence(100)))
    assert feed.feed.behind
    async with feed.running():
        await feed.until(lambda: not feed.feed.behind)
    assert feed.caught_up == 1


async def test_the_words_so_far_are_asked_for_behind_the_audio_they_are_in() -> None:
    feed = Feed(FakeVadEngine())
    async with feed.running():
        for command in (
            FeedAudio(tone(240)),
            OpenSegment("a", tone(240)),
            # Less than a frame.
            FeedAudio(tone(60)),
            SettleSegment("a", 300 * MS),
            SettleSegment("not open", 300 * MS),
            FeedAudio(silence(200)),
            CloseSegment("a", 500 * MS, 300 * MS),
        ):
            feed.feed.put(command)
        await feed.until(lambda: feed.settled_at is not None)
    ((sample, heard_ms),) = feed.settles
    assert sample == 300 * MS
    # All but the millisecond that the new rate lags behind.
    assert heard_ms == 299
    assert feed.settled_at == 300 * MS


@pytest.mark.parametrize(
    ("frame_ms", "frames_ms"), [(100, [99, 100, 100, 100, 40, 1]), (200, [199, 200, 40, 1])]
)
async def test_short_appends_reach_the_recogniser_in_frames_of_their_size(
    frame_ms: int, frames_ms: list[float]
) -> None:
    feed = Feed(FakeVadEngine(), frame_ms)
    async with feed.running():
        feed.feed.put(OpenSegment("a", b""))
        for _ in range(22):
            feed.feed.put(FeedAudio(tone(20)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await feed.until(lambda: len(feed.frames_ms) == len(frames_ms) - 2)
        feed.feed.put(CloseSegment("a", 440 * MS))
        await feed.until(lambda: feed.closed)
    assert feed.frames_ms == frames_ms


@pytest.mark.parametrize("start_ms", [0, 7, 250])
async def test_a_segment_sounds_as_if_there_were_nothing_around_it(start_ms: int) -> None:
    rng = np.random.default_rng(1)
    audio = rng.integers(-9_000, 9_000, 1_000 * MS).astype("<i2").tobytes()
    start, end, fed = start_ms * MS + 1, 600 * MS + 2, 400 * MS
    feed = Feed(FakeVadEngine())
    async with feed.running():
        feed.feed.put(FeedAudio(audio[: 2 * fed]))
        feed.feed.put(OpenSegment("a", audio[2 * start : 2 * fed]))
        feed.feed.put(ConfigureVad(0, ServerVad()))
        feed.feed.put(FeedAudio(audio[2 * fed : 2 * end]))
        feed.feed.put(CloseSegment("a", end))
        feed.feed.put(FeedAudio(audio[2 * end :]))
        await feed.until(lambda: feed.closed)
    decimator = Decimator()
    segment = np.concatenate((decimator.process(audio[2 * start : 2 * end]), decimator.flush()))
    assert feed.audio == float32_to_pcm16(segment)
