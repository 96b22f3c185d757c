"""What the processes of one gateway share, so that no client can tell which of them serves it.

A gateway of one process is a group of one. It knows counters and limits; it starts no process and
takes no connection.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.messages import Failure
from core.rate_limits import Allowance, Limiter
from protocol import RateLimit

CONTEXT: Final = multiprocessing.get_context("spawn")
"""Threads and an event loop do not survive a fork."""
_ABANDONED_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """One process's view of its group; it is handed to the process when that is started.

    Attributes:
        index: Which process of the group this is, from 0.
        sessions: How many sessions each has open.
        limit_cells: State of the rate limits and their lock; None in a group of one.
        folder: Where each says what must be longer than a number; None in a group of one.
    """

    index: int
    sessions: Any
    limit_cells: Any
    folder: Path | None = None

    @classmethod
    def form(cls, size: int, folder: Path | None = None) -> tuple[ProcessGroup, ...]:
        """The views of a new group of `size` processes, all on the same memory."""
        if size == 1:
            return (cls(0, [0], None, folder),)
        sessions = CONTEXT.RawArray("q", size)
        limit_cells = CONTEXT.Array("d", SharedAllowance.START, lock=CONTEXT.Lock())
        return tuple(cls(index, sessions, limit_cells, folder) for index in range(size))

    @property
    def size(self) -> int:
        """How many processes there are."""
        return len(self.sessions)

    def session_opened(self) -> None:
        """One more in this process."""
        self.sessions[self.index] += 1

    def session_closed(self) -> None:
        """One less in this process."""
        self.sessions[self.index] -= 1

    def open_sessions(self) -> int:
        """Those of all processes."""
        return sum(self.sessions)

    def forget(self, index: int) -> None:
        """Process `index` has died: its sessions are over and nothing of it fails any more."""
        self.sessions[index] = 0
        if self.folder is not None:
            self._failing_file(index).unlink(missing_ok=True)
        if self.limit_cells is not None:
            # It may have died with the lock in its hands; nobody alive keeps it for that long.
            lock = self.limit_cells.get_lock()
            lock.acquire(timeout=_ABANDONED_S)
            lock.release()

    def limiter(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> Limiter:
        """Limits that all processes count together."""
        allowance = Allowance(requests_per_minute, tokens_per_minute)
        if self.limit_cells is None:
            return allowance
        return SharedAllowance(allowance, self.limit_cells)

    def tell_failing(self, stages: Sequence[Mapping[str, str]]) -> None:
        """Say which stages do not serve in this process."""
        if self.folder is None:
            return
        whole = self._failing_file(self.index)
        draft = whole.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(list(stages)), encoding="utf-8")
        draft.replace(whole)

    def failing(self, own: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """The stages that do not serve in one of the processes, each once.

        Args:
            own: Those of this process at this moment.
        """
        found = list(own)
        if self.folder is None:
            return found
        for index in range(self.size):
            if index != self.index:
                with contextlib.suppress(FileNotFoundError):
                    told = self._failing_file(index).read_text(encoding="utf-8")
                    found += [stage for stage in json.loads(told) if stage not in found]
        return found

    def _failing_file(self, index: int) -> Path:
        assert self.folder is not None
        return self.folder / f"failing-{index}.json"


class SharedAllowance:
    """An `Allowance` whose state lies in memory that several processes have.

    The monotonic clock is one for all processes of a machine. A call holds the lock for
    microseconds.

    Args:
        allowance: Knows the rules.
        cells: A synchronised array of `len(START)` floats.
    """

    START: Final = (0.0, -math.inf, 0.0, -math.inf)

    def __init__(self, allowance: Allowance, cells: Any) -> None:
        self._allowance = allowance
        self._cells = cells

    def is_open(self, now: float) -> bool:
        """See `core.rate_limits.Limiter`."""
        with self._shared():
            return self._allowance.is_open(now)

    def admit(self, model: str, now: float) -> Failure | None:
        """See `core.rate_limits.Limiter`."""
        with self._shared():
            return self._allowance.admit(model, now)

    def spend(self, tokens: int, now: float) -> None:
        """See `core.rate_limits.Limiter`."""
        with self._shared():
            self._allowance.spend(tokens, now)

    def levels(self, now: float) -> tuple[RateLimit, ...]:
        """See `core.rate_limits.Limiter`."""
        with self._shared():
            return self._allowance.levels(now)

    @contextlib.contextmanager
    def _shared(self) -> Any:
        with self._cells.get_lock():
            cells = self._cells.get_obj()
            self._allowance.restore(cells[:])
            try:
                yield
            finally:
                cells[:] = self._allowance.state()
