"""The process that speaks with espeak-ng: one clause at a time, s16le 24 kHz PCM out.

espeak-ng is GPLv3+ and comes as the package `espeakng-loader`; nothing of it runs in the server.
"""

from __future__ import annotations

import json

import numpy as np
import soxr
from numpy.typing import NDArray

from .espeak_library import EngineError, Espeak, WordEvent
from .voices import Run, Voice, split_by_script
from .word_timeline import WordTimeline
from .worker_channel import BOOT_REQUEST, EngineChannel, Kind

_OUTPUT_RATE_HZ = 24_000
_CHUNK_BYTES = _OUTPUT_RATE_HZ // 10 * 2
# espeak-ng is some 600 times faster than real time: holding the audio of a clause back, so that
# its word times can go ahead, costs a few milliseconds. A very long text starts before its end.
_HOLD_BACK_BYTES = 10 * _OUTPUT_RATE_HZ * 2
_LAST_RESORT = Voice("en-us")


class Clause:
    """One request being spoken: runs of several voices become one gapless stream."""

    def __init__(self, channel: EngineChannel, request_id: int, text: str, rate_hz: int) -> None:
        self._channel = channel
        self._request_id = request_id
        self._rate_hz = rate_hz
        self._samples = 0
        self._run = Run(0, "", _LAST_RESORT)
        self._run_start_ms = 0
        self._words = WordTimeline(text)
        self._pcm = bytearray()
        self._streaming = False
        self._resampler = soxr.ResampleStream(
            rate_hz, _OUTPUT_RATE_HZ, 1, dtype="int16", quality="HQ"
        )

    def begin(self, run: Run) -> None:
        """What comes next belongs to `run`."""
        self._run = run
        self._run_start_ms = self._now_ms

    def deliver(self, audio: NDArray[np.int16], words: list[WordEvent]) -> bool:
        """Take a piece of the current run; False once the request is cancelled."""
        if self._channel.is_cancelled(self._request_id):
            return False
        for word in words:
            self._words.add(
                self._run.start + word.offset, word.length, self._run_start_ms + word.start_ms
            )
        self._samples += len(audio)
        self._pcm += self._resampler.resample_chunk(audio).tobytes()
        self._streaming = self._streaming or len(self._pcm) >= _HOLD_BACK_BYTES
        if self._streaming:
            self._send(len(self._pcm) // _CHUNK_BYTES * _CHUNK_BYTES)
        return True

    def end(self) -> None:
        """Send what is left."""
        self._words.finish(self._now_ms)
        self._pcm += self._resampler.resample_chunk(np.zeros(0, np.int16), last=True).tobytes()
        self._send(len(self._pcm))

    @property
    def _now_ms(self) -> int:
        return self._samples * 1000 // self._rate_hz

    def _send(self, length: int) -> None:
        if words := self._words.take():
            self._channel.send(Kind.WORDS, self._request_id, json.dumps(words).encode())
        for start in range(0, length, _CHUNK_BYTES):
            chunk = bytes(self._pcm[start : min(start + _CHUNK_BYTES, length)])
            self._channel.send(Kind.PCM, self._request_id, chunk)
        del self._pcm[:length]


def speak(
    espeak: Espeak, channel: EngineChannel, request_id: int, payload: bytes, default: Voice
) -> None:
    """Serve one request: `{"text", "voice", "own_voice", "rate_wpm"}`.

    `own_voice` speaks where `voice` is empty or unknown; without it, the default does.
    """
    request = json.loads(payload)
    if own := request.get("own_voice"):
        default = espeak.catalogue.find(own, _LAST_RESORT) or default
    text: str = request["text"]
    wanted: str = request["voice"]
    voice = espeak.catalogue.find(wanted, default) if wanted else default
    clause = Clause(channel, request_id, text, espeak.sample_rate_hz)
    try:
        runs = split_by_script(text, voice or default, default)
        for run in runs:
            clause.begin(run)
            # Pauses follow punctuation; a change of voice inside the clause makes none.
            end_pause = run is runs[-1] and not text.rstrip()[-1:].isalnum()
            espeak.speak(
                run.text,
                run.voice,
                rate_wpm=request["rate_wpm"],
                end_pause=end_pause,
                deliver=clause.deliver,
            )
            if channel.is_cancelled(request_id):
                return
        clause.end()
    except EngineError as error:
        channel.send(Kind.FAILED, request_id, str(error).encode())
    else:
        answer = {"voice_known": voice is not None}
        channel.send(Kind.DONE, request_id, json.dumps(answer).encode())


def main() -> None:
    channel = EngineChannel()
    espeak: Espeak | None = None
    default = _LAST_RESORT
    while (message := channel.receive(timeout_s=None)) is not None:
        if message.kind is Kind.CONFIGURE:
            try:
                espeak = Espeak()
            except EngineError as error:
                channel.send(Kind.FAILED, BOOT_REQUEST, str(error).encode())
                return
            name = json.loads(message.payload)["voice"]
            default = espeak.catalogue.find(name, _LAST_RESORT) or _LAST_RESORT
            channel.send(Kind.READY, BOOT_REQUEST)
        elif message.kind is Kind.OPEN and not channel.is_cancelled(message.request_id):
            assert espeak is not None
            speak(espeak, channel, message.request_id, message.payload, default)


if __name__ == "__main__":
    main()
