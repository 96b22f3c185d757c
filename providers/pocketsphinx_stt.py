"""The embedded recogniser: pocketsphinx in a pool of worker processes shared by all sessions."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pipecat.transcriptions.language import Language

from protocol import ConfigError, Stage

from .phrase_model import UnknownWord, normalise_phrase, select_pronunciations
from .recognition import Recognition, along, log_probability
from .stt_service import BYTES_PER_S, SpeechSegment, TurnSTTService
from .worker import EngineRequest, EngineWorker
from .worker_channel import Kind

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

    def _open_utterance(self, cepstral_mean: str | None, words: bool) -> EngineRequest:
        if not self.workers:
            raise RuntimeError("PocketsphinxProvider.start() comes first")
        # Of equally busy ones the running process; but an idle one is worth starting.
        worker = min(
            self.workers, key=lambda worker: (worker.backing_off, worker.load, worker.pid is None)
        )
        return worker.open(json.dumps({"cepstral_mean": cepstral_mean, "words": words}).encode())

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


class _Segment(SpeechSegment):
    """One utterance on its way through a worker."""

    def __init__(self, metadata: Mapping[str, Any], request: EngineRequest) -> None:
        super().__init__(metadata)
        self.request = request
        self._audio_s = 0.0

    def feed(self, pcm: bytes) -> None:
        self._audio_s += len(pcm) / BYTES_PER_S
        self.request.send(Kind.INPUT, pcm)

    def close(self, settled_at: int | None = None) -> None:
        self.request.send(Kind.FINISH)
        self.request.expect_answer(_DEADLINE_S + _DEADLINE_SHARE * self._audio_s)
        super().close(settled_at)

    def drop(self) -> None:
        self.request.cancel()
        super().drop()


class PocketsphinxSTTService(TurnSTTService[_Segment]):
    """One session's ear; audio goes straight into the pipe of a worker.

    Args:
        open_utterance: Begins an utterance in the pool, given the session's cepstral mean, and
            whether the probability of each word is wanted.
    """

    def __init__(self, open_utterance: Callable[[str | None, bool], EngineRequest]) -> None:
        super().__init__(typical_final_s=_TYPICAL_FINAL_S, model="en-us", language=Language.EN)
        self._open_utterance = open_utterance
        self._cepstral_mean: str | None = None

    def open_segment(self, metadata: Mapping[str, Any]) -> _Segment:
        words = bool(metadata.get("logprobs"))
        return _Segment(metadata, self._open_utterance(self._cepstral_mean, words))

    async def recognise(self, segment: _Segment) -> Recognition | None:
        async for kind, payload in segment.request:
            match kind:
                case Kind.PARTIAL:
                    await self.tell(segment, Recognition(payload.decode()))
                case Kind.DONE:
                    answer = json.loads(payload)
                    self._cepstral_mean = answer["cepstral_mean"] or self._cepstral_mean
                    words = ((word, log_probability(share)) for word, share in answer["words"])
                    return Recognition(answer["text"], along(answer["text"], words))
                case _:
                    pass
        return None
