"""Spoils right events, and makes frames that never were events."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from tests.fuzz.values import any_value, long_text

Event = dict[str, Any]
_Place = tuple[Any, Any]
"""A container and the key or index in it."""


def spoiled(rng: random.Random, event: Event) -> Event:
    """The event with one to three things wrong, which may by chance be right."""
    event = _copy(event)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(_CHANGES)(rng, event)
    return event


def as_frame(rng: random.Random, event: Any) -> str:
    """The JSON text; escapes or not, as clients differ."""
    frame = json.dumps(event, ensure_ascii=rng.random() < 0.5)
    try:
        frame.encode()
    except UnicodeEncodeError:
        return json.dumps(event)
    return frame


def torn(rng: random.Random, frame: str) -> str:
    """The text of an event, damaged."""
    at = rng.randrange(len(frame) + 1)
    match rng.randrange(7):
        case 0:
            return frame[:at]
        case 1:
            return frame[:at] + rng.choice(('"', "}", ",", "\\", "\0", "NaN", "x")) + frame[at:]
        case 2:
            return frame[1:]
        case 3:
            return frame + frame
        case 4:
            return "\ufeff" + frame
        case 5:
            return f'{{"type":"response.cancel",{frame[1:]}'
        case _:
            return f" \n{frame}\t"


def garbage(rng: random.Random) -> str | bytes:
    """A frame that is no event."""
    match rng.randrange(9):
        case 0:
            return rng.randbytes(rng.choice((0, 1, 20, 2000)))
        case 1:
            return '{"type":"input_audio_buffer.clear"}'.encode(rng.choice(("utf-8", "utf-16")))
        case 2:
            return rng.choice(("", " ", "\n", "null", "true", "0", '""', '"session.update"', "NaN"))
        case 3:
            return rng.choice(("[]", "[[]]", '[{"type":"response.create"}]', "{}", '{"a":1}'))
        case 4:
            depth = rng.choice((50, 500, 5000))
            return "[" * depth + ("]" * depth if rng.random() < 0.5 else "")
        case 5:
            return '{"type":' + rng.choice(("null", "1", "[]", "{}", "1e400", '"\\ud800"')) + "}"
        case 6:
            return rng.randbytes(rng.choice((1, 30, 300))).decode("latin-1")
        case 7:
            return json.dumps({"type": long_text(rng), "event_id": "odd"})
        case _:
            return json.dumps({"type": rng.choice(_FOREIGN_TYPES), "event_id": "foreign"})


_FOREIGN_TYPES = (
    "ping", "session.close", "session.created", "response.done", "error", "session.input", "",
    "SESSION.UPDATE", "transcription_session.update", "conversation.item.added", "dialect.switch",
)  # fmt: skip


def _copy(value: Any) -> Any:
    """A copy of JSON nested deeper than `deepcopy` can follow."""
    return json.loads(json.dumps(value))


# --- one change -----------------------------------------------------------------------------


def _places(value: Any) -> list[_Place]:
    """Every place in a JSON value."""
    found: list[_Place] = []
    waiting = [value]
    while waiting:
        node = waiting.pop()
        entries = node.items() if isinstance(node, dict) else enumerate(node)
        for key, child in entries:
            found.append((node, key))
            if isinstance(child, dict | list):
                waiting.append(child)
    return found


def _replace(rng: random.Random, event: Event) -> None:
    node, key = rng.choice(_places(event))
    node[key] = any_value(rng)


def _remove(rng: random.Random, event: Event) -> None:
    node, key = rng.choice(_places(event))
    if len(event) > 1 or node is not event:
        del node[key]


def _add(rng: random.Random, event: Event) -> None:
    nodes = [event, *(node[key] for node, key in _places(event) if isinstance(node[key], dict))]
    key = rng.choice(("foo", "type", "id", "", "audio", "item", "session", "response", "event_id"))
    rng.choice(nodes)[key] = any_value(rng)


def _wrap(rng: random.Random, event: Event) -> None:
    node, key = rng.choice(_places(event))
    times = 40 if rng.random() < 0.2 else 1
    node[key] = rng.choice(([node[key]] * times, {"value": node[key]}, str(node[key])))


def _bend(rng: random.Random, event: Event) -> None:
    """Change a value of the right type: a wrong enum, a number out of range, another's id."""
    node, key = rng.choice(_places(event))
    match node[key]:
        case bool() as flag:
            node[key] = int(flag)
        case int() | float() as number:
            node[key] = rng.choice((-number - 1, number * 1000 + 1, number + 0.5, 10**25))
        case str() as word:
            node[key] = rng.choice((word + "x", word.upper(), word[:-1], word[1:], word * 3))
        case list() as entries:
            entries.extend(_copy(entries))
        case _:
            node[key] = {}


def _borrow(rng: random.Random, event: Event) -> None:
    """Put the value of one place at another."""
    node, key = rng.choice(_places(event))
    other, other_key = rng.choice(_places(event))
    node[key] = _copy(other[other_key])


_CHANGES: tuple[Callable[[random.Random, Event], None], ...] = (
    _replace,
    _replace,
    _remove,
    _add,
    _wrap,
    _bend,
    _bend,
    _borrow,
)
