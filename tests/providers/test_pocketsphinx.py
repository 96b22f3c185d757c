"""pocketsphinx through its real workers and a real pipeline, on recordings and on flite's voice."""

from __future__ import annotations

import asyncio
import os
import signal
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import soxr
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from protocol import ConfigError, ErrorCategory, Stage
from providers.frames import StageFailedFrame
from providers.phrase_model import (
    PhraseModel,
    UnknownWord,
    normalise_phrase,
    select_pronunciations,
)
from providers.pocketsphinx_stt import PocketsphinxProvider

from .service_line import ServiceLine, eventually, running

RATE_HZ = 16_000
FIXTURES = Path(__file__).parents[1] / "fixtures"
PHRASES = ("Hello world!", "what is the weather in Paris?", "tell me a story")

Recordings = Callable[[str, int], bytes]


def fixture_speech(name: str) -> bytes:
    with wave.open(str(FIXTURES / f"{name}.wav")) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2")
        return soxr.resample(samples, clip.getframerate(), RATE_HZ).astype("<i2").tobytes()


def segment(pcm: bytes, chunk_ms: int = 20) -> list[Frame]:
    size = chunk_ms * RATE_HZ // 1000 * 2
    audio = [pcm[start : start + size] for start in range(0, len(pcm), size)]
    return [
        VADUserStartedSpeakingFrame(start_secs=0),
        *[InputAudioRawFrame(chunk, RATE_HZ, 1) for chunk in audio],
        VADUserStoppedSpeakingFrame(stop_secs=0),
    ]


def finals(line: ServiceLine) -> list[str]:
    frames = line.all(TranscriptionFrame)
    assert all(frame.finalized for frame in frames)
    return [frame.text for frame in frames]


async def transcribe(provider: PocketsphinxProvider, *frames: Frame, count: int = 1) -> list[str]:
    async with running(provider.create_service()) as line:
        await line.send(*frames)
        await line.until(lambda: len(finals(line)) == count)
        return finals(line)


@pytest.fixture
async def general() -> AsyncIterator[PocketsphinxProvider]:
    provider = PocketsphinxProvider(workers=2)
    await provider.start()
    yield provider
    await provider.close()


@pytest.fixture
async def phrases() -> AsyncIterator[PocketsphinxProvider]:
    provider = PocketsphinxProvider(mode="phrases", phrases=PHRASES, workers=1)
    await provider.start()
    yield provider
    await provider.close()


async def test_recordings_are_understood_in_the_order_of_their_segments(
    general: PocketsphinxProvider, shared_audio: Recordings
) -> None:
    clips = ["en_go_forward", "en_seven_of_clubs", "en_digits_29340"]
    frames = [frame for clip in clips for frame in segment(shared_audio(clip, RATE_HZ))]
    async with running(general.create_service()) as line:
        await line.send(*frames)
        await line.until(lambda: len(finals(line)) == 3)
        assert finals(line) == [
            "go forward ten meters",
            "seven of clubs",
            "two nine three four zero",
        ]
        interims = line.all(InterimTranscriptionFrame)
        assert interims
        assert all(frame.text for frame in interims)
        wanted = InterimTranscriptionFrame | TranscriptionFrame
        assert isinstance([f for f in line.frames if isinstance(f, wanted)][-1], TranscriptionFrame)
        passed = InputAudioRawFrame | VADUserStartedSpeakingFrame | VADUserStoppedSpeakingFrame
        assert not [frame for frame in line.frames if isinstance(frame, passed)]


@pytest.mark.parametrize("chunk_ms", [20, 3000])
async def test_chunk_size_does_not_matter(
    general: PocketsphinxProvider, shared_audio: Recordings, chunk_ms: int
) -> None:
    frames = segment(shared_audio("en_go_forward", RATE_HZ), chunk_ms)
    assert await transcribe(general, *frames) == ["go forward ten meters"]


async def test_how_sure_it_is_of_each_word_is_told_to_who_asks(
    general: PocketsphinxProvider, shared_audio: Recordings
) -> None:
    plain, asking = (segment(shared_audio("en_go_forward", RATE_HZ)) for _ in range(2))
    asking[0].metadata = {**asking[0].metadata, "logprobs": True}
    async with running(general.create_service()) as line:
        await line.send(*plain, *asking)
        await line.until(lambda: len(finals(line)) == 2)
        without, with_logprobs = (frame.result for frame in line.all(TranscriptionFrame))
    assert without is not None
    assert with_logprobs is not None
    assert without.logprobs == ()
    pieces = [piece.token for piece in with_logprobs.logprobs]
    assert pieces == ["go", " forward", " ten", " meters"]
    assert all(piece.logprob <= 0 for piece in with_logprobs.logprobs)
    assert len({piece.logprob for piece in with_logprobs.logprobs}) > 1


async def test_two_sessions_at_once_do_not_mix(
    general: PocketsphinxProvider, shared_audio: Recordings
) -> None:
    forward = segment(shared_audio("en_go_forward", RATE_HZ))
    clubs = segment(shared_audio("en_seven_of_clubs", RATE_HZ))
    heard = await asyncio.gather(
        *(transcribe(general, *frames) for frames in (forward, clubs, forward, clubs))
    )
    assert heard == [["go forward ten meters"], ["seven of clubs"]] * 2
    pids = {worker.pid for worker in general.workers}
    assert len(pids - {None}) == 2


async def test_ten_seconds_at_once_are_transcribed(
    phrases: PocketsphinxProvider,
) -> None:
    pause = bytes(RATE_HZ)
    speech = (fixture_speech("hello") + pause + fixture_speech("weather") + pause) * 3
    assert len(speech) > 10 * 2 * RATE_HZ
    [text] = await transcribe(phrases, *segment(speech, 15_000))
    assert text.count("hello world") == 3
    assert text.count("what is the weather in paris") == 3


@pytest.mark.parametrize(
    ("clip", "text"),
    [
        ("hello", "hello world"),
        ("weather", "what is the weather in paris"),
        ("story", "tell me a story"),
    ],
)
async def test_phrases_are_understood(phrases: PocketsphinxProvider, clip: str, text: str) -> None:
    assert await transcribe(phrases, *segment(fixture_speech(clip))) == [text]


async def test_other_speech_and_noise_give_an_empty_transcript(
    phrases: PocketsphinxProvider, shared_audio: Recordings
) -> None:
    clips = ["en_digits_29340", "zh_aishell", "noise_office", "silence_white_noise"]
    frames = [frame for clip in clips for frame in segment(shared_audio(clip, RATE_HZ))]
    assert await transcribe(phrases, *frames, count=4) == [""] * 4


@pytest.mark.parametrize("pcm", [b"", bytes(100), bytes(RATE_HZ * 2)])
async def test_nothing_said_gives_an_empty_transcript(
    phrases: PocketsphinxProvider, pcm: bytes
) -> None:
    frames = [*segment(pcm), *segment(fixture_speech("hello"))]
    assert await transcribe(phrases, *frames, count=2) == ["", "hello world"]


async def test_audio_outside_segments_is_not_heard(phrases: PocketsphinxProvider) -> None:
    story = [InputAudioRawFrame(fixture_speech("story"), RATE_HZ, 1)]
    hello = segment(fixture_speech("hello"))
    stop = VADUserStoppedSpeakingFrame(stop_secs=0)
    frames = [*story, stop, *hello, *story, *hello]
    assert await transcribe(phrases, *frames, count=2) == ["hello world", "hello world"]


async def test_a_segment_opened_over_another_drops_it(phrases: PocketsphinxProvider) -> None:
    frames = [*segment(fixture_speech("story"))[:-1], *segment(fixture_speech("hello"))]
    assert await transcribe(phrases, *frames) == ["hello world"]


async def test_an_interruption_leaves_transcripts_alone(phrases: PocketsphinxProvider) -> None:
    frames = [*segment(fixture_speech("story")), InterruptionFrame()]
    assert await transcribe(phrases, *frames) == ["tell me a story"]


async def test_the_end_of_the_pipeline_waits_for_closed_segments(
    phrases: PocketsphinxProvider,
) -> None:
    async with running(phrases.create_service()) as line:
        await line.send(*segment(fixture_speech("story")), EndFrame())
        await line.until(lambda: line.all(EndFrame))
        assert finals(line) == ["tell me a story"]


async def test_hanging_up_cancels_the_utterance(phrases: PocketsphinxProvider) -> None:
    async with running(phrases.create_service()) as line:
        await line.send(*segment(fixture_speech("story"))[:-1])
        await eventually(lambda: phrases.workers[0].load == 1)
    assert phrases.workers[0].load == 0


async def test_a_crash_fails_its_segment_and_the_next_is_heard(
    phrases: PocketsphinxProvider,
) -> None:
    async with running(phrases.create_service()) as line:
        *story, stop = segment(fixture_speech("story"))
        await line.send(*story)
        await line.until(lambda: line.all(InterimTranscriptionFrame))
        pid = phrases.workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: phrases.workers[0].pid is None)
        assert not line.all(StageFailedFrame)
        await line.send(stop, *segment(fixture_speech("hello")))
        await line.until(lambda: finals(line))
        answers = [f for f in line.frames if isinstance(f, StageFailedFrame | TranscriptionFrame)]
        assert [type(frame) for frame in answers] == [StageFailedFrame, TranscriptionFrame]
        failure = line.all(StageFailedFrame)[0]
        assert (failure.stage, failure.category) == (Stage.STT, ErrorCategory.SERVER)
        assert failure.message == "the pocketsphinx worker stopped"
        assert finals(line) == ["hello world"]


async def test_silent_push_to_talk_sessions_do_not_starve_others(
    phrases: PocketsphinxProvider,
) -> None:
    holders = [phrases.create_service() for _ in range(4)]
    *story, stop = segment(fixture_speech("story"))
    async with (
        running(holders[0]) as first,
        running(holders[1]) as second,
        running(holders[2]) as third,
        running(holders[3]) as fourth,
    ):
        lines = [first, second, third, fourth]
        for line in lines:
            await line.send(*story[:60])
            await line.until(lambda line=line: line.all(InterimTranscriptionFrame))
        assert await transcribe(phrases, *segment(fixture_speech("hello"))) == ["hello world"]
        for line in lines:
            await line.send(*story[60:], stop)
            await line.until(lambda line=line: finals(line))
            assert finals(line) == ["tell me a story"]


async def test_close_leaves_no_process(general: PocketsphinxProvider) -> None:
    pid = general.workers[0].pid
    await general.workers[0].wait_ready()
    pid = general.workers[0].pid
    assert pid is not None
    await general.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("language", ["zh", "de-DE", ""])
def test_other_languages_are_refused(language: str) -> None:
    with pytest.raises(ConfigError, match="STT_LANGUAGE"):
        PocketsphinxProvider(language=language)


@pytest.mark.parametrize("language", ["en", "en-US", "EN_gb"])
def test_english_is_accepted(language: str) -> None:
    assert "en" in (PocketsphinxProvider(language=language).languages or ())


async def test_an_unknown_word_refuses_the_start() -> None:
    provider = PocketsphinxProvider(mode="phrases", phrases=("go forward 10 meters",))
    with pytest.raises(ConfigError, match=r"POCKETSPHINX_PHRASES.*'10'"):
        await provider.start()
    await provider.close()


def test_phrases_mode_needs_phrases() -> None:
    with pytest.raises(ConfigError, match="POCKETSPHINX_PHRASES"):
        PocketsphinxProvider(mode="phrases", phrases=(" ", "?!"))


def test_pronunciations_come_with_all_variants() -> None:
    dictionary = ["a AH\n", "a(2) EY\n", "cat K AE T\n", "cats K AE T S\n"]
    assert select_pronunciations(["a cat"], dictionary) == "a AH\na(2) EY\ncat K AE T\n"
    with pytest.raises(UnknownWord, match="dog"):
        select_pronunciations(["a dog"], dictionary)


def test_phrases_are_normalised() -> None:
    assert normalise_phrase('  "What\'s  NEW, Paris?" ') == "what's new paris"


@pytest.mark.parametrize(
    ("text", "probability", "accepted"),
    [
        ("go forward ten meters", 0.26, True),
        ("go forward", 0.3, True),
        ("seven of clubs go forward ten meters", 0.03, True),
        ("go forward ten meters", 1e-5, False),
        ("ten of the forward ten go", 0.5, False),
        ("go go what clubs", 0.5, False),
        ("yes", 0.5, True),
        ("no yes", 0.5, True),
        ("no yes no yes", 0.5, False),
        ("seven", 0.9, False),
        ("", 1.0, False),
    ],
)
def test_what_counts_as_a_phrase(text: str, probability: float, accepted: bool) -> None:
    model = PhraseModel(("go forward ten meters", "seven of clubs", "yes", "no"))
    assert model.accepts(text, probability) is accepted
