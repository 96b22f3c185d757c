"""Scripted recognition as a Pipecat service: one final a segment, growing interims before it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.worker import PipelineParams
from pipecat.tests.utils import SleepFrame, run_test

from core.messages import Passage
from protocol import ConfigError, TokenLogprob
from providers.recognition import Recognition
from providers.script import Latency, SpokenPassage, SpokenTurn
from providers.scripted_stt import ScriptedSttProvider


def audio(duration_ms: int) -> list[Frame]:
    frame_bytes = bytes(2 * 16 * 20)
    return [InputAudioRawFrame(frame_bytes, 16_000, 1) for _ in range(duration_ms // 20)]


def segment(duration_ms: int) -> list[Frame]:
    return [
        VADUserStartedSpeakingFrame(start_secs=0),
        *audio(duration_ms),
        VADUserStoppedSpeakingFrame(stop_secs=0),
    ]


async def run(
    provider: ScriptedSttProvider, frames: Sequence[Frame]
) -> list[InterimTranscriptionFrame | TranscriptionFrame]:
    await provider.start()
    received, _ = await run_test(
        provider.create_service(),
        frames_to_send=frames,
        pipeline_params=PipelineParams(audio_in_sample_rate=16_000),
        start_timeout=20,
    )
    assert not any(isinstance(frame, InputAudioRawFrame) for frame in received)
    return [
        frame
        for frame in received
        if isinstance(frame, InterimTranscriptionFrame | TranscriptionFrame)
    ]


def finals(frames: Sequence[Frame]) -> list[str]:
    return [frame.text for frame in frames if isinstance(frame, TranscriptionFrame)]


async def test_each_segment_gets_the_next_transcript_and_they_go_round() -> None:
    provider = ScriptedSttProvider(["one two", "", "三"])
    frames = await run(provider, segment(20) * 4)
    assert finals(frames) == ["one two", "", "三", "one two"]
    assert all(frame.finalized for frame in frames if isinstance(frame, TranscriptionFrame))


async def test_each_session_begins_with_the_first() -> None:
    provider = ScriptedSttProvider(["one", "two"])
    assert finals(await run(provider, segment(20))) == ["one"]
    assert finals(await run(provider, segment(20))) == ["one"]


async def test_interims_may_be_behind_the_audio() -> None:
    provider = ScriptedSttProvider(["one two three"], Latency(stt_interim_ms=300))
    frames = await run(provider, segment(800))
    assert [frame.text for frame in frames] == ["one", "one two", "one two three"]
    assert isinstance(frames[-1], TranscriptionFrame)


async def test_interims_grow_by_a_word_as_audio_comes() -> None:
    frames = await run(ScriptedSttProvider(["one two three"]), segment(600))
    assert [frame.text for frame in frames] == ["one", "one two", "one two three"]
    assert [type(frame) for frame in frames] == [
        InterimTranscriptionFrame,
        InterimTranscriptionFrame,
        TranscriptionFrame,
    ]


async def test_nothing_is_told_outside_a_segment() -> None:
    frames = [*audio(1000), VADUserStoppedSpeakingFrame(stop_secs=0), *segment(20), *audio(1000)]
    assert [frame.text for frame in await run(ScriptedSttProvider(["one", "two"]), frames)] == [
        "one"
    ]


async def test_a_segment_begun_anew_keeps_its_transcript() -> None:
    frames = [VADUserStartedSpeakingFrame(start_secs=0), *audio(100), *segment(20), *segment(20)]
    assert finals(await run(ScriptedSttProvider(["one", "two"]), frames)) == ["one", "two"]


TOLD = SpokenTurn(
    text="one two",
    logprobs=(-0.1, -0.2),
    speakers=(SpokenPassage(speaker="A", text="one two", start=0.0, end=0.5),),
)


async def test_what_a_script_states_beside_the_words_is_told_to_who_asks() -> None:
    asking = segment(300)
    asking[0].metadata = {"logprobs": True, "speakers": True}
    frames = await run(ScriptedSttProvider([TOLD]), asking + segment(300))
    hypothesis = next(f for f in frames if isinstance(f, InterimTranscriptionFrame))
    asked, plain = (f for f in frames if isinstance(f, TranscriptionFrame))
    pieces = (TokenLogprob("one", -0.1), TokenLogprob(" two", -0.2))
    assert hypothesis.result == Recognition("one", pieces[:1])
    assert asked.result == Recognition("one two", pieces, (Passage("one two", "A", 0.0, 0.5),))
    assert plain.result == Recognition("one two")


async def test_finals_take_their_time_without_holding_audio_or_order() -> None:
    slept: list[float] = []
    heard_all = asyncio.Event()

    async def sleep(duration_s: float) -> None:
        slept.append(duration_s)
        await heard_all.wait()

    provider = ScriptedSttProvider(["one two", "three four"], Latency(stt_final_ms=80), sleep=sleep)
    asyncio.get_running_loop().call_later(0.05, heard_all.set)
    frames = await run(provider, [*segment(300), *segment(300)])
    assert [frame.text for frame in frames] == ["one", "three", "one two", "three four"]
    assert slept == [0.08, 0.08]


async def test_an_interruption_does_not_take_a_final_away() -> None:
    release = asyncio.Event()

    async def sleep(duration_s: float) -> None:
        await release.wait()

    provider = ScriptedSttProvider(["one"], sleep=sleep)
    asyncio.get_running_loop().call_later(0.1, release.set)
    frames = [*segment(20), SleepFrame(0.02), InterruptionFrame()]
    assert finals(await run(provider, frames)) == ["one"]


async def test_a_script_without_transcripts_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="SCRIPT_FILE"):
        await ScriptedSttProvider([]).start()
