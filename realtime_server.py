"""The gateway as a test server inside a program: start it, talk to it, look at what was said.

It must not know how a session works: what a subclass decides goes through the scripted model.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import main
from config import Settings, load_settings
from protocol import ErrorCategory
from providers.faults import FaultKind, FaultStage, InjectedFault
from providers.replies import AudioFile, Error, Reply, ResponseRequest, Text, ToolCall
from server_logs import silence_pipecat
from staging import Event, EventLog, Staging
from transport import new_id

__all__ = (
    "AudioFile",
    "Error",
    "ErrorCategory",
    "RealtimeServer",
    "Reply",
    "ResponseRequest",
    "Text",
    "ToolCall",
)

_START_DEADLINE_S: Final = 120.0


class RealtimeServer:
    """A server of the Realtime API for the tests of an app; use it in a `with` or `async with`.

    It runs in a thread of its own with the scripted model and the tone voice, reads neither the
    environment nor `.env`, and needs no key, model or network. A subclass may override the
    handlers; they run in the server's thread.

    Args:
        script: What it replies, a YAML file; None is the one that is shipped.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        api_key: The key that clients must present; None lets any in.
        settings: Further settings, by their environment variables: `{"TTS_PROVIDER": "espeak"}`.

    Raises:
        ConfigError: a script or a setting that cannot be used.
    """

    def __init__(
        self,
        script: str | Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        chosen = {
            "SERVER_HOST": host,
            "SERVER_PORT": str(port),
            "TESTING": "true",
            "LLM_PROVIDER": "scripted",
            "TTS_PROVIDER": "tone",
            # The shipped script would have speech recognised, which costs a test seconds.
            "STT_PROVIDER": "scripted" if script is None else "auto",
        }
        if script is not None:
            chosen["SCRIPT_FILE"] = str(script)
        if api_key is not None:
            chosen["API_KEY"] = api_key
        self._settings = load_settings(chosen | dict(settings or {}), env_file=None)
        self._staging = Staging(new_id, self, keep_events=True)
        self._running: _Running | None = None

    # --- what a subclass may decide ---------------------------------------------------------------

    async def handle_response_create(self, request: ResponseRequest) -> Reply | None:
        """Reply to a response that was asked for, by the client or by the end of a spoken turn.

        Returns:
            A text, a part (`Text`, `ToolCall`, `AudioFile`, `Error`) or a list of them; None
            leaves it to the script.
        """
        return None

    async def handle_transcript(self, session_id: str, text: str) -> str | None:
        """Say what was heard in a spoken turn; None keeps what was recognised."""
        return None

    # --- where it is ------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._started.port

    @property
    def url(self) -> str:
        """Where to connect with a WebSocket."""
        return f"ws://{self._address}/v1/realtime"

    @property
    def base_url(self) -> str:
        """What an official SDK is given as its base URL."""
        return f"http://{self._address}/v1"

    @property
    def _address(self) -> str:
        return f"{self._settings.server.host}:{self.port}"

    # --- what was said ----------------------------------------------------------------------------

    @property
    def sessions(self) -> list[str]:
        """The ids of all sessions so far, in the order they began."""
        return list(self._staging.logs)

    def events(self, session: str | None = None) -> list[Event]:
        """The events the server sent in a session, the latest one for None; faults are not in it.

        Raises:
            LookupError: there is no such session.
        """
        return list(self._log(session).server)

    def client_events(self, session: str | None = None) -> list[Event]:
        """The events the client sent; what was no JSON object is `{"invalid": text}`.

        Raises:
            LookupError: there is no such session.
        """
        return list(self._log(session).client)

    def _log(self, session: str | None) -> EventLog:
        logs = self._staging.logs
        name = next(reversed(logs), None) if session is None else session
        if name is None or name not in logs:
            raise LookupError("there was no session" if name is None else f"no session is {name}")
        return logs[name]

    # --- what goes wrong --------------------------------------------------------------------------

    def inject(self, stage: FaultStage, kind: FaultKind, **when: Any) -> str:
        """Set a fault, as `POST /testing/faults` does; returns its id.

        Raises:
            pydantic.ValidationError: there is no such fault.
        """
        fault = InjectedFault.model_validate({"stage": stage, "kind": kind, **when})
        return self._staging.faults.add(fault)

    def clear_faults(self) -> None:
        """Take back what `inject` set and has not struck yet."""
        self._staging.faults.clear()

    # --- its life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve from now on; returns when clients may connect.

        Raises:
            OSError: the port is taken.
            ConfigError: a setting that an engine cannot work with.
            ProviderError: an engine that does not come up.
        """
        if self._running is not None:
            raise RuntimeError("the server is running already")
        silence_pipecat()
        self._running = _Running(self._settings, self._staging)
        try:
            self._running.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all sessions with 1001, and then the server; it may be started again."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the server is not running: use it in a `with`, or call start()")
        return self._running


class _Running:
    """The server's thread and its socket."""

    def __init__(self, settings: Settings, staging: Staging) -> None:
        self._listener = main.listen(settings.server.host, settings.server.port)
        self.port: int = self._listener.getsockname()[1]
        self._ready = threading.Event()
        try:
            self._app = main.create_app(
                settings, announce=lambda engines: self._ready.set(), staging=staging
            )
            self._server = main.build_server(self._app, settings)
        except BaseException:
            self._listener.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="realtime server", daemon=True)
        self._thread.start()

    def wait_ready(self) -> None:
        """Return when it serves; raise what keeps it from doing so."""
        if not self._ready.wait(_START_DEADLINE_S):
            raise TimeoutError(f"the server did not start within {_START_DEADLINE_S:g} s")
        if self._app.state.startup_error is not None:
            raise self._app.state.startup_error

    def stop(self) -> None:
        """End it, and wait for the end."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        # uvicorn's word for a start that failed is SystemExit; `startup_error` says why.
        with suppress(SystemExit):
            self._server.run(sockets=[self._listener])
        self._ready.set()
