"""Recorded replies: any sound file as 24 kHz mono, beside its script, with words spread over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.messages import WordTime
from protocol import ConfigError
from providers.recording import load_recording, play
from providers.script_file import load_script
from providers.script_reply import Finish, PlayRecording, SayToken, reply
from providers.script_rules import Asked, Conversation


def beep(path: Path, rate_hz: int, channels: int) -> None:
    """A second of 440 Hz, on the first channel only."""
    sine = np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz) * 0.5
    silence = np.zeros((rate_hz, channels - 1))
    soundfile.write(path, np.column_stack([sine, silence]), rate_hz, subtype="PCM_16")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_number_of_channels(tmp_path: Path, rate_hz: int, channels: int) -> None:
    path = tmp_path / f"{rate_hz}.wav"
    beep(path, rate_hz, channels)
    samples = np.frombuffer(load_recording(path), "<i2")
    assert len(samples) == 24_000
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(spectrum.argmax()) == 440
    assert np.abs(samples).max() == pytest.approx(16_384 / channels, rel=0.05)


def test_words_are_spread_over_the_recording() -> None:
    pieces = list(play(bytes(48_000), "one two, four"))
    assert pieces[0] == (WordTime(0, 3, 0), WordTime(4, 7, 307), WordTime(9, 13, 692))
    assert [len(piece) for piece in pieces[1:]] == [9_600] * 5
    assert [len(piece) for piece in play(bytes(9_602), "")] == [9_600, 2]


def script(folder: Path, action: str) -> Path:
    path = folder / "replies.yaml"
    path.write_text(f"version: 1\nrules:\n  - {{id: a, do: [{{say: Listen.}}, {action}]}}\n")
    return path


def test_a_script_names_a_file_beside_it(tmp_path: Path) -> None:
    beep(tmp_path / "beep.wav", 24_000, 1)
    found = load_script(script(tmp_path, "{say_audio: beep.wav, text: 'Hi {user}'}"))
    asked = Asked(Conversation("you", 1, (), "", 0))
    said = (SayToken("Listen."), PlayRecording(" Hi you", load_recording(tmp_path / "beep.wav")))
    assert reply(found, asked) == (*said, Finish("stop", 3))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "line 3, rule 'a', rules[0].do[1].say_audio: cannot read"),
        (b"ID3 no sound", "beep.wav is no WAV, FLAC, OGG or MP3 file"),
        (b"", "beep.wav is no WAV, FLAC, OGG or MP3 file"),
    ],
)
def test_a_file_that_cannot_be_played(tmp_path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / "beep.wav").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_script(script(tmp_path, "{say_audio: beep.wav}"))
    assert told in str(caught.value)


def test_a_file_without_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "beep.wav", np.zeros(0), 24_000)
    with pytest.raises(ConfigError, match="holds no audio"):
        load_script(script(tmp_path, "{say_audio: beep.wav}"))
