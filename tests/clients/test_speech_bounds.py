"""Where turns begin and end in every recording, and what is no turn at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest

from tests.clients.conversation import BOUNDS_TOLERANCE_MS, PREFIX_PADDING_MS, Clip
from tests.clients.gateway import Gateway, running_gateway
from tests.conftest import SharedAudio
from tests.harness import RealtimeClient, realtime_url

SILENCE_MS = 500
LEAD_MS = 512
"""Silence ahead of a recording, so that no prefix padding is cut off.

It is 16 windows of Silero long: the gap in "one two three" is so close to the silence window that
the manifest's own grid of windows decides whether it ends a turn.
"""

Bounds = list[tuple[float, float]]


@pytest.fixture(scope="module")
def scripted_gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    """A gateway whose recogniser costs nothing: only turn detection is looked at here."""
    folder = tmp_path_factory.mktemp("scripted_gateway")
    with running_gateway(folder, STT_PROVIDER="scripted", TTS_PROVIDER="tone") as gateway:
        yield gateway
        assert gateway.complaints() == []


async def detect(gateway: Gateway, pcm: bytes, sentinel: Clip) -> Bounds:
    """Beginning and end of each turn that is detected in a recording, in milliseconds.

    A known utterance behind it shows that the whole recording has been looked at.
    """
    gap_ms = 2 * SILENCE_MS
    async with RealtimeClient.connect(realtime_url(gateway.port)) as client:
        detection = {"type": "server_vad", "create_response": False}
        await client.update_session(audio={"input": {"turn_detection": detection}})
        await client.wait_for("session.updated")
        recording = await client.speak(
            pcm, before_ms=LEAD_MS, after_ms=gap_ms, chunk_ms=100, realtime=False
        )
        known = await client.speak(
            sentinel.pcm, before_ms=0, after_ms=gap_ms, chunk_ms=100, realtime=False
        )
        found: Bounds = []
        while True:
            started = await client.wait_for("input_audio_buffer.speech_started")
            stopped = await client.wait_for("input_audio_buffer.speech_stopped")
            assert started["item_id"] == stopped["item_id"]
            bounds = started["audio_start_ms"], stopped["audio_end_ms"]
            if bounds[1] > known.start_ms:
                expected = [(sentinel.speech_start_ms, sentinel.speech_end_ms)]
                assert_close([bounds], expected, known.start_ms)
                return found
            found.append((bounds[0] - recording.start_ms, bounds[1] - recording.start_ms))


def turns_of(entry: dict[str, Any]) -> Bounds:
    """The turns that follow from a recording's stretches of speech and the silence window."""
    turns: Bounds = []
    for start, end in entry["speech_ms_silero"]:
        if turns and start - turns[-1][1] < SILENCE_MS:
            turns[-1] = turns[-1][0], end
        else:
            turns.append((start, end))
    return turns


def assert_close(found: Bounds, expected: Bounds, offset_ms: float = 0) -> None:
    """Compare the bounds on the wire with those of the speech itself."""
    assert len(found) == len(expected), (found, expected)
    earliest = -LEAD_MS
    for (start, end), (speech_start, speech_end) in zip(found, expected, strict=True):
        # The padding of a turn does not reach into the turn before it.
        wanted_start = max(offset_ms + speech_start - PREFIX_PADDING_MS, earliest)
        wanted_end = offset_ms + speech_end + SILENCE_MS
        assert abs(start - wanted_start) <= BOUNDS_TOLERANCE_MS, (found, expected)
        assert abs(end - wanted_end) <= BOUNDS_TOLERANCE_MS, (found, expected)
        earliest = end


async def test_turns_match_the_manifest(
    scripted_gateway: Gateway,
    shared_audio: SharedAudio,
    manifest: dict[str, dict[str, Any]],
    clip: Callable[[str], Clip],
) -> None:
    entries = {name: entry for name, entry in manifest.items() if entry["kind"] == "speech"}
    assert len(turns_of(entries["en_two_turns_1500ms"])) == 2
    assert len(turns_of(entries["en_two_turns_400ms"])) == 1
    assert len(turns_of(entries["en_jfk"])) == 4

    async def check(name: str) -> str:
        found = await detect(scripted_gateway, shared_audio(name), clip("en_seven_of_clubs"))
        try:
            assert_close(found, turns_of(entries[name]))
        except AssertionError as off:
            return f"{name}: {off}"
        return ""

    problems = await asyncio.gather(*map(check, entries))
    assert [problem for problem in problems if problem] == []


async def test_noise_and_music_start_no_turn(
    scripted_gateway: Gateway,
    shared_audio: SharedAudio,
    manifest: dict[str, dict[str, Any]],
    clip: Callable[[str], Clip],
) -> None:
    names = [name for name, entry in manifest.items() if entry["kind"] in {"noise", "music"}]
    assert names
    found = await asyncio.gather(
        *(detect(scripted_gateway, shared_audio(n), clip("en_seven_of_clubs")) for n in names)
    )
    assert {name: turns for name, turns in zip(names, found, strict=True) if turns} == {}
