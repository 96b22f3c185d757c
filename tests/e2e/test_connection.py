"""The door: paths, models, keys, origins, subprotocols, and who is let in."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.e2e.gateway import API_KEY, PAGE_ORIGIN, Gateway, run_gateway
from tests.e2e.wire import TEXT, ask

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY_SUBPROTOCOL = f"openai-insecure-api-key.{API_KEY}"


async def test_the_session_is_announced_at_once(gateway: Gateway, dialect: Any) -> None:
    async with gateway.connect(dialect) as client:
        session = (await client.wait_for("session.created"))["session"]
        assert session["id"].startswith("sess_")
        assert len(client.events) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/v1/realtime",
        "/v1/realtime/",
        "/",
        "",
        "/openai/v1/realtime",
        "/openai/v1/realtime/",
        "/openai/realtime",
        "/openai/realtime/",
    ],
)
async def test_every_path_clients_know_leads_to_a_session(gateway: Gateway, path: str) -> None:
    async with gateway.connect(url=gateway.url(path)) as client:
        assert (await ask(client, "hi", **TEXT)).text == "You said: hi."


@pytest.mark.parametrize("path", ["/v1/realtimes", "/v1", "/v1/realtime/stateless"])
async def test_other_paths_lead_nowhere(gateway: Gateway, path: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(gateway.url(path), proxy=None)
    assert caught.value.response.status_code == 404


@pytest.mark.parametrize(
    ("query", "model"),
    [
        ("", "gpt-realtime"),
        ("?model=", "gpt-realtime"),
        ("?model=GPT-Realtime", "GPT-Realtime"),
        ("?model=some%2Flocal%20model", "some/local model"),
        ("?deployment=D&api-version=2024-10-01", "D"),
        ("?model=m&temperature=0.8&voice=x&intent=conversation", "m"),
    ],
)
async def test_the_model_is_echoed(gateway: Gateway, query: str, model: str) -> None:
    url = f"ws://127.0.0.1:{gateway.port}/v1/realtime{query}"
    async with gateway.connect(url=url) as client:
        session = (await client.wait_for("session.created"))["session"]
        assert session["model"] == model


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        (["realtime"], "realtime"),
        (["realtime", "openai-insecure-api-key.x"], "realtime"),
        (["openai-insecure-api-key.x", "realtime"], "realtime"),
        (["realtime", "openai-insecure-api-key.x", "openai-agents-sdk.0.20.0"], "realtime"),
    ],
)
async def test_the_subprotocol_is_answered(
    gateway: Gateway, offered: list[str], answered: str
) -> None:
    async with gateway.connect(subprotocols=offered, api_key=None) as client:
        assert client.socket.subprotocol == answered
        await client.wait_for("session.created")


async def test_no_subprotocol_is_answered_when_none_is_offered(gateway: Gateway) -> None:
    async with gateway.connect("beta") as client:
        assert client.socket.subprotocol is None
        await client.wait_for("session.created")


# --- keys -------------------------------------------------------------------------------------

FOUR_WAYS: list[dict[str, Any]] = [
    {"api_key": API_KEY},
    {"api_key": None, "headers": {"api-key": API_KEY}},
    {"api_key": None, "subprotocols": ["realtime", KEY_SUBPROTOCOL]},
    {"api_key": None, "query": {"api-key": API_KEY}},
]


def changed(way: dict[str, Any], key: str) -> dict[str, Any]:
    """One way to give a key, with another key."""
    swapped = {name: value for name, value in way.items()}
    for name, value in way.items():
        match value:
            case str():
                swapped[name] = key
            case dict():
                swapped[name] = dict.fromkeys(value, key)
            case list():
                swapped[name] = ["realtime", f"openai-insecure-api-key.{key}"]
            case _:
                pass
    return swapped


def door(gateway: Gateway, query: dict[str, str] | None = None, **options: Any) -> Any:
    return gateway.connect(url=gateway.url(**(query or {})), **options)


@pytest.mark.parametrize("way", FOUR_WAYS)
async def test_the_key_may_come_in_four_ways(locked_gateway: Gateway, way: dict[str, Any]) -> None:
    async with door(locked_gateway, **way) as client:
        await client.wait_for("session.created")


@pytest.mark.parametrize("way", FOUR_WAYS)
@pytest.mark.parametrize("key", ["wrong", f"{API_KEY}x", API_KEY[:-1]])
async def test_a_wrong_key_is_told_and_shown_out(
    locked_gateway: Gateway, way: dict[str, Any], key: str
) -> None:
    async with door(locked_gateway, **changed(way, key)) as client:
        error = (await client.wait_for("error"))["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        assert key not in error["message"].replace("Incorrect API key", "")
        assert await client.wait_closed() == (3000, "invalid_request_error.invalid_api_key")
        assert len(client.events) == 1


@pytest.mark.parametrize("path", ["/v1/realtime", "/"])
async def test_a_missing_key_is_told_and_shown_out(
    locked_gateway: Gateway, path: str, dialect: Any
) -> None:
    url = locked_gateway.url(path)
    async with locked_gateway.connect(dialect, url=url, api_key=None) as client:
        error = (await client.wait_for("error"))["error"]
        assert error["message"] == "Missing bearer or basic authentication in header"
        assert error["code"] is None
        assert await client.wait_closed() == (3000, "invalid_request_error")


@pytest.mark.parametrize("way", [{"api_key": None}, *FOUR_WAYS])
async def test_an_open_gateway_takes_any_key(gateway: Gateway, way: dict[str, Any]) -> None:
    async with door(gateway, **way) as client:
        await client.wait_for("session.created")


# --- origins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:3000", PAGE_ORIGIN]
)
async def test_pages_of_this_machine_and_named_ones_may_connect(
    gateway: Gateway, origin: str
) -> None:
    async with gateway.connect(headers={"Origin": origin}) as client:
        await client.wait_for("session.created")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example"]
)
async def test_other_pages_get_no_socket(gateway: Gateway, origin: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(gateway.url(), additional_headers={"Origin": origin}, proxy=None)
    assert caught.value.response.status_code == 403


async def test_with_a_key_the_key_decides_about_pages(locked_gateway: Gateway) -> None:
    page = {"Origin": "https://any.example"}
    async with locked_gateway.connect(headers=page, api_key=API_KEY) as client:
        await client.wait_for("session.created")


# --- what is not served -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"intent": "transcription"}, "invalid_model"),
        ({"call_id": "rtc_1"}, "invalid_parameter"),
    ],
)
async def test_other_kinds_of_session_are_refused_with_4000(
    gateway: Gateway, query: dict[str, str], code: str
) -> None:
    async with gateway.connect(url=gateway.url(**query)) as client:
        assert (await client.wait_for("error"))["error"]["code"] == code
        assert await client.wait_closed() == (4000, f"invalid_request_error.{code}")


async def test_a_session_has_an_end() -> None:
    async with run_gateway(session={"max_session_s": 1}) as gateway, gateway.connect() as client:
        error = (await client.wait_for("error"))["error"]
        assert error["code"] == "session_expired"
        assert error["message"] == "Your session hit the maximum duration of 1 seconds."
        assert await client.wait_closed() == (1001, error["message"])


async def test_a_clean_close_is_answered(gateway: Gateway) -> None:
    async with gateway.connect() as client:
        await client.wait_for("session.created")
    assert client.socket.close_code == 1000
