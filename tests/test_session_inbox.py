"""The order in which a session's driver gets its messages."""

from __future__ import annotations

import asyncio

from session_inbox import Inbox


async def drained(inbox: Inbox[str, str], count: int) -> list[str]:
    return [await inbox.next() for _ in range(count)]


async def test_urgent_first_then_by_turns() -> None:
    inbox: Inbox[str, str] = Inbox(lambda: True)
    for number in range(3):
        inbox.put_client(f"c{number}")
        inbox.put_engine(f"e{number}")
    inbox.put_urgent("u")
    assert await drained(inbox, 7) == ["u", "e0", "c0", "e1", "c1", "e2", "c2"]


async def test_a_held_client_waits_without_holding_the_engines() -> None:
    held = True
    inbox: Inbox[str, str] = Inbox(lambda: not held)
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
    inbox: Inbox[str, str] = Inbox(lambda: True)
    inbox.put_client("second")
    inbox.put_back("first")
    assert await drained(inbox, 2) == ["first", "second"]
