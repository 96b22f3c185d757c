"""Edge TTS: sound before the MP3 is whole, true word times, and no cut that goes unnoticed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
import soundfile
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
)
from pipecat.utils.text.base_text_aggregator import TextType

from core.messages import WordTime
from protocol import ConfigError, ErrorCategory, Stage
from providers import tone
from providers.edge_tts import EdgeTtsProvider
from providers.frames import (
    ClauseFrame,
    ResponseBeginFrame,
    ResponseEndFrame,
    StageFailedFrame,
    WordTimesFrame,
)
from providers.mp3_stream import Mp3Stream
from tests.doubles import (
    HANG,
    MALFORMED,
    OK,
    RESET,
    SLOW,
    Double,
    Mode,
    raw,
    running_double,
    status,
)
from tests.doubles.edge import LEAD_MS, boundary, heard_at_ms, redirected, speech
from tests.doubles.sockets import messages_of
from tests.providers.service_line import ServiceLine, generation_request, running

VOICE = "zh-CN-XiaoxiaoNeural"
LONG = "Hello there, my very good old friend; what a lovely day it is."
BYTES_PER_MS = 48


@asynccontextmanager
async def line_to_double(**options: Any) -> AsyncGenerator[tuple[Double, ServiceLine]]:
    async with running_double() as double:
        provider = EdgeTtsProvider(**({"voice": VOICE, "stall_s": 1.0} | options))
        await provider.start()
        with redirected(double):
            async with running(provider.create_service()) as line:
                yield double, line
        await provider.close()


def response(name: str, *clauses: str, **request: Any) -> list[Frame]:
    return [
        ResponseBeginFrame(name, generation_request(**request)),
        LLMFullResponseStartFrame(),
        *[ClauseFrame(text, TextType.SENTENCE, exact=text) for text in clauses],
        LLMFullResponseEndFrame(),
        ResponseEndFrame(name),
    ]


def ended(line: ServiceLine, name: str) -> bool:
    return any(frame.response_id == name for frame in line.all(ResponseEndFrame))


def pcm_of(line: ServiceLine) -> bytes:
    return b"".join(frame.audio for frame in line.all(TTSAudioRawFrame))


def words_of(line: ServiceLine) -> tuple[WordTime, ...]:
    return tuple(word for frame in line.all(WordTimesFrame) for word in frame.words)


def ssml_of(double: Double) -> str:
    return next(m for m in messages_of(double.log[-1]) if "Path:ssml" in m)


@pytest.mark.parametrize("text", [LONG, "你好，今天天气很好。", "Hi & <Tom>: 5 > 3, 好吗?"])
async def test_a_clause_comes_out_whole_with_word_times_true_to_50_ms(text: str) -> None:
    async with line_to_double() as (_, line):
        await line.send(*response("r1", text))
        await line.until(lambda: ended(line, "r1"))
        assert not line.all(StageFailedFrame)
        truth = speech(text)[1]
        words = words_of(line)
        assert [(w.start, w.end) for w in words] == [(w.start, w.end) for w in truth]
        for word in words:
            assert abs(word.start_ms - heard_at_ms(pcm_of(line), text, word)) <= 50
        spoken_ms = len(tone.render(text)[0]) / BYTES_PER_MS
        assert spoken_ms + LEAD_MS <= len(pcm_of(line)) / BYTES_PER_MS <= spoken_ms + 300


async def test_sound_leaves_before_the_mp3_is_whole() -> None:
    async with line_to_double() as (double, line):
        # The double never sends the second half: what comes out came of the first.
        half = len(speech(LONG)[0]) // 720 // 2
        double.once("edge", Mode("stall", after=half))
        await line.send(*response("r1", LONG))
        await line.until(lambda: len(pcm_of(line)) > 300 * BYTES_PER_MS)
        assert not line.all(StageFailedFrame)


@pytest.mark.parametrize("chunk_bytes", [144, 720, 1000, 5000])
def test_pieces_decode_to_what_the_whole_file_does(chunk_bytes: int) -> None:
    mp3 = speech(LONG * 3)[0]
    stream = Mp3Stream()
    pcm = b""
    for start in range(0, len(mp3), chunk_bytes):
        if stream.add(mp3[start : start + chunk_bytes]):
            pcm += stream.decode()
    pcm += stream.finish()
    whole = soundfile.read(io.BytesIO(mp3), dtype="int16")[0]
    assert pcm == whole[1105:].tobytes()


def test_what_is_no_mp3_decodes_to_nothing() -> None:
    stream = Mp3Stream()
    assert stream.add(b"<html>" * 1000)
    assert stream.decode() + stream.finish() == b""


@pytest.mark.parametrize(
    ("asked", "voice"),
    [
        ("", VOICE),
        ("alloy", VOICE),
        ("coral", "en-US-EmmaMultilingualNeural"),
        ("zh-CN-liaoning-XiaobeiNeural", "zh-CN-liaoning-XiaobeiNeural"),
        ("x' y='z", VOICE),
    ],
)
async def test_the_voice_is_mapped_its_own_or_the_configured_one(asked: str, voice: str) -> None:
    async with line_to_double(voices={"coral": "en-US-EmmaMultilingualNeural"}) as (double, line):
        await line.send(*response("r1", "Hello.", voice=asked))
        await line.until(lambda: ended(line, "r1"))
        # The library writes the name out in full.
        language, _, name = voice.rpartition("-")
        assert name in ssml_of(double)
        assert language.split("-")[0] in ssml_of(double)
        assert not line.all(StageFailedFrame)


@pytest.mark.parametrize(
    ("speed", "rate"), [(1.0, "+0%"), (1.25, "+25%"), (0.25, "-50%"), (1.5, "+50%")]
)
async def test_speed_scales_the_rate(speed: float, rate: str) -> None:
    async with line_to_double() as (double, line):
        await line.send(*response("r1", "Hello.", speed=speed))
        await line.until(lambda: ended(line, "r1"))
        assert f"rate='{rate}'" in ssml_of(double)
        assert '"wordBoundaryEnabled":"true"' in str(messages_of(double.log[0])[0])


FAILURES = [
    pytest.param(status(400), ErrorCategory.INVALID_REQUEST, "refused the request", id="400"),
    pytest.param(status(403), ErrorCategory.AUTHENTICATION, "newer edge-tts", id="403"),
    pytest.param(
        status(403, headers={"Date": "nonsense"}),
        ErrorCategory.AUTHENTICATION,
        "clock",
        id="403 without a date",
    ),
    pytest.param(status(429), ErrorCategory.RATE_LIMIT, "limiting requests", id="429"),
    pytest.param(status(503), ErrorCategory.SERVER, "internal error", id="503"),
    pytest.param(HANG, ErrorCategory.TIMEOUT, "did not answer in time", id="hang"),
    pytest.param(RESET, ErrorCategory.CONNECTIVITY, "broke the connection", id="reset"),
    pytest.param(
        Mode("midcut", after=0), ErrorCategory.CONNECTIVITY, "broke the connection", id="cut first"
    ),
    pytest.param(Mode("midcut", after=4), ErrorCategory.CONNECTIVITY, "broke off", id="cut early"),
    pytest.param(Mode("midcut", after=20), ErrorCategory.CONNECTIVITY, "broke off", id="cut later"),
    pytest.param(Mode("stall", after=4), ErrorCategory.TIMEOUT, "in time", id="stall"),
    pytest.param(Mode("slow", pause_s=0.25), ErrorCategory.TIMEOUT, "in time", id="trickle"),
    pytest.param(MALFORMED, ErrorCategory.SERVER, "cannot be read", id="malformed"),
    pytest.param(raw(), ErrorCategory.INVALID_REQUEST, "sent no audio", id="no audio"),
    pytest.param(raw(b"<html>" * 500), ErrorCategory.SERVER, "cannot be read", id="no mp3"),
    pytest.param(
        raw("Path:audio.metadata\r\n\r\n{not json"),
        ErrorCategory.SERVER,
        "cannot be read",
        id="misshapen",
    ),
]


@pytest.mark.parametrize(("mode", "category", "words"), FAILURES)
async def test_a_failure_ends_the_turns_speech_and_the_next_turn_speaks(
    mode: Mode, category: ErrorCategory, words: str
) -> None:
    async with line_to_double(stall_s=0.3) as (double, line):
        double.always("edge", mode)
        await line.send(*response("r1", LONG, "And more."))
        await line.until(lambda: ended(line, "r1"))
        (failure,) = line.all(StageFailedFrame)
        assert (failure.stage, failure.category) == (Stage.TTS, category)
        assert words in failure.message
        assert failure.message.startswith("Edge TTS ")
        assert "127.0.0.1" not in failure.message
        heard = len(pcm_of(line))
        double.always("edge", OK)
        await line.send(*response("r2", "Hello."))
        await line.until(lambda: ended(line, "r2"))
        assert len(line.all(StageFailedFrame)) == 1
        assert len(pcm_of(line)) > heard


@pytest.mark.parametrize("missing", [0, 1, 2, 5])
async def test_a_cut_shortly_before_the_end_is_noticed(missing: int) -> None:
    async with line_to_double() as (double, line):
        pieces = -(-len(speech(LONG)[0]) // 720)
        double.once("edge", Mode("midcut", after=pieces - missing))
        await line.send(*response("r1", LONG))
        await line.until(lambda: ended(line, "r1"))
        assert len(line.all(StageFailedFrame)) == 1


async def test_what_has_nothing_to_say_is_no_failure() -> None:
    async with line_to_double() as (double, line):
        double.once("edge", raw())
        await line.send(*response("r1", "😀", "Hello."))
        await line.until(lambda: ended(line, "r1"))
        assert not line.all(StageFailedFrame)
        assert pcm_of(line)


async def test_a_clock_that_is_wrong_is_put_right_once() -> None:
    async with line_to_double() as (double, line):
        double.once("edge", status(403, headers={"Date": formatdate(usegmt=True)}))
        await line.send(*response("r1", "Hello."))
        await line.until(lambda: ended(line, "r1"))
        assert not line.all(StageFailedFrame)
        assert len(double.log) == 2


async def test_an_interrupted_clause_is_heard_no_more() -> None:
    async with line_to_double() as (double, line):
        double.once("edge", SLOW)
        await line.send(*response("r1", LONG))
        await line.until(lambda: line.all(TTSAudioRawFrame))
        await line.send(InterruptionFrame())
        await line.until(lambda: line.all(InterruptionFrame))
        heard = len(pcm_of(line))
        await line.send(*response("r2", "Hi."))
        await line.until(lambda: ended(line, "r2"))
        spoken_ms = len(tone.render("Hi.")[0]) / BYTES_PER_MS
        assert len(pcm_of(line)) - heard <= (spoken_ms + 300) * BYTES_PER_MS


async def test_decoding_does_not_hold_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop_thread = asyncio.get_running_loop()
    decoded_on: list[bool] = []
    decode = Mp3Stream._decode

    def watched(self: Mp3Stream, unsettled_samples: int) -> bytes:
        try:
            decoded_on.append(asyncio.get_running_loop() is loop_thread)
        except RuntimeError:
            decoded_on.append(False)
        return decode(self, unsettled_samples)

    monkeypatch.setattr(Mp3Stream, "_decode", watched)
    async with line_to_double() as (_, line):
        await line.send(*response("r1", LONG))
        await line.until(lambda: ended(line, "r1"))
        assert decoded_on
        assert not any(decoded_on)


@pytest.mark.parametrize("voice", ["alloy", "zh-CN-Xiaoxiao", "zh-CN-XiaoxiaoNeural'/>"])
def test_what_can_be_no_voice_is_refused_by_name(voice: str) -> None:
    with pytest.raises(ConfigError, match="EDGE_TTS_VOICE"):
        EdgeTtsProvider(voice=voice)


async def test_audio_that_ends_before_its_last_word_is_noticed_whatever_the_service_says() -> None:
    mp3, words = speech(LONG)
    far = boundary(LONG, words[-1])
    async with line_to_double() as (double, line):
        double.once("edge", raw(far, mp3[: len(mp3) // 2]))
        await line.send(*response("r1", LONG))
        await line.until(lambda: ended(line, "r1"))
        assert "broke off" in line.all(StageFailedFrame)[0].message
