"""Which engine serves a stage, and what the choice says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import Settings
from protocol import ConfigError, ErrorCategory, ProviderError, Stage
from service_providers import REGISTRY, Engines, choose
from tests.fakes import FakeVadEngine


class Recorder:
    """A provider that notes its life."""

    name = "recorder"
    languages = None

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
