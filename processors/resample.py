"""Changes the rate of s16le mono PCM as it streams, losing no sample to chunk borders."""

from __future__ import annotations

import numpy as np
import soxr


class PcmResampler:
    """One stream's resampler; HQ is enough for recognisers and voices, and twice as fast as VHQ."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16", quality="HQ")
        self._odd = b""

    def resample(self, pcm: bytes) -> bytes:
        """Take more audio; returns what of it is ready, shorter at first by the filter's delay."""
        pcm = self._odd + pcm
        whole = len(pcm) // 2 * 2
        self._odd = pcm[whole:]
        return self._stream.resample_chunk(np.frombuffer(pcm[:whole], np.int16)).tobytes()

    def flush(self) -> bytes:
        """The audio still held by the filter; the stream ends here."""
        return self._stream.resample_chunk(np.empty(0, np.int16), last=True).tobytes()
