"""When `semantic_vad` asks whether a turn is complete, and what it takes for an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Patience:
    """One level of eagerness.

    Attributes:
        asks_ms: The silences after which the model is asked, as long as nobody goes on.
        complete: The probability from which a turn counts as complete.
    """

    asks_ms: tuple[int, ...]
    complete: float


PATIENCE: Final[dict[Literal["low", "medium", "high", "auto"], Patience]] = {
    "low": Patience((600, 1200, 2000, 3000, 4500), 0.7),
    "medium": Patience((300, 700, 1200, 2000), 0.5),
    "auto": Patience((300, 700, 1200, 2000), 0.5),
    "high": Patience((200, 500, 900, 1400), 0.4),
}
