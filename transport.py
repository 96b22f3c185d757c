"""One WebSocket: JSON ⇄ typed events, the dialect in use, outbox and close codes.

It knows sockets and bytes; it must not know turns, responses or engines.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
import secrets
import string
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, cast

import orjson
import pybase64
from fastapi import WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

import dialects
from audio_utils import InputDecoder, OutputEncoder
from client_secrets import ClientSecrets
from config import Settings
from dialects import beta, ga
from dialects.client_events import MAX_EVENT_ID_CHARS, append_audio_field
from dialects.items import BAD_AUDIO
from dialects.objects import http_error
from handshake import (
    DialectName,
    Handshake,
    HandshakeRequest,
    choose_subprotocol,
    negotiate,
    origin_allowed,
)
from protocol import (
    MAX_APPEND_BYTES,
    ClientEvent,
    ConnectionRefused,
    Disconnected,
    ErrorCode,
    ErrorEvent,
    InputAudioAppend,
    InvalidRequest,
    OutputAudioDelta,
    OutputAudioDone,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    SessionCreated,
    error_event,
)

logger = logging.getLogger("realtime.wire")

MAX_MESSAGE_BYTES = 21 * 1024 * 1024
"""Largest client event: 15 MiB of audio are 20 MiB of base64, the rest is envelope."""
MAX_DEPTH = 100
"""Deepest nesting of a client event: what a client sends is echoed, and orjson writes no more than
254 levels."""
OUTBOX_LIMIT_BYTES = 64 * 1024 * 1024
"""What may wait for a client that does not read before it is closed."""
MAX_DELTA_BYTES = 96_000
"""Audio per output delta: clients with a frame cap of 1 MiB must live (reference §1.4)."""
WRITE_DEADLINE_S = 30.0
FLUSH_DEADLINE_S = 2.0
CLOSE_DEADLINE_S = 1.0
BUG_MESSAGE = "The server had an error while processing your request."
MAX_CLOSE_REASON_BYTES = 123

FormatType = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

_BASE62 = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()
_TO_BASE62 = bytes(_BASE62[byte % 62] for byte in range(256))


def new_id(prefix: str) -> str:
    """A fresh id as OpenAI's look: `<prefix>_` and 21 base-62 characters, 16 for `call`."""
    length = 16 if prefix == "call" else 21
    return f"{prefix}_{secrets.token_bytes(length).translate(_TO_BASE62).decode()}"


# --- client events --------------------------------------------------------------------------


def parse_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A WebSocket message as a JSON object with a `type`.

    Raises:
        InvalidRequest: by the first rows of reference §5.
    """
    text: str | None = message.get("text")
    if text is None:
        raise InvalidRequest(
            ErrorCode.INVALID_EVENT,
            "Expected a text WebSocket message; binary frames are not supported.",
        )
    if _utf8_length_exceeds(text, MAX_MESSAGE_BYTES):
        raise InvalidRequest(
            ErrorCode.INVALID_EVENT,
            f"Invalid event: it is larger than the maximum of {MAX_MESSAGE_BYTES} bytes.",
        )
    try:
        event: Any = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(
            ErrorCode.INVALID_JSON,
            f"Invalid event: failed to parse JSON value. {exc.msg} at character {exc.pos}.",
        ) from None
    if not isinstance(event, dict):
        raise InvalidRequest(
            ErrorCode.INVALID_JSON, "Invalid event: expected a JSON object with a 'type' field."
        )
    event = cast(dict[str, Any], event)
    if "type" not in event:
        raise InvalidRequest(
            ErrorCode.INVALID_EVENT, "The 'type' field is missing.", event_id=client_event_id(event)
        )
    if not isinstance(event["type"], str):
        raise InvalidRequest(
            ErrorCode.INVALID_TYPE,
            "Invalid type for 'type': expected a string.",
            "type",
            client_event_id(event),
        )
    if event["type"] != "input_audio_buffer.append" and _depth_exceeds(event, MAX_DEPTH):
        raise InvalidRequest(
            ErrorCode.INVALID_EVENT,
            f"Invalid event: JSON may be nested at most {MAX_DEPTH} levels deep.",
            event_id=client_event_id(event),
        )
    return event


def _depth_exceeds(event: dict[str, Any], limit: int) -> bool:
    """Whether objects and arrays are nested deeper than `limit`."""
    level: list[dict[str, Any] | list[Any]] = [event]
    for _ in range(limit):
        children: list[Any] = []
        for node in level:
            children += node.values() if isinstance(node, dict) else node
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def client_event_id(event: Mapping[str, Any]) -> str | None:
    """The id to echo in errors, exactly as sent; None for what is no id (`MAX_EVENT_ID_CHARS`)."""
    event_id = event.get("event_id")
    usable = isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID_CHARS
    return event_id if usable else None


def decode_append(event: dict[str, Any]) -> InputAudioAppend:
    """`input_audio_buffer.append`, the same in every dialect; audio stays in the client's format.

    Raises:
        InvalidRequest: audio missing, not base64, or larger than `MAX_APPEND_BYTES` decoded.
    """
    encoded = append_audio_field(event)
    event_id = client_event_id(event)
    try:
        audio = pybase64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(ErrorCode.INVALID_VALUE, BAD_AUDIO, "audio", event_id) from None
    if len(audio) > MAX_APPEND_BYTES:
        raise InvalidRequest(
            ErrorCode.STRING_ABOVE_MAX_LENGTH,
            f"Invalid 'audio': {len(audio)} bytes of audio are more than the maximum of "
            f"{MAX_APPEND_BYTES} bytes per event.",
            "audio",
            event_id,
        )
    return InputAudioAppend(audio, event_id)


def _utf8_length_exceeds(text: str, limit_bytes: int) -> bool:
    if len(text) > limit_bytes:
        return True
    # A character is at most four bytes: most messages need no encoding to be sure.
    return not text.isascii() and len(text) * 4 > limit_bytes and len(text.encode()) > limit_bytes


# --- audio formats --------------------------------------------------------------------------


@dataclass(slots=True)
class _ResponseAudio:
    format: FormatType
    encoders: dict[str, OutputEncoder] = field(default_factory=dict[str, OutputEncoder])


class AudioCodec:
    """Converts between the client's audio formats and s16le mono 24 kHz, with stream state.

    Input is converted by whoever carries out the events, in their order, because a
    `session.update` that is still waiting may change the format of the appends behind it.
    """

    def __init__(self) -> None:
        self._input_format: FormatType = "audio/pcm"
        self._decoder = InputDecoder(self._input_format)
        self._responses: dict[str, _ResponseAudio] = {}

    def set_input(self, format_type: FormatType) -> None:
        """Take appends as `format_type` from now on; a changed format starts fresh."""
        if format_type != self._input_format:
            self._input_format = format_type
            self.reset()

    def reset(self) -> None:
        """Forget a carried odd byte: the buffer was cleared."""
        self._decoder = InputDecoder(self._input_format)

    def to_pcm(self, append: InputAudioAppend) -> InputAudioAppend:
        """The append with its audio brought to s16le mono 24 kHz, an odd byte carried over."""
        audio = self._decoder.decode(append.audio)
        return append if audio is append.audio else replace(append, audio=audio)

    def outgoing(self, event: ServerEvent) -> tuple[ServerEvent, ...]:
        """The events to send for `event`: audio in its response's format, small enough deltas.

        An encoder that still holds audio when the part ends gives one more delta before the
        `done`.
        """
        match event:
            case ResponseCreated(response):
                self._responses[response.id] = _ResponseAudio(response.audio_format.type)
            case ResponseDone(response):
                self._responses.pop(response.id, None)
            case OutputAudioDelta():
                audio = self._encode(event)
                if audio is event.audio and len(audio) <= MAX_DELTA_BYTES:
                    return (event,)
                return tuple(
                    replace(event, audio=audio[start : start + MAX_DELTA_BYTES])
                    for start in range(0, len(audio), MAX_DELTA_BYTES)
                )
            case OutputAudioDone(response_id, item_id, output_index, content_index):
                response = self._responses.get(response_id)
                encoder = response.encoders.pop(item_id, None) if response else None
                if encoder and (tail := encoder.flush()):
                    delta = OutputAudioDelta(
                        response_id, item_id, output_index, content_index, tail
                    )
                    return (delta, event)
            case _:
                pass
        return (event,)

    def _encode(self, event: OutputAudioDelta) -> bytes:
        response = self._responses.get(event.response_id)
        if response is None or response.format == "audio/pcm":
            return event.audio
        encoder = response.encoders.get(event.item_id)
        if encoder is None:
            encoder = response.encoders[event.item_id] = OutputEncoder(response.format)
        return encoder.encode(event.audio)


# --- connection -----------------------------------------------------------------------------


class Socket(Protocol):
    """The part of an accepted WebSocket that a connection uses."""

    async def receive(self) -> MutableMapping[str, Any]: ...
    async def send_text(self, data: str) -> None: ...
    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class Connection:
    """Typed events over one accepted WebSocket.

    One task calls `receive()`, one runs `write_forever()`, any calls `send()`; `close()` may
    come from whichever task ends the session, while the writer runs or after.
    """

    def __init__(
        self, socket: Socket, dialect: DialectName = "undecided", *, pinned: bool = False
    ) -> None:
        self.codec = AudioCodec()
        self._socket = socket
        self._dialect: DialectName = dialect
        self._settled = pinned or dialect == "ga"
        self._outbox: deque[tuple[str, int]] = deque()
        self._outbox_bytes = 0
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._write_timeout: asyncio.Timeout | None = None
        self._cut_off: Disconnected | None = None
        self._closed = False

    @property
    def dialect(self) -> DialectName:
        """The dialect in use; the first event that tells may still change it."""
        return self._dialect

    @property
    def outbox_bytes(self) -> int:
        """Bytes queued and not yet handed to the socket."""
        return self._outbox_bytes

    def pass_through(self, wrap: Callable[[Socket], Socket]) -> None:
        """Put something between the connection and its socket, before anything is said."""
        self._socket = wrap(self._socket)

    async def receive(self) -> ClientEvent:
        """The client's next event; the audio of an append is still in the client's format.

        Raises:
            InvalidRequest: the message cannot be understood; the connection lives on.
            Disconnected: nothing more will come.
        """
        try:
            message = await self._socket.receive()
        except WebSocketDisconnect as exc:
            self._closed = True
            raise Disconnected(exc.code, exc.reason) from None
        if message["type"] == "websocket.disconnect":
            self._closed = True
            raise Disconnected(message.get("code", 1005), message.get("reason") or "")
        event = parse_message(message)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("< %.64r (%d characters)", event["type"], len(message["text"]))
        if not self._settled:
            self._settle_dialect(event)
        if event["type"] == "input_audio_buffer.append":
            return decode_append(event)
        return self._decode(event)

    def send(self, event: ServerEvent) -> None:
        """Queue an event; it never waits. After the close it does nothing."""
        if self._closed or self._cut_off:
            return
        for part in self.codec.outgoing(event):
            message = self._encode(part, new_id("event"))
            if message is None:
                continue
            text = orjson.dumps(message)
            logger.debug("> %s (%d bytes)", message["type"], len(text))
            self._outbox.append((text.decode(), len(text)))
            self._outbox_bytes += len(text)
        self._wake.set()
        if self._outbox_bytes > OUTBOX_LIMIT_BYTES:
            self._cut(f"The client does not read: over {OUTBOX_LIMIT_BYTES} bytes are waiting.")

    async def write_forever(self) -> None:
        """Hand the outbox to the socket, in order, until cancelled.

        Raises:
            Disconnected: the client left, or does not read and is to be closed with 1008.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            async with self._writing:
                await self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, for a short while at most, then close. Idempotent.

        Args:
            code: WebSocket close code; 1008 takes its place when the client did not read.
            reason: Shown to the client, cut to the 123 bytes a close frame holds.
        """
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(FLUSH_DEADLINE_S), self._writing:
                await self._flush()
        except TimeoutError:
            self._cut("The client does not read.")
        except Disconnected:
            logger.debug("= the client left before the close")
        if self._cut_off:
            code, reason = self._cut_off.code, self._cut_off.reason
        short = reason.encode()[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore")
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._socket.close(code, short)

    def _settle_dialect(self, event: dict[str, Any]) -> None:
        if self._dialect == "undecided":
            told = dialects.decide(event)
            if told is None:
                return
            self._dialect = told
        elif event["type"] != "session.update":
            return
        elif dialects.looks_ga(event):
            # openai-node 5.18 to 5.23.0 sends the beta marker and speaks GA (§1.5 rule 5).
            self._dialect = "ga"
        self._settled = True
        logger.debug("= dialect %s", self._dialect)

    def _decode(self, event: dict[str, Any]) -> ClientEvent:
        dialect = ga if self._dialect == "ga" else beta
        if unknown := dialect.unknown_parameters(event):
            logger.info("ignored unknown fields: %.400r", unknown)
        return dialect.decode(event)

    def _encode(self, event: ServerEvent, event_id: str) -> dict[str, Any] | None:
        if self._dialect == "ga":
            return ga.encode(event, event_id)
        if self._dialect == "undecided" and isinstance(event, SessionCreated):
            return dialects.bilingual_session_created(event, event_id)
        return beta.encode(event, event_id)

    async def _flush(self) -> None:
        if self._cut_off:
            raise self._cut_off
        try:
            async with asyncio.timeout(WRITE_DEADLINE_S) as self._write_timeout:
                await self._write_all(self._write_timeout)
        except TimeoutError:
            self._cut(f"The client does not read: a write took over {WRITE_DEADLINE_S:g} s.")
        except WebSocketDisconnect as exc:
            self._closed = True
            raise Disconnected(exc.code, exc.reason) from None
        finally:
            self._write_timeout = None
        if self._cut_off:
            raise self._cut_off

    async def _write_all(self, deadline: asyncio.Timeout) -> None:
        """Write what is queued, each event as long as `deadline` allows it."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while self._outbox and not self._cut_off:
            text, size = self._outbox[0]
            await self._socket.send_text(text)
            # Only now: a write that is cancelled while it waits has sent nothing.
            self._outbox.popleft()
            self._outbox_bytes -= size
            # Most writes wait for nothing; a timer for each would cost more than they do.
            if (now_s := loop.time()) - began_s > 0.01:
                began_s = now_s
                deadline.reschedule(now_s + WRITE_DEADLINE_S)

    def _cut(self, reason: str) -> None:
        """Stop writing to a client that does not read; the writer task reports it."""
        self._cut_off = self._cut_off or Disconnected(1008, reason)
        if self._write_timeout is not None and not self._write_timeout.expired():
            self._write_timeout.reschedule(asyncio.get_running_loop().time())


# --- the life of a connection ---------------------------------------------------------------


class OpenSession(Protocol):
    """Runs one session over an accepted connection until it ends."""

    def __call__(self, connection: Connection, handshake: Handshake) -> Awaitable[None]: ...


async def serve(
    websocket: WebSocket, settings: Settings, secrets: ClientSecrets, open_session: OpenSession
) -> None:
    """Take one upgrade request through handshake, session and close.

    Clients understand an `error` event with a close code better than an HTTP status, so all but
    a foreign origin are accepted first (reference §0.2); a browser page gets no socket at all.
    """
    request = HandshakeRequest(
        headers=_joined(websocket.headers.items()),
        query=dict(websocket.query_params),
        subprotocols=tuple(cast(list[str], websocket.scope.get("subprotocols", []))),
    )
    if not origin_allowed(request, settings):
        logger.warning("refused a browser page of another origin: ALLOWED_ORIGINS lets it in")
        await websocket.send_denial_response(_forbidden_origin())
        return
    await websocket.accept(choose_subprotocol(request.subprotocols))
    try:
        handshake = negotiate(request, settings, secrets)
    except ConnectionRefused as refused:
        logger.info("refused a connection: %s", refused.close_reason)
        connection = Connection(websocket, "ga", pinned=True)
        connection.send(error_event(refused))
        await connection.close(refused.close_code, refused.close_reason)
        return
    connection = Connection(websocket, handshake.dialect, pinned=handshake.pinned)
    try:
        await open_session(connection, handshake)
    except Exception as exc:
        if not _only_disconnected(exc):
            logger.exception("the session ended by a bug")
            connection.send(ErrorEvent("server_error", "server_error", BUG_MESSAGE))
            await connection.close(1011, "server_error")
    await connection.close(1000)


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _forbidden_origin() -> JSONResponse:
    message = (
        "Browser pages of this origin may not connect: "
        "start the server with an API key, or name the origin in ALLOWED_ORIGINS."
    )
    return JSONResponse(http_error(message, "origin_not_allowed"), 403)


def _only_disconnected(exc: BaseException) -> bool:
    """Whether nothing but the end of the connection ended the session."""
    if isinstance(exc, BaseExceptionGroup):
        return all(_only_disconnected(inner) for inner in cast(Any, exc).exceptions)
    return isinstance(exc, Disconnected)
