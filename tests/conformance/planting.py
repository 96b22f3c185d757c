"""Ways to plant a fault into a connection, and what the table of faults is made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from conformance.oracle import Dialect, WireEvent
from tests.conformance.broken_server import Action, Plant, to_client, to_server

Change = Callable[[WireEvent], "WireEvent | list[WireEvent] | None"]

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: Also the first step of its path.
        plant: Makes what is done to one connection.
        fails: Ids of the checks and rules that must fail.
        dialect: In which it is planted.
        within: Sections whose connections it is planted into, all by default: what every
            connection would show need not be shown by every one of them.
        jobs: How many checks run at once.
    """

    name: str
    plant: Callable[[], Plant]
    fails: frozenset[str]
    dialect: Dialect = "ga"
    within: tuple[str, ...] = ()
    jobs: int = 8


# --- ways to plant --------------------------------------------------------------------------


class _Says(Plant):
    """The server says something else."""

    def __init__(self, change: Change, kinds: tuple[str, ...]) -> None:
        self._change, self._kinds = change, kinds

    def from_server(self, event: WireEvent) -> Iterable[Action]:
        if self._kinds and event.get("type") not in self._kinds:
            return [to_client(event)]
        changed = self._change(deepcopy(event))
        return map(to_client, [changed] if isinstance(changed, dict) else changed or [])


class _Hears(Plant):
    """The server hears something else."""

    def __init__(self, change: Change, kinds: tuple[str, ...]) -> None:
        self._change, self._kinds = change, kinds

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        if event.get("type") not in self._kinds:
            return [to_server(event)]
        changed = self._change(deepcopy(event))
        return map(to_server, [changed] if isinstance(changed, dict) else changed or [])


def says(*kinds: str, change: Change) -> Callable[[], Plant]:
    """Server events of these types (all without any) are changed, multiplied or dropped."""
    return lambda: _Says(change, kinds)


def hears(*kinds: str, change: Change) -> Callable[[], Plant]:
    """Client events of these types reach the server changed, multiplied or not at all."""
    return lambda: _Hears(change, kinds)


class _Answers(Plant):
    """Some client events never reach the server; the proxy answers them."""

    def __init__(self, kind: str, answer: Callable[[WireEvent], WireEvent | None]) -> None:
        self._kind, self._answer = kind, answer

    def from_client(self, event: WireEvent) -> Iterable[Action]:
        answer = self._answer(event) if event.get("type") == self._kind else event
        if answer is event:
            return [to_server(event)]
        return [] if answer is None else [to_client(answer)]


def answers(kind: str, answer: Callable[[WireEvent], WireEvent | None]) -> Callable[[], Plant]:
    """Client events of this type are answered by the proxy; returned unchanged they pass."""
    return lambda: _Answers(kind, answer)


def put(path: str, value: Any) -> Change:
    """A member that is there gets another value."""

    def change(event: WireEvent) -> WireEvent:
        *parents, last = path.split(".")
        target: Any = event
        for step in parents:
            target = target[int(step)] if step.isdigit() else target.get(step)
            if target is None:
                return event
        if last in target:
            target[last] = value
        return event

    return change


def without(path: str) -> Change:
    """A member goes missing."""

    def change(event: WireEvent) -> WireEvent:
        *parents, last = path.split(".")
        target: Any = event
        for step in parents:
            target = target.get(step)
            if target is None:
                return event
        target.pop(last, None)
        return event

    return change


def dropped(event: WireEvent) -> None:
    """The event is lost."""
    return None


def refusal(event: WireEvent, code: str | None, message: str = "No.") -> WireEvent:
    """An error that answers a client event."""
    error = {
        "type": "invalid_request_error",
        "code": code,
        "message": message,
        "param": None,
        "event_id": event.get("event_id"),
    }
    return fresh({"type": "error", "error": error})


def fresh(event: WireEvent) -> WireEvent:
    """The same event once more, with an id of its own."""
    return {**event, "event_id": f"event_planted_{next(_numbers)}"}


def planted(kind: str, **fields: Any) -> WireEvent:
    """An event of the server that nothing has led to."""
    return fresh({"type": kind, **fields})


def renamed(old: str, new: str) -> Change:
    """Part of the event's type is another."""
    return lambda event: {**event, "type": event["type"].replace(old, new)}


def only_if(condition: Callable[[WireEvent], bool], change: Change) -> Change:
    """The change, where the condition holds."""
    return lambda event: change(event) if condition(event) else event


def of_assistant(event: WireEvent) -> bool:
    """Whether the event is about an item of the assistant."""
    return event["item"].get("role") == "assistant"


def fault(
    name: str,
    plant: Callable[[], Plant],
    *fails: str,
    dialect: Dialect = "ga",
    within: tuple[str, ...] = (),
    jobs: int = 8,
) -> Fault:
    """One row of a table, see `Fault`."""
    return Fault(name, plant, frozenset(fails), dialect, within, jobs)
