"""A real uvicorn around the gateway, with stand-ins for engines and sessions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI

import main
from config import ServerSettings, Settings
from handshake import Handshake
from protocol import (
    Disconnected,
    InputAudioClear,
    InputAudioCleared,
    InvalidRequest,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    SessionView,
    error_event,
)
from realtime_session import first_settings
from tests.fakes import FakeVadEngine
from transport import Connection


def server_settings(**server: Any) -> Settings:
    """Default settings but for `server`, free of this machine's environment."""
    return Settings(server=ServerSettings.model_validate(server))


class FakeEngines:
    """Engines that do nothing but remember whether they run."""

    stt = SimpleNamespace(name="fake", languages=frozenset({"en"}))
    vad = FakeVadEngine()

    def __init__(self, failure: Exception | None = None) -> None:
        self.running = False
        self.failure = failure
        self.failures: list[dict[str, str]] = []

    async def start(self) -> None:
        if self.failure:
            raise self.failure
        self.running = True

    async def close(self) -> None:
        self.running = False

    def describe(self) -> list[tuple[str, str, str]]:
        return [("stt", "pocketsphinx (general)", "nothing else is configured")]

    def stack(self, model: str) -> Any:
        return SimpleNamespace(stt=self.stt, settings=None)

    def failing(self) -> list[dict[str, str]]:
        return self.failures


class FakeSession:
    """A session without a conversation: it answers what needs no core, and every error."""

    def __init__(
        self, connection: Connection, engines: Any, settings: Settings, handshake: Handshake
    ):
        self._connection = connection
        changes = handshake.secret.session if handshake.secret else None
        first = first_settings(settings, handshake.model, changes)
        self._view = SessionView("sess_1", 3600, first)
        self._shutdown = asyncio.Event()
        self._reason = ""

    def waiting(self) -> dict[str, int]:
        return {}

    def shutdown(self, reason: str) -> None:
        self._reason = reason
        self._shutdown.set()

    async def run(self) -> None:
        self._connection.send(SessionCreated(self._view))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._connection.write_forever(), name="writer")
                tasks.create_task(self._answer(), name="reader")
                tasks.create_task(self._end_on_shutdown(), name="shutdown")
        except* Disconnected:
            self._shutdown.set()

    async def _answer(self) -> None:
        while True:
            try:
                event = await self._connection.receive()
            except InvalidRequest as refusal:
                self._connection.send(error_event(refusal))
                continue
            match event:
                case InputAudioClear():
                    self._connection.send(InputAudioCleared())
                case SessionUpdate(session) if session.get("instructions") == "crash":
                    raise RuntimeError("a secret detail of a bug")
                case SessionUpdate():
                    self._connection.send(SessionUpdated(self._view))
                case _:
                    pass

    async def _end_on_shutdown(self) -> None:
        await self._shutdown.wait()
        await self._connection.close(1001, self._reason)
        raise Disconnected(1001)


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A running gateway; `stop()` is what SIGTERM does."""

    port: int
    engines: FakeEngines
    app: FastAPI
    _server: Any

    def url(self, path: str = "/v1/realtime", scheme: str = "ws") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def stop(self) -> None:
        self._server.should_exit = True


@contextmanager
def live_server(settings: Settings | None = None) -> Generator[LiveServer]:
    """Run the gateway in a thread on a free port; connections wait until it is ready."""
    settings = settings or Settings()
    engines: Any = FakeEngines()
    app = main.create_app(
        settings, engines=engines, session_factory=FakeSession, announce=lambda ready: None
    )
    server = main.build_server(app, settings)
    with main.listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        live = LiveServer(listener.getsockname()[1], engines, app, server)
        try:
            yield live
        finally:
            live.stop()
            thread.join()
