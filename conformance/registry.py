"""What a check is, and the list of all of them; it knows neither a wire nor a report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from conformance.oracle import Dialect, WireEvent

if TYPE_CHECKING:
    from conformance.lab import Lab

Level = Literal["required", "recommended"]
Need = Literal["speech", "api-key"]
BOTH: tuple[Dialect, ...] = ("ga", "beta")

SECTIONS: dict[str, str] = {
    "connection": "the handshake, and the socket while it is open",
    "session": "session.update and the session object",
    "input-audio": "the input buffer without turn detection",
    "items": "the conversation's items",
    "responses": "replies: order, overrides, limits, cancellation",
    "function-calls": "tools of the client",
    "turn-detection": "speech that begins and ends by itself",
    "barge-in": "speech over a reply",
    "transcription": "the transcript of the user's speech",
    "out-of-band": "responses outside the conversation",
    "errors": "what a server says to wrong events",
    "shapes": "every event against the SDK's types, over all connections",
    "ordering": "the sequence rules, over all connections",
    "dialect-purity": "no event or field of the other dialect, over all connections",
}
"""Every section in the order of the report, with what it is about."""


class Failed(Exception):
    """A check found the server wrong.

    Args:
        explanation: One or two sentences.
        event: The offending event.
    """

    def __init__(self, explanation: str, event: object = None) -> None:
        super().__init__(explanation)
        self.explanation = explanation
        self.event = event


class NotMeasured(Exception):
    """A check could not be made; the message says why. It counts neither way."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a server must do.

    Attributes:
        id: `section/name`.
        section: A key of `SECTIONS`.
        title: What is right, as a statement.
        source: Where it is laid down.
        level: Only a failure of what is required makes the command fail.
        dialects: Where it applies.
        requires: What the run must have been given.
        run: Makes the check; raises `Failed` or `NotMeasured`.
    """

    id: str
    section: str
    title: str
    source: str
    level: Level
    dialects: tuple[Dialect, ...]
    requires: tuple[Need, ...]
    run: Callable[[Lab], Awaitable[None]]


CHECKS: dict[str, Check] = {}
"""All behaviour checks by id, in the order they are declared."""


def check(
    section: str,
    title: str,
    *,
    source: str,
    level: Level = "required",
    dialects: tuple[Dialect, ...] = BOTH,
    requires: tuple[Need, ...] = (),
) -> Callable[[Callable[[Lab], Awaitable[None]]], Callable[[Lab], Awaitable[None]]]:
    """Register an async function as a check; its name becomes the second half of the id."""

    def register(run: Callable[[Lab], Awaitable[None]]) -> Callable[[Lab], Awaitable[None]]:
        check_id = f"{section}/{getattr(run, '__name__', '').replace('_', '-')}"
        if section not in SECTIONS or check_id in CHECKS:
            raise ValueError(f"{check_id}: unknown section or a second check of this name")
        CHECKS[check_id] = Check(check_id, section, title, source, level, dialects, requires, run)
        return run

    return register


def expect(condition: object, explanation: str, event: WireEvent | object = None) -> None:
    """Fail the check unless the condition holds."""
    if not condition:
        raise Failed(explanation, event)
