"""Figure: how far the words kept after a truncation are from the words that were heard.

Run alone: `python -m bench.measure_heard`. Nothing of it depends on the clock: replies are cut by
`conversation.item.truncate` at every 50 ms, and what the core keeps is held against the engine's
own word times, which are exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import protocol as p
from core import messages as m
from core.machine import Machine
from core.policy import Policy
from core.speech import BYTES_PER_MS
from processors.clauses import ClauseSplitter
from providers.espeak_tts import EspeakProvider, EspeakTTSService
from providers.tone import render

from .report import Table
from .scale import QUICK, Scale

STEP_MS = 50
TEXTS = {
    "English, long words": "Unfortunately, the international conference on interpretability was "
    "postponed. We apologise for any inconvenience this announcement may have caused.",
    "English, short words": "I see it now. It is on the top of the box, so go and get it for me.",
    "English, numbers": "The total is 1,234 dollars and 56 cents. Call 555 0199 before 8 pm.",
    "Mandarin": "今天天气很好，我们一起去公园散步吧。晚上回家以后再看一部电影。",
}

Speech = tuple[bytes, tuple[m.WordTime, ...]]
Speak = Callable[[str], Awaitable[Speech]]


@dataclass(frozen=True, slots=True)
class Heard:
    """Errors of one voice on one text, over all places where it was cut.

    Attributes:
        words_mean, words_worst: Words kept too many or too few; characters for Mandarin.
        ms_mean, ms_worst: Between the cut and the end of the last word that was kept. A word is
            kept or not as a whole, so half a word's length is the least that can be.
    """

    text: str
    voice: str
    word_times: bool
    cuts: int
    words_mean: float
    words_worst: int
    ms_mean: float
    ms_worst: float


@dataclass(frozen=True, slots=True)
class _Word:
    """A word on the time line of the whole reply."""

    end: int
    start_ms: float
    end_ms: float


async def measure(scale: Scale) -> list[Heard]:
    """Cut every text, in both voices, with and without their word times."""
    espeak = EspeakProvider()
    await espeak.start()

    async def espeak_says(text: str) -> Speech:
        return await _collected(espeak.create_service(), text)

    async def tone_says(text: str) -> Speech:
        return render(text)

    try:
        voices: tuple[tuple[str, Speak], ...] = (("tone", tone_says), ("espeak", espeak_says))
        return [
            await _measure(name, text, voice, speak, timed)
            for name, text in TEXTS.items()
            for voice, speak in voices
            for timed in (True, False)
        ]
    finally:
        await espeak.close()


async def _collected(service: EspeakTTSService, text: str) -> Speech:
    request = m.GenerationRequest(
        messages=(),
        instructions="",
        tools=(),
        tool_choice="auto",
        speak=True,
        voice="alloy",
        speed=1.0,
        max_output_tokens=None,
        temperature=0.8,
    )
    pieces: AsyncIterator[tuple[m.WordTime, ...] | bytes] = service.synthesize(text, request)
    pcm, words = b"", list[m.WordTime]()
    async for piece in pieces:
        if isinstance(piece, bytes):
            pcm += piece
        else:
            words += piece
    return pcm, tuple(words)


async def _measure(name: str, text: str, voice: str, speak: Speak, timed: bool) -> Heard:
    splitter = ClauseSplitter()
    clauses = [*splitter.feed(text), *splitter.flush()]
    spoken = [
        (clause.exact, clause.exact.find(clause.speech), await speak(clause.speech))
        for clause in clauses
    ]
    said = _words(spoken)
    total_ms = sum(len(pcm) for _, _, (pcm, _) in spoken) / BYTES_PER_MS
    errors: list[tuple[int, float]] = []
    for cut_ms in range(STEP_MS, int(total_ms), STEP_MS):
        kept = _kept(spoken, cut_ms, timed)
        heard = sum((word.start_ms + word.end_ms) / 2 <= cut_ms for word in said)
        got = sum(word.end <= len(kept) for word in said)
        end_ms = said[got - 1].end_ms if got else said[0].start_ms
        errors.append((abs(got - heard), abs(end_ms - cut_ms)))
    return Heard(
        name,
        voice,
        timed,
        len(errors),
        sum(words for words, _ in errors) / len(errors),
        max(words for words, _ in errors),
        sum(ms for _, ms in errors) / len(errors),
        max(ms for _, ms in errors),
    )


def _words(spoken: list[tuple[str, int, Speech]]) -> list[_Word]:
    """All words of a reply, by the engine's own times."""
    said: list[_Word] = []
    offset, offset_ms = 0, 0.0
    for exact, indent, (pcm, words) in spoken:
        length_ms = len(pcm) / BYTES_PER_MS
        starts = [word.start_ms for word in words] + [length_ms]
        for number, word in enumerate(words):
            said.append(
                _Word(
                    offset + indent + word.end,
                    offset_ms + word.start_ms,
                    offset_ms + starts[number + 1],
                )
            )
        offset += len(exact)
        offset_ms += length_ms
    return said


def _kept(spoken: list[tuple[str, int, Speech]], cut_ms: int, timed: bool) -> str:
    """What the conversation holds of a reply that was truncated at `cut_ms`."""
    numbers = iter(range(1_000_000))
    machine = Machine(
        p.SessionView("sess", 0, p.Session()),
        conversation_id="conv",
        policy=Policy(output_lead_ms=None),
        new_id=lambda prefix: f"{prefix}_{next(numbers)}",
    )
    machine.start()
    created = machine.handle(p.ResponseCreate(), 0.0)
    response_id = next(o.response.id for o in created if isinstance(o, p.ResponseCreated))
    item_id = ""
    for exact, indent, (pcm, words) in spoken:
        moved = tuple(
            m.WordTime(word.start + indent, word.end + indent, word.start_ms) for word in words
        )
        events = [m.ModelText(response_id, exact), m.SpeechText(response_id, exact)]
        events += [m.SpeechWords(response_id, moved)] if timed else []
        for event in (*events, m.SpeechAudio(response_id, pcm)):
            for output in machine.handle(event, 0.0):
                if isinstance(output, p.OutputItemAdded):
                    item_id = output.item.id
    machine.handle(m.GenerationEnded(response_id), 0.0)
    machine.handle(p.ItemTruncate(item_id, 0, cut_ms), 0.0)
    (retrieved,) = machine.handle(p.ItemRetrieve(item_id), 0.0)
    assert isinstance(retrieved, p.ItemRetrieved)
    (part,) = p.item_content(retrieved.item)
    assert isinstance(part, p.OutputAudio)
    return part.transcript


def tables(measured: list[Heard]) -> list[Table]:
    """One row a text and voice."""
    return [
        Table(
            "Words kept after a truncation",
            ("text", "voice", "word times", "cuts", "words off", "worst", "ms off", "worst"),
            [
                (
                    row.text,
                    row.voice,
                    "yes" if row.word_times else "no",
                    str(row.cuts),
                    f"{row.words_mean:.2f}",
                    str(row.words_worst),
                    f"{row.ms_mean:.0f}",
                    f"{row.ms_worst:.0f}",
                )
                for row in measured
            ],
        )
    ]


if __name__ == "__main__":
    print(*tables(asyncio.run(measure(QUICK))), sep="\n\n")
