"""One fake per engine port, each built on Pipecat's real base class."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pipecat.frames.frames import (
    Frame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    SystemFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

# --- the language model ---------------------------------------------------------------------

Reply = Callable[[LLMContext], AsyncIterator[str | Frame]]


def says(*tokens: str, pause_s: float = 0.0) -> Reply:
    """A model that answers everything with these tokens."""

    async def reply(context: LLMContext) -> AsyncIterator[str | Frame]:
        for token in tokens:
            await asyncio.sleep(pause_s)
            yield token

    return reply


async def echo(context: LLMContext) -> AsyncIterator[str | Frame]:
    """A model that repeats the last message, word by word."""
    for word in last_text(context).split(" "):
        await asyncio.sleep(0)
        yield word + " "


def last_text(context: LLMContext) -> str:
    message: Any = context.messages[-1]
    return str(message["content"])


@dataclass
class BusyFrame(SystemFrame):
    """Keeps the model from looking at any other frame for a while."""

    until: asyncio.Event


class FakeLlmService(LLMService[Any]):
    """Streams what `reply` yields for the context: text, or any frame."""

    def __init__(self, reply: Reply, contexts: list[LLMContext]) -> None:
        settings = LLMSettings(
            model=None,
            system_instruction=None,
            temperature=None,
            max_tokens=None,
            top_p=None,
            top_k=None,
            frequency_penalty=None,
            presence_penalty=None,
            seed=None,
            filter_incomplete_user_turns=False,
            user_turn_completion_config=None,
        )
        super().__init__(settings=settings)
        self._reply = reply
        self._contexts = contexts

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, BusyFrame):
            await frame.until.wait()
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        self._contexts.append(frame.context)
        await self.push_frame(LLMFullResponseStartFrame())
        try:
            async for piece in self._reply(frame.context):
                await self.push_frame(LLMTextFrame(piece) if isinstance(piece, str) else piece)
        except RuntimeError as error:
            await self.push_error("model failed with key sk-secret", exception=error)
        finally:
            # As Pipecat's own services do: also on interruption and on failure.
            await self.push_frame(LLMFullResponseEndFrame())


@dataclass
class FakeLlm:
    """Language model provider; `contexts` are those it was asked to answer."""

    reply: Reply = echo
    contexts: list[LLMContext] = field(default_factory=list[LLMContext])
    services: list[FakeLlmService] = field(default_factory=list[FakeLlmService])
    name: ClassVar[str] = "fake"

    def describe(self) -> str:
        return "fake model"

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def create_service(self) -> LLMService[Any]:
        self.services.append(FakeLlmService(self.reply, self.contexts))
        return self.services[-1]


# --- the voice ------------------------------------------------------------------------------


def sound_of(text: str) -> bytes:
    """The "audio" of a clause: its text, so that a test sees whose audio it is."""
    raw = f"<{text}>".encode()
    return raw if len(raw) % 2 == 0 else raw + b" "


class FakeTtsService(TTSService):
    """Yields each clause's sound in pieces, a pause ahead of each."""

    def __init__(self, voice: FakeTts) -> None:
        super().__init__(
            sample_rate=voice.rate_hz,
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=None, voice=None, language=None),
        )
        self._voice = voice

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        self._voice.spoken.append(text)
        match self._voice.trouble.pop(text, None):
            case Exception() as error:
                raise error
            case Frame() as frame:
                yield frame
                return
            case None:
                pass
        for frame in self._voice.ahead(text):
            yield frame
        for _ in range(self._voice.pieces):
            await asyncio.sleep(self._voice.pause_s)
            yield TTSAudioRawFrame(sound_of(text), self._voice.rate_hz, 1, context_id=context_id)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            await asyncio.sleep(self._voice.interruption_s)
        await super().process_frame(frame, direction)


class StreamingTtsService(FakeTtsService):
    """As a service on a WebSocket: requests go out, audio comes back in a task of its own.

    The far end is slow to learn of an interruption and goes on sending for the old context.
    """

    def __init__(self, voice: FakeTts) -> None:
        super().__init__(voice)
        self._requests: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
        self._socket: asyncio.Task[None] | None = None

    async def setup(self, setup: FrameProcessorSetup) -> None:
        await super().setup(setup)
        self._socket = self.create_task(self._receive())

    async def cleanup(self) -> None:
        await super().cleanup()
        if self._socket is not None:
            await self.cancel_task(self._socket)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        self._voice.spoken.append(text)
        self._requests.put_nowait((context_id, text))
        yield None

    async def flush_audio(self, context_id: str | None = None) -> None:
        if context_id is not None:
            self._requests.put_nowait((context_id, ""))

    async def _receive(self) -> None:
        while (request := await self._requests.get()) is not None:
            context_id, text = request
            if not text:
                if self.audio_context_available(context_id):
                    await self.remove_audio_context(context_id)
                continue
            for _ in range(self._voice.pieces):
                await asyncio.sleep(self._voice.pause_s)
                sound = sound_of(text)
                frame = TTSAudioRawFrame(sound, self._voice.rate_hz, 1, context_id=context_id)
                await self._deliver(frame)

    async def _deliver(self, frame: TTSAudioRawFrame) -> None:
        await self.append_to_audio_context(frame.context_id, frame)


class UnorderedTtsService(StreamingTtsService):
    """Pushes what comes from the socket at once, past Pipecat's audio contexts."""

    async def _deliver(self, frame: TTSAudioRawFrame) -> None:
        await self.push_frame(frame)


@dataclass
class FakeTts:
    """Voice provider; `spoken` are the clauses it was given.

    A clause in `trouble` is not spoken the first time: its exception is raised, or its frame
    takes the place of the audio.
    """

    service: type[FakeTtsService] = FakeTtsService
    pieces: int = 2
    pause_s: float = 0.0
    interruption_s: float = 0.0
    rate_hz: int = 24_000
    trouble: dict[str, Exception | Frame] = field(default_factory=dict[str, Any])
    ahead: Callable[[str], list[Frame]] = lambda text: []
    spoken: list[str] = field(default_factory=list[str])
    speeds: tuple[float, float] = (0.25, 1.5)
    name: ClassVar[str] = "fake"

    def describe(self) -> str:
        return "fake voice"

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def create_service(self) -> TTSService:
        return self.service(self)


# --- the recogniser -------------------------------------------------------------------------


class FakeSttService(STTService):
    """Answers each segment, in order, with what `FakeStt.answers` holds next."""

    def __init__(self, recogniser: FakeStt) -> None:
        super().__init__(
            audio_passthrough=False,
            ttfs_p99_latency=1.0,
            settings=STTSettings(model=None, language=None),
        )
        self._recogniser = recogniser
        self._pcm = b""

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        self._pcm += audio
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._pcm = b""
            self._recogniser.hints.append(frame.metadata)
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._recogniser.segments.append(self._pcm)
            self._recogniser.closed.put_nowait(self)

    async def answer(self, answer: Answer) -> None:
        match answer:
            case str():
                await self.push_frame(TranscriptionFrame(answer, "", "", finalized=True))
            case Partly():
                await self.push_frame(TranscriptionFrame(answer.text, "", ""))
            case Perhaps():
                await self.push_frame(InterimTranscriptionFrame(answer.text, "", ""))
            case Frame():
                await self.push_frame(answer)
            case Exception():
                await self.push_error("recogniser failed with key sk-secret", exception=answer)


@dataclass(frozen=True, slots=True)
class Partly:
    """A transcript of a part of the segment."""

    text: str


@dataclass(frozen=True, slots=True)
class Perhaps:
    """The hypothesis so far."""

    text: str


Answer = str | Partly | Perhaps | Frame | Exception


@dataclass
class FakeStt:
    """Recogniser provider; the test answers through `service.answer`."""

    segments: list[bytes] = field(default_factory=list[bytes])
    hints: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    closed: asyncio.Queue[FakeSttService] = field(default_factory=asyncio.Queue[FakeSttService])
    services: list[FakeSttService] = field(default_factory=list[FakeSttService])
    languages: frozenset[str] | None = None
    name: ClassVar[str] = "fake"

    def describe(self) -> str:
        return "fake recogniser"

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def create_service(self) -> STTService:
        service = FakeSttService(self)
        self.services.append(service)
        return service


# --- turn detection -------------------------------------------------------------------------


@dataclass
class FakeVadStream:
    """Records what it is told; the test lets it speak through the four callbacks."""

    on_start: Callable[[int], None]
    on_stop: Callable[[int], None]
    on_pause: Callable[[int, int], None] | None = None
    on_resume: Callable[[], None] | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    samples: int = 0
    speaking: bool = False
    backlog: int = 0

    pauses_ms: tuple[int, ...] = ()
    end: int | None = None
    """Where its speech ends, for as long as a turn may be ended there."""

    def configure(self, threshold: float, silence_ms: int, pauses_ms: tuple[int, ...] = ()) -> None:
        self.calls.append(("configure", threshold, silence_ms))
        self.pauses_ms = pauses_ms

    def pause(self, end: int, position: int) -> None:
        """Tell of a pause."""
        self.end = end
        assert self.on_pause is not None
        self.on_pause(end, position)

    def resume(self) -> None:
        """Somebody goes on speaking."""
        self.end = None
        assert self.on_resume is not None
        self.on_resume()

    def end_turn(self, end: int) -> bool:
        ended, self.end = self.end == end, None
        return ended

    def reset(self, position: int) -> None:
        self.calls.append(("reset", position))
        self.samples = 0

    def feed(self, samples: NDArray[np.float32]) -> None:
        assert samples.dtype == np.float32
        self.samples += len(samples)

    async def progress(self) -> None:
        """Nothing is ever behind."""
        raise AssertionError("this fake scores at once")

    def close(self) -> None:
        self.calls.append(("close",))


@dataclass
class FakeVadEngine:
    """Turn detection; `streams` are those that were opened, the last one in use."""

    streams: list[FakeVadStream] = field(default_factory=list[FakeVadStream])
    samples_pending: int = 0
    windows_scored: int = 0
    windows_skipped: int = 0
    streams_waiting: int = 0

    def open(
        self,
        on_start: Callable[[int], None],
        on_stop: Callable[[int], None],
        on_pause: Callable[[int, int], None] | None = None,
        on_resume: Callable[[], None] | None = None,
    ) -> FakeVadStream:
        stream = FakeVadStream(on_start, on_stop, on_pause, on_resume)
        self.streams.append(stream)
        return stream

    async def close(self) -> None:
        """Nothing runs."""
