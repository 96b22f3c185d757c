"""The embedded recogniser: pocketsphinx in a pool of worker processes shared by all sessions."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import ClassVar, Literal

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
from pipecat.transcriptions.language import Language
from pipecat.utils.time import time_now_iso8601

from protocol import ConfigError, ProviderError, Stage

from .frames import StageFailedFrame, answering
from .phrase_model import UnknownWord, normalise_phrase, select_pronunciations
from .worker import EngineRequest, EngineWorker
from .worker_channel import Kind

SAMPLE_RATE_HZ = 16_000

# Decoding runs 3 to 10 times faster than real time and answers at least once a second; the last
# pass over a long utterance is one silent stretch of some 3 % of its length.
_DEADLINE_S = 10.0
_DEADLINE_SHARE = 0.2
_TYPICAL_FINAL_S = 0.3


class PocketsphinxProvider:
    """Speech to text without keys, network or downloads; English, of demonstration quality.

    Args:
        mode: `general` hears any English; `phrases` only the given phrases, but those well.
        phrases: For `phrases`: what may be said, numbers spelled out.
        workers: Most processes to use; the second starts when two people speak at once.
        language: Must be English.

    Raises:
        ConfigError: a language other than English, or `phrases` without phrases.
    """

    name: ClassVar[str] = "pocketsphinx"
    languages: frozenset[str] | None = frozenset({"en"})

    def __init__(
        self,
        *,
        mode: Literal["general", "phrases"] = "general",
        phrases: tuple[str, ...] = (),
        workers: int = 2,
        language: str = "en",
    ) -> None:
        if language.lower().replace("_", "-").split("-")[0] != "en":
            raise ConfigError(
                "STT_LANGUAGE", f"pocketsphinx understands English (en) only, not {language!r}"
            )
        self._phrases = tuple(filter(None, map(normalise_phrase, phrases)))
        self._mode = mode
        if mode == "phrases" and not self._phrases:
            raise ConfigError(
                "POCKETSPHINX_PHRASES", "POCKETSPHINX_MODE=phrases needs at least one phrase"
            )
        self._worker_count = max(workers, 1)
        self.workers: tuple[EngineWorker, ...] = ()

    def describe(self) -> str:
        if self._mode == "phrases":
            return f"pocketsphinx en-us, {len(self._phrases)} phrases"
        return "pocketsphinx en-us, general (English only, demonstration quality, runs offline)"

    async def start(self) -> None:
        configuration: dict[str, object] = {}
        dictionary = _find_dictionary()
        if self._mode == "phrases":
            configuration = {
                "phrases": self._phrases,
                "dictionary": await asyncio.to_thread(self._read_pronunciations, dictionary),
            }
        self.workers = tuple(
            EngineWorker(
                "providers.pocketsphinx_worker",
                stage=Stage.STT,
                label="pocketsphinx",
                configure=json.dumps(configuration).encode(),
            )
            for _ in range(self._worker_count)
        )
        # They load behind the start-up; an utterance that comes earlier waits in the pipe.
        for worker in self.workers:
            worker.start()

    async def close(self) -> None:
        await asyncio.gather(*(worker.close() for worker in self.workers))

    def create_service(self) -> PocketsphinxSTTService:
        return PocketsphinxSTTService(self._open_utterance)

    def _open_utterance(self, cepstral_mean: str | None) -> EngineRequest:
        if not self.workers:
            raise RuntimeError("PocketsphinxProvider.start() comes first")
        # Of equally busy ones the running process; but an idle one is worth starting.
        worker = min(
            self.workers, key=lambda worker: (worker.backing_off, worker.load, worker.pid is None)
        )
        return worker.open(json.dumps({"cepstral_mean": cepstral_mean}).encode())

    def _read_pronunciations(self, dictionary: Path) -> str:
        try:
            with dictionary.open(encoding="utf-8") as lines:
                return select_pronunciations(self._phrases, lines)
        except UnknownWord as error:
            raise ConfigError(
                "POCKETSPHINX_PHRASES",
                f"the dictionary has no word {error.word!r}; "
                "use words of the CMU dictionary, with numbers spelled out",
            ) from error


def _find_dictionary() -> Path:
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "STT_PROVIDER", "pocketsphinx needs the package pocketsphinx, which is not installed"
        )
    return Path(spec.submodule_search_locations[0]) / "model" / "en-us" / "cmudict-en-us.dict"


class _Segment:
    """One utterance on its way through a worker."""

    def __init__(self, name: str | None, request: EngineRequest) -> None:
        self.name = name
        self.request = request
        self.closed = asyncio.Event()
        self.audio_s = 0.0

    def feed(self, pcm: bytes) -> None:
        self.audio_s += len(pcm) / (2 * SAMPLE_RATE_HZ)
        self.request.send(Kind.INPUT, pcm)

    def close(self) -> None:
        self.request.send(Kind.FINISH)
        self.request.expect_answer(_DEADLINE_S + _DEADLINE_SHARE * self.audio_s)
        self.closed.set()

    def drop(self) -> None:
        self.request.cancel()
        self.closed.set()


class PocketsphinxSTTService(STTService):
    """One session's ear.

    Audio goes straight into the pipe of a worker; one task delivers the answers, segment by
    segment. A segment that is opened over an open one drops it: no answer is given.

    Args:
        open_utterance: Begins an utterance in the pool, given the session's cepstral mean.
    """

    def __init__(self, open_utterance: Callable[[str | None], EngineRequest]) -> None:
        super().__init__(
            audio_passthrough=False,
            sample_rate=SAMPLE_RATE_HZ,
            ttfs_p99_latency=_TYPICAL_FINAL_S,
            settings=STTSettings(model="en-us", language=Language.EN),
        )
        self._open_utterance = open_utterance
        self._cepstral_mean: str | None = None
        self._segment: _Segment | None = None
        self._segments: asyncio.Queue[_Segment] = asyncio.Queue()
        self._unanswered: set[_Segment] = set()
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
                self._open_segment(frame.metadata.get("segment"))
            case VADUserStoppedSpeakingFrame():
                if self._segment is not None:
                    self._segment.close()
                    self._segment = None
            case _:
                await super().process_frame(frame, direction)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        self._delivery = self.create_task(self._deliver_all(), name="pocketsphinx-delivery")

    async def stop(self, frame: EndFrame) -> None:
        self._drop_open_segment()
        await self._segments.join()
        await super().stop(frame)

    async def cancel(self, frame: CancelFrame) -> None:
        await self._abandon()
        await super().cancel(frame)

    async def cleanup(self) -> None:
        await self._abandon()
        await super().cleanup()

    def _open_segment(self, name: str | None) -> None:
        self._drop_open_segment()
        self._segment = _Segment(name, self._open_utterance(self._cepstral_mean))
        self._unanswered.add(self._segment)
        self._segments.put_nowait(self._segment)

    def _drop_open_segment(self) -> None:
        if self._segment is not None:
            self._segment.drop()
            self._segment = None

    async def _abandon(self) -> None:
        self._segment = None
        for segment in self._unanswered:
            segment.drop()
        if self._delivery is not None:
            await self.cancel_task(self._delivery)
            self._delivery = None

    async def _deliver_all(self) -> None:
        while True:
            segment = await self._segments.get()
            try:
                await self._deliver(segment)
            finally:
                self._unanswered.discard(segment)
                self._segments.task_done()

    async def _deliver(self, segment: _Segment) -> None:
        try:
            async for kind, payload in segment.request:
                match kind:
                    case Kind.PARTIAL:
                        partial = InterimTranscriptionFrame(
                            payload.decode(), "", time_now_iso8601(), Language.EN
                        )
                        await self.push_frame(answering(partial, segment.name))
                    case Kind.DONE:
                        answer = json.loads(payload)
                        self._cepstral_mean = answer["cepstral_mean"] or self._cepstral_mean
                        final = TranscriptionFrame(
                            answer["text"], "", time_now_iso8601(), Language.EN, finalized=True
                        )
                        await self.push_frame(answering(final, segment.name))
                    case _:
                        pass
        except ProviderError as error:
            # The answer belongs behind the segment's end, however early its worker went.
            await segment.closed.wait()
            failed = StageFailedFrame(error.stage, error.category, error.message)
            await self.push_frame(answering(failed, segment.name))
