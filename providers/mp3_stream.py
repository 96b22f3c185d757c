"""MP3 that is still arriving, decoded as far as it goes."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import soundfile

SAMPLE_RATE_HZ: Final = 24_000

_FIRST_STEP_BYTES: Final = 1440
_STEP_SHARE: Final = 8
# Samples that later bytes may still change: two frames.
_UNSETTLED_SAMPLES: Final = 1152
# An encoder and a decoder delay the sound by at least 576 + 529 samples. Word times count from
# where the sound was before.
_CODEC_DELAY_SAMPLES: Final = 1105


class Mp3Stream:
    """One MP3 of mono 24 kHz, decoded from its beginning whenever enough has been added.

    That is bit-identical to decoding the whole file, which windows of it are not: MP3 frames
    borrow bits from those before them. The steps grow with the file, so that the work stays in
    proportion to its length: 4 ms for each second of sound.

    `decode` and `finish` take milliseconds of computing; call them off the event loop.
    """

    def __init__(self) -> None:
        self._mp3 = bytearray()
        self._decoded_bytes = 0
        self._done_samples = _CODEC_DELAY_SAMPLES

    def add(self, mp3: bytes) -> bool:
        """Take bytes; says whether it is worth calling `decode`."""
        self._mp3 += mp3
        step = max(_FIRST_STEP_BYTES, len(self._mp3) // _STEP_SHARE)
        return len(self._mp3) - self._decoded_bytes >= step

    def decode(self) -> bytes:
        """What has become certain since the last call, as s16le."""
        return self._decode(_UNSETTLED_SAMPLES)

    def finish(self) -> bytes:
        """The rest."""
        return self._decode(0)

    def _decode(self, unsettled_samples: int) -> bytes:
        self._decoded_bytes = len(self._mp3)
        try:
            samples, rate_hz = soundfile.read(io.BytesIO(self._mp3), dtype="int16", always_2d=True)
        except soundfile.LibsndfileError:
            # Too little to tell what it is, or no MP3 at all, which shows when nothing ever comes.
            return b""
        if rate_hz != SAMPLE_RATE_HZ:
            return b""
        until = max(len(samples) - unsettled_samples, self._done_samples)
        new = samples[self._done_samples : until, 0]
        self._done_samples = until
        return np.ascontiguousarray(new, "<i2").tobytes()
