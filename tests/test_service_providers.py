"""Which engine serves a stage, and what the choice says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from config import Settings, load_settings
from protocol import ConfigError, ErrorCategory, ProviderError, Stage
from providers import endpoints
from providers.script_file import DEFAULT_SCRIPT
from service_providers import REGISTRY, Engines, choose
from tests.fakes import FakeVadEngine


class Recorder:
    """A provider that notes its life."""

    name: ClassVar[str] = "recorder"
    languages: frozenset[str] | None = None
    speeds = (1.0, 1.0)

    def __init__(self, failure: Exception | None = None, close_failure: bool = False) -> None:
        self.life: list[str] = []
        self._failure = failure
        self._close_failure = close_failure

    def describe(self) -> str:
        return "a recorder"

    async def start(self) -> None:
        self.life.append("start")
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        self.life.append("close")
        if self._close_failure:
            raise OSError("stuck")

    def create_service(self) -> Any:
        raise AssertionError("no session is opened here")


def settings(tmp_path: Path, script: str = "version: 1\n", **stt: Any) -> Settings:
    path = tmp_path / "script.yaml"
    path.write_text(script, encoding="utf-8")
    return Settings.model_validate({"llm": {"script": path}, "stt": stt})


def engines(*providers: Recorder) -> Engines:
    stt, llm, tts = providers
    return Engines(stt, llm, tts, vad=FakeVadEngine())


@pytest.mark.parametrize("stage", [Stage.STT, Stage.LLM, Stage.TTS])
def test_auto_falls_back_to_the_embedded_engine_and_says_so(stage: Stage) -> None:
    row, why = choose(stage, "auto")
    assert row.name in {"pocketsphinx", "scripted", "espeak"}
    assert "embedded" in why


@pytest.mark.parametrize("row", REGISTRY, ids=lambda row: f"{row.stage}-{row.name}")
def test_every_row_can_be_chosen_by_name(row: Any) -> None:
    chosen, why = choose(row.stage, row.name)
    assert chosen is row
    assert why == f"{row.stage.upper()}_PROVIDER={row.name}"


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match=r"TTS_PROVIDER: .*'parrot'.*auto, espeak, tone"):
        choose(Stage.TTS, "parrot")


@pytest.mark.parametrize(
    ("script", "stt", "engine"),
    [
        ("version: 1\n", {}, "pocketsphinx en-us, general"),
        ("version: 1\nstt: {mode: phrases, phrases: [go forward]}\n", {}, "1 phrases"),
        ("version: 1\nstt: {mode: phrases, phrases: [go]}\n", {"mode": "general"}, "general"),
        ("version: 1\n", {"phrases": ("stop", "go")}, "2 phrases"),
        ("version: 1\nstt: {mode: scripted}\ntranscripts: [hi]\n", {}, "scripted"),
        (
            "version: 1\nstt: {mode: scripted}\ntranscripts: [hi]\n",
            {"provider": "pocketsphinx"},
            "pocketsphinx",
        ),
    ],
)
def test_recognition_follows_settings_then_script(
    tmp_path: Path, script: str, stt: dict[str, Any], engine: str
) -> None:
    chosen = Engines.from_settings(settings(tmp_path, script, **stt), FakeVadEngine())
    assert engine in chosen.stt.describe()


def test_phrases_without_any_phrase_name_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="POCKETSPHINX_PHRASES"):
        Engines.from_settings(settings(tmp_path, mode="phrases"), FakeVadEngine())


def test_a_language_pocketsphinx_does_not_know_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="STT_LANGUAGE"):
        Engines.from_settings(settings(tmp_path, language="zh-CN"), FakeVadEngine())


async def test_engines_start_together_and_close_whatever_happens() -> None:
    parts = [Recorder(), Recorder(close_failure=True), Recorder()]
    running = engines(*parts)
    await running.start()
    await running.close()
    assert [part.life for part in parts] == [["start", "close"]] * 3


async def test_a_stage_that_does_not_come_up_is_named_and_the_others_go_down() -> None:
    broken = ProviderError(Stage.TTS, ErrorCategory.SERVER, "no voice")
    parts = [Recorder(), Recorder(), Recorder(broken)]
    with pytest.raises(ProviderError, match="no voice"):
        await engines(*parts).start()
    assert all(part.life[-1] == "close" for part in parts)


def test_the_table_names_every_stage() -> None:
    rows = engines(Recorder(), Recorder(), Recorder()).describe()
    assert [row[0] for row in rows] == ["VAD", "STT", "LLM", "TTS"]


# --- what auto takes, and the servers the settings name -----------------------------------------


def configured(**environ: str) -> Settings:
    return load_settings(environ, None)


@pytest.mark.parametrize(
    ("stage", "environ", "name", "why"),
    [
        (Stage.LLM, {"OPENAI_API_KEY": "k"}, "openai", "OPENAI_API_KEY is set"),
        (Stage.STT, {"OPENAI_API_KEY": "k"}, "openai_whisper", "OPENAI_API_KEY is set"),
        (Stage.TTS, {"OPENAI_API_KEY": "k"}, "openai_tts", "OPENAI_API_KEY is set"),
        (Stage.LLM, {"OPENAI_BASE_URL": "http://gpu/v1"}, "openai", "OPENAI_BASE_URL is set"),
        # A language model server is not thought to hear or speak.
        (
            Stage.STT,
            {"OPENAI_BASE_URL": "http://gpu/v1", "OPENAI_API_KEY": "k"},
            "pocketsphinx",
            "embedded",
        ),
        (Stage.TTS, {"OPENAI_BASE_URL": "http://gpu/v1"}, "espeak", "embedded"),
        (Stage.STT, {"OPENAI_STT_BASE_URL": "http://gpu/v1"}, "openai_whisper", "OPENAI_STT_BASE"),
        (Stage.TTS, {"OPENAI_TTS_BASE_URL": "http://gpu/v1"}, "openai_tts", "OPENAI_TTS_BASE"),
        (Stage.LLM, {"SILICONFLOW_API_KEY": "k"}, "siliconflow", "SILICONFLOW_API_KEY is set"),
        (Stage.STT, {"SILICONFLOW_API_KEY": "k"}, "siliconflow", "SILICONFLOW_API_KEY is set"),
        (Stage.TTS, {"SILICONFLOW_API_KEY": "k"}, "siliconflow", "SILICONFLOW_API_KEY is set"),
        (Stage.LLM, {"OLLAMA_MODEL": "qwen3"}, "ollama", "OLLAMA_MODEL is set"),
        (Stage.LLM, {"OLLAMA_BASE_URL": "http://gpu:11434"}, "ollama", "OLLAMA_BASE_URL is set"),
        (Stage.STT, {"WHISPER_MODEL": "base"}, "local_whisper", "a local model"),
        (Stage.STT, {"WHISPER_MODEL": "large-v3-turbo"}, "local_whisper", "a local model"),
        (Stage.STT, {"WHISPER_MODEL": "."}, "local_whisper", "a folder"),
        (Stage.STT, {"WHISPER_MODEL": "./mistyped"}, "local_whisper", "a path"),
        (Stage.STT, {"WHISPER_MODEL": "vendor/model"}, "pocketsphinx", "embedded"),
        (Stage.STT, {"WHISPER_MODEL": "whisper-1"}, "pocketsphinx", "embedded"),
        (
            Stage.LLM,
            {"OPENAI_API_KEY": "k", "SCRIPT_FILE": str(DEFAULT_SCRIPT)},
            "scripted",
            "SCRIPT_FILE is set",
        ),
    ],
)
def test_auto_takes_what_is_configured_and_says_why(
    stage: Stage, environ: dict[str, str], name: str, why: str
) -> None:
    row, reason = choose(stage, "auto", configured(**environ))
    assert row.name == name
    assert why in reason


def test_one_key_serves_all_stages() -> None:
    chosen = Engines.from_settings(configured(SILICONFLOW_API_KEY="sk-secret"), FakeVadEngine())
    assert [row[1:] for row in chosen.describe()[1:]] == [
        (f"siliconflow: {what} at api.siliconflow.cn", "SILICONFLOW_API_KEY is set")
        for what in (
            "FunAudioLLM/SenseVoiceSmall",
            "Qwen/Qwen2.5-7B-Instruct",
            "FunAudioLLM/CosyVoice2-0.5B, voice FunAudioLLM/CosyVoice2-0.5B:alex,",
        )
    ]
    assert "sk-secret" not in str(chosen.describe())


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"LLM_PROVIDER": "openai"}, "OPENAI_API_KEY"),
        ({"STT_PROVIDER": "openai_whisper"}, "OPENAI_API_KEY"),
        ({"TTS_PROVIDER": "openai_tts"}, "OPENAI_API_KEY"),
        (
            {
                "TTS_PROVIDER": "openai_tts",
                "OPENAI_API_KEY": "k",
                "OPENAI_TTS_BASE_URL": "https://api.openai.com/v1",
            },
            "OPENAI_TTS_API_KEY",
        ),
        ({"STT_PROVIDER": "siliconflow"}, "SILICONFLOW_API_KEY"),
        ({"LLM_PROVIDER": "siliconflow"}, "SILICONFLOW_API_KEY"),
        ({"TTS_PROVIDER": "siliconflow"}, "SILICONFLOW_API_KEY"),
    ],
)
def test_a_key_that_is_missing_is_named(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Engines.from_settings(configured(**environ), FakeVadEngine())
    assert caught.value.variable == variable


def test_a_key_goes_to_no_server_but_its_own() -> None:
    settings = configured(
        OPENAI_API_KEY="k-openai",
        OPENAI_STT_BASE_URL="http://ears/v1",
        OPENAI_TTS_BASE_URL="http://voice/v1",
        OPENAI_TTS_API_KEY="k-voice",
    )
    assert endpoints.transcription(settings).api_key is None
    voice = endpoints.speech(settings).api_key
    assert voice is not None
    assert voice.get_secret_value() == "k-voice"


@pytest.mark.parametrize("url", ["http://gpu:11434", "http://gpu:11434/", "http://gpu:11434/v1"])
def test_ollama_is_found_with_or_without_its_path(url: str) -> None:
    assert endpoints.ollama(configured(OLLAMA_BASE_URL=url)).base_url == "http://gpu:11434/v1"


@pytest.mark.parametrize(
    ("environ", "model"),
    [
        ({"OPENAI_API_KEY": "k"}, "gpt-transcribe"),
        ({"OPENAI_STT_BASE_URL": "http://ears/v1"}, "whisper-1"),
        ({"OPENAI_STT_BASE_URL": "http://ears/v1", "WHISPER_MODEL": "small"}, "small"),
    ],
)
def test_the_transcription_model_suits_its_server(environ: dict[str, str], model: str) -> None:
    assert endpoints.transcription(configured(**environ)).model == model
