"""Which MCP servers a client may name: the operator's rules, as far as they need no network."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from protocol import ErrorCode, FunctionTool, InvalidRequest, McpTool, Session

MAX_SERVERS = 8
"""MCP servers that one `tools` list may name."""

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_OWN_HEADERS = frozenset(
    {
        *("host", "connection", "content-length", "content-type", "content-encoding", "accept"),
        *("transfer-encoding", "te", "trailer", "upgrade", "expect", "proxy-authorization"),
        *("mcp-session-id", "mcp-protocol-version", "last-event-id"),
    }
)
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class McpPolicy:
    """What the operator allows.

    Attributes:
        allowed_hosts: Host names, `*.example.com` patterns, either with `:port` behind it; none
            means that MCP is off.
        allow_private: Whether servers may be on this machine or in its network, and so without TLS.
        follow_up: Whether the model goes on by itself once its calls have been run.
    """

    allowed_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    follow_up: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a `server_url` leads; `host` is in lower case and without brackets."""

    scheme: str
    host: str
    port: int


def endpoint(url: str) -> Endpoint | None:
    """The parts of a plain http(s) URL, None for anything two parsers could read differently."""
    if any(character <= " " or character == "\\" or character > "~" for character in url):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.fragment:
        return None
    if not (_HOST.fullmatch(host) or (":" in host and literal_address(host))):
        return None
    return Endpoint(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the open internet, in whatever notation it hides."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour or address.teredo or address in _NAT64:
            return False
    return address.is_global and not address.is_multicast


def is_never_allowed(address: IPv4Address | IPv6Address) -> bool:
    """Refused even where private addresses are allowed: cloud metadata, multicast, `0.0.0.0`."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return is_never_allowed(address.ipv4_mapped)
    return address.is_link_local or address.is_multicast or address.is_unspecified


def check_tools(
    tools: Iterable[FunctionTool | McpTool] | None, policy: McpPolicy, path: str
) -> None:
    """Refuse MCP servers that the operator did not allow.

    Args:
        tools: A `tools` list, None where the client gave none.
        policy: The operator's rules.
        path: The list's path in the client event, e.g. `session.tools`.

    Raises:
        InvalidRequest: naming the field of the first server that is refused.
    """
    servers = 0
    for index, tool in enumerate(tools or ()):
        if isinstance(tool, McpTool):
            _check_server(tool, policy, f"{path}[{index}]")
            servers += 1
            if servers > MAX_SERVERS:
                raise InvalidRequest(
                    ErrorCode.INVALID_VALUE,
                    f"Invalid '{path}': at most {MAX_SERVERS} MCP servers may be named.",
                    f"{path}[{index}]",
                )


def without_mcp(session: Session) -> Session:
    """The session without its MCP servers."""
    kept = tuple(tool for tool in session.tools if isinstance(tool, FunctionTool))
    return session.model_copy(update={"tools": kept})


def _check_server(tool: McpTool, policy: McpPolicy, path: str) -> None:
    if not policy.allowed_hosts:
        raise InvalidRequest(
            ErrorCode.INVALID_VALUE,
            "Invalid value: 'mcp'. Supported values are: 'function'. MCP tools are switched off "
            "on this server; its operator allows remote servers with MCP_ALLOWED_HOSTS.",
            f"{path}.type",
        )
    where = endpoint(tool.server_url)
    if where is None:
        raise _refused(
            path, "Expected a plain http(s) URL without user name, fragment or non-ASCII characters"
        )
    names = (where.host, f"{where.host}:{where.port}")
    patterns = [pattern.lower() for pattern in policy.allowed_hosts]
    if not any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
        raise _refused(
            path,
            "This host is not among those that the operator of this server allows "
            "(MCP_ALLOWED_HOSTS)",
        )
    if where.scheme != "https" and not policy.allow_private:
        raise _refused(path, "Expected an https URL")
    address = literal_address(where.host)
    local = where.host == "localhost" or where.host.endswith(".localhost")
    if (local or (address is not None and not is_public(address))) and not policy.allow_private:
        raise _refused(
            path,
            "Private addresses are refused; the operator of this server allows them with "
            "MCP_ALLOW_PRIVATE",
        )
    _check_headers(tool, path)


def _check_headers(tool: McpTool, path: str) -> None:
    for name, value in (tool.headers or {}).items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                f"Invalid '{path}.headers': a client cannot set every header; host, connection "
                "and content headers and those of MCP itself are this server's.",
                f"{path}.headers",
            )
        _check_secret(value.get_secret_value(), f"{path}.headers")
    if tool.authorization is not None:
        _check_secret(tool.authorization.get_secret_value(), f"{path}.authorization")


def _check_secret(value: str, path: str) -> None:
    if len(value) > 8192 or not (value.isascii() and value.isprintable()):
        raise InvalidRequest(
            ErrorCode.INVALID_VALUE,
            f"Invalid '{path}': expected at most 8192 printable ASCII characters.",
            path,
        )


def _refused(path: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        ErrorCode.INVALID_VALUE, f"Invalid '{path}.server_url': {why}.", f"{path}.server_url"
    )
