"""Text goes to the voice clause by clause, one at a time, and only while it is wanted."""

from __future__ import annotations

import asyncio

from pipecat.frames.frames import Frame, LLMFullResponseEndFrame, LLMTextFrame
from pipecat.processors.frame_processor import FrameCallback, FrameDirection, FrameProcessor

from processors.outlet import ResponseOutlet
from processors.speech_feed import SpeechFeed, UnspokenTextFrame
from providers.frames import ClauseFrame, ResponseBeginFrame, ResponseEndFrame
from tests.pipeline_bench import request


class Voice(FrameProcessor):
    """Takes clauses; holds their callbacks until the test lets it go on."""

    def __init__(self, patient: bool) -> None:
        super().__init__(enable_direct_mode=True)
        self.frames: list[Frame] = []
        self._patient = patient
        self._held: list[tuple[Frame, FrameCallback]] = []

    async def queue_frame(
        self,
        frame: Frame,
        direction: FrameDirection = FrameDirection.DOWNSTREAM,
        callback: FrameCallback | None = None,
    ) -> None:
        self.frames.append(frame)
        if callback is not None:
            self._held.append((frame, callback))
        if not self._patient:
            await self.go_on()

    async def go_on(self) -> None:
        while self._held:
            frame, callback = self._held.pop()
            await callback(self, frame, FrameDirection.DOWNSTREAM)

    def clauses(self) -> list[tuple[str, str]]:
        return [(f.text, f.exact) for f in self.frames if isinstance(f, ClauseFrame)]


class Bench:
    def __init__(self, patient: bool = False) -> None:
        self.outlet = ResponseOutlet(lambda event: None)
        self.outlet.open("r1")
        self.flow = asyncio.Event()
        self.flow.set()
        self.feed = SpeechFeed(self.outlet, self.flow)
        self.voice = Voice(patient)
        self.feed.link(self.voice)

    async def push(self, *frames: Frame) -> None:
        for frame in frames:
            await self.feed.process_frame(frame, FrameDirection.DOWNSTREAM)


BEGIN = ResponseBeginFrame("r1", request())


async def test_text_becomes_clauses_that_join_to_it() -> None:
    bench = Bench()
    text = ["Hello the", "re. How are", " you? ", "Fine"]
    end = LLMFullResponseEndFrame()
    await bench.push(BEGIN, *map(LLMTextFrame, text), end)
    assert bench.voice.clauses() == [
        ("Hello there.", "Hello there."),
        ("How are you?", " How are you?"),
        ("Fine", " Fine"),
    ]
    assert (bench.voice.frames[0], bench.voice.frames[-1]) == (BEGIN, end)


async def test_what_cannot_be_spoken_goes_with_the_next_clause_or_at_the_end() -> None:
    bench = Bench()
    await bench.push(BEGIN, LLMTextFrame("Hello there.\n"), LLMTextFrame("---\n\nBye now. \n"))
    await bench.push(LLMFullResponseEndFrame())
    exact = "".join(exact for _, exact in bench.voice.clauses())
    rest = "".join(f.text for f in bench.voice.frames if isinstance(f, UnspokenTextFrame))
    assert exact + rest == "Hello there.\n---\n\nBye now. \n"
    assert all(text.strip("-\n ") for text, _ in bench.voice.clauses())


async def test_a_reply_without_its_end_frame_is_spoken_to_its_end() -> None:
    bench = Bench()
    end = ResponseEndFrame("r1")
    await bench.push(BEGIN, LLMTextFrame("Hello"), end)
    assert bench.voice.clauses() == [("Hello", "Hello")]
    assert bench.voice.frames[-1] is end


async def test_the_next_clause_waits_until_the_voice_has_taken_the_last() -> None:
    bench = Bench(patient=True)
    pushing = asyncio.create_task(bench.push(BEGIN, LLMTextFrame("One is. Two is. Three is. ")))
    for taken in range(1, 4):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(bench.voice.clauses()) == taken
        await bench.voice.go_on()
    await pushing


async def test_no_clause_is_handed_over_while_the_flow_is_closed() -> None:
    bench = Bench()
    bench.flow.clear()
    pushing = asyncio.create_task(bench.push(BEGIN, LLMTextFrame("One is. Two is. ")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.voice.frames == [BEGIN]
    bench.flow.set()
    await pushing
    assert len(bench.voice.clauses()) == 2


async def test_a_response_that_was_stopped_while_it_waited_is_not_spoken() -> None:
    bench = Bench()
    bench.flow.clear()
    pushing = asyncio.create_task(bench.push(BEGIN, LLMTextFrame("One is. Two is. ")))
    await asyncio.sleep(0)
    bench.outlet.stop("r1")
    bench.flow.set()
    await pushing
    assert bench.voice.frames == [BEGIN]


async def test_a_new_response_starts_without_the_rest_of_the_last() -> None:
    bench = Bench()
    await bench.push(BEGIN, LLMTextFrame("Left over"), BEGIN, LLMTextFrame("Hello"))
    await bench.push(LLMFullResponseEndFrame())
    assert bench.voice.clauses() == [("Hello", "Hello")]
