"""Which segment an answer belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from pipecat.frames.frames import InterimTranscriptionFrame, TranscriptionFrame
from pipecat.processors.frame_processor import FrameDirection

from core.messages import TranscriptDelta, TranscriptFailed, TranscriptFinal
from processors.transcript_gate import TranscriptGate
from protocol import ErrorCategory, Stage
from providers.frames import StageFailedFrame, answering


class Gate:
    """A gate and what came out of it."""

    def __init__(self) -> None:
        self.finals: list[Any] = []
        self.gate = TranscriptGate(self._take)

    def _take(self, event: Any) -> None:
        if not isinstance(event, TranscriptDelta):
            self.finals.append(event)

    async def final(self, text: str, segment: str | None = None, finalized: bool = True) -> None:
        frame = TranscriptionFrame(text, "", "", finalized=finalized)
        await self._push(frame, segment)

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
