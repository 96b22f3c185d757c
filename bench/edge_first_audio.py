"""Shows that speech of Edge TTS leaves as PCM before its MP3 has arrived, and words are on time.

    python -m bench.edge_first_audio

The service is the double of the test suite, which delivers at a chosen multiple of real time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

from edge_tts import Communicate

from core.messages import WordTime
from providers.edge_tts import EdgeTtsProvider
from tests.doubles import Mode, running_double
from tests.doubles.edge import heard_at_ms, redirected
from tests.providers.service_line import generation_request

from .report import Table

SENTENCES: Final = {
    "short": "Certainly, I can help you with that.",
    "long": "Once upon a time there was a lighthouse at the edge of a cold grey sea, and its "
    "keeper was an old woman who had never once let the lamp go out, whatever the weather.",
}
SPEEDS: Final = (2, 10, 50)
_PIECE_MS: Final = 120
_BYTES_PER_MS: Final = 48


@dataclass(slots=True)
class Arrivals:
    """What the network has brought so far."""

    mp3_bytes: int = 0
    first_at_s: float = 0.0
    last_at_s: float = 0.0

    def note(self, mp3: bytes) -> None:
        self.last_at_s = time.perf_counter()
        self.first_at_s = self.first_at_s or self.last_at_s
        self.mp3_bytes += len(mp3)


@dataclass(frozen=True, slots=True)
class Run:
    """One clause; times count from the first MP3 bytes.

    Attributes:
        first_pcm_ms: When the first PCM was there.
        mp3_then: Share of the MP3 that had arrived by then.
        mp3_ms: When all of the MP3 had arrived.
        speech_ms: How long it lasts.
        stall_ms: The longest the event loop was held.
        word_off_ms: The largest error of a word's time, as the sound itself tells it.
    """

    first_pcm_ms: float
    mp3_then: float
    mp3_ms: float
    speech_ms: float
    stall_ms: float
    word_off_ms: float


async def measure(text: str, times_real: int) -> Run:
    """Speak `text` over a network that brings it `times_real` times as fast as it sounds."""
    arrivals = Arrivals()
    genuine = Communicate.stream

    async def counted(self: Communicate) -> AsyncGenerator[Any, None]:
        chunks: AsyncGenerator[Any, None] = genuine(self)
        async for chunk in chunks:
            if chunk["type"] == "audio":
                arrivals.note(chunk["data"])
            yield chunk

    service = EdgeTtsProvider(voice="en-US-EmmaMultilingualNeural").create_service()
    first: tuple[float, int] | None = None
    pcm = bytearray()
    words: list[WordTime] = []
    async with running_double() as double:
        double.always("edge", Mode("slow", pause_s=_PIECE_MS / 1000 / times_real))
        watch = asyncio.create_task(_longest_stall_ms())
        with redirected(double), patch.object(Communicate, "stream", counted):
            async for piece in service.synthesize(text, generation_request()):
                if isinstance(piece, bytes):
                    first = first or (time.perf_counter(), arrivals.mp3_bytes)
                    pcm += piece
                else:
                    words += piece
        watch.cancel()
        stall_ms = await watch
    assert first is not None, "the double said nothing"
    return Run(
        (first[0] - arrivals.first_at_s) * 1000,
        first[1] / arrivals.mp3_bytes,
        (arrivals.last_at_s - arrivals.first_at_s) * 1000,
        len(pcm) / _BYTES_PER_MS,
        stall_ms,
        max(abs(word.start_ms - heard_at_ms(bytes(pcm), text, word)) for word in words),
    )


async def _longest_stall_ms() -> float:
    """Until cancelled: how much later than asked for the loop came back, at worst."""
    worst_s = 0.0
    while True:
        asked_s = time.perf_counter()
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            return worst_s * 1000
        worst_s = max(worst_s, time.perf_counter() - asked_s - 0.001)


async def main() -> None:
    """Measure each sentence at each speed and print the table."""
    rows: list[tuple[str, ...]] = []
    # What loads on first use, the MP3 encoder of the double above all, is not what is measured.
    await measure("Hello.", 50)
    for name, text in SENTENCES.items():
        for times_real in SPEEDS:
            run = await measure(text, times_real)
            rows.append(
                (
                    name,
                    f"{run.speech_ms / 1000:.1f}",
                    f"{times_real}",
                    f"{run.first_pcm_ms:.0f}",
                    f"{run.mp3_then:.0%}",
                    f"{run.mp3_ms:.0f}",
                    f"{run.stall_ms:.1f}",
                    f"{run.word_off_ms:.0f}",
                )
            )
    header = (
        *("clause", "speech s", "× real time", "first PCM ms"),
        *("MP3 there by then", "whole MP3 ms", "worst stall ms", "worst word off ms"),
    )
    notes = ("Times count from the first bytes of the MP3; a stall is one of the event loop.",)
    print(Table("Edge TTS: first audio", header, rows, notes))


if __name__ == "__main__":
    asyncio.run(main())
