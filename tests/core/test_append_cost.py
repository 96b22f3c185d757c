"""What an append costs does not grow with what was appended before."""

from __future__ import annotations

import tracemalloc

from protocol import InputAudioAppend
from tests.core.kit import MANUAL, Core, pcm

_CHUNK_MS = 100
_BUFFER_MS = 10 * 60_000


def test_an_append_to_ten_minutes_of_audio_copies_none_of_them() -> None:
    """Speaches joins its whole buffer anew with each of them."""
    core = Core()
    core.update(MANUAL)
    chunk = pcm(_CHUNK_MS)
    for _ in range(_BUFFER_MS // _CHUNK_MS):
        core.raw(InputAudioAppend(chunk, None))
    tracemalloc.start()
    try:
        for _ in range(10):
            core.raw(InputAudioAppend(chunk, None))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100 * len(chunk)
