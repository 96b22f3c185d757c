"""Frames in, engine events out: one row a rule of the two taps and of the gate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    FunctionCallsStartedFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage, LLMUsageMetricsData
from pipecat.utils.text.base_text_aggregator import TextType

from core.messages import (
    Failure,
    GenerationEnded,
    GenerationFailed,
    ModelFinished,
    ModelText,
    SpeechAudio,
    SpeechText,
    SpeechWords,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
    TranscriptDelta,
    TranscriptFailed,
    TranscriptFinal,
    WordTime,
)
from processors.capture import ModelTap, SpeechTap
from processors.outlet import Ending, ResponseEvent, ResponseOutlet
from processors.speech_feed import UnspokenTextFrame
from processors.transcript_gate import TranscriptEvent, TranscriptGate
from protocol import ErrorCategory, Stage, Usage
from providers.frames import (
    ClauseFrame,
    ModelFinishedFrame,
    ResponseBeginFrame,
    ResponseEndFrame,
    StageFailedFrame,
    ToolCallArgumentsFrame,
    ToolCallEndedFrame,
    ToolCallStartedFrame,
    WordTimesFrame,
)
from tests.pipeline_bench import request

from .line import Line

COUNTED = Usage(input_text_tokens=7, output_text_tokens=3)
NO_QUOTA = Failure(Stage.LLM, ErrorCategory.QUOTA, "Nothing left.")
NO_VOICE = Failure(Stage.TTS, ErrorCategory.SERVER, "No voice.")
BEGIN = ResponseBeginFrame("r1", request())
END = ResponseEndFrame("r1")


def clause(exact: str, context: str | None = None) -> ClauseFrame:
    return ClauseFrame(exact.strip(), TextType.SENTENCE, context_id=context, exact=exact)


def audio(pcm: bytes, context: str | None = None, rate_hz: int = 24_000) -> TTSAudioRawFrame:
    return TTSAudioRawFrame(pcm, rate_hz, 1, context_id=context)


def stock_usage() -> MetricsFrame:
    counted = LLMTokenUsage(prompt_tokens=7, completion_tokens=3, total_tokens=10)
    return MetricsFrame([LLMUsageMetricsData(processor="llm", value=counted)])


def stock_calls() -> FunctionCallsStartedFrame:
    call = FunctionCallFromLLM("look_up", "c1", {"city": "Köln"}, None)
    return FunctionCallsStartedFrame([call])


# --- the tap behind the model ---------------------------------------------------------------

MODEL_ROWS: dict[str, tuple[list[Frame], list[ResponseEvent]]] = {
    "text": (
        [BEGIN, LLMFullResponseStartFrame(), LLMTextFrame("Hi "), LLMTextFrame("you")],
        [ModelText("r1", "Hi "), ModelText("r1", "you")],
    ),
    "a tool call": (
        [
            BEGIN,
            ToolCallStartedFrame("c1", "look_up"),
            ToolCallArgumentsFrame("c1", "{}"),
            ToolCallEndedFrame("c1"),
            ModelFinishedFrame("tool_calls", COUNTED),
            LLMFullResponseEndFrame(),
            END,
        ],
        [
            ToolCallStarted("r1", "c1", "look_up"),
            ToolCallArguments("r1", "c1", "{}"),
            ToolCallEnded("r1", "c1"),
            ModelFinished("r1", "tool_calls", COUNTED),
        ],
    ),
    "a tool call of a stock service": (
        [BEGIN, stock_calls(), stock_usage(), LLMFullResponseEndFrame()],
        [
            ToolCallStarted("r1", "c1", "look_up"),
            ToolCallArguments("r1", "c1", '{"city": "Köln"}'),
            ToolCallEnded("r1", "c1"),
            ModelFinished("r1", "tool_calls", COUNTED),
        ],
    ),
    "a service that does not say it has finished": (
        [BEGIN, LLMTextFrame("Hi"), LLMFullResponseEndFrame(), END],
        [ModelText("r1", "Hi"), ModelFinished("r1", "stop", Usage())],
    ),
    "a service that does not even end its reply": (
        [BEGIN, END],
        [ModelFinished("r1", "stop", Usage())],
    ),
    "a reply cut at its limit": (
        [BEGIN, ModelFinishedFrame("length", COUNTED), LLMFullResponseEndFrame()],
        [ModelFinished("r1", "length", COUNTED)],
    ),
    "a failure, and the end that follows it": (
        [
            BEGIN,
            LLMTextFrame("Hi"),
            StageFailedFrame(NO_QUOTA.stage, NO_QUOTA.category, NO_QUOTA.message),
            LLMFullResponseEndFrame(),
            END,
        ],
        [ModelText("r1", "Hi"), GenerationFailed("r1", NO_QUOTA)],
    ),
    "text before any response": ([LLMTextFrame("Hi")], []),
    "text of a response that is over": (
        [ResponseBeginFrame("r0", request()), LLMTextFrame("x")],
        [],
    ),
    "text behind an interruption": ([BEGIN, InterruptionFrame(), LLMTextFrame("Hi")], []),
}


@pytest.mark.parametrize(("frames", "events"), MODEL_ROWS.values(), ids=MODEL_ROWS.keys())
async def test_model_tap(frames: list[Frame], events: list[ResponseEvent]) -> None:
    seen: list[ResponseEvent] = []
    outlet = ResponseOutlet(seen.append)
    outlet.open("r1")
    await Line(ModelTap(outlet)).push(*frames)
    assert seen == events


@pytest.mark.parametrize(
    ("speak", "kinds"),
    [
        (
            True,
            [
                ResponseBeginFrame,
                LLMFullResponseStartFrame,
                LLMTextFrame,
                LLMFullResponseEndFrame,
                ResponseEndFrame,
            ],
        ),
        (False, [ResponseBeginFrame, ResponseEndFrame]),
    ],
)
async def test_only_a_spoken_response_goes_on_to_the_voice(speak: bool, kinds: list[Any]) -> None:
    outlet = ResponseOutlet(lambda event: None)
    outlet.open("r1")
    line = Line(ModelTap(outlet))
    await line.push(
        ResponseBeginFrame("r1", request(speak=speak)),
        LLMFullResponseStartFrame(),
        LLMTextFrame("Hi"),
        ToolCallStartedFrame("c1", "look_up"),
        ModelFinishedFrame("stop", COUNTED),
        LLMFullResponseEndFrame(),
        ResponseEndFrame("r1"),
    )
    assert [type(frame) for frame in line.passed] == kinds


async def test_a_response_that_is_over_does_not_reach_the_voice() -> None:
    outlet = ResponseOutlet(lambda event: None)
    outlet.open("r1")
    line = Line(ModelTap(outlet))
    await line.push(BEGIN)
    outlet.stop("r1")
    await line.push(LLMTextFrame("Hi"), LLMFullResponseEndFrame(), END, BEGIN)
    assert line.passed == [BEGIN]


# --- the tap at the tail --------------------------------------------------------------------

SPEECH_ROWS: dict[str, tuple[list[Frame], list[ResponseEvent]]] = {
    "clauses and their audio": (
        [
            BEGIN,
            clause("Hi.", "a"),
            audio(b"11", "a"),
            clause(" You.", "a"),
            audio(b"22", "a"),
            END,
        ],
        [
            SpeechText("r1", "Hi."),
            SpeechAudio("r1", b"11"),
            SpeechText("r1", " You."),
            SpeechAudio("r1", b"22"),
            GenerationEnded("r1"),
        ],
    ),
    "word times move with the space ahead of the clause": (
        [BEGIN, clause("  Hi you."), WordTimesFrame((WordTime(0, 2, 0), WordTime(3, 6, 210)))],
        [
            SpeechText("r1", "  Hi you."),
            SpeechWords("r1", (WordTime(2, 4, 0), WordTime(5, 8, 210))),
        ],
    ),
    "text that is not spoken": (
        [BEGIN, UnspokenTextFrame(" …"), END],
        [SpeechText("r1", " …"), GenerationEnded("r1")],
    ),
    "audio of another context": (
        [BEGIN, clause("Hi.", "a"), audio(b"xx", "b")],
        [SpeechText("r1", "Hi.")],
    ),
    "audio before any response": ([clause("Hi."), audio(b"11")], []),
    "audio behind an interruption": (
        [BEGIN, InterruptionFrame(), clause("Hi."), audio(b"11"), END],
        [],
    ),
    "a failure in the place of audio": (
        [
            BEGIN,
            clause("Hi."),
            StageFailedFrame(NO_VOICE.stage, NO_VOICE.category, NO_VOICE.message),
            audio(b"11"),
            END,
        ],
        [SpeechText("r1", "Hi."), GenerationFailed("r1", NO_VOICE)],
    ),
}


@pytest.mark.parametrize(("frames", "events"), SPEECH_ROWS.values(), ids=SPEECH_ROWS.keys())
async def test_speech_tap(frames: list[Frame], events: list[ResponseEvent]) -> None:
    seen: list[ResponseEvent] = []
    outlet = ResponseOutlet(seen.append)
    outlet.open("r1")
    await Line(SpeechTap(outlet)).push(*frames)
    assert seen == events


async def test_a_stop_because_of_the_end_does_not_change_how_it_ended() -> None:
    def stop(event: ResponseEvent) -> None:
        outlet.stop(event.response_id)

    outlet = ResponseOutlet(stop)
    ending = outlet.open("r1")
    outlet.end("r1")
    assert ending.result() is Ending.DRAINED


async def test_audio_of_another_rate_is_resampled_clause_by_clause() -> None:
    seen: list[ResponseEvent] = []
    outlet = ResponseOutlet(seen.append)
    outlet.open("r1")
    second = (np.sin(np.arange(16_000) * 0.05) * 8000).astype(np.int16).tobytes()
    chunks = [second[start : start + 1000] for start in range(0, len(second), 1000)]
    line = Line(SpeechTap(outlet))
    await line.push(BEGIN)
    for text in ("One.", " Two."):
        await line.push(clause(text), *(audio(chunk, rate_hz=16_000) for chunk in chunks))
    await line.push(END)

    samples: dict[str, int] = {}
    text = ""
    for event in seen:
        if isinstance(event, SpeechText):
            text = event.text
        elif isinstance(event, SpeechAudio):
            samples[text] = samples.get(text, 0) + len(event.pcm) // 2
    assert samples == {"One.": 24_000, " Two.": 24_000}


@pytest.mark.parametrize("speed", [0.25, 0.8, 1.5])
@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
async def test_speech_is_stretched_clause_by_clause_and_its_words_with_it(
    speed: float, rate_hz: int
) -> None:
    seen: list[ResponseEvent] = []
    outlet = ResponseOutlet(seen.append)
    outlet.open("r1")
    second = (np.sin(np.arange(rate_hz) * 0.05) * 8000).astype(np.int16).tobytes()
    chunks = [second[start : start + 1000] for start in range(0, len(second), 1000)]
    line = Line(SpeechTap(outlet))
    await line.push(ResponseBeginFrame("r1", request(), stretch=speed))
    for text in ("One.", " Two."):
        words = WordTimesFrame((WordTime(0, 3, 0), WordTime(3, 4, 600)))
        await line.push(clause(text), words)
        await line.push(*(audio(chunk, rate_hz=rate_hz) for chunk in chunks))
    await line.push(END)

    samples: list[int] = []
    for event in seen:
        if isinstance(event, SpeechText):
            samples.append(0)
        elif isinstance(event, SpeechAudio):
            samples[-1] += len(event.pcm) // 2
        elif isinstance(event, SpeechWords):
            assert [word.start_ms for word in event.words] == [0, round(600 / speed)]
    assert samples == [round(24_000 / speed)] * 2


async def test_how_a_response_ended_is_told_once() -> None:
    seen: list[ResponseEvent] = []
    outlet = ResponseOutlet(seen.append)
    drained = outlet.open("r1")
    outlet.end("r1")
    failed = outlet.open("r2")
    outlet.fail(NO_VOICE)
    outlet.fail(NO_VOICE)
    outlet.stop("r2")
    stopped = outlet.open("r3")
    outlet.stop("r2")
    assert not stopped.done()
    outlet.stop("r3")
    outlet.end("r3")
    assert [f.result() for f in (drained, failed, stopped)] == [
        Ending.DRAINED,
        Ending.CUT,
        Ending.CUT,
    ]
    assert seen == [GenerationEnded("r1"), GenerationFailed("r2", NO_VOICE)]


# --- the gate behind the recogniser ---------------------------------------------------------


def final(text: str) -> TranscriptionFrame:
    return TranscriptionFrame(text, "", "", finalized=True)


def partly(text: str) -> TranscriptionFrame:
    return TranscriptionFrame(text, "", "")


def perhaps(text: str) -> InterimTranscriptionFrame:
    return InterimTranscriptionFrame(text, "", "")


DEAF = StageFailedFrame(Stage.STT, ErrorCategory.TIMEOUT, "Too late.")
TOO_LATE = Failure(DEAF.stage, DEAF.category, DEAF.message)

# "+a" opens, "-a" closes and "!a" drops the segment of item a.
GATE_ROWS: dict[str, tuple[list[str | Frame], list[TranscriptEvent]]] = {
    "a final": (
        ["+a", "-a", final("one")],
        [TranscriptDelta("a", "one"), TranscriptFinal("a", "one")],
    ),
    "nothing understood": (["+a", "-a", final("")], [TranscriptFinal("a", "")]),
    "hypotheses and a final": (
        ["+a", perhaps("one"), perhaps("one two"), "-a", final("one two")],
        [
            TranscriptDelta("a", "one"),
            TranscriptDelta("a", " two"),
            TranscriptFinal("a", "one two"),
        ],
    ),
    "sentences of one segment": (
        ["+a", partly("One."), perhaps("Two"), perhaps("Two."), "-a", partly("Two."), final("")],
        [
            TranscriptDelta("a", "One."),
            TranscriptDelta("a", " Two."),
            TranscriptFinal("a", "One. Two."),
        ],
    ),
    "a final ahead of the close is a part": (
        ["+a", final("One."), "-a", final("Two.")],
        [
            TranscriptDelta("a", "One."),
            TranscriptDelta("a", " Two."),
            TranscriptFinal("a", "One. Two."),
        ],
    ),
    "first in, first out": (
        ["+a", "-a", "+b", final("one"), "-b", final("two")],
        [
            TranscriptDelta("a", "one"),
            TranscriptFinal("a", "one"),
            TranscriptDelta("b", "two"),
            TranscriptFinal("b", "two"),
        ],
    ),
    "a dropped segment": (
        ["+a", perhaps("no"), perhaps("no"), "!a", final("no no"), "+b", "-b", final("two")],
        [TranscriptDelta("a", "no"), TranscriptDelta("b", "two"), TranscriptFinal("b", "two")],
    ),
    "dropped while its answer is on its way": (
        ["+a", "-a", "+b", "!a", final("one"), "-b", final("two")],
        [TranscriptDelta("b", "two"), TranscriptFinal("b", "two")],
    ),
    "opened over an open one": (
        ["+a", "+b", "-b", final("one"), final("two")],
        [TranscriptDelta("b", "two"), TranscriptFinal("b", "two")],
    ),
    "a failure": (
        ["+a", "-a", "+b", "-b", DEAF, final("two")],
        [
            TranscriptFailed("a", TOO_LATE),
            TranscriptDelta("b", "two"),
            TranscriptFinal("b", "two"),
        ],
    ),
    "a failure of a dropped segment": (["+a", "!a", DEAF], []),
    "no segment at all": ([perhaps("one"), final("one"), DEAF], []),
}


@pytest.mark.parametrize(("steps", "events"), GATE_ROWS.values(), ids=GATE_ROWS.keys())
async def test_transcript_gate(steps: list[str | Frame], events: list[TranscriptEvent]) -> None:
    seen: list[TranscriptEvent] = []
    gate = TranscriptGate(seen.append)
    line = Line(gate)
    act = {"+": gate.open, "-": gate.close, "!": gate.drop}
    for step in steps:
        if isinstance(step, str):
            act[step[0]](step[1:])
        else:
            await line.push(step)
    assert seen == events
    assert line.passed == []


async def test_speech_and_its_frames_end_at_the_gate() -> None:
    line = Line(TranscriptGate(lambda event: None))
    begin = ResponseBeginFrame("r1", request())
    await line.push(
        VADUserStartedSpeakingFrame(),
        InputAudioRawFrame(b"11", 16_000, 1),
        VADUserStoppedSpeakingFrame(),
        begin,
    )
    assert line.passed == [begin]
