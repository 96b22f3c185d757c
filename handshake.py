"""What an upgrade request settles: who may come in, with which model, in which dialect.

Pure: from headers, query and subprotocols to a `Handshake` or a refusal; it knows no socket.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from client_secrets import PREFIX, ClientSecret, ClientSecrets
from config import Settings
from protocol import ConnectionRefused, ErrorCode, SessionKind

DialectName = Literal["ga", "beta", "undecided"]

_KEY_SUBPROTOCOL = "openai-insecure-api-key."
_BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
_GA_USER_AGENTS = ("OpenAI/", "AsyncOpenAI/", "Agents/")
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_NOT_IN_PUBLIC_DNS = (".local", ".localhost", ".internal", ".home.arpa")
"""Reserved by RFC 6762, RFC 6761, ICANN (for private use) and RFC 8375."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


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
    kind: SessionKind = "realtime"
    secret: ClientSecret | None = None
    """What the client's ephemeral key stands for, when that is what it presented."""


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
    WebSockets are not bound by the same-origin policy. With a key the key decides. The gateway's
    own page may connect under every name that nobody else can point at it.
    """
    origin = request.headers.get("origin")
    if origin is None or settings.server.api_key is not None:
        return True
    allowed = {entry.lower().rstrip("/") for entry in settings.server.allowed_origins}
    if "*" in allowed or origin.lower().rstrip("/") in allowed:
        return True
    parts = _split(origin)
    if parts is None or parts.scheme not in _DEFAULT_PORTS:
        return False
    return parts.hostname in _LOCAL_HOSTS or (
        _is_own_page(request) and _cannot_be_rebound(parts.hostname)
    )


def operator_refusal(request: HandshakeRequest, peer: str | None, settings: Settings) -> str:
    """Why a request may not see or change the settings; "" when it may.

    It may with the API key, or from the gateway's own machine: from a loopback address, to a
    loopback name (else a page whose name is made to point here would do), and not through a proxy,
    whose address tells nothing about who asked. Pages of other origins never may.

    Args:
        request: What was sent.
        peer: The address of the other end of the socket; None where it has none.
        settings: The process's settings.
    """
    site = request.headers.get("sec-fetch-site")
    own = site in {"same-origin", "none"} if site else _is_own_page(request)
    if not own:
        return "Pages of other origins may not see or change the settings of this server."
    has_key = settings.server.api_key is not None
    presented = find_credential(request)
    if has_key and presented is not None and _is_api_key(presented, settings):
        return ""
    forwarded = any(
        name.startswith("x-forwarded-") or name in {"forwarded", "via", "x-real-ip"}
        for name in request.headers
    )
    host = _split(f"//{request.headers.get('host', '')}")
    is_local = host is not None and _is_loopback(host.hostname) and _is_loopback(peer)
    if is_local and not forwarded:
        return ""
    if has_key and presented is not None:
        return "The API key is wrong. It is the one this server was started with."
    way_in = "with the API key" if has_key else "once API_KEY is set, with that key"
    scheme = "https" if settings.server.ssl_certfile else "http"
    return (
        "The settings can be seen and changed on the machine the server runs on, at its address "
        f"{scheme}://localhost:{settings.server.port or '…'}/, or {way_in}."
    )


def _is_own_page(request: HandshakeRequest) -> bool:
    """Whether no page sent the request, or one that came from the address it was sent to."""
    origin = request.headers.get("origin")
    if origin is None:
        return True
    page, target = _split(origin), _split(f"//{request.headers.get('host', '')}")
    if page is None or target is None or page.hostname is None:
        return False
    default = _DEFAULT_PORTS.get(page.scheme)
    return (page.hostname, page.port or default) == (target.hostname, target.port or default)


def _cannot_be_rebound(hostname: str | None) -> bool:
    """Whether no stranger can make this name point here: an address, or no name of the public DNS.

    A page of evil.example whose name is changed to mean 127.0.0.1 (DNS rebinding) is of the same
    origin as what answers there.
    """
    if hostname is None:
        return False
    try:
        ip_address(hostname)
    except ValueError:
        return "." not in hostname or hostname.endswith(_NOT_IN_PUBLIC_DNS)
    return True


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _split(url: str) -> SplitResult | None:
    """The parts of an origin or of `//host:port`; None when it is neither."""
    try:
        parts = urlsplit(url)
        # Only asking for the port shows whether it is one.
        return parts if parts.port is None or parts.port >= 0 else None
    except ValueError:
        return None


def detect_dialect(request: HandshakeRequest, secret: ClientSecret | None = None) -> DialectName:
    """The dialect the handshake gives away, by reference §1.5 rules 1 to 4.

    A key minted by a beta endpoint outweighs the subprotocol `realtime`, which browsers offer in
    both dialects, but no name of a client that would have marked itself.
    """
    model = request.model or ""
    legacy_reference_client = "api-key" in request.query and not model
    if request.marked_beta or legacy_reference_client or model.startswith("step-"):
        return "beta"
    fingerprint = (
        request.headers.get("user-agent", "").startswith(_GA_USER_AGENTS)
        or "x-openai-agents-sdk" in request.headers
        or "intent" in request.query
        or "call_id" in request.query
    )
    if fingerprint:
        return "ga"
    if secret is not None:
        return secret.dialect
    return "ga" if "realtime" in request.subprotocols else "undecided"


def negotiate(
    request: HandshakeRequest, settings: Settings, secrets: ClientSecrets | None = None
) -> Handshake:
    """Decide over an upgrade: who may come in, with which model, in which dialect.

    Args:
        request: What the client sent.
        settings: The process's settings.
        secrets: Opens ephemeral keys; None when the server mints none.

    Raises:
        ConnectionRefused: with the error and the close code of reference §1.6 and §1.7.
    """
    secret = _authenticate(request, settings, secrets)
    dialect = detect_dialect(request, secret)
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
    kind = _kind(request, secret)
    model = _model(request, secret) or settings.session.model
    if forced != "auto":
        return Handshake(model, forced, pinned=True, kind=kind, secret=secret)
    pinned = not settings.server.beta_enabled
    return Handshake(model, dialect, pinned=pinned, kind=kind, secret=secret)


def require_api_key(request: HandshakeRequest, settings: Settings) -> None:
    """Let in who presents the operator's key, or anybody when there is none.

    Raises:
        ConnectionRefused: close 3000; also for an ephemeral key, which opens sessions and no more.
    """
    key = find_credential(request)
    if _is_api_key(key, settings):
        return
    if key is None:
        raise ConnectionRefused(None, "Missing bearer or basic authentication in header", 3000)
    hint = "The key to use is the one this server was started with (API_KEY or --api-key)."
    if key.startswith(PREFIX):
        hint = "A client secret opens sessions and nothing else: here an API key is needed."
    raise ConnectionRefused(
        ErrorCode.INVALID_API_KEY, f"Incorrect API key provided: {_mask(key)}. {hint}", 3000
    )


def _authenticate(
    request: HandshakeRequest, settings: Settings, secrets: ClientSecrets | None
) -> ClientSecret | None:
    key = find_credential(request)
    if secrets and key and key.startswith(PREFIX) and not _is_api_key(key, settings):
        return secrets.open(key)
    require_api_key(request, settings)
    return None


def _is_api_key(key: str | None, settings: Settings) -> bool:
    """Whether `key` is the API key; without one all are, but for an ephemeral key.

    That one was minted by somebody for something: to take it for any key would hide that it is
    forgotten or not ours.
    """
    expected = settings.server.api_key
    if expected is None:
        return key is None or not key.startswith(PREFIX)
    if key is None:
        return False
    presented = key.encode(errors="surrogateescape")
    return hmac.compare_digest(presented, expected.get_secret_value().encode())


def _model(request: HandshakeRequest, secret: ClientSecret | None) -> str | None:
    bound = secret.model if secret else None
    if bound and request.model and request.model != bound:
        raise ConnectionRefused(
            ErrorCode.INVALID_MODEL,
            f'Model "{request.model}" is not the model of this client secret, "{bound}". '
            "Connect with that one, or with none.",
            4000,
        )
    return request.model or bound


def _mask(key: str) -> str:
    shown = key.encode("ascii", "replace").decode()
    return f"{shown[:3]}***{shown[-4:]}" if len(shown) >= 16 else "***"


def _kind(request: HandshakeRequest, secret: ClientSecret | None) -> SessionKind:
    """Which of the kinds of session that share this URL is asked for; calls are not served."""
    wants_transcription = request.query.get("intent") == "transcription"
    if secret and wants_transcription and secret.kind != "transcription":
        raise ConnectionRefused(
            ErrorCode.INVALID_PARAMETER,
            "This client secret is for a realtime session, not for intent=transcription.",
            4000,
        )
    if wants_transcription or (secret and secret.kind == "transcription"):
        if request.model:
            raise ConnectionRefused(
                ErrorCode.INVALID_MODEL,
                f'Model "{request.model}" cannot be given together with intent=transcription: '
                "a transcription session names its model in session.update.",
                4000,
            )
        return "transcription"
    if "call_id" in request.query:
        raise ConnectionRefused(
            ErrorCode.INVALID_PARAMETER,
            "Calls (call_id) are not served by this version. "
            "Connect with ?model= for a realtime session.",
            4000,
        )
    return "realtime"
