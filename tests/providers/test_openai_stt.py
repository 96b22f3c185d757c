"""Transcription requests as a Pipecat service, against a double of the server."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from core.messages import Passage
from protocol import ErrorCategory, Stage, TokenLogprob
from providers.frames import StageFailedFrame
from providers.openai_stt import OpenAiSttProvider, SiliconFlowSttProvider
from providers.openai_transcription import transcription_parameters
from providers.recognition import Recognition
from providers.segment_stt import Utterance
from tests.doubles import HANG, MALFORMED, MIDCUT, RESET, Double, Mode, raw, running_double, status
from tests.providers.endpoints import KEY, PATIENCE_S, STALL_S, at, deadline_s, endpoint
from tests.providers.service_line import ServiceLine, running

PROVIDERS: dict[str, type[OpenAiSttProvider]] = {
    "openai_whisper": OpenAiSttProvider,
    "siliconflow": SiliconFlowSttProvider,
}
C = ErrorCategory
SECOND = bytes(range(1, 251)) * 128


@pytest.fixture
async def double() -> AsyncGenerator[Double]:
    async with running_double() as running:
        yield running


@asynccontextmanager
async def session(
    double: Double, name: str = "openai_whisper", model: str = "whisper-1", **options: Any
) -> AsyncIterator[ServiceLine]:
    where = endpoint(double, name, model)
    provider = PROVIDERS[name](where, **{"timeout_s": PATIENCE_S, **options})
    await provider.start()
    try:
        async with running(provider.create_service()) as line:
            yield line
    finally:
        await provider.close()


def segment(*audio: bytes, **metadata: Any) -> list[Frame]:
    """A segment as the audio feed sends it."""
    start = VADUserStartedSpeakingFrame()
    start.metadata = metadata
    return [
        start,
        *[InputAudioRawFrame(pcm, 16_000, 1) for pcm in audio],
        VADUserStoppedSpeakingFrame(stop_secs=0.0),
    ]


def answers(line: ServiceLine) -> list[TranscriptionFrame | StageFailedFrame]:
    return [f for f in line.frames if isinstance(f, TranscriptionFrame | StageFailedFrame)]


async def transcribe(line: ServiceLine, *segments: list[Frame]) -> list[str | ErrorCategory]:
    """Send segments one behind the other and wait for an answer to each."""
    before = len(answers(line))
    for frames in segments:
        await line.send(*frames)
    await line.until(lambda: len(answers(line)) == before + len(segments))
    return [
        answer.text if isinstance(answer, TranscriptionFrame) else answer.category
        for answer in answers(line)[before:]
    ]


async def test_a_segment_goes_out_as_a_wav_file(double: Double) -> None:
    async with session(double) as line:
        assert await transcribe(line, segment(SECOND[:6000], SECOND[6000:])) == ["hello there"]
    (answer,) = answers(line)
    assert isinstance(answer, TranscriptionFrame)
    assert answer.finalized
    (request,) = double.log
    assert request.path == "/v1/audio/transcriptions"
    assert request.authorization == f"Bearer {KEY}"
    assert request.body.keys() == {"file", "model"}
    assert request.body["model"] == "whisper-1"
    with wave.open(io.BytesIO(request.body["file"])) as file:
        shape = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        sound = file.readframes(file.getnframes())
    assert shape == (16_000, 1, 2)
    assert sound == SECOND + bytes(16_000)


@pytest.mark.parametrize(
    ("setting", "metadata", "sent"),
    [
        (None, {}, {}),
        ("zh-CN", {}, {"language": "zh"}),
        ("zh-CN", {"language": None, "prompt": None}, {"language": "zh"}),
        ("zh-CN", {"language": "en-GB"}, {"language": "en"}),
        (None, {"language": "de", "prompt": "Umlaute"}, {"language": "de", "prompt": "Umlaute"}),
    ],
)
async def test_hints_come_from_the_segment_then_the_setting(
    double: Double, setting: str | None, metadata: dict[str, str | None], sent: dict[str, str]
) -> None:
    async with session(double, language=setting) as line:
        await transcribe(line, segment(SECOND, **metadata))
    body = dict(double.log[0].body)
    del body["file"], body["model"]
    assert body == sent


async def test_siliconflow_gets_file_and_model_only(double: Double) -> None:
    async with session(double, "siliconflow", language="zh") as line:
        assert await transcribe(line, segment(SECOND, prompt="names")) == ["hello there"]
    assert double.log[0].body.keys() == {"file", "model"}


@pytest.mark.parametrize("host", ["api.siliconflow.cn", "api.siliconflow.com"])
def test_siliconflow_s_address_gets_no_more_whichever_provider_is_led_there(host: str) -> None:
    where = at(f"https://{host}/v1", "openai_whisper", "openai/whisper-large-v3")
    utterance = Utterance(SECOND, "zh-CN", "names", logprobs=True)
    assert transcription_parameters(where, utterance) == {}
    other = at(f"https://{host}.example/v1", "openai_whisper", "openai/whisper-large-v3")
    assert transcription_parameters(other, utterance).keys() == {
        *("language", "prompt", "response_format")
    }


async def test_log_probabilities_that_a_server_refuses_are_not_asked_again(double: Double) -> None:
    double.once("openai_whisper", status(400))
    async with session(double) as line:
        turns = [segment(SECOND, language="en", logprobs=True)] * 2
        assert await transcribe(line, *turns) == ["hello there", "hello there"]
    asked = ["response_format" in request.body for request in double.log]
    assert asked == [True, False, False]
    assert all(request.body["language"] == "en" for request in double.log)


async def test_a_request_that_is_refused_for_another_reason_says_nothing_of_them(
    double: Double,
) -> None:
    double.once("openai_whisper", status(400), status(400))
    async with session(double) as line:
        turns = [segment(SECOND, logprobs=True)] * 2
        assert await transcribe(line, *turns) == [C.INVALID_REQUEST, "hello there"]
    assert "response_format" in double.log[-1].body


TOKENS = (TokenLogprob("hello", -0.5, b"hello"), TokenLogprob(" there", -0.5, b" there"))
WHOLE = (TokenLogprob("hello there", -0.25),)


@pytest.mark.parametrize(
    ("name", "model", "wanted", "sent", "logprobs"),
    [
        ("openai_whisper", "gpt-4o-transcribe", True, {"response_format", "include[]"}, TOKENS),
        (
            "openai_whisper",
            "gpt-4o-mini-transcribe-2025-12-15",
            True,
            {"response_format", "include[]"},
            TOKENS,
        ),
        ("openai_whisper", "whisper-1", True, {"response_format"}, WHOLE),
        ("openai_whisper", "Systran/faster-whisper-small", True, {"response_format"}, WHOLE),
        ("openai_whisper", "gpt-transcribe", True, set(), ()),
        ("openai_whisper", "gpt-4o-transcribe", False, set(), ()),
        ("siliconflow", "whisper-1", True, set(), ()),
    ],
)
async def test_logprobs_are_asked_of_models_that_have_them(
    double: Double,
    name: str,
    model: str,
    wanted: bool,
    sent: set[str],
    logprobs: tuple[TokenLogprob, ...],
) -> None:
    async with session(double, name, model) as line:
        assert await transcribe(line, segment(SECOND, logprobs=wanted)) == ["hello there"]
    assert double.log[0].body.keys() == {"file", "model", *sent}
    (answer,) = line.all(TranscriptionFrame)
    assert answer.result == Recognition("hello there", logprobs)


async def test_a_diarising_model_says_who_said_what(double: Double) -> None:
    async with session(double, model="gpt-4o-transcribe-diarize") as line:
        # The model takes no prompt and gives no log probabilities: it would refuse both.
        frames = segment(SECOND, language="en", prompt="names", logprobs=True)
        assert await transcribe(line, frames) == ["hello there"]
    (answer,) = line.all(TranscriptionFrame)
    assert answer.result == Recognition(
        "hello there", passages=(Passage("hello", "A", 0.0, 1.0), Passage("there", "B", 1.0, 2.0))
    )


async def test_answers_keep_the_order_of_the_segments(double: Double) -> None:
    modes = [Mode("raw", pieces=("one",), pause_s=0.1), status(500), raw(""), raw(" four \n")]
    double.once("openai_whisper", *modes)
    async with session(double) as line:
        expected = ["one", C.SERVER, "", "four"]
        assert await transcribe(line, *[segment(SECOND)] * 4) == expected


@pytest.mark.parametrize("audio", [(), (b"",), (bytes(3000),)])
async def test_a_segment_too_short_for_a_word_is_answered_here(
    double: Double, audio: tuple[bytes, ...]
) -> None:
    async with session(double) as line:
        assert await transcribe(line, segment(*audio), segment(SECOND)) == ["", "hello there"]
    assert len(double.log) == 1


async def test_an_interruption_keeps_the_transcript(double: Double) -> None:
    double.once("openai_whisper", Mode("slow", pause_s=0.1))
    async with session(double) as line:
        await line.send(*segment(SECOND), InterruptionFrame())
        await line.until(lambda: answers(line))
    assert len(double.log) == 1


async def test_speech_too_long_for_one_file_is_refused_here(double: Double) -> None:
    async with session(double) as line:
        answer = await transcribe(line, segment(bytes(26 * 1024 * 1024)), segment(SECOND))
    assert answer == [C.INVALID_REQUEST, "hello there"]


FAILURES: list[tuple[str, Mode, ErrorCategory, str]] = [
    ("openai_whisper", status(401), C.AUTHENTICATION, "refused the API key"),
    ("openai_whisper", status(403), C.AUTHENTICATION, "denied access"),
    ("openai_whisper", status(404), C.INVALID_REQUEST, "has no model 'whisper-1'"),
    ("openai_whisper", status(400), C.INVALID_REQUEST, "refused the request (HTTP 400)"),
    ("openai_whisper", status(429), C.RATE_LIMIT, "is limiting requests"),
    ("openai_whisper", status(429, "insufficient_quota"), C.QUOTA, "quota is used up"),
    ("openai_whisper", status(500), C.SERVER, "internal error"),
    ("openai_whisper", HANG, C.TIMEOUT, "did not answer in time"),
    ("openai_whisper", MIDCUT, C.CONNECTIVITY, "broke the connection"),
    ("openai_whisper", MALFORMED, C.SERVER, "cannot be read"),
    ("openai_whisper", Mode("slow", pause_s=2 * STALL_S), C.TIMEOUT, "did not answer in time"),
    ("siliconflow", status(400), C.INVALID_REQUEST, "has no model"),
    ("siliconflow", status(401), C.AUTHENTICATION, "refused the API key"),
    ("siliconflow", status(403), C.QUOTA, "quota is used up"),
    ("siliconflow", status(404), C.INVALID_REQUEST, "or no such address"),
    ("siliconflow", status(429), C.RATE_LIMIT, "is limiting requests"),
]


@pytest.mark.parametrize(
    ("name", "mode", "category", "message"),
    FAILURES,
    ids=[f"{name}-{m.kind}-{m.code or m.status}" for name, m, _, _ in FAILURES],
)
async def test_a_failure_is_typed_and_the_next_segment_works(
    double: Double, name: str, mode: Mode, category: ErrorCategory, message: str
) -> None:
    double.once(name, mode, mode) if mode is MIDCUT else double.once(name, mode)
    async with session(double, name, timeout_s=deadline_s(mode)) as line:
        answer = await transcribe(line, segment(SECOND))
        assert answer == [category]
        assert await transcribe(line, segment(SECOND)) == ["hello there"]
    failure = answers(line)[0]
    assert isinstance(failure, StageFailedFrame)
    assert failure.stage is Stage.STT
    assert message in failure.message
    assert KEY not in failure.message


async def test_one_reset_is_tried_again(double: Double) -> None:
    double.once("openai_whisper", RESET)
    async with session(double) as line:
        assert await transcribe(line, segment(SECOND)) == ["hello there"]
    assert len(double.log) == 2
