"""The speech a load client sends: real recordings where there are any, else the committed ones."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE_HZ = 24_000
BYTES_PER_MS = RATE_HZ * 2 // 1000

_PROJECT = Path(__file__).resolve().parents[1]
_FIXTURES = _PROJECT / "tests" / "fixtures"

# Of the recordings those without a pause that the default silence window takes for an end.
_RECORDED = ("en_weather", "en_seven_of_clubs", "en_cards_long", "en_ill_disposed")
# From the table in tests/fixtures/README.md.
_SYNTHESISED = {"weather": (220, 1600), "hello": (200, 1080), "story": (260, 1260)}

# -70 dBFS: below what starts a turn, and above the digital silence that turn detection skips
# without asking its model. A microphone is never exactly silent.
_ROOM_TONE_RMS = 3e-4
_ROOM_TONE_MS = 20_000


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance.

    Attributes:
        pcm: s16le mono 24 kHz.
        speech_start_ms: Where in `pcm` speech begins.
        speech_end_ms: Where it ends; known to about ±32 ms.
    """

    name: str
    pcm: bytes
    speech_start_ms: float
    speech_end_ms: float


@cache
def load_clips(count: int) -> tuple[Clip, ...]:
    """The first `count` clips, as far as there are so many."""
    folder = Path(os.environ.get("REALTIME_AUDIO_DIR") or _PROJECT.parent / "shared" / "audio")
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return tuple(
            Clip(name, _read(_FIXTURES / f"{name}.wav"), *bounds)
            for name, bounds in list(_SYNTHESISED.items())[:count]
        )
    entries = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    bounds = {e["file"]: (e["speech_start_ms"], e["speech_end_ms"]) for e in entries}
    return tuple(
        Clip(name, _read(folder / f"{name}.flac"), *bounds[f"{name}.flac"])
        for name in _RECORDED[:count]
    )


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recording with whatever pauses there are in it.

    Attributes:
        pcm: s16le mono 24 kHz.
        speech_ms: Begin and end of each stretch of speech in `pcm`.
    """

    name: str
    pcm: bytes
    speech_ms: tuple[tuple[float, float], ...]

    def turns(self, silence_ms: float) -> list[tuple[float, float]]:
        """The stretches, joined over pauses that are shorter than this."""
        turns: list[tuple[float, float]] = []
        for begin_ms, end_ms in self.speech_ms:
            if turns and begin_ms - turns[-1][1] < silence_ms:
                turns[-1] = (turns[-1][0], end_ms)
            else:
                turns.append((begin_ms, end_ms))
        return turns


def spoken_recordings(count: int) -> tuple[Spoken, ...]:
    """The first `count` recordings of speech, those with pauses first."""
    folder = Path(os.environ.get("REALTIME_AUDIO_DIR") or _PROJECT.parent / "shared" / "audio")
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        clips = load_clips(count)
        return tuple(
            Spoken(clip.name, clip.pcm, ((clip.speech_start_ms, clip.speech_end_ms),))
            for clip in clips
        )
    entries = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    speech = [entry for entry in entries if entry["kind"] == "speech"]
    speech.sort(key=lambda entry: -len(entry["speech_ms_silero"]))
    return tuple(
        Spoken(
            Path(entry["file"]).stem,
            _read(folder / entry["file"]),
            tuple((begin, end) for begin, end in entry["speech_ms_silero"]),
        )
        for entry in speech[:count]
    )


def room_tone(duration_ms: int) -> bytes:
    """Faint noise, the same in every run; at most `_ROOM_TONE_MS` of it."""
    noise = np.random.default_rng(1).normal(0, _ROOM_TONE_RMS, _ROOM_TONE_MS * RATE_HZ // 1000)
    return _s16le(noise)[: duration_ms * BYTES_PER_MS]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One user's side of an endless conversation: played from its end it starts over.

    Attributes:
        pcm: A whole number of 100 ms.
        speech_ms: Begin and end of each utterance in `pcm`.
    """

    pcm: bytes
    speech_ms: tuple[tuple[float, float], ...]

    @property
    def duration_ms(self) -> int:
        return len(self.pcm) // BYTES_PER_MS

    def speech_ended_s(self, at_s: float) -> float:
        """When, before `at_s` of endless playing, an utterance was last over."""
        laps, within_ms = divmod(at_s * 1000, self.duration_ms)
        ended_ms = max(
            (end_ms for _, end_ms in self.speech_ms if end_ms <= within_ms),
            default=self.speech_ms[-1][1] - self.duration_ms,
        )
        return (laps * self.duration_ms + ended_ms) / 1000


@cache
def conversation(clips: tuple[Clip, ...], pause_ms: int) -> Conversation:
    """All clips one after the other, each behind it `pause_ms` and a little of room tone."""
    pcm = b""
    bounds: list[tuple[float, float]] = []
    for clip in clips:
        start_ms = len(pcm) / BYTES_PER_MS
        bounds.append((start_ms + clip.speech_start_ms, start_ms + clip.speech_end_ms))
        pcm += clip.pcm
        pcm += room_tone(pause_ms)
        pcm += room_tone(1000)[: -len(pcm) % (100 * BYTES_PER_MS)]
    return Conversation(pcm, tuple(bounds))


def _read(path: Path) -> bytes:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return _s16le(soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ))


def _s16le(samples: NDArray[np.floating]) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes()
