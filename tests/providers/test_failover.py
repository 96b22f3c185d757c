"""Backups: what fails before its first output is done by the next engine, and nothing twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import main
from config import load_settings
from processors.vad_engine import VadEngine
from processors.vad_model import SileroModel
from protocol import ErrorCategory, ProviderError, Stage
from providers import tone
from providers.failover_roster import Roster
from providers.failover_stt import FailoverSttProvider
from providers.script_file import parse_script
from service_providers import Engines
from tests.doubles import HANG, RESET, Double, Mode, running_double, status
from tests.doubles.edge import redirected
from tests.doubles.openai_api import chat_chunk
from tests.e2e.gateway import Gateway, speech
from tests.e2e.wire import AUDIO, MANUAL, TEXT, ask, begin, configure, ended, respond
from tests.harness import running_server
from tests.providers.endpoints import KEY
from tests.providers.service_line import eventually

SCRIPT = parse_script(
    """
version: 1
rules:
  - {id: tool, when: {user: {any: [weather]}}, do: [{tool: get_weather, args: {city: Paris}}]}
"""
)
HELLO = "You said: hello there."
STALL_MS, DEADLINE_MS = "700", "300"


@dataclass(frozen=True, slots=True)
class Lab:
    double: Double
    gateway: Gateway


ENGINES = {
    "stt": ("openai_whisper", "siliconflow"),
    "llm": ("openai", "siliconflow"),
    "tts": ("openai_tts", "siliconflow"),
}
"""Of each stage the first engine and its backup: two doubles, each with modes of its own."""


@asynccontextmanager
async def running_lab(*with_backup: str, **more: str) -> AsyncIterator[Lab]:
    async with running_double() as double:
        double.script = SCRIPT
        # Where there is a backup its deadline must come first: the engine's own never would.
        stall_ms = "60000" if with_backup else STALL_MS
        named = {
            f"{stage.upper()}_PROVIDER": ",".join(names if stage in with_backup else names[:1])
            for stage, names in ENGINES.items()
        }
        chosen = load_settings(
            {
                **named,
                "OPENAI_API_KEY": KEY,
                "OPENAI_BASE_URL": double.url("openai"),
                "SILICONFLOW_API_KEY": KEY,
                "SILICONFLOW_BASE_URL": double.url("siliconflow"),
                "STT_REQUEST_TIMEOUT_MS": stall_ms,
                "LLM_STALL_TIMEOUT_MS": stall_ms,
                "TTS_STALL_TIMEOUT_MS": stall_ms,
                "STT_FINAL_TIMEOUT_MS": DEADLINE_MS,
                "LLM_TTFT_TIMEOUT_MS": DEADLINE_MS,
                "TTS_FIRST_AUDIO_TIMEOUT_MS": DEADLINE_MS,
                **more,
            },
            None,
        )
        engines = Engines.from_settings(chosen, VadEngine(SileroModel()))
        app = main.create_app(chosen, engines=engines, announce=lambda ready: None)
        async with running_server(app, ws_max_size=main.WS_MAX_SIZE_BYTES) as port:
            yield Lab(double, Gateway(port, app))


FAILURES = {
    "401": status(401),
    "429": status(429),
    "quota": status(429, "insufficient_quota"),
    "500": status(500),
    "503": status(503),
    "hang": HANG,
    "malformed": Mode("malformed", after=0),
    "reset": RESET,
}


@pytest.fixture(params=FAILURES)
def failure(request: pytest.FixtureRequest) -> Mode:
    return FAILURES[request.param]


@pytest.mark.parametrize("stage", ["llm", "tts"])
@pytest.mark.parametrize("backup", [True, False], ids=["backup", "alone"])
async def test_a_typed_turn(stage: str, failure: Mode, backup: bool) -> None:
    async with (
        running_lab(*([stage] if backup else [])) as lab,
        lab.gateway.connect("ga") as client,
    ):
        await configure(client, **(TEXT if stage == "llm" else AUDIO), **MANUAL)
        if stage == "tts":
            # The model's request comes first, to the same double.
            lab.double.once("openai", Mode("ok"))
        # Twice: a connection that was reset is tried once more.
        lab.double.once("openai", failure, failure)
        first = await ask(client, "hello there")
        assert KEY not in str(first.final)
        lab.double.forget()
        assert first.status == ("completed" if backup else "failed")
        if backup:
            assert (first.text or first.transcript) == HELLO
            if stage == "tts":
                assert first.audio == tone.render(HELLO)[0]
        again = await respond(client)
        assert again.status == "completed"
        assert (again.text or again.transcript) == HELLO


@pytest.mark.parametrize("backup", [True, False], ids=["backup", "alone"])
async def test_a_spoken_turn(failure: Mode, backup: bool) -> None:
    async with (
        running_lab(*(["stt"] if backup else [])) as lab,
        lab.gateway.connect("ga") as client,
    ):
        await configure(client, **TEXT, **MANUAL, input_audio_transcription={"model": "whisper-1"})
        lab.double.once("openai", failure, failure)
        for turn in range(2):
            await client.append_fast(speech("hello"))
            await client.send({"type": "input_audio_buffer.commit"})
            kind = "completed" if backup or turn else "failed"
            told = await client.wait_for(f"conversation.item.input_audio_transcription.{kind}")
            assert KEY not in str(told)
            if kind == "completed":
                assert told["transcript"] == lab.double.transcript
            lab.double.forget()
        if backup:
            asked = [request.provider for request in lab.double.requests("/transcriptions")]
            # The first one is spared while its backup serves.
            assert asked[-1] == "siliconflow"


async def test_what_was_said_is_not_said_again() -> None:
    async with running_lab("llm", "tts") as lab, lab.gateway.connect("ga") as client:
        await configure(client, **AUDIO, **MANUAL)
        lab.double.once("openai", Mode("ok"), Mode("midcut", after=2))
        broken = await ask(client, "hello there")
        assert broken.status == "failed"
        whole = tone.render(HELLO)[0]
        assert broken.audio and whole.startswith(broken.audio) and broken.audio != whole
        assert [request.provider for request in lab.double.requests("/speech")] == ["openai"]
        # Its backup speaks from the next reply on.
        again = await respond(client)
        assert again.audio == whole
        assert lab.double.requests("/speech")[-1].provider == "siliconflow"


@pytest.mark.parametrize("mode", [Mode("midcut", after=2), Mode("stall", after=2)])
async def test_a_reply_that_breaks_off_before_its_first_sound_comes_from_the_backup(
    mode: Mode,
) -> None:
    # The role and a word, of which no clause can be made yet.
    async with (
        running_lab("llm", LLM_STALL_TIMEOUT_MS="400") as lab,
        lab.gateway.connect("ga") as client,
    ):
        await configure(client, **AUDIO, **MANUAL)
        lab.double.once("openai", mode)
        reply = await ask(client, "hello there")
        assert (reply.status, reply.transcript) == ("completed", HELLO)
        assert reply.audio == tone.render(HELLO)[0]
        asked = [request.provider for request in lab.double.requests("/completions")]
        assert asked == ["openai", "siliconflow"]


async def test_a_reply_whose_first_clause_was_spoken_is_not_begun_again() -> None:
    async with running_lab("llm") as lab, lab.gateway.connect("ga") as client:
        await configure(client, **AUDIO, **MANUAL)
        said = [chat_chunk({"content": text}) for text in ("Well, my dear friend, ", "so", " it")]
        lab.double.once("openai", Mode("midcut", pieces=tuple(said), after=2))
        broken = await ask(client, "hello there")
        assert broken.status == "failed"
        assert {request.provider for request in lab.double.requests("/completions")} == {"openai"}


async def test_text_that_was_written_is_not_written_again() -> None:
    async with running_lab("llm") as lab, lab.gateway.connect("ga") as client:
        await configure(client, **TEXT, **MANUAL)
        lab.double.once("openai", Mode("midcut", after=3))
        broken = await ask(client, "hello there")
        assert broken.status == "failed"
        assert broken.text and HELLO.startswith(broken.text)
        assert {request.provider for request in lab.double.log} == {"openai"}


async def test_a_tool_call_comes_from_the_backup_whole() -> None:
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
    async with running_lab("llm") as lab, lab.gateway.connect("ga") as client:
        await configure(client, **TEXT, **MANUAL, tools=[tool])
        lab.double.once("openai", status(503))
        (call,) = (await ask(client, "weather?")).calls
        assert (call["name"], call["arguments"]) == ("get_weather", '{"city": "Paris"}')


async def test_both_fail_and_the_last_one_is_told() -> None:
    async with running_lab("llm") as lab, lab.gateway.connect("ga") as client:
        await configure(client, **TEXT, **MANUAL)
        lab.double.once("openai", status(503))
        lab.double.once("siliconflow", status(429))
        broken = await ask(client, "hello there")
        assert broken.status == "failed"
        assert broken.final["status_details"]["error"]["code"] == "rate_limit_exceeded"
        assert (await respond(client)).text == HELLO


async def test_a_cancelled_reply_leaves_the_session_well() -> None:
    async with (
        running_lab("llm", LLM_TTFT_TIMEOUT_MS="60000") as lab,
        lab.gateway.connect("ga") as client,
    ):
        await configure(client, **TEXT, **MANUAL)
        lab.double.once("openai", HANG)
        response_id = await begin(client, "hello there")
        await eventually(lambda: lab.double.log)
        await client.send({"type": "response.cancel"})
        assert (await ended(client, response_id))["status"] == "cancelled"
        assert (await respond(client)).text == HELLO
        assert {request.provider for request in lab.double.log} == {"openai"}


async def test_two_segments_keep_their_order() -> None:
    async with running_lab("stt") as lab, lab.gateway.connect("ga") as client:
        await configure(client, **TEXT, **MANUAL, input_audio_transcription={"model": "whisper-1"})
        lab.double.once("openai", HANG)
        for _ in range(2):
            await client.append_fast(speech("hello"))
            await client.send({"type": "input_audio_buffer.commit"})
        done = "conversation.item.input_audio_transcription.completed"
        heard = [await client.wait_for(done), await client.wait_for(done)]
        committed = [e for e in client.events if e["type"] == "input_audio_buffer.committed"]
        assert [e["item_id"] for e in heard] == [e["item_id"] for e in committed]


# --- who is asked -----------------------------------------------------------------------------


def failed(category: ErrorCategory = ErrorCategory.SERVER) -> ProviderError:
    return ProviderError(Stage.LLM, category, "out of order")


def test_an_engine_that_failed_is_spared_for_a_while() -> None:
    now = 100.0
    roster = Roster(Stage.LLM, ["a", "b", "c"], 60.0, lambda: now)
    assert roster.order() == [0, 1, 2]
    roster.failed(0, failed())
    assert roster.order() == [1, 2, 0]
    now += 30
    roster.failed(1, failed())
    assert roster.order() == [2, 0, 1]
    now += 31
    assert roster.order() == [0, 2, 1]
    roster.worked(1)
    assert roster.order() == [0, 1, 2]


def test_when_all_have_failed_all_are_asked_in_their_order() -> None:
    roster = Roster(Stage.LLM, ["a", "b"], 60.0, lambda: 100.0)
    roster.failed(1, failed())
    roster.failed(0, failed())
    assert roster.order() == [0, 1]


def test_a_request_that_was_refused_spares_nobody() -> None:
    roster = Roster(Stage.LLM, ["a", "b"], 60.0, lambda: 100.0)
    roster.failed(0, failed(ErrorCategory.INVALID_REQUEST))
    assert roster.order() == [0, 1]


@dataclass
class Ear:
    name: str
    languages: frozenset[str] | None


def test_a_recogniser_is_asked_only_for_what_it_understands() -> None:
    ears: list[Any] = [Ear("a", frozenset({"en"})), Ear("b", frozenset({"zh"}))]
    provider = FailoverSttProvider(Stage.STT, ears, deadline_s=1.0)
    assert provider.languages == {"en", "zh"}
    assert provider.order(None) == [0, 1]
    assert provider.order("zh-CN") == [1]
    assert provider.order("en_GB") == [0]
    ears.append(Ear("c", None))
    assert FailoverSttProvider(Stage.STT, ears, deadline_s=1.0).languages is None


def test_settings_name_backups() -> None:
    chosen = load_settings(
        {"STT_PROVIDER": "auto, pocketsphinx", "TTS_PROVIDER": "espeak,tone"}, None
    )
    engines = Engines.from_settings(chosen, VadEngine(SileroModel()))
    stt, _, tts = (row[1] for row in engines.describe()[1:])
    # What auto takes already is no backup of itself.
    assert "backup" not in stt
    assert "; backup: tone" in tts
    # What a refusal and `/ready` call the two.
    assert engines.tts.name == "espeak,tone"


# --- every kind of service inside -------------------------------------------------------------

VENDORS: dict[str, str] = {"DEEPGRAM_API_KEY": KEY, "ELEVENLABS_API_KEY": KEY}


def vendors(double_url: Double) -> dict[str, str]:
    return VENDORS | {
        "DEEPGRAM_BASE_URL": double_url.url("deepgram", ""),
        "ELEVENLABS_BASE_URL": double_url.url("elevenlabs", ""),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": double_url.url("openai"),
        "TTS_STALL_TIMEOUT_MS": "700",
        "TTS_FIRST_AUDIO_TIMEOUT_MS": DEADLINE_MS,
    }


@asynccontextmanager
async def vendor_lab(**more: str) -> AsyncIterator[Lab]:
    async with running_double() as double:
        chosen = load_settings(vendors(double) | more, None)
        engines = Engines.from_settings(chosen, VadEngine(SileroModel()))
        app = main.create_app(chosen, engines=engines, announce=lambda ready: None)
        async with running_server(app, ws_max_size=main.WS_MAX_SIZE_BYTES) as port:
            yield Lab(double, Gateway(port, app))


@pytest.mark.parametrize(
    "mode", [status(401), status(429), HANG, RESET, Mode("midcut", after=0)], ids=lambda m: m.kind
)
@pytest.mark.parametrize("engines", ["elevenlabs,tone", "elevenlabs,openai_tts"])
async def test_a_voice_with_a_socket_and_its_backup(mode: Mode, engines: str) -> None:
    async with (
        vendor_lab(TTS_PROVIDER=engines, STT_PROVIDER="pocketsphinx", LLM_PROVIDER="openai") as lab,
        lab.gateway.connect("ga") as client,
    ):
        await configure(client, **AUDIO, **MANUAL)
        assert (await ask(client, "hello there")).transcript == HELLO
        assert [r.provider for r in lab.double.log] == ["openai", "elevenlabs"]

        lab.double.always("elevenlabs", mode)
        # Its socket is open: another session has none yet.
        async with lab.gateway.connect("ga") as other:
            await configure(other, **AUDIO, **MANUAL)
            for _ in range(2):
                reply = await ask(other, "hello there")
                assert reply.status == "completed"
                assert reply.audio == tone.render(reply.transcript)[0]


@pytest.mark.parametrize("vendor", ["edge_tts", "elevenlabs"])
@pytest.mark.parametrize("heard", [False, True], ids=["before", "after"])
async def test_a_voice_that_is_cut_short_before_or_after_its_first_audio(
    vendor: str, heard: bool
) -> None:
    async with vendor_lab(
        TTS_PROVIDER=f"{vendor},tone", STT_PROVIDER="pocketsphinx", LLM_PROVIDER="openai"
    ) as lab:
        double = vendor.removesuffix("_tts")
        lab.double.once(double, Mode("midcut", after=4 if heard else 0))
        with redirected(lab.double):
            async with lab.gateway.connect("ga") as client:
                await configure(client, **AUDIO, **MANUAL)
                first = await ask(client, "hello there")
                again = await respond(client)
        whole = tone.render(HELLO)[0]
        if heard:
            # No other voice begins the sentence again.
            assert first.status == "failed"
            assert 0 < len(first.audio) < len(whole)
        else:
            assert first.audio == whole
        # Its backup goes on speaking; nobody asks it again so soon.
        assert again.audio == whole
        assert [request.provider for request in lab.double.log].count(double) == 1


@pytest.mark.parametrize("mode", [status(401), status(402), HANG, RESET], ids=lambda m: m.kind)
async def test_a_live_recogniser_and_its_backup(mode: Mode) -> None:
    engines = {
        "STT_PROVIDER": "deepgram,openai_whisper",
        "LLM_PROVIDER": "openai",
        "TTS_PROVIDER": "tone",
        "STT_FINAL_TIMEOUT_MS": "1500",
    }
    async with vendor_lab(**engines) as lab:
        lab.double.transcript = "what a day"
        for broken in (False, True, True):
            if broken:
                lab.double.always("deepgram", mode)
            async with lab.gateway.connect("ga") as client:
                await configure(
                    client, **TEXT, **MANUAL, input_audio_transcription={"model": "whisper-1"}
                )
                await client.append_fast(speech("hello"))
                await client.send({"type": "input_audio_buffer.commit"})
                heard = await client.wait_for(
                    "conversation.item.input_audio_transcription.completed"
                )
                assert heard["transcript"] == "what a day"
                assert (await respond(client)).text == "You said: what a day."
        assert len(lab.double.requests("/transcriptions")) == 2


async def test_the_embedded_engines_are_backups_too() -> None:
    async with (
        vendor_lab(
            STT_PROVIDER="deepgram,pocketsphinx",
            LLM_PROVIDER="openai,scripted",
            TTS_PROVIDER="elevenlabs,espeak",
        ) as lab,
        lab.gateway.connect("ga") as client,
    ):
        for provider in ("deepgram", "openai", "elevenlabs"):
            lab.double.always(provider, status(503))
        await configure(client, **AUDIO, **MANUAL, input_audio_transcription={"model": "whisper-1"})
        await client.append_fast(speech("weather"))
        await client.send({"type": "input_audio_buffer.commit"})
        heard = await client.wait_for("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"]
        reply = await respond(client)
        assert reply.status == "completed"
        assert reply.transcript
        assert reply.audio
