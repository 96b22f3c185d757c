"""The code of docs/adding-a-provider.md is taken from the page and speaks in a gateway."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService

from config import load_settings
from protocol import Stage
from providers import registry, tone
from providers.script_file import DEFAULT_SCRIPT, load_script, parse_script
from tests.doubles import Double, running_double, status
from tests.e2e.gateway import run_gateway, speech
from tests.e2e.wire import AUDIO, MANUAL, TEXT, ask, configure, respond

PAGE = Path(__file__).resolve().parents[1] / "docs" / "adding-a-provider.md"
SCRIPT = load_script(DEFAULT_SCRIPT)
TRANSCRIPTION = {"model": "whisper-1"}
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def blocks(title: str) -> list[str]:
    """The Python blocks whose first line is a comment with that title, without it."""
    found = re.findall(r"^```python\n# ([^\n]+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    return [code for name, code in found if name == title]


def load(monkeypatch: pytest.MonkeyPatch, path: str) -> Any:
    """The module that the page puts at that path."""
    name = path.removesuffix(".py").replace("/", ".")
    module = ModuleType(name)
    module.__package__ = "providers"
    (code,) = blocks(path)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, path, "exec"), module.__dict__)
    return module


def builder(name: str) -> Any:
    """A function that the page adds to the registry."""
    namespace = dict(vars(registry))
    for code in blocks("providers/registry.py"):
        exec(compile(code, str(PAGE), "exec"), namespace)
    return namespace[name]


async def test_the_voice_is_chosen_by_its_row_and_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, "providers/morse_tts.py")
    (code,) = blocks("providers/registry.py, in REGISTRY")
    namespace = {**vars(registry), "_morse": builder("_morse")}
    row = eval(code.strip().removesuffix(","), namespace)
    monkeypatch.setattr(registry, "REGISTRY", (*registry.REGISTRY, row))
    chosen, why = registry.choose(Stage.TTS, "morse")
    assert why == "TTS_PROVIDER=morse"
    voice = chosen.build(load_settings({}, None), SCRIPT)
    async with run_gateway(tts=voice) as gateway, gateway.connect("ga") as client:
        await configure(client, **AUDIO, **MANUAL)
        reply = await ask(client, "some moss")
        assert reply.status == "completed"
        assert reply.transcript == "You said: some moss."
        # Of the last word: -- --- ... ... and the pause behind it.
        moss_ms = 2 * 240 + 3 * 240 + 2 * 3 * 80 + 160
        assert any(reply.audio[-48 * moss_ms :])
        assert len(reply.audio) > 48 * 2 * moss_ms


def stock_settings(double: Double) -> dict[str, Any]:
    return {"api_key": "any", "base_url": double.url("openai")}


async def test_a_stock_voice_speaks_and_fails_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    wrappers = load(monkeypatch, "providers/pipecat_wrappers.py")
    async with running_double() as double:
        voice = wrappers.StockProvider(
            "stock", lambda: wrappers.StockVoice(OpenAITTSService(**stock_settings(double)))
        )
        async with run_gateway(tts=voice) as gateway, gateway.connect("ga") as client:
            await configure(client, **AUDIO, **MANUAL)
            reply = await ask(client, "hello there")
            assert reply.status == "completed"
            assert reply.audio == tone.render(reply.transcript)[0]
            double.once("openai", status(400))
            assert (await ask(client, "hello there")).status == "failed"
            assert (await ask(client, "hello there")).status == "completed"


async def test_a_stock_recogniser_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    wrappers = load(monkeypatch, "providers/pipecat_wrappers.py")
    async with running_double() as double:
        ear = wrappers.StockProvider(
            "stock", lambda: wrappers.StockEar(OpenAISTTService(**stock_settings(double)))
        )
        async with run_gateway(stt=ear) as gateway, gateway.connect("ga") as client:
            await configure(client, **TEXT, **MANUAL, input_audio_transcription=TRANSCRIPTION)
            await client.append_fast(speech("hello"))
            await client.send({"type": "input_audio_buffer.commit"})
            heard = await client.wait_for("conversation.item.input_audio_transcription.completed")
            assert heard["transcript"] == double.transcript


async def test_a_stock_model_answers_and_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    load(monkeypatch, "providers/pipecat_wrappers.py")
    async with running_double() as double:
        double.script = parse_script(
            "version: 1\n"
            "rules:\n"
            "  - id: tool\n"
            "    when: {user: {any: [weather]}}\n"
            "    do: [{tool: get_weather, args: {city: Paris}}]\n"
            "  - {id: result, when: {tool_result: true}, do: [{say: 'The tool said {tool}.'}]}\n"
        )
        settings = load_settings({"OPENAI_BASE_URL": double.url("openai")}, None)
        model = builder("_stock_llm")(settings, SCRIPT)
        async with run_gateway(llm=model) as gateway, gateway.connect("ga") as client:
            await configure(client, **TEXT, **MANUAL, tools=[WEATHER])
            reply = await ask(client, "hello there")
            assert reply.text == "You said: hello there."
            assert reply.final["usage"]["output_tokens"] > 0
            (call,) = (await ask(client, "weather?")).calls
            assert (call["name"], call["arguments"]) == ("get_weather", '{"city": "Paris"}')
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}
            await client.send({"type": "conversation.item.create", "item": output})
            assert (await respond(client)).text == "The tool said sun."
