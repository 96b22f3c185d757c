"""What faults wait for, and what they do to what is more than words."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from core.messages import Passage, WordTime
from protocol import TokenLogprob
from providers.fault_effects import spoiled_answer, spoiled_reply, spoiled_speech
from providers.faults import FaultBook, InjectedFault
from providers.recognition import Recognition
from providers.script import Latency
from providers.script_reply import Finish, Pause, SayToken
from providers.speech_timing import timed
from providers.tts_service import Speech


class Slept:
    """How long was slept, without sleeping."""

    def __init__(self) -> None:
        self.times_s: list[float] = []

    async def __call__(self, duration_s: float) -> None:
        self.times_s.append(duration_s)


def fault(stage: str, kind: str, **rest: Any) -> InjectedFault:
    return InjectedFault.model_validate({"stage": stage, "kind": kind, **rest})


async def speech() -> Speech:
    yield (WordTime(0, 2, 0),)
    yield bytes(480)
    yield bytes(240)


async def pieces(spoken: AsyncGenerator[Any, None]) -> list[int]:
    """Lengths of the audio; words count as -1."""
    return [len(piece) if isinstance(piece, bytes) else -1 async for piece in spoken]


async def test_slow_stages_wait_and_change_nothing() -> None:
    slept = Slept()
    heard = Recognition("one two")
    assert await spoiled_answer(fault("stt", "slow", delay_ms=70), heard, slept) == heard
    assert await pieces(spoiled_speech(fault("tts", "slow"), speech(), slept)) == [-1, 480, 240]
    assert slept.times_s == [0.07, 2.0]
    said = (SayToken("a"), Finish("stop", 1))
    assert spoiled_reply(fault("llm", "slow", delay_ms=70), said) == (Pause(70), *said)


async def test_a_transcript_is_cut_with_all_that_belongs_to_it() -> None:
    logprobs = tuple(TokenLogprob(token, -0.1) for token in ("one", " two", " three", " four"))
    passages = (Passage("one two", "A", 0.0, 1.0), Passage("three four", "B", 1.0, 2.0))
    heard = Recognition("one two three four", logprobs, passages)
    cut = await spoiled_answer(fault("stt", "truncate"), heard)
    assert cut == Recognition("one two", logprobs[:2], passages[:1])


async def test_speech_cut_short_has_whole_samples() -> None:
    assert await pieces(spoiled_speech(fault("tts", "truncate"), speech())) == [-1, 360]


async def test_speech_takes_the_time_of_its_latency() -> None:
    slept = Slept()
    latency = Latency(tts_first_audio_ms=200, tts_realtime_factor=0.5)
    assert await pieces(timed(speech(), latency, slept)) == [-1, 480, 240]
    assert slept.times_s == [0.2, 0.0, 0.005, 0.0025]


@pytest.mark.parametrize("count", [1, 3])
def test_a_fault_strikes_as_often_as_it_says(count: int) -> None:
    book = FaultBook([fault("llm", "error", count=count)])
    struck = [book.take("llm", session="s", turn=turn) is not None for turn in range(1, 6)]
    assert struck == [True] * count + [False] * (5 - count)
    assert book.waiting() == []


def test_a_fault_can_be_taken_back() -> None:
    book = FaultBook()
    kept, gone = book.add(fault("llm", "error", count="always")), book.add(fault("llm", "hang"))
    assert book.remove(gone)
    assert not book.remove(gone)
    for _ in range(3):
        struck = book.take("llm", session="s", turn=1)
        assert struck is not None
        assert struck.kind == "error"
    assert [fault_id for fault_id, _, _ in book.waiting()] == [kept]
    assert book.clear() == 1
    assert book.take("llm", session="s", turn=1) is None
