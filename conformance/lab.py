"""What one check works with: connections to the server, and a record of all that passed on them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from conformance.audio import Clip
from conformance.client import Client, LoggedFrame, Pace, open_client
from conformance.oracle import Dialect, Finding
from conformance.registry import NotMeasured

DEFAULT_MODEL = "gpt-realtime"


@dataclass(frozen=True, slots=True)
class Target:
    """The server under test, and how to treat it.

    Attributes:
        url: Its WebSocket address.
        api_key: What it asks for, if anything.
        clip: What is said to it; None leaves the checks out that need speech.
        pace: How long to wait for it.
    """

    url: str
    api_key: str | None = None
    clip: Clip | None = None
    pace: Pace = field(default_factory=Pace)

    def with_query(self, *, path_suffix: str = "", **query: str | None) -> str:
        """The address with a `model`, and further query keys; a value of None takes a key out."""
        parts = urlsplit(self.url)
        keys = {"model": DEFAULT_MODEL, **dict(parse_qsl(parts.query)), **query}
        encoded = urlencode({key: value for key, value in keys.items() if value is not None})
        path = parts.path.rstrip("/") + path_suffix
        return urlunsplit((parts.scheme, parts.netloc, path, encoded, ""))


@dataclass(frozen=True, slots=True)
class Traffic:
    """What passed on one connection, and what was wrong with it."""

    types: list[str]
    findings: list[Finding]
    log: list[LoggedFrame]


class Lab:
    """The workbench of one check.

    Args:
        target: The server.
        dialect: What is spoken to it.
    """

    def __init__(self, target: Target, dialect: Dialect) -> None:
        self.target = target
        self.dialect: Dialect = dialect
        self.traffic: list[Traffic] = []

    @property
    def clip(self) -> Clip:
        """The speech of this run."""
        if self.target.clip is None:
            raise NotMeasured("There is no recording to say; give one with --audio.")
        return self.target.clip

    @asynccontextmanager
    async def connect(
        self, url: str | None = None, *, judged: bool = True, **options: Any
    ) -> AsyncGenerator[Client]:
        """A connection; what passes on it counts for the rules over all connections.

        Args:
            url: Instead of the target's address with a model.
            judged: False where the connection is made so that the dialect is not clear, or where
                it is not expected to live.
            options: See `open_client`.
        """
        options.setdefault("api_key", self.target.api_key)
        async with open_client(
            url or self.target.with_query(), self.dialect, self.target.pace, **options
        ) as client:
            complete = False
            try:
                yield client
                await client.drain()
                complete = True
            finally:
                client.oracle.finish(complete=complete)
                findings = list(client.oracle.findings) if judged else []
                types = client.oracle.types if judged else []
                self.traffic.append(Traffic(types, findings, client.log))

    @asynccontextmanager
    async def session(self, **flat: Any) -> AsyncGenerator[Client]:
        """A connection without turn detection, its session set up under flat names."""
        async with self.connect() as client:
            await client.wait("session.created")
            await client.configure(**{"turn_detection": None, **flat})
            yield client
