"""A gateway whose engines are a vendor's double, and the official SDK talking to it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, get_args

from openai import AsyncOpenAI

from config import Settings, load_settings
from protocol import Stage
from providers.script_file import parse_script
from service_providers import choose
from tests.clients.conversation import Reply, expect_reply
from tests.clients.wiretap import Wire, tapped
from tests.doubles import Double, running_double
from tests.doubles.edge import redirected
from tests.e2e.gateway import run_gateway, speech
from tests.harness import BYTES_PER_MS
from tests.oracle import WireEvent

KEY = "sk-vendor-0123456789-very-secret"
HEARD = "hello there"
HELLO = f"You said: {HEARD}."
SCRIPT = parse_script(
    """
version: 1
transcripts: [hello there]
rules:
  - {id: tool, when: {user: {any: [weather]}}, do: [{tool: get_weather, args: {city: Paris}}]}
  - {id: result, when: {tool_result: true}, do: [{say: "The tool said {tool}."}]}
"""
)
EMBEDDED = {"STT_PROVIDER": "scripted", "LLM_PROVIDER": "scripted", "TTS_PROVIDER": "tone"}
"""What serves the stages that a test is not about."""

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True, slots=True)
class SdkTalk:
    """A session of an application on the SDK, which the oracle reads along.

    Attributes:
        connection: The SDK's.
        wire: What passes between it and the gateway.
    """

    connection: Any
    wire: Wire

    async def configure(self, *, automatic: bool = False, **session: Any) -> None:
        """Ask for transcripts; without `automatic` turns are committed by hand."""
        sound: dict[str, Any] = {"transcription": {"model": "gpt-4o-mini-transcribe"}}
        if not automatic:
            sound["turn_detection"] = None
        settings = {"type": "realtime", "audio": {"input": sound}, **session}
        await self.connection.session.update(session=settings)
        await self.wire.wait_for("session.updated")

    async def ask(self, text: str, *, status: str = "completed") -> Reply:
        """A typed turn."""
        return await self.give(typed(text), status)

    async def give(self, item: dict[str, Any], status: str = "completed") -> Reply:
        """Any item, and the reply to it."""
        await self.begin(item)
        return await expect_reply(self.wire, status=status)

    async def begin(self, item: dict[str, Any]) -> None:
        """Any item, of whose reply nothing is awaited."""
        await self.connection.conversation.item.create(item=item)
        await self.connection.response.create()

    async def talk(self, *, status: str = "completed") -> tuple[WireEvent, Reply]:
        """A spoken turn by hand; returns what became of the transcript, and the reply."""
        await self._append(speech("hello"))
        await self.connection.input_audio_buffer.commit()
        await self.connection.response.create()
        return await self._heard(), await expect_reply(self.wire, status=status)

    async def talk_freely(self) -> tuple[WireEvent, Reply]:
        """A spoken turn whose bounds the gateway finds."""
        silence = bytes(1000 * BYTES_PER_MS)
        await self._append(silence[: len(silence) // 5] + speech("hello") + silence)
        return await self._heard(), await expect_reply(self.wire)

    async def _append(self, pcm: bytes) -> None:
        for start in range(0, len(pcm), 100 * BYTES_PER_MS):
            piece = base64.b64encode(pcm[start : start + 100 * BYTES_PER_MS]).decode()
            await self.connection.input_audio_buffer.append(audio=piece)

    async def _heard(self) -> WireEvent:
        ends = (f"{_TRANSCRIPTION}.completed", f"{_TRANSCRIPTION}.failed")
        return await self.wire.wait_for(*ends)


def typed(text: str) -> dict[str, Any]:
    """A typed message of the user."""
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


@asynccontextmanager
async def gateway_before(
    double: Double, variables: Mapping[str, str]
) -> AsyncIterator[tuple[int, Mapping[Stage, Any]]]:
    """A gateway whose engines are chosen as a user would; gives its port, and the providers.

    Args:
        double: What the address of each vendor leads to.
        variables: Settings besides those addresses; they may name the addresses otherwise.
    """
    settings = load_settings({**EMBEDDED, **_addresses(double), **variables}, None)
    engines = {stage: _engine(stage, settings) for stage in (Stage.STT, Stage.LLM, Stage.TTS)}
    with redirected(double):
        async with run_gateway(
            stt=engines[Stage.STT],
            llm=engines[Stage.LLM],
            tts=engines[Stage.TTS],
            session={"stt_timeout_ms": settings.session.stt_timeout_ms},
        ) as gateway:
            yield gateway.port, engines


@asynccontextmanager
async def sdk_talk(port: int) -> AsyncIterator[SdkTalk]:
    """A session by the unmodified SDK; at its end every frame must have been right."""
    async with tapped(port, "ga", "openai-python, GA") as tap:
        address = f"127.0.0.1:{tap.port}/v1"
        client = AsyncOpenAI(
            api_key="test-key", base_url=f"http://{address}", websocket_base_url=f"ws://{address}"
        )
        async with client.realtime.connect(model="gpt-realtime") as connection:
            reading = asyncio.create_task(_read(connection), name="sdk reader")
            await tap.connected()
            yield SdkTalk(connection, tap.wire)
        await reading


@asynccontextmanager
async def talking_to(
    variables: Callable[[Double], Mapping[str, str]],
) -> AsyncIterator[tuple[Double, SdkTalk]]:
    """The doubles, and a session with a gateway in front of them; see `gateway_before`."""
    async with running_double() as double:
        double.script = SCRIPT
        double.transcript = HEARD
        async with (
            gateway_before(double, variables(double)) as (port, _),
            sdk_talk(port) as talk,
        ):
            yield double, talk


async def _read(connection: Any) -> None:
    async for event in connection:
        # The SDK never validates: an event it does not know comes out as some other class.
        assert get_args(type(event).model_fields["type"].annotation) == (event.type,)


def _engine(stage: Stage, settings: Settings) -> Any:
    named = {
        Stage.STT: settings.stt.provider,
        Stage.LLM: settings.llm.provider,
        Stage.TTS: settings.tts.provider,
    }
    return choose(stage, named[stage], settings)[0].build(settings, SCRIPT)


def _addresses(double: Double) -> dict[str, str]:
    return {
        "DEEPGRAM_API_KEY": KEY,
        "DEEPGRAM_BASE_URL": double.url("deepgram", ""),
        "ELEVENLABS_API_KEY": KEY,
        "ELEVENLABS_BASE_URL": double.url("elevenlabs", ""),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": double.url("openai"),
        "SILICONFLOW_API_KEY": KEY,
        "SILICONFLOW_BASE_URL": double.url("siliconflow"),
        "OLLAMA_BASE_URL": double.url("ollama", ""),
    }
