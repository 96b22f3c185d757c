"""Whether all audio that was appended was fed on: an append has no other reply."""

from __future__ import annotations

from typing import Any

import pybase64

from tests.fuzz.mirror import Event
from tests.fuzz.replies import Fate

_SAMPLES_PER_G711_BYTE = 3
_PCM = ({"type": "audio/pcm", "rate": 24_000}, "pcm16")


class AppendLedger:
    """Counts samples in and out; an odd byte waits for the next append."""

    def __init__(self) -> None:
        self._format: Any = None
        self._carried_bytes = 0
        self._owed_samples = 0
        self._trusted = True

    def session(self, session: Event) -> None:
        """`session.created` or `session.updated`: appends are in this format from now on."""
        heard = session["audio"]["input"] if "audio" in session else session
        wanted = heard["format"] if "audio" in session else heard["input_audio_format"]
        if wanted != self._format:
            self._format, self._carried_bytes = wanted, 0

    def sent(self, fate: Fate) -> None:
        """A message of the client was carried out, or not."""
        kind = fate.event.get("type") if fate.event else None
        if kind == "input_audio_buffer.clear" and fate.outcome == "applied":
            self._carried_bytes = 0
        elif kind != "input_audio_buffer.append" or fate.event is None:
            return
        elif fate.error is None:
            self._append(len(pybase64.b64decode(fate.event["audio"])))
        elif "buffer is full" in fate.error["message"]:
            # A long append is worked off in pieces: who knows how many were taken.
            self._trusted = False

    def _append(self, size_bytes: int) -> None:
        if self._format in _PCM:
            size_bytes += self._carried_bytes
            self._carried_bytes = size_bytes % 2
            self._owed_samples += size_bytes // 2
        else:
            self._owed_samples += size_bytes * _SAMPLES_PER_G711_BYTE

    def settle(self, fed_samples: int) -> list[str]:
        """What is wrong after so many samples were fed."""
        owed, self._owed_samples = self._owed_samples, 0
        if not self._trusted or owed == fed_samples:
            return []
        return [f"I8: {fed_samples} samples were fed of {owed} that were appended"]
