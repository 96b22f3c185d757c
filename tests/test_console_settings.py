"""The settings page's endpoints: who may ask, what is told, and what is written."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import console_settings
from config import VARIABLES, Settings, load_settings
from protocol import ConfigError
from settings_table import SettingsTable

KEY = "sk-operator-0123456789"
BEARER = {"Authorization": f"Bearer {KEY}"}
LOCAL = "127.0.0.1"
AFAR = "192.0.2.7"


class Served:
    """Stands in for the engines that are up."""

    def describe(self) -> list[tuple[str, str, str]]:
        return [("STT", "an ear", "a key was set"), ("TTS", "a voice", "TTS_PROVIDER=voice")]

    def failing(self) -> list[dict[str, str]]:
        return [{"stage": "tts", "engine": "voice", "reason": "it is hoarse"}]


@asynccontextmanager
async def gateway(
    path: Path,
    environ: dict[str, str] | None = None,
    *,
    started: dict[str, str] | None = None,
    peer: str = LOCAL,
    host: str = "localhost:8000",
) -> AsyncGenerator[httpx.AsyncClient]:
    """The endpoints of a process started with `environ`, and options that outweigh it."""
    environ = environ or {}
    settings = load_settings(environ | (started or {}), path)
    app = FastAPI()
    app.include_router(console_settings.router(settings, Served, environ, path))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app, client=(peer, 1234))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        yield client


async def told(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    answer = await client.get("/console/settings")
    assert answer.status_code == 200
    return {row["name"]: row for row in answer.json()["settings"]}


async def put(client: httpx.AsyncClient, **changes: str | None) -> httpx.Response:
    return await client.put("/console/settings", json={"changes": changes})


# --- who may ask ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "host", "headers", "status"),
    [
        # without an API key: the machine itself, under its own names
        (LOCAL, "localhost:8000", {}, 200),
        ("::1", "[::1]:8000", {}, 200),
        ("::ffff:127.0.0.1", "127.0.0.1:8000", {}, 200),
        (LOCAL, "localhost:8000", {"Origin": "http://localhost:8000"}, 200),
        (LOCAL, "localhost:8000", {"Sec-Fetch-Site": "same-origin"}, 200),
        (LOCAL, "localhost:8000", {"Sec-Fetch-Site": "none"}, 200),
        (AFAR, "localhost:8000", {}, 403),
        (AFAR, "192.0.2.1:8000", {}, 403),
        (AFAR, "192.0.2.1:8000", {"Authorization": "Bearer anything"}, 403),
        # a proxy on this machine, whoever is behind it
        (LOCAL, "localhost:8000", {"X-Forwarded-For": "127.0.0.1"}, 403),
        (LOCAL, "localhost:8000", {"X-Forwarded-Proto": "https"}, 403),
        (LOCAL, "localhost:8000", {"Forwarded": "for=127.0.0.1"}, 403),
        (LOCAL, "localhost:8000", {"X-Real-IP": "127.0.0.1"}, 403),
        (LOCAL, "localhost:8000", {"Via": "1.1 proxy"}, 403),
        (AFAR, "192.0.2.1:8000", {"X-Forwarded-For": "127.0.0.1"}, 403),
        # DNS rebinding: the name of a stranger that leads here
        (LOCAL, "evil.example:8000", {}, 403),
        (LOCAL, "evil.example:8000", {"Origin": "http://evil.example:8000"}, 403),
        (LOCAL, "evil.example:8000", {"Sec-Fetch-Site": "same-origin"}, 403),
        # pages of other origins, another port included
        (LOCAL, "localhost:8000", {"Origin": "http://evil.example"}, 403),
        (LOCAL, "localhost:8000", {"Origin": "http://localhost:3000"}, 403),
        (LOCAL, "localhost:8000", {"Origin": "null"}, 403),
        (LOCAL, "localhost:8000", {"Sec-Fetch-Site": "cross-site"}, 403),
        (LOCAL, "localhost:8000", {"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_without_a_key_only_the_machine_itself_may_ask(
    tmp_path: Path, method: str, peer: str, host: str, headers: dict[str, str], status: int
) -> None:
    async with gateway(tmp_path / ".env", peer=peer, host=host) as client:
        path = "/console/doctor" if method == "POST" else "/console/settings"
        if (method, status) == ("POST", 200):
            return  # what the check answers has a test of its own
        changes = {"changes": {"ESPEAK_RATE_WPM": "200"}}
        answer = await client.request(
            method, path, headers=headers, json=changes if method == "PUT" else None
        )
    assert answer.status_code == status
    assert (tmp_path / ".env").exists() is ((method, status) == ("PUT", 200))
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        (BEARER, 200),
        ({"api-key": KEY}, 200),
        ({"Authorization": "Bearer wrong"}, 403),
        (BEARER | {"Origin": "https://voice.example"}, 200),
        (BEARER | {"X-Forwarded-For": AFAR}, 200),
        (BEARER | {"Origin": "https://evil.example"}, 403),
        (BEARER | {"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_from_afar_the_key_decides(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    environ = {"API_KEY": KEY}
    async with gateway(tmp_path / ".env", environ, peer=AFAR, host="voice.example") as client:
        answer = await client.get("/console/settings", headers=headers)
    assert answer.status_code == status
    assert KEY not in answer.text


async def test_a_refusal_tells_the_way_in(tmp_path: Path) -> None:
    async with gateway(tmp_path / ".env", peer=AFAR) as client:
        answer = await client.get("/console/settings")
    assert "http://localhost:8000/" in answer.json()["detail"]
    assert "API_KEY" in answer.json()["detail"]


# --- what is told -----------------------------------------------------------------------------


async def test_the_engines_are_told_with_their_reasons(tmp_path: Path) -> None:
    async with gateway(tmp_path / ".env") as client:
        overview = (await client.get("/console/settings")).json()
    assert overview["engines"][0] == {"stage": "STT", "engine": "an ear", "why": "a key was set"}
    assert overview["failing"][0]["reason"] == "it is hoarse"
    assert overview["env_file"] == str(tmp_path / ".env")
    assert [row["name"] for row in overview["settings"]] == [*VARIABLES]
    assert all(row["description"] for row in overview["settings"])


async def test_each_value_is_told_with_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("TTS_VOICE=cmn\nESPEAK_RATE_WPM=200\nSERVER_PORT=1\n")
    environ = {"ESPEAK_RATE_WPM": "300", "DEBUG": "true"}
    async with gateway(path, environ, started={"SERVER_PORT": "2"}) as client:
        rows = await told(client)
    shown = {
        name: tuple(row[field] for field in ("value", "saved", "source", "shadowed", "restart"))
        for name, row in rows.items()
    }
    assert shown["TTS_VOICE"] == ("cmn", "cmn", "file", False, False)
    assert shown["ESPEAK_RATE_WPM"] == ("300", "200", "environment", True, False)
    assert shown["SERVER_PORT"] == ("2", "1", "start", False, False)
    assert shown["DEBUG"] == ("true", None, "environment", True, False)
    assert shown["LLM_PROVIDER"] == ("auto", None, "default", False, False)


async def test_an_option_outlasts_what_is_saved(tmp_path: Path) -> None:
    async with gateway(tmp_path / ".env", started={"SERVER_PORT": "2"}) as client:
        answer = await put(client, SERVER_PORT="3", TTS_VOICE="cmn")
        rows = await told(client)
    assert answer.json()["restart"] == ["TTS_VOICE"]
    assert (rows["SERVER_PORT"]["value"], rows["SERVER_PORT"]["saved"]) == ("2", "3")


async def test_each_setting_tells_what_it_may_be(tmp_path: Path) -> None:
    async with gateway(tmp_path / ".env") as client:
        rows = await told(client)
    shown = {name: (row["kind"], row["choices"]) for name, row in rows.items()}
    assert shown["REALTIME_DIALECT"] == ("choice", ["auto", "ga", "beta"])
    assert shown["DEBUG"] == ("switch", [])
    assert shown["API_KEY"] == ("secret", [])
    assert shown["SSL_CERTFILE"] == ("path", [])
    assert shown["LLM_PROVIDER"][0] == "engines"
    assert "ollama" in shown["LLM_PROVIDER"][1]
    assert (rows["LLM_MAX_TOKENS"]["minimum"], rows["LLM_MAX_TOKENS"]["maximum"]) == (1, 4096)
    assert rows["POCKETSPHINX_PHRASES"]["separator"] == "|"


async def test_no_secret_is_told_by_anything(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("OPENAI_API_KEY=sk-hush\nOLLAMA_BASE_URL=http://me:hush@ollama.example\n")
    environ = {"DEEPGRAM_API_KEY": "dg-hush"}
    async with gateway(path, environ) as client:
        answers = [
            await client.get("/console/settings"),
            await put(client, ELEVENLABS_API_KEY="el-hush"),
            await put(client, OPENAI_STT_API_KEY="hu sh", OPENAI_API_KEY="hush"),
            await client.get("/console/settings"),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 400, 200]
    assert "hush" not in "".join(answer.text for answer in answers)
    rows = {row["name"]: row for row in answers[3].json()["settings"]}
    shown = {name: (row["is_set"], row["is_saved"]) for name, row in rows.items()}
    assert shown["OPENAI_API_KEY"] == (True, True)
    assert shown["DEEPGRAM_API_KEY"] == (True, False)
    assert shown["ELEVENLABS_API_KEY"] == (False, True)
    assert rows["OLLAMA_BASE_URL"]["secret"] is True


# --- what is written --------------------------------------------------------------------------


async def test_changes_are_saved_and_wait_for_a_restart(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nTTS_VOICE=cmn # Mandarin\nOTHER=1\n")
    async with gateway(path, {"DEBUG": "true"}) as client:
        answer = await put(
            client, TTS_VOICE=None, LLM_SYSTEM_PROMPT=" 你好\r\n'再见' ", DEBUG="false"
        )
        assert answer.json() == {
            "env_file": str(path),
            "saved": ["TTS_VOICE", "LLM_SYSTEM_PROMPT", "DEBUG"],
            "shadowed": ["DEBUG"],
            "restart": ["LLM_SYSTEM_PROMPT", "TTS_VOICE"],
        }
        rows = await told(client)
    assert path.read_text() == (
        "# mine\nOTHER=1\nLLM_SYSTEM_PROMPT='你好\n\\'再见\\''\nDEBUG=false\n"
    )
    # The running server has what it had.
    assert (rows["TTS_VOICE"]["value"], rows["TTS_VOICE"]["restart"]) == ("cmn", True)
    assert load_settings({}, path).session.instructions == "你好\n'再见'"


@pytest.mark.parametrize(
    ("changes", "variable", "allowed"),
    [
        ({"ESPEAK_RATE_WPM": "fast"}, "ESPEAK_RATE_WPM", "'fast'"),
        ({"TTS_VOICE": "cmn", "ESPEAK_RATE_WPM": "1"}, "ESPEAK_RATE_WPM", "80"),
        ({"REALTIME_DIALECT": "latin"}, "REALTIME_DIALECT", "'auto', 'ga' or 'beta'"),
        ({"REALTIME_DIALECT": "beta", "BETA_ENABLED": "false"}, "BETA_ENABLED", "not be false"),
        ({"SSL_CERTFILE": __file__}, "SSL_KEYFILE", "as well"),
        ({"SCRIPT_FILE": "/nowhere.yaml"}, "SCRIPT_FILE", "existing file"),
        ({"NO_SUCH_SETTING": "1"}, "NO_SUCH_SETTING", "no such setting"),
        ({"LD_PRELOAD": "/tmp/x.so"}, "LD_PRELOAD", "no such setting"),
        ({"STT_PROVIDER": "deepgram"}, "DEEPGRAM_API_KEY", "needs a key"),
        # what the environment hides at present
        ({"DEFAULT_MODEL": "x", "SERVER_PORT": "http"}, "SERVER_PORT", "number"),
        ({"TTS_VOICE": "a\x00b"}, "TTS_VOICE", "control characters"),
    ],
)
async def test_what_would_not_start_is_refused_whole(
    tmp_path: Path, changes: dict[str, str], variable: str, allowed: str
) -> None:
    path = tmp_path / ".env"
    path.write_text("SERVER_HOST=127.0.0.1\n")
    path.chmod(0o640)
    async with gateway(path, {"SERVER_PORT": "9000"}) as client:
        answer = await put(client, **changes)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_setting")
    assert error["param"] == variable
    assert error["message"].startswith(f"{variable}: ")
    assert allowed in error["message"]
    assert path.read_text() == "SERVER_HOST=127.0.0.1\n"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"changes": {}}', b'{"changes": {"TTS_VOICE": 1}}', b'{"changes": []}']
)
async def test_a_body_of_another_shape_is_refused(tmp_path: Path, body: bytes) -> None:
    async with gateway(tmp_path / ".env") as client:
        answer = await client.put("/console/settings", content=body)
    assert answer.status_code == 400
    assert "changes" in answer.json()["error"]["message"]


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    async with gateway(tmp_path / "absent" / ".env") as client:
        answer = await put(client, TTS_VOICE="cmn")
    assert answer.status_code == 500
    assert "Nothing was changed." in answer.json()["error"]["message"]


async def test_a_file_made_wrong_by_hand_is_told_and_can_be_mended(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    async with gateway(path) as client:
        path.write_text("SERVER_PORT=http\n")
        overview = (await client.get("/console/settings")).json()
        assert overview["problem"].startswith("SERVER_PORT: must be ")
        assert (await put(client, TTS_VOICE="cmn")).status_code == 400
        checked = await client.post("/console/doctor")
        assert checked.json()["error"]["param"] == "SERVER_PORT"
        assert (await put(client, SERVER_PORT="8000")).status_code == 200
        assert (await client.get("/console/settings")).json()["problem"] == ""


def test_options_that_mend_a_bad_environment_are_told_as_such(tmp_path: Path) -> None:
    environ = {"SERVER_PORT": "http", "TTS_VOICE": "cmn"}
    running = load_settings(environ | {"SERVER_PORT": "9000"}, None)
    table = SettingsTable(running, environ, tmp_path / ".env")
    rows = {row["name"]: row for row in table.rows()}
    assert rows["TTS_VOICE"]["source"] == "environment"
    assert rows["SERVER_PORT"]["value"] == "9000"
    with pytest.raises(ConfigError, match="SERVER_PORT"):
        table.following()


def test_the_table_of_defaults_is_as_documented(tmp_path: Path) -> None:
    rows = SettingsTable(Settings(), {}, tmp_path / ".env").rows()
    assert all(row["value"] == row["default"] for row in rows if not row["secret"])
    assert {row["source"] for row in rows} == {"default"}


# --- the check --------------------------------------------------------------------------------


async def test_the_check_tries_the_saved_settings_and_tells_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    async with gateway(path) as client:
        path.write_text("STT_PROVIDER=scripted\nLLM_PROVIDER=scripted\nTTS_PROVIDER=tone\n")
        answer = await client.post("/console/doctor")
    assert answer.headers["content-type"] == "application/x-ndjson"
    *rows, end = (json.loads(line) for line in answer.text.splitlines())
    assert [(row["stage"], row["ok"], row["fix"]) for row in rows] == [
        ("tts", True, ""),
        ("llm", True, ""),
        ("stt", True, ""),
    ]
    assert all(row["taken_ms"] > 0 for row in rows)
    assert (end["count"], end["failed"]) == (3, 0)


async def test_an_engine_that_fails_is_told_with_its_fix(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    # Nothing listens on the discard port.
    path.write_text(
        "STT_PROVIDER=scripted\nLLM_PROVIDER=ollama\nTTS_PROVIDER=tone\n"
        "OLLAMA_BASE_URL=http://127.0.0.1:9\n"
    )
    async with gateway(path) as client:
        answer = await client.post("/console/doctor")
    *rows, end = (json.loads(line) for line in answer.text.splitlines())
    (llm,) = (row for row in rows if row["stage"] == "llm")
    assert (llm["ok"], llm["result"], end["failed"]) == (False, "FAILED", 1)
    assert "OLLAMA_BASE_URL" in llm["fix"]
