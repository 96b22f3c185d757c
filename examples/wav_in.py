"""One WAV file in: what was heard, and the answer as text."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import wave

from websockets.asyncio.client import connect

URL = os.environ.get("REALTIME_URL", "ws://127.0.0.1:8000/v1/realtime?model=gpt-realtime")
HEADERS = {"Authorization": f"Bearer {os.environ.get('REALTIME_API_KEY', 'any')}"}
SESSION = {
    "type": "realtime",
    "output_modalities": ["text"],
    # The file is the turn: nobody needs to find out where it ends.
    "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}},
}


def read(path: str) -> str:
    """The samples of a WAV file, as base64."""
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (24_000, 1, 2):
            sys.exit(f"{path} must be 16-bit mono at 24 kHz: sox IN.wav -r 24000 -c 1 -b 16 {path}")
        return base64.b64encode(file.readframes(file.getnframes())).decode()


async def main(path: str) -> None:
    async with connect(URL, additional_headers=HEADERS) as socket:
        for event in (
            {"type": "session.update", "session": SESSION},
            {"type": "input_audio_buffer.append", "audio": read(path)},
            {"type": "input_audio_buffer.commit"},
            {"type": "response.create"},
        ):
            await socket.send(json.dumps(event))
        async for message in socket:
            event = json.loads(message)
            match event["type"]:
                case "conversation.item.input_audio_transcription.completed":
                    print("heard:", event["transcript"])
                case "response.output_text.done":
                    print("answer:", event["text"])
                case "response.done":
                    break
                case "error":
                    sys.exit(event["error"]["message"])


asyncio.run(main(sys.argv[1]))
