"""What was said in conversations that outlive their sessions: in memory, or in Redis.

It keeps words by conversation id and forgets them after a while; it knows no session and no HTTP.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from config import UploadSettings
from protocol import ConfigError

MAX_MESSAGES = 200
"""Messages kept of one conversation; the oldest go first."""
MAX_CONVERSATIONS = 10_000
"""Conversations kept in memory; the one that rested longest goes first."""
REDIS_TIMEOUT_S = 5.0
_KEY = "realtime:conversation:"


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


def conversation_store(settings: UploadSettings) -> ConversationStore:
    """The store that the settings ask for; nothing is connected yet.

    Raises:
        ConfigError: REDIS_URL is no such URL, or the client library is not installed.
    """
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
