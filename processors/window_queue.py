"""Cuts a stream of samples that arrive in any portions into windows; knows no model."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class WindowQueue:
    """Samples in the order they came, kept where they came from until a window is taken."""

    __slots__ = ("_chunks", "_offset", "samples")

    def __init__(self) -> None:
        self._chunks: deque[Float32] = deque()
        self._offset = 0
        self.samples = 0
        """How many are waiting."""

    def put(self, samples: Float32) -> None:
        """Take samples; the array must not be changed afterwards."""
        if samples.size:
            self._chunks.append(samples)
            self.samples += samples.size

    def take(self, window: Float32) -> None:
        """Fill `window` with the oldest samples; there must be enough of them."""
        filled = 0
        while filled < window.size:
            chunk = self._chunks[0]
            part = chunk[self._offset : self._offset + window.size - filled]
            window[filled : filled + part.size] = part
            filled += part.size
            self._offset += part.size
            if self._offset == chunk.size:
                self._chunks.popleft()
                self._offset = 0
        self.samples -= filled

    def clear(self) -> None:
        """Drop all samples."""
        self._chunks.clear()
        self._offset = 0
        self.samples = 0
