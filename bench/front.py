"""The gateway's own front, socket and uvicorn, for the floor and the stock session."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket

from config import Settings
from process_group import ProcessGroup
from serving import SessionRegistry, build_server, listen

Serve = Callable[[WebSocket], Awaitable[None]]
"""Serves one accepted connection until it ends."""

_HOST = "127.0.0.1"
_PATH = "/v1/realtime"


def create_app(port: int, starting: AbstractAsyncContextManager[Serve]) -> FastAPI:
    """An application that prints its URL when it is up, and hands each connection on.

    Args:
        port: Where it is going to listen.
        starting: Entered before the first connection; gives what serves them.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with starting as app.state.serve:
            gc.collect()
            gc.freeze()
            print(f"ws://{_HOST}:{port}{_PATH}", flush=True)
            yield

    app = FastAPI(lifespan=lifespan)
    (alone,) = ProcessGroup.form(1)
    app.state.registry = SessionRegistry(alone)

    async def realtime(websocket: WebSocket) -> None:
        await websocket.accept("realtime")
        await app.state.serve(websocket)

    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    app.add_api_websocket_route(_PATH, realtime)
    app.add_api_route("/health", health)
    return app


def run(starting: AbstractAsyncContextManager[Serve]) -> None:
    """Serve on a free port until stopped."""
    with listen(_HOST, 0) as listener:
        app = create_app(listener.getsockname()[1], starting)
        server: uvicorn.Server = build_server(app, Settings())
        server.run(sockets=[listener])
