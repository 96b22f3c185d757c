"""One turn with one fault: what the client sees of it, in a few words."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from realtime_server import RealtimeServer

_AUDIO = base64.b64encode(bytes(24_000)).decode()


@dataclass(slots=True)
class Seen:
    """What a client saw of a turn."""

    types: list[str] = field(default_factory=list[str])
    transcript: str | None = None
    failed_transcript: str | None = None
    said: str = ""
    arguments: str | None = None
    audio_bytes: int = 0
    status: str | None = None
    reason: str | None = None
    errors: list[str] = field(default_factory=list[str])
    odd_frames: list[str] = field(default_factory=list[str])
    close: tuple[int, str] | None = None
    session: str = ""

    @property
    def outcome(self) -> str:
        """The whole turn in a few words."""
        words: list[str] = []
        if self.failed_transcript is not None:
            words.append(f"transcript failed: {self.failed_transcript}")
        elif self.transcript is not None:
            words.append(f"heard {self.transcript!r}")
        if self.errors:
            words.append("error event: " + ", ".join(self.errors))
        words += [f"frame {frame}" for frame in self.odd_frames]
        if self.arguments is not None:
            words.append(f"called with {self.arguments}")
        if self.status is not None:
            reason = f" ({self.reason})" if self.reason else ""
            said = f" {self.said!r}" if self.said else " nothing"
            voice = f" in {self.audio_bytes} bytes" if self.audio_bytes else ""
            words.append(f"{self.status}{reason}:{said}{voice}")
        if self.close is not None:
            words.append("closed {} {!r}".format(*self.close))
        elif self.status is None:
            words.append("then nothing")
        return "; ".join(words)


class App:
    """A client that is good enough to see everything.

    Attributes:
        patience_s: How long nothing may come before it counts as silence.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.session = ""
        self.patience_s = 20.0

    @classmethod
    async def open(cls, server: RealtimeServer) -> App:
        app = cls(await connect(server.url))
        app.session = json.loads(await app._socket.recv())["session"]["id"]
        await app.send(
            "session.update",
            session={
                "type": "realtime",
                "audio": {
                    "input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}
                },
                "tools": [{"type": "function", "name": "get_weather", "parameters": {}}],
            },
        )
        return app

    async def close(self) -> None:
        await self._socket.close()

    async def send(self, kind: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def speak(self) -> Seen:
        """A spoken turn: half a second of audio, committed by hand."""
        await self.send("input_audio_buffer.append", audio=_AUDIO)
        await self.send("input_audio_buffer.commit")
        await self.send("response.create")
        return await self._watch(spoken=True)

    async def type(self, text: str, *, modality: str = "audio") -> Seen:
        """A typed turn."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send("conversation.item.create", item=item)
        return await self.ask(output_modalities=[modality])

    async def ask(self, **response: Any) -> Seen:
        """A response that the client asks for."""
        await self.send("response.create", response=response)
        return await self._watch(spoken=False)

    async def _watch(self, *, spoken: bool) -> Seen:
        seen = Seen(session=self.session)
        try:
            while not self._over(seen, spoken):
                async with asyncio.timeout(self.patience_s):
                    frame = await self._socket.recv(decode=True)
                self._take(seen, str(frame))
        except TimeoutError:
            pass
        except ConnectionClosed as gone:
            seen.close = (gone.rcvd.code, gone.rcvd.reason) if gone.rcvd else (1006, "")
        return seen

    @staticmethod
    def _over(seen: Seen, spoken: bool) -> bool:
        heard = seen.transcript is not None or seen.failed_transcript is not None
        return seen.status is not None and (heard or not spoken)

    @staticmethod
    def _take(seen: Seen, frame: str) -> None:
        try:
            event = json.loads(frame)
        except ValueError:
            seen.odd_frames.append("empty" if not frame else f"cut off, begins {frame[:24]!r}")
            return
        seen.types.append(event["type"])
        match event["type"]:
            case "conversation.item.input_audio_transcription.completed":
                seen.transcript = event["transcript"]
            case "conversation.item.input_audio_transcription.failed":
                seen.failed_transcript = event["error"]["message"]
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                seen.said += event["delta"]
            case "response.output_audio.delta":
                seen.audio_bytes += len(base64.b64decode(event["delta"]))
            case "response.function_call_arguments.done":
                seen.arguments = event["arguments"]
            case "error":
                seen.errors.append(event["error"]["message"])
            case "response.done":
                response = event["response"]
                details = response["status_details"] or {}
                seen.status = response["status"]
                seen.reason = (details.get("error") or {}).get("message") or details.get("reason")
            case _:
                pass
