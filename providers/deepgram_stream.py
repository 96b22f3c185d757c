"""What goes to Deepgram and comes back: segments of speech, and the stream that carries them."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

from protocol import ProviderError

from .deepgram_wire import BYTES_PER_S, CLOSE_STREAM, Heard, read_message
from .vendor_socket import VendorSocket

_FAREWELL_S: Final = 0.5


class Segment:
    """One stretch of speech; its audio is kept until it has its transcript."""

    def __init__(self, name: str | None, language: str | None) -> None:
        self.name = name
        self.language = language
        self.audio = bytearray()
        self.closed = asyncio.Event()
        self.dropped = False
        # Its own: audio of the next segment must not extend the wait for this one's answer.
        self.news = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return self.closed.is_set() and not self.audio

    def feed(self, pcm: bytes) -> None:
        self.audio += pcm
        self.news.set()

    def close(self) -> None:
        self.closed.set()
        self.news.set()

    def drop(self) -> None:
        self.dropped = True
        self.close()


class Stream:
    """An open stream to Deepgram and what has come from it."""

    def __init__(self, socket: VendorSocket, language: str | None, answer_s: float) -> None:
        self.language = language
        self.failure: ProviderError | None = None
        self.heard: deque[Heard] = deque()
        self.news = asyncio.Event()
        self._socket = socket
        self._answer_s = answer_s
        self._sent_bytes = 0

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
