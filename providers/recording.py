"""Recorded speech in place of a voice: the samples of a file, and where its words are in them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from soundfile import SoundFileError

from audio_utils import iter_chunks, read_audio
from core.messages import WordTime
from protocol import SAMPLE_RATE_HZ

from .words import find_words

_PIECE_BYTES = SAMPLE_RATE_HZ * 2 // 5
"""200 ms."""
_BYTES_PER_MS = SAMPLE_RATE_HZ * 2 // 1000


@lru_cache(maxsize=64)
def load_recording(path: Path) -> bytes:
    """The samples of a sound file, s16le mono 24 kHz.

    Raises:
        ValueError: it cannot be read or holds no audio, in words for whoever named it.
    """
    try:
        pcm = read_audio(path, SAMPLE_RATE_HZ)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except SoundFileError as error:
        raise ValueError(f"{path} is no WAV, FLAC, OGG or MP3 file") from error
    if not pcm:
        raise ValueError(f"{path} holds no audio")
    return pcm


def play(pcm: bytes, text: str) -> Iterator[tuple[WordTime, ...] | bytes]:
    """A recording as a voice would speak it: word times, then the audio in pieces of 200 ms.

    The words of `text` are taken to be spread over the recording in proportion to their place.
    """
    duration_ms = len(pcm) // _BYTES_PER_MS
    if words := find_words(text):
        yield tuple(
            WordTime(word.start, word.end, duration_ms * word.start // len(text)) for word in words
        )
    yield from iter_chunks(pcm, _PIECE_BYTES)
