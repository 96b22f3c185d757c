"""Puts function calls together from the deltas of a chat completion, however a server cuts them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from .frames import ToolCallArgumentsFrame, ToolCallEndedFrame, ToolCallStartedFrame

ToolCallFrame = ToolCallStartedFrame | ToolCallArgumentsFrame | ToolCallEndedFrame

_NO_INDEX: Final = -1


@dataclass(slots=True)
class _Call:
    index: int
    server_id: str
    name: str = ""
    call_id: str = ""
    pieces: list[str] = field(default_factory=list[str])
    ended: bool = False

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class ToolCallStream:
    """The calls of one reply.

    Taken as they come: several calls in one chunk, interleaved fragments, arguments in one piece
    or as an object, indexes that skip, that are all 0 or that are missing, ids that are missing
    or repeated, names repeated with every fragment. Arguments are passed on verbatim, valid JSON
    or not: they are the client's business.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._ids: set[str] = set()

    @property
    def any(self) -> bool:
        """Whether there is a call at all."""
        return bool(self._calls)

    @property
    def nameless(self) -> bool:
        """Whether some call never got a name, so that nobody can be asked to carry it out."""
        return any(not call.name for call in self._calls)

    def read(self, delta: Any) -> list[ToolCallFrame]:
        """Take one element of `delta.tool_calls`."""
        function = _member(delta, "function")
        name = _text(_member(function, "name"))
        server_id = _text(_member(delta, "id"))
        arguments = _arguments(_member(function, "arguments"))
        index = _member(delta, "index")
        index = index if isinstance(index, int) else _NO_INDEX
        call = self._find(index, server_id, name)
        frames: list[ToolCallFrame] = []
        if call is None:
            frames += self._end_complete()
            call = _Call(index, server_id)
            self._calls.append(call)
        call.server_id = call.server_id or server_id
        if name and not call.name:
            call.name = name
            call.call_id = self._new_id(call.server_id)
            frames.append(ToolCallStartedFrame(call.call_id, name))
            if call.pieces:
                frames.append(ToolCallArgumentsFrame(call.call_id, call.arguments))
        if arguments and not call.ended:
            call.pieces.append(arguments)
            if call.name:
                frames.append(ToolCallArgumentsFrame(call.call_id, arguments))
        return frames

    def finish(self, *, cut: bool) -> list[ToolCallFrame]:
        """The model has stopped.

        Args:
            cut: It ran into a limit: the last call may lack its end and stays open.
        """
        open_calls = [call for call in self._calls if not call.ended]
        if cut and open_calls and open_calls[-1] is self._calls[-1]:
            open_calls.pop()
        return [frame for call in open_calls for frame in self._end(call)]

    def _find(self, index: int, server_id: str, name: str) -> _Call | None:
        """The call a fragment belongs to; None when it begins a new one."""
        there = [call for call in reversed(self._calls) if call.index == index]
        for call in there:
            if server_id and call.server_id == server_id:
                return call
        latest = there[0] if there else None
        if latest is None or (server_id and latest.server_id):
            return None
        if name and latest.name and self._begins(latest, index, name):
            return None
        return latest

    @staticmethod
    def _begins(latest: _Call, index: int, name: str) -> bool:
        """Whether a fragment with a name, but no id to tell by, is a call of its own."""
        return name != latest.name or index == _NO_INDEX or _is_object(latest.arguments)

    def _end_complete(self) -> list[ToolCallFrame]:
        """End calls whose arguments are a whole object: nothing can follow that."""
        return [
            frame
            for call in self._calls
            if not call.ended and call.name and _is_object(call.arguments)
            for frame in self._end(call)
        ]

    def _end(self, call: _Call) -> list[ToolCallFrame]:
        if not call.name:
            return []
        call.ended = True
        frames: list[ToolCallFrame] = []
        if not call.pieces:
            # A call without parameters often comes without arguments; clients parse them as JSON.
            frames.append(ToolCallArgumentsFrame(call.call_id, "{}"))
        return [*frames, ToolCallEndedFrame(call.call_id)]

    def _new_id(self, server_id: str) -> str:
        """The server's id, or one of our own where it gave none or gave one twice."""
        call_id = server_id if server_id and server_id not in self._ids else _fresh_id()
        self._ids.add(call_id)
        return call_id


def _fresh_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def _member(holder: Any, name: str) -> Any:
    """A member of what the SDK built without checking: an object, or what the server sent."""
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _arguments(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return _text(value)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
