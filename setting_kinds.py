"""What the text of a setting may be: addresses, hosts, languages, engines; knows no setting."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

# Of BCP 47 the part that names languages; some write an underscore.
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
# RFC 1123; networks of containers allow the underscore.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def engine_names(value: str) -> tuple[str, ...]:
    """The engines of a stage in the order they are tried."""
    return tuple(name for part in value.split(",") if (name := part.strip()))


def engine_list(*known: str) -> AfterValidator:
    """One engine, or several behind commas: the first serves, the others are its backups."""

    def check(value: str) -> str:
        names = engine_names(value)
        if not names or len(set(names)) < len(names) or not set(names) <= {*known}:
            quoted = [f"'{name}'" for name in known]
            allowed = f"{', '.join(quoted[:-1])} or {quoted[-1]}"
            raise PydanticCustomError(
                "engines", "{allowed}, or several of them, each once", {"allowed": allowed}
            )
        return ",".join(names)

    return AfterValidator(check)


def language_tag(*others: str) -> AfterValidator:
    """A language tag, or one of the words that some engines know besides."""

    def check(value: str | None) -> str | None:
        if value is None or value in others or _LANGUAGE_TAG.fullmatch(value):
            return value
        words = "".join(f", or {word}" for word in others)
        raise PydanticCustomError(
            "language", "a language tag such as en or zh-CN{words}", {"words": words}
        )

    return AfterValidator(check)


def _http_url(value: str | None) -> str | None:
    """A base URL without its closing slash."""
    if value is None:
        return None
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise PydanticCustomError("http_url", "an http:// or https:// URL")
    return value.rstrip("/")


def _redis_url(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    url = value.get_secret_value()
    if not _is_redis(url):
        raise PydanticCustomError(
            "redis_url", "a URL like redis://[:password@]host:6379/0, rediss://… or unix:///path"
        )
    return value


def _is_redis(url: str) -> bool:
    if url.startswith("unix://"):
        return bool(urlsplit(url).path)
    parts = _split(url)
    if parts is None or parts.scheme not in ("redis", "rediss"):
        return False
    database = parts.path.strip("/")
    return not database or database.isdecimal()


def _host(value: str) -> str:
    if not _is_host(value):
        raise PydanticCustomError("host", "an IP address or a host name")
    return value


def _origin(value: str) -> str:
    if value in ("*", "null"):
        return value
    parts = _split(value)
    if parts is None or not parts.scheme or parts.path not in ("", "/") or parts.query:
        raise PydanticCustomError("origins", "origins like https://app.example.com, or *")
    return value


def _host_pattern(value: str) -> str:
    host, port = value, ""
    if not _is_address(value) and ":" in value:
        host, _, port = value.rpartition(":")
        port = port if port.isdecimal() and 0 < int(port) < 65_536 else "?"
    # What a star stands for is a name like any other.
    named = "a.a" if host == "*" else host.replace("*", "a")
    if port == "?" or not _is_host(named):
        raise PydanticCustomError(
            "host_patterns", "hosts like mcp.example.com, *.example.com, localhost:8001, or *"
        )
    return value


def _each(check: Callable[[str], str]) -> AfterValidator:
    def check_all(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check(value) for value in values)

    return AfterValidator(check_all)


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that leads to a host; None for any other text."""
    if any(character <= " " or character == "\x7f" for character in url):
        return None
    try:
        parts = urlsplit(url)
        # Only asking for the port shows whether it is one.
        found = parts.port is None or parts.port > 0
    except ValueError:
        return None
    return parts if found and parts.hostname else None


def _is_host(value: str) -> bool:
    if _is_address(value):
        return True
    labels = value.removesuffix(".").split(".")
    # A name that ends in a number is a mistyped address.
    return all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdecimal()


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


HTTP_URL = AfterValidator(_http_url)
"""An http(s) URL, taken without its closing slash."""
REDIS_URL = AfterValidator(_redis_url)
"""Where a Redis is, as redis-py takes it; secret, since a password may be in it."""
HOST = AfterValidator(_host)
"""An IP address or a host name."""
ORIGINS = _each(_origin)
"""Origins of web pages, `null` and `*` among them."""
HOST_PATTERNS = _each(_host_pattern)
"""Hosts in which a star may stand for any part, each with or without a port."""
