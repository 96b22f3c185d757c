"""Speech by the read-aloud service of Microsoft Edge, through the library edge-tts."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Final, cast

import aiohttp
from edge_tts import Communicate
from edge_tts.exceptions import EdgeTTSException, NoAudioReceived, SkewAdjustmentError

from core.messages import GenerationRequest, WordTime
from protocol import ConfigError, ErrorCategory, ProviderError, Stage

from .alignment import WordAlignment
from .mp3_stream import Mp3Stream
from .pcm_pieces import PcmPieces
from .speech_patience import SpeechPatience
from .tts_service import SAMPLE_RATE_HZ, ClauseTTSService

logger = logging.getLogger(__name__)

_VOICE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+){1,3}-[A-Za-z]+Neural")
_TICKS_PER_MS: Final = 10_000
_MP3_BYTES_PER_MS: Final = 6
_NOT_ENDED_TICKS: Final = -1
"""What edge-tts adds to the times of words until the first part ends, and never comes to itself."""
_CUT_SHORT_MS: Final = 60
"""Less than this may be missing of the last word: boundaries are rounded to MP3 frames of 24 ms."""


class EdgeTtsProvider:
    """Text to speech without a key, in over a hundred languages; the text goes to Microsoft.

    The service is meant for the browser: it is not documented, and may refuse at any time.

    Args:
        voice: Speaks wherever the client names no voice of `voices` nor one of the service.
        voices: The service's voices by the names that clients use, such as `alloy`.
        connect_s: How long a connection may take; edge-tts wants whole seconds.
        stall_s: How long a clause may take to begin, and how far it may fall behind then.

    Raises:
        ConfigError: it can be no voice of the service.
    """

    name: ClassVar[str] = "edge_tts"
    speeds: tuple[float, float] = (0.5, 2.0)

    def __init__(
        self,
        *,
        voice: str,
        voices: Mapping[str, str] | None = None,
        connect_s: int = 5,
        stall_s: float = 10.0,
    ) -> None:
        if _VOICE.fullmatch(voice) is None:
            raise ConfigError(
                "EDGE_TTS_VOICE",
                f"must be a name like zh-CN-XiaoxiaoNeural, not {voice!r}; "
                "`edge-tts --list-voices` shows them all",
            )
        self._voice = voice
        self._voices = dict(voices or {})
        self.connect_s = connect_s
        self.stall_s = stall_s

    def describe(self) -> str:
        return f"Edge read-aloud, voice {self._voice} (unofficial; text leaves this machine)"

    async def start(self) -> None:
        """Nothing to bring up: each clause has a connection of its own."""

    async def close(self) -> None:
        """Nothing to release."""

    def create_service(self) -> EdgeTTSService:
        return EdgeTTSService(self)

    def knows_voice(self, name: str) -> bool:
        """Whether the name is one of the map, or can be one of the service."""
        return name in self._voices or _VOICE.fullmatch(name) is not None

    def voice_for(self, name: str) -> str:
        """The voice for a name that a client uses."""
        return self._voices.get(name) or (name if _VOICE.fullmatch(name) else self._voice)


class EdgeTTSService(ClauseTTSService):
    """One session's voice.

    `request.voice` may be a name of the provider's map or a voice of the service;
    `request.speed` scales the rate between half and double.

    Args:
        provider: Knows the voices and the deadlines.
    """

    def __init__(self, provider: EdgeTtsProvider) -> None:
        super().__init__()
        self._provider = provider

    async def synthesize(
        self, text: str, request: GenerationRequest
    ) -> AsyncIterator[tuple[WordTime, ...] | bytes]:
        communicate = Communicate(
            text,
            self._provider.voice_for(request.voice),
            rate=self._rate(request.speed),
            boundary="WordBoundary",
            connect_timeout=self._provider.connect_s,
        )
        communicate.state["offset_compensation"] = _NOT_ENDED_TICKS
        mp3 = Mp3Stream()
        words = WordAlignment(text)
        pieces = PcmPieces(SAMPLE_RATE_HZ)
        mp3_bytes = spoken_bytes = 0
        boundary_end_ms = 0.0
        has_words = any(character.isalnum() for character in text)
        async with aclosing(self._chunks(communicate, has_words)) as chunks:
            async for chunk in chunks:
                if chunk["type"] == "WordBoundary":
                    start_ms = chunk["offset"] / _TICKS_PER_MS
                    boundary_end_ms = start_ms + chunk["duration"] / _TICKS_PER_MS
                    times = words.add(chunk["text"], start_ms)
                    if times:
                        yield times
                elif chunk["type"] == "audio":
                    mp3_bytes += len(chunk["data"])
                    if mp3.add(chunk["data"]):
                        pcm = await asyncio.to_thread(mp3.decode)
                        spoken_bytes += len(pcm)
                        for piece in pieces.add(pcm):
                            yield piece
        pcm = await asyncio.to_thread(mp3.finish)
        spoken_bytes += len(pcm)
        for piece in (*pieces.add(pcm), *pieces.end()):
            yield piece
        if mp3_bytes and not spoken_bytes:
            raise _failure(ErrorCategory.SERVER, "sent audio that cannot be read")
        cut_short = mp3_bytes / _MP3_BYTES_PER_MS < boundary_end_ms - _CUT_SHORT_MS
        if cut_short or _was_interrupted(communicate):
            raise _failure(ErrorCategory.CONNECTIVITY, "broke off in the middle of the speech")

    def _rate(self, speed: float) -> str:
        slowest, fastest = self._provider.speeds
        return f"{round((min(max(speed, slowest), fastest) - 1) * 100):+d}%"

    async def _chunks(
        self, communicate: Communicate, has_words: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What the library streams, with a deadline for each piece and its failures typed."""
        patience = SpeechPatience(self._provider.stall_s)
        stream = cast("AsyncGenerator[dict[str, Any], None]", communicate.stream())
        async with aclosing(stream):
            while True:
                try:
                    with patience.waiting():
                        async with asyncio.timeout(patience.left_s()):
                            chunk = await anext(stream)
                except StopAsyncIteration:
                    return
                except NoAudioReceived as error:
                    if _was_interrupted(communicate):
                        raise _broken() from error
                    if not has_words:
                        # An emoji, or dashes: nothing was to be heard.
                        return
                    raise _told(error) from error
                except _FAILURES as error:
                    failure = _told(error)
                    logger.warning("tts: %s", failure.message)
                    raise failure from error
                if chunk["type"] == "audio":
                    patience.heard(len(chunk["data"]) / _MP3_BYTES_PER_MS / 1000)
                yield chunk


def _was_interrupted(communicate: Communicate) -> bool:
    """Whether the socket dropped, which edge-tts takes for an end as good as any.

    Only when the service says that it is through, its count of bytes goes back to zero, and where
    the next part begins is reckoned anew.
    """
    state = communicate.state
    return state["chunk_audio_bytes"] > 0 or state["offset_compensation"] == _NOT_ENDED_TICKS


_FAILURES: Final = (EdgeTTSException, aiohttp.ClientError, OSError, ValueError, LookupError)
"""What edge-tts raises; the last two where a message is not of the shape it expects."""


def _told(error: Exception) -> ProviderError:
    match error:
        case TimeoutError():
            return _failure(ErrorCategory.TIMEOUT, "did not answer in time")
        case NoAudioReceived():
            return _failure(
                ErrorCategory.INVALID_REQUEST,
                "sent no audio: check that the voice speaks the language of the text",
            )
        case SkewAdjustmentError():
            return _refused(403)
        case aiohttp.WSServerHandshakeError():
            return _refused(error.status)
        case aiohttp.ClientConnectorError():
            return _failure(ErrorCategory.CONNECTIVITY, "could not be reached")
        case aiohttp.ClientError() | OSError():
            return _broken()
        case _:
            return _failure(ErrorCategory.SERVER, "sent an answer that cannot be read")


def _broken() -> ProviderError:
    return _failure(ErrorCategory.CONNECTIVITY, "broke the connection")


def _refused(status: int) -> ProviderError:
    http = f"(HTTP {status})"
    match status:
        case 401 | 403:
            return _failure(
                ErrorCategory.AUTHENTICATION,
                f"refused the connection {http}: check this machine's clock, and whether there is "
                "a newer edge-tts",
            )
        case 429:
            return _failure(ErrorCategory.RATE_LIMIT, f"is limiting requests {http}")
        case 408 | 504:
            return _failure(ErrorCategory.TIMEOUT, f"did not answer in time {http}")
        case _ if status >= 500:
            return _failure(ErrorCategory.SERVER, f"had an internal error {http}")
        case _:
            return _failure(ErrorCategory.INVALID_REQUEST, f"refused the request {http}")


def _failure(category: ErrorCategory, what: str) -> ProviderError:
    return ProviderError(Stage.TTS, category, f"Edge TTS {what}.")
