"""Profiles: what the file may say, which engines come of it, and what their sessions are like."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import main
from config import SessionSettings, Settings, load_settings
from processors.smart_turn import SmartTurn
from processors.vad_engine import VadEngine
from processors.vad_model import SileroModel
from profiles import Profile, load_profiles
from protocol import ConfigError, Stage
from realtime_session import speculate_after_ms
from service_providers import Engines, plan
from tests.doubles import Double, running_double
from tests.e2e.gateway import Gateway
from tests.e2e.wire import MANUAL, TEXT, ask, configure
from tests.fakes import FakeVadEngine
from tests.harness import running_server
from tests.providers.service_line import generation_request

ROOT = Path(__file__).resolve().parents[1]
SECRET = "sk-profile-0123456789"


def settings(tmp_path: Path, text: str, **environ: str) -> Settings:
    file = tmp_path / "profiles.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings({"PROFILES_FILE": str(file), **environ}, None)


def engines(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Engines:
    chosen = settings(tmp_path, text, **(environ or {}))
    return Engines.from_settings(chosen, FakeVadEngine(), environ=environ or {})


def one(profile: str) -> str:
    """A file with a single profile."""
    return f"version: 1\ndefault: shop\nprofiles:\n  shop: {profile}\n"


# --- the file ---------------------------------------------------------------------------------


def test_without_a_file_there_is_one_stack_for_every_name() -> None:
    assert load_profiles(Settings()) is None
    built = Engines.from_settings(Settings(), FakeVadEngine())
    assert built.stack("gpt-realtime") is built.stack("anything") is built.stacks[0]
    assert [row[0] for row in built.describe()] == ["VAD", "STT", "LLM", "TTS"]


def test_the_example_is_a_good_file() -> None:
    chosen = load_settings({"PROFILES_FILE": str(ROOT / "profiles.example.yaml")}, None)
    built = Engines.from_settings(chosen, FakeVadEngine(), environ={})
    assert [stack.name for stack in built.stacks] == ["assistant", "xiaoxiao", "local-llm"]
    assert "qwen3-8b at localhost:8080" in built.stack("local-llm").llm.describe()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "must be a mapping of version, default and profiles"),
        ("version: 1\n a: b", "not valid YAML: line 2"),
        ("version: 1\nprofiles: {shop: {}}", "default: is required"),
        ("version: 2\ndefault: shop\nprofiles: {shop: {}}", "version: must be 1"),
        ("version: 1\ndefault: shop\nprofiles: {}", "profiles: "),
        ("version: 1\ndefault: pub\nprofiles: {shop: {}}", "one of the profiles (shop), not 'pub'"),
        (one("{ttt: espeak}"), "profile 'shop', ttt: unknown key; there are: stt, llm, tts, vad"),
        (one("{vad: {treshold: 1}}"), "profile 'shop', vad.treshold: unknown key; there are: thr"),
        (one("{vad: {threshold: 2}}"), "profile 'shop', vad.threshold: must be less than"),
        (one("{temperature: hot}"), "profile 'shop', temperature: must be a valid number"),
        (one("{tts: []}"), "profile 'shop', tts: must name at least one"),
        (one("{tts: {voice: en}}"), "profile 'shop', tts.0.provider: is required"),
        (one("{tts: parrot}"), "profile 'shop', tts.0.provider: there is no provider 'parrot'"),
        (one("{llm: {provider: openai, api_key: sk-1}}"), "keys do not belong into this file"),
        (
            one("{llm: {provider: openai, api_key_env: NOT_SET}}"),
            "profile 'shop', llm.0.api_key_env: the variable NOT_SET is not set",
        ),
        (
            one("{tts: {provider: tone, model: x}}"),
            "profile 'shop', tts.0.model: tone takes no such thing; it takes: script, voices",
        ),
        (one("{llm: {provider: scripted, voices: {a: b}}}"), "llm.0.voices: only tts has voices"),
        (
            one("{llm: {provider: ollama, base_url: nowhere}}"),
            "profile 'shop', llm.0.base_url: must be an http:// or https:// URL",
        ),
        (one("{llm: {provider: scripted, script: gone.yaml}}"), "llm.0.script: must be "),
        # What the engine itself refuses.
        (one("{llm: openai}"), "profile 'shop', llm.0: OPENAI_API_KEY: must be set"),
        (one("{tts: {provider: edge_tts, voice: Bob}}"), "profile 'shop', tts.0: EDGE_TTS_VOICE:"),
        (one("{stt: {provider: pocketsphinx, language: zh-CN}}"), "English (en) only, not 'zh-CN'"),
    ],
)
def test_a_bad_file_is_refused_with_file_profile_and_key(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        engines(tmp_path, text)
    message = str(caught.value)
    assert caught.value.variable == "PROFILES_FILE"
    assert "profiles.yaml" in message
    assert told in message
    assert "sk-1" not in message


# --- the engines ------------------------------------------------------------------------------

SHARED = """
version: 1
default: plain
profiles:
  plain: {}
  mandarin: {tts: {provider: espeak, voice: cmn}}
  british: {tts: {provider: espeak, voice: en-gb}, temperature: 1.0}
"""


def test_profiles_share_every_engine_they_can(tmp_path: Path) -> None:
    built = engines(tmp_path, SHARED)
    plain, mandarin, british = built.stacks
    assert plain.stt is mandarin.stt is british.stt
    assert plain.llm is mandarin.llm
    speakers = [engine for stage, engine in built.alive if stage is Stage.TTS]
    assert len(speakers) == 3
    assert len({id(getattr(engine, "worker", None)) for engine in speakers}) == 1


async def test_profiles_with_one_whisper_load_one_model(tmp_path: Path) -> None:
    from tests.doubles.tiny_whisper import build_tiny_whisper

    model = build_tiny_whisper(tmp_path / "whisper")
    text = f"""
version: 1
default: a
profiles:
  a: {{stt: {{provider: local_whisper, model: "{model}", language: en}}, tts: tone}}
  b: {{stt: {{provider: local_whisper, model: "{model}", language: de}}, tts: tone}}
"""
    built = engines(tmp_path, text, {"WHISPER_DEVICE": "cpu", "WHISPER_THREADS": "1"})
    await built.start()
    try:
        first, second = built.stacks
        assert first.stt is not second.stt
        assert first.stt.languages == second.stt.languages == frozenset({"en"})
        owners = [e for stage, e in built.alive if hasattr(e, "transcribe")]
        assert len(owners) == 1
    finally:
        await built.close()


def test_keys_come_from_the_environment_by_name(tmp_path: Path) -> None:
    text = one("{llm: {provider: openai, api_key_env: SHOP_KEY, model: gpt-x}}")
    (shop,) = plan(settings(tmp_path, text), {"SHOP_KEY": SECRET})
    key = shop.stages[Stage.LLM][0].settings.openai.api_key
    assert key is not None
    assert key.get_secret_value() == SECRET
    built = engines(tmp_path, text, {"SHOP_KEY": SECRET})
    assert SECRET not in str(built.describe())


def test_the_table_names_every_profile(tmp_path: Path) -> None:
    rows = engines(tmp_path, SHARED).describe()
    assert [row[0] for row in rows[:5]] == [
        "VAD",
        "plain: STT",
        "plain: LLM",
        "plain: TTS",
        "mandarin: STT",
    ]
    assert rows[6][2] == "profile mandarin" or rows[6][2].startswith("embedded")


# --- sessions ---------------------------------------------------------------------------------

PROFILES = """
version: 1
default: shop
profiles:
  shop:
    stt: {provider: scripted, script: shop.yaml}
    llm: {provider: scripted, script: shop.yaml}
    tts: tone
    vad: {threshold: 0.7, silence_duration_ms: 900, prefix_padding_ms: 100}
    instructions: You sell shoes.
    temperature: 1.1
  english:
    stt: pocketsphinx
    llm: {provider: scripted, script: english.yaml}
    tts:
      provider: openai_tts
      base_url: "%(url)s"
      model: tts-1
      voice: house-voice
      voices: {alloy: anna, echo: benjamin}
"""


@asynccontextmanager
async def gateway(folder: Path, double: Double) -> AsyncGenerator[Gateway]:
    say = "version: 1\ntranscripts: [hi]\nrules: [{{id: a, when: {{}}, do: [{{say: {}}}]}}]\n"
    (folder / "shop.yaml").write_text(say.format("Shoes."), encoding="utf-8")
    (folder / "english.yaml").write_text(say.format("Tea."), encoding="utf-8")
    chosen = settings(folder, PROFILES % {"url": double.url("openai")})
    built = Engines.from_settings(chosen, VadEngine(SileroModel()), SmartTurn(), environ={})
    app = main.create_app(chosen, engines=built, announce=lambda ready: None)
    async with running_server(app, ws_max_size=main.WS_MAX_SIZE_BYTES) as port:
        yield Gateway(port, app)


@pytest.fixture
async def double() -> AsyncGenerator[Double]:
    async with running_double() as running:
        yield running


async def test_the_model_name_picks_the_stack(tmp_path: Path, double: Double) -> None:
    async with gateway(tmp_path, double) as running:
        for model, reply in (("shop", "Shoes."), ("english", "Tea."), ("gpt-4o", "Shoes.")):
            async with running.connect(url=running.url(model=model)) as client:
                shown = await configure(client, **TEXT, **MANUAL)
                assert shown["model"] == model
                assert (await ask(client, "hello")).text == reply


def test_a_profile_says_who_keeps_the_time_of_the_playback() -> None:
    ours = Settings(session=SessionSettings(playback="server"))
    assert Profile().over(ours).session.playback == "server"
    assert Profile(playback="client").over(ours).session.playback == "client"


def test_a_profile_says_whether_replies_are_begun_in_pauses() -> None:
    ours = Settings()
    assert speculate_after_ms(Profile().over(ours)) == ours.session.speculate_after_ms
    assert speculate_after_ms(Profile(speculative_turns=False).over(ours)) is None
    assert speculate_after_ms(Profile(speculate_after_ms=50).over(ours)) == 50


async def test_a_session_starts_as_its_profile_says(tmp_path: Path, double: Double) -> None:
    async with gateway(tmp_path, double) as running:
        async with running.connect(url=running.url(model="shop")) as client:
            session = (await client.wait_for("session.created"))["session"]
            assert session["instructions"] == "You sell shoes."
            detection = session["audio"]["input"]["turn_detection"]
            assert detection["threshold"] == 0.7
            assert detection["silence_duration_ms"] == 900
            assert detection["prefix_padding_ms"] == 100
        async with running.connect(url=running.url(model="english")) as client:
            session = (await client.wait_for("session.created"))["session"]
            assert "helpful voice assistant" in session["instructions"]


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [("alloy", "anna"), ("echo", "benjamin"), ("benjamin", "benjamin"), ("verse", "house-voice")],
)
async def test_a_voice_is_the_profile_s(
    tmp_path: Path,
    double: Double,
    asked: str,
    spoken: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        gateway(tmp_path, double) as running,
        running.connect(url=running.url(model="english")) as client,
    ):
        await configure(client, **MANUAL, voice=asked)
        for _ in range(2):
            assert (await ask(client, "hello")).status == "completed"
    voices = {request.body["voice"] for request in double.requests("/audio/speech")}
    assert voices == {spoken}
    told = [record for record in caplog.records if "has no voice 'verse'" in record.getMessage()]
    assert len(told) == (1 if asked == "verse" else 0)


async def test_an_unknown_model_is_told_to_the_log_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = engines(tmp_path, SHARED)
    with caplog.at_level(logging.WARNING):
        assert built.stack("gpt-4o").name == built.stack("gpt-4o").name == "plain"
    assert [record.getMessage() for record in caplog.records] == [
        "no profile is called 'gpt-4o'; plain serves instead"
    ]


async def test_a_language_is_refused_where_the_profile_s_recogniser_lacks_it(
    tmp_path: Path, double: Double
) -> None:
    change: dict[str, Any] = {"audio": {"input": {"transcription": {"language": "zh"}}}}
    async with gateway(tmp_path, double) as running:
        async with running.connect(url=running.url(model="english")) as client:
            await client.update_session(**change)
            error = (await client.wait_for("error"))["error"]
            assert error["param"] == "session.audio.input.transcription.language"
            assert "pocketsphinx" in error["message"]
        async with running.connect(url=running.url(model="shop")) as client:
            await client.update_session(**change)
            await client.wait_for("session.updated")


async def test_the_models_are_listed(tmp_path: Path, double: Double) -> None:
    async with gateway(tmp_path, double) as running, httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{running.port}/v1/models"
        listed = (await client.get(url)).json()["data"]
        assert [model["id"] for model in listed] == ["shop", "english"]
        assert (await client.get(f"{url}/english")).json() == listed[1]
        assert (await client.get(f"{url}/gpt-4o")).status_code == 404


async def test_one_espeak_process_speaks_with_each_profile_s_voice(tmp_path: Path) -> None:
    built = engines(tmp_path, SHARED)

    async def spoken(profile: str) -> bytes:
        tts: Any = built.stack(profile).tts
        voice: Any = tts.create_service()
        request = generation_request(voice="gpt-voice-9")
        pieces = [piece async for piece in voice.synthesize("Good morning.", request)]
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))

    await built.start()
    try:
        plain, mandarin = await spoken("plain"), await spoken("mandarin")
        assert plain
        assert mandarin
        assert plain != mandarin
    finally:
        await built.close()


def test_the_example_of_the_guide_is_a_good_file(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    text = page.split("```yaml\n")[1].split("```")[0]
    built = engines(tmp_path, text, {"SHOP_OPENAI_KEY": SECRET, "DEEPGRAM_API_KEY": SECRET})
    assert built.stack("xiaoxiao").tts.describe().startswith("Edge read-aloud")
    assert built.stack("gpt-realtime").name == "assistant"
