"""The composition root: app factory, routes and process life cycle.

It puts the parts together and must not know what any of them does. Engines and sessions are
imported when the server starts, not here: Pipecat takes seconds to import, which `--help` and
the worker processes that re-import this module need not wait for.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

import console_settings
import operations
import process_audio
import rest
import testing_api
import transport
import web_console
from client_secrets import ClientSecrets
from command_line import EngineRow, banner, exposure_warning, parse_arguments, parser, urls
from config import Settings, load_settings
from conversation_store import conversation_store
from core.mcp_policy import check_tools
from core.rate_limits import Limiter
from core.session_settings import check_language
from dialects.objects import http_error
from handshake import Handshake
from metrics import Depths, Metrics
from process_group import ProcessGroup
from profiles import load_profiles, patched
from protocol import ConfigError, ProviderError, Session, SessionKind
from server_logs import configure_logging, keep_keys_out_of_server_logs
from serving import WS_MAX_SIZE_BYTES, LiveSession, SessionRegistry, build_server, listen
from transport import Connection
from workers import Handover, Workers, with_one_signing_key

__all__ = ("WS_MAX_SIZE_BYTES", "build_server", "create_app", "exposure_warning", "listen", "run")

if TYPE_CHECKING:
    from service_providers import Engines
    from staging import Staging
else:
    Engines = Staging = Any

REALTIME_PATHS = ("/v1/realtime", "/openai/v1/realtime", "/openai/realtime")
REST_PREFIXES = ("/v1", "/openai/v1")


SessionFactory = Callable[[Connection, Engines, Settings, Handshake], LiveSession]


# --- the application ------------------------------------------------------------------------


def create_app(
    settings: Settings | None = None,
    *,
    engines: Engines | None = None,
    session_factory: SessionFactory | None = None,
    announce: Callable[[Engines], None] | None = None,
    staging: Staging | None = None,
    group: ProcessGroup | None = None,
) -> FastAPI:
    """Build the gateway.

    Args:
        settings: None reads the environment and `.env`.
        engines: None builds those the settings name, when the application starts.
        session_factory: None runs a `RealtimeSession` for each connection.
        announce: Called with the engines once they are up; None prints their table.
        group: What it shares with other processes of the same gateway; None is a gateway alone.
        staging: What is put between clients and engines; None is that of test mode, where it is on.

    Raises:
        ConfigError: a setting the process cannot start with.
    """
    settings = load_settings() if settings is None else settings
    (alone,) = ProcessGroup.form(1)
    group = group or alone
    registry = SessionRegistry(group)
    client_secrets = ClientSecrets.from_settings(settings.server)
    limits = settings.session.requests_per_minute, settings.session.tokens_per_minute
    metrics = Metrics()
    if settings.server.testing and staging is None:
        from staging import Staging

        staging = Staging(transport.new_id)
    make_session = session_factory or partial(
        _realtime_session,
        turnstile=asyncio.Lock(),
        limiter=group.limiter(*limits),
        observer=metrics,
        staging=staging,
    )
    store = conversation_store(settings.uploads, group.folder)
    keep_keys_out_of_server_logs()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        try:
            running = build_engines(settings) if engines is None else engines
            await store.start()
            await running.start()
            if session_factory is None:
                _check_test_mode(running, testing=staging is not None)
                await _warm_up(running)
        except Exception as exc:
            app.state.startup_error = exc
            raise
        app.state.engines = running
        (announce or (lambda ready: print(banner(ready.describe()), flush=True)))(running)
        thresholds = _tame_the_collector()

        def look() -> Depths:
            group.tell_failing(running.failing())
            return _depths(registry, running)

        watch = asyncio.create_task(metrics.watch(look))
        try:
            yield
        finally:
            watch.cancel()
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

        await transport.serve(websocket, settings, client_secrets, open_session)

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

    profiles = load_profiles(settings)
    models = profiles.names if profiles else (settings.session.model,)
    endpoints = rest.router(settings, client_secrets, first_session, transport.new_id, models)
    for prefix in REST_PREFIXES:
        app.include_router(endpoints, prefix=prefix)
    app.include_router(process_audio.router(settings, store, run_local, transport.new_id))
    app.include_router(console_settings.router(settings, lambda: app.state.engines))
    if staging is not None:
        app.include_router(testing_api.router(settings, staging.faults))
    app.add_middleware(rest.BrowserAccess, settings=settings)
    app.add_api_websocket_route("/", realtime)
    for path in REALTIME_PATHS:
        for route in (path, f"{path}/"):
            app.add_api_websocket_route(route, realtime)
            app.add_api_route(route, not_a_socket)
    app.add_api_websocket_route("/{path:path}", unknown_socket)
    app.include_router(
        operations.router(
            settings, metrics, registry, lambda: group.failing(app.state.engines.failing())
        )
    )
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
    A collection walks what is new since the last one, 0.2 µs an object, and everybody waits for
    it: young garbage is collected often and a little at a time. Old garbage is next to none, since
    closed sessions are no garbage, and a walk over 200 live sessions takes 150 ms: it is collected
    by `SessionRegistry` at quiet moments (see docs/performance.md).
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 5, 1_000_000)
    return thresholds


def _check_test_mode(engines: Engines, *, testing: bool) -> None:
    from staging import require_scripts

    require_scripts((stack.llm for stack in engines.stacks), testing=testing)


async def _warm_up(engines: Engines) -> None:
    """Import what sessions are made of, before the first client waits for it."""
    import realtime_session  # noqa: F401  (imported for its own sake)
    from pipeline_manager import EngineSet, warm_up

    for stack in engines.stacks:
        await warm_up(EngineSet(stack.stt, stack.llm, stack.tts, stack.vad, stack.judge))


def _depths(registry: SessionRegistry, engines: Engines) -> Depths:
    """What waits in this process at this moment."""
    vad = engines.vad
    by_queue = registry.waiting() | {
        "vad_streams": vad.streams_waiting,
        "vad_samples": vad.samples_pending,
    }
    return Depths(by_queue, vad.windows_scored, vad.windows_skipped)


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
    limiter: Limiter,
    observer: Metrics,
    staging: Staging | None,
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
    staged = staging.session(stack.llm) if staging else None
    if staged:
        # A reply that is begun early and dropped would count as a turn.
        settings = patched(settings, {"session.speculative_turns": False})
        engine_set = replace(
            engine_set,
            stt=staged.stt(stack.stt),
            llm=staged.llm(stack.llm),
            tts=staged.tts(stack.tts),
        )
        if isinstance(connection, Connection):
            connection.pass_through(staged.socket)
    session = RealtimeSession(
        connection,
        stack,
        settings,
        first=first_settings(settings, handshake.model, changes, handshake.kind),
        open_pipeline=partial(PipelineManager, engine_set),
        open_mcp=partial(McpClient, settings.mcp),
        new_id=transport.new_id,
        turnstile=turnstile,
        limiter=limiter,
        observer=observer,
    )
    if staged:
        staged.begin(session.id)
    return session


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


# --- the process ----------------------------------------------------------------------------


def run(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped, or check the engines or a script.

    Returns:
        The exit code: 1 = cannot listen or start, or something failed its check; 2 = a bad setting.
    """
    options = parser().parse_args(argv)
    overrides = parse_arguments(argv)
    try:
        settings = load_settings({**os.environ, **overrides})
        configure_logging(settings.server.debug)
        if (script := options.check_script) is not None:
            from providers.script_lint import report

            return report(Path(script))
        if options.check:
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
    addresses = urls(host, port, tls=server_settings.ssl_certfile is not None)

    def announce(engines: Sequence[EngineRow]) -> None:
        print(banner(engines, addresses, server_settings.workers), flush=True)
        if warning := exposure_warning(settings):
            print(warning, file=sys.stderr, flush=True)

    if server_settings.workers > 1:
        _check_workers(settings)
        shared = with_one_signing_key(settings, secrets.token_urlsafe)
        return Workers(shared, server_settings.workers, serve_worker, announce).run(listener)
    app = create_app(
        settings,
        engines=build_engines(settings),
        announce=lambda ready: announce(ready.describe()),
    )
    return _serve(app, build_server(app, settings), [listener])


def _check_workers(settings: Settings) -> None:
    if settings.server.testing:
        raise ConfigError("WORKERS", "must be 1 in test mode: its faults are set in one process")
    if not hasattr(socket, "send_fds"):
        raise ConfigError("WORKERS", "must be 1 on this system: it cannot hand over connections")


def serve_worker(
    settings: Settings, group: ProcessGroup, handover: Handover, announce: Callable[[Any], None]
) -> int:
    """Serve in one of several processes, see `workers.ServeWorker`."""
    configure_logging(settings.server.debug)
    app = create_app(
        settings,
        engines=build_engines(settings),
        announce=lambda ready: announce(ready.describe()),
        group=group,
    )
    return _serve(app, build_server(app, settings, handover))


def _serve(app: FastAPI, server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> int:
    try:
        server.run(sockets=sockets)
    except KeyboardInterrupt:
        return 0
    except SystemExit:
        return 2 if isinstance(app.state.startup_error, ConfigError) else 1
    return 0


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
