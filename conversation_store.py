"""What was said in conversations that outlive their sessions: in memory, a file, or Redis.

It keeps words by conversation id and forgets them after a while; it knows no session and no HTTP.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

from config import UploadSettings
from protocol import ConfigError

MAX_MESSAGES = 200
"""Messages kept of one conversation; the oldest go first."""
MAX_CONVERSATIONS = 10_000
"""Conversations kept in memory; the one that rested longest goes first."""
REDIS_TIMEOUT_S = 5.0
FILE_TIMEOUT_S = 5.0
_KEY = "realtime:conversation:"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """One message, as words."""

    role: Literal["user", "assistant"]
    text: str


class StoreUnavailable(Exception):
    """The place where conversations are kept does not answer."""


class ConversationStore(Protocol):
    """Where conversations are kept.

    Every method but `close` raises `StoreUnavailable`, `start` a `ConfigError` instead.
    """

    async def start(self) -> None: ...
    async def load(self, conversation_id: str) -> tuple[Said, ...]: ...
    async def append(self, conversation_id: str, said: Sequence[Said]) -> None: ...
    async def close(self) -> None: ...


def conversation_store(settings: UploadSettings, shared: Path | None = None) -> ConversationStore:
    """The store that the settings ask for; nothing is connected yet.

    Args:
        settings: With `REDIS_URL` it is Redis.
        shared: A folder of all processes of this gateway; None when there is only this one.

    Raises:
        ConfigError: REDIS_URL is no such URL, or the client library is not installed.
    """
    if settings.redis_url is None and shared is not None:
        return FileStore(shared / "conversations.sqlite", settings.conversation_ttl_s)
    if settings.redis_url is None:
        return MemoryStore(settings.conversation_ttl_s)
    return RedisStore(settings.redis_url.get_secret_value(), settings.conversation_ttl_s)


@dataclass(slots=True)
class _Kept:
    said: tuple[Said, ...]
    expires_at_s: float


class MemoryStore:
    """Keeps conversations in this process: a restart forgets them, another process has its own.

    Args:
        ttl_s: How long a conversation may rest.
        clock: Seconds from any beginning.
    """

    def __init__(self, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        # In the order of their last use, which is that of their end.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def start(self) -> None:
        """Nothing to do."""

    async def load(self, conversation_id: str) -> tuple[Said, ...]:
        """What was said so far; nothing for an id that is unknown or forgotten."""
        self._forget()
        kept = self._kept.get(conversation_id)
        return kept.said if kept else ()

    async def append(self, conversation_id: str, said: Sequence[Said]) -> None:
        """Add to a conversation, which then rests from now on."""
        before = await self.load(conversation_id)
        kept = (*before, *said)[-MAX_MESSAGES:]
        self._kept[conversation_id] = _Kept(kept, self._clock() + self._ttl_s)
        self._kept.move_to_end(conversation_id)
        if len(self._kept) > MAX_CONVERSATIONS:
            self._kept.popitem(last=False)

    async def close(self) -> None:
        """Nothing to do."""

    def _forget(self) -> None:
        now_s = self._clock()
        while self._kept and next(iter(self._kept.values())).expires_at_s <= now_s:
            self._kept.popitem(last=False)


class FileStore:
    """Keeps conversations in a file that the processes of one gateway share until it ends.

    Args:
        path: An SQLite file; it is made when it is not there.
        ttl_s: How long a conversation may rest.
        clock: Seconds from a beginning that all processes agree on.
    """

    def __init__(self, path: Path, ttl_s: float, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._ttl_s = ttl_s
        self._clock = clock

    async def start(self) -> None:
        """Make the table."""
        await self._run(
            lambda rows: rows.execute(
                "CREATE TABLE IF NOT EXISTS said ("
                "position INTEGER PRIMARY KEY, conversation TEXT, role TEXT, text TEXT, at REAL)"
            )
        )
        await self._run(
            lambda rows: rows.execute(
                "CREATE INDEX IF NOT EXISTS by_conversation ON said (conversation, position)"
            )
        )

    async def load(self, conversation_id: str) -> tuple[Said, ...]:
        """What was said so far; nothing for an id that is unknown or forgotten."""

        def read(rows: sqlite3.Connection) -> tuple[Said, ...]:
            latest = rows.execute(
                "SELECT max(at) FROM said WHERE conversation = ?", (conversation_id,)
            ).fetchone()[0]
            if latest is None or latest + self._ttl_s <= self._clock():
                return ()
            found = rows.execute(
                "SELECT role, text FROM said WHERE conversation = ? ORDER BY position DESC LIMIT ?",
                (conversation_id, MAX_MESSAGES),
            )
            return tuple(Said(role, text) for role, text in reversed(found.fetchall()))

        return await self._run(read)

    async def append(self, conversation_id: str, said: Sequence[Said]) -> None:
        """Add to a conversation, which then rests from now on; what has rested too long goes."""

        def write(rows: sqlite3.Connection) -> None:
            now_s = self._clock()
            rows.execute(
                "DELETE FROM said WHERE conversation IN "
                "(SELECT conversation FROM said GROUP BY conversation HAVING max(at) <= ?)",
                (now_s - self._ttl_s,),
            )
            rows.executemany(
                "INSERT INTO said (conversation, role, text, at) VALUES (?, ?, ?, ?)",
                [(conversation_id, entry.role, entry.text, now_s) for entry in said],
            )

        await self._run(write)

    async def close(self) -> None:
        """Nothing is open between two calls."""

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in one transaction, off the event loop."""

        def transaction() -> T:
            with closing(sqlite3.connect(self._path, timeout=FILE_TIMEOUT_S)) as rows, rows:
                return work(rows)

        try:
            return await asyncio.to_thread(transaction)
        except sqlite3.Error as exc:
            raise StoreUnavailable(type(exc).__name__) from None


class RedisStore:
    """Keeps conversations in Redis, where all processes find them and a restart leaves them.

    Args:
        url: As redis-py takes it; it may hold a password and is never shown.
        ttl_s: How long a conversation may rest.

    Raises:
        ConfigError: as `conversation_store` does.
    """

    def __init__(self, url: str, ttl_s: int) -> None:
        try:
            from redis import asyncio as redis_client
            from redis.exceptions import RedisError
        except ImportError:
            raise ConfigError("REDIS_URL", "needs another package: pip install redis") from None
        self._ttl_s = ttl_s
        self._error = RedisError
        try:
            self._redis: Any = redis_client.Redis.from_url(
                url,
                decode_responses=True,
                socket_timeout=REDIS_TIMEOUT_S,
                socket_connect_timeout=REDIS_TIMEOUT_S,
            )
        except ValueError:
            raise ConfigError("REDIS_URL", "must be a redis://, rediss:// or unix:// URL") from None

    async def start(self) -> None:
        """Find out whether Redis answers.

        Raises:
            ConfigError: it does not.
        """
        try:
            await self._redis.ping()
        except self._error as exc:
            # The message of the library may quote the URL with its password.
            raise ConfigError(
                "REDIS_URL", f"must lead to a Redis that lets us in ({type(exc).__name__})"
            ) from None

    async def load(self, conversation_id: str) -> tuple[Said, ...]:
        """What was said so far; nothing for an id that is unknown or forgotten."""
        try:
            rows = cast(list[str], await self._redis.lrange(_KEY + conversation_id, 0, -1))
        except self._error as exc:
            raise StoreUnavailable(type(exc).__name__) from None
        return tuple(Said(*json.loads(row)) for row in rows)

    async def append(self, conversation_id: str, said: Sequence[Said]) -> None:
        """Add to a conversation, which then rests from now on."""
        key = _KEY + conversation_id
        rows = [json.dumps([entry.role, entry.text], ensure_ascii=False) for entry in said]
        try:
            # One transaction: turns of one conversation may end at the same time elsewhere.
            async with self._redis.pipeline(transaction=True) as steps:
                if rows:
                    steps.rpush(key, *rows)
                steps.ltrim(key, -MAX_MESSAGES, -1)
                steps.expire(key, self._ttl_s)
                await steps.execute()
        except self._error as exc:
            raise StoreUnavailable(type(exc).__name__) from None

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()
