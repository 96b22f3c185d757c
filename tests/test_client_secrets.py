"""Ephemeral keys: what comes out is what went in, until it expires, and nothing else opens."""

from __future__ import annotations

import random
import re
import string
from dataclasses import replace
from typing import Any

import pytest

from client_secrets import MAX_KEY_CHARS, ClientSecret, ClientSecrets
from protocol import ConnectionRefused, InvalidRequest
from tests.live import server_settings

NOW_S = 1_800_000_000
SIGNING_KEY = bytes(range(32))
SECRET = ClientSecret(
    NOW_S + 600,
    "beta",
    "realtime",
    "gpt-realtime",
    {"instructions": "请用中文回答。\n" * 3, "audio": {"input": {"turn_detection": None}}},
)


def keeper(now_s: float = NOW_S, signing_key: bytes = SIGNING_KEY) -> ClientSecrets:
    return ClientSecrets(signing_key, lambda: now_s)


def from_server(**server: Any) -> ClientSecrets:
    return ClientSecrets.from_settings(server_settings(**server).server)


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        ClientSecret(NOW_S + 10),
        ClientSecret(NOW_S + 7200, "ga", "transcription", None, {"include": None}),
        replace(SECRET, session={"tools": [{"type": "function", "name": "f" * 64}] * 50}),
    ],
)
def test_a_key_opens_what_it_was_minted_for(secret: ClientSecret) -> None:
    key = keeper().mint(secret)
    # What may stand in a header, in a subprotocol (RFC 7230 token) and in a query alike.
    assert re.fullmatch(r"ek_[A-Za-z0-9_-]+", key)
    assert keeper().open(key) == secret
    assert keeper().open(key) == secret


def test_a_plain_key_is_short_and_no_two_are_equal() -> None:
    keys = {keeper().mint(ClientSecret(NOW_S + 600)) for _ in range(100)}
    assert len(keys) == 100
    assert max(map(len, keys)) < 100


@pytest.mark.parametrize("late_s", [0, 1, 10**6])
def test_an_expired_key_is_refused(late_s: int) -> None:
    key = keeper().mint(SECRET)
    assert keeper(SECRET.expires_at - 0.5).open(key) == SECRET
    with pytest.raises(ConnectionRefused, match="expired") as caught:
        keeper(SECRET.expires_at + late_s).open(key)
    assert (caught.value.code, caught.value.close_code) == ("invalid_api_key", 3000)
    assert key[-8:] not in caught.value.message


def test_the_expiry_is_in_whole_seconds_from_now() -> None:
    assert keeper(NOW_S + 0.9).expiry(600) == NOW_S + 600


@pytest.mark.parametrize(
    "key",
    ["ek_", "ek_x", "ek_abc.def", "ek_密钥", "ek_\udcff", "ek_AAAA====", "ek_" + "A" * 100, "ek_é"],
)
def test_what_is_no_key_of_ours_is_refused(key: str) -> None:
    with pytest.raises(ConnectionRefused, match="did not issue") as caught:
        keeper().open(key)
    assert (caught.value.code, caught.value.close_code) == ("invalid_api_key", 3000)


def test_a_key_with_any_character_changed_is_refused() -> None:
    key = keeper().mint(SECRET)
    for index in range(3, len(key)):
        for letter in "Ab_":
            if key[index] != letter:
                with pytest.raises(ConnectionRefused):
                    keeper().open(key[:index] + letter + key[index + 1 :])
    for forged in (key[:-1], key + "A", key + "=", key.replace("ek_", "ek_ek_")):
        with pytest.raises(ConnectionRefused):
            keeper().open(forged)


def test_a_key_of_another_signer_is_refused() -> None:
    with pytest.raises(ConnectionRefused):
        keeper(signing_key=bytes(32)).open(keeper().mint(SECRET))


def test_settings_too_large_for_a_header_are_refused() -> None:
    letters = random.Random(1).choices(string.ascii_letters, k=2 * MAX_KEY_CHARS)
    with pytest.raises(InvalidRequest) as caught:
        keeper().mint(replace(SECRET, session={"instructions": "".join(letters)}))
    assert (caught.value.code, caught.value.param) == ("string_above_max_length", "session")
    assert str(MAX_KEY_CHARS) in caught.value.message
    # Prose of that length is no problem.
    assert len(keeper().mint(replace(SECRET, session={"instructions": "Be brief. " * 600}))) < 300


def test_settings_nested_too_deeply_are_refused() -> None:
    nested: Any = {}
    for _ in range(300):
        nested = {"a": nested}
    with pytest.raises(InvalidRequest, match="nested"):
        keeper().mint(replace(SECRET, session={"tracing": nested}))


@pytest.mark.parametrize(
    ("minting", "opening", "opens"),
    [
        ({}, {}, False),
        ({"api_key": "a"}, {"api_key": "a"}, True),
        ({"api_key": "a"}, {"api_key": "b"}, False),
        ({"client_secret_key": "s" * 16}, {"client_secret_key": "s" * 16, "api_key": "a"}, True),
        ({"client_secret_key": "s" * 16, "api_key": "a"}, {"api_key": "a"}, False),
    ],
)
def test_processes_share_keys_when_they_share_what_signs(
    minting: dict[str, str], opening: dict[str, str], opens: bool
) -> None:
    secrets = from_server(**minting)
    key = secrets.mint(ClientSecret(secrets.expiry(600)))
    if opens:
        from_server(**opening).open(key)
    else:
        with pytest.raises(ConnectionRefused):
            from_server(**opening).open(key)
