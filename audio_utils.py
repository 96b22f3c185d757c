"""Audio arithmetic: PCM16, G.711, sample rates and lengths; knows nothing of events or sockets.

Inside the project audio is s16le mono at 24 kHz; turn detection and speech recognition hear it
as float32 or s16le at 16 kHz; G.711 exists only at the client's edge, at 8 kHz.
"""

# soundfile and soxr carry no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Final, Literal, assert_never, cast

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

PIPELINE_HZ: Final = 24_000
"""Rate of `audio/pcm` on the wire and of all PCM inside."""
SPEECH_HZ: Final = 16_000
"""Rate at which turn detection and speech recognition listen."""
G711_HZ: Final = 8_000
"""Rate of `audio/pcmu` and `audio/pcma`."""
SAMPLE_BYTES: Final = 2

AudioFormatType = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
G711Law = Literal["ulaw", "alaw"]
ResampleQuality = Literal["QQ", "LQ", "MQ", "HQ", "VHQ"]

Float32 = NDArray[np.float32]
Int16 = NDArray[np.int16]

_LE16: Final = np.dtype("<i2")


# --- lengths --------------------------------------------------------------------------------


def ms_to_samples(ms: float, rate_hz: int = PIPELINE_HZ) -> int:
    """Samples in `ms`, rounded down."""
    return int(ms * rate_hz // 1000)


def samples_to_ms(samples: int, rate_hz: int = PIPELINE_HZ) -> int:
    """Whole milliseconds in `samples`, rounded down."""
    return samples * 1000 // rate_hz


def ms_to_bytes(ms: float, rate_hz: int = PIPELINE_HZ) -> int:
    """Bytes of PCM16 in `ms`, whole samples."""
    return ms_to_samples(ms, rate_hz) * SAMPLE_BYTES


def bytes_to_ms(length_bytes: int, rate_hz: int = PIPELINE_HZ) -> int:
    """Whole milliseconds in so many bytes of PCM16."""
    return samples_to_ms(length_bytes // SAMPLE_BYTES, rate_hz)


def bytes_to_samples(length_bytes: int) -> int:
    """Whole samples in so many bytes of PCM16."""
    return length_bytes // SAMPLE_BYTES


def samples_to_bytes(samples: int) -> int:
    """Bytes that so many samples of PCM16 take."""
    return samples * SAMPLE_BYTES


def iter_chunks(pcm: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """Cut `pcm` into pieces of `chunk_bytes`; the last one may be shorter."""
    for start in range(0, len(pcm), chunk_bytes):
        yield pcm[start : start + chunk_bytes]


# --- sample formats -------------------------------------------------------------------------


def pcm16_to_float32(pcm: bytes | Int16) -> Float32:
    """PCM16 as float32 in [-1, 1).

    Raises:
        ValueError: bytes that are not whole samples.
    """
    samples = np.frombuffer(pcm, _LE16) if isinstance(pcm, bytes) else pcm
    return np.multiply(samples, np.float32(1 / 32768), dtype=np.float32)


def float32_to_pcm16(samples: Float32) -> bytes:
    """Float32 as s16le bytes, rounded to nearest; what exceeds full scale is clipped."""
    scaled = np.rint(samples * np.float32(32768))
    return np.clip(scaled, -32768, 32767).astype(_LE16).tobytes()


# --- G.711 ----------------------------------------------------------------------------------


def _decode_table(law: G711Law) -> Int16:
    """The 256 linear values of ITU-T G.711, left-aligned to 16 bits."""
    codes = np.arange(256)
    match law:
        case "ulaw":
            bits = ~codes
            magnitude = ((((bits & 0x0F) << 3) + 0x84) << ((bits & 0x70) >> 4)) - 0x84
            negative = (bits & 0x80) != 0
        case "alaw":
            bits = codes ^ 0x55
            segment = (bits & 0x70) >> 4
            step = ((bits & 0x0F) << 4) + 8
            magnitude = np.where(segment == 0, step, (step + 0x100) << np.maximum(segment - 1, 0))
            negative = (bits & 0x80) == 0
        case _:
            assert_never(law)
    return np.where(negative, -magnitude, magnitude).astype(np.int16)


def _encode_table(law: G711Law) -> NDArray[np.uint8]:
    """The code of every 16-bit value, indexed by its bits read as unsigned.

    The arithmetic is that of the ITU reference code (and of the former `audioop`): values are cut
    to 14 (µ-law) or 13 bits (A-law) before the segment is found.
    """
    linear = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int32)
    match law:
        case "ulaw":
            cut = linear >> 2
            magnitude = np.minimum(np.abs(cut), 8158) + 33
            segment = np.searchsorted(0x40 << np.arange(8), magnitude, side="right")
            code = (segment << 4) | ((magnitude >> (segment + 1)) & 0x0F)
            table = code ^ np.where(cut < 0, 0x7F, 0xFF)
        case "alaw":
            cut = linear >> 3
            magnitude = np.where(cut < 0, -cut - 1, cut)
            segment = np.searchsorted(0x20 << np.arange(8), magnitude, side="right")
            code = (segment << 4) | ((magnitude >> np.maximum(segment, 1)) & 0x0F)
            table = code ^ np.where(cut < 0, 0x55, 0xD5)
        case _:
            assert_never(law)
    return table.astype(np.uint8)


class G711:
    """One of the two companding laws, by lookup tables."""

    __slots__ = ("_from_linear", "_to_linear", "law")

    def __init__(self, law: G711Law) -> None:
        self.law: Final = law
        self._to_linear = _decode_table(law)
        self._from_linear = _encode_table(law)

    @classmethod
    @cache
    def of(cls, law: G711Law) -> G711:
        """The shared instance of `law`; its tables are built once."""
        return cls(law)

    def decode(self, codes: bytes) -> Int16:
        """Linear samples at the same rate."""
        return self._to_linear[np.frombuffer(codes, np.uint8)]

    def encode(self, samples: Int16) -> bytes:
        """One byte per sample."""
        return self._from_linear[samples.view(np.uint16)].tobytes()


# --- resampling -----------------------------------------------------------------------------


class StreamResampler:
    """Resamples one mono stream chunk by chunk, as if it were resampled whole.

    The filter holds back some samples: early chunks may give nothing, `flush()` gives the rest.
    Nothing is ever dropped in between, however long the pauses between chunks.
    """

    __slots__ = ("_stream",)

    def __init__(self, in_hz: int, out_hz: int, quality: ResampleQuality = "HQ") -> None:
        # float32 on both sides: libsoxr dithers 16-bit output, which turns silence into noise.
        self._stream = (
            None
            if in_hz == out_hz
            else soxr.ResampleStream(in_hz, out_hz, 1, dtype="float32", quality=quality)
        )

    def process(self, samples: bytes | Float32) -> Float32:
        """Take the next chunk, s16le bytes or float32, and return what is ready."""
        if isinstance(samples, bytes):
            samples = pcm16_to_float32(samples)
        if self._stream is None:
            return samples
        return self._stream.resample_chunk(samples)

    def flush(self) -> Float32:
        """Return the samples held back; the next chunk begins a new stream."""
        if self._stream is None:
            return np.empty(0, np.float32)
        tail = self._stream.resample_chunk(np.empty(0, np.float32), last=True)
        self._stream.clear()
        return tail


class TripleInterpolator:
    """8 kHz to 24 kHz with exactly three samples out for each one in, whatever the chunking.

    A resampler that holds samples back would make positions in the input buffer depend on how
    the client cut its appends. This linear-phase filter delays the sound by `DELAY_SAMPLES`
    instead. Its coefficients are integers held in floats, so every sum is exact and the result
    cannot depend on the order of additions.
    """

    DELAY_SAMPLES: Final = 35
    """Delay at 24 kHz, 1.5 ms."""
    _TAPS: Final = 24
    _SCALE: Final = 1 << 15

    __slots__ = ("_history",)

    def __init__(self) -> None:
        self._history = np.zeros(self._TAPS - 1)

    @staticmethod
    @cache
    def _phases() -> tuple[NDArray[np.float64], ...]:
        """The three polyphase branches of a windowed sinc that cuts at 4 kHz.

        Within 0.1 dB up to 3.3 kHz, images under -60 dB from 4.7 kHz on; every branch passes a
        constant exactly.
        """
        delay = TripleInterpolator.DELAY_SAMPLES
        offsets = np.arange(2 * delay + 1) - delay
        prototype = np.append(np.sinc(offsets / 3) * np.kaiser(2 * delay + 1, 6.0), 0.0)
        phases: list[NDArray[np.float64]] = []
        for phase in range(3):
            branch = prototype[phase::3]
            taps = np.rint(branch / branch.sum() * TripleInterpolator._SCALE)
            taps[np.argmax(taps)] += TripleInterpolator._SCALE - taps.sum()
            phases.append(taps)
        return tuple(phases)

    def process(self, samples: Int16) -> Int16:
        """Interpolate the next chunk; the result is three times as long."""
        if not samples.size:
            return np.empty(0, np.int16)
        joined = np.concatenate((self._history, samples))
        self._history = joined[-(self._TAPS - 1) :]
        out = np.empty((samples.size, 3))
        for phase, taps in enumerate(self._phases()):
            out[:, phase] = np.convolve(joined, taps, "valid")
        out = np.rint(out.reshape(-1) / self._SCALE)
        return np.clip(out, -32768, 32767).astype(np.int16)


# --- the client's format --------------------------------------------------------------------


class InputDecoder:
    """Turns the bytes a client appends into s16le at 24 kHz.

    PCM passes through; a byte that is half a sample waits for the next append, because a client
    may cut its stream anywhere. G.711 gives exactly three samples per byte.
    """

    __slots__ = ("_codec", "_interpolator", "format_type", "pending")

    def __init__(self, format_type: AudioFormatType) -> None:
        self.format_type: Final = format_type
        self.pending = b""
        self._codec = _codec(format_type)
        self._interpolator = TripleInterpolator()

    def decode(self, chunk: bytes) -> bytes:
        """Return whole samples; empty while there is none."""
        if self._codec is not None:
            samples = self._interpolator.process(self._codec.decode(chunk))
            return samples.astype(_LE16, copy=False).tobytes()
        if self.pending:
            chunk = self.pending + chunk
        whole = len(chunk) & ~1
        self.pending = chunk[whole:]
        return chunk[:whole]

    def clear(self) -> None:
        """Forget what earlier appends left behind."""
        self.pending = b""
        self._interpolator = TripleInterpolator()


class OutputEncoder:
    """Turns s16le at 24 kHz into the bytes a client asked for.

    With G.711 the resampler holds back a few milliseconds until `flush()`, to be called at the
    end of every utterance.
    """

    __slots__ = ("_codec", "_resampler", "format_type")

    def __init__(self, format_type: AudioFormatType) -> None:
        self.format_type: Final = format_type
        self._codec = _codec(format_type)
        self._resampler = StreamResampler(PIPELINE_HZ, G711_HZ)

    def encode(self, pcm: bytes) -> bytes:
        """Encode the next whole samples of an utterance."""
        if self._codec is None:
            return pcm
        return self._compand(self._codec, self._resampler.process(pcm))

    def flush(self) -> bytes:
        """Return the end of the utterance; the next `encode` begins another."""
        if self._codec is None:
            return b""
        return self._compand(self._codec, self._resampler.flush())

    @staticmethod
    def _compand(codec: G711, samples: Float32) -> bytes:
        return codec.encode(np.frombuffer(float32_to_pcm16(samples), _LE16).astype(np.int16))


def _codec(format_type: AudioFormatType) -> G711 | None:
    match format_type:
        case "audio/pcm":
            return None
        case "audio/pcmu":
            return G711.of("ulaw")
        case "audio/pcma":
            return G711.of("alaw")
        case _:
            assert_never(format_type)


# --- files ----------------------------------------------------------------------------------


def read_audio(path: str | PathLike[str], rate_hz: int = PIPELINE_HZ) -> bytes:
    """Read a WAV, FLAC or OGG file as mono s16le; channels are averaged.

    Raises:
        OSError: there is no such file.
        soundfile.SoundFileError: it is not audio that libsndfile knows.
    """
    with Path(path).open("rb") as file:
        samples, file_hz = cast(
            tuple[Float32, int], soundfile.read(file, dtype="float32", always_2d=True)
        )
    mono = samples.mean(axis=1, dtype=np.float32)
    if file_hz != rate_hz:
        mono = soxr.resample(mono, file_hz, rate_hz)
    return float32_to_pcm16(mono)


def write_wav(path: str | PathLike[str], pcm: bytes, rate_hz: int = PIPELINE_HZ) -> None:
    """Write mono s16le as a WAV file."""
    soundfile.write(path, np.frombuffer(pcm, _LE16), rate_hz, subtype="PCM_16", format="WAV")
