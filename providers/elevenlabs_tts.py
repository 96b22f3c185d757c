"""Speech by ElevenLabs: one socket a session, one context a clause."""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlencode

from pipecat.frames.frames import CancelFrame, EndFrame
from pydantic import SecretStr

from core.messages import GenerationRequest, WordTime
from protocol import ConfigError, ErrorCategory, ProviderError, Stage

from .alignment import CharacterAlignment
from .pcm_pieces import PcmPieces
from .speech_patience import SpeechPatience
from .tts_service import SAMPLE_RATE_HZ, ClauseTTSService
from .vendor_socket import Vendor, VendorSocket, tls_context, websocket_url

logger = logging.getLogger(__name__)

DEFAULT_URL: Final = "https://api.elevenlabs.io"

ELEVENLABS: Final = Vendor(
    label="ElevenLabs",
    stage=Stage.TTS,
    key_variable="ELEVENLABS_API_KEY",
    url_variable="ELEVENLABS_BASE_URL",
    codes={
        "invalid_api_key": ErrorCategory.AUTHENTICATION,
        "missing_permissions": ErrorCategory.AUTHENTICATION,
        # Comes as a 401.
        "quota_exceeded": ErrorCategory.QUOTA,
        "max_active_conversations": ErrorCategory.RATE_LIMIT,
        "too_many_concurrent_requests": ErrorCategory.RATE_LIMIT,
        "rate_limit_exceeded": ErrorCategory.RATE_LIMIT,
        "system_busy": ErrorCategory.SERVER,
        "voice_not_found": ErrorCategory.INVALID_REQUEST,
    },
)

_BYTES_PER_MS: Final = 2 * SAMPLE_RATE_HZ // 1000
# ElevenLabs allows five at a time and hangs up on the sixth.
_MOST_OPEN_CONTEXTS: Final = 4
_FAREWELL_S: Final = 0.5


class ElevenLabsProvider:
    """Text to speech with voices hard to tell from people; the text goes to ElevenLabs.

    Pipecat's own service is not used: when its socket drops it reports what was left as spoken.

    Args:
        voice_id: Speaks wherever the client names no voice of `voices`.
        voices: Voice ids by the names that clients use, such as `alloy`.
        stall_s: How long a clause may take to begin, and how far it may fall behind then.
        keep_alive_s: Between two signs of life; ElevenLabs hangs up after 20 s without one.

    Raises:
        ConfigError: no key, or no URL.
    """

    name: ClassVar[str] = "elevenlabs"
    speeds: tuple[float, float] = (0.7, 1.2)

    def __init__(
        self,
        api_key: SecretStr | None,
        *,
        voice_id: str,
        model: str = "eleven_flash_v2_5",
        voices: Mapping[str, str] | None = None,
        base_url: str = DEFAULT_URL,
        connect_s: float = 5.0,
        stall_s: float = 10.0,
        keep_alive_s: float = 10.0,
    ) -> None:
        if api_key is None:
            raise ConfigError(
                "ELEVENLABS_API_KEY",
                "TTS_PROVIDER=elevenlabs needs a key; there are free ones at elevenlabs.io",
            )
        self._api_key = api_key
        self._voice_id = voice_id
        self._model = model
        self._voices = dict(voices or {})
        self._base_url = websocket_url("ELEVENLABS_BASE_URL", base_url)
        self._tls: ssl.SSLContext | None = None
        self._connect_s = connect_s
        self.stall_s = stall_s
        self.keep_alive_s = keep_alive_s

    def describe(self) -> str:
        return f"ElevenLabs {self._model}, voice {self._voice_id} (text leaves this machine)"

    async def start(self) -> None:
        """Read the machine's certificates; connects to nothing."""
        self._tls = await tls_context(self._base_url)

    async def close(self) -> None:
        """Nothing to release: connections are the sessions'."""

    def create_service(self) -> ElevenLabsTTSService:
        return ElevenLabsTTSService(self)

    def knows_voice(self, name: str) -> bool:
        """Whether the name is one of the map, or a voice's id."""
        return name in self._voices

    def admit_voices(self, names: Iterable[str]) -> None:
        """Note that these are ids of voices."""
        self._voices.update({name: name for name in names})

    def voice_for(self, name: str) -> str:
        """The voice id for a name that a client uses."""
        return self._voices.get(name, self._voice_id)

    async def connect(self, voice_id: str) -> VendorSocket:
        """Open a socket; it speaks with one voice.

        Raises:
            ProviderError: ElevenLabs cannot or will not.
        """
        query = {
            "model_id": self._model,
            "output_format": f"pcm_{SAMPLE_RATE_HZ}",
            # Clauses are whole: nothing is gained by waiting for more text.
            "auto_mode": "true",
        }
        path = f"/v1/text-to-speech/{quote(voice_id, safe='')}/multi-stream-input"
        return await VendorSocket.connect(
            ELEVENLABS,
            f"{self._base_url}{path}?{urlencode(query)}",
            {"xi-api-key": self._api_key.get_secret_value()},
            timeout_s=min(self._connect_s, self.stall_s),
            tls=self._tls,
        )


class _Line:
    """One socket, and the clauses spoken over it."""

    def __init__(self, socket: VendorSocket, voice_id: str, stall_s: float) -> None:
        self.voice_id = voice_id
        self._socket = socket
        self._stall_s = stall_s
        self._numbers = itertools.count(1)
        self._open: set[str] = set()

    @property
    def is_crowded(self) -> bool:
        """Whether interrupted clauses that are still being generated leave no room."""
        return len(self._open) >= _MOST_OPEN_CONTEXTS

    async def speak(
        self, text: str, speed: float
    ) -> AsyncGenerator[tuple[WordTime, ...] | bytes, None]:
        """One clause in a context of its own.

        The context is closed as soon as it has its text: ElevenLabs speaks to the end all the
        same, says then that it was the end, and so does not keep the context of a clause that is
        interrupted. What still comes of that one is passed over.

        Raises:
            ProviderError: ElevenLabs failed, or stopped before the end.
        """
        context_id = f"clause-{next(self._numbers)}"
        await self._send({"text": " ", "context_id": context_id, **_voice_settings(speed)})
        self._open.add(context_id)
        await self._send({"text": f"{text.strip()} ", "context_id": context_id, "flush": True})
        await self._send({"context_id": context_id, "close_context": True})
        alignment = CharacterAlignment(text)
        pieces = PcmPieces(SAMPLE_RATE_HZ)
        patience = SpeechPatience(self._stall_s)
        spoken_bytes = 0
        while True:
            with patience.waiting():
                message = await self._receive(patience.left_s())
            if message.get("contextId") != context_id:
                continue
            pcm = _audio(message)
            words = alignment.add(_characters(message, spoken_bytes / _BYTES_PER_MS))
            if words:
                yield words
            spoken_bytes += len(pcm)
            patience.heard(len(pcm) / _BYTES_PER_MS / 1000)
            for piece in pieces.add(pcm):
                yield piece
            if message.get("isFinal"):
                break
        for piece in pieces.end():
            yield piece
        if not spoken_bytes and any(character.isalnum() for character in text):
            raise ELEVENLABS.failure(ErrorCategory.SERVER, "sent no audio")

    async def keep_alive(self) -> None:
        await self._send({"text": ""})

    def abort(self) -> None:
        self._socket.abort()

    async def close(self) -> None:
        try:
            with suppress(ProviderError):
                await self._socket.send({"close_socket": True}, timeout_s=_FAREWELL_S)
        finally:
            await self._socket.close()

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send(message, timeout_s=self._stall_s)

    async def _receive(self, timeout_s: float) -> dict[str, Any]:
        message = await self._socket.receive(timeout_s=timeout_s)
        if message.get("error"):
            raise ELEVENLABS.reported(message)
        if message.get("isFinal"):
            self._open.discard(str(message.get("contextId")))
        return message


class ElevenLabsTTSService(ClauseTTSService):
    """One session's voice.

    `request.voice` goes through the provider's map; `request.speed` is kept between 0.7 and 1.2,
    which is all that ElevenLabs does.

    Args:
        provider: Opens sockets.
    """

    def __init__(self, provider: ElevenLabsProvider) -> None:
        super().__init__()
        self._provider = provider
        self._line: _Line | None = None
        self._keeping_alive: asyncio.Task[None] | None = None

    async def synthesize(
        self, text: str, request: GenerationRequest
    ) -> AsyncIterator[tuple[WordTime, ...] | bytes]:
        voice_id = self._provider.voice_for(request.voice)
        slowest, fastest = self._provider.speeds
        speed = min(max(request.speed, slowest), fastest)
        for may_retry in (True, False):
            kept = self._line
            spoken = False
            try:
                line = await self._line_for(voice_id)
                async with aclosing(line.speak(text, speed)) as pieces:
                    async for piece in pieces:
                        spoken = True
                        yield piece
                return
            except ProviderError as error:
                self._give_up()
                # A kept socket may have died meanwhile; that must not cost the reply.
                if spoken or kept is None or not may_retry or not error.category.retryable:
                    logger.warning("tts: %s", error.message)
                    raise

    async def stop(self, frame: EndFrame) -> None:
        await super().stop(frame)
        await self._abandon()

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._abandon()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._abandon()

    async def _line_for(self, voice_id: str) -> _Line:
        line = self._line
        if line is not None and (line.voice_id != voice_id or line.is_crowded):
            await self._hang_up()
        if self._line is None:
            socket = await self._provider.connect(voice_id)
            self._line = _Line(socket, voice_id, self._provider.stall_s)
        if self._keeping_alive is None:
            self._keeping_alive = self.create_task(self._keep_alive(), name="elevenlabs-alive")
        return self._line

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._provider.keep_alive_s)
            line = self._line
            if line is not None:
                try:
                    await line.keep_alive()
                except ProviderError as failure:
                    # Whoever speaks over it learns that it is gone; the next reply opens another.
                    logger.info("idle: %s", failure.message)
                    if self._line is line:
                        self._give_up()

    async def _abandon(self) -> None:
        if self._keeping_alive is not None:
            await self.cancel_task(self._keeping_alive)
            self._keeping_alive = None
        await self._hang_up()

    def _give_up(self) -> None:
        """Drop a line that failed; whoever waits for the reply does not wait for a good-bye."""
        line, self._line = self._line, None
        if line is not None:
            line.abort()

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()


def _voice_settings(speed: float) -> dict[str, Any]:
    return {} if speed == 1.0 else {"voice_settings": {"speed": speed}}


def _audio(message: Mapping[str, Any]) -> bytes:
    encoded = message.get("audio")
    if not encoded:
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ELEVENLABS.unreadable() from error


def _characters(message: Mapping[str, Any], offset_ms: float) -> list[tuple[str, float]]:
    """The characters of a message with their start in the clause's audio.

    Times begin anew with every message: they count from that message's own audio.
    """
    alignment = message.get("alignment")
    if not alignment:
        return []
    try:
        return [
            (str(character), offset_ms + float(start_ms))
            for character, start_ms in zip(
                alignment["chars"], alignment["charStartTimesMs"], strict=True
            )
        ]
    except (LookupError, TypeError, ValueError) as error:
        raise ELEVENLABS.unreadable() from error
