"""Deepgram: one answer a segment whatever its wire does, and nothing lost with a socket."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pydantic import SecretStr

from core.messages import Passage
from protocol import ConfigError, ErrorCategory, ProviderError, Stage, TokenLogprob
from providers.deepgram_stream import Question, Segment
from providers.deepgram_stt import Deadlines, DeepgramProvider
from providers.deepgram_wire import DEEPGRAM, Heard, Transcript
from providers.frames import SettledFrame, SettleFrame, StageFailedFrame
from providers.recognition import Recognition
from providers.vendor_socket import VendorSocket
from tests.doubles import (
    HANG,
    MALFORMED,
    MIDCUT,
    RESET,
    SLOW,
    Double,
    Mode,
    raw,
    running_double,
    status,
)
from tests.doubles.deepgram import results
from tests.doubles.sockets import messages_of
from tests.providers.service_line import ServiceLine, eventually, running

SECRET = "dg-secret-0123456789"
QUICK = Deadlines(connect_s=0.3, answer_s=0.3, settle_s=0.2, keep_alive_s=0.2)
PATIENT = Deadlines()
ONE_SECOND = bytes(32_000)
FRAME_BYTES = 640


def provider(
    double: Double,
    deadlines: Deadlines = PATIENT,
    language: str = "en",
    *,
    diarize: bool = False,
) -> DeepgramProvider:
    return DeepgramProvider(
        SecretStr(SECRET),
        language=language,
        diarize=diarize,
        base_url=double.url("deepgram", ""),
        deadlines=deadlines,
    )


@asynccontextmanager
async def line_to(
    double: Double, deadlines: Deadlines = PATIENT, *, diarize: bool = False
) -> AsyncGenerator[ServiceLine]:
    deepgram = provider(double, deadlines, diarize=diarize)
    await deepgram.start()
    async with running(deepgram.create_service()) as line:
        yield line
    await deepgram.close()


def started(language: str | None = None, **wanted: bool) -> VADUserStartedSpeakingFrame:
    frame = VADUserStartedSpeakingFrame()
    frame.metadata = {"language": language, "prompt": None, **wanted}
    return frame


def audio(pcm: bytes = ONE_SECOND) -> list[Frame]:
    return [
        InputAudioRawFrame(pcm[start : start + FRAME_BYTES], 16_000, 1)
        for start in range(0, len(pcm), FRAME_BYTES)
    ]


def stopped() -> VADUserStoppedSpeakingFrame:
    return VADUserStoppedSpeakingFrame(stop_secs=0.0)


def segment(pcm: bytes = ONE_SECOND, language: str | None = None) -> list[Frame]:
    return [started(language), *audio(pcm), stopped()]


def answers(line: ServiceLine) -> list[Frame]:
    return [f for f in line.frames if isinstance(f, TranscriptionFrame | StageFailedFrame)]


def texts(line: ServiceLine) -> list[str]:
    return [frame.text for frame in line.all(TranscriptionFrame)]


def sent_audio(double: Double, number: int = -1) -> bytes:
    """What a stream was sent, by its number among all that were opened."""
    return b"".join(m for m in messages_of(double.log[number]) if isinstance(m, bytes))


async def test_a_segment_streams_and_ends_with_its_pieces_joined() -> None:
    async with running_double() as double, line_to(double) as line:
        double.transcript = "Turn the light on, please."
        await line.send(started(), *audio(ONE_SECOND[::2]))
        await line.until(lambda: line.all(InterimTranscriptionFrame))
        await line.send(*audio(ONE_SECOND[::2]))
        await line.until(lambda: len(line.all(InterimTranscriptionFrame)) == 2)
        assert not answers(line)
        await line.send(stopped())
        await line.until(lambda: answers(line))
        final = line.all(TranscriptionFrame)[0]
        assert (final.text, final.finalized) == ("Turn the light on, please.", True)
        hypotheses = [frame.text for frame in line.all(InterimTranscriptionFrame)]
        assert hypotheses == ["Turn", "Turn the light"]
        request = double.log[0]
        assert request.authorization == f"Token {SECRET}"
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        assert query == {
            "model": "nova-3",
            "language": "en",
            "encoding": "linear16",
            "sample_rate": "16000",
            "channels": "1",
            "interim_results": "true",
            "punctuate": "true",
        }
        assert sent_audio(double) == ONE_SECOND


async def test_confidences_are_told_as_logprobs_to_who_asks() -> None:
    async with running_double() as double, line_to(double) as line:
        double.transcript = "One two three."
        for wanted in (False, True):
            await line.send(started(logprobs=wanted), *audio(), stopped())
        await line.until(lambda: len(answers(line)) == 2)
        plain, asked = line.all(TranscriptionFrame)
        assert plain.result == Recognition("One two three.")
        sure = math.log(0.99)
        pieces = tuple(TokenLogprob(word, sure) for word in ("One", " two", " three."))
        assert asked.result == Recognition("One two three.", pieces)
        hypothesis = line.all(InterimTranscriptionFrame)[-1]
        assert hypothesis.result == Recognition("One two", pieces[:2])
        assert len(double.log) == 1


@pytest.mark.parametrize("always", [False, True])
async def test_speakers_are_told_apart_for_who_asks_or_always(always: bool) -> None:
    async with running_double() as double, line_to(double, diarize=always) as line:
        double.transcript = "One two three four."
        await line.send(*segment(), started(speakers=True), *audio(), stopped())
        await line.until(lambda: len(answers(line)) == 2)
        said = (Passage("One two", "A", 0.0, 0.6), Passage("three four.", "B", 0.6, 1.0))
        first, second = (frame.result for frame in line.all(TranscriptionFrame))
        # Seconds of the segment, however much the stream has had before.
        assert second == Recognition("One two three four.", passages=said)
        assert first == (second if always else Recognition("One two three four."))
        diarized = ["diarize=true" in request.path for request in double.log]
        assert diarized == ([True] if always else [False, True])


async def test_a_segment_that_failed_and_is_dropped_gets_no_answer() -> None:
    async with running_double() as double, line_to(double) as line:
        double.once("deepgram", status(401))
        await line.send(started(), *audio())
        await eventually(lambda: double.log)
        await line.send(*segment())
        await line.until(lambda: texts(line))
        assert [type(answer) for answer in answers(line)] == [TranscriptionFrame]


async def test_one_stream_serves_segment_after_segment_in_order() -> None:
    async with running_double() as double, line_to(double) as line:
        for _ in range(3):
            await line.send(*segment())
        await line.until(lambda: len(answers(line)) == 3)
        assert texts(line) == ["hello there"] * 3
        assert len(double.log) == 1
        assert sent_audio(double) == ONE_SECOND * 3


async def test_a_segment_in_another_language_gets_a_stream_of_its_own() -> None:
    async with running_double() as double, line_to(double) as line:
        double.transcript = "你好世界"
        await line.send(*segment(language="zh-CN"))
        await line.until(lambda: answers(line))
        await line.send(*segment())
        await line.until(lambda: len(answers(line)) == 2)
        assert texts(line) == ["你好世界"] * 2
        languages = [parse_qs(urlsplit(r.path).query)["language"] for r in double.log]
        assert languages == [["zh-CN"], ["en"]]


async def test_an_idle_stream_is_kept_alive() -> None:
    async with running_double() as double, line_to(double, QUICK) as line:
        await line.send(*segment())
        await line.until(lambda: answers(line))
        await eventually(lambda: messages_of(double.log[0]).count({"type": "KeepAlive"}) >= 2)
        await line.send(started())
        await eventually(lambda: messages_of(double.log[0]).count({"type": "KeepAlive"}) >= 4)
        await line.send(*audio(), stopped())
        await line.until(lambda: len(answers(line)) == 2)
        assert texts(line) == ["hello there"] * 2
        assert len(double.log) == 1


async def test_a_stream_that_drops_in_the_turn_gets_all_of_the_turn_again() -> None:
    async with running_double() as double, line_to(double) as line:
        double.once("deepgram", Mode("midcut", after=1))
        await line.send(started(), *audio())
        await eventually(lambda: len(double.log) == 2)
        await line.send(*audio(), stopped())
        await line.until(lambda: answers(line))
        assert texts(line) == ["hello there"]
        assert sent_audio(double, 1) == ONE_SECOND * 2


async def test_a_stream_that_drops_behind_the_turn_gets_all_of_the_turn_again() -> None:
    async with running_double() as double, line_to(double) as line:
        double.once("deepgram", raw((1011, "NET-0000")))
        await line.send(*segment())
        await line.until(lambda: answers(line))
        assert texts(line) == ["hello there"]
        assert sent_audio(double, 1) == ONE_SECOND


async def test_a_kept_stream_that_has_died_meanwhile_costs_no_turn() -> None:
    async with running_double() as double, line_to(double) as line:
        double.once("deepgram", raw(results("first", 0, 1, finalizes=True), (1011, "NET-0001")))
        await line.send(*segment())
        await line.until(lambda: answers(line))
        await line.send(*segment())
        await line.until(lambda: len(answers(line)) == 2)
        assert texts(line) == ["first", "hello there"]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        pytest.param([results("", 0, 1, finalizes=True)], "", id="nothing understood"),
        pytest.param([results("all of it", 0, 1)], "all of it", id="finals that cover the segment"),
        pytest.param(
            [results("nearly", 0, 0.4), results("all", 0.4, 0.2)], "nearly all", id="silent tail"
        ),
        pytest.param(
            [{"type": "SpeechStarted"}, results("ok", 0, 1, finalizes=True)], "ok", id="news aside"
        ),
    ],
)
async def test_finalize_need_not_be_answered(pieces: list[object], text: str) -> None:
    async with running_double() as double, line_to(double, QUICK) as line:
        double.once("deepgram", raw(*pieces))
        await line.send(*segment())
        await line.until(lambda: answers(line))
        assert texts(line) == [text]
        assert len(double.log) == 1


async def test_a_late_answer_is_not_taken_for_the_next_segments() -> None:
    late = [results("one", 0, 1), results("", 1, 0, finalizes=True)]
    async with running_double() as double, line_to(double, QUICK) as line:
        double.once("deepgram", Mode("raw", pieces=(*late, results("two", 1, 1, finalizes=True))))
        await line.send(*segment())
        await line.until(lambda: answers(line))
        await line.send(*segment())
        await line.until(lambda: len(answers(line)) == 2)
        assert texts(line) == ["one", "two"]


def stopped_after(pause: int) -> VADUserStoppedSpeakingFrame:
    frame = stopped()
    frame.metadata = {"settled_at": pause}
    return frame


def finalizes(double: Double) -> int:
    return messages_of(double.log[-1]).count({"type": "Finalize"})


async def test_words_asked_for_in_a_pause_are_the_answer_if_nobody_speaks_behind_it() -> None:
    async with running_double() as double, line_to(double) as line:
        await line.send(started(), *audio(), SettleFrame(7))
        await line.until(lambda: line.all(SettledFrame))
        (settled,) = line.all(SettledFrame)
        assert (settled.text, settled.sample) == (double.transcript, 7)
        assert texts(line) == []
        await line.send(*audio(ONE_SECOND[:3200]), stopped_after(7))
        await line.until(lambda: answers(line))
        assert texts(line) == [double.transcript]
        assert finalizes(double) == 1


async def test_speech_behind_a_pause_is_part_of_the_answer() -> None:
    async with running_double() as double, line_to(double) as line:
        await line.send(started(), *audio(), SettleFrame(7))
        await line.until(lambda: line.all(SettledFrame))
        await line.send(*audio(), stopped())
        await line.until(lambda: answers(line))
        # The double says its sentence once more.
        assert texts(line) == [f"{double.transcript} {double.transcript}"]
        assert finalizes(double) == 2


def test_the_answer_to_a_pause_is_none_to_the_end_of_the_turn() -> None:
    segment, question = Segment({}), Question()
    transcript = Transcript(0.0)
    segment.settle(7)
    question.put(segment, 1.0)
    segment.close()
    assert question.is_due(segment)
    question.put(segment, 3.0)
    transcript.add(Heard("one", 1.0, final=True, finalizes=True))
    assert not question.is_answered(True, transcript)
    transcript.add(Heard("two three", 2.9, final=True, finalizes=True))
    assert question.is_answered(True, transcript)
    assert not question.is_answered(False, transcript), "it is answered once"


async def test_a_segment_without_audio_is_empty() -> None:
    async with running_double() as double, line_to(double) as line:
        await line.send(started(), stopped(), *segment())
        await line.until(lambda: len(answers(line)) == 2)
        assert texts(line) == ["", "hello there"]


async def test_a_segment_opened_over_an_open_one_drops_it() -> None:
    async with running_double() as double, line_to(double) as line:
        await line.send(started(), *audio())
        await eventually(lambda: double.log and sent_audio(double) == ONE_SECOND)
        await line.send(*segment(ONE_SECOND * 2))
        await line.until(lambda: answers(line))
        assert texts(line) == ["hello there"]
        assert sent_audio(double) == ONE_SECOND * 2


async def test_no_password_of_its_url_is_told() -> None:
    url = "ws://me:very-secret@127.0.0.1:9"
    with pytest.raises(ProviderError, match=r"could not be reached at 127\.0\.0\.1:9:") as told:
        await VendorSocket.connect(DEEPGRAM, url, {}, timeout_s=5, tls=None)
    assert "secret" not in str(told.value)


FAILURES = [
    pytest.param(status(400), ErrorCategory.INVALID_REQUEST, "refused the request", id="400"),
    pytest.param(status(401), ErrorCategory.AUTHENTICATION, "DEEPGRAM_API_KEY", id="401"),
    pytest.param(status(402), ErrorCategory.QUOTA, "quota", id="402"),
    pytest.param(status(403), ErrorCategory.AUTHENTICATION, "denied access", id="403"),
    pytest.param(status(429), ErrorCategory.RATE_LIMIT, "limiting requests", id="429"),
    pytest.param(status(503), ErrorCategory.SERVER, "internal error", id="503"),
    pytest.param(HANG, ErrorCategory.TIMEOUT, "did not answer in time", id="hang"),
    pytest.param(RESET, ErrorCategory.CONNECTIVITY, "could not be reached", id="reset"),
    pytest.param(MIDCUT, ErrorCategory.CONNECTIVITY, "broke the connection", id="midcut"),
    pytest.param(MALFORMED, ErrorCategory.SERVER, "cannot be read", id="malformed"),
    pytest.param(raw({"type": "Results"}), ErrorCategory.SERVER, "cannot be read", id="misshapen"),
    pytest.param(raw(), ErrorCategory.TIMEOUT, "did not answer in time", id="silent"),
    pytest.param(
        raw((1008, "DATA-0000")), ErrorCategory.INVALID_REQUEST, "refused the request", id="1008"
    ),
    pytest.param(
        raw({"type": "Error", "variant": f"the key {SECRET}", "description": SECRET}),
        ErrorCategory.SERVER,
        "internal error",
        id="error message",
    ),
]


@pytest.mark.parametrize(("mode", "category", "words"), FAILURES)
async def test_a_failure_is_told_once_and_the_next_segment_is_heard(
    mode: Mode, category: ErrorCategory, words: str
) -> None:
    async with running_double() as double, line_to(double, QUICK) as line:
        double.always("deepgram", mode)
        await line.send(*segment())
        await line.until(lambda: answers(line))
        (failure,) = line.all(StageFailedFrame)
        assert (failure.stage, failure.category) == (Stage.STT, category)
        assert words in failure.message
        assert failure.message.startswith("Deepgram ")
        assert SECRET not in failure.message
        double.always("deepgram", SLOW)
        await line.send(*segment())
        await line.until(lambda: len(answers(line)) == 2)
        assert texts(line) == ["hello there"]


async def test_a_failure_waits_for_the_end_of_its_segment() -> None:
    async with running_double() as double, line_to(double) as line:
        double.once("deepgram", status(401))
        await line.send(started(), *audio())
        await eventually(lambda: double.log)
        assert not answers(line)
        await line.send(stopped())
        await line.until(lambda: answers(line))
        assert len(double.log) == 1


async def test_nobody_there_is_told_with_the_setting_that_says_where() -> None:
    deepgram = DeepgramProvider(SecretStr(SECRET), base_url="ws://127.0.0.1:1", deadlines=QUICK)
    async with running(deepgram.create_service()) as line:
        await line.send(*segment())
        await line.until(lambda: answers(line))
        (failure,) = line.all(StageFailedFrame)
        assert failure.category is ErrorCategory.CONNECTIVITY
        assert "127.0.0.1:1: check DEEPGRAM_BASE_URL" in failure.message


async def test_a_session_starts_and_ends_while_deepgram_hangs() -> None:
    async with running_double() as double, line_to(double) as line:
        double.always("deepgram", HANG)
        await line.send(started(), *audio())
        await eventually(lambda: double.log)


async def test_the_end_of_a_session_waits_for_the_last_answer() -> None:
    async with running_double() as double, line_to(double) as line:
        await line.send(*segment(), EndFrame())
        await line.until(lambda: line.all(EndFrame))
        assert texts(line) == ["hello there"]
        await eventually(lambda: messages_of(double.log[0])[-1] == {"type": "CloseStream"})


async def test_audio_of_the_next_segment_does_not_extend_the_wait_for_this_one() -> None:
    async with running_double() as double, line_to(double, QUICK) as line:
        double.always("deepgram", raw())
        await line.send(*segment(), started())

        async def keep_talking() -> None:
            while True:
                await line.send(*audio(bytes(FRAME_BYTES)))
                await asyncio.sleep(0.02)

        talking = asyncio.create_task(keep_talking())
        await line.until(lambda: answers(line))
        talking.cancel()
        assert line.all(StageFailedFrame)[0].category is ErrorCategory.TIMEOUT


@pytest.mark.parametrize(
    ("key", "url", "variable"),
    [
        (None, "wss://api.deepgram.com", "DEEPGRAM_API_KEY"),
        (SecretStr(SECRET), "api.deepgram.com", "DEEPGRAM_BASE_URL"),
        (SecretStr(SECRET), "ftp://api.deepgram.com", "DEEPGRAM_BASE_URL"),
    ],
)
def test_what_it_cannot_work_with_is_refused_by_name(
    key: SecretStr | None, url: str, variable: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        DeepgramProvider(key, base_url=url)
    assert refused.value.variable == variable
    assert SECRET not in str(refused.value)


async def test_pipecats_own_service_understands_the_double() -> None:
    from pipecat.services.deepgram.stt import DeepgramSTTService

    async with running_double() as double:
        stock = DeepgramSTTService(api_key=SECRET, base_url=double.url("deepgram", ""))
        async with running(stock) as line:
            await line.send(*segment())
            await line.until(lambda: len(texts(line)) == 2)
            assert texts(line) == ["hello", "there"]
            assert double.log[0].authorization == f"Token {SECRET}"


def test_the_banner_names_the_model_and_says_that_audio_leaves() -> None:
    said = DeepgramProvider(SecretStr(SECRET), model="nova-2", language="zh-CN").describe()
    assert "nova-2" in said
    assert "zh-CN" in said
    assert "leaves this machine" in said
    assert SECRET not in said
