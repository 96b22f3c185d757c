"""What an upgrade request settles: who may come in, with which model, in which dialect.

Pure: from headers, query and subprotocols to a `Handshake` or a refusal; it knows no socket.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from config import Settings
from protocol import ConnectionRefused, ErrorCode

DialectName = Literal["ga", "beta", "undecided"]

_KEY_SUBPROTOCOL = "openai-insecure-api-key."
_BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
_GA_USER_AGENTS = ("OpenAI/", "AsyncOpenAI/", "Agents/")
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class HandshakeRequest:
    """What a client sent with its upgrade; header names in lower case, duplicates joined."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    query: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    subprotocols: tuple[str, ...] = field(default=(), repr=False)

    @property
    def model(self) -> str | None:
        """The model asked for; `deployment` is Azure's word for it."""
        return self.query.get("model") or self.query.get("deployment") or None

    @property
    def marked_beta(self) -> bool:
        """Whether the client says it speaks beta (reference §1.5 rules 1 and 2)."""
        tokens = self.headers.get("openai-beta", "").split(",")
        return (
            any(token.strip() == "realtime=v1" for token in tokens)
            or _BETA_SUBPROTOCOL in self.subprotocols
        )


@dataclass(frozen=True, slots=True)
class Handshake:
    """What an accepted upgrade settled; a pinned dialect is never changed by later events."""

    model: str
    dialect: DialectName
    pinned: bool


def choose_subprotocol(offered: tuple[str, ...]) -> str | None:
    """The one subprotocol to answer with, never the one that carries the key."""
    if "realtime" in offered:
        return "realtime"
    return next((entry for entry in offered if not entry.startswith(_KEY_SUBPROTOCOL)), None)


def find_credential(request: HandshakeRequest) -> str | None:
    """The first key in the order of trust of reference §1.2."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for entry in request.subprotocols:
        if entry.startswith(_KEY_SUBPROTOCOL) and (key := entry.removeprefix(_KEY_SUBPROTOCOL)):
            return key
    return request.headers.get("api-key") or request.query.get("api-key") or None


def origin_allowed(request: HandshakeRequest, settings: Settings) -> bool:
    """Whether a browser page of this origin may connect.

    Without an API key any page the user visits could reach a gateway on the user's own machine:
    WebSockets are not bound by the same-origin policy. With a key the key decides.
    """
    origin = request.headers.get("origin")
    if origin is None or settings.server.api_key is not None:
        return True
    allowed = {entry.lower().rstrip("/") for entry in settings.server.allowed_origins}
    if "*" in allowed or origin.lower().rstrip("/") in allowed:
        return True
    try:
        parts = urlsplit(origin)
        return parts.scheme in {"http", "https"} and parts.hostname in _LOCAL_HOSTS
    except ValueError:
        return False


def detect_dialect(request: HandshakeRequest) -> DialectName:
    """The dialect the handshake gives away, by reference §1.5 rules 1 to 4."""
    model = request.model or ""
    legacy_reference_client = "api-key" in request.query and not model
    if request.marked_beta or legacy_reference_client or model.startswith("step-"):
        return "beta"
    fingerprint = (
        request.headers.get("user-agent", "").startswith(_GA_USER_AGENTS)
        or "x-openai-agents-sdk" in request.headers
        or "realtime" in request.subprotocols
        or "intent" in request.query
        or "call_id" in request.query
    )
    return "ga" if fingerprint else "undecided"


def negotiate(request: HandshakeRequest, settings: Settings) -> Handshake:
    """Decide over an upgrade: who may come in, with which model, in which dialect.

    Raises:
        ConnectionRefused: with the error and the close code of reference §1.6 and §1.7.
    """
    _authenticate(request, settings)
    dialect = detect_dialect(request)
    forced = settings.server.dialect
    if not settings.server.beta_enabled:
        if request.marked_beta or (dialect == "beta" and forced == "auto"):
            raise ConnectionRefused(
                ErrorCode.BETA_DISABLED,
                "The Realtime Beta API is no longer supported. "
                "Please use /v1/realtime for the GA API.",
                4000,
            )
        dialect = "ga"
    _check_purpose(request)
    model = request.model or settings.session.model
    if forced != "auto":
        return Handshake(model, forced, pinned=True)
    return Handshake(model, dialect, pinned=not settings.server.beta_enabled)


def _authenticate(request: HandshakeRequest, settings: Settings) -> None:
    expected = settings.server.api_key
    if expected is None:
        return
    key = find_credential(request)
    if key is None:
        raise ConnectionRefused(None, "Missing bearer or basic authentication in header", 3000)
    presented = key.encode(errors="surrogateescape")
    if not hmac.compare_digest(presented, expected.get_secret_value().encode()):
        raise ConnectionRefused(
            ErrorCode.INVALID_API_KEY,
            f"Incorrect API key provided: {_mask(key)}. "
            "The key to use is the one this server was started with (API_KEY or --api-key).",
            3000,
        )


def _mask(key: str) -> str:
    shown = key.encode("ascii", "replace").decode()
    return f"{shown[:3]}***{shown[-4:]}" if len(shown) >= 16 else "***"


def _check_purpose(request: HandshakeRequest) -> None:
    """Refuse the other kinds of session that share this URL."""
    if request.query.get("intent") == "transcription":
        if request.model:
            raise ConnectionRefused(
                ErrorCode.INVALID_MODEL,
                f'Model "{request.model}" cannot be given together with intent=transcription: '
                "a transcription session names its model in session.update.",
                4000,
            )
        raise ConnectionRefused(
            ErrorCode.INVALID_PARAMETER,
            "Transcription sessions (intent=transcription) are not served by this version. "
            "Connect with ?model= for a realtime session.",
            4000,
        )
    if "call_id" in request.query:
        raise ConnectionRefused(
            ErrorCode.INVALID_PARAMETER,
            "Calls (call_id) are not served by this version. "
            "Connect with ?model= for a realtime session.",
            4000,
        )
