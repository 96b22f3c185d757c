"""The composition root: app factory, routes, process life cycle and command line.

It puts the parts together and must not know what any of them does. Engines and sessions are
imported when the server starts, not here: Pipecat takes seconds to import, which `--help` and
the worker processes that re-import this module need not wait for.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import re
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

import process_audio
import rest
import transport
import web_console
from client_secrets import ClientSecrets
from config import Settings, load_settings
from conversation_store import conversation_store
from core.mcp_policy import check_tools
from core.session_settings import check_language
from dialects.objects import http_error
from handshake import Handshake
from profiles import load_profiles
from protocol import ConfigError, ProviderError, Session, SessionKind
from transport import Connection

if TYPE_CHECKING:
    from service_providers import Engines
else:
    Engines = Any

logger = logging.getLogger("realtime")

REALTIME_PATHS = ("/v1/realtime", "/openai/v1/realtime", "/openai/realtime")
REST_PREFIXES = ("/v1", "/openai/v1")
DRAIN_DEADLINE_S = 5.0
WS_MAX_SIZE_BYTES = 64 * 1024 * 1024
"""Above what a session answers with an error event, so that the error can be sent at all."""
EMBEDDED_ENGINES = ("pocketsphinx", "scripted", "espeak", "tone")


class LiveSession(Protocol):
    """What the process needs of a session."""

    async def run(self) -> None: ...
    def shutdown(self, reason: str) -> None: ...


SessionFactory = Callable[[Connection, Engines, Settings, Handshake], LiveSession]


COLLECT_EVERY_SESSIONS = 500
"""Closed sessions are cyclic garbage: it is collected when nobody talks, or after so many."""


@dataclass(slots=True)
class SessionRegistry:
    """The live sessions of the process; collects what they leave behind at quiet moments."""

    draining: bool = False
    _sessions: set[LiveSession] = field(default_factory=set[LiveSession])
    _empty: asyncio.Event = field(default_factory=asyncio.Event)
    _closed_since_collection: int = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @contextmanager
    def track(self, session: LiveSession) -> Generator[None]:
        """Count `session` while the block runs."""
        self._sessions.add(session)
        try:
            yield
        finally:
            self._sessions.discard(session)
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


# --- the application ------------------------------------------------------------------------


def create_app(
    settings: Settings | None = None,
    *,
    engines: Engines | None = None,
    session_factory: SessionFactory | None = None,
    announce: Callable[[Engines], None] | None = None,
) -> FastAPI:
    """Build the gateway.

    Args:
        settings: None reads the environment and `.env`.
        engines: None builds those the settings name, when the application starts.
        session_factory: None runs a `RealtimeSession` for each connection.
        announce: Called with the engines once they are up; None prints their table.

    Raises:
        ConfigError: a setting the process cannot start with.
    """
    settings = load_settings() if settings is None else settings
    registry = SessionRegistry()
    secrets = ClientSecrets.from_settings(settings.server)
    make_session = session_factory or partial(_realtime_session, turnstile=asyncio.Lock())
    store = conversation_store(settings.uploads)
    _keep_keys_out_of_server_logs()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        try:
            running = build_engines(settings) if engines is None else engines
            await store.start()
            await running.start()
            if session_factory is None:
                await _warm_up(running)
        except Exception as exc:
            app.state.startup_error = exc
            raise
        app.state.engines = running
        (announce or (lambda ready: print(banner(ready), flush=True)))(running)
        thresholds = _tame_the_collector()
        try:
            yield
        finally:
            # Under `uvicorn main:app` uvicorn has closed the sockets with 1012 by now; `run()`
            # drains before that.
            await registry.drain()
            await running.close()
            await store.close()
            gc.unfreeze()
            gc.set_threshold(*thresholds)

    app = _Gateway(
        title="Realtime gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.startup_error = None
    app.state.registry = registry
    app.state.settings = settings

    async def realtime(websocket: WebSocket) -> None:
        async def open_session(connection: Connection, handshake: Handshake) -> None:
            if registry.draining:
                await connection.close(1001, "The server is shutting down.")
                return
            session = make_session(connection, app.state.engines, settings, handshake)
            with registry.track(session):
                await session.run()

        await transport.serve(websocket, settings, secrets, open_session)

    async def run_local(model: str, connection: Any) -> None:
        if registry.draining:
            return
        handshake = Handshake(model, "ga", pinned=True)
        session = make_session(connection, app.state.engines, settings, handshake)
        with registry.track(session):
            await session.run()

    def first_session(model: str, changes: Mapping[str, Any], kind: SessionKind) -> Session:
        return _first_session(settings, app.state.engines, model, changes, kind)

    async def unknown_socket(websocket: WebSocket) -> None:
        message = f"Invalid URL (WebSocket {websocket.url.path}). Connect to /v1/realtime."
        await websocket.send_denial_response(JSONResponse(http_error(message), 404))

    async def not_a_socket() -> JSONResponse:
        message = "This is a WebSocket endpoint: connect with ws:// or wss://."
        return JSONResponse(http_error(message), 426, {"Upgrade": "websocket"})

    async def health() -> dict[str, str | int]:
        return {"status": "healthy", "active_sessions": len(registry)}

    async def ready() -> JSONResponse:
        if registry.draining:
            return JSONResponse({"status": "unavailable", "reason": "shutting down"}, 503)
        if failing := app.state.engines.failing():
            return JSONResponse({"status": "unavailable", "failing": failing}, 503)
        return JSONResponse({"status": "ready"})

    profiles = load_profiles(settings)
    models = profiles.names if profiles else (settings.session.model,)
    endpoints = rest.router(settings, secrets, first_session, transport.new_id, models)
    for prefix in REST_PREFIXES:
        app.include_router(endpoints, prefix=prefix)
    app.include_router(process_audio.router(settings, store, run_local, transport.new_id))
    app.add_middleware(rest.BrowserAccess, settings=settings)
    app.add_api_websocket_route("/", realtime)
    for path in REALTIME_PATHS:
        for route in (path, f"{path}/"):
            app.add_api_websocket_route(route, realtime)
            app.add_api_route(route, not_a_socket)
    app.add_api_websocket_route("/{path:path}", unknown_socket)
    app.add_api_route("/health", health)
    app.add_api_route("/ready", ready)
    web_console.install(app)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _server_error)
    return app


class _Gateway(FastAPI):
    """FastAPI that reports a failed start in one line instead of a traceback."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await super().__call__(scope, receive, send)
            return

        async def send_plainly(message: Message) -> None:
            error: Exception | None = self.state.startup_error
            if isinstance(error, ConfigError | ProviderError):
                print(f"error: {error}", file=sys.stderr)
                message = {"type": message["type"]}
            await send(message)

        await super().__call__(scope, receive, send_plainly)


def build_engines(settings: Settings) -> Engines:
    """The engines the settings name and the process's VAD and turn models; not started yet."""
    import service_providers
    from processors.smart_turn import SmartTurn
    from processors.vad_engine import VadEngine
    from processors.vad_model import SileroModel

    return service_providers.Engines.from_settings(settings, VadEngine(SileroModel()), SmartTurn())


def _tame_the_collector() -> tuple[int, int, int]:
    """Keep garbage collection out of people's turns; returns the thresholds to restore.

    What is loaded now stays until the end: out of the collector's sight, it is not walked again.
    Young garbage is collected less often, old garbage by `SessionRegistry` at quiet moments: with
    Python's own thresholds a burst of opening sessions held the others up for over 100 ms (see
    bench/README.md).
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 1_000)
    return thresholds


async def _warm_up(engines: Engines) -> None:
    """Import what sessions are made of, before the first client waits for it."""
    import realtime_session  # noqa: F401  (imported for its own sake)
    from pipeline_manager import EngineSet, warm_up

    for stack in engines.stacks:
        await warm_up(EngineSet(stack.stt, stack.llm, stack.tts, stack.vad, stack.judge))


def _first_session(
    settings: Settings,
    engines: Engines,
    model: str,
    changes: Mapping[str, Any],
    kind: SessionKind,
) -> Session:
    """What a session with these changes would start with, checked as a `session.update` is."""
    from realtime_session import first_settings, mcp_policy

    stack = engines.stack(model)
    session = first_settings(stack.settings or settings, model, changes, kind)
    check_language(session, stack.stt.languages, stack.stt.name)
    check_tools(session.tools, mcp_policy(settings), "session.tools")
    return session


def _realtime_session(
    connection: Connection,
    engines: Engines,
    settings: Settings,
    handshake: Handshake,
    *,
    turnstile: asyncio.Lock,
) -> LiveSession:
    from mcp_client import McpClient
    from pipeline_manager import EngineSet, PipelineManager
    from realtime_session import RealtimeSession, first_settings

    changes = handshake.secret.session if handshake.secret else None

    stack = engines.stack(handshake.model)
    settings = stack.settings or settings
    engine_set = EngineSet(
        stack.stt, stack.llm, stack.tts, stack.vad, stack.judge, health=stack.health
    )
    return RealtimeSession(
        connection,
        stack,
        settings,
        first=first_settings(settings, handshake.model, changes, handshake.kind),
        open_pipeline=partial(PipelineManager, engine_set),
        open_mcp=partial(McpClient, settings.mcp),
        new_id=transport.new_id,
        turnstile=turnstile,
    )


async def _http_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    message = str(exc.detail)
    code = None
    if exc.status_code == 404:
        message = f"Invalid URL ({request.method} {request.url.path})"
    elif exc.status_code == 405:
        code = "method_not_supported"
        message = f"Not allowed to {request.method} on {request.url.path}."
    return JSONResponse(http_error(message, code), exc.status_code, exc.headers)


async def _server_error(request: Request, exc: Exception) -> JSONResponse:
    body = http_error("The server had an error while processing your request.")
    body["error"]["type"] = "server_error"
    return JSONResponse(body, 500)


# --- what the operator sees -----------------------------------------------------------------


def banner(engines: Engines, urls: Sequence[str] = ()) -> str:
    """The start-up table: which engine serves each stage and why, then where to connect."""
    rows = [("stage", "engine", "why"), *engines.describe()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    if any(engine.startswith(EMBEDDED_ENGINES) for _, engine, _ in engines.describe()):
        lines += [
            "",
            "  The embedded engines are for trying and testing, not for production: "
            "set STT_PROVIDER,",
            "  LLM_PROVIDER and TTS_PROVIDER to use others (the README lists them).",
        ]
    if urls:
        lines += ["", *(f"  {url}" for url in urls)]
    return "\n".join(["", *lines, ""])


def _urls(host: str, port: int, tls: bool) -> tuple[str, str]:
    shown = "localhost" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host
    secure = "s" if tls else ""
    return f"ws{secure}://{shown}:{port}/v1/realtime", f"http{secure}://{shown}:{port}/health"


def exposure_warning(settings: Settings) -> str:
    """What to say loudly when the network can reach a gateway without a key; else ""."""
    host = settings.server.host
    is_loopback = host in {"localhost", "::1"} or host.startswith("127.")
    if settings.server.api_key is not None or is_loopback:
        return ""
    lines = (
        f"WARNING: listening on {host} without an API key.",
        "Everybody who can reach this machine can hold conversations here and use the engines",
        "behind it. Set API_KEY (or --api-key), or listen on 127.0.0.1.",
    )
    rule = "!" * 90
    return "\n".join((rule, *(f"!! {line}" for line in lines), rule))


# --- logging --------------------------------------------------------------------------------

_SECRET_QUERY = re.compile(r"((?:api-key|api_key|key|token)=)[^&\s\"]+", re.IGNORECASE)


def configure_logging(debug: bool) -> None:
    """Send logs to stderr, and Pipecat's loguru into them: warnings, or all with `debug`."""
    from loguru import logger as loguru_logger

    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("realtime").setLevel(level)

    def forward(message: Any) -> None:
        record = message.record
        target = logging.getLogger(str(record["name"] or "pipecat"))
        target.log(record["level"].no, "%s", record["message"], exc_info=record["exception"])

    if debug:
        logging.getLogger("pipecat").setLevel(logging.DEBUG)
    loguru_logger.remove()
    loguru_logger.add(forward, level="DEBUG" if debug else "WARNING", format="{message}")


class _RedactKeys(logging.Filter):
    """uvicorn logs the whole URL of an upgrade, which may hold `?api-key=`."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _SECRET_QUERY.sub(r"\1***", arg) if isinstance(arg, str) else arg
                for arg in record.args
            )
        return True


class _PassOver(logging.Filter):
    """Drops what uvicorn logs as an error of ours after each refused upgrade: it counts only an
    accepted one as an answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing handshake" not in record.getMessage()


def _keep_keys_out_of_server_logs() -> None:
    for name in ("uvicorn.error", "uvicorn.access"):
        server_logger = logging.getLogger(name)
        if not any(isinstance(entry, _RedactKeys) for entry in server_logger.filters):
            server_logger.addFilter(_RedactKeys())
            server_logger.addFilter(_PassOver())
    # At DEBUG the websockets library writes every header and frame through this logger, keys
    # and audio included.
    server_logger = logging.getLogger("uvicorn.error")
    if server_logger.getEffectiveLevel() < logging.INFO:
        server_logger.setLevel(logging.INFO)


# --- command line ---------------------------------------------------------------------------

_OPTIONS = {
    "host": "SERVER_HOST",
    "port": "SERVER_PORT",
    "api_key": "API_KEY",
    "ssl_certfile": "SSL_CERTFILE",
    "ssl_keyfile": "SSL_KEYFILE",
    "script": "SCRIPT_FILE",
    "dialect": "REALTIME_DIALECT",
}


class _Server(uvicorn.Server):
    """uvicorn that lets the sessions say goodbye first: it closes sockets with 1012 itself."""

    def __init__(self, config: uvicorn.Config, registry: SessionRegistry) -> None:
        super().__init__(config)
        self._registry = registry

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._registry.drain()
        await super().shutdown(sockets)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="main.py",
        description="Serve the OpenAI Realtime API over Pipecat.",
        epilog="Every option overrides its environment variable; .env.example lists them all.",
    )
    parser.add_argument("--host", help="address to listen on [SERVER_HOST, 127.0.0.1]")
    parser.add_argument("--port", help="port to listen on, 0 = a free one [SERVER_PORT, 8000]")
    parser.add_argument("--api-key", help="key clients must present [API_KEY]")
    parser.add_argument("--ssl-certfile", help="certificate chain for wss: [SSL_CERTFILE]")
    parser.add_argument("--ssl-keyfile", help="private key for wss: [SSL_KEYFILE]")
    parser.add_argument("--script", help="YAML file of the scripted responder [SCRIPT_FILE]")
    parser.add_argument("--dialect", help="auto, ga or beta [REALTIME_DIALECT]")
    parser.add_argument("--debug", action="store_true", help="log wire events [DEBUG]")
    parser.add_argument(
        "--check", action="store_true", help="try every engine once, say what to fix, and end"
    )
    return parser


def parse_arguments(argv: Sequence[str] | None = None) -> dict[str, str]:
    """The command line as environment variables, so that one set of rules checks both."""
    arguments = vars(_parser().parse_args(argv))
    overrides = {_OPTIONS[name]: arguments[name] for name in _OPTIONS if arguments[name]}
    return overrides | ({"DEBUG": "true"} if arguments["debug"] else {})


def run(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped, or check the engines.

    Returns:
        The exit code: 1 = cannot listen or start, or an engine failed its check; 2 = a bad setting.
    """
    overrides = parse_arguments(argv)
    try:
        settings = load_settings({**os.environ, **overrides})
        configure_logging(settings.server.debug)
        if _parser().parse_args(argv).check:
            from doctor import check

            return asyncio.run(check(settings))
        with listen(settings.server.host, settings.server.port) as listener:
            return _run_server(settings, listener)
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except OSError as exc:
        print(f"error: {exc.strerror or exc}", file=sys.stderr)
        return 1


def _run_server(settings: Settings, listener: socket.socket) -> int:
    server_settings = settings.server
    host, port = server_settings.host, listener.getsockname()[1]
    urls = _urls(host, port, tls=server_settings.ssl_certfile is not None)

    def announce(engines: Engines) -> None:
        print(banner(engines, urls), flush=True)
        if warning := exposure_warning(settings):
            print(warning, file=sys.stderr, flush=True)

    app = create_app(settings, engines=build_engines(settings), announce=announce)
    server = build_server(app, settings)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return 0
    except SystemExit:
        return 2 if isinstance(app.state.startup_error, ConfigError) else 1
    return 0


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


def build_server(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """uvicorn for an app of `create_app`, to be run on a socket of `listen`.

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
    return _Server(config, app.state.registry)


def __getattr__(name: str) -> Any:
    """`main.app` for `uvicorn main:app`, built when first asked for: importing has no effect."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = load_settings()
        configure_logging(settings.server.debug)
        app = globals()["app"] = create_app(settings)
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        raise SystemExit(2) from None
    return app


if __name__ == "__main__":
    sys.exit(run())
