"""A raw client of one connection: every event it receives goes through the oracle.

It waits for events by their GA names in either dialect, and raises `Failed` when they do not come.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from conformance.audio import BYTES_PER_MS, silence
from conformance.names import fields, ga_type, named
from conformance.oracle import Dialect, Oracle, WireEvent
from conformance.registry import Failed, expect

Where = Callable[[WireEvent], bool]

MAX_DELTA_BYTES = 1024 * 1024
"""openai-python up to 3.20 keeps the `websockets` default and closes with 1009 above it."""
MAX_FRAME_BYTES = 4 * 1024 * 1024
"""LiveKit's client refuses larger frames."""
_APPEND_MS = 100
_MICROPHONE_MS = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How the client deals with time.

    Attributes:
        timeout_s: How long an answer may take.
        settle_s: How long silence lasts before "nothing comes" is believed.
        realtime: Speech is sent at the pace of a microphone, else as fast as the socket takes it.
    """

    timeout_s: float = 15.0
    settle_s: float = 1.0
    realtime: bool = True


@dataclass(frozen=True, slots=True)
class LoggedFrame:
    """One frame of a connection: who sent it, and its text (or bytes)."""

    sender: Literal["client", "server"]
    frame: str | bytes


@dataclass(slots=True)
class Reply:
    """One response from `response.created` to `response.done`.

    Attributes:
        created: The response object of `response.created`.
        final: That of `response.done`.
        events: All its events.
    """

    created: WireEvent
    final: WireEvent
    events: list[WireEvent] = field(default_factory=list[WireEvent])

    @property
    def id(self) -> str:
        return str(self.created.get("id"))

    def of(self, ga_name: str) -> list[WireEvent]:
        """Its events of one type, under the GA name."""
        return [event for event in self.events if ga_type(event) == ga_name]

    @property
    def audio_bytes(self) -> int:
        """Length of the audio it carried, decoded."""
        deltas = self.of("response.output_audio.delta")
        return sum(len(base64.b64decode(str(event.get("delta")))) for event in deltas)


class Client:
    """A connection under test; make one with `open_client`."""

    def __init__(self, socket: ClientConnection, oracle: Oracle, pace: Pace) -> None:
        self.socket = socket
        self.oracle = oracle
        self.pace = pace
        self.events: list[WireEvent] = []
        self.log: list[LoggedFrame] = []
        self.appended_bytes = 0
        self._taken: set[int] = set()
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()
        self._ended = False
        self._reader = asyncio.create_task(self._read(), name="conformance reader")

    @property
    def dialect(self) -> Dialect:
        return self.oracle.dialect

    # --- sending

    async def send(self, event: WireEvent) -> str:
        """Send one client event; it gets an `event_id` unless it has one, which is returned."""
        event = {"event_id": f"check_{next(self._numbers)}", **event}
        self.oracle.client(event)
        await self.send_raw(json.dumps(event, ensure_ascii=False))
        return event["event_id"]

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a frame as it is, valid or not."""
        self.log.append(LoggedFrame("client", frame))
        try:
            await self.socket.send(frame)
        except ConnectionClosed as closed:
            raise Failed(f"The server closed the connection ({_close_of(closed)}).") from None

    async def update(self, **flat: Any) -> str:
        """`session.update` with flat names."""
        session = fields(self.dialect, **flat)
        if self.dialect == "ga":
            session = {"type": "realtime", **session}
        return await self.send({"type": "session.update", "session": session})

    async def configure(self, **flat: Any) -> WireEvent:
        """`session.update` with flat names; returns the session that came back."""
        await self.update(**flat)
        event = await self.wait("session.updated", "error")
        expect(event["type"] == "session.updated", "A valid session.update was refused.", event)
        return event.get("session", {})

    async def add(self, item: WireEvent, **more: Any) -> WireEvent:
        """`conversation.item.create`; returns the item that joined the conversation."""
        return (await self.add_event(item, **more))["item"]

    async def add_event(self, item: WireEvent, **more: Any) -> WireEvent:
        """As `add`, returning the whole `conversation.item.added` (beta `created`)."""
        await self.send({"type": "conversation.item.create", "item": item, **more})
        event = await self.wait("conversation.item.added", "error", where=self._not_output)
        expect(event["type"] != "error", "A valid conversation.item.create was refused.", event)
        expect(isinstance(event.get("item"), dict), "The event carries no item.", event)
        return event

    async def say(self, text: str, **more: Any) -> WireEvent:
        """Add a typed user message."""
        content = [{"type": "input_text", "text": text}]
        return await self.add({"type": "message", "role": "user", "content": content}, **more)

    async def create(self, **flat: Any) -> str:
        """`response.create`, with overrides under flat names."""
        response = fields(self.dialect, **flat)
        return await self.send(
            {"type": "response.create", **({"response": response} if response else {})}
        )

    async def respond(self, **flat: Any) -> Reply:
        """`response.create` to its end."""
        await self.create(**flat)
        event = await self.wait("response.created", "error")
        expect(event["type"] != "error", "A valid response.create was refused.", event)
        return await self.reply_to(event)

    async def ask(self, text: str, **flat: Any) -> Reply:
        """A whole typed turn."""
        await self.say(text)
        return await self.respond(**flat)

    async def append(self, audio: bytes) -> None:
        """One `input_audio_buffer.append`."""
        self.appended_bytes += len(audio)
        encoded = base64.b64encode(audio).decode()
        await self.send({"type": "input_audio_buffer.append", "audio": encoded})

    async def stream(self, audio: bytes, *, bytes_per_ms: int = BYTES_PER_MS) -> None:
        """Append audio in chunks, at the run's pace."""
        loop = asyncio.get_running_loop()
        start_s, sent_bytes = loop.time(), 0
        chunk_ms = _MICROPHONE_MS if self.pace.realtime else _APPEND_MS
        for chunk in _chunks(audio, chunk_ms * bytes_per_ms):
            sent_bytes += len(chunk)
            if self.pace.realtime:
                await asyncio.sleep(start_s + sent_bytes / bytes_per_ms / 1000 - loop.time())
            await self.append(chunk)

    async def speak(self, pcm: bytes, *, after_ms: int = 1200) -> None:
        """An utterance between two silences, so that turn detection sees its ends."""
        await self.stream(silence(200) + pcm + silence(after_ms))

    # --- receiving

    def of(self, *ga_names: str) -> list[WireEvent]:
        """All events of these types so far, by their GA names."""
        return [event for event in self.events if ga_type(event) in ga_names]

    def place(self, event: WireEvent) -> int:
        """Where an event stands among all events."""
        return next(index for index, known in enumerate(self.events) if known is event)

    async def wait(
        self, *ga_names: str, where: Where | None = None, timeout_s: float | None = None
    ) -> WireEvent:
        """The first event of one of these types that no wait has returned yet.

        Raises:
            Failed: It did not come in time, or the connection ended.
        """
        limit_s = self.pace.timeout_s if timeout_s is None else timeout_s
        wanted = " or ".join(named(self.dialect, name) for name in ga_names)
        next_index = 0
        try:
            async with asyncio.timeout(limit_s), self._changed:
                while True:
                    for index in range(next_index, len(self.events)):
                        event = self.events[index]
                        fits = ga_type(event) in ga_names and (where is None or where(event))
                        if fits and index not in self._taken:
                            self._taken.add(index)
                            return event
                    next_index = len(self.events)
                    if self._ended:
                        reason = f"{self.socket.close_code} {self.socket.close_reason}".strip()
                        raise Failed(f"The connection ended ({reason}) instead of {wanted}.")
                    await self._changed.wait()
        except TimeoutError:
            raise Failed(
                f"No {wanted} within {limit_s:g} s; the last events were: {self._tail()}.",
                next((event for event in reversed(self.events) if event["type"] == "error"), None),
            ) from None

    async def reply_to(self, created: WireEvent) -> Reply:
        """The rest of a response whose `response.created` has come."""
        response_id = _response_id(created)
        done = await self._done(response_id)
        events = [event for event in self.events if _response_id(event) == response_id]
        return Reply(created["response"], done["response"], events)

    async def next_reply(self) -> Reply:
        """The next response, whoever asked for it."""
        return await self.reply_to(await self.wait("response.created"))

    async def refused(self, sending: Awaitable[object]) -> WireEvent:
        """Send something; gives the `error` that answers it. The session must live on.

        Which event it names is the matter of one check, not of every check that meets an error.
        """
        await sending
        event = await self.wait("error")
        await self.lives()
        return _error(event)

    async def lives(self) -> None:
        """The session still answers; by then it has taken all it was sent before."""
        await self.send({"type": "input_audio_buffer.clear"})
        await self.wait("input_audio_buffer.cleared")

    async def quiet(self, *ga_names: str, where: Where | None = None) -> None:
        """Nothing of these types comes.

        Raises:
            Failed: It did.
        """
        try:
            event = await self.wait(*ga_names, where=where, timeout_s=self.pace.settle_s)
        except Failed:
            return
        raise Failed(f"{event['type']} came, where nothing of the kind should.", event)

    # --- closing

    async def drain(self) -> None:
        """Let the server end what it began, so that what it never ends can be told."""
        if not self.of("session.created"):
            return
        with suppress(Failed):
            await self.lives()
            open_ids = {_response_id(event) for event in self.of("response.created")}
            open_ids -= {_response_id(event) for event in self.of("response.done")}
            for response_id in sorted(filter(None, open_ids)):
                await self.send({"type": "response.cancel", "response_id": response_id})
                await self.wait(
                    "response.done", where=lambda e, i=response_id: _response_id(e) == i
                )
            if open_ids:
                await self.lives()

    async def disconnect(self) -> None:
        """Close the connection and end the reader."""
        await self.socket.close()
        await self._reader

    async def wait_closed(self) -> tuple[int | None, str | None]:
        """Close code and reason, once the server has closed the connection.

        Raises:
            Failed: It has not, in time.
        """
        try:
            async with asyncio.timeout(self.pace.timeout_s):
                await asyncio.shield(self._reader)
        except TimeoutError:
            raise Failed("The server did not close the connection.") from None
        return self.socket.close_code, self.socket.close_reason

    async def _done(self, response_id: str | None) -> WireEvent:
        return await self.wait("response.done", where=lambda e: _response_id(e) == response_id)

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                self._take(await self.socket.recv())
                async with self._changed:
                    self._changed.notify_all()
        self._ended = True
        async with self._changed:
            self._changed.notify_all()

    def _take(self, frame: str | bytes) -> None:
        self.log.append(LoggedFrame("server", frame))
        event = _parsed(frame)
        if event is None:
            self.oracle.reject(f"frames: not a text frame with a JSON object: {frame[:80]!r}")
            return
        limit = MAX_DELTA_BYTES if str(event.get("type")).endswith(".delta") else MAX_FRAME_BYTES
        if len(frame) > limit:
            self.oracle.reject(f"frames: {event.get('type')} of {len(frame)} bytes")
        self.oracle.server(event)
        self.events.append({"type": None, **event})

    def _tail(self) -> str:
        runs = itertools.groupby(str(event["type"]) for event in self.events)
        return ", ".join([kind for kind, _ in runs][-6:]) or "none at all"

    def _not_output(self, event: WireEvent) -> bool:
        """Whether an event is an error, or an item that no response has made."""
        if event["type"] == "error":
            return True
        item_id = event.get("item", {}).get("id")
        outputs = self.of("response.output_item.added")
        return all(output.get("item", {}).get("id") != item_id for output in outputs)


@asynccontextmanager
async def open_client(
    url: str,
    dialect: Dialect,
    pace: Pace,
    *,
    api_key: str | None = None,
    subprotocols: Sequence[str] | None = None,
    headers: dict[str, str] | None = None,
) -> AsyncGenerator[Client]:
    """Connect with the dialect's usual marker: subprotocol for GA, header for beta.

    Args:
        url: With its query.
        dialect: What the server is to speak.
        pace: How long to wait.
        api_key: Sent as a Bearer token.
        subprotocols: Instead of the usual ones.
        headers: Instead of the usual ones, the key excepted.

    Raises:
        Failed: The handshake did not succeed.
    """
    if headers is None:
        headers = {"OpenAI-Beta": "realtime=v1"} if dialect == "beta" else {}
    if subprotocols is None:
        subprotocols = ["realtime"] if dialect == "ga" else []
    if api_key is not None:
        headers = {**headers, "Authorization": f"Bearer {api_key}"}
    try:
        socket = await connect(
            url,
            additional_headers=headers,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            max_size=None,
            compression=None,
            open_timeout=pace.timeout_s,
            close_timeout=pace.timeout_s,
        )
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise Failed(f"The WebSocket handshake failed: {error}.") from None
    client = Client(socket, Oracle(dialect), pace)
    try:
        yield client
    finally:
        await client.disconnect()


def _error(event: WireEvent) -> WireEvent:
    error = event.get("error")
    return error if isinstance(error, dict) else {}


def _response_id(event: WireEvent) -> str | None:
    response = event.get("response")
    return response.get("id") if isinstance(response, dict) else event.get("response_id")


def _parsed(frame: str | bytes) -> WireEvent | None:
    if isinstance(frame, bytes):
        return None
    try:
        event = json.loads(frame)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _close_of(closed: ConnectionClosed) -> str:
    return f"{closed.rcvd.code} {closed.rcvd.reason}".strip() if closed.rcvd else "without a reason"


def _chunks(audio: bytes, chunk_bytes: int) -> Iterator[bytes]:
    for start in range(0, len(audio), chunk_bytes):
        yield audio[start : start + chunk_bytes]
