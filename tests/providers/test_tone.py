"""The tone voice: exact times, the same bytes everywhere, and its Pipecat service."""

from __future__ import annotations

import asyncio
import hashlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import (
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
)
from pipecat.tests.utils import run_test
from pipecat.utils.text.base_text_aggregator import TextType

from core.messages import GenerationRequest, WordTime
from providers import tone
from providers.frames import ClauseFrame, ResponseBeginFrame, ResponseEndFrame, WordTimesFrame
from providers.script import Latency
from providers.tone_tts import ToneProvider

BYTES_PER_MS = 48


@pytest.mark.parametrize(
    ("text", "speed", "words", "duration_ms"),
    [
        ("Hi you", 1.0, [(0, 2, 0), (3, 6, 170)], 170 + 225),
        ("Hi you", 0.25, [(0, 2, 0), (3, 6, 680)], 680 + 900),
        ("Hi you", 1.5, [(0, 2, 0), (3, 6, 113)], 113 + 150),
        (' "Hi," - you!', 1.0, [(2, 4, 0), (9, 12, 170)], 170 + 225),
        ("你好，OK。", 1.0, [(0, 1, 0), (1, 2, 115), (3, 5, 230)], 230 + 170),
        ("...", 1.0, [], 60),
    ],
)
def test_word_times_are_exact(
    text: str, speed: float, words: list[tuple[int, int, int]], duration_ms: int
) -> None:
    pcm, times = tone.render(text, speed)
    assert times == tuple(WordTime(*word) for word in words)
    assert len(pcm) == duration_ms * BYTES_PER_MS


def test_each_word_sounds_at_its_pitch_from_its_start() -> None:
    text = "Hello wonderful world"
    pcm, words = tone.render(text)
    samples = np.frombuffer(pcm, "<i2").astype(float)
    ends = [word.start_ms for word in words[1:]] + [len(pcm) // BYTES_PER_MS]
    for word, end_ms in zip(words, ends, strict=True):
        sound = samples[word.start_ms * 24 : end_ms * 24]
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 24_000))
        pitch_hz = tone.pitch_hz(text[word.start : word.end])
        assert abs(int(spectrum.argmax()) - pitch_hz) <= 1
        assert 440 <= pitch_hz <= 880
        assert abs(sound[0]) < 100
        assert abs(sound[-1]) < 100
        assert np.abs(sound).max() > 7000


def test_the_pitch_is_the_words() -> None:
    assert tone.pitch_hz("Hello") == tone.pitch_hz("hello")
    assert len({tone.pitch_hz(word) for word in ("one", "two", "three", "你", "好")}) == 5


GOLDEN_TEXT = "Hello, wörld: 你好 3.14 — and a verylongwordwithoutanyspacesatall!"
GOLDEN_SHA256 = "367059f9c3145ef5ee5944f1f731246b8070a52acf59e903318c74136cb899e1"


def test_another_process_renders_the_same_bytes() -> None:
    program = (
        "import hashlib; from providers import tone; "
        f"print(hashlib.sha256(tone.render({GOLDEN_TEXT!r}, 0.9)[0]).hexdigest())"
    )
    root = Path(__file__).parents[2]
    other = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    here = hashlib.sha256(tone.render(GOLDEN_TEXT, 0.9)[0]).hexdigest()
    assert [here, other.stdout.strip()] == [GOLDEN_SHA256] * 2


def test_no_entry_of_the_sine_table_lies_near_a_rounding_border() -> None:
    exact = [8000 * math.sin(math.tau * i / 1024) for i in range(1024)]
    assert min(abs(abs(value) % 1 - 0.5) for value in exact) > 1e-6


def test_no_block_is_long() -> None:
    blocks = [b for b in tone.stream("x" * 200 + " and so on", 0.25) if isinstance(b, bytes)]
    assert max(map(len, blocks)) <= 200 * BYTES_PER_MS
    assert sum(map(len, blocks)) == len(tone.render("x" * 200 + " and so on", 0.25)[0])


def begin(**changes: Any) -> ResponseBeginFrame:
    fields: dict[str, Any] = {
        "messages": (),
        "instructions": "",
        "tools": (),
        "tool_choice": "auto",
        "speak": True,
        "voice": "",
        "speed": 1.0,
        "max_output_tokens": None,
        "temperature": 0.8,
        **changes,
    }
    return ResponseBeginFrame("r1", GenerationRequest(**fields))


async def test_the_service_speaks_clauses_with_the_speed_of_the_response() -> None:
    slept: list[float] = []

    async def sleep(duration_s: float) -> None:
        slept.append(duration_s)
        await asyncio.sleep(0)

    provider = ToneProvider(Latency(tts_first_audio_ms=70), sleep=sleep)
    await provider.start()
    clauses = ["Hello you.", "你好。"]
    received, _ = await run_test(
        provider.create_service(),
        frames_to_send=[
            begin(speed=1.5),
            LLMFullResponseStartFrame(),
            *[ClauseFrame(text, TextType.SENTENCE, exact=text) for text in clauses],
            LLMFullResponseEndFrame(),
            ResponseEndFrame("r1"),
        ],
        start_timeout=20,
    )
    await provider.close()
    order = [f for f in received if isinstance(f, ClauseFrame | WordTimesFrame | TTSAudioRawFrame)]
    spoken: list[tuple[str, tuple[WordTime, ...], bytes]] = []
    for frame in order:
        match frame:
            case ClauseFrame():
                spoken.append((frame.text, (), b""))
            case WordTimesFrame():
                assert spoken[-1][2] == b""
                spoken[-1] = (spoken[-1][0], frame.words, b"")
            case TTSAudioRawFrame():
                assert (frame.sample_rate, frame.num_channels) == (24_000, 1)
                spoken[-1] = (*spoken[-1][:2], spoken[-1][2] + frame.audio)
    expected = [(text, *reversed(tone.render(text, 1.5))) for text in clauses]
    assert spoken == expected
    assert slept.count(0.07) == 2


def test_it_says_that_it_does_not_speak() -> None:
    assert "no speech" in ToneProvider().describe()
