"""Where all that a lane makes for a response leaves it, and where it stops leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from core.messages import (
    Failure,
    GenerationEnded,
    GenerationFailed,
    ModelFinished,
    ModelText,
    SpeechAudio,
    SpeechText,
    SpeechWords,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
)

ResponseEvent = (
    ModelText
    | ToolCallStarted
    | ToolCallArguments
    | ToolCallEnded
    | ModelFinished
    | SpeechText
    | SpeechWords
    | SpeechAudio
    | GenerationEnded
    | GenerationFailed
)


class Ending(Enum):
    """How a response left its lane."""

    DRAINED = auto()
    """All of it came out; the lane is clean."""
    CUT = auto()
    """It was stopped or failed; parts of it may still be in the lane."""


class ResponseOutlet:
    """Lets pass what belongs to the one live response, and nothing else.

    Stopping is a matter of this object alone: whatever the processors of the lane still hold at
    that moment comes to a closed door, without any of them being asked.
    """

    def __init__(self, emit: Callable[[ResponseEvent], None]) -> None:
        self._emit = emit
        self._live: str | None = None
        self._ending: asyncio.Future[Ending] | None = None

    def open(self, response_id: str) -> asyncio.Future[Ending]:
        """Make `response_id` the live response; the future tells when and how it ended."""
        self._live = response_id
        self._ending = asyncio.get_running_loop().create_future()
        return self._ending

    def is_live(self, response_id: str | None) -> bool:
        """Whether anything may still come of `response_id`."""
        return response_id is not None and response_id == self._live

    def pass_on(self, event: ResponseEvent) -> None:
        """Emit what was made for a response, if that is still live."""
        if event.response_id == self._live:
            self._emit(event)

    def end(self, response_id: str) -> None:
        """All of the response has passed."""
        if response_id == self._live:
            self._finish(Ending.DRAINED)
            self._emit(GenerationEnded(response_id))

    def fail(self, failure: Failure) -> None:
        """A stage failed: the live response ends with what it has."""
        if self._live is not None:
            failed = GenerationFailed(self._live, failure)
            self._finish(Ending.CUT)
            self._emit(failed)

    def stop(self, response_id: str) -> None:
        """Nothing more of the response is wanted."""
        if response_id == self._live:
            self._finish(Ending.CUT)

    def _finish(self, ending: Ending) -> None:
        self._live = None
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(ending)
