"""What waits for a session's driver, and in which order the driver gets it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

ClientT = TypeVar("ClientT")
EngineT = TypeVar("EngineT")


class Inbox(Generic[ClientT, EngineT]):
    """Urgent messages first, then those of the engines and of the client by turns.

    By turns, because a flood of either must not keep a `response.cancel` or a failure waiting.
    Within a lane the order is kept. The client's lane can be held: its audio must not run ahead of
    the turn detection that says where the turns in it begin and end.

    Args:
        most_read_ahead: How many messages of the client may wait before its reader should.
        client_may_go: Whether the client's next message may be taken now; `wake` has it asked
            again.
    """

    def __init__(self, most_read_ahead: int, client_may_go: Callable[[], bool]) -> None:
        self._most_read_ahead = most_read_ahead
        self._client_may_go = client_may_go
        self._urgent: deque[EngineT] = deque()
        self._engine: deque[EngineT] = deque()
        self._client: deque[ClientT] = deque()
        self._clients_turn = False
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def client_waiting(self) -> int:
        """Messages of the client that wait."""
        return len(self._client)

    @property
    def engine_waiting(self) -> int:
        """Messages of the engines that wait, urgent ones included."""
        return len(self._urgent) + len(self._engine)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and the client's next message could be taken at once."""
        waits = self._urgent or self._engine or self._client
        return not waits and self._client_may_go()

    def close(self) -> None:
        """Nobody asks any more: forget whom to ask for the client; what still comes is left."""
        self._client_may_go = _never

    def put_urgent(self, message: EngineT) -> None:
        """Add a message that goes before all others."""
        self._urgent.append(message)
        self._wake.set()

    def put_engine(self, message: EngineT) -> None:
        """Add a message of the engines."""
        self._engine.append(message)
        self._wake.set()

    def put_client(self, message: ClientT) -> None:
        """Add a message of the client."""
        self._client.append(message)
        self._wake.set()

    def put_back(self, message: ClientT) -> None:
        """Give back what is left of a client's message: it is the client's next."""
        self._client.appendleft(message)
        self._wake.set()

    def wake(self) -> None:
        """Look again: the client's lane may be open now."""
        self._wake.set()

    async def room(self) -> None:
        """Wait until the client's reader may go on reading."""
        while len(self._client) >= self._most_read_ahead:
            self._taken.clear()
            await self._taken.wait()

    async def next(self) -> ClientT | EngineT:
        """The next message; waits until there is one."""
        while True:
            if self._urgent:
                return self._urgent.popleft()
            client_ready = bool(self._client) and self._client_may_go()
            if client_ready and (self._clients_turn or not self._engine):
                self._clients_turn = False
                self._taken.set()
                return self._client.popleft()
            if self._engine:
                self._clients_turn = True
                return self._engine.popleft()
            self._wake.clear()
            await self._wake.wait()


def _never() -> bool:
    return False
