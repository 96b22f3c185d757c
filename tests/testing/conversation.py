"""A conversation of typed and spoken turns, and its frames without ids and times."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

_ID = re.compile(r'"((?:sess|event|resp|item|conv|call)_[A-Za-z0-9]+)"')
_TIME = re.compile(r'"expires_at":\d+')
_TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
_TURN_TIMEOUT_S = 30


def masked(frames: Sequence[str]) -> list[str]:
    """The frames with ids by the order in which they first come, and without times."""
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        found = match[1]
        kind = found.partition("_")[0]
        return f'"{names.setdefault(found, f"{kind}_{len(names)}")}"'

    return [_TIME.sub('"expires_at":0', _ID.sub(name, frame)) for frame in frames]


async def converse(
    port: int, *, chunk_bytes: int, pause_s: float, patient: bool = True
) -> list[str]:
    """Hold the conversation.

    Args:
        port: Where the server listens.
        chunk_bytes: How the audio of spoken turns is cut up.
        pause_s: How long the client waits between two chunks.
        patient: Whether it waits for the transcript of a spoken turn before it asks for the reply.

    Returns:
        All frames of the server as they came.
    """
    frames: list[str] = []
    url = f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime"
    async with connect(url, max_size=None) as socket:
        talk = _Talk(socket, frames)
        await talk.until("session.created")
        audio = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
        session = {"type": "realtime", "audio": audio, "tools": [_TOOL]}
        await talk.send("session.update", session=session)
        await talk.until("session.updated")
        for text in ("a story", "a song", "break", "something else"):
            content = [{"type": "input_text", "text": text}]
            item = {"type": "message", "role": "user", "content": content}
            await talk.send("conversation.item.create", item=item)
            await talk.send("response.create")
            await talk.until("response.done")
        for _ in range(2):
            await talk.speak(bytes(96_000), chunk_bytes, pause_s, patient=patient)
        for event in [json.loads(frame) for frame in frames]:
            if event["type"] == "response.function_call_arguments.done":
                output = {"call_id": event["call_id"], "output": '{"degrees": 7}'}
                item = {"type": "function_call_output", **output}
                await talk.send("conversation.item.create", item=item)
        await talk.send("response.create")
        await talk.until("response.done")
    return frames


class _Talk:
    def __init__(self, socket: ClientConnection, frames: list[str]) -> None:
        self._socket = socket
        self._frames = frames

    async def send(self, kind: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, *kinds: str) -> None:
        """Take frames until each kind has come."""
        missing = set(kinds)
        async with asyncio.timeout(_TURN_TIMEOUT_S):
            while missing:
                frame = str(await self._socket.recv())
                self._frames.append(frame)
                missing.discard(json.loads(frame)["type"])

    async def speak(self, pcm: bytes, chunk_bytes: int, pause_s: float, *, patient: bool) -> None:
        transcribed = "conversation.item.input_audio_transcription.completed"
        for start in range(0, len(pcm), chunk_bytes):
            audio = base64.b64encode(pcm[start : start + chunk_bytes]).decode()
            await self.send("input_audio_buffer.append", audio=audio)
            await asyncio.sleep(pause_s)
        await self.send("input_audio_buffer.commit")
        if patient:
            await self.until(transcribed)
        await self.send("response.create")
        await self.until("response.done", *(() if patient else (transcribed,)))
