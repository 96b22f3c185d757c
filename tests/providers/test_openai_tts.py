"""Speech requests as a Pipecat service, against a double of the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    TTSAudioRawFrame,
)
from pipecat.utils.text.base_text_aggregator import TextType

from protocol import ErrorCategory, Stage
from providers import tone
from providers.endpoint import Endpoint
from providers.frames import ClauseFrame, ResponseBeginFrame, ResponseEndFrame, StageFailedFrame
from providers.openai_tts import OpenAiTtsProvider, SiliconFlowTtsProvider
from providers.pcm_pieces import PcmPieces
from tests.doubles import HANG, MALFORMED, RESET, Double, Mode, raw, running_double, status
from tests.providers.endpoints import KEY, PATIENCE_S, at, deadline_s, endpoint
from tests.providers.service_line import ServiceLine, generation_request, running

PROVIDERS: dict[str, type[OpenAiTtsProvider]] = {
    "openai_tts": OpenAiTtsProvider,
    "siliconflow": SiliconFlowTtsProvider,
}
C = ErrorCategory
HELLO = "Hello you there."
SOUND = tone.render(HELLO)[0]
BYTES_PER_MS = 48


@pytest.fixture
async def double() -> AsyncGenerator[Double]:
    async with running_double() as running:
        yield running


class Session:
    """One session's voice in a running pipeline."""

    def __init__(self, line: ServiceLine) -> None:
        self.line = line
        self._count = 0

    async def begin(self, *clauses: str, voice: str = "alloy", speed: float = 1.0) -> str:
        self._count += 1
        response_id = f"r{self._count}"
        await self.line.send(
            ResponseBeginFrame(response_id, generation_request(voice=voice, speed=speed)),
            LLMFullResponseStartFrame(),
            *[ClauseFrame(clause, TextType.SENTENCE, exact=clause) for clause in clauses],
            LLMFullResponseEndFrame(),
            ResponseEndFrame(response_id),
        )
        return response_id

    async def say(self, *clauses: str, **options: Any) -> list[Frame]:
        """The frames of a whole response."""
        before = len(self.line.frames)
        response_id = await self.begin(*clauses, **options)
        await self.line.until(
            lambda: any(f.response_id == response_id for f in self.line.all(ResponseEndFrame))
        )
        return self.line.frames[before:]


@asynccontextmanager
async def session(
    double: Double, name: str = "openai_tts", **options: Any
) -> AsyncIterator[Session]:
    settings = {"voice": "anna", "stall_s": PATIENCE_S, **options}
    provider = PROVIDERS[name](endpoint(double, name, "tts-1"), **settings)
    await provider.start()
    try:
        async with running(provider.create_service()) as line:
            yield Session(line)
    finally:
        await provider.close()


def pieces(frames: list[Frame]) -> list[bytes]:
    audio = [frame for frame in frames if isinstance(frame, TTSAudioRawFrame)]
    assert all((frame.sample_rate, frame.num_channels) == (24_000, 1) for frame in audio)
    return [frame.audio for frame in audio]


def sound(frames: list[Frame]) -> bytes:
    return b"".join(pieces(frames))


def failures(frames: list[Frame]) -> list[StageFailedFrame]:
    return [frame for frame in frames if isinstance(frame, StageFailedFrame)]


async def test_a_clause_is_spoken_as_it_comes(double: Double) -> None:
    async with session(double) as talk:
        frames = await talk.say(HELLO, "And you?")
    assert failures(frames) == []
    assert sound(frames) == SOUND + tone.render("And you?")[0]
    # A whole network chunk is 85 ms here; what a server sends at once is cut all the same.
    assert max(map(len, pieces(frames))) <= 80 * BYTES_PER_MS
    first, second = double.log
    assert first.path == "/v1/audio/speech"
    assert first.authorization == f"Bearer {KEY}"
    assert first.body == {
        "model": "tts-1",
        "input": HELLO,
        "voice": "anna",
        "response_format": "pcm",
    }
    assert second.body["input"] == "And you?"


async def test_the_first_audio_leaves_before_the_last_has_come(double: Double) -> None:
    double.once("openai_tts", Mode("stall", after=1))
    async with session(double) as talk:
        await talk.begin(HELLO)
        await talk.line.until(lambda: talk.line.all(TTSAudioRawFrame))
        assert len(pieces(talk.line.frames)[0]) <= 80 * BYTES_PER_MS
        await talk.line.send(InterruptionFrame())
        await talk.line.until(lambda: talk.line.all(InterruptionFrame))
        assert sound(await talk.say(HELLO)) == SOUND


async def test_odd_chunks_are_put_together(double: Double) -> None:
    parts = [SOUND[:1], SOUND[1:2], SOUND[2:5], SOUND[5:10_000], SOUND[10_000:]]
    double.once("openai_tts", raw(*parts))
    async with session(double) as talk:
        frames = await talk.say(HELLO)
    assert sound(frames) == SOUND
    assert all(len(piece) % 2 == 0 for piece in pieces(frames))


async def test_half_a_sample_at_the_end_is_dropped(double: Double) -> None:
    double.once("openai_tts", raw(SOUND + b"\x01"))
    async with session(double) as talk:
        assert sound(await talk.say(HELLO)) == SOUND


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
async def test_another_rate_is_asked_for_and_brought_to_24_khz(
    double: Double, rate_hz: int
) -> None:
    samples = np.sin(np.arange(rate_hz) * 2 * np.pi * 440 / rate_hz) * 8000
    double.once("openai_tts", raw(samples.astype("<i2").tobytes()))
    async with session(double, sample_rate_hz=rate_hz) as talk:
        heard = np.frombuffer(sound(await talk.say(HELLO)), "<i2").astype(float)
    assert double.log[0].body["sample_rate"] == rate_hz
    assert len(heard) == 24_000
    spectrum = np.abs(np.fft.rfft(heard))
    assert int(spectrum.argmax()) == 440


async def test_siliconflow_is_asked_to_stream(double: Double) -> None:
    async with session(double, "siliconflow") as talk:
        assert sound(await talk.say(HELLO)) == SOUND
    body = double.log[0].body
    assert (body["stream"], body["sample_rate"], body["voice"]) == (True, 24_000, "anna")


async def test_speed_is_passed_on_when_it_is_not_one(double: Double) -> None:
    async with session(double) as talk:
        frames = await talk.say(HELLO, speed=1.5)
    assert double.log[0].body["speed"] == 1.5
    assert sound(frames) == tone.render(HELLO, 1.5)[0]


@pytest.mark.parametrize(
    ("base_url", "wanted", "spoken"),
    [
        ("https://api.openai.com/v1", "alloy", "nova"),
        ("https://api.openai.com/v1", "", "nova"),
        ("https://api.openai.com/v1", "marin", "marin"),
        ("https://api.openai.com/v1", "zh-CN-XiaoxiaoNeural", "nova"),
        ("https://api.siliconflow.cn/v1", "marin", "nova"),
        ("http://localhost:8880/v1", "marin", "nova"),
        ("https://openai.com.example/v1", "marin", "nova"),
    ],
)
def test_a_clients_voice_counts_where_the_server_has_it(
    base_url: str, wanted: str, spoken: str
) -> None:
    where: Endpoint = at(base_url, "openai_tts")
    provider = OpenAiTtsProvider(where, voice="nova")
    assert provider.parameters("Hi", generation_request(voice=wanted))["voice"] == spoken


@pytest.mark.parametrize(
    ("model", "speeds"),
    [("tts-1", (0.25, 4.0)), ("kokoro", (0.25, 4.0)), ("gpt-4o-mini-tts-2025-12-15", (1.0, 1.0))],
)
def test_speed_is_left_to_others_where_the_model_ignores_it(
    model: str, speeds: tuple[float, float]
) -> None:
    where = at("https://api.openai.com/v1", "openai_tts", model)
    assert OpenAiTtsProvider(where, voice="nova").speeds == speeds


async def test_what_nobody_can_say_is_not_sent(double: Double) -> None:
    async with session(double) as talk:
        frames = await talk.say("…", HELLO)
    assert [request.body["input"] for request in double.log] == [HELLO]
    assert sound(frames) == SOUND


FAILURES: list[tuple[str, Mode, ErrorCategory, str]] = [
    ("openai_tts", status(401), C.AUTHENTICATION, "refused the API key"),
    ("openai_tts", status(403), C.AUTHENTICATION, "denied access"),
    ("openai_tts", status(404), C.INVALID_REQUEST, "has no model 'tts-1'"),
    ("openai_tts", status(400), C.INVALID_REQUEST, "refused the request (HTTP 400)"),
    ("openai_tts", status(429), C.RATE_LIMIT, "is limiting requests"),
    ("openai_tts", status(429, "insufficient_quota"), C.QUOTA, "quota is used up"),
    ("openai_tts", status(500), C.SERVER, "internal error"),
    ("openai_tts", HANG, C.TIMEOUT, "did not answer in time"),
    ("openai_tts", MALFORMED, C.SERVER, "no audio"),
    ("openai_tts", raw(), C.SERVER, "sent no audio"),
    ("openai_tts", raw(b"RIFF\x00\x00\x00\x00WAVE"), C.SERVER, "instead of bare PCM"),
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
async def test_a_failure_is_typed_and_the_next_response_works(
    double: Double, name: str, mode: Mode, category: ErrorCategory, message: str
) -> None:
    double.once(name, mode)
    async with session(double, name, stall_s=deadline_s(mode)) as talk:
        frames = await talk.say(HELLO, "Not any more.")
        (failure,) = failures(frames)
        assert (failure.stage, failure.category) == (Stage.TTS, category)
        assert message in failure.message
        assert KEY not in failure.message
        assert HELLO not in failure.message
        assert sound(frames) == b""
        # The rest of a turn whose voice has failed stays unspoken.
        assert len(double.log) == 1
        assert sound(await talk.say(HELLO)) == SOUND


@pytest.mark.parametrize(
    ("mode", "category"),
    [(Mode("midcut", after=2), C.CONNECTIVITY), (Mode("stall", after=2), C.TIMEOUT)],
)
async def test_audio_that_breaks_off_is_noticed_and_what_came_is_kept(
    double: Double, mode: Mode, category: ErrorCategory
) -> None:
    double.once("openai_tts", mode)
    async with session(double, stall_s=deadline_s(mode)) as talk:
        frames = await talk.say(HELLO)
        (failure,) = failures(frames)
        assert failure.category is category
        assert sound(frames)
        assert SOUND.startswith(sound(frames))
        assert sound(await talk.say(HELLO)) == SOUND


async def test_one_reset_is_tried_again(double: Double) -> None:
    double.once("openai_tts", RESET)
    async with session(double) as talk:
        assert sound(await talk.say(HELLO)) == SOUND
    assert len(double.log) == 2


@pytest.mark.parametrize("step", [1, 7, 959, 961, 48_000])
def test_pieces_lose_nothing(step: int) -> None:
    cutter = PcmPieces(24_000)
    found = [p for i in range(0, len(SOUND), step) for p in cutter.add(SOUND[i : i + step])]
    assert max(map(len, found)) <= 80 * BYTES_PER_MS
    assert b"".join(found + cutter.end()) == SOUND
