"""Hands the model's text to the speech synthesiser clause by clause, as far as it is wanted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pipecat.frames.frames import (
    DataFrame,
    Frame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.text.base_text_aggregator import TextType

from providers.frames import ClauseFrame, RecordingFrame, ResponseBeginFrame, ResponseEndFrame

from .clauses import Clause, ClauseSplitter
from .outlet import ResponseOutlet

_WORDLESS = "♪"
"""Names a recording without words where a synthesiser would pass over an empty clause."""


@dataclass
class UnspokenTextFrame(DataFrame):
    """The end of a reply that holds nothing to say; the transcript needs it all the same."""

    text: str


class SpeechFeed(FrameProcessor):
    """Cuts `LLMTextFrame`s into `ClauseFrame`s and hands them over one at a time.

    The next clause leaves when the synthesiser has taken the last one and the flow is open.
    A model is faster than a voice: without the first condition the whole reply would be in the
    synthesiser's queue, out of reach of the second, before its first sound is heard.

    Args:
        outlet: Says which response is still wanted.
        flow: Cleared while nobody takes the audio.
    """

    def __init__(self, outlet: ResponseOutlet, flow: asyncio.Event) -> None:
        super().__init__()
        self._outlet = outlet
        self._flow = flow
        self._splitter = ClauseSplitter()
        self._response_id: str | None = None
        self._unspoken = ""
        self._taken = asyncio.Event()
        self._taken.set()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
            return
        match frame:
            case LLMTextFrame():
                for clause in self._splitter.feed(frame.text):
                    await self._hand_over(clause)
                return
            case RecordingFrame():
                for clause in self._splitter.flush():
                    await self._hand_over(clause)
                speech = frame.text.strip() or _WORDLESS
                await self._speak(
                    ClauseFrame(speech, TextType.SENTENCE, recording=frame.pcm), frame.text
                )
                return
            case LLMFullResponseEndFrame() | ResponseEndFrame():
                await self._finish_text()
            case ResponseBeginFrame():
                self._begin(frame.response_id)
            case _:
                pass
        await self.push_frame(frame, direction)

    async def _finish_text(self) -> None:
        for clause in self._splitter.flush():
            await self._hand_over(clause)
        if self._unspoken:
            text, self._unspoken = self._unspoken, ""
            await self.push_frame(UnspokenTextFrame(text))

    async def _hand_over(self, clause: Clause) -> None:
        if not clause.speech:
            # Synthesisers swallow what they cannot speak: the next clause carries it.
            self._unspoken += clause.exact
            return
        await self._speak(ClauseFrame(clause.speech, TextType.SENTENCE), clause.exact)

    async def _speak(self, frame: ClauseFrame, exact: str) -> None:
        await self._may_speak()
        if not self._outlet.is_live(self._response_id) or self.next is None:
            return
        frame.exact, self._unspoken = self._unspoken + exact, ""
        self._taken.clear()
        # `push_frame` takes no callback; this is what it does, and Pipecat calls back once the
        # synthesiser has processed the frame.
        await self.next.queue_frame(frame, FrameDirection.DOWNSTREAM, self._on_taken)

    async def _may_speak(self) -> None:
        while not (self._taken.is_set() and self._flow.is_set()):
            await self._taken.wait()
            await self._flow.wait()

    async def _on_taken(
        self, processor: FrameProcessor, frame: Frame, direction: FrameDirection
    ) -> None:
        self._taken.set()

    def _begin(self, response_id: str) -> None:
        """Start anew; what an interruption left here is not live and would not be spoken."""
        self._response_id = response_id
        self._splitter.reset()
        self._unspoken = ""
        self._taken.set()
