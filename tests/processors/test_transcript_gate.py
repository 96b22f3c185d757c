"""Which segment an answer belongs to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pipecat.frames.frames import InterimTranscriptionFrame, TranscriptionFrame
from pipecat.processors.frame_processor import FrameDirection

from core.messages import (
    Passage,
    TranscriptDelta,
    TranscriptFailed,
    TranscriptFinal,
    TranscriptTentative,
)
from processors.transcript_gate import TranscriptGate
from protocol import ErrorCategory, Stage, TokenLogprob
from providers.frames import SettledFrame, StageFailedFrame, answering
from providers.recognition import Recognition


class Gate:
    """A gate and what came out of it."""

    def __init__(self) -> None:
        self.finals: list[Any] = []
        self.deltas: list[Any] = []
        self.gate = TranscriptGate(self._take)

    def _take(self, event: Any) -> None:
        log = self.deltas if isinstance(event, TranscriptDelta) else self.finals
        log.append(event)

    async def hears(self, heard: Recognition, segment: str) -> None:
        await self._push(InterimTranscriptionFrame(heard.text, "", "", result=heard), segment)

    async def understands(self, heard: Recognition, segment: str) -> None:
        frame = TranscriptionFrame(heard.text, "", "", result=heard, finalized=True)
        await self._push(frame, segment)

    async def final(self, text: str, segment: str | None = None, finalized: bool = True) -> None:
        frame = TranscriptionFrame(text, "", "", finalized=finalized)
        await self._push(frame, segment)

    async def settles(self, text: str, segment: str, sample: int) -> None:
        await self._push(SettledFrame(text, sample), segment)

    async def fails(self, segment: str | None = None) -> None:
        await self._push(StageFailedFrame(Stage.STT, ErrorCategory.SERVER, "no"), segment)

    async def _push(self, frame: Any, segment: str | None) -> None:
        if segment is not None:
            answering(frame, segment)
        await self.gate.process_frame(frame, FrameDirection.DOWNSTREAM)

    def segments(self, *names: str) -> None:
        for name in names:
            self.gate.open(name)
            self.gate.close(name)


async def test_unnamed_answers_belong_to_the_segments_in_their_order() -> None:
    gate = Gate()
    gate.segments("a", "b")
    await gate.final("one")
    await gate.final("two")
    assert gate.finals == [TranscriptFinal("a", "one"), TranscriptFinal("b", "two")]


async def test_a_missing_answer_shifts_no_named_one() -> None:
    gate = Gate()
    gate.segments("a", "b", "c")
    await gate.final("two", "b")
    gate.gate.drop("a")
    await gate.final("three", "c")
    assert gate.finals == [TranscriptFinal("b", "two"), TranscriptFinal("c", "three")]


async def test_a_named_answer_before_the_close_is_kept_for_it() -> None:
    gate = Gate()
    gate.gate.open("a")
    await gate.final("early", "a")
    assert gate.finals == []
    gate.gate.close("a")
    gate.segments("b")
    await gate.final("late", "b")
    assert gate.finals == [TranscriptFinal("a", "early"), TranscriptFinal("b", "late")]


async def test_an_unnamed_final_in_mid_segment_is_only_part_of_it() -> None:
    gate = Gate()
    gate.gate.open("a")
    await gate.final("one")
    gate.gate.close("a")
    await gate.final("two")
    assert gate.finals == [TranscriptFinal("a", "one two")]


@pytest.mark.parametrize("segment", [None, "a"])
async def test_a_failure_ends_its_segment_only(segment: str | None) -> None:
    gate = Gate()
    gate.segments("a", "b")
    await gate.fails(segment)
    await gate.final("two", "b")
    assert [type(event) for event in gate.finals] == [TranscriptFailed, TranscriptFinal]
    assert [event.item_id for event in gate.finals] == ["a", "b"]


async def test_answers_to_unknown_segments_are_nobodys() -> None:
    gate = Gate()
    gate.segments("a")
    await gate.final("old", "long gone")
    await gate.fails("long gone")
    frame = InterimTranscriptionFrame("old", "", "")
    await gate.gate.process_frame(answering(frame, "long gone"), FrameDirection.DOWNSTREAM)
    assert gate.finals == []
    await gate.final("mine", "a")
    assert gate.finals == [TranscriptFinal("a", "mine")]


async def test_dropped_segments_stay_silent() -> None:
    gate = Gate()
    gate.gate.open("a")
    gate.gate.drop("a")
    gate.segments("b")
    await gate.final("nobody's")
    await gate.final("mine")
    assert gate.finals == [TranscriptFinal("b", "mine")]


async def test_an_id_that_is_used_again_has_answers_of_its_own() -> None:
    gate = Gate()
    gate.segments("a")
    gate.gate.drop("a")
    gate.gate.open("a", attempt=1)
    gate.gate.close("a")
    await gate.final("of the deleted one", "a")
    assert (gate.finals, gate.deltas) == ([], [])
    await gate.final("mine", "a")
    assert gate.finals == [TranscriptFinal("a", "mine", attempt=1)]
    assert gate.deltas == [TranscriptDelta("a", "mine", attempt=1)]


async def test_an_id_that_is_used_again_is_dropped_by_its_latest_segment() -> None:
    gate = Gate()
    gate.segments("a")
    gate.gate.drop("a")
    gate.gate.open("a", attempt=1)
    gate.gate.drop("a")
    await gate.final("one", "a")
    await gate.final("two", "a")
    assert (gate.finals, gate.deltas) == ([], [])


def sure(*pieces: str, logprob: float = -0.1) -> Recognition:
    tokens = tuple(TokenLogprob(piece, logprob) for piece in pieces)
    return Recognition("".join(pieces), tokens)


async def test_each_delta_has_the_pieces_that_it_tells() -> None:
    gate = Gate()
    gate.gate.open("a")
    await gate.hears(sure("one"), "a")
    await gate.hears(sure("one", " two"), "a")
    await gate.hears(sure("one", " two", " tree"), "a")
    gate.gate.close("a")
    final = sure("one", " two", " three", logprob=-0.2)
    passages = (Passage("one two three", "A", 0.0, 1.0),)
    await gate.understands(replace(final, passages=passages), "a")
    told = [(delta.delta, delta.logprobs) for delta in gate.deltas]
    assert told == [
        ("one", sure("one").logprobs),
        (" two", sure(" two").logprobs),
        (" three", final.logprobs[2:]),
    ]
    assert gate.finals == [TranscriptFinal("a", "one two three", final.logprobs, passages)]


async def test_a_token_with_a_space_in_front_of_the_text_is_told_with_it() -> None:
    gate = Gate()
    gate.segments("a")
    heard = Recognition("hi.", (TokenLogprob(" hi", -0.1), TokenLogprob(".", -0.1)))
    await gate.understands(heard, "a")
    assert [delta.logprobs for delta in gate.deltas] == [heard.logprobs]


# --- pauses -------------------------------------------------------------------------------------


async def test_in_a_pause_all_is_told_that_is_understood() -> None:
    gate = Gate()
    gate.gate.open("a")
    await gate.hears(Recognition("hello"), "a")
    assert gate.finals == []
    gate.gate.settle("a", 100)
    await gate.hears(Recognition("hello you"), "a")
    await gate.settles("Hello, you.", "a", 100)
    assert gate.finals == [
        TranscriptTentative("a", "hello", 100),
        TranscriptTentative("a", "hello you", 100),
        TranscriptTentative("a", "Hello, you.", 100),
    ]


async def test_an_answer_to_an_earlier_pause_is_void() -> None:
    gate = Gate()
    gate.gate.open("a")
    gate.gate.settle("a", 100)
    gate.gate.settle("a", 200)
    await gate.settles("hello", "a", 100)
    assert gate.finals == []


async def test_words_so_far_are_no_answer_and_none_once_the_segment_is_closed() -> None:
    gate = Gate()
    gate.gate.open("a")
    gate.gate.settle("a", 100)
    await gate.settles("hello", "a", 100)
    gate.gate.close("a")
    await gate.settles("hello", "a", 100)
    await gate.final("hello", "a")
    assert gate.finals == [TranscriptTentative("a", "hello", 100), TranscriptFinal("a", "hello")]
