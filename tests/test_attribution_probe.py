"""No response ever gets a word or a sound of another, however it is cut off.

Pipecat's frames carry no response ids. What keeps them apart is probed here with random cuts and
payloads that name their owner: every word of response `r7` contains `r7.`, and so does its sound.
"""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from core.messages import EngineEvent, ModelText, SpeechAudio, SpeechText

from .fakes import FakeTts, StreamingTtsService, UnorderedTtsService
from .pipeline_bench import Bench

CYCLES = 50
VOICES = {
    "plain": FakeTts(pieces=3),
    "paced": FakeTts(pieces=3, pause_s=0.002),
    "slow to interrupt": FakeTts(pieces=3, pause_s=0.001, interruption_s=0.02),
    "streaming": FakeTts(StreamingTtsService, pieces=3, pause_s=0.001),
    "streaming, slow": FakeTts(StreamingTtsService, pieces=3, pause_s=0.001, interruption_s=0.02),
    "streaming, unordered": FakeTts(UnorderedTtsService, pieces=3, pause_s=0.001),
}


def words_of(owner: str) -> str:
    return " ".join(f"{owner}-{word}" for word in ("one", "two.", "three", "four.", "five."))


def owners(event: EngineEvent) -> set[str]:
    match event:
        case ModelText() | SpeechText():
            return set(re.findall(r"r\d+", event.text))
        case SpeechAudio():
            return set(re.findall(r"r\d+", event.pcm.decode()))
        case _:
            return set()


@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES.keys())
async def test_cut_responses_leave_nothing_to_their_successors(voice: FakeTts) -> None:
    dice = random.Random(7)
    bench = Bench(tts=voice)
    async with bench.running():
        for cycle in range(CYCLES):
            response_id = f"r{cycle}"
            bench.ask(response_id, words_of(response_id))
            match dice.randrange(4):
                case 0:
                    await asyncio.sleep(0)
                case 1:
                    await bench.until(lambda id=response_id: bool(bench.about(id)))
                case 2:
                    await bench.until(
                        lambda id=response_id: any(
                            isinstance(event, SpeechAudio) for event in bench.about(id)
                        )
                    )
                case _:
                    await asyncio.sleep(dice.random() * 0.01)
            bench.stop(response_id)
            told = len(bench.about(response_id))
            if dice.random() < 0.5:
                await asyncio.sleep(dice.random() * 0.01)
                assert len(bench.about(response_id)) == told
        bench.ask("r999", words_of("r999"))
        await bench.until_over("r999")

    for event in bench.events:
        assert owners(event) <= {getattr(event, "response_id", "")}
    spoken = [e.text for e in bench.about("r999") if isinstance(e, SpeechText)]
    assert "".join(spoken).strip() == words_of("r999")


@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES.keys())
async def test_nothing_is_emitted_for_a_response_from_its_stop_on(voice: FakeTts) -> None:
    bench = Bench(tts=voice)
    async with bench.running():
        for cycle in range(10):
            cut, following = f"r{cycle}", f"r{cycle + 100}"
            bench.ask(cut, words_of(cut))
            await bench.until(
                lambda id=cut: any(isinstance(event, SpeechAudio) for event in bench.about(id))
            )
            bench.stop(cut)
            told = len(bench.about(cut))
            bench.ask(following, words_of(following))
            await bench.until_over(following)
            assert len(bench.about(cut)) == told
