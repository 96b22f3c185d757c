"""The order in which a session's driver gets its messages."""

from __future__ import annotations

import asyncio
import weakref

from session_inbox import Inbox


async def drained(inbox: Inbox[str, str], count: int) -> list[str]:
    return [await inbox.next() for _ in range(count)]


async def test_urgent_first_then_by_turns() -> None:
    inbox: Inbox[str, str] = Inbox(64, lambda: True)
    for number in range(3):
        inbox.put_client(f"c{number}")
        inbox.put_engine(f"e{number}")
    inbox.put_urgent("u")
    assert await drained(inbox, 7) == ["u", "e0", "c0", "e1", "c1", "e2", "c2"]


async def test_a_held_client_waits_without_holding_the_engines() -> None:
    held = True
    inbox: Inbox[str, str] = Inbox(64, lambda: not held)
    inbox.put_client("c")
    inbox.put_engine("e0")
    inbox.put_engine("e1")
    assert await drained(inbox, 2) == ["e0", "e1"]
    waiting = asyncio.create_task(inbox.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    held = False
    inbox.wake()
    assert await waiting == "c"


async def test_what_is_given_back_is_the_clients_next() -> None:
    inbox: Inbox[str, str] = Inbox(64, lambda: True)
    inbox.put_client("second")
    inbox.put_back("first")
    assert await drained(inbox, 2) == ["first", "second"]


async def test_what_is_given_back_wakes_who_waits() -> None:
    inbox: Inbox[str, str] = Inbox(64, lambda: True)
    waiting = asyncio.create_task(inbox.next())
    await asyncio.sleep(0)
    inbox.put_back("rest")
    async with asyncio.timeout(1):
        assert await waiting == "rest"


async def test_idle_is_when_a_message_of_the_client_would_be_the_next() -> None:
    may_go = True
    inbox: Inbox[str, str] = Inbox(64, lambda: may_go)
    assert inbox.idle
    may_go = False
    assert not inbox.idle
    may_go = True
    for put in (inbox.put_urgent, inbox.put_engine, inbox.put_client):
        put("m")
        assert not inbox.idle
        assert await inbox.next() == "m"
        assert inbox.idle


async def test_what_comes_after_the_end_is_taken_and_read_by_nobody() -> None:
    class Owner:
        def __init__(self) -> None:
            self.inbox: Inbox[str, str] = Inbox(64, lambda: self is not None)

    owner = Owner()
    inbox, freed = owner.inbox, weakref.ref(owner)
    assert inbox.idle
    inbox.close()
    del owner
    assert freed() is None
    inbox.put_engine("late")
    inbox.put_urgent("later")
    assert not inbox.idle


async def test_the_clients_reader_waits_while_too_many_of_its_messages_wait() -> None:
    inbox: Inbox[str, str] = Inbox(2, lambda: True)
    inbox.put_client("first")
    await inbox.room()
    inbox.put_client("second")
    reader = asyncio.create_task(inbox.room())
    inbox.put_engine("engine")
    assert await inbox.next() == "engine"
    await asyncio.sleep(0)
    assert not reader.done()
    assert await inbox.next() == "first"
    async with asyncio.timeout(1):
        await reader
