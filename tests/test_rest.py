"""The endpoints beside the socket: bodies, errors, browsers, and keys that open sessions."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import string
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

import handshake
import main
from client_secrets import MAX_KEY_CHARS, ClientSecret, ClientSecrets
from config import Settings
from handshake import HandshakeRequest
from protocol import ConnectionRefused
from rest import MAX_BODY_BYTES
from tests.e2e.gateway import Gateway, run_gateway
from tests.live import FakeEngines, FakeSession, server_settings

KEY = "sk-0123456789abcdef-rest"
BEARER = {"Authorization": f"Bearer {KEY}"}
SECRETS = "/v1/realtime/client_secrets"
SESSIONS = "/v1/realtime/sessions"
TRANSCRIPTIONS = "/v1/realtime/transcription_sessions"
PAGE = "https://app.example"


@asynccontextmanager
async def http(settings: Settings | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the application without a socket."""
    engines: Any = FakeEngines()
    app = main.create_app(settings or Settings(), engines=engines, session_factory=FakeSession)
    app.state.engines = engines
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    return answer.status_code, error["code"], error["param"]


def seconds_left(expires_at: int) -> float:
    return expires_at - time.time()


# --- models -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
async def test_the_model_is_listed_and_found(prefix: str) -> None:
    async with http() as client:
        listed = (await client.get(f"{prefix}/models")).json()
        found = (await client.get(f"{prefix}/models/gpt-realtime")).json()
    assert listed == {"object": "list", "data": [found]}
    assert (found["id"], found["object"]) == ("gpt-realtime", "model")
    assert isinstance(found["created"], int)
    assert isinstance(found["owned_by"], str)


@pytest.mark.parametrize("name", ["gpt-9", "a/b", "gpt-realtime2", "模型"])
async def test_an_unknown_model_is_not_found(name: str) -> None:
    async with http() as client:
        answer = await client.get(f"/v1/models/{name}")
    assert error_of(answer) == (404, "model_not_found", None)
    assert name in answer.json()["error"]["message"]


# --- what is answered -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "lifetime_s"),
    [
        (None, 600),
        ({}, 600),
        ({"session": {"type": "realtime"}}, 600),
        ({"expires_after": None, "session": None}, 600),
        ({"expires_after": {"anchor": "created_at", "seconds": 10}}, 10),
        ({"expires_after": {"seconds": 7200}}, 7200),
        ({"expires_after": {"anchor": "created_at"}}, 600),
    ],
)
async def test_a_client_secret_has_its_lifetime(body: Any, lifetime_s: int) -> None:
    async with http() as client:
        answer = (
            await client.post(SECRETS, json=body)
            if body is not None
            else (await client.post(SECRETS))
        )
    made = answer.json()
    assert (answer.status_code, made.keys()) == (200, {"value", "expires_at", "session"})
    assert made["value"].startswith("ek_")
    assert lifetime_s - 5 < seconds_left(made["expires_at"]) <= lifetime_s
    session = made["session"]
    assert (session["type"], session["object"]) == ("realtime", "realtime.session")
    assert (session["model"], session["expires_at"]) == ("gpt-realtime", 0)
    assert session["id"].startswith("sess_")


async def test_the_answer_shows_the_whole_effective_session() -> None:
    asked = {
        "type": "realtime",
        "model": "m",
        "instructions": "Be brief.",
        "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9}}},
        "tools": [{"type": "function", "name": "f"}],
    }
    async with http() as client:
        session = (await client.post(SECRETS, json={"session": asked})).json()["session"]
    assert (session["model"], session["instructions"]) == ("m", "Be brief.")
    assert session["tools"] == [{"type": "function", "name": "f"}]
    heard, spoken = session["audio"]["input"], session["audio"]["output"]
    assert heard["turn_detection"]["threshold"] == 0.9
    assert heard["turn_detection"]["prefix_padding_ms"] == 300
    assert heard["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert spoken["voice"] == "alloy"


async def test_a_transcription_secret_shows_a_transcription_session() -> None:
    audio = {"input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "whisper-1"}}}
    asked = {"type": "transcription", "audio": audio}
    async with http() as client:
        session = (await client.post(SECRETS, json={"session": asked})).json()["session"]
    assert session.keys() == {"type", "object", "id", "expires_at", "audio", "include"}
    assert (session["type"], session["object"]) == (
        "transcription",
        "realtime.transcription_session",
    )
    assert session["audio"].keys() == {"input"}
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["input"]["transcription"]["model"] == "whisper-1"


async def test_a_beta_session_is_flat_and_lives_a_minute() -> None:
    asked = {"model": "m", "modalities": ["text"], "voice": "echo", "temperature": 0.7}
    async with http() as client:
        made = (await client.post(SESSIONS, json=asked)).json()
        longer = {"client_secret": {"expires_after": {"anchor": "created_at", "seconds": 120}}}
        long = (await client.post(SESSIONS, json=longer)).json()
    assert made | asked == made
    assert (made["object"], made["expires_at"]) == ("realtime.session", 0)
    assert made["input_audio_format"] == "pcm16"
    assert made["client_secret"].keys() == {"value", "expires_at"}
    assert 55 < seconds_left(made["client_secret"]["expires_at"]) <= 60
    assert 115 < seconds_left(long["client_secret"]["expires_at"]) <= 120


async def test_a_beta_transcription_session_is_flat_too() -> None:
    asked = {
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "whisper-1", "language": "en"},
        "turn_detection": None,
        "client_secret": {"expires_at": {"anchor": "created_at", "seconds": 90}},
    }
    async with http() as client:
        made = (await client.post(TRANSCRIPTIONS, json=asked)).json()
    assert made["object"] == "realtime.transcription_session"
    assert (made["input_audio_format"], made["turn_detection"]) == ("g711_ulaw", None)
    assert made["input_audio_transcription"]["model"] == "whisper-1"
    assert "voice" not in made
    assert 85 < seconds_left(made["client_secret"]["expires_at"]) <= 90


# --- errors -----------------------------------------------------------------------------------

VAD = {"type": "server_vad", "threshold": 2}


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        (SECRETS, [], "invalid_type", "body"),
        (SECRETS, {"session": 1}, "invalid_type", "session"),
        (SECRETS, {"session": {}}, "missing_required_parameter", "session.type"),
        (SECRETS, {"session": {"type": None}}, "invalid_type", "session.type"),
        (SECRETS, {"session": {"type": "x"}}, "invalid_value", "session.type"),
        (SECRETS, {"session": {"type": "realtime", "model": 1}}, "invalid_type", "session.model"),
        (
            SECRETS,
            {"session": {"type": "realtime", "audio": {"input": {"turn_detection": VAD}}}},
            "decimal_above_max_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            SECRETS,
            {"session": {"type": "transcription", "audio": {"input": {"turn_detection": VAD}}}},
            "decimal_above_max_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            SECRETS,
            {"session": {"type": "realtime", "output_modalities": ["smell"]}},
            "invalid_value",
            "session.output_modalities[0]",
        ),
        (
            SECRETS,
            {"session": {"type": "realtime", "tools": [{"type": "function", "name": 1}]}},
            "invalid_type",
            "session.tools[0].name",
        ),
        (
            SECRETS,
            {
                "session": {
                    "type": "realtime",
                    "audio": {"input": {"transcription": {"language": "de"}}},
                }
            },
            "invalid_value",
            "session.audio.input.transcription.language",
        ),
        (
            SECRETS,
            {"expires_after": {"seconds": 9}},
            "integer_below_min_value",
            "expires_after.seconds",
        ),
        (
            SECRETS,
            {"expires_after": {"seconds": 7201}},
            "integer_above_max_value",
            "expires_after.seconds",
        ),
        (
            SECRETS,
            {"expires_after": {"anchor": "now", "seconds": 60}},
            "invalid_value",
            "expires_after.anchor",
        ),
        (SESSIONS, {"voice": 1}, "invalid_type", "voice"),
        (SESSIONS, {"model": 1}, "invalid_type", "model"),
        (SESSIONS, {"modalities": ["smell"]}, "invalid_value", "modalities[0]"),
        (SESSIONS, {"turn_detection": VAD}, "decimal_above_max_value", "turn_detection.threshold"),
        (SESSIONS, {"input_audio_format": "mp3"}, "invalid_value", "input_audio_format"),
        (
            SESSIONS,
            {"client_secret": {"expires_after": {"seconds": 1}}},
            "integer_below_min_value",
            "client_secret.expires_after.seconds",
        ),
        (TRANSCRIPTIONS, {"turn_detection": 1}, "invalid_type", "turn_detection"),
        (
            TRANSCRIPTIONS,
            {"input_audio_transcription": {"language": "de"}},
            "invalid_value",
            "input_audio_transcription.language",
        ),
    ],
)
async def test_a_wrong_field_is_named(path: str, body: Any, code: str, param: str) -> None:
    async with http() as client:
        answer = await client.post(path, json=body)
    assert error_of(answer) == (400, code, param)
    assert code == "invalid_value" or param in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["authorization", "headers"])
async def test_a_readable_key_takes_no_other_secret(name: str) -> None:
    tool = {"type": "function", "name": "f", name: {"x": "hidden"}}
    async with http() as client:
        answer = await client.post(SECRETS, json={"session": {"type": "realtime", "tools": [tool]}})
    assert error_of(answer) == (400, "invalid_value", f"session.tools[0].{name}")
    assert "hidden" not in answer.text


async def test_a_session_too_large_for_a_key_is_refused() -> None:
    letters = random.Random(1).choices(string.ascii_letters, k=2 * MAX_KEY_CHARS)
    async with http() as client:
        body = {"session": {"type": "realtime", "instructions": "".join(letters)}}
        answer = await client.post(SECRETS, json=body)
    assert error_of(answer) == (400, "string_above_max_length", "session")


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "expected"),
    [
        ("POST", SECRETS, {"Content-Type": "application/json"}, "{", (400, "invalid_json", None)),
        ("POST", SECRETS, {"Content-Type": "application/json"}, "NaN", (400, "invalid_json", None)),
        ("POST", SECRETS, {}, "{}", (415, "unsupported_content_type", None)),
        (
            "POST",
            SESSIONS,
            {"Content-Type": "text/plain"},
            "{}",
            (415, "unsupported_content_type", None),
        ),
        (
            "POST",
            SECRETS,
            {"Content-Type": "application/json"},
            " " * (MAX_BODY_BYTES + 1),
            (413, None, None),
        ),
        ("GET", SECRETS, {}, None, (405, "method_not_supported", None)),
        ("DELETE", "/v1/models/gpt-realtime", {}, None, (405, "method_not_supported", None)),
        ("POST", "/v1/realtime/nothing", {}, None, (404, None, None)),
    ],
)
async def test_a_request_that_cannot_be_read_is_refused(
    method: str, path: str, headers: dict[str, str], content: str | None, expected: Any
) -> None:
    async with http() as client:
        answer = await client.request(method, path, headers=headers, content=content)
    assert error_of(answer) == expected


async def test_a_json_type_with_a_charset_is_json() -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    async with http() as client:
        answer = await client.post(SECRETS, content="{}", headers=headers)
    assert answer.status_code == 200


async def test_the_beta_endpoints_can_be_turned_off() -> None:
    async with http(server_settings(beta_enabled=False)) as client:
        for path in (SESSIONS, TRANSCRIPTIONS):
            answer = await client.post(path, json={})
            assert error_of(answer) == (400, "beta_api_shape_disabled", None)
        assert (await client.post(SECRETS, json={})).status_code == 200


# --- the key ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/x"),
        ("POST", SECRETS),
        ("POST", SESSIONS),
        ("POST", TRANSCRIPTIONS),
    ],
)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        ({"Authorization": "Bearer wrong"}, "invalid_api_key"),
        ({"api-key": "wrong"}, "invalid_api_key"),
    ],
)
async def test_the_api_key_guards_every_endpoint(
    method: str, path: str, headers: dict[str, str], code: str | None
) -> None:
    async with http(server_settings(api_key=KEY)) as client:
        answer = await client.request(method, path, headers=headers)
        assert error_of(answer) == (401, code, None)
        assert KEY not in answer.text


@pytest.mark.parametrize("headers", [BEARER, {"api-key": KEY}])
async def test_the_api_key_is_taken_from_both_headers(headers: dict[str, str]) -> None:
    async with http(server_settings(api_key=KEY)) as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 200
        assert (await client.post(SECRETS, headers=headers)).status_code == 200


async def test_a_query_is_no_place_for_the_key_of_these_endpoints() -> None:
    async with http(server_settings(api_key=KEY)) as client:
        assert error_of(await client.get(f"/v1/models?api-key={KEY}"))[0] == 401


@pytest.mark.parametrize("api_key", [None, KEY])
async def test_a_client_secret_cannot_mint_another(api_key: str | None) -> None:
    async with http(server_settings(api_key=api_key)) as client:
        value = (await client.post(SECRETS, headers=BEARER)).json()["value"]
        answer = await client.post(SECRETS, headers={"Authorization": f"Bearer {value}"})
    assert error_of(answer) == (401, "invalid_api_key", None)
    assert value not in answer.text


# --- browsers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "origin", "allowed"),
    [
        ({}, "http://localhost:5173", True),
        ({}, PAGE, False),
        ({"allowed_origins": (PAGE,)}, PAGE, True),
        ({"allowed_origins": ("*",)}, PAGE, True),
        ({"allowed_origins": (PAGE,)}, "https://other.example", False),
        ({"api_key": KEY}, PAGE, True),
    ],
)
async def test_pages_that_may_connect_may_read(
    server: dict[str, Any], origin: str, allowed: bool
) -> None:
    expected = origin if allowed else None
    asked = "authorization, content-type, openai-beta, x-stainless-os"
    async with http(server_settings(**server)) as client:
        preflight = await client.options(
            SECRETS,
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": asked,
            },
        )
        answers = [
            await client.post(SECRETS, headers=BEARER | {"Origin": origin}),
            await client.post(SECRETS, headers=BEARER | {"Origin": origin}, content="x"),
            await client.post(SECRETS, headers={"Origin": origin, "api-key": "wrong"}),
            await client.get("/v1/nothing", headers={"Origin": origin}),
        ]
    assert preflight.headers.get("access-control-allow-origin") == expected
    assert preflight.is_success is allowed
    assert preflight.headers["access-control-allow-headers"] == asked
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for answer in answers:
        assert answer.headers.get("access-control-allow-origin") == expected
        assert "Origin" in answer.headers["vary"]


# --- the handshake with a client secret -------------------------------------------------------

VAULT = ClientSecrets(bytes(32), lambda: 1_000.0)
STEP = {"model": "step-audio-2"}


def bearing(secret: ClientSecret, **request: Any) -> HandshakeRequest:
    headers = {"authorization": f"Bearer {VAULT.mint(secret)}"} | request.pop("headers", {})
    return HandshakeRequest(headers, **request)


GA, BETA = ClientSecret(2_000, "ga"), ClientSecret(2_000, "beta")
EARS = ClientSecret(2_000, kind="transcription")


@pytest.mark.parametrize(
    ("request_", "dialect"),
    [
        (bearing(GA), "ga"),
        (bearing(BETA), "beta"),
        (bearing(BETA, subprotocols=("realtime",)), "beta"),
        (bearing(BETA, headers={"user-agent": "AsyncOpenAI/Python 3.52.0"}), "ga"),
        (bearing(GA, headers={"openai-beta": "realtime=v1"}), "beta"),
        (bearing(GA, subprotocols=("realtime", "openai-beta.realtime-v1")), "beta"),
        (bearing(GA, query=STEP), "beta"),
    ],
)
def test_a_secret_tells_the_dialect(request_: HandshakeRequest, dialect: str) -> None:
    assert handshake.negotiate(request_, Settings(), VAULT).dialect == dialect


@pytest.mark.parametrize(
    ("bound", "query", "model"),
    [
        (None, {}, "gpt-realtime"),
        (None, {"model": "any"}, "any"),
        ("m", {}, "m"),
        ("m", {"model": "m"}, "m"),
        ("m", {"deployment": "m"}, "m"),
    ],
)
def test_without_a_model_the_secret_s_is_taken(
    bound: str | None, query: dict[str, str], model: str
) -> None:
    request = bearing(ClientSecret(2_000, model=bound), query=query)
    assert handshake.negotiate(request, Settings(), VAULT).model == model


@pytest.mark.parametrize(
    ("request_", "api_key", "code", "close_code"),
    [
        (bearing(ClientSecret(2_000, model="m"), query=STEP), None, "invalid_model", 4000),
        (bearing(GA, query={"intent": "transcription"}), None, "invalid_parameter", 4000),
        (bearing(EARS, query={"model": "m"}), None, "invalid_model", 4000),
        (bearing(ClientSecret(1_000)), None, "invalid_api_key", 3000),
        (bearing(ClientSecret(1_000)), KEY, "invalid_api_key", 3000),
        (HandshakeRequest({"authorization": "Bearer ek_x"}), None, "invalid_api_key", 3000),
        (HandshakeRequest({"authorization": "Bearer ek_x"}), KEY, "invalid_api_key", 3000),
    ],
)
def test_a_secret_that_does_not_fit_is_refused(
    request_: HandshakeRequest, api_key: str | None, code: str, close_code: int
) -> None:
    with pytest.raises(ConnectionRefused) as caught:
        handshake.negotiate(request_, server_settings(api_key=api_key), VAULT)
    assert (caught.value.code, caught.value.close_code) == (code, close_code)


@pytest.mark.parametrize("query", [{}, {"intent": "transcription"}])
def test_a_secret_tells_the_kind_of_session(query: dict[str, str]) -> None:
    settled = handshake.negotiate(bearing(EARS, query=query), Settings(), VAULT)
    assert settled.kind == "transcription"
    assert handshake.negotiate(bearing(GA), Settings(), VAULT).kind == "realtime"


def test_a_secret_for_transcription_needs_no_intent() -> None:
    request = bearing(ClientSecret(2_000, kind="transcription"))
    assert handshake.negotiate(request, Settings(), VAULT).kind == "transcription"


def test_an_api_key_may_look_like_a_secret() -> None:
    request = HandshakeRequest({"authorization": "Bearer ek_mine"})
    settings = server_settings(api_key="ek_mine")
    assert handshake.negotiate(request, settings, VAULT).secret is None
    handshake.require_api_key(request, settings)


# --- sessions ---------------------------------------------------------------------------------


@pytest.fixture
async def gateway() -> AsyncGenerator[Gateway]:
    async with run_gateway(api_key=KEY) as running:
        yield running


def sdk(gateway: Gateway, key: str = KEY) -> AsyncOpenAI:
    authority = f"127.0.0.1:{gateway.port}/v1"
    return AsyncOpenAI(
        base_url=f"http://{authority}", websocket_base_url=f"ws://{authority}", api_key=key
    )


async def first_event(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        return json.loads(await connection.recv())


async def test_the_sdk_s_secret_opens_sessions_that_start_as_asked(gateway: Gateway) -> None:
    async with sdk(gateway) as client:
        made = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={
                "type": "realtime",
                "model": "my-model",
                "instructions": "Talk like a pirate.",
                "output_modalities": ["text"],
                "audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}},
            },
        )
    assert made.session.type == "realtime"
    assert made.session.instructions == "Talk like a pirate."
    async with sdk(gateway, made.value) as page:
        # One secret opens several sessions: with its model, and with none named.
        async with page.realtime.connect(model="my-model") as connection:
            created = await connection.recv()
            assert created.type == "session.created"
            assert created.session.to_dict() == {
                **made.session.to_dict(),
                "id": created.session.to_dict()["id"],
                "expires_at": created.session.to_dict()["expires_at"],
            }
        async with page.realtime.connect(model="another") as connection:
            refusal = await connection.recv()
            assert refusal.type == "error"
            assert refusal.error.code == "invalid_model"
        async with page.realtime.connect() as connection:
            again = await connection.recv()
            assert again.type == "session.created"
            assert again.session.to_dict()["model"] == "my-model"
            await connection.conversation.item.create(
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "ahoy"}],
                }
            )
            await connection.response.create()
            async for event in connection:
                if event.type == "response.output_text.done":
                    assert event.text == "Arr, ahoy."
                    break
            # 150 ms in the format that the secret asked for; as PCM too little for a commit.
            audio = base64.b64encode(b"\xff" * 1200).decode()
            await connection.input_audio_buffer.append(audio=audio)
            await connection.input_audio_buffer.commit()
            async for event in connection:
                assert event.type != "error"
                if event.type == "input_audio_buffer.committed":
                    break


async def test_the_sdk_s_beta_session_opens_a_beta_session(gateway: Gateway) -> None:
    async with sdk(gateway) as client:
        made = await client.beta.realtime.sessions.create(
            instructions="Talk like a pirate.", modalities=["text"], temperature=0.7
        )
        heard = await client.beta.realtime.transcription_sessions.create(turn_detection={})
    assert heard.client_secret.value.startswith("ek_")
    assert (made.instructions, made.modalities) == ("Talk like a pirate.", ["text"])
    key = made.client_secret.value
    async with (
        sdk(gateway, key) as page,
        page.beta.realtime.connect(model="gpt-realtime") as connection,
    ):
        created = await connection.recv()
        assert created.type == "session.created"
        assert created.session.instructions == "Talk like a pirate."
        assert created.session.temperature == 0.7
    # A browser that forgot the marker: the key knows.
    entries = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{key}")]
    async with connect(gateway.url(), subprotocols=entries) as connection:
        session = (await first_event(connection))["session"]
        assert session["modalities"] == ["text"]
        assert "type" not in session


@pytest.mark.parametrize("place", ["subprotocol", "query", "header"])
async def test_a_large_secret_fits_everywhere(gateway: Gateway, place: str) -> None:
    letters = random.Random(1).choices(string.ascii_letters, k=6000)
    session = {"type": "realtime", "instructions": "".join(letters)}
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(
            f"http://127.0.0.1:{gateway.port}{SECRETS}", json={"session": session}, headers=BEARER
        )
    value = answer.json()["value"]
    assert MAX_KEY_CHARS * 0.95 < len(value) <= MAX_KEY_CHARS
    options: dict[str, Any] = {
        "subprotocol": {
            "subprotocols": [
                Subprotocol("realtime"),
                Subprotocol(f"openai-insecure-api-key.{value}"),
            ]
        },
        "header": {"additional_headers": {"Authorization": f"Bearer {value}"}},
        "query": {},
    }[place]
    url = gateway.url(**{"api-key": value}) if place == "query" else gateway.url()
    async with connect(url, **options) as connection:
        created = await first_event(connection)
    assert created["session"]["instructions"] == session["instructions"]


async def test_a_transcription_secret_opens_a_transcription_session(gateway: Gateway) -> None:
    async with sdk(gateway) as client:
        made = await client.realtime.client_secrets.create(
            session={
                "type": "transcription",
                "audio": {"input": {"transcription": {"model": "whisper-1"}}},
            }
        )
    async with sdk(gateway, made.value) as page, page.realtime.connect() as connection:
        created = await connection.recv()
    assert created.type == "session.created"
    session = created.session.to_dict()
    assert (session["type"], session["audio"]) == ("transcription", made.session.to_dict()["audio"])


async def test_an_unknown_secret_is_told_on_the_socket(gateway: Gateway) -> None:
    async with connect(
        gateway.url(), additional_headers={"Authorization": "Bearer ek_unknown"}
    ) as connection:
        error = (await first_event(connection))["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert connection.close_code == 3000
    assert connection.close_reason == "invalid_request_error.invalid_api_key"
