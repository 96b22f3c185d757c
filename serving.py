"""A running server: its socket, its live sessions, and the order in which they go down.

It must not know what an application of `create_app` is made of.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI

from config import Settings
from process_group import ProcessGroup
from protocol import ConfigError
from workers import HandedServer, Handover

logger = logging.getLogger("realtime")

DRAIN_DEADLINE_S = 5.0
WS_MAX_SIZE_BYTES = 64 * 1024 * 1024
"""Above what a session answers with an error event, so that the error can be sent at all."""
COLLECT_EVERY_SESSIONS = 2_000
"""What libraries leave behind of a closed session, vendors' sockets for one, may be old cyclic
garbage (tens of kB): it is collected when nobody talks, or after so many."""


class LiveSession(Protocol):
    """What the process needs of a session."""

    async def run(self) -> None: ...
    def shutdown(self, reason: str) -> None: ...
    def waiting(self) -> Mapping[str, int]: ...


@dataclass(slots=True)
class SessionRegistry:
    """The live sessions of the process; collects what they leave behind at quiet moments.

    Attributes:
        group: Knows those of the other processes.
        draining: Whether the process is going down.
    """

    group: ProcessGroup
    draining: bool = False
    _sessions: set[LiveSession] = field(default_factory=set[LiveSession])
    _empty: asyncio.Event = field(default_factory=asyncio.Event)
    _closed_since_collection: int = 0

    def __len__(self) -> int:
        """How many sessions are open in all processes of the gateway."""
        return self.group.open_sessions()

    def waiting(self) -> dict[str, int]:
        """What waits in the queues of all sessions."""
        total: Counter[str] = Counter()
        for session in self._sessions:
            total.update(session.waiting())
        return dict(total)

    @contextmanager
    def track(self, session: LiveSession) -> Generator[None]:
        """Count `session` while the block runs."""
        self._sessions.add(session)
        self.group.session_opened()
        try:
            yield
        finally:
            self._sessions.discard(session)
            self.group.session_closed()
            self._closed_since_collection += 1
            if not self._sessions:
                self._empty.set()
            if not self._sessions or self._closed_since_collection >= COLLECT_EVERY_SESSIONS:
                self._closed_since_collection = 0
                asyncio.get_running_loop().call_soon(gc.collect)

    async def drain(self) -> None:
        """Ask every session to end with 1001 and wait for them, `DRAIN_DEADLINE_S` at most."""
        self.draining = True
        self._empty.clear()
        for session in tuple(self._sessions):
            session.shutdown("The server is shutting down.")
        if self._sessions:
            try:
                async with asyncio.timeout(DRAIN_DEADLINE_S):
                    await self._empty.wait()
            except TimeoutError:
                logger.warning("%d sessions did not end in time", len(self._sessions))


class _Server(uvicorn.Server):
    """uvicorn that lets the sessions say goodbye first: it closes sockets with 1012 itself."""

    registry: SessionRegistry

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.registry.drain()
        await super().shutdown(sockets)


class _Worker(_Server, HandedServer):
    """The same on connections that another process has accepted."""


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything slow happens, so that a taken one is reported at once.

    Raises:
        OSError: its `strerror` is the whole sentence for the operator.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # localhost gives both families; IPv4 is what every client tries.
        family, kind, protocol, _, address = min(found, key=lambda row: row[0] != socket.AF_INET)
        # Without the protocol's number asyncio leaves Nagle's algorithm on, which costs 40 ms.
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise OSError(exc.errno, f"cannot listen on {host}: {exc.strerror}") from None
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            wanted = f"port {port} of {host} is already in use: choose another with --port"
            raise OSError(exc.errno, wanted) from None
        raise OSError(exc.errno, f"cannot listen on {host}:{port}: {exc.strerror}") from None
    return listener


def _letting_go_of_http(http_protocol: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, but that it is freed when its connection becomes a WebSocket.

    It and its parser hold each other, which uvicorn ends with the connection; a connection that is
    handed on ends elsewhere, and left kilobytes of each session to the garbage collector.
    """

    class LettingGo(http_protocol):
        def handle_websocket_upgrade(self, *event: Any) -> None:
            super().handle_websocket_upgrade(*event)  # type: ignore[misc]  # not in asyncio's
            self.parser = None

    return LettingGo


def _letting_go_of_parser(ws_protocol: Any) -> Any:
    """uvicorn's WebSocket protocol, but that its connection is freed when it is lost.

    The parser of `websockets` is a generator that holds what holds it.
    """

    class LettingGo(ws_protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.conn.parser.close()

    return LettingGo


def build_server(
    app: FastAPI, settings: Settings, handover: Handover | None = None
) -> uvicorn.Server:
    """uvicorn for an app of `create_app`.

    Args:
        app: What to serve.
        settings: The certificate, if there is one.
        handover: Where a worker's connections come from; without it, run the server on a socket
            of `listen`.

    Raises:
        ConfigError: the certificate and its key cannot be used.
    """
    server = settings.server
    config = uvicorn.Config(
        app,
        loop="auto",  # uvloop where it can be installed
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=WS_MAX_SIZE_BYTES,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        # Compressing base64 audio costs CPU and gains nothing.
        ws_per_message_deflate=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
        ssl_certfile=server.ssl_certfile,
        ssl_keyfile=server.ssl_keyfile,
    )
    try:
        config.load()
    except (ssl.SSLError, OSError) as exc:
        raise ConfigError(
            "SSL_CERTFILE", f"must be a PEM certificate that fits SSL_KEYFILE ({exc})"
        ) from None
    config.http_protocol_class = _letting_go_of_http(config.http_protocol_class)
    config.ws_protocol_class = _letting_go_of_parser(config.ws_protocol_class)
    running = _Server(config) if handover is None else _Worker(config, handover)
    running.registry = app.state.registry
    return running
