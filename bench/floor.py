"""The floor: the least any server can do with a client's audio, behind the gateway's own front.

It takes the WebSocket as the gateway does, decodes JSON and base64, resamples to 16 kHz and runs
the same batched turn detection; it has no protocol, no pipeline and no reply.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import numpy as np
import orjson
import pybase64
import soxr
import uvicorn
from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketDisconnect

from config import Settings
from main import SessionRegistry, build_server, listen
from processors.vad_engine import VadEngine
from processors.vad_model import SileroModel

_HOST = "127.0.0.1"


def create_floor(port: int) -> FastAPI:
    """The application; it prints its URL when it is up."""
    engine = VadEngine(SileroModel())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        print(f"ws://{_HOST}:{port}/v1/realtime", flush=True)
        gc.collect()
        gc.freeze()
        yield
        await engine.close()

    app = FastAPI(lifespan=lifespan)
    app.state.registry = SessionRegistry()

    async def listen_to(websocket: WebSocket) -> None:
        await websocket.accept("realtime")
        await websocket.send_text('{"type":"session.created"}')
        stream = engine.open(lambda _: None, lambda _: None)
        resampler = soxr.ResampleStream(24_000, 16_000, 1, dtype="float32", quality="HQ")
        try:
            while True:
                event = orjson.loads(await websocket.receive_text())
                pcm = np.frombuffer(pybase64.b64decode(event["audio"]), np.int16)
                samples = resampler.resample_chunk(pcm.astype(np.float32) * np.float32(1 / 32768))
                if samples.size:
                    stream.feed(samples)
        except WebSocketDisconnect:
            return
        finally:
            stream.close()

    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    app.add_api_websocket_route("/v1/realtime", listen_to)
    app.add_api_route("/health", health)
    return app


def serve() -> None:
    """Serve on a free port until stopped."""
    with listen(_HOST, 0) as listener:
        server: uvicorn.Server = build_server(create_floor(listener.getsockname()[1]), Settings())
        server.run(sockets=[listener])


if __name__ == "__main__":
    serve()
