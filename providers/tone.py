"""The sound of the tone voice: one beep a word, in integer arithmetic.

Every machine renders the same bytes: the pitch comes from a hash of the word, the wave from a
phase accumulator over a table of integers, the envelope from shifts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.messages import WordTime
from providers.words import find_words

SAMPLES_PER_MS = 24
"""24 kHz mono s16le."""

_BASE_MS = 60
_CHAR_MS = 55
_LOW_HZ, _HIGH_HZ = 440, 880
_AMPLITUDE = 8000
_ATTACK_MS, _RELEASE_MS = 8, 30
_BLOCK_SAMPLES = 200 * SAMPLES_PER_MS
_KEPT_MS = 1000
"""The latest beeps up to this length are kept: at most 48 KB each."""
_NOTHING_TO_SAY = bytes(2 * _BASE_MS * SAMPLES_PER_MS)

_TABLE_BITS = 10
_PHASE_BITS = 32
# `math.sin` may differ by one unit in the last place between C libraries; no entry lies near
# enough to a rounding border for that to show.
_SINE = np.array(
    [round(_AMPLITUDE * math.sin(math.tau * i / 2**_TABLE_BITS)) for i in range(2**_TABLE_BITS)],
    dtype=np.int64,
)
_ENVELOPE_BITS = 15


@dataclass(frozen=True, slots=True)
class Beep:
    """One word's tone."""

    pitch_hz: int
    start_ms: int
    duration_ms: int


def plan(text: str, speed: float) -> tuple[tuple[WordTime, ...], tuple[Beep, ...]]:
    """Lay out `text`: when each word sounds, and how.

    A word lasts 60 ms and 55 ms for each of its characters, divided by `speed`, in whole
    milliseconds. Words follow each other without a gap; punctuation makes no sound.
    """
    words: list[WordTime] = []
    beeps: list[Beep] = []
    start_ms = 0
    for word in find_words(text):
        duration_ms = round((_BASE_MS + _CHAR_MS * len(word.text)) / speed)
        words.append(WordTime(word.start, word.end, start_ms))
        beeps.append(Beep(pitch_hz(word.text), start_ms, duration_ms))
        start_ms += duration_ms
    return tuple(words), tuple(beeps)


def pitch_hz(word: str) -> int:
    """The pitch of `word`, 440 to 880 Hz, the same in upper and lower case."""
    digest = hashlib.sha256(word.casefold().encode()).digest()
    return _LOW_HZ + int.from_bytes(digest[:4], "big") % (_HIGH_HZ - _LOW_HZ + 1)


def sound(beep: Beep) -> Iterable[bytes]:
    """The samples of one beep, in blocks of at most 200 ms."""
    render = _kept_blocks if beep.duration_ms <= _KEPT_MS else _blocks
    return render(beep.pitch_hz, beep.duration_ms)


@lru_cache(maxsize=128)
def _kept_blocks(pitch_hz: int, duration_ms: int) -> tuple[bytes, ...]:
    return tuple(_blocks(pitch_hz, duration_ms))


def _blocks(pitch_hz: int, duration_ms: int) -> Iterator[bytes]:
    length = duration_ms * SAMPLES_PER_MS
    attack = max(1, min(_ATTACK_MS * SAMPLES_PER_MS, length // 4))
    release = max(1, min(_RELEASE_MS * SAMPLES_PER_MS, length // 2))
    step = (pitch_hz << _PHASE_BITS) // (1000 * SAMPLES_PER_MS)
    for first in range(0, length, _BLOCK_SAMPLES):
        position = np.arange(first, min(length, first + _BLOCK_SAMPLES), dtype=np.int64)
        phase = (position * step) & (2**_PHASE_BITS - 1)
        wave = _SINE[phase >> (_PHASE_BITS - _TABLE_BITS)]
        rise = (np.minimum(position, attack) << _ENVELOPE_BITS) // attack
        fall = (np.minimum(length - position, release) << _ENVELOPE_BITS) // release
        shaped = (wave * np.minimum(rise, fall)) >> _ENVELOPE_BITS
        yield shaped.astype("<i2").tobytes()


def stream(text: str, speed: float) -> Iterator[tuple[WordTime, ...] | bytes]:
    """All word times of `text`, then its PCM in blocks of at most 200 ms.

    Text without a word (`...`) is 60 ms of silence, so that it takes its place in time.
    """
    words, beeps = plan(text, speed)
    if not beeps:
        yield _NOTHING_TO_SAY
        return
    yield words
    for beep in beeps:
        yield from sound(beep)


def render(text: str, speed: float = 1.0) -> tuple[bytes, tuple[WordTime, ...]]:
    """The whole PCM of `text` and its word times."""
    pieces = list(stream(text, speed))
    words = next((piece for piece in pieces if isinstance(piece, tuple)), ())
    return b"".join(piece for piece in pieces if isinstance(piece, bytes)), words
