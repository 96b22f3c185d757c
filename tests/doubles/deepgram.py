"""Deepgram's live transcription, as its own SDK meets it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from providers.words import tokens
from tests.doubles.modes import Mode
from tests.doubles.server import Double
from tests.doubles.sockets import Wire, socket_handler

_BYTES_PER_S = 32_000
_PATIENCE_S = 10.0
_MODEL_UUID = "2187e11a-3532-4498-b076-81fa530bdd49"

_REFUSALS: dict[int, tuple[str, str]] = {
    400: ("Bad Request", "Bad Request: No such model/language/tier combination found."),
    401: ("INVALID_AUTH", "Invalid credentials."),
    402: (
        "ASR_PAYMENT_REQUIRED",
        "Project does not have enough credits for an ASR request and does not have an overage "
        "agreement.",
    ),
    403: ("INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions."),
    429: ("TOO_MANY_REQUESTS", "Too many requests. Please try again later."),
}


def add_routes(app: web.Application, double: Double) -> None:
    """Serve the double at `/deepgram/v1/listen`."""
    app.router.add_get("/{provider:deepgram}/v1/listen", socket_handler(double, _serve, _refuse))


def results(
    text: str,
    start_s: float,
    duration_s: float,
    *,
    final: bool = True,
    finalizes: bool | None = None,
    speakers: tuple[int, ...] = (),
) -> dict[str, Any]:
    """A `Results` message; on a stream that is diarised each word has one of the speakers."""
    words = text.split()
    step_s = duration_s / max(len(words), 1)
    timed = [
        {
            "word": word.strip(".,?!").lower(),
            "start": round(start_s + index * step_s, 3),
            "end": round(start_s + (index + 1) * step_s, 3),
            "confidence": 0.99,
            "punctuated_word": word,
            **({"speaker": speakers[min(index, len(speakers) - 1)]} if speakers else {}),
        }
        for index, word in enumerate(words)
    ]
    message: dict[str, Any] = {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": round(duration_s, 3),
        "start": round(start_s, 3),
        "is_final": final,
        "speech_final": final,
        "channel": {"alternatives": [{"transcript": text, "confidence": 0.99, "words": timed}]},
        "metadata": {
            "request_id": "req-double",
            "model_info": {"name": "general-nova-3", "version": "2026-01-01.0", "arch": "nova-3"},
            "model_uuid": _MODEL_UUID,
        },
    }
    if finalizes is not None:
        message["from_finalize"] = finalizes
    return message


class _Ear:
    """Hears `transcript` in whatever is said: half of it in the first 600 ms, the rest at the end.

    Positions are seconds of the whole stream. Diarised, two speakers say a half each.
    """

    def __init__(self, transcript: str, *, diarized: bool) -> None:
        self._diarized = diarized
        pieces = tokens(transcript)
        half = (len(pieces) + 1) // 2
        self._first = "".join(pieces[:half]).strip()
        self._rest = "".join(pieces[half:]).strip()
        self._heard_bytes = 0
        self._begin()

    def _begin(self) -> None:
        self._start_s = self._decided_s = self._heard_bytes / _BYTES_PER_S
        self._guessed = False
        self._said_first = False

    def hear(self, pcm: bytes) -> list[dict[str, Any]]:
        self._heard_bytes += len(pcm)
        now_s = self._heard_bytes / _BYTES_PER_S
        messages: list[dict[str, Any]] = []
        if not self._guessed and now_s - self._start_s >= 0.4:
            self._guessed = True
            guess = self._first.split(" ")[0]
            duration_s = now_s - self._start_s
            speakers = self._speakers(guess, "")
            messages.append(
                results(guess, self._start_s, duration_s, final=False, speakers=speakers)
            )
        if not self._said_first and now_s - self._start_s >= 0.8:
            self._said_first = True
            self._decided_s = self._start_s + 0.6
            speakers = self._speakers(self._first, "")
            messages.append(results(self._first, self._start_s, 0.6, speakers=speakers))
        return messages

    def finalize(self) -> dict[str, Any]:
        now_s = self._heard_bytes / _BYTES_PER_S
        first = "" if self._said_first else self._first
        text = f"{first} {self._rest}".strip()
        message = results(
            text,
            self._decided_s,
            now_s - self._decided_s,
            finalizes=True,
            speakers=self._speakers(first, self._rest),
        )
        self._begin()
        return message

    def _speakers(self, first: str, second: str) -> tuple[int, ...]:
        """Whose each word of the two halves is."""
        if not self._diarized:
            return ()
        return (0,) * len(first.split()) + (1,) * len(second.split())


async def _serve(double: Double, request: web.Request, wire: Wire) -> None:
    ear = _Ear(double.transcript, diarized=request.query.get("diarize") == "true")
    try:
        async for message in wire.messages(_PATIENCE_S):
            match message:
                case bytes() if wire.mode.kind != "raw":
                    for result in ear.hear(message):
                        await wire.send(result)
                case {"type": "Finalize"} if wire.mode.kind == "raw":
                    await wire.send_raw()
                case {"type": "Finalize"}:
                    await wire.send(ear.finalize())
                case {"type": "CloseStream"}:
                    await wire.send(_METADATA)
                    await wire.send((1000, ""))
                case bytes() | {"type": "KeepAlive"}:
                    pass
                case _:
                    await wire.send((1008, "DATA-0000"))
    except TimeoutError:
        await wire.send((1011, "NET-0001"))


_METADATA = {
    "type": "Metadata",
    "transaction_key": "deprecated",
    "request_id": "req-double",
    "sha256": "0" * 64,
    "created": "2026-01-01T00:00:00.000Z",
    "duration": 0.0,
    "channels": 1,
}


def _refuse(mode: Mode) -> web.Response:
    if mode.status not in _REFUSALS:
        return web.Response(status=mode.status, text="upstream error", headers=mode.headers)
    code, message = _REFUSALS[mode.status]
    body = mode.body or {"err_code": code, "err_msg": message, "request_id": "req-double"}
    return web.json_response(body, status=mode.status, headers=mode.headers)
