"""Brings a session's audio to the rate of turn detection and recognisers, a millisecond late."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Decimator:
    """24 kHz to 16 kHz, of which no sample depends on how the stream was cut into chunks.

    A linear-phase filter of 99 taps at 48 kHz, the rate between the two: within 0.01 dB up to
    7 kHz, -6 dB at 8 kHz, -65 dB and less from 9 kHz on. Sample `k` of the output is the sound at
    sample `1.5 k` of the input, and is known `LAG_SAMPLES` later. A general streaming resampler
    works in blocks and holds back 6 to 36 ms, by which every turn would end later.

    The coefficients are integers held in floats, so every sum is exact and the result cannot
    depend on the order of additions.
    """

    LAG_SAMPLES: Final = 24
    """How much the output lags behind, in samples of the input: 1 ms."""
    _REACH: Final = 49
    """Of the filter to either side, in samples at 48 kHz."""
    _SCALE: Final = 1 << 20
    _PAST: Final = 2 * LAG_SAMPLES
    """Samples ahead of three that matter to the two samples made of these."""
    # Of one matrix product: four triples a row take half the time of one. BLAS shares larger
    # products than 200 ms out to threads, which then spin for longer than the work takes.
    _ROW_SAMPLES: Final = 12
    _PIECE_SAMPLES: Final = 4800

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = np.zeros(self.LAG_SAMPLES)

    @classmethod
    @cache
    def _matrix(cls) -> Float64:
        """What each sample of a row, and those ahead of it, count for in the row's output."""
        offsets = np.arange(-cls._REACH, cls._REACH + 1)
        taps = np.sinc(offsets / 3) * np.kaiser(offsets.size, 6.2)
        for phase in (0, 1):
            branch = taps[phase::2] / taps[phase::2].sum() * cls._SCALE
            whole = np.rint(branch)
            whole[np.argmax(whole)] += cls._SCALE - whole.sum()
            taps[phase::2] = whole / (cls._SCALE * 32768)
        row = np.arange(cls._PAST + cls._ROW_SAMPLES)
        made = np.arange(cls._ROW_SAMPLES * 2 // 3)
        apart = 3 * made - 2 * (row[:, np.newaxis] - cls.LAG_SAMPLES)
        reached = abs(apart) <= cls._REACH
        return np.where(reached, taps[np.where(reached, apart + cls._REACH, 0)], 0.0)

    def process(self, pcm: bytes) -> Float32:
        """Take the next whole samples, s16le; returns what is ready, full scale being 1."""
        samples = np.frombuffer(pcm, "<i2")
        if samples.size <= self._PIECE_SAMPLES:
            return self._process(samples)
        starts = range(0, samples.size, self._PIECE_SAMPLES)
        return np.concatenate([self._process(samples[s : s + self._PIECE_SAMPLES]) for s in starts])

    def flush(self) -> Float32:
        """The sound up to the last sample taken; the next chunk begins a new stream."""
        due = -(-2 * (self._kept.size - self.LAG_SAMPLES) // 3)
        tail = self._process(np.zeros(self.LAG_SAMPLES + 2, np.int16))[:due]
        self._kept = np.zeros(self.LAG_SAMPLES)
        return tail

    def _process(self, samples: NDArray[np.int16]) -> Float32:
        kept = self._kept.size
        size = kept + samples.size
        triples = max(size - self._PAST, 0) // 3
        rows = -(-3 * triples // self._ROW_SAMPLES)
        # Zeros fill the last row; what they count for is not used.
        joined = np.zeros(max(size, self._PAST + rows * self._ROW_SAMPLES))
        joined[:kept] = self._kept
        joined[kept:size] = samples
        self._kept = joined[3 * triples : size].copy()
        row_bytes, step_bytes = self._ROW_SAMPLES * joined.itemsize, joined.itemsize
        windows = np.ndarray(
            (rows, self._PAST + self._ROW_SAMPLES), joined.dtype, joined, 0, (row_bytes, step_bytes)
        )
        made = windows.dot(self._matrix())
        return made.reshape(-1)[: 2 * triples].astype(np.float32)
