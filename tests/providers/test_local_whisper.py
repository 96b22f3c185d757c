"""Whisper on this machine: the real engine, on a hand-built model."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faster_whisper
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from pipecat.frames.frames import TranscriptionFrame

from protocol import ConfigError, ErrorCategory, ProviderError, Stage, TokenLogprob
from providers.frames import StageFailedFrame
from providers.local_whisper import LocalWhisperProvider
from providers.recognition import Recognition
from providers.segment_stt import Utterance
from tests.doubles.tiny_whisper import TRANSCRIPT, build_tiny_whisper
from tests.providers.service_line import eventually, running
from tests.providers.test_openai_stt import answers, segment

SPEECH = np.random.default_rng(1).normal(0, 3000, 16_000).astype("<i2").tobytes()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
async def whisper(tiny: Path) -> AsyncGenerator[LocalWhisperProvider]:
    provider = LocalWhisperProvider(str(tiny), device="cpu", threads=1)
    await provider.start()
    yield provider
    await provider.close()


async def test_real_files_and_the_real_engine(whisper: LocalWhisperProvider, tiny: Path) -> None:
    async with running(whisper.create_service()) as line:
        await line.send(*segment(SPEECH), *segment(b""), *segment(SPEECH[:9000], SPEECH[9000:]))
        await line.until(lambda: len(answers(line)) == 3)
    texts = [answer.text for answer in answers(line) if isinstance(answer, TranscriptionFrame)]
    assert texts == [TRANSCRIPT, "", TRANSCRIPT]
    assert whisper.describe() == f"whisper {tiny} on cpu, int8 (on this machine)"
    assert whisper.languages == {"en"}


async def test_sessions_share_one_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[threading.Thread] = []
    real = faster_whisper.WhisperModel

    def load(*args: Any, **options: Any) -> Any:
        loads.append(threading.current_thread())
        return real(*args, **options)

    monkeypatch.setattr(faster_whisper, "WhisperModel", load)
    provider = LocalWhisperProvider(str(tiny), device="cpu", threads=1, compute_type="float32")
    await provider.start()
    for _ in range(3):
        async with running(provider.create_service()) as line:
            await line.send(*segment(SPEECH))
            await line.until(lambda line=line: answers(line))
    await provider.close()
    assert len(loads) == 1
    assert loads[0] is not threading.main_thread()
    assert not any(thread.name.startswith("whisper") for thread in threading.enumerate())


class Engine:
    """Stands for a model, where it matters what the model is told or how it fails."""

    supported_languages = ("en", "zh")

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.gate = threading.Event()
        self.failure: Exception | None = None
        self.stretches = 0
        self.texts: tuple[str, ...] = (" one", " two")

    def transcribe(self, audio: Any, **options: Any) -> Any:
        self.asked.append(options)
        if self.failure is not None:
            raise self.failure
        return self._stretches(), None

    def _stretches(self) -> Any:
        for text in self.texts:
            self.stretches += 1
            yield SimpleNamespace(text=text, avg_logprob=-0.25)
            self.gate.wait(5)


@pytest.fixture
async def engine(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Engine]:
    stand_in = Engine()
    monkeypatch.setattr(faster_whisper, "WhisperModel", lambda *args, **options: stand_in)
    yield stand_in
    stand_in.gate.set()


@pytest.mark.parametrize(
    ("setting", "named", "told"),
    [(None, None, None), ("zh-CN", None, "zh"), ("zh-CN", "en-US", "en"), (None, "tlh", None)],
)
async def test_the_language_is_the_segments_or_the_settings(
    engine: Engine, tiny: Path, setting: str | None, named: str | None, told: str | None
) -> None:
    engine.gate.set()
    provider = LocalWhisperProvider(str(tiny), language=setting, device="cpu", threads=1)
    await provider.start()
    async with running(provider.create_service()) as line:
        await line.send(*segment(SPEECH, language=named, prompt="names"))
        await line.until(lambda: answers(line))
    await provider.close()
    (asked,) = engine.asked
    assert (asked["language"], asked["initial_prompt"]) == (told, "names")
    assert [a.text for a in answers(line) if isinstance(a, TranscriptionFrame)] == ["one two"]


async def test_the_loop_runs_on_while_the_model_decodes(engine: Engine, tiny: Path) -> None:
    provider = LocalWhisperProvider(str(tiny), device="cpu", threads=1)
    await provider.start()
    decoding = asyncio.create_task(provider.transcribe(Utterance(SPEECH)))
    await eventually(lambda: engine.stretches)
    assert not decoding.done()
    engine.gate.set()
    assert await decoding == Recognition("one two")
    await provider.close()


async def test_how_sure_it_is_of_each_stretch_is_told_to_who_asks(
    engine: Engine, tiny: Path
) -> None:
    provider = LocalWhisperProvider(str(tiny), device="cpu", threads=1)
    await provider.start()
    engine.gate.set()
    heard = await provider.transcribe(Utterance(SPEECH, logprobs=True))
    assert heard.logprobs == (TokenLogprob("one", -0.25), TokenLogprob(" two", -0.25))
    await provider.close()


async def test_the_real_engine_says_how_sure_it_is(whisper: LocalWhisperProvider) -> None:
    heard = await whisper.transcribe(Utterance(SPEECH, logprobs=True))
    (stretch,) = heard.logprobs
    assert (stretch.token, heard.text) == (TRANSCRIPT, TRANSCRIPT)
    # The hand-built model has no doubts.
    assert -0.1 < stretch.logprob <= 0


async def test_a_model_that_takes_too_long_is_left_alone(engine: Engine, tiny: Path) -> None:
    engine.texts = (" one", " two", " three")
    provider = LocalWhisperProvider(str(tiny), device="cpu", timeout_s=0.05)
    await provider.start()
    with pytest.raises(ProviderError, match="did not answer in time") as caught:
        await provider.transcribe(Utterance(SPEECH[:3200]))
    assert (caught.value.stage, caught.value.category) == (Stage.STT, ErrorCategory.TIMEOUT)
    engine.gate.set()
    await provider.close()
    # It looked up when the stretch it was at had ended.
    assert engine.stretches == 2


async def test_a_model_that_fails_gives_a_typed_answer_and_lives(
    engine: Engine, tiny: Path
) -> None:
    engine.gate.set()
    engine.failure = RuntimeError("CUDA failed with error out of memory")
    provider = LocalWhisperProvider(str(tiny), device="cpu", threads=1)
    await provider.start()
    async with running(provider.create_service()) as line:
        await line.send(*segment(SPEECH))
        await line.until(lambda: answers(line))
        engine.failure = None
        await line.send(*segment(SPEECH))
        await line.until(lambda: len(answers(line)) == 2)
    await provider.close()
    failure, answer = answers(line)
    assert isinstance(failure, StageFailedFrame)
    assert failure.message == "whisper could not decode the speech."
    assert isinstance(answer, TranscriptionFrame)


# --- before it starts -------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["model.bin", "config.json", "tokenizer.json"])
def test_a_folder_that_is_no_model_names_what_it_lacks(
    tiny: Path, tmp_path: Path, missing: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=f"it has no {missing}") as caught:
        LocalWhisperProvider(str(folder))
    assert caught.value.variable == "WHISPER_MODEL"


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c"])
def test_a_mistyped_path_is_called_one(model: str) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        LocalWhisperProvider(model)


def test_an_unknown_size_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"one of: tiny\.en, tiny, .*'gigantic'"):
        LocalWhisperProvider("gigantic")


def test_without_the_package_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "faster_whisper" else real(name, *rest),
    )
    with pytest.raises(ConfigError, match="pip install faster-whisper") as caught:
        LocalWhisperProvider("base")
    assert caught.value.variable == "STT_PROVIDER"


def hub(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[dict[str, Any]]:
    """A hub that answers every request so; returns the options of those requests."""
    asked: list[dict[str, Any]] = []

    def download(repository: str, **options: Any) -> str:
        asked.append(options)
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


async def test_a_model_that_is_not_here_is_not_fetched_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = hub(monkeypatch, LocalEntryNotFoundError("outgoing traffic has been disabled"))
    provider = LocalWhisperProvider("base", device="cpu", threads=1)
    with pytest.raises(ConfigError, match="WHISPER_ALLOW_DOWNLOAD=true") as caught:
        await provider.start()
    await provider.close()
    assert caught.value.variable == "WHISPER_MODEL"
    assert [options["local_files_only"] for options in asked] == [True]


async def test_a_hub_that_cannot_be_reached_is_no_mistake_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = hub(monkeypatch, LocalEntryNotFoundError("cannot find the snapshot folder"))
    provider = LocalWhisperProvider("base", device="cpu", allow_download=True)
    with pytest.raises(ProviderError, match="HF_ENDPOINT") as caught:
        await provider.start()
    await provider.close()
    assert caught.value.category is ErrorCategory.CONNECTIVITY
    assert [options["local_files_only"] for options in asked] == [False]


async def test_a_broken_model_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    (folder / "model.bin").write_bytes(b"not a model")
    provider = LocalWhisperProvider(str(folder), device="cpu", threads=1)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        await provider.start()
    await provider.close()


async def test_a_compute_type_the_processor_lacks_is_named(tiny: Path) -> None:
    provider = LocalWhisperProvider(str(tiny), device="cpu", threads=1, compute_type="int7")
    with pytest.raises(ConfigError) as caught:
        await provider.start()
    await provider.close()
    assert caught.value.variable == "WHISPER_COMPUTE_TYPE"


def test_an_english_model_says_so_before_it_is_loaded() -> None:
    assert LocalWhisperProvider("base.en").languages == {"en"}
    assert LocalWhisperProvider("base").languages is None
