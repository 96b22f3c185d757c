"""The process: routes, start and stop, what the operator sees, and the command line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import main
from command_line import banner
from config import VARIABLES, Settings
from protocol import ConfigError, ErrorCategory, ProviderError, Stage
from server_logs import configure_logging
from tests.clients.certificate import write_certificate
from tests.live import FakeEngines, FakeSession, live_server, server_settings

ROOT = Path(__file__).resolve().parents[1]


# --- routes -----------------------------------------------------------------------------------


async def test_health_counts_the_sessions() -> None:
    with live_server() as live:
        async with httpx.AsyncClient() as client:
            health = live.url("/health", "http")
            assert (await client.get(health)).json() == {"status": "healthy", "active_sessions": 0}
            async with connect(live.url()) as first, connect(live.url()) as second:
                await first.recv()
                await second.recv()
                answer = (await client.get(health)).json()
                assert answer == {"status": "healthy", "active_sessions": 2}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing/here", 404),
        ("POST", "/health", 405),
        ("GET", "/v1/realtime", 426),
        ("GET", "/openai/realtime/", 426),
    ],
)
async def test_http_errors_have_openai_s_form(method: str, path: str, status: int) -> None:
    app = main.create_app(Settings(), engines=_engines(), session_factory=FakeSession)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


async def test_the_root_page_says_where_to_connect() -> None:
    app = main.create_app(Settings(), engines=_engines(), session_factory=FakeSession)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/")).json()["websocket"] == "/v1/realtime"


async def test_an_unknown_socket_path_is_told_the_right_one() -> None:
    with live_server() as live, pytest.raises(InvalidStatus) as caught:
        await connect(live.url("/realtime"))
    assert caught.value.response.status_code == 404
    assert caught.value.response.body is not None
    assert "/v1/realtime" in json.loads(caught.value.response.body)["error"]["message"]


# --- start and stop ---------------------------------------------------------------------------


def _engines(failure: Exception | None = None) -> Any:
    return FakeEngines(failure)


async def test_stopping_says_goodbye_with_1001_and_closes_the_engines() -> None:
    with live_server() as live:
        async with connect(live.url()) as client:
            await client.recv()
            assert live.engines.running
            live.stop()
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert (client.close_code, client.close_reason) == (1001, "The server is shutting down.")
    assert not live.engines.running


@pytest.mark.parametrize(
    "failure",
    [
        ConfigError("STT_LANGUAGE", "must be English, not 'de'"),
        ProviderError(Stage.TTS, ErrorCategory.SERVER, "the espeak-ng worker does not start"),
    ],
)
async def test_a_failed_start_is_one_clear_line(
    failure: Exception, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    app = main.create_app(Settings(), engines=_engines(failure), session_factory=FakeSession)
    server = main.build_server(app, Settings())
    with main.listen("127.0.0.1", 0) as listener, pytest.raises(SystemExit):
        await asyncio.to_thread(server.run, sockets=[listener])
    assert capfd.readouterr().err.splitlines() == [f"error: {failure}"]
    assert "Traceback" not in caplog.text
    assert app.state.startup_error is failure


async def test_a_draining_server_opens_no_session() -> None:
    with live_server() as live:
        live.app.state.registry.draining = True
        async with connect(live.url()) as client:
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert client.close_code == 1001


# --- what the operator sees -------------------------------------------------------------------


def test_the_banner_says_which_engine_serves_each_stage_and_why() -> None:
    rows = (("stt", "pocketsphinx", "nothing else is set"), ("tts", "other", "TTS_PROVIDER=other"))
    text = banner(rows, ("ws://127.0.0.1:8000/v1/realtime",))
    for row in rows:
        assert any(all(cell in line for cell in row) for line in text.splitlines())
    assert "ws://127.0.0.1:8000/v1/realtime" in text


@pytest.mark.parametrize(
    "engine", ["pocketsphinx en-us", "scripted-1: a script", "espeak-ng, voice cmn", "tone"]
)
def test_the_banner_says_that_embedded_engines_are_for_trying(engine: str) -> None:
    text = banner([("vad", "silero", "always"), ("llm", engine, "nothing else is set")])
    assert "for trying and testing" in text
    for variable in ("STT_PROVIDER", "LLM_PROVIDER", "TTS_PROVIDER"):
        assert variable in text


def test_the_banner_is_silent_about_embedded_engines_when_there_are_none() -> None:
    assert "trying" not in banner([("vad", "silero", "always"), ("llm", "other", "set")])


def test_keys_in_urls_do_not_reach_the_server_s_log(caplog: pytest.LogCaptureFixture) -> None:
    main.create_app(Settings(), engines=_engines(), session_factory=FakeSession)
    for name in ("uvicorn.error", "uvicorn.access"):
        with caplog.at_level(logging.INFO, name):
            logging.getLogger(name).info('"WebSocket %s" %d', "/?model=m&api-key=sk-x1&v=2", 101)
    assert "sk-x1" not in caplog.text
    assert caplog.text.count("/?model=m&api-key=***&v=2") == 2


def test_no_password_of_a_vendor_s_url_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    configure_logging(debug=False)
    url = httpx.URL("http://me:very-secret@models.example/v1")
    logging.getLogger("httpx2").warning('HTTP Request: %s "%d"', url, 200)
    assert 'HTTP Request: http://***@models.example/v1 "200"' in caplog.text
    assert "very-secret" not in caplog.text


def test_the_server_s_log_never_shows_frames() -> None:
    # At DEBUG the websockets library writes headers and frames, keys and audio included.
    server_log = logging.getLogger("uvicorn.error")
    before = server_log.level
    try:
        server_log.setLevel(logging.DEBUG)
        main.create_app(Settings(), engines=_engines(), session_factory=FakeSession)
        assert not server_log.isEnabledFor(logging.DEBUG)
    finally:
        server_log.setLevel(before)


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    return write_certificate(tmp_path)


async def test_wss_and_https_are_served(certificate: tuple[Path, Path]) -> None:
    cert_file, key_file = certificate
    trust = ssl.create_default_context(cafile=str(cert_file))
    with live_server(server_settings(ssl_certfile=cert_file, ssl_keyfile=key_file)) as live:
        async with connect(live.url(scheme="wss"), ssl=trust) as client:
            assert json.loads(await client.recv())["type"] == "session.created"
        async with httpx.AsyncClient(verify=trust) as client:
            answer = await client.get(live.url("/health", "https"))
        assert answer.json()["status"] == "healthy"


def test_a_key_that_does_not_fit_is_a_setting_s_fault(certificate: tuple[Path, Path]) -> None:
    cert_file, _ = certificate
    settings = server_settings(ssl_certfile=cert_file, ssl_keyfile=cert_file)
    app = main.create_app(settings, engines=_engines(), session_factory=FakeSession)
    with pytest.raises(ConfigError, match="SSL_CERTFILE"):
        main.build_server(app, settings)


# --- command line -----------------------------------------------------------------------------


def _python(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=clean | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("argv", "overrides"),
    [
        ([], {}),
        (
            ["--host", "0.0.0.0", "--port", "9000"],
            {"SERVER_HOST": "0.0.0.0", "SERVER_PORT": "9000"},
        ),
        (["--api-key", "k", "--debug"], {"API_KEY": "k", "DEBUG": "true"}),
        (
            ["--ssl-certfile", "c", "--ssl-keyfile", "k"],
            {"SSL_CERTFILE": "c", "SSL_KEYFILE": "k"},
        ),
        (
            ["--script", "s.yaml", "--dialect", "ga"],
            {
                **{"SCRIPT_FILE": "s.yaml", "LLM_PROVIDER": "scripted", "TESTING": "true"},
                "REALTIME_DIALECT": "ga",
            },
        ),
    ],
)
def test_options_override_variables(argv: list[str], overrides: dict[str, str]) -> None:
    assert main.parse_arguments(argv) == overrides


def test_help_lists_every_option(tmp_path: Path) -> None:
    done = _python(str(ROOT / "main.py"), "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for option in (
        "--host",
        "--port",
        "--api-key",
        "--debug",
        "--ssl-certfile",
        "--ssl-keyfile",
        "--script",
        "--dialect",
    ):
        assert option in done.stdout


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = _python(str(ROOT / "main.py"), "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: port {port} of 127.0.0.1 is already in use: choose another with --port"
    ]


def test_an_address_of_another_machine_is_one_clear_line(tmp_path: Path) -> None:
    done = _python(str(ROOT / "main.py"), "--host", "192.0.2.1", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: cannot listen on 192.0.2.1")


@pytest.mark.parametrize(
    ("command", "environ", "variable"),
    [
        ([str(ROOT / "main.py"), "--port", "http"], {}, "SERVER_PORT"),
        ([str(ROOT / "main.py")], {"VAD_THRESHOLD": "2"}, "VAD_THRESHOLD"),
        (["-m", "uvicorn", "main:app", "--port", "0"], {"BETA_ENABLED": "si"}, "BETA_ENABLED"),
    ],
)
def test_a_bad_setting_is_one_clear_line(
    tmp_path: Path, command: list[str], environ: dict[str, str], variable: str
) -> None:
    done = _python(*command, cwd=tmp_path, **environ)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {variable}: must be ")


@pytest.mark.parametrize(
    ("host", "warned"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False)]
)
@pytest.mark.parametrize("api_key", [None, "k"])
def test_an_open_door_is_warned_about(host: str, warned: bool, api_key: str | None) -> None:
    warning = main.exposure_warning(server_settings(host=host, api_key=api_key))
    assert bool(warning) == (warned and api_key is None)
    if warning:
        assert len(warning.splitlines()) >= 4
        assert host in warning
        assert "API_KEY" in warning


def test_test_mode_is_of_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("version: 1\n")
    assert main.run(["--port", "0", "--workers", "2", "--script", str(script)]) == 2
    assert "WORKERS: must be 1 in test mode" in capsys.readouterr().err
