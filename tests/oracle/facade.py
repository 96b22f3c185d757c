"""The oracle of the conformance command with a count of what the whole test run has seen."""

from __future__ import annotations

from collections import Counter

from conformance.oracle import Dialect, Opening, WireEvent
from conformance.oracle import Oracle as WireOracle

SEEN: dict[Dialect, Counter[str]] = {"ga": Counter(), "beta": Counter()}
"""How often each server event type passed a recording `Oracle`, over the whole test run."""

_TAIL = 20


class Oracle(WireOracle):
    """An oracle that fails the test it watches.

    Args:
        dialect: The dialect the connection speaks, or will settle on.
        opening: The dialect of `session.created`, where it is another one.
        legacy: Whether the server was asked for the events that OpenAI no longer sends.
        record: Whether the events count in `SEEN`.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        opening: Opening | None = None,
        legacy: bool = False,
        record: bool = True,
    ) -> None:
        super().__init__(dialect, opening=opening, legacy=legacy)
        self._record = record

    def server(self, event: WireEvent) -> list[str]:
        """Judge the next event of the server; see the base class."""
        if self._record:
            SEEN[self.dialect][str(event.get("type"))] += 1
        return super().server(event)

    def assert_clean(self, *, complete: bool = True) -> None:
        """Fail the test with every problem, and the last events before the end."""
        problems = self.finish(complete=complete)
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            tail = ", ".join(self.types[-_TAIL:])
            raise AssertionError(f"{len(problems)} problems on the wire:\n{lines}\nlast: {tail}")


def seen_report() -> list[str]:
    """One line per dialect: how many event types the run has met, and which ones."""
    return [
        f"wire events checked, {dialect}: {counts.total()} of {len(counts)} types: "
        + ", ".join(sorted(counts))
        for dialect, counts in SEEN.items()
        if counts
    ]
