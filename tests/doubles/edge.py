"""The read-aloud service of Microsoft Edge, as edge-tts meets it."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import unescape

import edge_tts.communicate
import numpy as np
import soundfile
from aiohttp import web

from core.messages import WordTime
from providers import tone
from tests.doubles.modes import Mode
from tests.doubles.server import Double
from tests.doubles.sockets import Wire, socket_handler

PATH = "/consumer/speech/synthesize/readaloud/edge/v1"
LEAD_MS = 100
"""Silence ahead of the first word, as the service has it."""

_RATE_HZ = 24_000
_PIECE_BYTES = 720
_TICKS_PER_MS = 10_000
# libsndfile's name for 48 kbit/s at 24 kHz: 144 bytes a frame, without a Xing header.
_48_KBIT = 0.75

_SSML = re.compile(r"<prosody pitch='(.*?)' rate='(.*?)' volume='(.*?)'>(.*)</prosody>", re.S)


def add_routes(app: web.Application, double: Double) -> None:
    """Serve the double under `/edge`."""
    garbage = b"\x00\x05no"
    app.router.add_get(
        f"/{{provider:edge}}{PATH}", socket_handler(double, _serve, _refuse, garbage)
    )


@contextmanager
def redirected(double: Double) -> Generator[None]:
    """Lead edge-tts, whose address is a global of its module, to the double."""
    module: Any = edge_tts.communicate  # The name is not declared to be exported.
    genuine = module.WSS_URL
    module.WSS_URL = f"ws://127.0.0.1:{double.port}/edge{PATH}?TrustedClientToken=double"
    try:
        yield
    finally:
        module.WSS_URL = genuine


def speech(text: str, speed: float = 1.0) -> tuple[bytes, tuple[WordTime, ...]]:
    """What the double says: MP3, and the word times in it, true to the millisecond."""
    pcm, words = tone.render(text, speed)
    samples = np.frombuffer(bytes(LEAD_MS * 48) + pcm + bytes(LEAD_MS * 48), "<i2")
    file = io.BytesIO()
    soundfile.write(
        file,
        samples,
        _RATE_HZ,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=_48_KBIT,
    )
    times = tuple(WordTime(w.start, w.end, w.start_ms + LEAD_MS) for w in words)
    return file.getvalue(), times


def heard_at_ms(pcm: bytes, text: str, word: WordTime) -> float:
    """Where a word of `text` begins in the sound: where the 200 ms around its start fit best.

    Args:
        pcm: What was made of `speech(text)`, s16le mono 24 kHz.
        text: What was said.
        word: With the time that is in question; only 100 ms around that are looked at.
    """
    original = np.frombuffer(bytes(LEAD_MS * 48) + tone.render(text)[0], "<i2")
    heard = np.pad(np.frombuffer(pcm, "<i2").astype(float), (2400, 4800))
    start = next(w.start_ms for w in speech(text)[1] if w.start == word.start) * 24
    sound = original[start - 2400 : start + 2400].astype(float)
    reported = word.start_ms * 24
    # `heard` begins 100 ms early, as `sound` does: the fit at `reported` is the fit on the dot.
    first = max(reported - 2400, 0)
    near = heard[first : reported + 2400 + len(sound)]
    energy = np.convolve(near**2, np.ones(len(sound)), "valid")
    misfit = energy - 2 * np.correlate(near, sound, "valid")
    return (first + int(misfit.argmin())) / 24


def boundary(text: str, word: WordTime, duration_ms: int = 100) -> str:
    """The metadata message of one word."""
    spoken = text[word.start : word.end]
    metadata = {
        "Type": "WordBoundary",
        "Data": {
            "Offset": word.start_ms * _TICKS_PER_MS,
            "Duration": duration_ms * _TICKS_PER_MS,
            "text": {"Text": spoken, "Length": len(spoken), "BoundaryType": "WordBoundary"},
        },
    }
    return _text_message("audio.metadata", {"Metadata": [metadata]})


def _boundaries(text: str, words: tuple[WordTime, ...], end_ms: int) -> list[tuple[int, str]]:
    """Metadata messages by the time in the audio that they speak of."""
    ends = [word.start_ms for word in words[1:]] + [end_ms]
    return [
        (word.start_ms, boundary(text, word, word_end_ms - word.start_ms))
        for word, word_end_ms in zip(words, ends, strict=True)
    ]


def _text_message(path: str, body: Any) -> str:
    head = "X-RequestId:double\r\nContent-Type:application/json; charset=utf-8\r\n"
    return f"{head}Path:{path}\r\n\r\n{json.dumps(body, ensure_ascii=False)}"


def _audio_message(mp3: bytes) -> bytes:
    content_type = b"Content-Type:audio/mpeg\r\n" if mp3 else b""
    head = b"X-RequestId:double\r\n" + content_type + b"X-StreamId:double\r\nPath:audio\r\n"
    return len(head).to_bytes(2, "big") + head + mp3


async def _serve(double: Double, request: web.Request, wire: Wire) -> None:
    async for message in wire.messages():
        if not isinstance(message, str) or "Path:ssml" not in message:
            continue
        found = _SSML.search(message)
        assert found is not None, "the SSML is not what edge-tts sends"
        text = unescape(found[4], {"&apos;": "'", "&quot;": '"'})
        speed = 1 + int(found[2].rstrip("%")) / 100
        await wire.send_text_aside(_text_message("turn.start", {"context": {}}))
        await wire.send_text_aside(_text_message("response", {"context": {}}))
        if wire.mode.kind == "raw":
            for piece in wire.mode.pieces:
                await wire.send(_audio_message(piece) if isinstance(piece, bytes) else piece)
        else:
            await _speak(wire, text, speed)
        await wire.send_text_aside(_text_message("turn.end", {}))


async def _speak(wire: Wire, text: str, speed: float) -> None:
    mp3, words = await asyncio.to_thread(speech, text, speed)
    pending = _boundaries(text, words, len(mp3) // 6 - LEAD_MS)
    for start in range(0, len(mp3), _PIECE_BYTES):
        end_ms = (start + _PIECE_BYTES) // 6
        while pending and pending[0][0] < end_ms:
            await wire.send_text_aside(pending.pop(0)[1])
        await wire.send(_audio_message(mp3[start : start + _PIECE_BYTES]))
    await wire.send(_audio_message(b""))


def _refuse(mode: Mode) -> web.Response:
    return web.Response(status=mode.status, headers=mode.headers)
