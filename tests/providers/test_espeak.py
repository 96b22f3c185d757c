"""The espeak-ng voice through its real worker and a real pipeline."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
from pipecat.frames.frames import (
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
)
from pipecat.utils.text.base_text_aggregator import TextType

from core.messages import WordTime
from protocol import ConfigError, ErrorCategory, Stage
from providers.espeak_tts import EspeakProvider
from providers.frames import (
    ClauseFrame,
    ResponseBeginFrame,
    ResponseEndFrame,
    StageFailedFrame,
    WordTimesFrame,
)
from providers.voices import API_VOICES, Catalogue, Voice, split_by_script
from providers.word_timeline import WordTimeline
from providers.worker_channel import BOOT_REQUEST, HEADER, Kind, encode_frame

from .service_line import ServiceLine, eventually, generation_request, running

BYTES_PER_MS = 48
SENTENCE = "The quick brown fox jumps over the lazy dog."


@pytest.fixture
async def provider() -> AsyncIterator[EspeakProvider]:
    provider = EspeakProvider()
    await provider.start()
    yield provider
    await provider.close()


def clause(text: str) -> ClauseFrame:
    return ClauseFrame(text, TextType.SENTENCE, exact=f"{text} ")


def turn(response_id: str, *clauses: ClauseFrame, voice: str = "", speed: float = 1.0):
    return (
        ResponseBeginFrame(response_id, generation_request(voice=voice, speed=speed)),
        LLMFullResponseStartFrame(),
        *clauses,
        LLMFullResponseEndFrame(),
        ResponseEndFrame(response_id),
    )


async def speak(
    provider: EspeakProvider, text: str, *, voice: str = "", speed: float = 1.0
) -> tuple[bytes, list[WordTime]]:
    async with running(provider.create_service()) as line:
        await line.send(*turn("r1", clause(text), voice=voice, speed=speed))
        await line.until(lambda: line.all(ResponseEndFrame))
        audio = line.all(TTSAudioRawFrame)
        assert {(frame.sample_rate, frame.num_channels) for frame in audio} == {(24_000, 1)}
        words = [word for frame in line.all(WordTimesFrame) for word in frame.words]
        return b"".join(frame.audio for frame in audio), words


def kinds(line: ServiceLine) -> list[str]:
    """The order of what matters, equal neighbours merged."""
    wanted = (
        ResponseBeginFrame | ClauseFrame | WordTimesFrame | TTSAudioRawFrame
        | StageFailedFrame | LLMFullResponseEndFrame | ResponseEndFrame
    )  # fmt: skip
    names = [type(frame).__name__ for frame in line.frames if isinstance(frame, wanted)]
    return [name for i, name in enumerate(names) if i == 0 or name != names[i - 1]]


def pitch_and_brightness_hz(pcm: bytes) -> tuple[float, float]:
    """Medians over the loud 40 ms windows: pitch by autocorrelation, centre of the spectrum."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    pitches: list[float] = []
    centres: list[float] = []
    for start in range(0, len(samples) - 960, 480):
        window = samples[start : start + 960]
        window = window - window.mean()
        if np.abs(window).max() < 2000:
            continue
        spectrum = np.abs(np.fft.rfft(window * np.hanning(960)))
        centres.append((spectrum * np.fft.rfftfreq(960, 1 / 24_000)).sum() / spectrum.sum())
        correlation = np.correlate(window, window, "full")[959:]
        lag = int(np.argmax(correlation[60:400])) + 60
        if correlation[lag] > 0.5 * correlation[0]:
            pitches.append(24_000 / lag)
    return float(np.median(pitches)), float(np.median(centres))


async def test_clauses_come_in_order_with_words_ahead_and_the_end_at_once(
    provider: EspeakProvider,
) -> None:
    clauses = [clause("Hello there."), clause(" \n"), clause("How are you?")]
    async with running(provider.create_service()) as line:
        # An audio context that nobody ends would hold the second response back for good.
        await line.send(*turn("r1", *clauses), *turn("r2", clause("Fine.")))
        await line.until(lambda: len(line.all(ResponseEndFrame)) == 2)
        spoken = ["ClauseFrame", "WordTimesFrame", "TTSAudioRawFrame"]
        assert kinds(line) == [
            "ResponseBeginFrame",
            *spoken,
            *spoken,
            "LLMFullResponseEndFrame",
            "ResponseEndFrame",
            "ResponseBeginFrame",
            *spoken,
            "LLMFullResponseEndFrame",
            "ResponseEndFrame",
        ]
        assert [id(frame) for frame in line.all(ClauseFrame)[:3]] == [
            id(frame) for frame in clauses
        ]


async def test_a_turn_without_clauses_ends(provider: EspeakProvider) -> None:
    async with running(provider.create_service()) as line:
        await line.send(*turn("r1"))
        await line.until(lambda: line.all(ResponseEndFrame))
        assert line.all(TTSAudioRawFrame) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there, how are you?", ["Hello", "there", "how", "are", "you"]),
        ("你好，世界。", ["你", "好", "世", "界"]),
        ("我叫小明, my name is Ming. 高兴!", [*"我叫小明", "my", "name", "Ming", *"高兴"]),
    ],
)  # fmt: skip
async def test_word_times_rise_within_the_audio(
    provider: EspeakProvider, text: str, expected: list[str]
) -> None:
    pcm, words = await speak(provider, text)
    spoken = [text[word.start : word.end] for word in words]
    assert [word for word in spoken if word in expected] == expected
    times = [word.start_ms for word in words]
    assert times == sorted(times)
    assert times[0] < 50
    assert times[-1] < len(pcm) / BYTES_PER_MS
    starts = [word.start for word in words]
    assert starts == sorted(set(starts))


async def test_chinese_in_an_english_clause_is_spoken_in_chinese(provider: EspeakProvider) -> None:
    # An English voice says "Chinese letter" for each of them, which takes far longer.
    mixed, words = await speak(provider, "Say 你好世界你好世界 now.")
    chinese, _ = await speak(provider, "你好世界你好世界", voice="zh-CN")
    start, end = words[1].start_ms, words[-1].start_ms
    assert abs((end - start) - len(chinese) / BYTES_PER_MS) < 300
    assert len(mixed) / BYTES_PER_MS > end


async def test_voices_of_the_api_sound_different(provider: EspeakProvider) -> None:
    sounds = {
        voice: pitch_and_brightness_hz((await speak(provider, SENTENCE, voice=voice))[0])
        for voice in API_VOICES
    }
    for (one, first), (other, second) in combinations(sounds.items(), 2):
        pitch, brightness = (max(pair) / min(pair) for pair in zip(first, second, strict=True))
        assert pitch > 1.03 or brightness > 1.08, (one, other)


async def test_unknown_voice_falls_back_and_is_logged_once(
    provider: EspeakProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        pcm, _ = await speak(provider, "Hello.", voice="nobody")
        assert len(pcm) > 300 * BYTES_PER_MS
    assert [record for record in caplog.messages if "nobody" in record] == [
        "espeak-ng has no voice 'nobody'; en-us speaks instead"
    ]


async def test_speed_scales_the_rate(provider: EspeakProvider) -> None:
    lengths = [len((await speak(provider, SENTENCE, speed=speed))[0]) for speed in (1.5, 1.0, 0.5)]
    assert lengths[0] * 1.2 < lengths[1] < lengths[2] / 1.5


@pytest.mark.parametrize("text", ["a\0b", "\ud800 broken", "🙂", "<speak>[[x]] & y", "!"])
async def test_odd_text_is_spoken_or_passed_over(provider: EspeakProvider, text: str) -> None:
    pcm, _ = await speak(provider, text)
    assert len(pcm) % 2 == 0


async def test_a_crash_fails_its_turn_in_band_and_the_next_one_is_spoken(
    provider: EspeakProvider,
) -> None:
    async with running(provider.create_service()) as line:
        assert provider.worker.pid is not None
        os.kill(provider.worker.pid, signal.SIGSTOP)
        await line.send(*turn("r1", clause("One."), clause("Two.")))
        await eventually(lambda: provider.worker.load)
        os.kill(provider.worker.pid, signal.SIGKILL)
        await line.until(lambda: line.all(ResponseEndFrame))
        assert kinds(line) == [
            "ResponseBeginFrame",
            "ClauseFrame",
            "StageFailedFrame",
            "ClauseFrame",
            "LLMFullResponseEndFrame",
            "ResponseEndFrame",
        ]
        failure = line.all(StageFailedFrame)[0]
        assert (failure.stage, failure.category) == (Stage.TTS, ErrorCategory.SERVER)
        assert failure.message == "the espeak worker stopped"
        await line.send(*turn("r2", clause("Three.")))
        await line.until(lambda: len(line.all(ResponseEndFrame)) == 2)
        assert line.all(TTSAudioRawFrame)


async def test_a_hung_engine_is_a_timeout(provider: EspeakProvider) -> None:
    assert provider.worker.pid is not None
    os.kill(provider.worker.pid, signal.SIGSTOP)
    async with running(provider.create_service()) as line:
        await line.send(*turn("r1", clause("One.")))
        await line.until(lambda: line.all(ResponseEndFrame))
        assert [frame.category for frame in line.all(StageFailedFrame)] == [ErrorCategory.TIMEOUT]


async def test_interruption_cancels_in_the_worker(provider: EspeakProvider) -> None:
    async with running(provider.create_service()) as line:
        pid = provider.worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await line.send(*turn("r1", clause(SENTENCE * 1000)))
        await line.until(lambda: line.all(LLMFullResponseStartFrame))
        await eventually(lambda: provider.worker.load)
        await line.send(InterruptionFrame())
        await eventually(lambda: not provider.worker.load)
        os.kill(pid, signal.SIGCONT)
        await line.send(*turn("r2", clause("Hello.")))
        await line.until(lambda: line.all(ResponseEndFrame))
        assert [frame.response_id for frame in line.all(ResponseEndFrame)] == ["r2"]
        assert sum(len(frame.audio) for frame in line.all(TTSAudioRawFrame)) < 2000 * BYTES_PER_MS
        assert provider.worker.pid == pid


def test_the_worker_stops_speaking_what_is_cancelled() -> None:
    def order(text: str) -> bytes:
        return json.dumps({"text": text, "voice": "", "rate_wpm": 170}).encode()

    worker = subprocess.Popen(
        [sys.executable, "-m", "providers.espeak_worker"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    frames = [
        encode_frame(Kind.CONFIGURE, BOOT_REQUEST, b'{"voice": "en-us"}'),
        encode_frame(Kind.OPEN, 1, order(SENTENCE * 400)),
    ]
    worker.stdin.write(b"".join(frames))
    worker.stdin.flush()
    spoken_bytes = 0
    while True:
        # The pipe holds little: the worker cannot be far ahead of what is read here.
        length, kind, request_id = HEADER.unpack(worker.stdout.read(HEADER.size))
        worker.stdout.read(length)
        if (request_id, kind) == (2, Kind.DONE):
            break
        if (request_id, kind) == (1, Kind.PCM):
            if not spoken_bytes:
                frames = [encode_frame(Kind.CANCEL, 1), encode_frame(Kind.OPEN, 2, order("Hi."))]
                worker.stdin.write(b"".join(frames))
                worker.stdin.flush()
            spoken_bytes += length
    whole_bytes = 400 * 2500 * BYTES_PER_MS
    assert 0 < spoken_bytes < whole_bytes / 4
    worker.stdin.close()
    assert worker.wait(timeout=30) == 0
    worker.stdout.close()


async def test_a_long_text_begins_before_it_is_done(provider: EspeakProvider) -> None:
    with provider.open(SENTENCE * 40, "", 1.0) as request:
        answers = [kind async for kind, _ in request]
    assert answers[0] is Kind.WORDS
    assert answers.count(Kind.WORDS) > 10
    assert answers[-1] is Kind.DONE


async def test_sessions_at_once_get_their_own_clauses(provider: EspeakProvider) -> None:
    texts = [" ".join(["word"] * count) for count in range(1, 9)]
    spoken = await asyncio.gather(*(speak(provider, text) for text in texts))
    assert [len(words) for _, words in spoken] == list(range(1, 9))
    assert [len(pcm) for pcm, _ in spoken] == sorted(len(pcm) for pcm, _ in spoken)


async def test_unknown_configured_voice_refuses_the_start() -> None:
    provider = EspeakProvider(voice="nobody")
    with pytest.raises(ConfigError, match="TTS_VOICE"):
        await provider.start()
    await provider.close()


async def test_close_leaves_no_process() -> None:
    provider = EspeakProvider()
    await provider.start()
    pid = provider.worker.pid
    assert pid is not None
    await provider.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_data_path_too_long_for_espeak_works(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path_factory.mktemp("deep") / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    package = Path(espeakng_loader.__file__).parent
    # Not one link to the package: that would be resolved to the short path it points at.
    data = deep / "espeakng_loader" / "espeak-ng-data"
    data.mkdir(parents=True)
    for entry in package.iterdir():
        if entry.name != data.name:
            (data.parent / entry.name).symlink_to(entry)
    for entry in (package / data.name).iterdir():
        (data / entry.name).symlink_to(entry)
    monkeypatch.setenv("PYTHONPATH", str(deep))
    provider = EspeakProvider()
    await provider.start()
    pcm, _ = await speak(provider, "Hello.")
    assert len(pcm) > 300 * BYTES_PER_MS
    await provider.close()


CATALOGUE = Catalogue(
    {"en-us": "en-US", "en-gb": "en", "en": "en", "cmn": "cmn", "yue": "yue", "de": "de"},
    {"f3": "f3", "annie": "Annie"},
)


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ("en-US", Voice("en-US")),
        ("en_us+f3", Voice("en-US", "f3")),
        ("de+annie", Voice("de", "Annie")),
        ("de-AT", Voice("de")),
        ("zh-CN", Voice("cmn")),
        ("zh", Voice("cmn")),
        ("zh-HK", Voice("yue")),
        ("marin", Voice("en-US", "f3")),
        ("Sage", Voice("en-US", "Annie")),
        ("de+nobody", None),
        ("de-luxe-voice", None),
        ("nobody", None),
        ("", None),
    ],
)
def test_voice_names(requested: str, expected: Voice | None) -> None:
    assert CATALOGUE.find(requested, Voice("en-US")) == expected


ENGLISH, MANDARIN = Voice("en-US", "f3"), Voice("cmn", "f3")


@pytest.mark.parametrize(
    ("text", "voice", "expected"),
    [
        ("Hello, 12!", ENGLISH, [(0, "Hello, 12!", ENGLISH)]),
        ("你好。", ENGLISH, [(0, "你好。", MANDARIN)]),
        ("“今天25度” is it", ENGLISH, [(0, "“今天25度” ", MANDARIN), (8, "is it", ENGLISH)]),
        ("Hi 你", MANDARIN, [(0, "Hi ", Voice("de", "f3")), (3, "你", MANDARIN)]),
        ("你", Voice("yue"), [(0, "你", Voice("yue"))]),
        ("...", ENGLISH, [(0, "...", ENGLISH)]),
    ],
)
def test_text_is_cut_by_script(
    text: str, voice: Voice, expected: list[tuple[int, str, Voice]]
) -> None:
    runs = split_by_script(text, voice, Voice("de"))
    assert [(run.start, run.text, run.voice) for run in runs] == expected


@pytest.mark.parametrize(
    ("text", "events", "end_ms", "expected"),
    [
        ("It is 42.", [(0, 2, 0), (3, 2, 100), (6, 2, 200), (6, 2, 300)], 900,
         [(0, 2, 0), (3, 5, 100), (6, 8, 200)]),
        ("你好吗", [(0, 1, 0), (2, 1, 400)], 600, [(0, 1, 0), (1, 2, 200), (2, 3, 400)]),
        ("你好", [(0, 1, 0)], 3000, [(0, 1, 0), (1, 2, 300)]),
        ("I live", [(0, 1, 0), (2, 4, 90), (3, 4, 300)], 900, [(0, 1, 0), (2, 6, 90)]),
        ("one two", [(0, 3, 50), (4, 3, 40)], 900, [(0, 3, 50), (4, 7, 50)]),
        ("one", [(0, 3, 0), (9, 3, 40)], 900, [(0, 3, 0)]),
        ("", [], 7, []),
    ],
)  # fmt: skip
def test_word_events_become_word_times(
    text: str,
    events: list[tuple[int, int, int]],
    end_ms: int,
    expected: list[tuple[int, int, int]],
) -> None:
    timeline = WordTimeline(text)
    for event in events:
        timeline.add(*event)
    timeline.finish(end_ms)
    assert timeline.take() == expected
    assert timeline.take() == []
