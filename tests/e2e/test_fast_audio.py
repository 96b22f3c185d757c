"""Audio that comes in other portions than a microphone's, on the real recogniser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import main
from config import Settings
from tests.e2e.gateway import speech
from tests.harness import RealtimeClient, realtime_url, running_server

PHRASES = ("hello world", "what is the weather in paris", "tell me a story")
WORDS = {"hello": PHRASES[0], "weather": PHRASES[1], "story": PHRASES[2]}
BYTES_PER_MS = 48
MANUAL = {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}}


def silence(ms: int) -> bytes:
    return bytes(BYTES_PER_MS * ms)


@pytest_asyncio.fixture(loop_scope="function")
async def port() -> AsyncIterator[int]:
    settings = Settings.model_validate(
        {"stt": {"provider": "pocketsphinx", "phrases": PHRASES}, "tts": {"provider": "tone"}}
    )
    async with running_server(main.create_app(settings)) as number:
        yield number


async def transcript(client: RealtimeClient) -> str:
    event = await client.wait_for(
        "conversation.item.input_audio_transcription.completed", timeout_s=10
    )
    return event["transcript"]


@pytest.mark.parametrize("chunk_ms", [20, 60, 100, 200])
async def test_push_to_talk_turn_after_turn(port: int, chunk_ms: int) -> None:
    async with RealtimeClient.connect(realtime_url(port)) as client:
        await client.update_session(audio=MANUAL, output_modalities=["text"])
        for name in ("weather", "hello", "story", "hello"):
            await client.append_fast(speech(name), chunk_ms=chunk_ms)
            await client.send({"type": "input_audio_buffer.commit"})
            await client.create_response()
            assert await transcript(client) == WORDS[name]
            assert (await client.collect_response()).status == "completed"


async def test_whole_files_and_portions_do_not_mix(port: int) -> None:
    async with RealtimeClient.connect(realtime_url(port)) as client:
        await client.update_session(audio=MANUAL, output_modalities=["text"])
        for name, chunk_ms in (("hello", 5000), ("weather", 100), ("story", 5000), ("hello", 20)):
            await client.append_fast(speech(name), chunk_ms=chunk_ms)
            await client.send({"type": "input_audio_buffer.commit"})
            assert await transcript(client) == WORDS[name]


async def test_a_committed_file_does_not_interrupt_its_own_answer(port: int) -> None:
    async with RealtimeClient.connect(realtime_url(port)) as client:
        for name in ("weather", "story"):
            await client.append(speech(name))
            await client.send({"type": "input_audio_buffer.commit"})
            await client.create_response(output_modalities=["text"])
            response = await client.collect_response()
            assert (response.status, WORDS[name].split()[-1] in response.text) == (
                "completed",
                name == "weather",
            )
            types = [received.event["type"] for received in client.received]
            committed = len(types) - types[::-1].index("input_audio_buffer.committed")
            assert "input_audio_buffer.speech_started" not in types[committed:]


@pytest.mark.parametrize("prefix_padding_ms", [0, 300])
async def test_turns_in_audio_faster_than_real_time(port: int, prefix_padding_ms: int) -> None:
    detection: dict[str, Any] = {
        "type": "server_vad",
        "prefix_padding_ms": prefix_padding_ms,
        "create_response": False,
    }
    heard = {"transcription": {"model": "whisper-1"}, "turn_detection": detection}
    names = ["weather", "hello", "story"] * 2
    async with RealtimeClient.connect(realtime_url(port)) as client:
        await client.update_session(audio={"input": heard})
        audio = b"".join(silence(700) + speech(name) + silence(1200) for name in names)
        await client.append_fast(silence(40_000) + audio, chunk_ms=3000)
        assert [await transcript(client) for _ in names] == [WORDS[name] for name in names]
