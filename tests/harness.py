"""End-to-end tools: the gateway on a real socket, and a raw client whose every frame is judged."""

from __future__ import annotations

import asyncio
import base64
import inspect
import itertools
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import uvicorn
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

import main
from tests.oracle import Dialect, Oracle, WireEvent

Where = Callable[[WireEvent], bool]
BYTES_PER_MS = 48
"""Of s16le mono at 24 kHz."""

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_MAX_FRAME_BYTES = 4 * 1024 * 1024
"""LiveKit's client refuses larger frames."""
_MAX_DELTA_BYTES = 1024 * 1024
"""openai-python up to 3.20 keeps the `websockets` default and closes with 1009 above it."""
_START_TIMEOUT_S = 60


# --- the server -----------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """uvicorn inside a test's event loop: it reports readiness and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            # uvicorn leaves the process; inside a task that would end the whole test run.
            raise RuntimeError("the application did not start: see its log") from None
        self.ready.set()


@asynccontextmanager
async def running_server(app_or_factory: Any, **overrides: Any) -> AsyncGenerator[int]:
    """Serve an application on a free port of 127.0.0.1, set up as `main.py` does.

    Args:
        app_or_factory: An ASGI application, or a function without parameters that makes one.
        overrides: Further `uvicorn.Config` settings, such as a certificate.

    Yields:
        The port.
    """
    app = app_or_factory() if _is_factory(app_or_factory) else app_or_factory
    settings: dict[str, Any] = {
        "lifespan": "on",
        "ws": "websockets-sansio",
        "ws_max_size": _MAX_MESSAGE_BYTES,
        "ws_per_message_deflate": False,
        "log_config": None,
        "timeout_graceful_shutdown": 5,
    }
    server = _Server(uvicorn.Config(app, **(settings | overrides)))
    with main.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="uvicorn")
        ready = asyncio.create_task(server.ready.wait(), name="uvicorn ready")
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            yield port
        finally:
            if not server.ready.is_set():
                serving.cancel()
            server.should_exit = True
            ready.cancel()
            await asyncio.wait({serving, ready})
            if not serving.cancelled():
                serving.result()


def _is_factory(app_or_factory: Any) -> bool:
    """An ASGI application cannot be called without its three arguments; a factory can."""
    parameters = inspect.signature(app_or_factory).parameters.values()
    return all(parameter.default is not parameter.empty for parameter in parameters)


def realtime_url(port: int, *, path: str = "/v1/realtime", scheme: str = "ws", **query: str) -> str:
    """Where a local gateway serves the Realtime WebSocket; `model` is added unless given."""
    return f"{scheme}://127.0.0.1:{port}{path}?{urlencode({'model': 'gpt-realtime', **query})}"


# --- the client -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """One server event and when it came.

    Attributes:
        at_s: `time.monotonic()` on arrival.
    """

    at_s: float
    event: WireEvent


@dataclass(frozen=True, slots=True)
class Spoken:
    """Where one utterance lies in the client's input stream.

    Attributes:
        start_ms: First sample of the utterance, counted from the first append of the session.
        end_ms: The sample after its last.
        ended_at_s: `time.monotonic()` when its last sample had been sent.
    """

    start_ms: float
    end_ms: float
    ended_at_s: float


@dataclass(slots=True)
class CollectedResponse:
    """One response, put together from its events, of either dialect.

    Attributes:
        created: `response.created`'s object.
        final: `response.done`'s object.
        text: Concatenated text deltas.
        transcript: Concatenated transcript deltas of the spoken output.
        audio: Concatenated audio, in the session's output format.
        calls: The finished `function_call` items.
        received: All its events with their times, `created` and `done` included.
    """

    created: WireEvent
    final: WireEvent = field(default_factory=dict[str, Any])
    text: str = ""
    transcript: str = ""
    audio: bytes = field(default=b"", repr=False)
    calls: list[WireEvent] = field(default_factory=list[WireEvent])
    received: list[Received] = field(default_factory=list[Received], repr=False)

    @property
    def id(self) -> str:
        return self.created["id"]

    @property
    def status(self) -> str:
        return self.final["status"]

    def first_at_s(self, *suffixes: str) -> float:
        """When the first event came whose type ends so, e.g. `audio.delta`."""
        return next(r.at_s for r in self.received if r.event["type"].endswith(suffixes))

    def _take(self, received: Received) -> None:
        event = received.event
        self.received.append(received)
        match event["type"]:
            case "response.output_text.delta" | "response.text.delta":
                self.text += event["delta"]
            case "response.output_audio_transcript.delta" | "response.audio_transcript.delta":
                self.transcript += event["delta"]
            case "response.output_audio.delta" | "response.audio.delta":
                self.audio += base64.b64decode(event["delta"])
            case "response.output_item.done" if event["item"]["type"] == "function_call":
                self.calls.append(event["item"])
            case "response.done":
                self.final = event["response"]
            case _:
                pass


class RealtimeClient:
    """A raw WebSocket client: no SDK between the test and the wire.

    A reader in the background hands every event to the oracle and keeps it. Make one with
    `RealtimeClient.connect`; leaving its context closes the connection and asserts that the
    oracle found nothing.
    """

    def __init__(self, socket: ClientConnection, oracle: Oracle) -> None:
        self.socket = socket
        self.oracle = oracle
        self.received: list[Received] = []
        self.appended_bytes = 0
        self._taken: set[int] = set()
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()
        self._ended = False
        self._closed = False
        self._reader = asyncio.create_task(self._read(), name="realtime client reader")

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str,
        *,
        dialect: Dialect = "ga",
        marked: bool = True,
        opening: Dialect | Literal["both"] | None = None,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] | None = None,
        api_key: str | None = "test-key",
        legacy: bool = False,
        **options: Any,
    ) -> AsyncGenerator[RealtimeClient]:
        """Connect, and close at the end of the block.

        Args:
            url: See `realtime_url`.
            dialect: What the server is expected to speak after its `session.created`.
            marked: Send the dialect's usual marker: the `realtime` subprotocol for GA, the
                `OpenAI-Beta` header for beta. Without one `session.created` is bilingual.
            opening: Expected dialect of `session.created`, where neither of these.
            headers: Further request headers.
            subprotocols: Instead of the dialect's usual ones.
            api_key: Sent as a Bearer token; None sends none.
            legacy: Expect the events that OpenAI no longer sends.
            options: Further arguments of `websockets.connect`, such as `ssl`.
        """
        request = dict(headers or {})
        if api_key is not None:
            request.setdefault("Authorization", f"Bearer {api_key}")
        if marked and dialect == "beta":
            request.setdefault("OpenAI-Beta", "realtime=v1")
        if subprotocols is None and marked and dialect == "ga":
            subprotocols = ["realtime"]
        socket = await connect(
            url,
            additional_headers=request,
            subprotocols=[Subprotocol(name) for name in subprotocols] if subprotocols else None,
            max_size=None,
            compression=None,
            proxy=None,
            **options,
        )
        opening = opening or (None if marked else "both")
        client = cls(socket, Oracle(dialect, opening=opening, legacy=legacy))
        try:
            yield client
        except BaseException:
            await client._disconnect()
            raise
        else:
            await client.close()

    # --- sending

    async def send(self, event: WireEvent, *, stamp: bool = True) -> str | None:
        """Send one client event.

        Args:
            event: Without an `event_id` it gets one, so that an error can be traced to it.
            stamp: False sends it exactly as given.

        Returns:
            Its `event_id`.
        """
        if stamp and "event_id" not in event:
            event = {**event, "event_id": f"client_{next(self._numbers)}"}
        self.oracle.client(event)
        await self.socket.send(json.dumps(event, ensure_ascii=False))
        return event.get("event_id")

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a frame as it is, valid or not."""
        await self.socket.send(frame)

    async def update_session(self, **session: Any) -> str | None:
        """`session.update`; in GA the `type` every update needs is added."""
        if self.oracle.dialect == "ga":
            session = {"type": "realtime", **session}
        return await self.send({"type": "session.update", "session": session})

    async def say_text(self, text: str, **fields: Any) -> str | None:
        """Add a typed user message."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        return await self.send({"type": "conversation.item.create", "item": item, **fields})

    async def create_response(self, **response: Any) -> str | None:
        """`response.create`, with overrides for this response."""
        return await self.send(
            {"type": "response.create", **({"response": response} if response else {})}
        )

    async def append(self, audio: bytes) -> None:
        """One `input_audio_buffer.append`."""
        self.appended_bytes += len(audio)
        encoded = base64.b64encode(audio).decode()
        await self.send({"type": "input_audio_buffer.append", "audio": encoded}, stamp=False)

    async def append_fast(
        self, audio: bytes, *, chunk_ms: int = 100, bytes_per_ms: int = BYTES_PER_MS
    ) -> None:
        """Append as fast as the socket takes it."""
        for chunk in _chunks(audio, chunk_ms * bytes_per_ms):
            await self.append(chunk)

    async def append_realtime(
        self, audio: bytes, *, chunk_ms: int = 20, bytes_per_ms: int = BYTES_PER_MS
    ) -> None:
        """Append at the pace of a microphone: each chunk when its last sample exists."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        sent_bytes = 0
        for chunk in _chunks(audio, chunk_ms * bytes_per_ms):
            sent_bytes += len(chunk)
            await asyncio.sleep(start_s + sent_bytes / bytes_per_ms / 1000 - loop.time())
            await self.append(chunk)

    async def speak(
        self,
        pcm: bytes,
        *,
        before_ms: int = 200,
        after_ms: int = 1000,
        chunk_ms: int = 20,
        realtime: bool = True,
    ) -> Spoken:
        """Append an utterance between two silences, so that turn detection sees its ends.

        Args:
            pcm: s16le mono 24 kHz.
            before_ms: Silence ahead of it.
            after_ms: Silence behind it; longer than the silence window of turn detection.
            chunk_ms: Audio per append.
            realtime: False appends as fast as possible.
        """
        append = self.append_realtime if realtime else self.append_fast
        await append(bytes(before_ms * BYTES_PER_MS), chunk_ms=chunk_ms)
        start_ms = self.appended_bytes / BYTES_PER_MS
        await append(pcm, chunk_ms=chunk_ms)
        spoken = Spoken(start_ms, self.appended_bytes / BYTES_PER_MS, time.monotonic())
        await append(bytes(after_ms * BYTES_PER_MS), chunk_ms=chunk_ms)
        return spoken

    # --- receiving

    @property
    def events(self) -> list[WireEvent]:
        """All events so far, in order."""
        return [received.event for received in self.received]

    def events_of(self, *types: str) -> list[WireEvent]:
        """All events of these types so far, whether or not a wait has returned them."""
        return [event for event in self.events if event["type"] in types]

    async def wait_for(
        self, *types: str, where: Where | None = None, timeout_s: float = 10
    ) -> WireEvent:
        """The first event of one of these types that no wait has returned yet.

        It may have come long ago: a wait never misses an event, and never returns one twice.

        Args:
            types: Event types; any of them will do.
            where: A further condition.
            timeout_s: How long to wait.

        Raises:
            AssertionError: It did not come in time, or the connection ended; the message lists
                what came instead.
        """
        return (await self.wait_for_received(*types, where=where, timeout_s=timeout_s)).event

    async def wait_for_received(
        self, *types: str, where: Where | None = None, timeout_s: float = 10
    ) -> Received:
        """As `wait_for`, with the time of arrival."""
        index = await self._wait(types, where, timeout_s)
        self._taken.add(index)
        return self.received[index]

    async def collect_response(
        self, *, where: Where | None = None, timeout_s: float = 30
    ) -> CollectedResponse:
        """The next response, from its `response.created` to its `response.done`.

        Args:
            where: A condition on `response.created`.
            timeout_s: How long to wait for each of the two events.
        """
        created = await self.wait_for("response.created", where=where, timeout_s=timeout_s)
        response_id = created["response"]["id"]
        await self.wait_for(
            "response.done",
            where=lambda event: event["response"]["id"] == response_id,
            timeout_s=timeout_s,
        )
        collected = CollectedResponse(created["response"])
        for received in self.received:
            if _response_id(received.event) == response_id:
                collected._take(received)
        return collected

    @property
    def ended(self) -> bool:
        """Whether the connection is closed, by whichever side."""
        return self._ended

    async def wait_closed(self, *, timeout_s: float = 10) -> tuple[int | None, str | None]:
        """Close code and reason, once the server has closed the connection."""
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(self._reader)
        return self.socket.close_code, self.socket.close_reason

    # --- closing

    async def close(self, *, complete: bool = True) -> None:
        """Close the connection and assert that nothing the server sent was wrong.

        Args:
            complete: False when responses may still have been under way.
        """
        if self._closed:
            return
        await self._disconnect()
        self.oracle.assert_clean(complete=complete)

    async def cut(self) -> None:
        """Drop the connection without a closing handshake, as a lost network does."""
        self.socket.transport.abort()
        await self.close(complete=False)

    async def _disconnect(self) -> None:
        self._closed = True
        await self.socket.close()
        await self._reader

    async def _read(self) -> None:
        with suppress(websockets.ConnectionClosed):
            while True:
                self._take(await self.socket.recv())
                async with self._changed:
                    self._changed.notify_all()
        self._ended = True
        async with self._changed:
            self._changed.notify_all()

    def _take(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self.oracle.reject("binary frame: clients read text only")
            return
        try:
            event = json.loads(frame)
        except ValueError:
            self.oracle.reject("frame that is not JSON")
            return
        if not isinstance(event, dict):
            self.oracle.reject("frame that is no JSON object")
            return
        limit = _MAX_DELTA_BYTES if str(event.get("type")).endswith(".delta") else _MAX_FRAME_BYTES
        if len(frame.encode()) > limit:
            self.oracle.reject(f"{event.get('type')} frame of {len(frame)} characters")
        self.oracle.server(event)
        self.received.append(Received(time.monotonic(), event))

    async def _wait(self, types: tuple[str, ...], where: Where | None, timeout_s: float) -> int:
        next_index = 0
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                while True:
                    for index in range(next_index, len(self.received)):
                        event = self.received[index].event
                        fits = event.get("type") in types and (where is None or where(event))
                        if fits and index not in self._taken:
                            return index
                    next_index = len(self.received)
                    if self._ended:
                        raise AssertionError(self._failure(types, "before the connection ended"))
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(self._failure(types, f"within {timeout_s:g} s")) from None

    def _failure(self, types: tuple[str, ...], when: str) -> str:
        lines = [f"no {' or '.join(types)} {when}; received:"]
        start_s = self.received[0].at_s if self.received else 0.0
        for kind, group in itertools.groupby(self.received, lambda r: str(r.event.get("type"))):
            run = list(group)
            count = f" × {len(run)}" if len(run) > 1 else ""
            lines.append(f"  {run[0].at_s - start_s:8.3f} s  {kind}{count}")
            if kind == "error":
                lines += [f"              {received.event.get('error')}" for received in run]
        if self._ended:
            reason = self.socket.close_reason
            lines.append(f"  closed by {self.socket.close_code} {reason!r}")
        lines += [f"  wire problem: {problem}" for problem in self.oracle.problems]
        return "\n".join(lines)


def _chunks(audio: bytes, chunk_bytes: int) -> Generator[bytes]:
    for start in range(0, len(audio), chunk_bytes):
        yield audio[start : start + chunk_bytes]


def _response_id(event: WireEvent) -> str | None:
    response = event.get("response")
    return response.get("id") if isinstance(response, dict) else event.get("response_id")
