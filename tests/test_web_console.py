"""How the browser console is served: types, headers, and who gets it at `/`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

import httpx
import pytest
from fastapi import FastAPI

import web_console
from config import VARIABLES, Settings

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    app = FastAPI()
    web_console.install(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


async def test_a_browser_gets_the_page_and_a_program_gets_json(client: httpx.AsyncClient) -> None:
    page, answer = await client.get("/", headers=HTML), await client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    assert answer.json()["websocket"] == "/v1/realtime"
    assert page.headers["vary"] == answer.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/console/console.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
        ("/console/js/main.js", "text/javascript; charset=utf-8"),
        ("/console/worklets/capture.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_files_have_their_types_and_are_asked_for_again(
    client: httpx.AsyncClient, path: str, media_type: str
) -> None:
    first = await client.get(path)
    assert first.status_code == 200
    assert first.headers["content-type"] == media_type
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/console/index.html", "/console/js/main.js"])
async def test_the_page_may_load_from_its_own_server_only(
    client: httpx.AsyncClient, path: str
) -> None:
    headers = (await client.get(path, headers=HTML)).headers
    policy = dict(entry.split(" ", 1) for entry in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/console/../main.py", "/console/%2e%2e/main.py", "/console/"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


def test_what_the_page_names_is_there_and_nothing_is_fetched_from_elsewhere() -> None:
    page = (web_console.FOLDER / "index.html").read_text("utf-8")
    named = re.findall(r'(?:src|href)="(?!#)([^"]+)"', page)
    assert named
    for path in named:
        assert (web_console.FOLDER / path.removeprefix("console/")).is_file()


def test_every_text_is_in_both_languages() -> None:
    words = (web_console.FOLDER / "js" / "i18n.js").read_text("utf-8")
    english, chinese = words.split("  zh: {")
    keys = [set(re.findall(r'^    "?([\w.]+)"?:', part, re.M)) for part in (english, chinese)]
    assert keys[0] == keys[1]
    page = (web_console.FOLDER / "index.html").read_text("utf-8")
    assert set(re.findall(r'data-i18n(?:-label|-hint)?="([^"]+)"', page)) <= keys[0]


def test_every_setting_is_explained_in_chinese() -> None:
    explained = (web_console.FOLDER / "js" / "settings_zh.js").read_text("utf-8")
    names = re.findall(r"^  ([A-Z_]+):\s+\"", explained, re.M)
    assert set(VARIABLES) - set(names) == set(), "add a line to web/js/settings_zh.js"
    assert set(names) - set(VARIABLES) == set()


def test_every_text_the_scripts_ask_for_is_there() -> None:
    words = (web_console.FOLDER / "js" / "i18n.js").read_text("utf-8")
    keys = set(re.findall(r'^    "?([\w.]+)"?:', words.split("  zh: {")[0], re.M))
    for script in (web_console.FOLDER / "js").glob("*.js"):
        asked = set(re.findall(r'\bt\("([\w.]+)"\)', script.read_text("utf-8")))
        assert asked <= keys, script.name
    assert {f"group.{section}" for section in Settings.model_fields} <= keys
