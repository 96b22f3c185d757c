"""Sample arithmetic: G.711 against the ITU's values, streaming against one-shot, exact lengths."""

from __future__ import annotations

import hashlib
import io
import itertools
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import audio_utils as au
from audio_utils import (
    G711,
    AudioFormatType,
    G711Law,
    InputDecoder,
    OutputEncoder,
    StreamResampler,
    TripleInterpolator,
)

ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(65536).astype(np.uint16).view(np.int16)
LAWS: tuple[G711Law, ...] = get_args(G711Law)
G711_FORMATS: tuple[AudioFormatType, ...] = ("audio/pcmu", "audio/pcma")


def tone(frequency_hz: float, rate_hz: int, duration_ms: int, level: float = 0.3) -> np.ndarray:
    samples = au.ms_to_samples(duration_ms, rate_hz)
    return level * np.sin(2 * np.pi * frequency_hz * np.arange(samples) / rate_hz)


def pcm(samples: np.ndarray) -> bytes:
    return au.float32_to_pcm16(samples.astype(np.float32))


def pieces(whole: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(edges)]


# --- lengths --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "rate_hz", "samples"), [(20, 24_000, 480), (20, 16_000, 320), (1, 8_000, 8), (0, 1, 0)]
)
def test_milliseconds_samples_and_bytes(ms: int, rate_hz: int, samples: int) -> None:
    assert au.ms_to_samples(ms, rate_hz) == samples
    assert au.samples_to_ms(samples, rate_hz) == ms
    assert au.ms_to_bytes(ms, rate_hz) == 2 * samples == au.samples_to_bytes(samples)
    assert au.bytes_to_ms(2 * samples, rate_hz) == ms
    assert au.bytes_to_samples(2 * samples) == samples


def test_partial_milliseconds_are_rounded_down() -> None:
    assert au.samples_to_ms(47) == 1
    assert au.bytes_to_ms(95) == 1
    assert au.ms_to_samples(0.99, 1000) == 0


def test_chunks_cover_everything() -> None:
    assert list(au.iter_chunks(b"abcde", 2)) == [b"ab", b"cd", b"e"]
    assert list(au.iter_chunks(b"", 2)) == []


# --- sample formats -------------------------------------------------------------------------


def test_float_round_trip_keeps_every_16_bit_value() -> None:
    floats = au.pcm16_to_float32(ALL_SAMPLES.tobytes())
    assert floats.dtype == np.float32
    assert (floats.min(), floats.max()) == (-1.0, 32767 / 32768)
    assert au.float32_to_pcm16(floats) == ALL_SAMPLES.tobytes()


def test_overload_clips_instead_of_wrapping() -> None:
    loud = np.array([1.0, 1.5, -1.5], np.float32)
    assert np.frombuffer(au.float32_to_pcm16(loud), "<i2").tolist() == [32767, 32767, -32768]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer size"):
        au.pcm16_to_float32(b"\0\0\0")


# --- G.711 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [
        ("ulaw", 0xFF, 0),
        ("ulaw", 0x7F, 0),
        ("ulaw", 0x80, 32124),
        ("ulaw", 0x00, -32124),
        ("ulaw", 0xFE, 8),
        ("alaw", 0xD5, 8),
        ("alaw", 0x55, -8),
        ("alaw", 0xAA, 32256),
        ("alaw", 0x2A, -32256),
        ("alaw", 0xD4, 24),
    ],
)
def test_known_g711_codes(law: G711Law, code: int, sample: int) -> None:
    assert G711.of(law).decode(bytes([code])).tolist() == [sample]


@pytest.mark.parametrize(
    ("law", "digest"),
    [
        ("ulaw", "617fa4850d68d390"),
        ("alaw", "f77c76aa923ee256"),
    ],
)
def test_all_65536_values_encode_as_in_the_reference_code(law: G711Law, digest: str) -> None:
    # The digests are those of CPython 3.11's audioop.lin2ulaw and lin2alaw.
    encoded = G711.of(law).encode(ALL_SAMPLES)
    assert hashlib.sha256(encoded).hexdigest()[:16] == digest


@pytest.mark.parametrize(("law", "subtype"), [("ulaw", "ULAW"), ("alaw", "ALAW")])
def test_decoding_agrees_with_libsndfile(law: G711Law, subtype: str) -> None:
    expected, _ = soundfile.read(
        io.BytesIO(ALL_CODES),
        dtype="int16",
        format="RAW",
        subtype=subtype,
        samplerate=8000,
        channels=1,
    )
    np.testing.assert_array_equal(G711.of(law).decode(ALL_CODES), expected)


@pytest.mark.parametrize("law", LAWS)
def test_codes_survive_a_round_trip(law: G711Law) -> None:
    codec = G711.of(law)
    linear = codec.decode(ALL_CODES)
    # µ-law has two zeros, which become one.
    np.testing.assert_array_equal(codec.decode(codec.encode(linear)), linear)


@pytest.mark.parametrize("law", LAWS)
def test_companding_error_stays_within_half_a_step(law: G711Law) -> None:
    codec = G711.of(law)
    heard = codec.decode(codec.encode(ALL_SAMPLES)).astype(int)
    linear = ALL_SAMPLES.astype(int)
    inside = np.abs(linear) < 32000
    assert np.all(np.abs(heard - linear)[inside] <= np.maximum(np.abs(linear)[inside] / 16, 16))


# --- resampling -----------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [(24_000, 16_000), (24_000, 8_000), (16_000, 24_000)])
@pytest.mark.parametrize("chunk_samples", [1, 7, 480, 5000])
def test_stream_resampling_equals_one_shot(rates: tuple[int, int], chunk_samples: int) -> None:
    audio = pcm(np.random.default_rng(1).normal(0, 0.1, 4_800))
    whole = StreamResampler(*rates)
    expected = np.concatenate((whole.process(audio), whole.flush()))
    stream = StreamResampler(*rates)
    parts = [stream.process(chunk) for chunk in au.iter_chunks(audio, 2 * chunk_samples)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()]), expected)
    assert expected.size == 4_800 * rates[1] // rates[0]


def test_a_flushed_resampler_starts_afresh() -> None:
    audio = pcm(tone(440, 24_000, 50))
    resampler = StreamResampler(24_000, 16_000)
    first = np.concatenate((resampler.process(audio), resampler.flush()))
    second = np.concatenate((resampler.process(audio), resampler.flush()))
    np.testing.assert_array_equal(first, second)


def test_silence_stays_digital_silence() -> None:
    resampler = StreamResampler(24_000, 16_000)
    assert not np.concatenate((resampler.process(bytes(9_600)), resampler.flush())).any()


def test_equal_rates_pass_through() -> None:
    resampler = StreamResampler(16_000, 16_000)
    samples = np.array([0.5, -0.25], np.float32)
    np.testing.assert_array_equal(resampler.process(samples), samples)
    assert resampler.flush().size == 0


@pytest.mark.parametrize("frequency_hz", [200, 1000, 3000])
def test_interpolation_keeps_a_tone_and_delays_it_by_the_documented_samples(
    frequency_hz: int,
) -> None:
    narrow = np.rint(tone(frequency_hz, 8_000, 200) * 32768).astype(np.int16)
    heard = TripleInterpolator().process(narrow)[TripleInterpolator.DELAY_SAMPLES :]
    expected = (tone(frequency_hz, 24_000, 200) * 32768)[: heard.size]
    middle = slice(240, -240)
    assert np.abs(heard[middle] - expected[middle]).max() < 0.002 * 32768


def test_interpolation_leaves_no_audible_image() -> None:
    narrow = np.rint(tone(3_000, 8_000, 1_000) * 32768).astype(np.int16)
    spectrum = np.abs(np.fft.rfft(TripleInterpolator().process(narrow)[1_200:22_800]))
    frequency_hz = np.fft.rfftfreq(21_600, 1 / 24_000)
    assert spectrum[frequency_hz > 4_700].max() < spectrum.max() / 1_000


# --- the client's format --------------------------------------------------------------------


@given(audio=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_pcm_passes_through_whatever_the_cuts(audio: bytes, cuts: list[int]) -> None:
    decoder = InputDecoder("audio/pcm")
    parts = [decoder.decode(piece) for piece in pieces(audio, cuts)]
    assert all(len(part) % 2 == 0 for part in parts)
    assert b"".join(parts) + decoder.pending == audio
    assert len(decoder.pending) == len(audio) % 2


def test_an_odd_byte_waits_for_the_next_append() -> None:
    decoder = InputDecoder("audio/pcm")
    assert decoder.decode(b"\x01") == b""
    assert decoder.decode(b"\x02\x03") == b"\x01\x02"
    assert decoder.pending == b"\x03"
    decoder.clear()
    assert decoder.decode(b"\x04\x05") == b"\x04\x05"


@pytest.mark.parametrize("format_type", G711_FORMATS)
@given(audio=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_g711_gives_three_samples_a_byte_whatever_the_cuts(
    format_type: AudioFormatType, audio: bytes, cuts: list[int]
) -> None:
    whole = InputDecoder(format_type).decode(audio)
    assert len(whole) == 3 * 2 * len(audio)
    decoder = InputDecoder(format_type)
    parts = [decoder.decode(piece) for piece in pieces(audio, cuts)]
    assert [len(part) for part in parts] == [6 * len(piece) for piece in pieces(audio, cuts)]
    assert b"".join(parts) == whole


@pytest.mark.parametrize("format_type", G711_FORMATS)
def test_a_cleared_decoder_starts_afresh(format_type: AudioFormatType) -> None:
    decoder = InputDecoder(format_type)
    first = decoder.decode(ALL_CODES)
    decoder.clear()
    assert decoder.decode(ALL_CODES) == first


def test_mulaw_silence_is_digital_silence() -> None:
    assert InputDecoder("audio/pcmu").decode(b"\xff" * 160) == bytes(960)


def test_pcm_output_passes_through() -> None:
    encoder = OutputEncoder("audio/pcm")
    assert encoder.encode(b"\x01\x02\x03\x04") == b"\x01\x02\x03\x04"
    assert encoder.flush() == b""


@pytest.mark.parametrize("format_type", G711_FORMATS)
@pytest.mark.parametrize("chunk_samples", [1, 100, 480, 10_000])
def test_g711_output_is_complete_after_flush_whatever_the_chunks(
    format_type: AudioFormatType, chunk_samples: int
) -> None:
    audio = pcm(tone(700, 24_000, 200))
    whole = OutputEncoder(format_type)
    expected = whole.encode(audio) + whole.flush()
    assert len(expected) == 8 * 200
    encoder = OutputEncoder(format_type)
    for _ in range(2):  # The second utterance must not hear the first.
        parts = [encoder.encode(chunk) for chunk in au.iter_chunks(audio, 2 * chunk_samples)]
        assert b"".join(parts) + encoder.flush() == expected


@pytest.mark.parametrize("format_type", G711_FORMATS)
def test_a_tone_survives_the_telephone(format_type: AudioFormatType) -> None:
    encoder, decoder = OutputEncoder(format_type), InputDecoder(format_type)
    sent = tone(800, 24_000, 200)
    heard = au.pcm16_to_float32(decoder.decode(encoder.encode(pcm(sent)) + encoder.flush()))
    heard = heard[TripleInterpolator.DELAY_SAMPLES :]
    error = (heard - sent[: heard.size])[480:-480]
    assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(np.mean(sent**2))


# --- files ----------------------------------------------------------------------------------


def test_wav_round_trip(tmp_path: Path) -> None:
    audio = pcm(tone(440, 24_000, 100))
    au.write_wav(tmp_path / "a.wav", audio)
    assert au.read_audio(tmp_path / "a.wav") == audio


def test_reading_mixes_channels_and_resamples(tmp_path: Path) -> None:
    left, right = tone(500, 16_000, 300, 0.4), np.zeros(4_800)
    soundfile.write(tmp_path / "a.flac", np.stack((left, right), axis=1), 16_000)
    heard = au.pcm16_to_float32(au.read_audio(tmp_path / "a.flac"))
    expected = tone(500, 24_000, 300, 0.2)
    assert heard.size == expected.size
    assert np.abs(heard - expected)[240:-240].max() < 0.001


def test_a_missing_file_and_a_file_that_is_no_audio(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        au.read_audio(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(soundfile.SoundFileError):
        au.read_audio(tmp_path / "text.wav")
