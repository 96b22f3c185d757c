"""A typed turn, answered aloud: the words as they come, and the speech as a WAV file."""

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


async def main(text: str, out: str) -> None:
    speech = bytearray()
    async with connect(URL, additional_headers=HEADERS) as socket:

        async def send(**event: object) -> None:
            await socket.send(json.dumps(event))

        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        # "audio" brings the transcript along: a reply is spoken or written, never both.
        await send(
            type="session.update", session={"type": "realtime", "output_modalities": ["audio"]}
        )
        await send(type="conversation.item.create", item=item)
        await send(type="response.create")
        async for message in socket:
            event = json.loads(message)
            match event["type"]:
                case "response.output_audio_transcript.delta":
                    print(event["delta"], end="", flush=True)
                case "response.output_audio.delta":
                    speech += base64.b64decode(event["delta"])
                case "response.done":
                    break
                case "error":
                    sys.exit(event["error"]["message"])
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", "not compressed"))
        file.writeframes(speech)
    print(f"\n{len(speech) / 48_000:.1f} s of speech in {out}")


arguments = sys.argv[1:]
asyncio.run(main(arguments[0] if arguments else "Hello!", (arguments[1:] or ["reply.wav"])[0]))
