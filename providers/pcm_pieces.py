"""Cuts PCM that arrives in pieces of any size into pieces fit to be sent on, at 24 kHz."""

from __future__ import annotations

from typing import Final

from audio_utils import (
    PIPELINE_HZ,
    StreamResampler,
    float32_to_pcm16,
    iter_chunks,
    ms_to_bytes,
)

_LEAST_BYTES: Final = ms_to_bytes(20)
"""Less than that is kept for company: each piece is a frame for every processor behind."""
_MOST_BYTES: Final = ms_to_bytes(80)


class PcmPieces:
    """One stream of s16le mono.

    Args:
        rate_hz: Its rate.
    """

    def __init__(self, rate_hz: int) -> None:
        self._resampler = None if rate_hz == PIPELINE_HZ else StreamResampler(rate_hz, PIPELINE_HZ)
        self._odd = b""
        self._kept = b""

    def add(self, received: bytes) -> list[bytes]:
        """Take bytes, cut anywhere; returns pieces of 20 to 80 ms."""
        received = self._odd + received
        whole = len(received) // 2 * 2
        self._odd = received[whole:]
        self._kept += self._at_24_khz(received[:whole])
        if len(self._kept) < _LEAST_BYTES:
            return []
        pieces, self._kept = list(iter_chunks(self._kept, _MOST_BYTES)), b""
        return pieces

    def end(self) -> list[bytes]:
        """What is left; half a sample at the end is dropped."""
        if self._resampler is not None:
            self._kept += float32_to_pcm16(self._resampler.flush())
        pieces, self._kept = list(iter_chunks(self._kept, _MOST_BYTES)), b""
        return pieces

    def _at_24_khz(self, pcm: bytes) -> bytes:
        if self._resampler is None:
            return pcm
        return float32_to_pcm16(self._resampler.process(pcm))
