"""One recorded turn held with a session inside the process, answered in text.

It speaks to the session as a client on a socket would, in typed events; it knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from conversation_store import Said
from protocol import (
    ClientEvent,
    Disconnected,
    ErrorEvent,
    Failed,
    InputAudioAppend,
    InputAudioCommit,
    InputText,
    ItemCreate,
    Message,
    OutputText,
    OutputTextDelta,
    ResponseCreate,
    ResponseDone,
    ServerEvent,
    SessionUpdate,
    TranscriptionCompleted,
)

logger = logging.getLogger("realtime.turn")

_SESSION = {
    "type": "realtime",
    "output_modalities": ["text"],
    "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}},
}
_BUG = Failed("server_error", "server_error", "The server had an error while processing the turn.")
_ENDED = Failed("server_error", "session_ended", "The session ended before the turn was answered.")


@dataclass(frozen=True, slots=True)
class Heard:
    """What the user was understood to say."""

    transcript: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The next piece of the answer."""

    delta: str


@dataclass(frozen=True, slots=True)
class Turn:
    """How a turn went: what belongs into the history, and what went wrong."""

    said: tuple[Said, ...]
    failure: Failed | None


class _PlainCodec:
    """Passes audio on: it is s16le mono 24 kHz already."""

    def to_pcm(self, append: InputAudioAppend) -> InputAudioAppend:
        return append

    def set_input(self, format_type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]) -> None:
        assert format_type == "audio/pcm"

    def reset(self) -> None:
        """Nothing is carried over."""


class LocalConnection:
    """A session's `ClientConnection` without a socket: it sends a script, then it listens.

    Args:
        script: The client's events in their order.
    """

    def __init__(self, script: Sequence[ClientEvent]) -> None:
        self.codec = _PlainCodec()
        self.dialect = "ga"
        self.outbox_bytes = 0
        self._script = deque(script)
        self._hung_up = asyncio.Event()
        self._events: asyncio.Queue[ServerEvent | None] = asyncio.Queue()

    async def receive(self) -> ClientEvent:
        """The next event of the script; after the last, `Disconnected` once somebody hangs up."""
        if self._script:
            return self._script.popleft()
        await self._hung_up.wait()
        raise Disconnected(1000)

    def send(self, event: ServerEvent) -> None:
        """Keep an event for `next`."""
        self._events.put_nowait(event)

    async def write_forever(self) -> None:
        """Events are delivered as they are sent; wait until cancelled."""
        await asyncio.Event().wait()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """The session is over, by its own doing or not."""
        self._events.put_nowait(None)

    def hang_up(self) -> None:
        """End the session, as a client does."""
        self._hung_up.set()

    async def next(self) -> ServerEvent | None:
        """What the session sent next; None once it is over."""
        return await self._events.get()


async def hold_turn(
    pcm: bytes,
    history: Sequence[Said],
    run_session: Callable[[LocalConnection], Awaitable[None]],
    emit: Callable[[Heard | Answered], Awaitable[None]],
) -> Turn:
    """Hold one turn in a session of its own, and end the session.

    Args:
        pcm: What the user says, s16le mono 24 kHz, at least 100 ms.
        history: What was said before.
        run_session: Runs a session over a connection until it ends.
        emit: Takes what is heard and answered, as it comes.
    """
    connection = LocalConnection(
        [
            SessionUpdate(_SESSION),
            *(ItemCreate(_message(entry)) for entry in history),
            InputAudioAppend(pcm),
            InputAudioCommit(),
            ResponseCreate(),
        ]
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_run(connection, run_session), name="session of a recorded turn")
        try:
            return await _follow(connection, emit)
        finally:
            connection.hang_up()


def _message(said: Said) -> Message:
    words = OutputText(said.text) if said.role == "assistant" else InputText(said.text)
    # Without an id the session gives it one.
    return Message("", said.role, "completed", (words,))


async def _run(
    connection: LocalConnection, run_session: Callable[[LocalConnection], Awaitable[None]]
) -> None:
    try:
        await run_session(connection)
    except Exception:
        logger.exception("the session of a recorded turn ended by a bug")
        connection.send(ErrorEvent(_BUG.type, _BUG.code, _BUG.message))
    finally:
        await connection.close()


async def _follow(
    connection: LocalConnection, emit: Callable[[Heard | Answered], Awaitable[None]]
) -> Turn:
    heard = answer = ""
    failure: Failed | None = None
    while True:
        match await connection.next():
            case TranscriptionCompleted(transcript=heard):
                await emit(Heard(heard))
                continue
            case OutputTextDelta(delta=delta):
                answer += delta
                await emit(Answered(delta))
                continue
            case ErrorEvent(error_type, code, message):
                failure = Failed(error_type, code or error_type, message)
            case ResponseDone(response):
                if isinstance(response.status_details, Failed):
                    failure = response.status_details
            case None:
                failure = _ENDED
            case _:
                continue
        said = (Said("user", heard.strip()), Said("assistant", answer.strip()))
        return Turn(tuple(entry for entry in said if entry.text), failure)
