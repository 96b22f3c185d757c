"""The sequence rule of rate limits: where in the life of a response they are told, and how."""

from __future__ import annotations

from conformance.oracle.schema import WireEvent
from conformance.oracle.seq_responses import Report


class RateLimits:
    """What `rate_limits.updated` may follow: `response.done` in GA, `response.created` in beta.

    Args:
        report: Called with the rule's letter and what was wrong.
        after_done: Whether the dialect tells them at the end.
    """

    def __init__(self, report: Report, *, after_done: bool) -> None:
        self._report = report
        self._after_done = after_done
        self._awaited = 0

    def response(self, kind: str) -> None:
        """A `response.*` event came."""
        if self._after_done:
            self._awaited += kind == "response.done"
        else:
            # Right behind it: once the response goes on it is too late.
            self._awaited = int(kind == "response.created")

    def server(self, event: WireEvent) -> None:
        """Take a `rate_limits.updated`."""
        if not self._awaited:
            place = "response.done" if self._after_done else "response.created"
            self._report("o", f"rate_limits.updated that follows no {place}")
        self._awaited = max(self._awaited - 1, 0)
        names = [limit["name"] for limit in event["rate_limits"]]
        if not names or len(set(names)) < len(names):
            self._report("o", f"rate_limits.updated names {names}, each limit once is wanted")
        for limit in event["rate_limits"]:
            if not 0 <= limit["remaining"] <= limit["limit"] or limit["reset_seconds"] < 0:
                self._report("o", f"the limit of {limit['name']} contradicts itself: {limit}")
