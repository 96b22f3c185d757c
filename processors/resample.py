"""Changes the rate of s16le mono PCM as it streams, losing no sample to chunk borders."""

from __future__ import annotations

from audio_utils import StreamResampler, float32_to_pcm16


class PcmResampler:
    """A `StreamResampler` from bytes to bytes, whatever byte the chunks are cut at."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = StreamResampler(from_hz, to_hz)
        self._odd = b""

    def resample(self, pcm: bytes) -> bytes:
        """Take more audio; returns what of it is ready, shorter at first by the filter's delay."""
        pcm = self._odd + pcm
        whole = len(pcm) // 2 * 2
        self._odd = pcm[whole:]
        return float32_to_pcm16(self._stream.process(pcm[:whole]))

    def flush(self) -> bytes:
        """The audio still held by the filter; the stream ends here."""
        return float32_to_pcm16(self._stream.flush())
