"""How late server events are: against the same events of the same server, nearly idle.

A server hears the same recording from the same place each time, so what it says about it is the
same each time, but for when. Pure arithmetic; times are seconds from the beginning of a session's
stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

MISSING_MS = 3000.0
"""What an event that does not come at all counts as; also how long it is waited for."""
CLIENT_LATE_MS = 5.0
_DOUBT_S = 0.15
_EARLY_S = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """A server event.

    Attributes:
        kind: `started` and `stopped` of speech; `audio` of a reply, or only its `first_audio`.
        at_s: When it arrived.
    """

    kind: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a client noted of one session.

    Attributes:
        events: What the server said.
        client_late_s: When an append was due that the client sent over `CLIENT_LATE_MS` late. For
            the moment it was a bad witness.
    """

    events: tuple[Event, ...]
    client_late_s: tuple[float, ...] = ()

    def trusted(self, pair: Pair) -> bool:
        """Whether the client was awake from a little before the event was due until it came."""
        due, seen = pair
        until_s = due.at_s if seen is None else max(due.at_s, seen.at_s)
        return not any(
            due.at_s - _DOUBT_S <= late_s <= until_s + _DOUBT_S for late_s in self.client_late_s
        )


Pair = tuple[Event, Event | None]
"""A milestone as it was due, and as it came, if it did."""


def milestones(events: Iterable[Event]) -> list[Event]:
    """Where speech started and stopped, and the first audio after each stop."""
    found: list[Event] = []
    awaiting_audio = False
    for event in events:
        if event.kind != "audio":
            found.append(event)
            awaiting_audio = event.kind == "stopped"
        elif awaiting_audio:
            found.append(replace(event, kind="first_audio"))
            awaiting_audio = False
    return found


def match(expected: Sequence[Event], seen: Sequence[Event]) -> list[Pair]:
    """For each expected milestone the one that is it, if it came in time."""
    left = list(seen)
    pairs: list[Pair] = []
    for due in expected:
        found = next(
            (
                event
                for event in left
                if event.kind == due.kind
                and -_EARLY_S <= event.at_s - due.at_s <= MISSING_MS / 1000
            ),
            None,
        )
        if found is not None:
            left.remove(found)
        pairs.append((due, found))
    return pairs


def earliest(takes: Sequence[Sequence[Event]]) -> list[Event]:
    """The milestones of several takes of one stream, each when it was first said."""
    first, *others = takes
    for other in others:
        first = [
            due if found is None or due.at_s < found.at_s else found
            for due, found in match(first, other)
        ]
    return list(first)


def between(events: Iterable[Event], from_s: float, to_s: float) -> list[Event]:
    """Those in a span of time."""
    return [event for event in events if from_s <= event.at_s < to_s]


def lags_ms(pairs: Iterable[Pair]) -> list[float]:
    """How much later each came than it was due."""
    return [MISSING_MS if found is None else (found.at_s - due.at_s) * 1000 for due, found in pairs]


def replies(events: Iterable[Event]) -> list[list[Event]]:
    """The audio after each stop of speech, up to the next start."""
    found: list[list[Event]] = []
    for event in events:
        if event.kind == "stopped":
            found.append([])
        elif event.kind == "audio" and found:
            found[-1].append(event)
    return [reply for reply in found if reply]


def jitter_ms(spoken: Sequence[Sequence[Event]]) -> list[float]:
    """How far deltas are from the common rhythm of replies that are all the same.

    Of each delta the time since the first of its reply, against the median of that over all
    replies.
    """
    found: list[float] = []
    for number in range(1, max(map(len, spoken), default=0)):
        offsets = sorted(
            reply[number].at_s - reply[0].at_s for reply in spoken if len(reply) > number
        )
        middle = offsets[len(offsets) // 2]
        found += [abs(offset - middle) * 1000 for offset in offsets]
    return found


def cut_off_ms(heard: Heard, expected: Sequence[Event]) -> list[float]:
    """After each start of speech that cut in on a reply: how long its audio went on.

    Args:
        heard: What the client noted.
        expected: The milestones as they are due. The time counts from when the start was due; a
            reply whose last audio had left by then counts as 0.
    """
    found: list[float] = []
    replying = False
    audio_s = [event.at_s for event in heard.events if event.kind == "audio"]
    stops_s = [event.at_s for event in heard.events if event.kind == "stopped"]
    for pair in match(expected, milestones(heard.events)):
        due, seen = pair
        if due.kind == "started" and replying and heard.trusted(pair):
            # The next reply comes after the next stop.
            begin_s = due.at_s if seen is None else min(due.at_s, seen.at_s)
            end_s = min((at_s for at_s in stops_s if at_s > begin_s), default=float("inf"))
            last_s = max((at_s for at_s in audio_s if begin_s < at_s < end_s), default=due.at_s)
            found.append(max(last_s - due.at_s, 0.0) * 1000)
        replying = due.kind == "first_audio"
    return found
