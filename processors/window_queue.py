"""Cuts a stream of samples that arrive in any portions into windows; knows no model."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_ROOM_SAMPLES: Final = 1024
"""Free behind the samples when they are moved: for two windows or three appends of 20 ms."""


class WindowQueue:
    """Samples in the order they came; each window is taken with the samples ahead of it.

    They lie in one piece, so that a window is one copy. The memory follows what waits.

    Args:
        context_samples: How many samples ahead of its own a window begins; zeros at first.
    """

    __slots__ = ("_buffer", "_context_samples", "_end", "_start")

    def __init__(self, context_samples: int) -> None:
        self._context_samples = context_samples
        self.clear()

    @property
    def samples(self) -> int:
        """How many are waiting."""
        return self._end - self._start - self._context_samples

    def put(self, samples: Float32) -> None:
        """Take samples."""
        end = self._end + samples.size
        if end > self._buffer.size:
            left = self._buffer[self._start : self._end]
            end = left.size + samples.size
            self._buffer = np.empty(end + _ROOM_SAMPLES, np.float32)
            self._buffer[: left.size] = left
            self._start, self._end = 0, left.size
        self._buffer[self._end : end] = samples
        self._end = end

    def take(self, window: Float32) -> None:
        """Fill `window` with the context and the oldest samples; there must be enough of them."""
        window[:] = self._buffer[self._start : self._start + window.size]
        self._start += window.size - self._context_samples

    def forget_context(self) -> None:
        """Have the next window follow on silence."""
        self._buffer[self._start : self._start + self._context_samples] = 0.0

    def clear(self) -> None:
        """Drop all samples and the context."""
        self._buffer = np.zeros(self._context_samples + _ROOM_SAMPLES, np.float32)
        self._start, self._end = 0, self._context_samples
