"""What goes to Deepgram and comes back: segments of speech, and the stream that carries them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from protocol import ProviderError

from .deepgram_wire import CLOSE_STREAM, Heard, Transcript, read_message
from .stt_service import BYTES_PER_S, SpeechSegment
from .vendor_socket import VendorSocket

_FAREWELL_S: Final = 0.5


class Segment(SpeechSegment):
    """One stretch of speech; its audio is kept until it has its transcript."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__(metadata)
        self.audio = bytearray()
        # Its own: audio of the next segment must not extend the wait for this one's answer.
        self.news = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return self.closed.is_set() and not self.audio

    def feed(self, pcm: bytes) -> None:
        self.audio += pcm
        self.news.set()

    def settle(self, pause: int) -> None:
        super().settle(pause)
        self.news.set()

    def close(self, settled_at: int | None = None) -> None:
        super().close(settled_at)
        self.news.set()

    def drop(self) -> None:
        super().drop()
        self.news.set()


@dataclass(slots=True)
class Question:
    """What was last asked of Deepgram for a segment: to decide all words by now (`Finalize`).

    Attributes:
        pause: The pause it was asked in.
        final: It was asked at the end.
    """

    pause: int | None = None
    final: bool = False
    _open: bool = False
    _until_s: float = 0.0
    _unanswered: int = 0

    def is_due(self, segment: Segment) -> bool:
        """Whether to ask now."""
        if segment.closed.is_set():
            return not self.final
        return segment.pause is not None and segment.pause != self.pause

    def put(self, segment: Segment, position_s: float) -> None:
        """It is asked, at this position of the stream."""
        self.pause, self.final = segment.pause, segment.closed.is_set()
        self._open, self._until_s = True, position_s
        self._unanswered += 1

    def is_answered(self, finalizes: bool, transcript: Transcript) -> bool:
        """Take an answer; says whether all is decided that was asked for, once.

        When speech goes on behind a pause, the answer to that pause is none to the next question.
        """
        if finalizes:
            self._unanswered -= 1
        last = finalizes and self._unanswered <= 0
        if not self._open or not (last or transcript.is_complete(self._until_s)):
            return False
        self._open = False
        return True

    def has_settled(self, segment: Segment) -> bool:
        """Whether the segment ended in a pause up to which all was decided."""
        in_pause = segment.pause is not None and segment.pause == self.pause
        return segment.closed.is_set() and in_pause and not self._open


class Stream:
    """An open stream to Deepgram and what has come from it."""

    def __init__(self, socket: VendorSocket, first: Segment, answer_s: float) -> None:
        self._language = first.language
        self._speakers = first.speakers
        self.failure: ProviderError | None = None
        self.heard: deque[Heard] = deque()
        self.news = asyncio.Event()
        self._socket = socket
        self._answer_s = answer_s
        self._sent_bytes = 0

    def suits(self, segment: Segment) -> bool:
        """Whether it was opened for what the segment needs."""
        return (segment.language, segment.speakers) == (self._language, self._speakers)

    @property
    def position_s(self) -> float:
        """How much audio the stream has had."""
        return self._sent_bytes / BYTES_PER_S

    async def listen(self) -> None:
        """Collect what comes until the stream ends."""
        try:
            while True:
                heard = read_message(await self._socket.receive())
                if heard is not None:
                    self.heard.append(heard)
                    self.news.set()
        except ProviderError as failure:
            self.failure = failure
            self.news.set()

    async def send_audio(self, pcm: bytes) -> None:
        await self._socket.send(pcm, timeout_s=self._answer_s)
        self._sent_bytes += len(pcm)

    async def send(self, message: dict[str, str]) -> None:
        await self._socket.send(message, timeout_s=self._answer_s)

    async def close(self) -> None:
        try:
            with suppress(ProviderError):
                await self._socket.send(CLOSE_STREAM, timeout_s=_FAREWELL_S)
        finally:
            await self._socket.close()

    def abort(self) -> None:
        self._socket.abort()


class Standstill:
    """Tells how long a stream has made no progress, whatever it sends meanwhile."""

    def __init__(self) -> None:
        self._position_s = -1.0
        self._since_s = 0.0

    def lasts_s(self, position_s: float) -> float:
        """How long the position has been the same; counts from the first call."""
        now_s = time.monotonic()
        if position_s > self._position_s:
            self._position_s, self._since_s = position_s, now_s
        return now_s - self._since_s
