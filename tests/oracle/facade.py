"""One judge for everything a server sends on one connection."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from tests.oracle.required_keys import check_bilingual_session, check_keys
from tests.oracle.schema import Dialect, WireEvent, check_event
from tests.oracle.sequence import SequenceChecker

Opening = Dialect | Literal["both"]

SEEN: dict[Dialect, Counter[str]] = {"ga": Counter(), "beta": Counter()}
"""How often each server event type passed a recording `Oracle`, over the whole test run."""

_TAIL = 20


class Oracle:
    """Schema, required keys and sequence together.

    Args:
        dialect: The dialect the connection speaks, or will settle on.
        opening: The dialect of `session.created`, where it is another one: "both" on a connection
            without a dialect marker, "beta" on one that was marked beta and then spoke GA.
        record: Whether the events count in `SEEN`.
    """

    def __init__(
        self, dialect: Dialect, *, opening: Opening | None = None, record: bool = True
    ) -> None:
        self.problems: list[str] = []
        self.dialect: Dialect = dialect
        self._opening: Opening = opening or dialect
        self._record = record
        self._sequence = SequenceChecker(dialect)
        self._types: list[str] = []

    def client(self, event: WireEvent) -> None:
        """Learn what the client sends; call it before the frame leaves."""
        self._sequence.client(event)

    def server(self, event: WireEvent) -> list[str]:
        """Judge the next event of the server.

        Returns:
            The problems of this event alone; they gather in `problems` too.
        """
        kind = str(event.get("type"))
        self._types.append(kind)
        if self._record:
            SEEN[self.dialect][kind] += 1
        dialect = self._opening if kind == "session.created" else self.dialect
        if dialect == "both":
            found = check_bilingual_session(event)
        else:
            # A malformed event has no keys worth a look.
            found = check_event(event, dialect) or check_keys(event, dialect)
        known = len(self._sequence.violations)
        if "type" in event:
            self._sequence.server(event)
        found = [f"#{len(self._types)} {kind}: {problem}" for problem in found] + [
            f"#{len(self._types)} {kind}: {problem}"
            for problem in self._sequence.violations[known:]
        ]
        self.problems += found
        return found

    def reject(self, problem: str) -> None:
        """Add a problem that only the transport can see, such as a binary frame."""
        self.problems.append(problem)

    def finish(self, *, complete: bool = True) -> list[str]:
        """All problems; `complete=False` forgives what a cut connection leaves open."""
        known = len(self._sequence.violations)
        return self.problems + self._sequence.finish(complete=complete)[known:]

    def assert_clean(self, *, complete: bool = True) -> None:
        """Fail the test with every problem, and the last events before the end."""
        problems = self.finish(complete=complete)
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            tail = ", ".join(self._types[-_TAIL:])
            raise AssertionError(f"{len(problems)} problems on the wire:\n{lines}\nlast: {tail}")


def seen_report() -> list[str]:
    """One line per dialect: how many event types the run has met, and which ones."""
    return [
        f"wire events checked, {dialect}: {counts.total()} of {len(counts)} types: "
        + ", ".join(sorted(counts))
        for dialect, counts in SEEN.items()
        if counts
    ]
