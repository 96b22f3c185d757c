"""Commands in, engine events out, with fakes on Pipecat's real base classes in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from copy import copy
from typing import Any

import numpy as np
import pytest
from pipecat.adapters.llm.schemas.tools_schema import AdapterType
from pipecat.frames.frames import CancelFrame, ErrorFrame, Frame, StartFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import SegmentedSTTService

from core.messages import (
    ChatMessage,
    ChatToolCall,
    CloseSegment,
    ConfigureVad,
    DropSegment,
    FeedAudio,
    GenerationEnded,
    GenerationFailed,
    ModelFinished,
    ModelText,
    OpenSegment,
    SpeechAudio,
    SpeechText,
    SpeechWords,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
    TranscriptDelta,
    TranscriptFailed,
    TranscriptFinal,
    VadSpeechStarted,
    VadSpeechStopped,
    WordTime,
)
from pipeline_manager import MAX_OUT_OF_BAND_LANES, EngineSet, warm_up
from processors.lane import LaneDied
from protocol import (
    ErrorCategory,
    FunctionTool,
    InputImage,
    NamedToolChoice,
    SemanticVad,
    ServerVad,
    Stage,
    Usage,
)
from providers.frames import (
    ModelFinishedFrame,
    StageFailedFrame,
    ToolCallArgumentsFrame,
    ToolCallEndedFrame,
    ToolCallStartedFrame,
    WordTimesFrame,
)

from .fakes import (
    BusyFrame,
    FakeLlm,
    FakeLlmService,
    FakeStt,
    FakeTts,
    FakeTtsService,
    FakeVadEngine,
    Partly,
    Perhaps,
    Reply,
    StreamingTtsService,
    echo,
    last_text,
    says,
    sound_of,
)
from .pipeline_bench import Bench

SECOND = bytes(48_000)


async def think_forever(context: LLMContext) -> AsyncIterator[str | Frame]:
    yield "Well, "
    await asyncio.Event().wait()


async def call_a_tool(context: LLMContext) -> AsyncIterator[str | Frame]:
    yield "Let me look that up. One moment please. "
    yield ToolCallStartedFrame("c1", "look_up")
    yield ToolCallArgumentsFrame("c1", "{}")
    yield ToolCallEndedFrame("c1")
    yield ModelFinishedFrame("tool_calls", Usage())


async def fail_by_error(context: LLMContext) -> AsyncIterator[str | Frame]:
    yield "Hello there. "
    raise RuntimeError("key sk-secret was refused")


async def fail_in_band(context: LLMContext) -> AsyncIterator[str | Frame]:
    yield "Hello there. "
    yield StageFailedFrame(Stage.LLM, ErrorCategory.RATE_LIMIT, "Too many requests.")


# --- responses ------------------------------------------------------------------------------


async def test_a_text_response_is_the_models_text_and_nothing_else() -> None:
    bench = Bench(llm=FakeLlm(says("Hello ", "you.")))
    async with bench.running():
        bench.ask("r1", speak=False)
        await bench.until_over("r1")
    assert bench.events == [
        ModelText("r1", "Hello "),
        ModelText("r1", "you."),
        ModelFinished("r1", "stop", Usage()),
        GenerationEnded("r1"),
    ]
    assert bench.tts.spoken == []


@pytest.mark.parametrize("voice", [FakeTts(), FakeTts(StreamingTtsService)], ids=["http", "socket"])
async def test_a_spoken_response_names_each_clause_ahead_of_its_audio(voice: FakeTts) -> None:
    bench = Bench(llm=FakeLlm(says("Hello there. ", "How are you?")), tts=voice)
    async with bench.running():
        bench.ask("r1")
        await bench.until_over("r1")
    speech = [e for e in bench.events if not isinstance(e, ModelText | ModelFinished)]
    one, two = sound_of("Hello there."), sound_of("How are you?")
    texts = [event.text for event in bench.of(SpeechText)]
    assert texts == ["Hello there.", " How are you?"]
    assert b"".join(event.pcm for event in bench.of(SpeechAudio)) == one * 2 + two * 2
    assert speech[0] == SpeechText("r1", "Hello there.")
    assert speech[-1] == GenerationEnded("r1")


async def test_word_times_count_from_the_text_as_the_model_wrote_it() -> None:
    words = (WordTime(0, 3, 0), WordTime(4, 8, 200))
    voice = FakeTts(ahead=lambda text: [WordTimesFrame(words)] if text == "How goes?" else [])
    bench = Bench(llm=FakeLlm(says("Hello there. ", "How goes?")), tts=voice)
    async with bench.running():
        bench.ask("r1")
        await bench.until_over("r1")
    text = bench.of(SpeechText)[-1].text
    told = bench.of(SpeechWords)[-1].words
    assert [text[word.start : word.end] for word in told] == ["How", "goes"]


async def test_responses_follow_each_other_on_one_lane() -> None:
    bench = Bench()
    async with bench.running():
        for number in range(4):
            bench.ask(f"r{number}", f"number {number}.", speak=number % 2 == 0)
        await bench.until_over("r0", "r1", "r2", "r3")
    order = [getattr(event, "response_id", "") for event in bench.events]
    assert order == sorted(order)
    assert [last_text(context) for context in bench.llm.contexts] == [
        f"number {number}." for number in range(4)
    ]


async def test_tool_calls_do_not_wait_behind_speech() -> None:
    bench = Bench(llm=FakeLlm(call_a_tool))
    async with bench.running():
        bench.manager.set_flow(False)
        bench.ask("r1")
        await bench.until(lambda: bool(bench.of(ModelFinished)))
        assert bench.events[1:] == [
            ToolCallStarted("r1", "c1", "look_up"),
            ToolCallArguments("r1", "c1", "{}"),
            ToolCallEnded("r1", "c1"),
            ModelFinished("r1", "tool_calls", Usage()),
        ]
        assert bench.tts.spoken == []
        bench.manager.set_flow(True)
        await bench.until_over("r1")
    assert bench.tts.spoken == ["Let me look that up.", "One moment please."]


async def test_closing_the_flow_holds_back_the_rest_of_a_reply() -> None:
    bench = Bench(llm=FakeLlm(says(*["One more. "] * 20)), tts=FakeTts(pause_s=0.002))
    async with bench.running():
        bench.ask("r1")
        await bench.until(lambda: bool(bench.of(SpeechAudio)))
        bench.manager.set_flow(False)
        await bench.until(lambda: bool(bench.of(ModelFinished)))
        begun = len(bench.tts.spoken)
        await asyncio.sleep(0.05)
        assert len(bench.tts.spoken) == begun <= 2
        bench.manager.set_flow(True)
        await bench.until_over("r1")
    assert len(bench.tts.spoken) == 20


async def test_a_stopped_response_makes_room_for_the_next() -> None:
    bench = Bench(llm=FakeLlm(think_forever))
    async with bench.running():
        bench.ask("r1")
        await bench.until(lambda: bool(bench.about("r1")))
        bench.stop("r1")
        bench.ask("r2")
        bench.ask("r3")
        bench.stop("r3")
        await bench.until(lambda: bool(bench.about("r2")))
        bench.stop("r2")
        bench.ask("r4")
        await bench.until(lambda: bool(bench.about("r4")))
    assert bench.events == [ModelText(id, "Well, ") for id in ("r1", "r2", "r4")]


async def test_stopping_what_is_over_or_unknown_changes_nothing() -> None:
    bench = Bench(llm=FakeLlm(says("Hi.")))
    async with bench.running():
        bench.stop("r0")
        bench.ask("r1", speak=False)
        await bench.until_over("r1")
        bench.stop("r1")
        bench.ask("r2", speak=False)
        await bench.until_over("r2")
    assert [e.response_id for e in bench.of(GenerationEnded)] == ["r1", "r2"]


async def test_a_stop_while_the_flow_is_closed_is_not_held_up() -> None:
    bench = Bench(llm=FakeLlm(says("Hello there. ", "Bye.")))
    async with bench.running():
        bench.manager.set_flow(False)
        bench.ask("r1")
        await bench.until(lambda: bool(bench.of(ModelFinished)))
        bench.stop("r1")
        bench.ask("r2", speak=False)
        await bench.until_over("r2")
    assert bench.tts.spoken == []


# --- out of band ----------------------------------------------------------------------------


async def test_out_of_band_responses_run_beside_the_default_one() -> None:
    async def reply(context: LLMContext) -> AsyncIterator[str | Frame]:
        if last_text(context) == "wait":
            await asyncio.Event().wait()
        yield last_text(context)

    bench = Bench(llm=FakeLlm(reply))
    async with bench.running():
        bench.ask("r0", "Ready?")
        await bench.until_over("r0")
        idle = len(asyncio.all_tasks())
        bench.ask("r1", "wait")
        bench.ask("a1", "Aside.", out_of_band=True)
        await bench.until_over("a1")
        assert [type(event) for event in bench.about("a1")] == [
            ModelText,
            ModelFinished,
            SpeechText,
            SpeechAudio,
            SpeechAudio,
            GenerationEnded,
        ]
        await bench.until(lambda: len(asyncio.all_tasks()) == idle)
        assert bench.about("r1") == []


async def test_only_so_many_out_of_band_responses_run_at_once() -> None:
    bench = Bench(llm=FakeLlm(think_forever))
    names = [f"a{number}" for number in range(MAX_OUT_OF_BAND_LANES + 2)]
    async with bench.running():
        for name in names:
            bench.ask(name, out_of_band=True)
        await bench.until(lambda: len(bench.events) == MAX_OUT_OF_BAND_LANES)
        await asyncio.sleep(0.02)
        assert len(bench.events) == MAX_OUT_OF_BAND_LANES
        bench.stop(names[-2])
        bench.stop(names[0])
        await bench.until(lambda: bool(bench.about(names[-1])))
    assert bench.about(names[-2]) == []


async def test_an_out_of_band_response_can_be_stopped() -> None:
    bench = Bench(tts=FakeTts(pause_s=0.005, pieces=20))
    async with bench.running():
        bench.ask("r0", "Ready?")
        await bench.until_over("r0")
        idle = len(asyncio.all_tasks())
        bench.ask("a1", "Hello there. How are you?", out_of_band=True)
        await bench.until(lambda: bool(bench.about("a1")))
        bench.stop("a1")
        told = len(bench.events)
        await bench.until(lambda: len(asyncio.all_tasks()) == idle)
        assert len(bench.events) == told


# --- failures -------------------------------------------------------------------------------

NO_VOICE = StageFailedFrame(Stage.TTS, ErrorCategory.QUOTA, "No more voice today.")


class RefusedKey(RuntimeError):
    """An HTTP 401, in the shape of vendors' SDKs."""

    status_code = 401


FAILURES: dict[str, tuple[Reply, Exception | Frame | None, Stage, ErrorCategory]] = {
    "model, by an error": (fail_by_error, None, Stage.LLM, ErrorCategory.SERVER),
    "model, in band": (fail_in_band, None, Stage.LLM, ErrorCategory.RATE_LIMIT),
    "voice, by an exception": (echo, RuntimeError("sk-secret"), Stage.TTS, ErrorCategory.SERVER),
    "voice, by an error": (
        echo,
        ErrorFrame("sk-secret", exception=ConnectionError()),
        Stage.TTS,
        ErrorCategory.CONNECTIVITY,
    ),
    "voice, in band": (echo, NO_VOICE, Stage.TTS, ErrorCategory.QUOTA),
}


@pytest.mark.parametrize("out_of_band", [False, True], ids=["default", "out of band"])
@pytest.mark.parametrize(("reply", "trouble", "stage", "category"), FAILURES.values(), ids=FAILURES)
async def test_a_failure_ends_its_response_once_and_nothing_follows(
    reply: Reply,
    trouble: Exception | Frame | None,
    stage: Stage,
    category: ErrorCategory,
    out_of_band: bool,
) -> None:
    bench = Bench(llm=FakeLlm(reply))
    if trouble is not None:
        # A fresh one each time: Pipecat notes in an error which processor has reported it.
        bench.tts.trouble["Hello there."] = copy(trouble)
    async with bench.running():
        bench.ask("r1", "Hello there. Bye.", out_of_band=out_of_band)
        await bench.until_over("r1")
        [failed] = bench.of(GenerationFailed)
        assert bench.events[-1] is failed
        assert (failed.failure.stage, failed.failure.category) == (stage, category)
        assert "sk-secret" not in failed.failure.message
        # The lane is clean again: the next response succeeds or fails on its own account.
        bench.ask("r2", "Hello there. Bye.", out_of_band=out_of_band)
        await bench.until_over("r2")
    ended = {GenerationFailed} if stage is Stage.LLM else {GenerationEnded}
    assert {type(event) for event in bench.about("r2")} & {
        GenerationFailed,
        GenerationEnded,
    } == ended
    assert len(bench.about("r1")) == bench.events.index(failed) + 1


async def test_a_voice_that_pipecat_wrote_off_is_asked_again() -> None:
    bench = Bench()
    bench.tts.trouble["Hello."] = ErrorFrame("sk-secret", exception=RefusedKey())
    async with bench.running():
        bench.ask("r1", "Hello.")
        await bench.until_over("r1")
        assert bench.of(GenerationFailed)[0].failure.category is ErrorCategory.AUTHENTICATION
        bench.ask("r2", "Hello.")
        await bench.until_over("r2")
    kinds = [type(event) for event in bench.about("r2")]
    assert SpeechAudio in kinds and kinds[-1] is GenerationEnded


async def test_a_request_that_the_interruption_overtook_does_not_block_the_lane() -> None:
    async def reply(context: LLMContext) -> AsyncIterator[str | Frame]:
        if last_text(context) == "wait":
            await asyncio.Event().wait()
        yield "Here."

    bench = Bench(llm=FakeLlm(reply))
    async with bench.running():
        bench.ask("r0", speak=False)
        await bench.until_over("r0")
        free = asyncio.Event()
        await bench.llm.services[0].queue_frame(BusyFrame(free))
        await asyncio.sleep(0)
        bench.ask("r1", "wait")
        await asyncio.sleep(0.01)
        bench.stop("r1")
        await asyncio.sleep(0.01)
        bench.ask("r2", "go on")
        free.set()
        await bench.until_over("r2")
    assert bench.about("r1") == []
    assert last_text(bench.llm.contexts[1]) == "wait"


async def test_a_pipeline_that_dies_ends_the_session() -> None:
    class Suicidal(FakeLlmService):
        async def process_frame(self, frame: Frame, direction: Any) -> None:
            await super().process_frame(frame, direction)
            if self._contexts:
                await self.pipeline_worker.cancel()

    class Provider(FakeLlm):
        def create_service(self) -> FakeLlmService:
            return Suicidal(self.reply, self.contexts)

    bench = Bench(llm=Provider(think_forever))
    run = asyncio.create_task(bench.manager.run())
    bench.llm.contexts.append(LLMContext())
    bench.ask("r1")
    with pytest.raises(ExceptionGroup) as caught:
        await run
    assert caught.group_contains(LaneDied)
    await bench.manager.close()


# --- the request ----------------------------------------------------------------------------


async def test_a_request_becomes_an_openai_context() -> None:
    bench = Bench(llm=FakeLlm(says("Hi.")))
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "x-own": 1}
    async with bench.running():
        bench.ask(
            "r1",
            speak=False,
            instructions="Be brief.",
            messages=(
                ChatMessage("user", "What is this?", images=(InputImage("data:x", "low"),)),
                ChatMessage("assistant", "", tool_calls=(ChatToolCall("c1", "look", "{}"),)),
                ChatMessage("tool", "a cat", tool_call_id="c1"),
                ChatMessage("assistant", "A cat."),
            ),
            tools=(FunctionTool(name="look", description="Looks.", parameters=schema),),
            tool_choice=NamedToolChoice(name="look"),
        )
        bench.ask("r2", "Hi", speak=False, tool_choice="none")
        await bench.until_over("r1", "r2")
    first, second = bench.llm.contexts
    assert first.messages == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "assistant", "content": "A cat."},
    ]
    tools: Any = first.tools
    assert tools.custom_tools[AdapterType.OPENAI] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": schema},
        }
    ]
    assert first.tool_choice == {"type": "function", "function": {"name": "look"}}
    assert second.messages == [{"role": "user", "content": "Hi"}]
    assert not second.tools and not second.tool_choice


# --- segments -------------------------------------------------------------------------------


async def test_segments_are_answered_in_their_order() -> None:
    bench = Bench()
    async with bench.running():
        bench.do(OpenSegment("i1", SECOND, "de", "names"), FeedAudio(SECOND), CloseSegment("i1"))
        bench.do(OpenSegment("i2", b""), FeedAudio(SECOND[:4800]), CloseSegment("i2"))
        first = await bench.stt.closed.get()
        await bench.stt.closed.get()
        for answer in (Perhaps("one"), Perhaps("one two"), "one two", Partly("three"), "four"):
            await first.answer(answer)
    assert bench.events == [
        TranscriptDelta("i1", "one"),
        TranscriptDelta("i1", " two"),
        TranscriptFinal("i1", "one two"),
        TranscriptDelta("i2", "three"),
        TranscriptDelta("i2", " four"),
        TranscriptFinal("i2", "three four"),
    ]
    assert [len(pcm) // 2 for pcm in bench.stt.segments] == [32_000, 1_600]
    not_asked = {"logprobs": False, "speakers": False}
    assert bench.stt.hints == [
        {"segment": "i1", "language": "de", "prompt": "names"} | not_asked,
        {"segment": "i2", "language": None, "prompt": None} | not_asked,
    ]


async def test_audio_outside_of_segments_is_not_transcribed() -> None:
    bench = Bench()
    async with bench.running():
        bench.do(FeedAudio(SECOND), OpenSegment("i1", b""), CloseSegment("i1"), FeedAudio(SECOND))
        await bench.stt.closed.get()
    assert bench.stt.segments == [b""]


async def test_a_dropped_segment_gets_no_answer() -> None:
    bench = Bench()
    async with bench.running():
        bench.do(OpenSegment("i1", b""), FeedAudio(SECOND), DropSegment("i1"))
        bench.do(OpenSegment("i2", b""), CloseSegment("i2"), DropSegment("i2"))
        bench.do(OpenSegment("i3", b""), OpenSegment("i4", b""), CloseSegment("i4"))
        for _ in range(4):
            service = await bench.stt.closed.get()
        for answer in ("one", "two", "three", "four"):
            await service.answer(answer)
    assert bench.events == [TranscriptDelta("i4", "four"), TranscriptFinal("i4", "four")]


@pytest.mark.parametrize(
    ("answer", "category"),
    [
        (StageFailedFrame(Stage.STT, ErrorCategory.QUOTA, "No more."), ErrorCategory.QUOTA),
        (ConnectionError("sk-secret"), ErrorCategory.CONNECTIVITY),
        (TimeoutError("sk-secret"), ErrorCategory.TIMEOUT),
    ],
)
async def test_a_recogniser_that_fails_fails_its_segment(
    answer: Any, category: ErrorCategory
) -> None:
    bench = Bench()
    async with bench.running():
        bench.do(OpenSegment("i1", b""), CloseSegment("i1"), OpenSegment("i2", b""))
        service = await bench.stt.closed.get()
        await service.answer(answer)
        bench.do(CloseSegment("i2"))
        await bench.stt.closed.get()
        await service.answer("two")
    failed = bench.of(TranscriptFailed)
    assert [(event.item_id, event.failure.category) for event in failed] == [("i1", category)]
    assert "sk-secret" not in failed[0].failure.message
    assert bench.events[-1] == TranscriptFinal("i2", "two")


async def test_a_transcript_survives_the_stop_of_a_response() -> None:
    bench = Bench(llm=FakeLlm(think_forever))
    async with bench.running():
        bench.ask("r1")
        bench.do(OpenSegment("i1", b""), CloseSegment("i1"))
        service = await bench.stt.closed.get()
        bench.stop("r1")
        await service.answer("one")
        bench.ask("r2")
        await bench.until(lambda: bool(bench.about("r2")))
    assert TranscriptFinal("i1", "one") in bench.events


# --- turn detection -------------------------------------------------------------------------


async def test_positions_are_the_sessions() -> None:
    bench = Bench()
    async with bench.running():
        bench.do(FeedAudio(SECOND), ConfigureVad(1, ServerVad(threshold=0.6)), FeedAudio(SECOND))
        await bench.until(lambda: bool(bench.vad.streams) and bench.vad.streams[0].samples > 0)
        [stream] = bench.vad.streams
        stream.on_start(20_000)
        stream.on_stop(24_001)
    # Its samples are a millisecond late, and so is what they are counted from.
    assert stream.calls == [("configure", 0.6, 500), ("reset", 16_000 - 16), ("close",)]
    assert stream.samples == 16_000
    assert bench.events == [VadSpeechStarted(1, 30_000), VadSpeechStopped(1, 36_001)]


async def test_only_a_new_generation_forgets_what_was_heard() -> None:
    bench = Bench()
    async with bench.running():
        bench.do(
            ConfigureVad(1, ServerVad()),
            FeedAudio(SECOND),
            ConfigureVad(1, ServerVad(silence_duration_ms=200)),
            FeedAudio(SECOND),
            ConfigureVad(2, ServerVad()),
            FeedAudio(SECOND),
            ConfigureVad(2, None),
            FeedAudio(SECOND),
            ConfigureVad(2, ServerVad()),
        )
        await bench.until(lambda: len(bench.vad.streams) == 2)
        first, second = bench.vad.streams
        second.on_start(64_000)
    assert first.calls == [
        ("configure", 0.5, 500),
        ("reset", 0 - 16),
        ("configure", 0.5, 200),
        ("configure", 0.5, 500),
        ("reset", 32_000 - 16),
        ("close",),
    ]
    assert second.calls == [("configure", 0.5, 500), ("reset", 64_000 - 16), ("close",)]
    assert bench.events == [VadSpeechStarted(2, 96_000)]


@pytest.mark.parametrize(
    ("eagerness", "silence_ms"), [("high", 2000), ("auto", 4000), ("medium", 4000), ("low", 8000)]
)
async def test_semantic_turn_detection_waits_by_eagerness(eagerness: Any, silence_ms: int) -> None:
    bench = Bench()
    async with bench.running():
        bench.do(ConfigureVad(1, SemanticVad(eagerness=eagerness)))
        await bench.until(lambda: bool(bench.vad.streams))
    assert bench.vad.streams[0].calls[0] == ("configure", 0.5, silence_ms)


async def test_resampled_audio_is_the_same_sound() -> None:
    tone = (np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000) * 10_000).astype(np.int16)
    bench = Bench()
    async with bench.running():
        bench.do(OpenSegment("i1", b""))
        for start in range(0, 48_000, 960):
            bench.do(FeedAudio(tone.tobytes()[start : start + 960]))
        bench.do(CloseSegment("i1"))
        await bench.stt.closed.get()
    heard = np.frombuffer(bench.stt.segments[0], np.int16)
    expected = np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000) * 10_000
    assert np.abs(heard[200:-200] - expected[200:-200]).max() < 50


# --- life -----------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [None, 0, 1, 2, 5, 20, 60])
async def test_close_leaves_nothing_behind_however_early(turns: int | None) -> None:
    before, threads = asyncio.all_tasks(), threading.active_count()
    bench = Bench(llm=FakeLlm(think_forever))
    bench.do(ConfigureVad(1, ServerVad()), OpenSegment("i1", SECOND))
    bench.ask("r1")
    bench.ask("a1", out_of_band=True)
    run = asyncio.create_task(bench.manager.run())
    if turns is not None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await bench.manager.close()
        await run
    else:
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await bench.manager.close()
    assert asyncio.all_tasks() == before
    assert threading.active_count() == threads
    assert all(stream.calls[-1] == ("close",) for stream in bench.vad.streams)


async def test_cancelling_the_pipeline_task_is_as_good_as_closing() -> None:
    before = asyncio.all_tasks()
    bench = Bench(tts=FakeTts(pause_s=0.005, pieces=50))
    run = asyncio.create_task(bench.manager.run())
    bench.ask("r1", "Hello there.")
    await bench.until(lambda: bool(bench.of(SpeechAudio)))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await bench.manager.close()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("turns", [1, 2, 5, 10, 20, 40])
async def test_a_cancelled_response_ends_in_order_when_its_session_ends_too(turns: int) -> None:
    bench = Bench(llm=FakeLlm(think_forever))
    before = asyncio.all_tasks()
    run = asyncio.create_task(bench.manager.run())
    bench.ask("a1", out_of_band=True)
    await bench.until(lambda: bool(bench.llm.contexts))
    bench.stop("a1")
    for _ in range(turns):
        await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await bench.manager.close()
    assert asyncio.all_tasks() == before


async def test_nothing_is_emitted_after_close() -> None:
    bench = Bench(tts=FakeTts(pause_s=0.001, pieces=50))
    async with bench.running():
        bench.ask("r1", "Hello there.")
        await bench.until(lambda: bool(bench.of(SpeechAudio)))
        closing = asyncio.create_task(bench.manager.close())
        await asyncio.sleep(0)
        told = len(bench.events)
        await closing
        await bench.manager.close()
        assert len(bench.events) == told


async def test_a_pipeline_closed_before_it_ran_never_runs() -> None:
    bench = Bench()
    await bench.manager.close()
    bench.ask("r1")
    await bench.manager.run()
    assert bench.events == []


async def test_a_service_that_has_started_is_told_of_the_end_however_early() -> None:
    told: list[str] = []

    class Segmented(SegmentedSTTService):
        async def run_stt(self, audio: bytes) -> Any:
            yield None

        async def start(self, frame: StartFrame) -> None:
            told.append("start")
            await super().start(frame)

        async def cancel(self, frame: CancelFrame) -> None:
            told.append("cancel")
            await super().cancel(frame)

    class Provider(FakeStt):
        def create_service(self) -> Any:
            return Segmented(ttfs_p99_latency=1.0, settings=STTSettings(model=None, language=None))

    before = asyncio.all_tasks()
    for turns in range(0, 80, 4):
        told.clear()
        bench = Bench(stt=Provider())
        run = asyncio.create_task(bench.manager.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        await bench.manager.close()
        await run
        assert told in ([], ["start", "cancel"])
        assert asyncio.all_tasks() == before


async def test_a_pipeline_that_hangs_in_its_start_is_closed_all_the_same() -> None:
    class Segmented(SegmentedSTTService):
        async def run_stt(self, audio: bytes) -> Any:
            yield None

    class Recogniser(FakeStt):
        def create_service(self) -> Any:
            return Segmented(ttfs_p99_latency=1.0, settings=STTSettings(model=None, language=None))

    class Unreachable(FakeTtsService):
        async def setup(self, setup: FrameProcessorSetup) -> None:
            await super().setup(setup)
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    bench = Bench(stt=Recogniser(), tts=FakeTts(Unreachable))
    async with bench.running():
        bench.ask("r1", "Hello.")
        await asyncio.sleep(0.01)
    assert bench.events == []
    assert asyncio.all_tasks() == before


async def test_the_warm_up_asks_the_engines_for_nothing_and_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    stt, llm, tts, vad = FakeStt(), FakeLlm(), FakeTts(), FakeVadEngine()
    await warm_up(EngineSet(stt, llm, tts, vad))
    assert asyncio.all_tasks() == before
    assert len(llm.services) == 1
    assert (llm.contexts, tts.spoken, stt.segments, vad.streams) == ([], [], [], [])


async def test_a_session_costs_few_tasks() -> None:
    before = asyncio.all_tasks()
    bench = Bench()
    async with bench.running():
        bench.ask("r1", "Hi.")
        await bench.until_over("r1")
        names = sorted(task.get_name() for task in asyncio.all_tasks() - before)
        assert len(names) <= 19, names
