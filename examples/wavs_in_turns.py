"""Several WAV files as one conversation: each is a turn, and each reply is saved beside it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import wave

from websockets.asyncio.client import ClientConnection, connect

URL = os.environ.get("REALTIME_URL", "ws://127.0.0.1:8000/v1/realtime?model=gpt-realtime")
HEADERS = {"Authorization": f"Bearer {os.environ.get('REALTIME_API_KEY', 'any')}"}
INPUT = {"turn_detection": None, "transcription": {"model": "whisper-1"}}


async def turn(socket: ClientConnection, path: str, out: str) -> None:
    with wave.open(path) as file:  # 16-bit mono at 24 kHz
        audio = base64.b64encode(file.readframes(file.getnframes())).decode()
    for event in (
        {"type": "input_audio_buffer.append", "audio": audio},
        {"type": "input_audio_buffer.commit"},
        {"type": "response.create"},
    ):
        await socket.send(json.dumps(event))
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", "not compressed"))
        async for message in socket:
            event = json.loads(message)
            match event["type"]:
                case "conversation.item.input_audio_transcription.completed":
                    print(f"{path}: {event['transcript']}")
                case "response.output_audio.delta":
                    file.writeframes(base64.b64decode(event["delta"]))
                case "response.output_audio_transcript.done":
                    print(f"{out}: {event['transcript']}")
                case "response.done":
                    break
                case "error":
                    sys.exit(event["error"]["message"])


async def main(paths: list[str]) -> None:
    async with connect(URL, additional_headers=HEADERS) as socket:
        session = {"type": "realtime", "audio": {"input": INPUT}}
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        for number, path in enumerate(paths, 1):
            # The session remembers: the second turn may refer to the first.
            await turn(socket, path, f"reply-{number}.wav")


asyncio.run(main(sys.argv[1:]))
