"""Lets speech take the time that a script's latency profile says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from .script import Latency
from .tts_service import SAMPLE_RATE_HZ, Speech

Sleep = Callable[[float], Awaitable[None]]


async def timed(speech: Speech, latency: Latency, sleep: Sleep) -> Speech:
    """The speech of one clause, each piece when it is due.

    Args:
        speech: What to hand on; closed when this is.
        latency: `tts_first_audio_ms` and `tts_realtime_factor` are of interest.
        sleep: How time passes.
    """
    await sleep(latency.tts_first_audio_ms / 1000)
    async with aclosing(speech):
        async for piece in speech:
            yield piece
            spoken_s = len(piece) / (2 * SAMPLE_RATE_HZ) if isinstance(piece, bytes) else 0.0
            # Also for 0 s: the consumer may take a piece without giving way to other sessions.
            await sleep(spoken_s * latency.tts_realtime_factor)
