"""Whole turns over the socket with engines that speak OpenAI's wire, good days and bad."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config import Settings, load_settings
from protocol import Stage
from providers import tone
from providers.script_file import parse_script
from service_providers import choose
from tests.doubles import HANG, RESET, Double, Mode, running_double, status
from tests.doubles.tiny_whisper import TRANSCRIPT, build_tiny_whisper
from tests.e2e.gateway import Gateway, run_gateway, speech
from tests.e2e.wire import AUDIO, MANUAL, TEXT, ask, configure, respond
from tests.harness import CollectedResponse
from tests.providers.endpoints import KEY

SCRIPT = parse_script(
    """
version: 1
rules:
  - {id: tool, when: {user: {any: [weather]}}, do: [{tool: get_weather, args: {city: Paris}}]}
  - {id: result, when: {tool_result: true}, do: [{say: "The tool said {tool}."}]}
"""
)
HELLO = "You said: hello there."
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
STALL_MS = "800"
"""For the tests of what never answers."""

STACKS: dict[str, dict[str, str]] = {
    "openai": {"STT": "openai_whisper", "LLM": "openai", "TTS": "openai_tts"},
    "siliconflow": {"STT": "siliconflow", "LLM": "siliconflow", "TTS": "siliconflow"},
    "local": {"STT": "local_whisper", "LLM": "ollama", "TTS": "openai_tts"},
}
"""The providers of a gateway, as a user would set them."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A gateway and the vendors behind it."""

    double: Double
    gateway: Gateway


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_whisper(tmp_path_factory.mktemp("whisper"))


def settings(double: Double, stack: str, whisper: Path, stall_ms: str) -> Settings:
    return load_settings(
        {
            **{f"{stage}_PROVIDER": name for stage, name in STACKS[stack].items()},
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": double.url("openai"),
            "SILICONFLOW_API_KEY": KEY,
            "SILICONFLOW_BASE_URL": double.url("siliconflow"),
            "OLLAMA_BASE_URL": double.url("ollama", ""),
            "WHISPER_MODEL": str(whisper),
            "WHISPER_DEVICE": "cpu",
            "WHISPER_THREADS": "1",
            "STT_REQUEST_TIMEOUT_MS": stall_ms,
            "LLM_STALL_TIMEOUT_MS": stall_ms,
        },
        None,
    )


@asynccontextmanager
async def running_lab(stack: str, whisper: Path, stall_ms: str = "10000") -> AsyncIterator[Lab]:
    async with running_double() as double:
        double.script = SCRIPT
        chosen = settings(double, stack, whisper, stall_ms)
        engines = {
            stage: choose(stage, STACKS[stack][stage.upper()], chosen)[0].build(chosen, SCRIPT)
            for stage in (Stage.STT, Stage.LLM, Stage.TTS)
        }
        async with run_gateway(
            stt=engines[Stage.STT], llm=engines[Stage.LLM], tts=engines[Stage.TTS]
        ) as gateway:
            yield Lab(double, gateway)


@pytest.fixture(params=STACKS)
async def lab(request: pytest.FixtureRequest, whisper: Path) -> AsyncGenerator[Lab]:
    async with running_lab(request.param, whisper) as running:
        yield running


@pytest.fixture
async def openai_lab(whisper: Path) -> AsyncGenerator[Lab]:
    async with running_lab("openai", whisper) as running:
        yield running


def lab_for(mode: Mode, whisper: Path) -> AbstractAsyncContextManager[Lab]:
    """A lab that does not wait long where there is nothing to wait for."""
    return running_lab("openai", whisper, *((STALL_MS,) if mode is HANG else ()))


def assert_spoken(response: CollectedResponse, text: str) -> None:
    assert response.status == "completed"
    assert response.transcript == text
    assert response.audio == tone.render(text)[0]
    assert response.final["usage"]["output_tokens"] > 0


async def test_a_typed_and_a_spoken_turn(lab: Lab) -> None:
    async with lab.gateway.connect("ga") as client:
        await configure(client, **AUDIO, **MANUAL, input_audio_transcription={"model": "whisper-1"})
        assert_spoken(await ask(client, "hello there"), HELLO)

        await client.append_fast(speech("hello"))
        await client.send({"type": "input_audio_buffer.commit"})
        heard = await client.wait_for("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] in (lab.double.transcript, TRANSCRIPT)
        assert_spoken(await respond(client), f"You said: {heard['transcript']}.")


async def test_a_tool_call_and_its_result(lab: Lab) -> None:
    async with lab.gateway.connect("ga") as client:
        await configure(client, **TEXT, **MANUAL, tools=[WEATHER])
        (call,) = (await ask(client, "weather?")).calls
        assert (call["name"], call["arguments"]) == ("get_weather", '{"city": "Paris"}')
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}
        await client.send({"type": "conversation.item.create", "item": output})
        assert (await respond(client)).text == "The tool said sun."
        told = lab.double.requests("/chat/completions")[-1].body["messages"][-2:]
        assert [message["role"] for message in told] == ["assistant", "tool"]
        assert told[0]["tool_calls"][0]["function"]["arguments"] == '{"city": "Paris"}'


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        (status(401), "server_error"),
        (status(429), "rate_limit_exceeded"),
        (status(429, "insufficient_quota"), "insufficient_quota"),
        (status(400), "invalid_value"),
        (status(503), "server_error"),
        (HANG, "server_error"),
        (Mode("midcut", after=3), "server_error"),
    ],
    ids=lambda value: f"{value.kind}-{value.code or value.status}" if value != str(value) else None,
)
async def test_a_model_that_fails_fails_one_response(whisper: Path, mode: Mode, code: str) -> None:
    async with lab_for(mode, whisper) as lab, lab.gateway.connect("ga") as client:
        lab.double.once("openai", mode)
        await configure(client, **TEXT, **MANUAL)
        broken = await ask(client, "hello there")
        assert broken.status == "failed"
        assert broken.final["status_details"]["error"]["code"] == code
        assert KEY not in str(broken.final)
        assert (await respond(client)).text == HELLO


async def test_a_voice_that_breaks_off_fails_one_response_and_keeps_its_audio(
    openai_lab: Lab,
) -> None:
    openai_lab.double.once("openai", Mode("ok"), Mode("midcut", after=2))
    async with openai_lab.gateway.connect("ga") as client:
        await configure(client, **AUDIO, **MANUAL)
        broken = await ask(client, "hello there")
        assert broken.status == "failed"
        whole = tone.render(HELLO)[0]
        assert broken.audio
        assert whole.startswith(broken.audio)
        assert broken.audio != whole
        assert_spoken(await respond(client), HELLO)


@pytest.mark.parametrize("mode", [HANG, status(500), status(401)], ids=lambda mode: mode.kind)
async def test_a_recogniser_that_fails_fails_one_transcription(whisper: Path, mode: Mode) -> None:
    async with lab_for(mode, whisper) as lab, lab.gateway.connect("ga") as client:
        lab.double.once("openai", mode)
        await configure(client, **TEXT, **MANUAL, input_audio_transcription={"model": "whisper-1"})
        for kind in ("failed", "completed"):
            await client.append_fast(speech("hello"))
            await client.send({"type": "input_audio_buffer.commit"})
            await client.wait_for(f"conversation.item.input_audio_transcription.{kind}")


async def test_a_connection_that_was_reset_is_not_noticed(openai_lab: Lab) -> None:
    openai_lab.double.once("openai", RESET)
    async with openai_lab.gateway.connect("ga") as client:
        await configure(client, **TEXT, **MANUAL)
        assert (await ask(client, "hello there")).text == HELLO
