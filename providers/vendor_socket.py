"""A vendor's WebSocket with deadlines, whose failures are typed and hold no secret."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
)

from protocol import ConfigError, ErrorCategory, ProviderError, Stage

logger = logging.getLogger(__name__)

_LARGEST_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_CLOSE_TIMEOUT_S: Final = 1.0
"""A vendor that does not answer a close must not hold up the end of a session."""

# Vendors put short names here. A longer text may quote the request, or the key.
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")


@dataclass(frozen=True, slots=True)
class Vendor:
    """Who is at the other end, and which settings lead there.

    Attributes:
        label: What messages call it.
        key_variable, url_variable: What to change when it does not work.
        codes: What the vendor's own names of errors mean; they go before HTTP's numbers.
    """

    label: str
    stage: Stage
    key_variable: str
    url_variable: str
    codes: Mapping[str, ErrorCategory] = field(default_factory=dict[str, ErrorCategory])

    def failure(self, category: ErrorCategory, what: str) -> ProviderError:
        """The error that says `what` the vendor did."""
        return ProviderError(self.stage, category, f"{self.label} {what}.")

    def unreadable(self) -> ProviderError:
        """The error of an answer that is not of the promised shape."""
        return self.failure(ErrorCategory.SERVER, "sent an answer that cannot be read")

    def timeout(self) -> ProviderError:
        """The error of an answer that does not come."""
        return self.failure(ErrorCategory.TIMEOUT, "did not answer in time")

    def refusal(self, status: int, body: Any) -> ProviderError:
        """The error of a handshake that was answered with an HTTP error."""
        names = _names(body)
        http = f"HTTP {status}"
        known = self._known(names, http)
        if known is not None:
            return known
        match status:
            case 401:
                return self._told(ErrorCategory.AUTHENTICATION, http)
            case 402:
                return self._told(ErrorCategory.QUOTA, http)
            case 403:
                what = f"denied access ({http}): check what {self.key_variable} may do"
                return self.failure(ErrorCategory.AUTHENTICATION, what)
            case 429:
                return self._told(ErrorCategory.RATE_LIMIT, http)
            case 408 | 504:
                return self._told(ErrorCategory.TIMEOUT, http)
            case _ if status >= 500:
                return self._told(ErrorCategory.SERVER, http)
            case _:
                return self._told(ErrorCategory.INVALID_REQUEST, ", ".join((http, *names)))

    def ending(self, code: int, reason: str) -> ProviderError:
        """The error of a connection that ended while something was still due.

        Args:
            code: Of the close frame; 1006 where none came.
            reason: Of the close frame; some vendors put JSON there.
        """
        names = _names(_parsed(reason))
        known = self._known(names, f"code {code}")
        if known is not None:
            return known
        match code:
            case 1007 | 1008:
                return self._told(
                    ErrorCategory.INVALID_REQUEST, ", ".join((f"code {code}", *names))
                )
            case 1011 | 1013:
                return self._told(ErrorCategory.SERVER, f"code {code}")
            case _:
                return self.failure(ErrorCategory.CONNECTIVITY, "broke the connection")

    def reported(self, message: Mapping[str, Any]) -> ProviderError:
        """The error that a message of the vendor tells of."""
        names = _names(message)
        return self._known(names, names[0] if names else "") or self._told(
            ErrorCategory.SERVER, ", ".join(names)
        )

    def _known(self, names: tuple[str, ...], where: str) -> ProviderError | None:
        for name in names:
            if name in self.codes:
                return self._told(self.codes[name], where)
        return None

    def _told(self, category: ErrorCategory, where: str) -> ProviderError:
        what = {
            ErrorCategory.AUTHENTICATION: "refused the API key",
            ErrorCategory.QUOTA: "says that the account's quota is used up",
            ErrorCategory.RATE_LIMIT: "is limiting requests",
            ErrorCategory.TIMEOUT: "did not answer in time",
            ErrorCategory.INVALID_REQUEST: "refused the request",
        }.get(category, "had an internal error")
        if where:
            what += f" ({where})"
        if category is ErrorCategory.AUTHENTICATION:
            what += f": check {self.key_variable}"
        return self.failure(category, what)


class VendorSocket:
    """One open connection; make it with `VendorSocket.connect`."""

    def __init__(self, vendor: Vendor, connection: ClientConnection) -> None:
        self._vendor = vendor
        self._connection = connection

    @classmethod
    async def connect(
        cls,
        vendor: Vendor,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None,
    ) -> VendorSocket:
        """Connect.

        Args:
            tls: For a `wss:` URL. Without one each connection would read all of the machine's
                certificates anew, which holds the event loop for 20 ms.

        Raises:
            ProviderError: the vendor is not there, says no, or does not answer in `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                connection = await connect(
                    url,
                    additional_headers=dict(headers),
                    ssl=tls if url.startswith("wss:") else None,
                    open_timeout=None,
                    close_timeout=_CLOSE_TIMEOUT_S,
                    compression=None,
                    max_size=_LARGEST_MESSAGE_BYTES,
                    # Nobody reads what is left of an interrupted answer until the next one. A full
                    # queue would stop the pongs as well, and with them the connection.
                    max_queue=None,
                )
        except TimeoutError as error:
            raise vendor.timeout() from error
        except InvalidStatus as error:
            body = _parsed(error.response.body)
            raise vendor.refusal(error.response.status_code, body) from error
        except (OSError, InvalidHandshake, InvalidURI, EOFError) as error:
            # Without user name and password, should the URL have them.
            host = urlsplit(url).netloc.rpartition("@")[2]
            raise vendor.failure(
                ErrorCategory.CONNECTIVITY,
                f"could not be reached at {host}: check {vendor.url_variable}",
            ) from error
        return cls(vendor, connection)

    async def send(self, message: bytes | Mapping[str, Any], *, timeout_s: float) -> None:
        """Send bytes, or an object as JSON.

        Raises:
            ProviderError: the connection is gone, or the vendor does not take what is sent.
        """
        payload = message if isinstance(message, bytes) else json.dumps(message)
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection.send(payload)
        except TimeoutError as error:
            raise self._vendor.timeout() from error
        except ConnectionClosed as error:
            raise self._ending(error) from error

    async def receive(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The next message, an object of JSON.

        Raises:
            ProviderError: none came in time, the connection is gone, or it is no such object.
        """
        try:
            async with asyncio.timeout(timeout_s):
                received = await self._connection.recv()
        except TimeoutError as error:
            raise self._vendor.timeout() from error
        except ConnectionClosed as error:
            raise self._ending(error) from error
        message = _parsed(received)
        if not isinstance(message, dict):
            raise self._vendor.unreadable()
        return message

    async def close(self) -> None:
        """Close; whatever is still on its way is dropped."""
        try:
            await self._connection.close()
        finally:
            # A cancelled close leaves the connection open.
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once, with no word to a vendor who may not answer."""
        self._connection.transport.abort()

    def _ending(self, error: ConnectionClosed) -> ProviderError:
        close = error.rcvd
        return self._vendor.ending(*((close.code, close.reason) if close else (1006, "")))


def websocket_url(variable: str, base_url: str) -> str:
    """A base URL with the scheme that WebSockets have, without a slash at its end.

    Raises:
        ConfigError: it is no such URL.
    """
    parts = urlsplit(base_url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.netloc:
        raise ConfigError(variable, f"must be a URL like https://host, not {base_url!r}")
    return parts._replace(scheme=scheme).geturl().rstrip("/")


async def tls_context(url: str) -> ssl.SSLContext | None:
    """What a `wss:` URL needs, made off the event loop; None for others."""
    if not url.startswith("wss:"):
        return None
    return await asyncio.to_thread(ssl.create_default_context)


def _parsed(text: str | bytes | None) -> Any:
    """JSON, or None where it is something else."""
    try:
        return json.loads(text or b"")
    except ValueError:
        return None


def _names(body: Any) -> tuple[str, ...]:
    """The vendor's short names for what was wrong; never its prose."""
    if not isinstance(body, dict):
        return ()
    detail = body.get("detail")
    found = [body.get(name) for name in ("err_code", "error", "variant")]
    found += [detail.get("status")] if isinstance(detail, dict) else []
    return tuple(name for name in found if isinstance(name, str) and _IDENTIFIER.fullmatch(name))
