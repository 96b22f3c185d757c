"""The same input gives the same frames, byte for byte but for ids and times, in any process."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clients.gateway import running_gateway
from tests.testing.conversation import converse, masked

SCRIPT = Path(__file__).parent / "same.yaml"
CUTS = ((4800, 0.0), (960, 0.0), (2000, 0.001), (96_000, 0.0))
"""How a client may send the same audio: bytes of a chunk, and seconds between two."""


async def test_two_servers_say_the_same_however_the_audio_comes(tmp_path: Path) -> None:
    conversations: list[list[str]] = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        with running_gateway(folder, "--script", str(SCRIPT), TTS_PROVIDER="tone") as gateway:
            for chunk_bytes, pause_s in CUTS:
                frames = await converse(gateway.port, chunk_bytes=chunk_bytes, pause_s=pause_s)
                conversations.append(masked(frames))
    kinds = [json.loads(frame)["type"] for frame in conversations[0]]
    assert kinds.count("response.done") == 7
    assert kinds.count("response.function_call_arguments.done") == 2
    assert kinds.count("conversation.item.input_audio_transcription.delta") >= 4
    for other in conversations[1:]:
        assert other == conversations[0]


async def test_a_client_that_does_not_wait_gets_the_same_of_each_kind(tmp_path: Path) -> None:
    """Transcript and reply are made side by side then: each is the same, their mixture may vary."""
    with running_gateway(tmp_path, "--script", str(SCRIPT), TTS_PROVIDER="tone") as gateway:
        told: list[tuple[list[str], list[str]]] = []
        for chunk_bytes, pause_s in CUTS:
            frames = await converse(
                gateway.port, chunk_bytes=chunk_bytes, pause_s=pause_s, patient=False
            )
            transcript = [frame for frame in frames if "input_audio_transcription" in frame[:80]]
            others = [frame for frame in frames if frame not in transcript]
            told.append((masked(transcript), masked(others)))
    for other in told[1:]:
        assert other == told[0]
