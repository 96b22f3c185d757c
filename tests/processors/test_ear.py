"""`semantic_vad`: when a turn is judged, on what audio, and what the answer does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from core.messages import (
    ConfigureVad,
    VadPaused,
    VadResumed,
    VadSpeechStarted,
    VadSpeechStopped,
)
from processors.ear import Ear, VadEvent
from processors.patience import PATIENCE
from protocol import SemanticVad, ServerVad
from tests.fakes import FakeVadEngine, FakeVadStream

SECOND = bytes(48_000)
HZ = 16_000
"""Of positions inside turn detection; those of the session count 24 000 a second."""


@dataclass
class FakeJudge:
    """Keeps the questions; the test answers them."""

    prepared: int = 0
    asked: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])
    answers: list[Callable[[float], None]] = field(default_factory=list[Callable[[float], None]])

    def prepare(self) -> None:
        self.prepared += 1

    def ask(self, audio: NDArray[np.float32], answered: Callable[[float], None]) -> FakeJudge:
        self.asked.append(audio)
        self.answers.append(answered)
        return self

    def cancel(self) -> None:
        self.answers[-1] = lambda probability: None


@dataclass
class Bench:
    judge: FakeJudge
    ear: Ear
    stream: FakeVadStream
    events: list[VadEvent]


def bench(detection: SemanticVad | ServerVad | None = None, *, judged: bool = True) -> Bench:
    """An ear that hears the second second of somebody's speech."""
    vad, judge, events = FakeVadEngine(), FakeJudge(), list[VadEvent]()
    ear = Ear(vad, judge if judged else None, events.append)
    ear.configure(ConfigureVad(1, detection or SemanticVad()))
    for _ in range(3):
        ear.hear(SECOND)
    vad.streams[0].on_start(HZ)
    return Bench(judge, ear, vad.streams[0], events)


ASK = PATIENCE["auto"].asks_ms[0] * HZ // 1000
STARTED = VadSpeechStarted(1, 24_000)


def test_a_complete_turn_ends_where_it_was_judged() -> None:
    b = bench()
    b.stream.pause(2 * HZ, 2 * HZ + ASK)
    b.judge.answers[0](0.9)
    assert b.events == [STARTED, VadSpeechStopped(1, 48_000, 48_000 + 7_200)]


def test_the_audio_judged_is_the_turn_with_a_little_lead() -> None:
    b = bench()
    b.stream.pause(2 * HZ, 2 * HZ + ASK)
    assert b.judge.asked[0].size == HZ // 2 + HZ + ASK


def test_of_a_long_turn_the_end_is_judged() -> None:
    b = bench()
    for _ in range(20):
        b.ear.hear(SECOND)
    b.stream.pause(22 * HZ, 22 * HZ + ASK)
    assert b.judge.asked[0].size == 8 * HZ


@pytest.mark.parametrize("eagerness", PATIENCE)
def test_eagerness_says_when_to_ask_and_what_is_enough(eagerness: str) -> None:
    b = bench(SemanticVad(eagerness=eagerness))  # type: ignore[arg-type]
    patience = PATIENCE[eagerness]  # type: ignore[index]
    assert b.stream.pauses_ms == patience.asks_ms
    first, second = (ask_ms * HZ // 1000 for ask_ms in patience.asks_ms[:2])
    b.stream.pause(2 * HZ, 2 * HZ + first)
    b.judge.answers[0](patience.complete - 0.01)
    assert b.events == [STARTED]
    b.stream.pause(2 * HZ, 2 * HZ + second)
    b.judge.answers[1](patience.complete)
    assert b.events == [STARTED, VadSpeechStopped(1, 48_000, 48_000 + second * 3 // 2)]


def test_the_levels_are_ordered() -> None:
    order = [PATIENCE[level] for level in ("high", "medium", "low")]
    assert [p.asks_ms[0] for p in order] == sorted(p.asks_ms[0] for p in order)
    assert [p.complete for p in order] == sorted(p.complete for p in order)
    assert PATIENCE["auto"] == PATIENCE["medium"]


def test_an_answer_that_comes_when_speech_goes_on_is_void() -> None:
    b = bench()
    b.stream.pause(2 * HZ, 2 * HZ + ASK)
    b.stream.end = None
    b.judge.answers[0](1.0)
    assert b.events == [STARTED]


@pytest.mark.parametrize(
    "happening",
    [
        lambda b: b.stream.on_stop(2 * HZ),
        lambda b: b.ear.close(),
        lambda b: b.ear.configure(ConfigureVad(2, SemanticVad())),
        lambda b: b.ear.configure(ConfigureVad(1, ServerVad())),
        lambda b: b.ear.configure(ConfigureVad(1, None)),
    ],
)
def test_a_question_is_withdrawn(happening: Callable[[Bench], None]) -> None:
    b = bench()
    b.stream.pause(2 * HZ, 2 * HZ + ASK)
    happening(b)
    told = list(b.events)
    b.judge.answers[0](1.0)
    assert b.events == told


def test_without_a_judge_the_longest_wait_ends_the_turn() -> None:
    b = bench(judged=False)
    b.stream.pause(2 * HZ, 2 * HZ + ASK)
    b.stream.on_stop(2 * HZ)
    assert b.events == [STARTED, VadSpeechStopped(1, 48_000)]


def test_server_vad_asks_nobody() -> None:
    b = bench(ServerVad())
    assert (b.stream.pauses_ms, b.judge.prepared) == ((), 0)
    b.ear.configure(ConfigureVad(1, SemanticVad()))
    assert b.judge.prepared == 1


# --- pauses that are told ---------------------------------------------------------------------

TOLD_MS = 100
TOLD = TOLD_MS * HZ // 1000
PAUSED = VadPaused(1, 48_000 + TOLD * 3 // 2)


def told(detection: SemanticVad | ServerVad) -> Bench:
    b = bench(detection)
    b.ear.configure(ConfigureVad(1, detection, TOLD_MS))
    return b


@pytest.mark.parametrize("detection", [ServerVad(), SemanticVad()])
def test_a_pause_is_told_once_and_so_is_its_end(detection: SemanticVad | ServerVad) -> None:
    b = told(detection)
    assert b.stream.pauses_ms[0] == TOLD_MS
    b.stream.pause(2 * HZ, 2 * HZ + TOLD)
    b.stream.pause(2 * HZ, 2 * HZ + ASK)
    assert b.events == [STARTED, PAUSED]
    b.stream.resume()
    assert b.events == [STARTED, PAUSED, VadResumed(1)]


def test_the_next_pause_is_told_again() -> None:
    b = told(ServerVad())
    b.stream.pause(2 * HZ, 2 * HZ + TOLD)
    b.stream.resume()
    b.stream.pause(3 * HZ, 3 * HZ + TOLD)
    assert b.events[2:] == [VadResumed(1), VadPaused(1, 72_000 + TOLD * 3 // 2)]


def test_a_pause_that_is_told_is_no_question() -> None:
    b = told(SemanticVad())
    b.stream.pause(2 * HZ, 2 * HZ + TOLD)
    assert b.judge.asked == []
    b.stream.pause(2 * HZ, 2 * HZ + ASK)
    assert len(b.judge.asked) == 1


def test_the_end_of_a_pause_that_was_not_told_is_not_told() -> None:
    b = bench()
    b.stream.pause(2 * HZ, 2 * HZ + ASK)
    b.stream.resume()
    assert b.events == [STARTED]
