"""Each provider serves typed and spoken turns of the official SDK, and tools where it has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from providers import tone
from tests.doubles import Double, raw
from tests.doubles.openai_api import chat_chunk, usage
from tests.doubles.tiny_whisper import TRANSCRIPT, build_tiny_whisper
from tests.harness import BYTES_PER_MS
from tests.providers.sdk import HEARD, HELLO, KEY, talking_to

HOST = "{url}"
"""In a setting: where the double of that name is."""

STT: dict[str, dict[str, str]] = {
    "deepgram": {"STT_PROVIDER": "deepgram"},
    "openai": {"STT_PROVIDER": "openai_whisper"},
    "siliconflow": {"STT_PROVIDER": "siliconflow"},
    "local": {"STT_PROVIDER": "local_whisper", "WHISPER_DEVICE": "cpu", "WHISPER_THREADS": "1"},
}
LLM: dict[str, dict[str, str]] = {
    "openai": {"LLM_PROVIDER": "openai"},
    "siliconflow": {"LLM_PROVIDER": "siliconflow"},
    "ollama": {"LLM_PROVIDER": "ollama"},
}
TTS: dict[str, dict[str, str]] = {
    "edge": {"TTS_PROVIDER": "edge_tts"},
    "elevenlabs": {"TTS_PROVIDER": "elevenlabs"},
    "openai": {"TTS_PROVIDER": "openai_tts"},
    "siliconflow": {"TTS_PROVIDER": "siliconflow"},
}
ANY_SERVER: dict[str, dict[str, str]] = {
    "openai_whisper": {
        "STT_PROVIDER": "openai_whisper",
        "OPENAI_STT_BASE_URL": HOST,
        "OPENAI_STT_API_KEY": KEY,
        "WHISPER_MODEL": "FunAudioLLM/SenseVoiceSmall",
    },
    "openai": {"LLM_PROVIDER": "openai", "OPENAI_BASE_URL": HOST, "OPENAI_MODEL": "qwen3"},
    "openai_tts": {
        "TTS_PROVIDER": "openai_tts",
        "OPENAI_TTS_BASE_URL": HOST,
        "OPENAI_TTS_VOICE": "af_heart",
    },
}
ROWS = [
    *(pytest.param(name, row, id=f"stt-{name}") for name, row in STT.items()),
    *(pytest.param(name, row, id=f"llm-{name}") for name, row in LLM.items()),
    *(pytest.param(name, row, id=f"tts-{name}") for name, row in TTS.items()),
    *(pytest.param("siliconflow", row, id=f"any-{name}") for name, row in ANY_SERVER.items()),
]
SERVERS = [
    *(pytest.param(name, row, id=name) for name, row in LLM.items()),
    pytest.param("vllm", ANY_SERVER["openai"], id="any"),
]
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_whisper(tmp_path_factory.mktemp("whisper"))


def settings(
    provider: str, row: dict[str, str], whisper: Path | None = None
) -> Callable[[Double], dict[str, str]]:
    """The settings of a row, with what is known only when the double runs."""

    def filled(double: Double) -> dict[str, str]:
        found = {name: value.format(url=double.url(provider)) for name, value in row.items()}
        return found | ({"WHISPER_MODEL": str(whisper)} if provider == "local" else {})

    return filled


def assert_said(reply: Any, text: str) -> None:
    """The reply said `text`; MP3 adds silence around it."""
    assert reply.transcript == text
    spoken_ms = len(tone.render(text)[0]) / BYTES_PER_MS
    assert spoken_ms <= reply.audio_ms <= spoken_ms + 1000


@pytest.mark.parametrize(("provider", "row"), ROWS)
async def test_a_typed_and_a_spoken_turn(provider: str, row: dict[str, str], whisper: Path) -> None:
    async with talking_to(settings(provider, row, whisper)) as (double, talk):
        await talk.configure(automatic=True)
        assert_said(await talk.ask(HEARD), HELLO)
        heard, reply = await talk.talk_freely()
        expected = TRANSCRIPT if provider == "local" else HEARD
        assert heard["transcript"] == expected
        assert_said(reply, f"You said: {expected}.")
        assert {request.provider for request in double.log} == {provider} - {"local"}


@pytest.mark.parametrize(("provider", "row"), SERVERS)
async def test_a_tool_call_and_its_result(provider: str, row: dict[str, str]) -> None:
    async with talking_to(settings(provider, row)) as (double, talk):
        await talk.configure(tools=[WEATHER])
        asked = await talk.ask("what is the weather?")
        (call,) = asked.response["output"]
        assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris"})
        deltas = talk.wire.events_of("response.function_call_arguments.delta")
        assert len(deltas) > 1, "the arguments must stream"
        assert "".join(event["delta"] for event in deltas) == call["arguments"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}
        assert_said(await talk.give(output), "The tool said sun.")
        told = double.requests("/chat/completions")[-1].body["messages"][-2:]
        assert told[0]["tool_calls"][0]["id"] == told[1]["tool_call_id"] == call["call_id"]


def whole_call(arguments: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    return {"index": 0, "id": "", "type": "function", "function": function}


CALLS = [
    pytest.param(
        "ollama",
        [
            chat_chunk({"role": "assistant", "content": ""}),
            chat_chunk({"tool_calls": [whole_call('{"city":"Rome"}')]}),
            chat_chunk({"tool_calls": [whole_call('{"city":"Oslo"}')]}),
            chat_chunk({"content": ""}, "stop"),
            chat_chunk(usage=usage(9, 4)),
        ],
        id="whole calls without ids, and a finish that says stop",
    ),
    pytest.param(
        "siliconflow",
        [
            chat_chunk({"role": "assistant", "content": None, "reasoning_content": "Hm."}),
            chat_chunk(
                {"content": "<think>Two cities.</think>\n\n", "tool_calls": None},
                usage=usage(9, 1),
            ),
            chat_chunk({"tool_calls": [whole_call('{"city":"Rome"}') | {"id": "a"}]}),
            chat_chunk({"tool_calls": [whole_call('{"city":') | {"id": "b", "index": 1}]}),
            chat_chunk({"tool_calls": [{"index": 1, "function": {"arguments": '"Oslo"}'}}]}),
            chat_chunk({"content": None}, "tool_calls", usage=usage(9, 4)),
        ],
        id="thoughts first, usage with every chunk",
    ),
]


@pytest.mark.parametrize(("provider", "chunks"), CALLS)
async def test_tool_calls_in_a_servers_own_manner(provider: str, chunks: list[Any]) -> None:
    async with talking_to(settings(provider, LLM[provider])) as (double, talk):
        await talk.configure(tools=[WEATHER])
        double.once(provider, raw(*chunks, "[DONE]"))
        asked = await talk.ask("what is the weather?")
        calls = asked.response["output"]
        assert [json.loads(call["arguments"]) for call in calls] == [
            {"city": "Rome"},
            {"city": "Oslo"},
        ]
        assert len({call["call_id"] for call in calls} - {""}) == 2
        assert asked.response["usage"]["output_tokens"] == 4


async def test_thoughts_are_neither_spoken_nor_remembered() -> None:
    async with talking_to(settings("ollama", LLM["ollama"])) as (double, talk):
        await talk.configure()
        thoughts = [chat_chunk({"content": text}) for text in ("<th", "ink>Hm", ".</think>\n\nHi.")]
        double.once("ollama", raw(*thoughts, chat_chunk({}, "stop"), "[DONE]"))
        assert_said(await talk.ask("hello"), "Hi.")
        await talk.ask(HEARD)
        told = double.requests("/chat/completions")[-1].body["messages"]
        assert [message["content"] for message in told[1:]] == ["hello", "Hi.", HEARD]
