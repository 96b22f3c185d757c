"""What a test wants to go wrong: the faults of a script and of `/testing/faults`, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Literal

from pydantic import Field, model_validator

from protocol import ErrorCategory

from .script_when import Milliseconds, NonEmpty, ScriptModel, TurnCondition, UserCondition

FaultStage = Literal["stt", "llm", "tts", "ws"]
FaultKind = Literal[
    "error", "timeout", "hang", "disconnect", "truncate", "slow", "malformed", "empty"
]

_LONGEST_WS_DELAY_MS = 25_000
"""A frame that takes longer than 30 s ends the connection by itself."""
_ONLY_FOR: dict[str, tuple[FaultStage, ...]] = {
    "after_tokens": ("llm",),
    "event": ("ws",),
    "close_code": ("ws",),
    "category": ("stt", "llm", "tts"),
    "user": ("stt", "llm", "tts"),
}


class InjectedFault(ScriptModel):
    """One fault: where it strikes, what happens there, and when.

    docs/testing-your-app.md has the outcome of each stage and kind. A turn is a segment of speech
    for `stt`, a response for the others, counted from 1 in each session; all conditions given must
    hold.
    """

    stage: FaultStage
    kind: FaultKind
    turn: TurnCondition | None = None
    """Which turns; none given is any."""
    user: UserCondition | None = None
    """What the user must have said."""
    count: Annotated[int, Field(ge=1)] | Literal["always"] = 1
    """How often it strikes: in each session when a script says so, in all when set at run time."""
    session: NonEmpty | None = None
    """The id of the only session it strikes; of use at run time."""
    delay_ms: Milliseconds = 2000
    """How late `slow` makes things, and how long `timeout` on the wire is silent."""
    after_tokens: Annotated[int, Field(ge=0)] = 0
    """How much of the reply comes before `error`, `timeout` or `hang` of the model."""
    category: Annotated[ErrorCategory, Field(strict=False)] = ErrorCategory.SERVER
    """Which failure `error` is."""
    message: NonEmpty | None = None
    """What the client is told of a failure."""
    event: NonEmpty = "response.created"
    """The type of the server event at which a fault of the wire strikes."""
    close_code: Annotated[int, Field(ge=1000, le=4999)] = 1011
    """What `disconnect` closes the WebSocket with."""

    @model_validator(mode="after")
    def _fits_its_stage(self) -> InjectedFault:
        for name, stages in _ONLY_FOR.items():
            if name in self.model_fields_set and self.stage not in stages:
                raise ValueError(f"{name} is for stage {' | '.join(stages)}, not {self.stage}")
        if self.stage == "ws" and self.delay_ms > _LONGEST_WS_DELAY_MS:
            raise ValueError(f"delay_ms of stage ws may be {_LONGEST_WS_DELAY_MS} at most")
        if self.close_code in (1004, 1005, 1006, 1015):
            raise ValueError(f"close_code {self.close_code} cannot be sent in a close frame")
        return self

    @property
    def told(self) -> str:
        """What the client is told."""
        return self.message or f"Injected fault: {self.stage} {self.kind}."


@dataclass(slots=True)
class _Entry:
    fault: InjectedFault
    left: int | None


class FaultBook:
    """The faults that are waiting to strike, in the order they were set.

    Args:
        faults: Those of the beginning.
    """

    def __init__(self, faults: Iterable[InjectedFault] = ()) -> None:
        self._entries: dict[str, _Entry] = {}
        self._numbers = count(1)
        for fault in faults:
            self.add(fault)

    def add(self, fault: InjectedFault) -> str:
        """Set a fault; returns its id."""
        fault_id = f"fault_{next(self._numbers)}"
        left = None if fault.count == "always" else fault.count
        self._entries[fault_id] = _Entry(fault, left)
        return fault_id

    def waiting(self) -> list[tuple[str, InjectedFault, int | None]]:
        """Id, fault, and how often it will strike yet, None for always."""
        return [
            (fault_id, entry.fault, entry.left) for fault_id, entry in tuple(self._entries.items())
        ]

    def remove(self, fault_id: str) -> bool:
        """Take one back; False where there is none of that id (any more)."""
        return self._entries.pop(fault_id, None) is not None

    def clear(self) -> int:
        """Take all back; returns how many there were."""
        number = len(self._entries)
        self._entries.clear()
        return number

    def take(
        self, stage: FaultStage, *, session: str, turn: int, user: str = "", event: str = ""
    ) -> InjectedFault | None:
        """The first fault that strikes here, which counts as one strike of it.

        Args:
            stage: Where.
            session: The session's id.
            turn: Its turn, from 1.
            user: The words of the user's turn.
            event: For `ws`, the type of the event about to be sent.
        """
        for fault_id, entry in tuple(self._entries.items()):
            if _strikes(entry.fault, stage, session, turn, user, event):
                if entry.left is not None:
                    entry.left -= 1
                    if entry.left == 0:
                        del self._entries[fault_id]
                return entry.fault
        return None


def _strikes(
    fault: InjectedFault, stage: FaultStage, session: str, turn: int, user: str, event: str
) -> bool:
    return (
        fault.stage == stage
        and fault.session in (None, session)
        and (fault.turn is None or fault.turn.holds(turn))
        and (fault.user is None or fault.user.holds(user))
        and (stage != "ws" or fault.event == event)
    )
