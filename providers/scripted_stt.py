"""Scripted recognition as a provider: the n-th segment of a session gets the n-th transcript."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, ClassVar

from pipecat.services.stt_service import STTService

from audio_utils import iter_chunks
from core.messages import Passage
from protocol import ConfigError, TokenLogprob

from .recognition import Recognition, along
from .script import Latency, SpokenTurn
from .stt_service import BYTES_PER_S
from .utterance_stt import UtteranceSegment, UtteranceSTTService
from .words import tokens

Sleep = Callable[[float], Awaitable[None]]

_INTERIM_BYTES = BYTES_PER_S // 4
"""Audio per word of the growing hypothesis: 250 ms."""


class ScriptedSttProvider:
    """Hears nothing; tells its transcripts one after the other, over and over.

    Args:
        transcripts: What the segments of a session say, in their order.
        latency: `stt_final_ms`, its jitter and `stt_interim_ms` are of interest.
        seed: Where the jitter comes from.
        sleep: How time passes; tests run at speed 0.
    """

    name: ClassVar[str] = "scripted"
    languages: frozenset[str] | None = None

    def __init__(
        self,
        transcripts: Sequence[str | SpokenTurn],
        latency: Latency | None = None,
        seed: int = 0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._transcripts = tuple(
            SpokenTurn(text=told) if isinstance(told, str) else told for told in transcripts
        )
        self._latency = latency or Latency()
        self._seed = seed
        self._sleep = sleep

    def describe(self) -> str:
        return f"scripted: no recognition, tells {len(self._transcripts)} transcripts in turn"

    async def start(self) -> None:
        """Check that there is something to tell.

        Raises:
            ConfigError: the script has no transcripts.
        """
        if not self._transcripts:
            raise ConfigError(
                "SCRIPT_FILE", "STT_PROVIDER=scripted needs a script with a `transcripts` list"
            )

    async def close(self) -> None:
        """Nothing to release."""

    def create_service(self) -> STTService:
        random = Random(self._seed)
        return _ScriptedSttService(self._transcripts, self._latency, random, self._sleep)


class _Segment(UtteranceSegment):
    """One segment: what it will say, and how much of that has been heard."""

    def __init__(self, metadata: Mapping[str, Any], turn: SpokenTurn, lag_ms: int) -> None:
        super().__init__(metadata)
        self._turn = turn
        self._lag_bytes = lag_ms * BYTES_PER_S // 1000
        self._tokens = tokens(turn.text)
        self._heard_bytes = 0
        self._known = 0

    @property
    def hypothesis(self) -> Recognition:
        """What has been heard so far."""
        text = "".join(self._tokens[: self._known]).strip()
        return Recognition(text, self._logprobs(text, self._known))

    @property
    def recognition(self) -> Recognition:
        """All that there is to say."""
        turn = self._turn
        said = tuple(Passage(p.text, p.speaker, p.start, p.end) for p in turn.speakers)
        logprobs = self._logprobs(turn.text, len(self._tokens))
        return Recognition(turn.text, logprobs, said if self.speakers else ())

    def _logprobs(self, text: str, known: int) -> tuple[TokenLogprob, ...]:
        if not self.logprobs or self._turn.logprobs is None:
            return ()
        words = (token.strip() for token in self._tokens[:known])
        return along(text, zip(words, self._turn.logprobs, strict=False))

    def feed(self, pcm: bytes) -> None:
        """Hear one more word for each 250 ms of audio."""
        self._heard_bytes += len(pcm)
        understood_bytes = max(self._heard_bytes - self._lag_bytes, 0)
        self._known = min(understood_bytes // _INTERIM_BYTES, len(self._tokens))


class _ScriptedSttService(UtteranceSTTService[_Segment]):
    frame_ms = _INTERIM_BYTES * 1000 // BYTES_PER_S

    def __init__(
        self, transcripts: tuple[SpokenTurn, ...], latency: Latency, random: Random, sleep: Sleep
    ) -> None:
        super().__init__(typical_final_s=latency.stt_final_ms / 1000)
        self._transcripts = transcripts
        self._latency = latency
        self._random = random
        self._sleep = sleep
        self._told = -1
        self._latest: _Segment | None = None

    def open_segment(self, metadata: Mapping[str, Any]) -> _Segment:
        if self._latest is None or not self._latest.dropped:
            self._told += 1
        turn = self._transcripts[self._told % len(self._transcripts)]
        self._latest = _Segment(metadata, turn, self._latency.stt_interim_ms)
        return self._latest

    async def hear(self, segment: _Segment, pcm: bytes) -> None:
        # Word by word, however the audio was cut up: clients get the same deltas each time.
        for piece in iter_chunks(pcm, _INTERIM_BYTES):
            before = segment.hypothesis
            segment.feed(piece)
            if segment.hypothesis != before:
                await self.tell(segment, segment.hypothesis)

    async def transcribe(self, segment: _Segment) -> Recognition:
        jitter = 1 + self._latency.jitter * self._random.uniform(-1, 1)
        if self._latency.stt_final_ms:
            await self._sleep(self._latency.stt_final_ms / 1000 * jitter)
        return segment.recognition
