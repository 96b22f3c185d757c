"""Live speech recognition by Deepgram: one stream a session, whose loss costs no turn."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import ClassVar, Final

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    StartFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.utils.time import time_now_iso8601
from pydantic import SecretStr

from protocol import ConfigError, ErrorCategory, ProviderError, Stage

from .deepgram_stream import Segment, Stream
from .deepgram_wire import (
    DEEPGRAM,
    FINALIZE,
    KEEP_ALIVE,
    SAMPLE_RATE_HZ,
    Transcript,
    stream_url,
)
from .frames import StageFailedFrame, answering
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
        answer_s: For the next message once a segment has ended, and for audio to be taken.
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

    async def connect(self, language: str | None) -> VendorSocket:
        """Open a stream.

        Raises:
            ProviderError: Deepgram cannot or will not.
        """
        return await VendorSocket.connect(
            DEEPGRAM,
            stream_url(self._base_url, self._model, language or self._language),
            {"Authorization": f"Token {self._api_key.get_secret_value()}"},
            timeout_s=self.deadlines.connect_s,
            tls=self._tls,
        )


class DeepgramSTTService(STTService):
    """One session's ear.

    One task works off the segments in their order. It opens the stream when the first segment
    begins and keeps it for the next ones; the audio that comes meanwhile waits in the segment.
    A segment that is opened over an open one drops it: no answer is given.

    Args:
        provider: Opens streams.
    """

    def __init__(self, provider: DeepgramProvider) -> None:
        super().__init__(
            audio_passthrough=False,
            sample_rate=SAMPLE_RATE_HZ,
            ttfs_p99_latency=_TYPICAL_FINAL_S,
            settings=STTSettings(model=None, language=None),
        )
        self._provider = provider
        self._deadlines = provider.deadlines
        self._segment: Segment | None = None
        self._segments: asyncio.Queue[Segment] = asyncio.Queue()
        self._stream: Stream | None = None
        self._listening: asyncio.Task[None] | None = None
        self._delivery: asyncio.Task[None] | None = None

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Pipecat's hook for audio; the answers come from the delivery task."""
        if self._segment is not None:
            self._segment.feed(audio)
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        # The segment's own frames end here: nobody downstream wants them, and the base class
        # would start a timer task for each.
        match frame:
            case InputAudioRawFrame():
                if self._segment is not None:
                    self._segment.feed(frame.audio)
            case VADUserStartedSpeakingFrame():
                self._drop_open_segment()
                self._segment = Segment(
                    frame.metadata.get("segment"), frame.metadata.get("language")
                )
                self._segments.put_nowait(self._segment)
            case VADUserStoppedSpeakingFrame():
                if self._segment is not None:
                    self._segment.close()
                    self._segment = None
            case _:
                await super().process_frame(frame, direction)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        self._delivery = self.create_task(self._deliver_all(), name="deepgram-delivery")

    async def stop(self, frame: EndFrame) -> None:
        self._drop_open_segment()
        await self._segments.join()
        await self._abandon()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        await self._abandon()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        await self._abandon()
        await super().cleanup()

    def _drop_open_segment(self) -> None:
        if self._segment is not None:
            self._segment.drop()
            self._segment = None

    async def _abandon(self) -> None:
        self._segment = None
        if self._delivery is not None:
            await self.cancel_task(self._delivery)
            self._delivery = None
        await self._hang_up()

    # --- segments

    async def _deliver_all(self) -> None:
        while True:
            segment = await self._next_segment()
            try:
                answer = await self._answer(segment)
                if answer is not None:
                    await self.push_frame(answering(answer, segment.name))
            finally:
                self._segments.task_done()

    async def _next_segment(self) -> Segment:
        while True:
            try:
                async with asyncio.timeout(self._deadlines.keep_alive_s):
                    return await self._segments.get()
            except TimeoutError:
                await self._keep_alive()

    async def _keep_alive(self) -> None:
        if self._stream is not None:
            try:
                await self._stream.send(KEEP_ALIVE)
            except ProviderError as failure:
                logger.info("idle: %s", failure.message)
                await self._give_up()

    async def _answer(self, segment: Segment) -> Frame | None:
        try:
            text = await self._transcribe(segment)
        except ProviderError as error:
            # The answer belongs behind the segment's end, however early its stream went.
            await segment.closed.wait()
            if segment.dropped:
                return None
            return StageFailedFrame(error.stage, error.category, error.message)
        except Exception:
            # A bug; but the segments behind this one still want their answers.
            logger.exception("transcription failed")
            await self._give_up()
            await segment.closed.wait()
            return StageFailedFrame(
                Stage.STT, ErrorCategory.SERVER, "Speech recognition failed unexpectedly."
            )
        if text is None:
            return None
        return TranscriptionFrame(text, "", time_now_iso8601(), finalized=True)

    async def _transcribe(self, segment: Segment) -> str | None:
        """The segment's text, or None when it was dropped.

        A stream that fails is replaced, and gets the segment from its beginning. As long as the
        segment lasts there is time for that; once it has ended the next try is the last.

        Raises:
            ProviderError: there will be no transcript.
        """
        pause_s = 0.0
        while not segment.dropped:
            if segment.is_empty:
                return ""
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
        await self._hang_up()
        return None

    async def _hear(self, stream: Stream, segment: Segment) -> str | None:
        stream.news = segment.news
        transcript = Transcript(stream.position_s)
        sent_bytes = 0
        finalized = False
        while not segment.dropped:
            segment.news.clear()
            if segment.is_empty:
                return ""
            while sent_bytes < len(segment.audio):
                chunk = bytes(segment.audio[sent_bytes : sent_bytes + _LARGEST_CHUNK_BYTES])
                await stream.send_audio(chunk)
                sent_bytes += len(chunk)
            if segment.closed.is_set() and not finalized:
                await stream.send(FINALIZE)
                finalized = True
            if await self._take(stream, segment, transcript, finalized):
                return transcript.text
            if stream.failure is not None:
                raise stream.failure
            if await _within(segment.news, self._patience_s(stream, transcript, finalized)):
                continue
            if not finalized:
                await stream.send(KEEP_ALIVE)
            elif transcript.is_settled(stream.position_s, _UNDECIDED_SILENCE_S):
                return transcript.text
            else:
                raise DEEPGRAM.timeout()
        await self._hang_up()
        return None

    async def _take(
        self, stream: Stream, segment: Segment, transcript: Transcript, finalized: bool
    ) -> bool:
        """Read what has come; says whether that was all of the segment."""
        changed = False
        while stream.heard:
            heard = stream.heard.popleft()
            if not transcript.add(heard):
                continue
            if finalized and (heard.finalizes or transcript.is_complete(stream.position_s)):
                return True
            changed = True
        if changed and transcript.hypothesis:
            partial = InterimTranscriptionFrame(transcript.hypothesis, "", time_now_iso8601())
            await self.push_frame(answering(partial, segment.name))
        return finalized and transcript.is_complete(stream.position_s)

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
        elif stream is not None and stream.language != segment.language:
            await self._hang_up()
        if self._stream is None:
            socket = await self._provider.connect(segment.language)
            self._stream = Stream(socket, segment.language, self._deadlines.answer_s)
            self._listening = self.create_task(self._stream.listen(), name="deepgram-listening")
        return self._stream

    async def _give_up(self) -> None:
        """Drop a stream that failed; the segment that waits does not wait for a good-bye."""
        if self._stream is not None:
            self._stream.abort()
        await self._hang_up()

    async def _hang_up(self) -> None:
        stream, self._stream = self._stream, None
        listening, self._listening = self._listening, None
        if stream is not None:
            # First the stream: should the session end meanwhile, the socket must not be left open.
            await stream.close()
        if listening is not None:
            await self.cancel_task(listening)


async def _within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for the event; says whether it came in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
