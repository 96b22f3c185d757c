"""Whole turns over the socket with the engines that speak wires of their own, good days and bad."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from config import load_settings
from protocol import Stage
from providers import tone
from providers.script_file import parse_script
from service_providers import choose
from tests.doubles import HANG, MIDCUT, RESET, Double, Mode, raw, running_double, status
from tests.doubles.edge import redirected
from tests.e2e.gateway import Gateway, run_gateway, speech
from tests.e2e.wire import AUDIO, MANUAL, TEXT, ask, configure, respond
from tests.harness import CollectedResponse

KEY = "vendor-secret-0123456789"
SCRIPT = parse_script("version: 1\n")
HELLO = "You said: hello there."
BYTES_PER_MS = 48


@dataclass(frozen=True, slots=True)
class Lab:
    """A gateway and the vendors behind it."""

    double: Double
    gateway: Gateway
    voice: str


@pytest.fixture(params=["elevenlabs", "edge_tts"])
async def lab(request: pytest.FixtureRequest) -> AsyncGenerator[Lab]:
    """Deepgram hears, the script answers, either voice speaks: as a user would set them."""
    async with running_double() as double:
        chosen = load_settings(
            {
                "DEEPGRAM_API_KEY": KEY,
                "DEEPGRAM_BASE_URL": double.url("deepgram", ""),
                "ELEVENLABS_API_KEY": KEY,
                "ELEVENLABS_BASE_URL": double.url("elevenlabs", ""),
                "TTS_PROVIDER": request.param,
                "TTS_STALL_TIMEOUT_MS": "300",
            },
            None,
        )
        stt = choose(Stage.STT, chosen.stt.provider, chosen)[0].build(chosen, SCRIPT)
        tts = choose(Stage.TTS, chosen.tts.provider, chosen)[0].build(chosen, SCRIPT)
        with redirected(double):
            async with run_gateway(stt=stt, tts=tts) as gateway:
                yield Lab(double, gateway, request.param.removesuffix("_tts"))


def assert_spoken(response: CollectedResponse, text: str) -> None:
    """The response said `text`; MP3 adds silence around it, so only the length is compared."""
    assert response.status == "completed"
    assert response.transcript == text
    spoken_bytes = len(tone.render(text)[0])
    assert spoken_bytes <= len(response.audio) <= spoken_bytes + 1000 * BYTES_PER_MS


async def test_a_typed_and_a_spoken_turn(lab: Lab) -> None:
    async with lab.gateway.connect("ga") as client:
        await configure(client, **AUDIO, input_audio_transcription={"model": "nova-3"})
        assert_spoken(await ask(client, "hello there"), HELLO)

        lab.double.transcript = "what a day"
        await client.speak(speech("hello"), realtime=False)
        heard = await client.wait_for("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == "what a day"
        assert_spoken(await client.collect_response(), "You said: what a day.")
        assert {request.provider for request in lab.double.log} == {"deepgram", lab.voice}


@pytest.mark.parametrize(
    "mode", [status(401), status(429), HANG, MIDCUT, Mode("stall")], ids=lambda mode: mode.kind
)
async def test_a_voice_that_fails_fails_one_response(lab: Lab, mode: Mode) -> None:
    lab.double.always(lab.voice, mode)
    async with lab.gateway.connect("ga") as client:
        await configure(client, **AUDIO, **MANUAL)
        broken = await ask(client, "hello there")
        assert broken.status == "failed"
        assert len(broken.audio) < len(tone.render(HELLO)[0])
        assert KEY not in str(broken.final)
        lab.double.always(lab.voice, Mode("ok"))
        assert_spoken(await respond(client), HELLO)


@pytest.mark.parametrize("mode", [status(401), status(402), RESET], ids=lambda mode: mode.kind)
async def test_a_recogniser_that_fails_fails_one_transcription(lab: Lab, mode: Mode) -> None:
    lab.double.always("deepgram", mode)
    async with lab.gateway.connect("ga") as client:
        await configure(client, **TEXT, **MANUAL, input_audio_transcription={"model": "nova-3"})
        for kind in ("failed", "completed"):
            await client.append_fast(speech("hello"))
            await client.send({"type": "input_audio_buffer.commit"})
            told = await client.wait_for(f"conversation.item.input_audio_transcription.{kind}")
            assert KEY not in str(told)
            lab.double.always("deepgram", Mode("ok"))


async def test_a_recogniser_whose_socket_drops_costs_no_transcript(lab: Lab) -> None:
    lab.double.once("deepgram", raw((1011, "NET-0000")))
    async with lab.gateway.connect("ga") as client:
        await configure(client, **TEXT, **MANUAL, input_audio_transcription={"model": "nova-3"})
        await client.append_fast(speech("hello"))
        await client.send({"type": "input_audio_buffer.commit"})
        heard = await client.wait_for("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == "hello there"
        assert len(lab.double.log) == 2
