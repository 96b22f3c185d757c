"""An event loop on a clock of its own: time passes only when nothing is left to do at the moment.

It knows no session; what runs on it must do no I/O.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

_START_S = 1000.0


class _Selector(selectors.BaseSelector):
    """Waits for nothing: where a real selector would sleep, it moves the clock."""

    def __init__(self) -> None:
        self.now_s = _START_S
        self.waiters: list[asyncio.Future[None]] = []
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []
        if self.waiters:
            # Everything that can happen now has happened.
            for waiter in self.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self.waiters.clear()
        elif timeout is None:
            raise RuntimeError("everything waits and no timer is set: the run hangs")
        else:
            self.now_s += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = selectors.SelectorKey(fileobj, -1, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class FastLoop(asyncio.SelectorEventLoop):
    """Sleeps take no time, and `settled` tells when all is quiet."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s

    async def settled(self) -> None:
        """Return when nothing more happens without time passing."""
        waiter: asyncio.Future[None] = self.create_future()
        self._clock.waiters.append(waiter)
        await waiter


@contextmanager
def on_this_clock(loop: FastLoop, module: ModuleType) -> Generator[None]:
    """Have a module that reads `time.monotonic()` read the loop's clock instead."""
    clock = SimpleNamespace(monotonic=loop.time, time=lambda: 1_800_000_000 + loop.time())
    with mock.patch.object(module, "time", clock):
        yield
