"""The rate of turn detection: exact whatever the chunks, flat where speech is, and in place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from processors.decimator import Decimator

Float32 = NDArray[np.float32]
SECOND = 24_000


def noise(samples: int) -> bytes:
    rng = np.random.default_rng(samples)
    return rng.integers(-32768, 32768, samples).astype("<i2").tobytes()


def tone(hz: float, samples: int = SECOND) -> bytes:
    time = np.arange(samples) / 24_000
    return np.rint(16_000 * np.sin(2 * np.pi * hz * time)).astype("<i2").tobytes()


def decimated(pcm: bytes) -> Float32:
    decimator = Decimator()
    return np.concatenate((decimator.process(pcm), decimator.flush()))


def gain_db(hz: float) -> float:
    """Of a tone, away from the ends of the stream."""
    inside = decimated(tone(hz))[1_000:-1_000]
    return 20 * np.log10(np.sqrt(2 * np.mean(np.square(inside))) / (16_000 / 32_768))


@given(st.lists(st.integers(0, 6_000), max_size=8))
@example([480] * 8)
@example([1] * 60)
@example([4_801, 14_399])
def test_no_sample_depends_on_the_chunks(sizes: list[int]) -> None:
    pcm = noise(sum(sizes))
    decimator = Decimator()
    bounds = np.cumsum([0, *sizes]).tolist()
    parts = [decimator.process(pcm[2 * start : 2 * end]) for start, end in pairwise(bounds)]
    np.testing.assert_array_equal(np.concatenate([*parts, decimator.flush()]), decimated(pcm))


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 23, 24, 25, 26, 480, 481, 482, SECOND])
def test_the_length_is_that_of_the_sound(samples: int) -> None:
    assert decimated(noise(samples)).size == -(-samples * 2 // 3)


def test_it_lags_a_millisecond_and_no_more() -> None:
    decimator = Decimator()
    decimator.process(bytes(2 * Decimator.LAG_SAMPLES))
    for _ in range(5):
        assert decimator.process(noise(480)).size == 320


def test_a_flush_begins_a_new_stream() -> None:
    decimator = Decimator()
    decimator.process(noise(1_000))
    decimator.flush()
    again = np.concatenate((decimator.process(noise(500)), decimator.flush()))
    np.testing.assert_array_equal(again, decimated(noise(500)))


@pytest.mark.parametrize("hz", [50, 300, 1_000, 3_400, 5_000, 6_500, 7_000])
def test_speech_passes_as_it_is(hz: int) -> None:
    assert gain_db(hz) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("hz", [9_000, 9_200, 10_000, 11_000, 11_900])
def test_what_the_new_rate_cannot_hold_is_gone(hz: int) -> None:
    assert gain_db(hz) < -64


def test_a_constant_and_silence_are_exact() -> None:
    level = np.full(SECOND, 12_345, "<i2").tobytes()
    np.testing.assert_array_equal(decimated(level)[100:-100], np.float32(12_345 / 32_768))
    assert not decimated(bytes(2 * SECOND)).any()


@pytest.mark.parametrize("hz", [440, 3_000])
def test_the_sound_stays_where_it_was(hz: int) -> None:
    heard = decimated(tone(hz))[100:-100]
    at = np.arange(100, 100 + heard.size) / 16_000
    expected = 16_000 / 32_768 * np.sin(2 * np.pi * hz * at)
    np.testing.assert_allclose(heard, expected, atol=1e-3)


def test_every_coefficient_is_whole_so_that_every_sum_is_exact() -> None:
    pulses = np.zeros(400, "<i2")
    pulses[[100, 200, 300]] = 1
    counts = decimated(pulses.tobytes()) * 2.0**35
    assert np.count_nonzero(counts) > 60
    np.testing.assert_array_equal(counts, np.rint(counts))


def test_full_scale_is_kept() -> None:
    loudest = np.full(SECOND, -32_768, "<i2").tobytes()
    assert decimated(loudest)[100:-100].min() == -1.0
