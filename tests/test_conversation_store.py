"""Where conversations are kept: what is remembered, how long, and what a bad Redis means."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from config import UploadSettings
from conversation_store import (
    MAX_CONVERSATIONS,
    MAX_MESSAGES,
    ConversationStore,
    FileStore,
    MemoryStore,
    RedisStore,
    Said,
    StoreUnavailable,
    conversation_store,
)
from protocol import ConfigError

HELLO, REPLY = Said("user", "你好\nhello"), Said("assistant", "Hello!")
REDIS = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def running_redis(folder: Path, *options: str) -> Generator[str]:
    """A Redis of its own on a Unix socket; its URL."""
    assert REDIS is not None
    socket = folder / "redis.sock"
    line = [REDIS, "--port", "0", "--unixsocket", str(socket), "--save", "", *options]
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert any(b"ready to accept connections" in row.lower() for row in process.stdout)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture(
    params=["memory", "file", pytest.param("redis", marks=needs_redis)],
)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncGenerator[ConversationStore]:
    if request.param == "memory":
        yield MemoryStore(60)
        return
    if request.param == "file":
        shared = FileStore(tmp_path / "said", 60)
        await shared.start()
        yield shared
        return
    with running_redis(tmp_path) as url:
        kept = RedisStore(url, 60)
        await kept.start()
        yield kept
        await kept.close()


async def test_what_was_said_is_kept_by_conversation(store: ConversationStore) -> None:
    assert await store.load("a") == ()
    await store.append("a", [HELLO, REPLY])
    await store.append("b", [REPLY])
    await store.append("a", [HELLO])
    await store.append("c", [])
    assert await store.load("a") == (HELLO, REPLY, HELLO)
    assert await store.load("b") == (REPLY,)
    assert await store.load("c") == ()


async def test_the_oldest_messages_go_first(store: ConversationStore) -> None:
    await store.append("a", [HELLO] * 3)
    await store.append("a", [REPLY] * (MAX_MESSAGES - 1))
    assert await store.load("a") == (HELLO, *[REPLY] * (MAX_MESSAGES - 1))


async def test_turns_that_end_together_are_both_kept(store: ConversationStore) -> None:
    await asyncio.gather(*(store.append("a", [HELLO, REPLY]) for _ in range(10)))
    assert await store.load("a") == (HELLO, REPLY) * 10


async def test_memory_forgets_after_the_last_turn() -> None:
    clock = Clock()
    store = MemoryStore(60, clock)
    await store.append("a", [HELLO])
    clock.now_s = 50
    await store.append("b", [HELLO])
    await store.append("a", [REPLY])
    clock.now_s = 109
    assert await store.load("a") == (HELLO, REPLY)
    clock.now_s = 110
    assert await store.load("a") == ()
    assert await store.load("b") == ()
    await store.append("a", [REPLY])
    assert await store.load("a") == (REPLY,)


async def test_a_file_forgets_after_the_last_turn_and_is_shared(tmp_path: Path) -> None:
    clock = Clock()
    store, other = (FileStore(tmp_path / "said", 60, clock) for _ in range(2))
    await store.start()
    await other.start()
    await store.append("a", [HELLO])
    clock.now_s = 50
    await other.append("b", [HELLO])
    await other.append("a", [REPLY])
    clock.now_s = 109
    assert await store.load("a") == (HELLO, REPLY)
    clock.now_s = 110
    assert await store.load("a") == await other.load("b") == ()
    await other.append("a", [REPLY])
    assert await store.load("a") == (REPLY,)


async def test_a_file_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "missing" / "said", 60)
    with pytest.raises(StoreUnavailable, match="OperationalError"):
        await store.load("a")


async def test_memory_is_bounded() -> None:
    store = MemoryStore(60, Clock())
    await store.append("first", [HELLO])
    await store.append("second", [HELLO])
    await store.append("first", [REPLY])
    for number in range(MAX_CONVERSATIONS - 1):
        await store.append(str(number), [HELLO])
    assert await store.load("first") == (HELLO, REPLY)
    assert await store.load("second") == ()


# --- Redis ------------------------------------------------------------------------------------


@needs_redis
async def test_redis_forgets_after_the_last_turn(tmp_path: Path) -> None:
    from redis.asyncio import Redis

    with running_redis(tmp_path) as url:
        store = RedisStore(url, 60)
        async with Redis.from_url(url) as redis:
            await store.append("a", [HELLO])
            (key,) = await redis.keys("*a")
            await redis.expire(key, 5)
            await store.append("a", [REPLY])
            assert 50 < await redis.ttl(key) <= 60
            await redis.delete(key)
        assert await store.load("a") == ()
        await store.close()


@needs_redis
async def test_another_process_finds_the_conversation(tmp_path: Path) -> None:
    with running_redis(tmp_path, "--requirepass", "a-secret") as url:
        one, other = (RedisStore(f"{url}?password=a-secret", 60) for _ in range(2))
        await one.append("a", [HELLO])
        assert await other.load("a") == (HELLO,)
        await one.close()
        await other.close()


@needs_redis
async def test_a_redis_that_goes_away_is_unavailable(tmp_path: Path) -> None:
    with running_redis(tmp_path) as url:
        store = RedisStore(url, 60)
        await store.append("a", [HELLO])
    with pytest.raises(StoreUnavailable):
        await store.load("a")
    with pytest.raises(StoreUnavailable):
        await store.append("a", [HELLO])
    await store.close()


@needs_redis
@pytest.mark.parametrize("password", ["", "?password=wrong-one"])
async def test_a_refused_password_is_the_operators_fault(tmp_path: Path, password: str) -> None:
    with running_redis(tmp_path, "--requirepass", "a-secret") as url:
        store = RedisStore(url + password, 60)
        with pytest.raises(ConfigError, match="REDIS_URL: must lead to a Redis") as refusal:
            await store.start()
        await store.close()
    assert "wrong-one" not in str(refusal.value)


async def test_an_absent_redis_is_the_operators_fault(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    store = RedisStore(f"unix://{tmp_path}/nothing.sock", 60)
    with pytest.raises(ConfigError, match="REDIS_URL: must lead to a Redis"):
        await store.start()
    await store.close()


def test_a_url_of_another_kind_is_refused_and_not_shown() -> None:
    pytest.importorskip("redis")
    with pytest.raises(ConfigError, match="REDIS_URL: must be a redis://") as refusal:
        RedisStore("https://:a-secret@example.com", 60)
    assert "a-secret" not in str(refusal.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match="REDIS_URL: needs another package: pip install redis"):
        conversation_store(UploadSettings(redis_url=SecretStr("redis://localhost")))


def test_without_a_url_this_process_remembers() -> None:
    assert isinstance(conversation_store(UploadSettings()), MemoryStore)
