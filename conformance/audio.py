"""The speech that the checks say, and the little arithmetic it needs; PCM is s16le mono 24 kHz."""

from __future__ import annotations

import array
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

RATE_HZ = 24_000
BYTES_PER_MS = 48
DEFAULT_CLIP = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "hello.wav"
"""The words "hello world"; part of the checkout this command is run from."""

_WINDOW_MS = 20
_SPEECH_SHARE = 0.02
"""Of the clip's peak: below it a window counts as silence."""


class UnusableAudio(ValueError):
    """The clip cannot be said to a server; the message says why."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A few words.

    Attributes:
        pcm: The whole recording.
        start_ms: Where speech begins in it.
        end_ms: Where it ends.
    """

    pcm: bytes
    start_ms: int
    end_ms: int


def silence(duration_ms: int) -> bytes:
    """Digital silence."""
    return bytes(duration_ms * BYTES_PER_MS)


def load_clip(path: Path) -> Clip:
    """Read a 16-bit mono WAV at 24 kHz.

    Raises:
        UnusableAudio: The file is missing, is something else, or is silent.
    """
    try:
        with wave.open(str(path), "rb") as file:
            shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            pcm = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise UnusableAudio(f"{path} cannot be read as WAV: {error}") from None
    if shape != (1, 2, RATE_HZ):
        raise UnusableAudio(f"{path} must be mono, 16-bit and 24000 Hz")
    samples = _samples(pcm)
    step = RATE_HZ * _WINDOW_MS // 1000
    peaks = [max(map(abs, samples[at : at + step])) for at in range(0, len(samples), step)]
    loud = [index for index, peak in enumerate(peaks) if peak > _SPEECH_SHARE * max(peaks)]
    if not loud:
        raise UnusableAudio(f"{path} is silent")
    return Clip(pcm, loud[0] * _WINDOW_MS, (loud[-1] + 1) * _WINDOW_MS)


def to_ulaw(pcm: bytes) -> bytes:
    """G.711 µ-law at 8 kHz: each three samples averaged, then the segments of ITU-T G.711."""
    samples = _samples(pcm)
    averaged = (sum(samples[at : at + 3]) // 3 for at in range(0, len(samples) - 2, 3))
    return bytes(_ulaw_byte(sample) for sample in averaged)


def _ulaw_byte(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32_635) + 132
    segment = magnitude.bit_length() - 8
    return ~(sign | segment << 4 | (magnitude >> (segment + 3)) & 0x0F) & 0xFF


def _samples(pcm: bytes) -> array.array[int]:
    samples = array.array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples
