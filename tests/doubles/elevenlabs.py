"""ElevenLabs' speech over `multi-stream-input`: contexts, alignment, and its way to say no."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from aiohttp import web

from providers import tone
from tests.doubles.modes import Mode
from tests.doubles.server import BODY, Double
from tests.doubles.sockets import Wire, socket_handler

OVERRUN = "overrun"
"""Set in a logged request when it opened too many contexts."""

_MOST_CONTEXTS = 5
_PIECE_MS = 200
_BYTES_PER_MS = 48

_REFUSALS: dict[int, tuple[str, str]] = {
    400: ("invalid_uid", "An invalid ID has been received."),
    401: ("invalid_api_key", "Invalid API key"),
    403: ("missing_permissions", "The API key you used is missing the permission text_to_speech."),
    429: ("too_many_concurrent_requests", "Too many concurrent requests."),
}


def add_routes(app: web.Application, double: Double) -> None:
    """Serve the double at `/elevenlabs/v1/text-to-speech/<voice>/multi-stream-input`."""
    path = "/{provider:elevenlabs}/v1/text-to-speech/{voice}/multi-stream-input"
    app.router.add_get(path, socket_handler(double, _serve, _refuse))


TOO_MANY_CONTEXTS = {
    "message": "Maximum simultaneous contexts per WebSocket connection exceeded (5). Please close "
    "an existing context before opening a new one.",
    "error": "max_active_conversations",
    "code": 1008,
}


def audio_message(pcm: bytes, aligned: list[tuple[str, int]], context_id: str) -> dict[str, Any]:
    """Audio with its alignment, whose times begin anew with every message."""
    starts = [start_ms for _, start_ms in aligned]
    ends = [*starts[1:], len(pcm) // _BYTES_PER_MS][: len(starts)]
    return {
        "audio": base64.b64encode(pcm).decode(),
        "alignment": {
            "chars": [char for char, _ in aligned],
            "charStartTimesMs": starts,
            "charDurationsMs": [end - start for start, end in zip(starts, ends, strict=True)],
        },
        "normalizedAlignment": None,
        "contextId": context_id,
    }


def _spoken(text: str, context_id: str) -> list[dict[str, Any]]:
    """The messages that speak a text with the tone voice."""
    pcm, words = tone.render(text)
    chars: list[tuple[str, int]] = []
    time_ms = 0
    starts = {word.start: word.start_ms for word in words}
    for index, char in enumerate(text):
        time_ms = starts.get(index, time_ms)
        chars.append((char, time_ms))
    messages: list[dict[str, Any]] = []
    for begin_ms in range(0, len(pcm) // _BYTES_PER_MS, _PIECE_MS):
        end_ms = begin_ms + _PIECE_MS
        piece = pcm[begin_ms * _BYTES_PER_MS : end_ms * _BYTES_PER_MS]
        aligned = [(char, at - begin_ms) for char, at in chars if begin_ms <= at < end_ms]
        messages.append(audio_message(piece, aligned, context_id))
    return messages


class _Context:
    """One context: generates each text in turn, and says when it is through."""

    def __init__(self, context_id: str, wire: Wire) -> None:
        self.texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._id = context_id
        self._wire = wire

    async def run(self) -> None:
        while (text := await self.texts.get()) is not None:
            if self._wire.mode.kind == "raw":
                await self._wire.send_raw()
            elif text.strip():
                for message in _spoken(text, self._id):
                    await self._wire.send(message)
        if self._wire.mode.kind != "raw":
            await self._wire.send({"isFinal": True, "contextId": self._id})


async def _serve(double: Double, request: web.Request, wire: Wire) -> None:
    contexts: dict[str, _Context] = {}
    running: dict[str, asyncio.Task[None]] = {}
    try:
        async for message in wire.messages():
            if message.get("close_socket"):
                await wire.send((1000, ""))
            context_id = message.get("context_id")
            if context_id is None:
                continue
            if context_id not in contexts:
                if sum(not task.done() for task in running.values()) >= _MOST_CONTEXTS:
                    request[BODY][OVERRUN] = True
                    await wire.send(TOO_MANY_CONTEXTS)
                    await wire.send((1008, "max_active_conversations"))
                    return
                contexts[context_id] = _Context(context_id, wire)
                running[context_id] = asyncio.ensure_future(contexts[context_id].run())
            if message.get("text", "").strip():
                contexts[context_id].texts.put_nowait(message["text"])
            if message.get("close_context"):
                contexts[context_id].texts.put_nowait(None)
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)


def _refuse(mode: Mode) -> web.Response:
    if mode.status not in _REFUSALS:
        return web.Response(status=mode.status, text="upstream error", headers=mode.headers)
    code, message = _REFUSALS[mode.status]
    body = mode.body or {"detail": {"status": mode.code or code, "message": message}}
    return web.json_response(body, status=mode.status, headers=mode.headers)
