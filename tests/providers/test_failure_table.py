"""Provider × failure: one session of the SDK meets them all, with a good turn behind each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import pytest

from protocol import Stage
from providers.deepgram_stt import Deadlines
from tests.clients.conversation import expect_reply
from tests.doubles import (
    HANG,
    MALFORMED,
    OK,
    RESET,
    Double,
    Mode,
    raw,
    refusing,
    running_double,
    status,
)
from tests.doubles.deepgram import results
from tests.doubles.server import LEFT
from tests.providers.sdk import (
    HEARD,
    HELLO,
    KEY,
    SCRIPT,
    SdkTalk,
    gateway_before,
    sdk_talk,
    talking_to,
    typed,
)
from tests.providers.service_line import eventually

STALL_MS: Final = "800"
"""What the engines are given; the session's own deadlines come much later."""
DEADLINES: Final = {
    "STT_REQUEST_TIMEOUT_MS": STALL_MS,
    "LLM_STALL_TIMEOUT_MS": STALL_MS,
    "TTS_STALL_TIMEOUT_MS": STALL_MS,
}
DEEPGRAM: Final = Deadlines(connect_s=0.4, answer_s=0.4, settle_s=0.3)
REFUSED: Final = Mode("ok")
"""Nobody listens; told from `OK` by identity."""
TRICKLE: Final = Mode("slow", pause_s=0.5)
"""Each piece comes in time, and far too slowly all the same."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail, and what a client is told of it.

    Attributes:
        words: Of the message.
        code: Of the error, where a response fails.
    """

    name: str
    mode: Mode
    words: str
    code: str = "server_error"


@dataclass(frozen=True, slots=True)
class Row:
    """One provider.

    Attributes:
        double: Whose double it is.
        variables: The settings that choose it.
        failures: In the order in which one session meets them.
    """

    stage: Stage
    double: str
    variables: dict[str, str]
    failures: tuple[Failure, ...] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.stage}-{self.double}"


def failures(quota: Mode | None, *others: Failure) -> tuple[Failure, ...]:
    """What any vendor may do; `others` take the place of those with their names."""
    found = [
        # First: connections that are kept would outlive the listener.
        Failure("refused", REFUSED, "could not be reached"),
        Failure("401", status(401), "(HTTP 401)"),
        Failure("rate", status(429), "is limiting requests", "rate_limit_exceeded"),
        Failure("400", status(400), "refused the request", "invalid_value"),
        Failure("5xx", status(503), "had an internal error (HTTP 503)"),
        Failure("hang", HANG, "did not answer in time"),
        Failure("reset", RESET, "broke the connection"),
        Failure("malformed", MALFORMED, "cannot be read"),
        Failure("trickle", TRICKLE, "did not answer in time"),
        Failure("cut", Mode("midcut"), "broke the connection"),
    ]
    if quota is not None:
        found.append(Failure("quota", quota, "quota is used up", "insufficient_quota"))
    return tuple({failure.name: failure for failure in (*found, *others)}.values())


NO_SOCKET: Final = Failure("reset", RESET, "could not be reached")
NO_AUDIO: Final = Failure("malformed", MALFORMED, "is no audio")
NO_CHUNK: Final = Failure("malformed", Mode("malformed", after=0), "cannot be read")
PINGS: Final = Failure(
    "trickle", Mode("slow", pause_s=0.2, pieces=(b": ping\n\n",) * 50), "did not answer in time"
)
HALF_WORDS: Final = Failure(
    "trickle",
    Mode("raw", pause_s=0.2, pieces=(results("hel", 0, 0.1, final=False),) * 100),
    "did not answer in time",
)
OPENAI: Final = (status(429, "insufficient_quota"),)
# Its codes 30001, no balance, and 20012, no such model.
SILICONFLOW: Final = (
    status(403),
    Failure("400", status(400), "has no model", "invalid_value"),
)

ROWS: Final = [
    Row(
        Stage.STT,
        "deepgram",
        {"STT_PROVIDER": "deepgram"},
        failures(
            status(402),
            NO_SOCKET,
            HALF_WORDS,
            Failure("cut", raw((1011, "NET-0000")), "had an internal error (code 1011)"),
        ),
    ),
    Row(Stage.STT, "openai", {"STT_PROVIDER": "openai_whisper"}, failures(*OPENAI)),
    Row(Stage.STT, "siliconflow", {"STT_PROVIDER": "siliconflow"}, failures(*SILICONFLOW)),
    Row(Stage.LLM, "openai", {"LLM_PROVIDER": "openai"}, failures(*OPENAI, PINGS, NO_CHUNK)),
    Row(
        Stage.LLM,
        "siliconflow",
        {"LLM_PROVIDER": "siliconflow"},
        failures(*SILICONFLOW, PINGS, NO_CHUNK),
    ),
    Row(Stage.LLM, "ollama", {"LLM_PROVIDER": "ollama"}, failures(None, PINGS, NO_CHUNK)),
    Row(Stage.TTS, "openai", {"TTS_PROVIDER": "openai_tts"}, failures(*OPENAI, NO_AUDIO)),
    Row(
        Stage.TTS,
        "siliconflow",
        {"TTS_PROVIDER": "siliconflow"},
        failures(*SILICONFLOW, NO_AUDIO),
    ),
    Row(
        Stage.TTS,
        "elevenlabs",
        {"TTS_PROVIDER": "elevenlabs"},
        failures(status(401, "quota_exceeded"), NO_SOCKET),
    ),
    Row(
        Stage.TTS,
        "edge",
        {"TTS_PROVIDER": "edge_tts"},
        failures(None, Failure("cut", Mode("midcut", after=4), "broke off in the middle")),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_each_failure_ends_its_turn_and_nothing_else(row: Row) -> None:
    async with running_double() as double:
        double.script = SCRIPT
        double.transcript = HEARD
        async with gateway_before(double, {**DEADLINES, **row.variables}) as (port, engines):
            if row.double == "deepgram":
                engines[Stage.STT].deadlines = DEEPGRAM
            async with sdk_talk(port) as talk:
                await talk.configure()
                for failure in row.failures:
                    try:
                        async with failing(double, row.double, failure.mode):
                            await assert_fails(row, talk, failure)
                        await assert_serves(row, talk)
                    except BaseException as error:
                        error.add_note(f"failure: {failure.name}")
                        raise


@asynccontextmanager
async def failing(double: Double, vendor: str, mode: Mode) -> AsyncIterator[None]:
    """Until the end of the block, what the vendor does is `mode`."""
    async with refusing(double) if mode is REFUSED else nullcontext():
        double.always(vendor, mode)
        # A vendor that has a socket open fails with the next one.
        double.hang_up()
        yield
    double.always(vendor, OK)


async def assert_fails(row: Row, talk: SdkTalk, failure: Failure) -> None:
    """The turn ends with what says so, in words that hold no secret."""
    if row.stage is Stage.STT:
        heard, reply = await talk.talk(status="failed")
        assert heard["type"].endswith(".failed")
        assert_told(failure, heard["error"]["message"])
    else:
        reply = await talk.ask(HEARD, status="failed")
    error = reply.response["status_details"]["error"]
    assert_told(failure, error["message"])
    assert error["code"] == failure.code
    assert HELLO.startswith(reply.transcript)


def assert_told(failure: Failure, message: str) -> None:
    assert failure.words in message
    assert KEY not in message
    assert HEARD not in message


async def assert_serves(row: Row, talk: SdkTalk) -> None:
    """A turn as if nothing had been."""
    if row.stage is Stage.STT:
        heard, reply = await talk.talk()
        assert heard["transcript"] == HEARD
    else:
        reply = await talk.ask(HEARD)
    assert reply.transcript == HELLO


CUT: Final = Mode("midcut", after=4)
NEVER: Final = {"LLM_STALL_TIMEOUT_MS": "600000"}
"""Nobody hangs up but for the interruption."""
VOICES: Final = [row for row in ROWS if row.stage is Stage.TTS]


@pytest.mark.parametrize("row", VOICES, ids=lambda row: row.double)
async def test_a_voice_that_breaks_off_fails_one_response_and_keeps_its_audio(row: Row) -> None:
    async with talking_to(lambda double: row.variables) as (double, talk):
        await talk.configure()
        double.once(row.double, CUT)
        broken = await talk.ask(HEARD, status="failed")
        whole = await talk.ask(HEARD)
        assert 0 < broken.audio_ms < whole.audio_ms


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.double in ("openai", "siliconflow")], ids=str
)
async def test_a_connection_that_was_reset_once_is_not_noticed(row: Row) -> None:
    async with talking_to(lambda double: row.variables) as (double, talk):
        await talk.configure()
        double.once(row.double, RESET)
        await assert_serves(row, talk)


async def test_a_recogniser_whose_socket_drops_in_the_turn_costs_no_transcript() -> None:
    async with talking_to(lambda double: {"STT_PROVIDER": "deepgram"}) as (double, talk):
        await talk.configure()
        double.once("deepgram", raw((1011, "NET-0000")))
        heard, _ = await talk.talk()
        assert heard["transcript"] == HEARD
        assert len(double.log) == 2


async def test_a_request_that_is_talked_over_is_closed() -> None:
    variables = {"LLM_PROVIDER": "openai", **NEVER}
    async with talking_to(lambda double: variables) as (double, talk):
        await talk.configure(automatic=True)
        double.once("openai", Mode("stall", after=3))
        await talk.begin(typed(HEARD))
        abandoned = asyncio.create_task(expect_reply(talk.wire, status="cancelled"))
        await eventually(lambda: double.log)
        _, reply = await talk.talk_freely()
        assert reply.transcript == HELLO
        await abandoned
        await eventually(lambda: double.log[0].body.get(LEFT))


async def test_an_abandoned_request_is_closed() -> None:
    variables = {"LLM_PROVIDER": "ollama", **NEVER}
    async with talking_to(lambda double: variables) as (double, talk):
        await talk.configure()
        for mode in (HANG, Mode("stall", after=3)):
            double.once("ollama", mode)
            await talk.begin(typed(HEARD))
            await eventually(lambda: len(double.requests("/chat/completions")) == 1)
            await talk.connection.response.cancel()
            await expect_reply(talk.wire, status="cancelled")
            await eventually(lambda: double.log[0].body.get(LEFT))
            assert (await talk.ask(HEARD)).transcript == HELLO
            double.log.clear()
