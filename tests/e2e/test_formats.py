"""G.711 at either end, and each end by itself."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from tests.e2e.gateway import HELLO, Gateway, tone
from tests.e2e.wire import MANUAL, TEXT, ask, configure, fields, respond, retrieve, shown
from tests.harness import RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

G711_BYTES_PER_MS = 8
SUBTYPES = {"g711_ulaw": "ULAW", "g711_alaw": "ALAW"}


def narrow(pcm: bytes) -> NDArray[np.float32]:
    """s16le 24 kHz as samples at 8 kHz."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    return soxr.resample(samples, 24_000, 8000)


def to_g711(pcm: bytes, name: str) -> bytes:
    """s16le 24 kHz in G.711, by another implementation than the gateway's."""
    file = io.BytesIO()
    soundfile.write(file, narrow(pcm), 8000, format="RAW", subtype=SUBTYPES[name])
    return file.getvalue()


def from_g711(audio: bytes, name: str) -> NDArray[np.float32]:
    samples, _ = soundfile.read(
        io.BytesIO(audio),
        dtype="float32",
        format="RAW",
        samplerate=8000,
        channels=1,
        subtype=SUBTYPES[name],
    )
    return np.asarray(samples, np.float32)


def likeness(heard: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Correlation of two recordings of about the same length, 1.0 for the same sound.

    A filter's delay of up to 2 ms at 24 kHz is allowed.
    """
    length = min(len(heard), len(expected)) - 48
    return max(
        float(np.corrcoef(heard[lag : lag + length], expected[:length])[0, 1]) for lag in range(49)
    )


@pytest.mark.parametrize("name", SUBTYPES)
async def test_g711_is_heard(gateway: Gateway, dialect: Any, hello: bytes, name: str) -> None:
    async with gateway.connect(dialect) as client:
        session = await configure(client, input_audio_format=name, **TEXT)
        assert shown(dialect, session, "output_audio_format") in (
            "pcm16",
            {"type": "audio/pcm", "rate": 24_000},
        )
        audio = bytes([0xFF if name == "g711_ulaw" else 0xD5])
        silent = audio * (500 * G711_BYTES_PER_MS)
        call = silent + to_g711(hello, name) + silent * 2
        await client.append_fast(call, chunk_ms=20, bytes_per_ms=G711_BYTES_PER_MS)
        started = await client.wait_for("input_audio_buffer.speech_started")
        stopped = await client.wait_for("input_audio_buffer.speech_stopped")
        assert abs(started["audio_start_ms"] - (500 + 200 - 300)) <= 100
        assert abs(stopped["audio_end_ms"] - (500 + 1080 + 500)) <= 100
        assert (await client.collect_response()).text == f"You said: {HELLO}."


@pytest.mark.parametrize("name", SUBTYPES)
async def test_g711_is_spoken(client: RealtimeClient, name: str) -> None:
    await configure(client, output_audio_format=name)
    response = await ask(client, "good morning")
    expected = narrow(tone("You said: good morning."))
    heard = from_g711(response.audio, name)
    assert abs(len(heard) - len(expected)) <= 1
    assert likeness(heard, expected) > 0.99


async def test_one_response_may_have_a_format_of_its_own(client: RealtimeClient) -> None:
    said = "You said: hi."
    narrowband = await ask(client, "hi", output_audio_format="g711_ulaw")
    assert likeness(from_g711(narrowband.audio, "g711_ulaw"), narrow(tone(said))) > 0.99
    assert (await respond(client)).audio == tone(said)


async def test_the_input_format_changes_between_appends(
    gateway: Gateway, dialect: Any, hello: bytes
) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **MANUAL)
        await client.append_fast(hello)
        # Not waiting for the answer: what is sent behind the update is in the new format.
        await client.update_session(**fields(dialect, input_audio_format="g711_ulaw"))
        await client.append_fast(
            to_g711(hello, "g711_ulaw"), chunk_ms=20, bytes_per_ms=G711_BYTES_PER_MS
        )
        await client.send({"type": "input_audio_buffer.commit"})
        committed = await client.wait_for("input_audio_buffer.committed")
        (part,) = (await retrieve(client, committed["item_id"]))["content"]
        audio = base64.b64decode(part["audio"])
        assert audio.startswith(hello)
        pcm = np.frombuffer(audio[len(hello) :], "<i2").astype(np.float32)
        expected = np.frombuffer(hello, "<i2").astype(np.float32)
        assert abs(len(pcm) - len(expected)) <= 3
        assert likeness(pcm, expected) > 0.95
