"""The floor: the least any server can do with a client's audio, behind the gateway's own front.

It decodes JSON and base64, resamples to 16 kHz, runs the same batched turn detection and says where
speech starts and stops; it has no protocol, no pipeline and no reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import orjson
import pybase64
from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from processors.decimator import Decimator
from processors.vad_engine import VadEngine
from processors.vad_model import SileroModel

from . import front


@asynccontextmanager
async def floor() -> AsyncGenerator[front.Serve]:
    """Its turn detection, ready before the first connection."""
    engine = VadEngine(SileroModel())

    async def serve(websocket: WebSocket) -> None:
        await websocket.send_text('{"type":"session.created"}')
        async with asyncio.TaskGroup() as sending:

            def tell(event_type: str) -> Callable[[int], None]:
                text = f'{{"type":"input_audio_buffer.{event_type}"}}'

                def told(_: int) -> None:
                    sending.create_task(_send(websocket, text), name=event_type)

                return told

            await _listen(websocket, engine, tell("speech_started"), tell("speech_stopped"))

    yield serve
    await engine.close()


async def _send(websocket: WebSocket, text: str) -> None:
    with suppress(WebSocketDisconnect):
        await websocket.send_text(text)


async def _listen(
    websocket: WebSocket,
    engine: VadEngine,
    on_start: Callable[[int], None],
    on_stop: Callable[[int], None],
) -> None:
    stream = engine.open(on_start, on_stop)
    decimator = Decimator()
    try:
        while True:
            event = orjson.loads(await websocket.receive_text())
            samples = decimator.process(pybase64.b64decode(event["audio"]))
            if samples.size:
                stream.feed(samples)
    except WebSocketDisconnect:
        return
    finally:
        stream.close()


if __name__ == "__main__":
    front.run(floor())
