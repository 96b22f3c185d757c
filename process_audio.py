"""`POST /process_audio`: a recording comes in, what was heard and answered goes out as it is known.

It knows HTTP: the upload, the stream of server-sent events, and which conversation they belong to.
How a turn is held is for `spoken_turn.py` and the session behind it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import BinaryIO, Protocol, cast

import numpy as np
import orjson
import soundfile
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Receive, Scope, Send

from audio_utils import PIPELINE_HZ, Float32, StreamResampler, float32_to_pcm16, ms_to_bytes
from config import Settings, UploadSettings
from conversation_store import ConversationStore, StoreUnavailable
from dialects.objects import http_error
from handshake import HandshakeRequest, origin_allowed, require_api_key
from protocol import ConnectionRefused, Failed
from spoken_turn import Answered, Heard, LocalConnection, Turn, hold_turn

logger = logging.getLogger("realtime.process_audio")

ENVELOPE_BYTES = 16 * 1024
"""What multipart headers and the other fields may add to the file."""
MAX_MODEL_CHARS = 256
MIN_AUDIO_MS = 100
"""A session commits no less."""
_CONVERSATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_KEPT = Failed(
    "server_error", "conversation_not_kept", "The answer is whole, but could not be remembered."
)

RunSession = Callable[[str, LocalConnection], Awaitable[None]]
"""Runs a session for a model name, over a connection, until it ends."""


class _Refusal(Exception):
    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.answer = JSONResponse(http_error(message, code, param), status)


class _TooLarge(MultiPartException):
    """Ends the parsing of a body; the parser closes its files on this class of errors."""


@dataclass(frozen=True, slots=True)
class _Upload:
    """What a request asks for; `pcm` is s16le mono 24 kHz."""

    pcm: bytes
    conversation_id: str
    model: str


class HoldTurn(Protocol):
    """Holds the turn of an upload and reports how it went, giving events to `emit`."""

    def __call__(self, emit: Callable[[Heard | Answered], Awaitable[None]]) -> Awaitable[Turn]: ...


# --- the endpoint -----------------------------------------------------------------------------


def router(
    settings: Settings,
    store: ConversationStore,
    run_session: RunSession,
    new_id: Callable[[str], str],
) -> APIRouter:
    """The endpoint, for the caller to mount at the root.

    Args:
        settings: The process's settings.
        store: Remembers the conversations.
        run_session: See `RunSession`.
        new_id: Makes a unique id from a prefix.
    """
    routes = APIRouter()

    @routes.post("/process_audio")
    async def process_audio(request: Request) -> Response:
        try:
            _admit(request, settings)
            upload = await _read_upload(request, settings, new_id)
            history = await store.load(upload.conversation_id)
        except _Refusal as refusal:
            return refusal.answer
        except StoreUnavailable as exc:
            logger.warning("the conversations cannot be read: %s", exc)
            body = http_error("Conversations are not available at the moment.")
            body["error"]["type"] = "server_error"
            return JSONResponse(body, 503, {"Retry-After": "5"})

        async def run(connection: LocalConnection) -> None:
            await run_session(upload.model, connection)

        async def hold(emit: Callable[[Heard | Answered], Awaitable[None]]) -> Turn:
            turn = await hold_turn(upload.pcm, history, run, emit)
            try:
                await store.append(upload.conversation_id, turn.said)
            except StoreUnavailable as exc:
                logger.warning("a turn could not be remembered: %s", exc)
                return Turn(turn.said, turn.failure or _NOT_KEPT)
            return turn

        return _TurnStream(hold, upload.conversation_id)

    return routes


class _TurnStream(Response):
    """The events of a turn; a client that goes away ends the turn.

    The answer comes as unnamed events, so that `onmessage` gets it and nothing else.
    """

    media_type = "text/event-stream"

    def __init__(self, hold: HoldTurn, conversation_id: str) -> None:
        self.status_code = 200
        self.background = None
        self._hold = hold
        self._conversation_id = conversation_id
        self.init_headers(
            {
                "Conversation-ID": conversation_id,
                "Cache-Control": "no-store",
                # nginx would keep the events until there are many.
                "X-Accel-Buffering": "no",
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as tasks:
            turn = tasks.create_task(self._stream(send), name="recorded turn")

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                turn.cancel()

            watching = tasks.create_task(watch(), name="recorded turn's client")
            turn.add_done_callback(lambda _: watching.cancel())

    async def _stream(self, send: Send) -> None:
        async def write(event: str, *, last: bool = False) -> None:
            body = {"type": "http.response.body", "body": event.encode(), "more_body": not last}
            await send(body)

        async def emit(event: Heard | Answered) -> None:
            match event:
                case Heard(transcript):
                    await write(_sse(transcript, "transcript"))
                case Answered(delta):
                    await write(_sse(delta))

        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        turn = await self._hold(emit)
        if turn.failure:
            await write(_sse(_json({"error": {**asdict(turn.failure), "param": None}}), "error"))
        end = _json({"conversation_id": self._conversation_id})
        await write(_sse(end, "end"), last=True)


def _json(value: Mapping[str, object]) -> str:
    return orjson.dumps(value).decode()


def _sse(text: str, name: str = "") -> str:
    """One server-sent event; a line break in the text begins another line of data."""
    lines = [f"event: {name}"] if name else []
    lines += [f"data: {line}" for line in re.split(r"\r\n|\r|\n", text)]
    return "\n".join(lines) + "\n\n"


# --- the request ------------------------------------------------------------------------------


def _admit(request: Request, settings: Settings) -> None:
    presented = HandshakeRequest(headers=dict(request.headers))
    # A page of any origin can send a form without asking first.
    if not origin_allowed(presented, settings):
        message = "Browser pages of this origin may not use this server: see ALLOWED_ORIGINS."
        raise _Refusal(403, message, "origin_not_allowed")
    try:
        require_api_key(presented, settings)
    except ConnectionRefused as refused:
        raise _Refusal(401, refused.message, refused.code) from None


async def _read_upload(
    request: Request, settings: Settings, new_id: Callable[[str], str]
) -> _Upload:
    limits = settings.uploads
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        message = "This API method only accepts 'multipart/form-data' requests, with a 'file'."
        raise _Refusal(415, message, "unsupported_content_type")
    body = _limited(request.stream(), limits.max_bytes + ENVELOPE_BYTES)
    try:
        form = await MultiPartParser(
            request.headers, cast(AsyncGenerator[bytes, None], body), max_files=1, max_fields=8
        ).parse()
    except _TooLarge:
        raise _too_large(limits) from None
    except (MultiPartException, KeyError) as exc:
        reason = exc.message.rstrip(".") if isinstance(exc, MultiPartException) else "no boundary"
        raise _Refusal(400, f"Could not parse the multipart body: {reason}.") from None
    try:
        return await _upload(form, request.query_params, settings, new_id)
    finally:
        await form.close()


async def _upload(
    form: FormData, query: Mapping[str, str], settings: Settings, new_id: Callable[[str], str]
) -> _Upload:
    limits = settings.uploads
    file = form.get("file")
    if not isinstance(file, UploadFile):
        message = "Missing required parameter: 'file', the audio file of the turn."
        raise _Refusal(400, message, "missing_required_parameter", "file")
    if (file.size or 0) > limits.max_bytes:
        raise _too_large(limits)
    fields = {**query, **{name: text for name, text in form.items() if isinstance(text, str)}}
    conversation_id = fields.get("conversation_id") or new_id("conv")
    if not _CONVERSATION_ID.fullmatch(conversation_id):
        message = "Invalid 'conversation_id': 1 to 64 letters, digits, '_' and '-' are allowed."
        raise _Refusal(400, message, "invalid_value", "conversation_id")
    model = fields.get("model") or settings.session.model
    if len(model) > MAX_MODEL_CHARS:
        message = f"Invalid 'model': at most {MAX_MODEL_CHARS} characters are allowed."
        raise _Refusal(400, message, "string_above_max_length", "model")
    pcm = await asyncio.to_thread(_decode, file.file, limits.max_seconds)
    return _Upload(pcm, conversation_id, model)


async def _limited(chunks: AsyncIterable[bytes], limit_bytes: int) -> AsyncGenerator[bytes]:
    received_bytes = 0
    async for chunk in chunks:
        received_bytes += len(chunk)
        if received_bytes > limit_bytes:
            raise _TooLarge("too large")
        yield chunk


def _too_large(limits: UploadSettings) -> _Refusal:
    message = f"The file is larger than the maximum of {limits.max_bytes} bytes."
    return _Refusal(413, message, "file_too_large", "file")


def _decode(file: BinaryIO, max_seconds: int) -> bytes:
    """A WAV, FLAC, OGG or MP3 file as s16le mono 24 kHz; channels are averaged.

    It is read second by second: a small file may hold hours.
    """
    pcm = bytearray()
    try:
        with soundfile.SoundFile(file) as sound:
            resampler = StreamResampler(sound.samplerate, PIPELINE_HZ)
            while len(block := sound.read(sound.samplerate, dtype="float32", always_2d=True)):
                mono = cast(Float32, block).mean(axis=1, dtype=np.float32)
                pcm += float32_to_pcm16(resampler.process(mono))
                if len(pcm) > ms_to_bytes(max_seconds * 1000):
                    message = f"The recording is longer than the maximum of {max_seconds} s."
                    raise _Refusal(413, message, "audio_too_long", "file")
            pcm += float32_to_pcm16(resampler.flush())
    except (soundfile.SoundFileError, ValueError):
        message = "Invalid 'file': expected a WAV, FLAC, OGG or MP3 file."
        raise _Refusal(400, message, "invalid_value", "file") from None
    if len(pcm) < ms_to_bytes(MIN_AUDIO_MS):
        message = f"Invalid 'file': expected at least {MIN_AUDIO_MS} ms of audio."
        raise _Refusal(400, message, "invalid_value", "file")
    return bytes(pcm)
