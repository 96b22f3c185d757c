"""ElevenLabs: what it says comes out whole with its word times, or the response says otherwise."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
)
from pipecat.utils.text.base_text_aggregator import TextType
from pydantic import SecretStr

from core.messages import WordTime
from protocol import ConfigError, ErrorCategory, Stage
from providers import tone
from providers.alignment import CharacterAlignment, WordAlignment
from providers.elevenlabs_tts import ElevenLabsProvider
from providers.frames import (
    ClauseFrame,
    ResponseBeginFrame,
    ResponseEndFrame,
    StageFailedFrame,
    WordTimesFrame,
)
from tests.doubles import (
    HANG,
    MALFORMED,
    MIDCUT,
    OK,
    RESET,
    SLOW,
    Double,
    Mode,
    raw,
    running_double,
    status,
)
from tests.doubles.elevenlabs import OVERRUN, TOO_MANY_CONTEXTS, audio_message
from tests.doubles.sockets import messages_of
from tests.providers.service_line import ServiceLine, eventually, generation_request, running

SECRET = "xi-secret-0123456789"
QUICK = {"connect_s": 0.3, "stall_s": 0.3, "keep_alive_s": 0.05}


@asynccontextmanager
async def line_to(double: Double, **options: Any) -> AsyncGenerator[ServiceLine]:
    elevenlabs = ElevenLabsProvider(
        SecretStr(SECRET),
        voice_id="own-voice",
        base_url=double.url("elevenlabs", ""),
        **options,
    )
    await elevenlabs.start()
    async with running(elevenlabs.create_service()) as line:
        yield line
    await elevenlabs.close()


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


async def test_a_clause_comes_out_whole_with_its_word_times() -> None:
    text = "Hello there, 你好 my friend!"
    async with running_double() as double, line_to(double) as line:
        await line.send(*response("r1", text))
        await line.until(lambda: ended(line, "r1"))
        pcm, words = tone.render(text)
        assert pcm_of(line) == pcm
        assert words_of(line) == words
        kinds = [type(f) for f in line.frames if isinstance(f, WordTimesFrame | TTSAudioRawFrame)]
        assert kinds[0] is WordTimesFrame
        assert not line.all(StageFailedFrame)


async def test_the_wire_is_the_one_that_is_documented() -> None:
    async with running_double() as double, line_to(double) as line:
        await line.send(*response("r1", "Hello.", speed=1.1))
        await line.until(lambda: ended(line, "r1"))
        (request,) = double.log
        assert request.authorization == SECRET
        parts = urlsplit(request.path)
        assert parts.path == "/v1/text-to-speech/own-voice/multi-stream-input"
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert query == {
            "model_id": "eleven_flash_v2_5",
            "output_format": "pcm_24000",
            "auto_mode": "true",
        }
        assert messages_of(request) == [
            {"text": " ", "context_id": "clause-1", "voice_settings": {"speed": 1.1}},
            {"text": "Hello. ", "context_id": "clause-1", "flush": True},
            {"context_id": "clause-1", "close_context": True},
        ]


async def test_one_socket_serves_turn_after_turn() -> None:
    async with running_double() as double, line_to(double) as line:
        for name in ("r1", "r2", "r3"):
            await line.send(*response(name, "One.", "Two."))
            await line.until(lambda name=name: ended(line, name))
        assert pcm_of(line) == (tone.render("One.")[0] + tone.render("Two.")[0]) * 3
        assert len(double.log) == 1


@pytest.mark.parametrize(
    ("asked", "voice"), [("", "own-voice"), ("alloy", "mapped"), ("nobody", "own-voice")]
)
async def test_the_voice_is_mapped_or_the_configured_one(asked: str, voice: str) -> None:
    async with running_double() as double, line_to(double, voices={"alloy": "mapped"}) as line:
        await line.send(*response("r1", "Hello.", voice=asked))
        await line.until(lambda: ended(line, "r1"))
        assert f"/{voice}/" in double.log[0].path


async def test_another_voice_gets_a_socket_of_its_own() -> None:
    async with running_double() as double, line_to(double, voices={"alloy": "mapped"}) as line:
        await line.send(*response("r1", "Hello."), *response("r2", "Hello.", voice="alloy"))
        await line.until(lambda: ended(line, "r2"))
        assert ["/mapped/" in request.path for request in double.log] == [False, True]


@pytest.mark.parametrize(("asked", "given"), [(0.25, 0.7), (1.5, 1.2)])
async def test_speed_is_kept_in_the_bounds_of_elevenlabs(asked: float, given: float) -> None:
    async with running_double() as double, line_to(double) as line:
        await line.send(*response("r1", "Hello.", speed=asked))
        await line.until(lambda: ended(line, "r1"))
        assert messages_of(double.log[0])[0]["voice_settings"] == {"speed": given}


FAILURES = [
    pytest.param(status(400), ErrorCategory.INVALID_REQUEST, "refused the request", id="400"),
    pytest.param(status(401), ErrorCategory.AUTHENTICATION, "ELEVENLABS_API_KEY", id="401"),
    pytest.param(status(401, "quota_exceeded"), ErrorCategory.QUOTA, "quota", id="quota"),
    pytest.param(status(403), ErrorCategory.AUTHENTICATION, "refused the API key", id="403"),
    pytest.param(status(429), ErrorCategory.RATE_LIMIT, "limiting requests", id="429"),
    pytest.param(status(500), ErrorCategory.SERVER, "internal error", id="500"),
    pytest.param(HANG, ErrorCategory.TIMEOUT, "did not answer in time", id="hang"),
    pytest.param(RESET, ErrorCategory.CONNECTIVITY, "could not be reached", id="reset"),
    pytest.param(MIDCUT, ErrorCategory.CONNECTIVITY, "broke the connection", id="midcut"),
    pytest.param(Mode("stall"), ErrorCategory.TIMEOUT, "did not answer in time", id="stall"),
    pytest.param(MALFORMED, ErrorCategory.SERVER, "cannot be read", id="malformed"),
    pytest.param(
        raw({"audio": "***", "contextId": "clause-1"}),
        ErrorCategory.SERVER,
        "cannot be read",
        id="no base64",
    ),
    pytest.param(
        raw({"audio": "AAAA", "alignment": {"chars": ["H"]}, "contextId": "clause-1"}),
        ErrorCategory.SERVER,
        "cannot be read",
        id="misshapen",
    ),
    pytest.param(
        raw(TOO_MANY_CONTEXTS, (1008, "max_active_conversations")),
        ErrorCategory.RATE_LIMIT,
        "limiting requests",
        id="1008 with JSON",
    ),
    pytest.param(
        raw((1008, f"the key {SECRET} is wrong")),
        ErrorCategory.INVALID_REQUEST,
        "refused the request (code 1008)",
        id="1008 alone",
    ),
    pytest.param(
        raw({"isFinal": True, "contextId": "clause-1"}),
        ErrorCategory.SERVER,
        "sent no audio",
        id="no audio",
    ),
]


@pytest.mark.parametrize(("mode", "category", "words"), FAILURES)
async def test_a_failure_ends_the_turns_speech_and_the_next_turn_speaks(
    mode: Mode, category: ErrorCategory, words: str
) -> None:
    text = "Hello there, my very good old friend."
    async with running_double() as double, line_to(double, **QUICK) as line:
        double.always("elevenlabs", mode)
        await line.send(*response("r1", text, "And more."))
        await line.until(lambda: ended(line, "r1"))
        (failure,) = line.all(StageFailedFrame)
        assert (failure.stage, failure.category) == (Stage.TTS, category)
        assert words in failure.message
        assert failure.message.startswith("ElevenLabs ")
        assert SECRET not in failure.message
        cut = pcm_of(line)
        assert tone.render(text)[0].startswith(cut)
        double.always("elevenlabs", SLOW)
        await line.send(*response("r2", text))
        await line.until(lambda: ended(line, "r2"))
        assert pcm_of(line)[len(cut) :] == tone.render(text)[0]


@pytest.mark.parametrize("mode", [MIDCUT, Mode("stall")], ids=["midcut", "stall"])
async def test_what_was_heard_before_a_cut_is_kept_and_not_said_again(mode: Mode) -> None:
    text = "Hello there, my very good old friend."
    async with running_double() as double, line_to(double, **QUICK) as line:
        double.once("elevenlabs", mode)
        await line.send(*response("r1", text, "And more."))
        await line.until(lambda: ended(line, "r1"))
        two_pieces_of_200_ms = 2 * 200 * 48
        assert pcm_of(line) == tone.render(text)[0][:two_pieces_of_200_ms]
        assert len(line.all(StageFailedFrame)) == 1
        assert len(double.log) == 1


async def test_a_kept_socket_that_has_died_meanwhile_costs_no_reply() -> None:
    spoken = audio_message(tone.render("Hi.")[0], [("H", 0), ("i", 50)], "clause-1")
    final = {"isFinal": True, "contextId": "clause-1"}
    async with running_double() as double, line_to(double) as line:
        double.once("elevenlabs", raw(spoken, final, (1000, "")))
        await line.send(*response("r1", "Hi."))
        await line.until(lambda: ended(line, "r1"))
        await line.send(*response("r2", "Hi."))
        await line.until(lambda: ended(line, "r2"))
        assert not line.all(StageFailedFrame)
        assert pcm_of(line) == tone.render("Hi.")[0] * 2
        assert len(double.log) == 2


async def test_an_interrupted_clause_is_closed_and_never_heard_again() -> None:
    long = "one two three four five six seven eight nine ten eleven twelve"
    async with running_double() as double, line_to(double) as line:
        double.always("elevenlabs", Mode("slow", pause_s=0.01))
        await line.send(*response("r1", long))
        await line.until(lambda: line.all(TTSAudioRawFrame))
        await line.send(InterruptionFrame())
        await line.until(lambda: line.all(InterruptionFrame))
        heard = len(pcm_of(line))
        await line.send(*response("r2", "Now this."))
        await line.until(lambda: ended(line, "r2"))
        assert pcm_of(line)[heard:] == tone.render("Now this.")[0]
        assert {"context_id": "clause-1", "close_context": True} in messages_of(double.log[0])
        assert len(double.log) == 1


async def test_interruptions_in_a_row_do_not_hit_the_limit_of_contexts() -> None:
    long = "one two three four five six seven eight nine ten eleven twelve"
    async with running_double() as double, line_to(double) as line:
        double.always("elevenlabs", Mode("slow", pause_s=0.05))
        for number in range(8):
            heard = len(line.all(TTSAudioRawFrame))
            await line.send(*response(f"cut{number}", long))
            await line.until(lambda heard=heard: len(line.all(TTSAudioRawFrame)) > heard)
            await line.send(InterruptionFrame())
            await line.until(lambda number=number: len(line.all(InterruptionFrame)) == number + 1)
        double.always("elevenlabs", OK)
        heard = len(pcm_of(line))
        await line.send(*response("last", "Now this."))
        await line.until(lambda: ended(line, "last"))
        assert not line.all(StageFailedFrame)
        assert pcm_of(line)[heard:] == tone.render("Now this.")[0]
        assert not any(request.body.get(OVERRUN) for request in double.log)


async def test_an_idle_socket_is_kept_alive() -> None:
    async with running_double() as double, line_to(double, **QUICK) as line:
        await line.send(*response("r1", "Hello."))
        await line.until(lambda: ended(line, "r1"))
        await eventually(lambda: messages_of(double.log[0]).count({"text": ""}) >= 2)


async def test_a_session_that_ends_says_good_bye() -> None:
    async with running_double() as double:
        async with line_to(double) as line:
            await line.send(*response("r1", "Hello."))
            await line.until(lambda: ended(line, "r1"))
        assert messages_of(double.log[0])[-1] == {"close_socket": True}


def test_characters_become_words_wherever_the_messages_are_cut() -> None:
    alignment = CharacterAlignment("Hi, 你好 caffè!")
    assert alignment.add([("H", 0)]) == (WordTime(0, 2, 0),)
    assert alignment.add([("i", 40), (",", 80), (" ", 90), ("你", 100.4)]) == (WordTime(4, 5, 100),)
    # A character in between that the text does not have, and one that the vendor leaves out.
    assert alignment.add([("€", 120), ("C", 200), ("A", 210)]) == (
        WordTime(5, 6, 200),
        WordTime(7, 12, 200),
    )
    assert alignment.add([("f", 220), ("è", 240), ("!", 260)]) == ()


def test_words_are_found_one_behind_the_other() -> None:
    alignment = WordAlignment("今天天气很好，Tom & Tom say: a a.")
    said = ["今天", "天气", "很", "好", "tom", "gone", "Tom", "say", "a"]
    places = [alignment.add(word, 0.0) for word in said]
    assert places == [
        (WordTime(0, 2, 0),),
        (WordTime(2, 4, 0),),
        (WordTime(4, 5, 0),),
        (WordTime(5, 6, 0),),
        (WordTime(7, 10, 0),),
        (),
        (WordTime(13, 16, 0),),
        (WordTime(17, 20, 0),),
        (WordTime(22, 23, 0),),
    ]


async def test_pipecats_own_service_understands_the_double() -> None:
    from pipecat.services.elevenlabs.tts import ElevenLabsTTSService

    async with running_double() as double:
        stock = ElevenLabsTTSService(
            api_key=SECRET,
            url=double.url("elevenlabs", "").replace("http:", "ws:"),
            settings=ElevenLabsTTSService.Settings(voice="own-voice"),
        )
        async with running(stock) as line:
            await line.send(TTSSpeakFrame("Hello there."))
            await line.until(lambda: len(pcm_of(line)) >= len(tone.render("Hello there.")[0]))


@pytest.mark.parametrize(
    ("key", "url", "variable"),
    [
        (None, "wss://api.elevenlabs.io", "ELEVENLABS_API_KEY"),
        (SecretStr(SECRET), "api.elevenlabs.io", "ELEVENLABS_BASE_URL"),
    ],
)
def test_what_it_cannot_work_with_is_refused_by_name(
    key: SecretStr | None, url: str, variable: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        ElevenLabsProvider(key, voice_id="v", base_url=url)
    assert refused.value.variable == variable
    assert SECRET not in str(refused.value)
