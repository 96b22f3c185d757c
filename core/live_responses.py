"""The responses that have begun and are not over: at most one of the conversation, others aside.

What begins and ends them is for others to say; time alone may move them on, or fail them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from core.messages import Failure, Output, StopResponse
from core.response import Response
from core.user_side import UserSide
from protocol import ErrorCategory, Stage


class LiveResponses:
    """The live responses of a session.

    Args:
        user: Is told whose turn it is: from the end of a reply on the silence counts.
        patience_s: How long an engine may be silent that owes output.
    """

    def __init__(self, user: UserSide, patience_s: float) -> None:
        self.active: Response | None = None
        """That of the conversation (I1)."""
        self._aside: dict[str, Response] = {}
        self._user = user
        self._patience_s = patience_s

    def __iter__(self) -> Iterator[Response]:
        """All of them as they are now, that of the conversation first."""
        active = [] if self.active is None else [self.active]
        return iter([*active, *self._aside.values()])

    @property
    def out_of_band(self) -> int:
        """How many run beside the conversation."""
        return len(self._aside)

    def get(self, response_id: str) -> Response | None:
        """The one that clients know by this id."""
        return next((response for response in self if response.id == response_id), None)

    def of_run(self, run_id: str) -> Response | None:
        """The one that the engine is making under this name."""
        found = (response for response in self if response.started and response.run_id == run_id)
        return next(found, None)

    def waiting_for(self, item_id: str) -> list[Response]:
        """Those that want the words of an item."""
        return [response for response in self if item_id in response.waiting_for]

    def add(self, response: Response) -> None:
        """A response begins."""
        if response.out_of_band:
            self._aside[response.id] = response
        else:
            self.active = response
            self._user.expect_nothing()

    def forget_done(self, now: float) -> None:
        """Let go of those that are over."""
        if self.active is not None and self.active.done:
            self._user.expect_speech(self.active.silent_from(now))
            self.active = None
        for response in [response for response in self._aside.values() if response.done]:
            del self._aside[response.id]

    def clear(self) -> None:
        """Let go of all."""
        self.active = None
        self._aside.clear()

    # --- time -------------------------------------------------------------------------------------

    def deadline(self, now: float) -> float:
        """When `tick` wants to be called next; infinite while nothing is due."""
        soonest = math.inf
        if self.active is not None:
            soonest = self.active.deadline(now, self._patience_s)
        for response in self._aside.values():
            soonest = min(soonest, response.deadline(now, self._patience_s))
        return soonest

    def tick(self, now: float) -> list[Output]:
        """Let paced output go, and fail what no engine has worked at for too long."""
        outputs: list[Output] = []
        for response in self:
            waited = response.pacer.queued_ms > 0
            outputs += response.release(now)
            if waited:
                # The engine was told to wait for the pace: that is no stall of its own.
                response.progress_s = now
            elif response.generating and now >= response.progress_s + self._patience_s:
                outputs += [StopResponse(response.run_id), *response.failed(self._stall(), now)]
        self.forget_done(now)
        return outputs

    def _stall(self) -> Failure:
        seconds = round(self._patience_s)
        return Failure(
            Stage.LLM,
            ErrorCategory.TIMEOUT,
            f"No output came from the engines within {seconds} s.",
        )

    def queued_ms(self) -> float:
        """The most audio that one of them holds back for its pace."""
        most = 0.0 if self.active is None else self.active.pacer.queued_ms
        for response in self._aside.values():
            most = max(most, response.pacer.queued_ms)
        return most
