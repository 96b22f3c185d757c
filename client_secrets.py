"""Ephemeral keys (`ek_…`): a session's first settings inside a signed text that expires.

Nothing is kept on the server, so that any process with the same signing key can open what
another one minted. It knows no HTTP and no socket, and it does not judge the settings it seals.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from config import ServerSettings
from protocol import ConnectionRefused, ErrorCode, InvalidRequest, SessionKind

PREFIX = "ek_"
MAX_KEY_CHARS = 6_000
"""The key travels in one header line, and common proxies refuse lines beyond 8 KiB."""

SecretDialect = Literal["ga", "beta"]

_SIGNATURE_BYTES = 16
_NONCE_BYTES = 6
_SALT = b"realtime client secrets, version 1"


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """What the holder of an ephemeral key may open.

    Attributes:
        expires_at: Unix time in seconds; later it opens nothing more, open sessions go on.
        dialect: That of the endpoint that minted it, which hints at that of its client.
        kind: Which kind of session it opens.
        model: The model it is bound to; None lets its client name any.
        session: GA-shaped fields of a `session` object that the session starts with.
    """

    expires_at: int
    dialect: SecretDialect = "ga"
    kind: SessionKind = "realtime"
    model: str | None = None
    session: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


class ClientSecrets:
    """Mints and opens ephemeral keys.

    The key is `ek_` and base64url, so that it may stand in a header, a subprotocol and a query:
    signature, nonce, then the deflated JSON of a `ClientSecret`. The signature is HMAC-SHA256
    over all that follows it, cut to 128 bits to keep the key short. Its holder can read the
    settings, as the `session.created` of the session shows them anyway.

    Args:
        signing_key: At least 32 bytes; whoever knows it can mint.
        clock: Unix time in seconds.
    """

    def __init__(self, signing_key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._signing_key = signing_key
        self._clock = clock

    @classmethod
    def from_settings(cls, server: ServerSettings) -> ClientSecrets:
        """Keys signed by CLIENT_SECRET_KEY, else API_KEY, else by chance for this process alone."""
        source = server.client_secret_key or server.api_key
        if source is None:
            return cls(secrets.token_bytes(32))
        # Every key handed out invites guessing what signed it, and people choose short API keys:
        # the derivation is slow so that guesses are.
        password = source.get_secret_value().encode()
        return cls(hashlib.scrypt(password, salt=_SALT, n=2**14, r=8, p=1, dklen=32))

    def expiry(self, lifetime_s: int) -> int:
        """When a key minted now for `lifetime_s` expires, in Unix seconds."""
        return int(self._clock()) + lifetime_s

    def mint(self, secret: ClientSecret) -> str:
        """The key that opens `secret`; no two are equal.

        Raises:
            InvalidRequest: the settings do not fit into a key of `MAX_KEY_CHARS`.
        """
        fields = [secret.expires_at, secret.dialect, secret.kind, secret.model, secret.session]
        try:
            payload = orjson.dumps(fields)
        except orjson.JSONEncodeError:
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE, "Invalid 'session': it is nested too deeply.", "session"
            ) from None
        # Raw deflate: the header and checksum of zlib's own format would say nothing new.
        sealed = secrets.token_bytes(_NONCE_BYTES) + zlib.compress(payload, 9, wbits=-15)
        key = PREFIX + _base64url(self._sign(sealed) + sealed)
        if len(key) > MAX_KEY_CHARS:
            raise InvalidRequest(
                ErrorCode.STRING_ABOVE_MAX_LENGTH,
                f"Invalid 'session': it makes a client secret of {len(key)} characters, and the "
                f"maximum is {MAX_KEY_CHARS}, what fits into a header everywhere. Send the rest "
                "of the instructions or tools in a session.update.",
                "session",
            )
        return key

    def open(self, key: str) -> ClientSecret:
        """What `key` opens.

        Raises:
            ConnectionRefused: `invalid_api_key`, close 3000: no key of ours, or expired.
        """
        packed = _from_base64url(key.removeprefix(PREFIX))
        signature, sealed = packed[:_SIGNATURE_BYTES], packed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(sealed)):
            raise _refused("This server did not issue it, or was started anew since then.")
        payload = orjson.loads(zlib.decompress(sealed[_NONCE_BYTES:], wbits=-15))
        expires_at, dialect, kind, model, session = payload
        if self._clock() >= expires_at:
            raise _refused("It has expired.")
        return ClientSecret(expires_at, dialect, kind, model, session)

    def _sign(self, sealed: bytes) -> bytes:
        digest = hmac.digest(self._signing_key, sealed, hashlib.sha256)
        return digest[:_SIGNATURE_BYTES]


def _refused(why: str) -> ConnectionRefused:
    message = f"Incorrect API key provided: {PREFIX}***. {why} Ask for a new client secret."
    return ConnectionRefused(ErrorCode.INVALID_API_KEY, message, 3000)


def _base64url(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _from_base64url(text: str) -> bytes:
    """The bytes of `text`; none when it is not base64url as `_base64url` writes it."""
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
    return packed if _base64url(packed) == text else b""
