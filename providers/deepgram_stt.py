"""Live speech recognition by Deepgram: one stream a session, whose loss costs no turn."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pydantic import SecretStr

from protocol import ConfigError, ProviderError

from .deepgram_stream import Question, Segment, Standstill, Stream
from .deepgram_wire import (
    DEEPGRAM,
    FINALIZE,
    KEEP_ALIVE,
    Transcript,
    stream_url,
)
from .deepgram_words import confidences, passages
from .recognition import Recognition
from .stt_service import SAMPLE_RATE_HZ, TurnSTTService
from .vendor_socket import VendorSocket, tls_context, websocket_url

logger = logging.getLogger(__name__)

DEFAULT_URL: Final = "https://api.deepgram.com"

_LARGEST_CHUNK_BYTES: Final = SAMPLE_RATE_HZ // 2
_UNDECIDED_SILENCE_S: Final = 0.6
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 4.0
_TYPICAL_FINAL_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long to wait for Deepgram; together well below the turn's own 15 s.

    Attributes:
        connect_s: For a connection.
        answer_s: For the next words to become final once a segment has ended, and for audio to be
            taken.
        settle_s: For the answer to `Finalize` where there is no word left to decide: Deepgram
            need not give one.
        keep_alive_s: Silence on our side after which we say that we are still there; Deepgram
            hangs up (NET-0001) after 10 s of it.
    """

    connect_s: float = 4.0
    answer_s: float = 4.0
    settle_s: float = 1.5
    keep_alive_s: float = 4.0


class DeepgramProvider:
    """Speech to text in some fifty languages, as it is spoken; audio goes to Deepgram.

    Pipecat's own service is not used: it blocks the pipeline's start while it connects, writes
    itself off after a 429, and a segment whose socket drops never gets an answer.

    Args:
        language: Spoken where the client names none (BCP-47, or `multi`).
        diarize: Tell speakers apart for every client, not only for those that ask.
        base_url: Deepgram's own address, or that of a server on one's premises.

    Raises:
        ConfigError: no key, or no URL.
    """

    name: ClassVar[str] = "deepgram"
    # What each model understands changes every month, so Deepgram itself may refuse.
    languages: frozenset[str] | None = None

    def __init__(
        self,
        api_key: SecretStr | None,
        *,
        model: str = "nova-3",
        language: str = "multi",
        diarize: bool = False,
        base_url: str = DEFAULT_URL,
        deadlines: Deadlines | None = None,
    ) -> None:
        if api_key is None:
            raise ConfigError(
                "DEEPGRAM_API_KEY",
                "STT_PROVIDER=deepgram needs a key; there are free ones at console.deepgram.com",
            )
        self._api_key = api_key
        self._model = model
        self._language = language
        self.diarize = diarize
        self._base_url = websocket_url("DEEPGRAM_BASE_URL", base_url)
        self._tls: ssl.SSLContext | None = None
        self.deadlines = deadlines or Deadlines()

    def describe(self) -> str:
        return f"Deepgram {self._model}, {self._language} (live; audio leaves this machine)"

    async def start(self) -> None:
        """Read the machine's certificates; connects to nothing."""
        self._tls = await tls_context(self._base_url)

    async def close(self) -> None:
        """Nothing to release: connections are the sessions'."""

    def create_service(self) -> DeepgramSTTService:
        return DeepgramSTTService(self)

    async def connect(self, language: str | None, *, diarize: bool) -> VendorSocket:
        """Open a stream.

        Raises:
            ProviderError: Deepgram cannot or will not.
        """
        return await VendorSocket.connect(
            DEEPGRAM,
            stream_url(self._base_url, self._model, language or self._language, diarize=diarize),
            {"Authorization": f"Token {self._api_key.get_secret_value()}"},
            timeout_s=self.deadlines.connect_s,
            tls=self._tls,
        )


class DeepgramSTTService(TurnSTTService[Segment]):
    """One session's ear.

    The stream is opened when the first segment begins and kept for the next ones; the audio that
    comes meanwhile waits in the segment.

    Args:
        provider: Opens streams.
    """

    def __init__(self, provider: DeepgramProvider) -> None:
        super().__init__(typical_final_s=_TYPICAL_FINAL_S)
        self._provider = provider
        self._deadlines = provider.deadlines
        self._stream: Stream | None = None
        self._listening: asyncio.Task[None] | None = None

    def open_segment(self, metadata: Mapping[str, Any]) -> Segment:
        segment = Segment(metadata)
        segment.speakers |= self._provider.diarize
        return segment

    async def recognise(self, segment: Segment) -> Recognition | None:
        try:
            return await self._transcribe(segment)
        except Exception:
            await self._give_up()
            raise

    async def next_segment(self) -> Segment:
        while True:
            try:
                async with asyncio.timeout(self._deadlines.keep_alive_s):
                    return await super().next_segment()
            except TimeoutError:
                await self._keep_alive()

    async def hang_up(self) -> None:
        stream, self._stream = self._stream, None
        listening, self._listening = self._listening, None
        if stream is not None:
            # First the stream: should the session end meanwhile, the socket must not be left open.
            await stream.close()
        if listening is not None:
            await self.cancel_task(listening)

    # --- segments

    async def _keep_alive(self) -> None:
        if self._stream is not None:
            try:
                await self._stream.send(KEEP_ALIVE)
            except ProviderError as failure:
                logger.info("idle: %s", failure.message)
                await self._give_up()

    async def _transcribe(self, segment: Segment) -> Recognition | None:
        """What the segment says, or None when it was dropped.

        A stream that fails is replaced, and gets the segment from its beginning. As long as the
        segment lasts there is time for that; once it has ended the next try is the last.

        Raises:
            ProviderError: there will be no transcript.
        """
        pause_s = 0.0
        while not segment.dropped:
            if segment.is_empty:
                return Recognition("")
            last_try = segment.closed.is_set() and pause_s > 0
            try:
                return await self._hear(await self._stream_for(segment), segment)
            except ProviderError as error:
                await self._give_up()
                if last_try or not error.category.retryable:
                    raise
                logger.warning("%s; the segment is sent again", error.message.rstrip("."))
            await _within(segment.closed, pause_s)
            pause_s = min(2 * pause_s + _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        await self.hang_up()
        return None

    async def _hear(self, stream: Stream, segment: Segment) -> Recognition | None:
        stream.news = segment.news
        transcript = Transcript(stream.position_s)
        sent_bytes = 0
        question = Question()
        standstill = Standstill()
        while not segment.dropped:
            segment.news.clear()
            if segment.is_empty:
                return Recognition("")
            if question.has_settled(segment):
                return _recognition(segment, transcript)
            while sent_bytes < len(segment.audio):
                chunk = bytes(segment.audio[sent_bytes : sent_bytes + _LARGEST_CHUNK_BYTES])
                await stream.send_audio(chunk)
                sent_bytes += len(chunk)
            if question.is_due(segment):
                await stream.send(FINALIZE)
                question.put(segment, stream.position_s)
            if await self._take(stream, segment, transcript, question):
                if question.pause is None or question.final:
                    return _recognition(segment, transcript)
                await self.tell_settled(segment, question.pause, _recognition(segment, transcript))
                continue
            if stream.failure is not None:
                raise stream.failure
            patience_s = self._patience_s(stream, transcript, question.final)
            if question.final:
                # Messages that decide nothing must not hold up this turn and all behind it.
                patience_s -= standstill.lasts_s(transcript.final_until_s)
            if await _within(segment.news, patience_s):
                continue
            if not question.final:
                await stream.send(KEEP_ALIVE)
            elif transcript.is_settled(stream.position_s, _UNDECIDED_SILENCE_S):
                return _recognition(segment, transcript)
            else:
                raise DEEPGRAM.timeout()
        await self.hang_up()
        return None

    async def _take(
        self, stream: Stream, segment: Segment, transcript: Transcript, question: Question
    ) -> bool:
        """Read what has come; says whether all is decided that was asked for."""
        changed = False
        while stream.heard:
            heard = stream.heard.popleft()
            if not transcript.add(heard):
                continue
            if question.is_answered(heard.finalizes, transcript):
                return True
            changed = True
        if changed and transcript.hypothesis:
            await self.tell(segment, _hypothesis(segment, transcript))
        return question.is_answered(False, transcript)

    def _patience_s(self, stream: Stream, transcript: Transcript, finalized: bool) -> float:
        if not finalized:
            return self._deadlines.keep_alive_s
        if transcript.is_settled(stream.position_s, _UNDECIDED_SILENCE_S):
            return self._deadlines.settle_s
        return self._deadlines.answer_s

    # --- the stream

    async def _stream_for(self, segment: Segment) -> Stream:
        stream = self._stream
        if stream is not None and stream.failure is not None:
            await self._give_up()
        elif stream is not None and not stream.suits(segment):
            await self.hang_up()
        if self._stream is None:
            socket = await self._provider.connect(segment.language, diarize=segment.speakers)
            self._stream = Stream(socket, segment, self._deadlines.answer_s)
            self._listening = self.create_task(self._stream.listen(), name="deepgram-listening")
        return self._stream

    async def _give_up(self) -> None:
        """Drop a stream that failed; the segment that waits does not wait for a good-bye."""
        if self._stream is not None:
            self._stream.abort()
        await self.hang_up()


def _recognition(segment: Segment, transcript: Transcript) -> Recognition:
    text, words = transcript.text, transcript.words
    return Recognition(
        text,
        confidences(text, words) if segment.logprobs else (),
        passages(words, transcript.start_s) if segment.speakers else (),
    )


def _hypothesis(segment: Segment, transcript: Transcript) -> Recognition:
    text, words = transcript.hypothesis, transcript.hypothesis_words
    return Recognition(text, confidences(text, words) if segment.logprobs else ())


async def _within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for the event; says whether it came in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
