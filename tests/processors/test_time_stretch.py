"""Speech at another speed: as long as asked for to the sample, and as high as before."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from processors.time_stretch import TimeStretch
from tests.e2e.gateway import speech

HZ = 24_000
SPEEDS = [0.25, 0.5, 0.8, 1.25, 1.5]


def tone(frequency_hz: float, ms: int) -> bytes:
    """A sine at a third of full scale."""
    samples = np.sin(2 * np.pi * frequency_hz * np.arange(ms * HZ // 1000) / HZ) * 10_000
    return samples.astype(np.int16).tobytes()


def stretched(pcm: bytes, speed: float, chunk_bytes: int = 4800) -> NDArray[np.int16]:
    stretch = TimeStretch(speed)
    chunks = [pcm[start : start + chunk_bytes] for start in range(0, len(pcm), chunk_bytes)]
    made = b"".join(stretch.process(chunk) for chunk in chunks) + stretch.flush()
    assert stretch.flush() == b""
    return np.frombuffer(made, np.int16)


def pitch_hz(samples: NDArray[np.int16]) -> float:
    """The strongest frequency of the middle."""
    middle = samples[samples.size // 4 : -samples.size // 4].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    return float(spectrum.argmax() * HZ / middle.size)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("chunk_bytes", [2, 946, 48_000])
def test_the_length_is_exact_however_it_comes(speed: float, chunk_bytes: int) -> None:
    pcm = tone(200, 101)[:-6]
    assert stretched(pcm, speed, chunk_bytes).size == round(len(pcm) / 2 / speed)


def test_the_result_does_not_depend_on_the_chunks() -> None:
    pcm = speech("weather")
    assert np.array_equal(stretched(pcm, 0.8, 946), stretched(pcm, 0.8, len(pcm)))


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("frequency_hz", [120, 440, 2000])
def test_the_pitch_stays(speed: float, frequency_hz: float) -> None:
    assert pitch_hz(stretched(tone(frequency_hz, 1000), speed)) == pytest.approx(
        frequency_hz, rel=0.02
    )


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_sound_stays_where_it_was(speed: float) -> None:
    """A burst in silence: word times are scaled, so the sound must be as well."""
    pcm = bytes(48 * 400) + tone(440, 300) + bytes(48 * 400)
    loud = np.flatnonzero(np.abs(stretched(pcm, speed).astype(np.int32)) > 3000)
    start_ms, end_ms = loud[0] / 24, loud[-1] / 24
    assert start_ms == pytest.approx(400 / speed, abs=20 / speed)
    assert end_ms == pytest.approx(700 / speed, abs=20 / speed)


@pytest.mark.parametrize("speed", SPEEDS)
def test_speech_stays_as_loud(speed: float) -> None:
    pcm = speech("weather")
    before = np.frombuffer(pcm, np.int16).astype(np.float64)
    after = stretched(pcm, speed).astype(np.float64)
    assert after.std() == pytest.approx(before.std(), rel=0.1)


def test_nothing_in_is_nothing_out() -> None:
    stretch = TimeStretch(0.5)
    assert stretch.process(b"") + stretch.flush() == b""
