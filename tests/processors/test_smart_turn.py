"""The judge of turns: one thread for all, answers on the loop, and the real model's opinion."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from processors.smart_turn import MAX_SAMPLES, SmartTurn, SmartTurnModel
from tests.conftest import SharedAudio
from tests.e2e.gateway import speech

Float32 = NDArray[np.float32]
LOUD = np.full(100, 0.5, np.float32)


class FakeModel:
    """The probability is the loudest sample."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def probability(self, audio: Float32) -> float:
        self.threads.add(threading.get_ident())
        return float(audio.max())


async def asked(judge: SmartTurn, audio: Float32) -> float:
    answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    judge.ask(audio, answer.set_result)
    return await asyncio.wait_for(answer, 30)


async def test_answers_come_to_the_loop_from_one_thread_of_its_own() -> None:
    model = FakeModel()
    judge = SmartTurn(lambda: model)
    answers = await asyncio.gather(*(asked(judge, LOUD * scale) for scale in (0.2, 1.0, 2.0)))
    assert answers == pytest.approx([0.1, 0.5, 1.0])
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads
    await judge.close()
    await judge.close()


async def test_the_model_is_loaded_once_and_only_when_it_is_needed() -> None:
    loads: list[FakeModel] = []

    def load() -> FakeModel:
        loads.append(FakeModel())
        return loads[-1]

    judge = SmartTurn(load)
    assert loads == []
    judge.prepare()
    judge.prepare()
    await asked(judge, LOUD)
    await judge.close()
    assert len(loads) == 1


async def test_a_withdrawn_question_is_not_answered() -> None:
    judge = SmartTurn(FakeModel)
    answers: list[float] = []
    judge.ask(LOUD, answers.append).cancel()
    assert await asked(judge, LOUD) == 0.5
    assert answers == []
    await judge.close()


def broken() -> FakeModel:
    raise OSError("no such file")


class BrokenModel:
    def probability(self, audio: Float32) -> float:
        raise RuntimeError("bug")


@pytest.mark.parametrize("load", [broken, BrokenModel])
async def test_without_a_working_model_no_turn_is_complete(load: Any) -> None:
    judge = SmartTurn(load)
    assert await asked(judge, LOUD) == 0.0
    assert await asked(judge, LOUD) == 0.0
    await judge.close()


# --- the model ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> SmartTurnModel:
    return SmartTurnModel()


def at_16k(name: str) -> Float32:
    samples = np.frombuffer(speech(name), np.int16).astype(np.float32) / 32768
    return soxr.resample(samples, 24_000, 16_000)


def test_any_length_is_judged(model: SmartTurnModel) -> None:
    for size in (1, 1600, MAX_SAMPLES, MAX_SAMPLES * 2):
        assert 0 <= model.probability(np.zeros(size, np.float32)) <= 1


def test_a_finished_question_is_complete_and_half_of_it_is_not(model: SmartTurnModel) -> None:
    weather = at_16k("weather")
    silence = np.zeros(3200, np.float32)
    assert model.probability(np.concatenate([weather, silence])) > 0.8
    half = weather[: weather.size // 2]
    assert model.probability(np.concatenate([half, silence])) < 0.4


def test_recordings_of_whole_sentences_are_complete(
    model: SmartTurnModel, shared_audio: SharedAudio, manifest: dict[str, Any]
) -> None:
    for name in ("en_weather", "en_go_forward", "en_seven_of_clubs", "en_cards_long"):
        samples, rate_hz = soundfile.read(shared_audio.path(name), dtype="float32")
        assert rate_hz == 16_000
        end = manifest[name]["speech_end_ms"] * 16
        turn = np.concatenate([samples[:end], np.zeros(3200, np.float32)])
        assert model.probability(turn.astype(np.float32)) > 0.9, name
