"""WAV to base64 and back: what `input_audio_buffer.append` takes, and what audio deltas hold.

encode IN.wav             one line of base64 for each 100 ms, to stdout
decode LINES OUT.wav      lines of base64, or of JSON events with audio deltas among them
"""

from __future__ import annotations

import base64
import json
import sys
import wave
from pathlib import Path

RATE_HZ = 24_000
AUDIO_DELTAS = ("response.output_audio.delta", "response.audio.delta")  # GA, beta


def encode(path: str) -> None:
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            sys.exit(f"{path} must be 16-bit mono at {RATE_HZ} Hz")
        while chunk := file.readframes(RATE_HZ // 10):
            print(base64.b64encode(chunk).decode())


def delta(line: str) -> str:
    """The base64 of a line; empty for events without audio."""
    if not line.startswith("{"):
        return line
    event = json.loads(line)
    return event["delta"] if event["type"] in AUDIO_DELTAS else ""


def decode(lines: str, out: str) -> None:
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
        # Each line is decoded by itself: base64 that is joined first breaks at its padding.
        for line in Path(lines).read_text("utf-8").splitlines():
            file.writeframes(base64.b64decode(delta(line.strip())))
        print(f"{file.tell() / RATE_HZ:.1f} s of audio in {out}")


match sys.argv[1:]:
    case ["encode", path]:
        encode(path)
    case ["decode", lines, out]:
        decode(lines, out)
    case _:
        sys.exit(__doc__)
