"""What has become of the latest turns of each stage: says whether a stage serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from protocol import ErrorCategory, Stage

_FAILURES: Final = 3
"""So many in a row are no mishap."""
_MEMORY_S: Final = 60.0
"""A gateway that nobody sends anything to any more must get another chance to prove itself."""

_NOT_ITS_FAULT: Final = frozenset(
    {ErrorCategory.INVALID_REQUEST, ErrorCategory.CONTEXT_LENGTH, ErrorCategory.UNINTELLIGIBLE}
)


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last_s: float = 0.0
    message: str = ""


@dataclass(slots=True)
class StageHealth:
    """The record of one stack.

    Attributes:
        clock: Tells the seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _records: dict[Stage, _Record] = field(default_factory=dict[Stage, _Record])

    def failed(self, stage: Stage, category: ErrorCategory, message: str) -> None:
        """A turn failed at a stage; `message` is fit for clients."""
        if category in _NOT_ITS_FAULT:
            return
        record = self._records.setdefault(stage, _Record())
        record.failures += 1
        record.last_s = self.clock()
        record.message = message

    def worked(self, stage: Stage) -> None:
        """The stage served a turn."""
        self._records.pop(stage, None)

    def failing(self) -> dict[Stage, str]:
        """The stages that do not serve at present, and what they last failed with."""
        now = self.clock()
        return {
            stage: record.message
            for stage, record in self._records.items()
            if record.failures >= _FAILURES and now - record.last_s < _MEMORY_S
        }
