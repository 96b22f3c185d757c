"""A telephone call: a bridge between Twilio media streams and the gateway, µ-law both ways."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from websockets.asyncio.client import ClientConnection, connect

URL = os.environ.get("REALTIME_URL", "ws://127.0.0.1:8000/v1/realtime?model=gpt-realtime")
HEADERS = {"Authorization": f"Bearer {os.environ.get('REALTIME_API_KEY', 'any')}"}
ULAW = {"type": "audio/pcmu"}
SESSION = {
    "type": "realtime",
    "instructions": "You are on the telephone. Be brief.",
    "audio": {
        "input": {"format": ULAW, "turn_detection": {"type": "server_vad"}},
        "output": {"format": ULAW},
    },
}
app = FastAPI()


@app.post("/incoming-call")
async def incoming_call(request: Request) -> Response:
    stream = f"wss://{request.headers['host']}/media-stream"
    twiml = f'<Response><Connect><Stream url="{stream}"/></Connect></Response>'
    return Response(twiml, media_type="text/xml")


@app.websocket("/media-stream")
async def media_stream(call: WebSocket) -> None:
    await call.accept()
    async with connect(URL, additional_headers=HEADERS) as gateway, asyncio.TaskGroup() as tasks:
        await gateway.send(json.dumps({"type": "session.update", "session": SESSION}))
        async for frame in call.iter_json():
            match frame["event"]:
                case "start":
                    tasks.create_task(play(gateway, call, frame["start"]["streamSid"]))
                case "media":
                    append = {"type": "input_audio_buffer.append"}
                    await gateway.send(json.dumps(append | {"audio": frame["media"]["payload"]}))
                case "stop":
                    break
        await gateway.close()  # ends `play` too


async def play(gateway: ClientConnection, call: WebSocket, stream_sid: str) -> None:
    """Hand the gateway's speech to the caller, and stop it when the caller speaks."""
    async for message in gateway:
        event: dict[str, Any] = json.loads(message)
        frame: dict[str, Any] = {"streamSid": stream_sid}
        if event["type"] == "response.output_audio.delta":
            await call.send_json(frame | {"event": "media", "media": {"payload": event["delta"]}})
        elif event["type"] == "input_audio_buffer.speech_started":
            await call.send_json(frame | {"event": "clear"})  # drop what Twilio has not played


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "5050")))
