"""The frames between the server and an engine process, with the engine's end of the pipe.

One frame is `u32 payload length | u8 kind | u32 request id | payload`, little endian. Standard
library only: an engine process must start fast and stay small.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from dataclasses import dataclass
from enum import IntEnum, unique
from queue import Empty, SimpleQueue
from typing import BinaryIO

HEADER = struct.Struct("<IBI")

BOOT_REQUEST = 0
"""The id under which an engine says that it is `READY` (or `FAILED` for good)."""


@unique
class Kind(IntEnum):
    """What a frame means; payloads are UTF-8 JSON unless said otherwise."""

    # server → engine
    CONFIGURE = 1
    """Once, first: settings of the whole engine (under `BOOT_REQUEST`)."""
    OPEN = 2
    """A request begins."""
    INPUT = 3
    """More s16le PCM for it."""
    FINISH = 4
    """Its input is complete."""
    CANCEL = 5
    """No further answer to it is wanted."""

    # engine → server
    READY = 16
    """The engine has loaded; ends the `BOOT_REQUEST`."""
    PROGRESS = 17
    """A sign of life during long work; empty."""
    PARTIAL = 18
    """The hypothesis so far, plain UTF-8."""
    WORDS = 19
    """Word times: a list of `[start, end, start_ms]`."""
    PCM = 20
    """s16le PCM."""
    DONE = 21
    """The request is served."""
    FAILED = 22
    """The request cannot be served; why, as plain UTF-8."""


LAST_KINDS = frozenset({Kind.READY, Kind.DONE, Kind.FAILED})


def encode_frame(kind: Kind, request_id: int, payload: bytes = b"") -> bytes:
    """One frame, ready for the pipe."""
    return HEADER.pack(len(payload), kind, request_id) + payload


@dataclass(frozen=True, slots=True)
class Message:
    """A frame as the engine received it."""

    kind: Kind
    request_id: int
    payload: bytes


class EngineChannel:
    """The engine's end: a blocking inbox fed by a reader thread, and `send`.

    Takes over the process: file descriptor 1 points at stderr from here on, because native
    libraries print to it; SIGINT and SIGTERM are ignored, because Ctrl-C and service managers
    signal the whole process group while the server decides when its engines go; and the process
    exits the moment the server's end of the pipe closes, whatever the main thread is doing.
    """

    def __init__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._output: BinaryIO = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._read, name="server-pipe", daemon=True).start()

    def receive(self, *, timeout_s: float | None) -> Message | None:
        """The next message, or None when none comes in time; a timeout of None waits for one.

        A request's `CANCEL` is reported here too, in its place, and forgotten then.
        """
        try:
            message = self._inbox.get(timeout=timeout_s)
        except Empty:
            return None
        if message.kind is Kind.CANCEL:
            self._cancelled.discard(message.request_id)
        return message

    def is_cancelled(self, request_id: int) -> bool:
        """Whether a `CANCEL` waits in the inbox: to be asked in the middle of long work."""
        return request_id in self._cancelled

    def send(self, kind: Kind, request_id: int, payload: bytes = b"") -> None:
        """Write one frame; called by the main thread only."""
        try:
            self._output.write(encode_frame(kind, request_id, payload))
            self._output.flush()
        except BrokenPipeError:
            os._exit(0)

    def _read(self) -> None:
        with os.fdopen(0, "rb", closefd=False) as pipe:
            while header := pipe.read(HEADER.size):
                if len(header) < HEADER.size:
                    break
                length, kind, request_id = HEADER.unpack(header)
                message = Message(Kind(kind), request_id, pipe.read(length))
                if message.kind is Kind.CANCEL:
                    self._cancelled.add(request_id)
                self._inbox.put(message)
        # Not sys.exit: the main thread may be inside a native call that never returns.
        os._exit(0)
