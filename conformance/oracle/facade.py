"""One judge for everything a server sends on one connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conformance.oracle.required_keys import check_bilingual_session, check_keys
from conformance.oracle.schema import Dialect, WireEvent, check_event
from conformance.oracle.sequence import SequenceChecker

Opening = Dialect | Literal["both"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong on the wire.

    Attributes:
        problem: What it is, beginning with the table or the rule it breaks: `schema: `, `keys: `,
            `bilingual session, `, `(a)` to `(p)`.
        number: Which event of the connection it was, from 1; None for what is missing at the end.
        event: That event.
    """

    problem: str
    number: int | None = None
    event: WireEvent | None = None

    def __str__(self) -> str:
        if self.event is None:
            return self.problem
        return f"#{self.number} {self.event.get('type')}: {self.problem}"


class Oracle:
    """Schema, required keys and sequence together.

    Args:
        dialect: The dialect the connection speaks, or will settle on.
        opening: The dialect of `session.created`, where it is another one: "both" on a connection
            without a dialect marker, "beta" on one that was marked beta and then spoke GA.
        legacy: Whether the server was asked for the events that OpenAI no longer sends.
    """

    def __init__(
        self, dialect: Dialect, *, opening: Opening | None = None, legacy: bool = False
    ) -> None:
        self.findings: list[Finding] = []
        self.dialect: Dialect = dialect
        self.types: list[str] = []
        self._opening: Opening = opening or dialect
        self._legacy = legacy
        self._sequence = SequenceChecker(dialect, legacy=legacy)

    @property
    def problems(self) -> list[str]:
        """All findings so far, as lines."""
        return [str(finding) for finding in self.findings]

    def client(self, event: WireEvent) -> None:
        """Learn what the client sends; call it before the frame leaves."""
        self._sequence.client(event)

    def server(self, event: WireEvent) -> list[str]:
        """Judge the next event of the server.

        Returns:
            The problems of this event alone; they gather in `problems` too.
        """
        kind = str(event.get("type"))
        self.types.append(kind)
        dialect = self._opening if kind == "session.created" else self.dialect
        if dialect == "both":
            found = check_bilingual_session(event)
        else:
            # A malformed event has no keys worth a look.
            found = check_event(event, dialect) or check_keys(event, dialect, legacy=self._legacy)
        known = len(self._sequence.violations)
        if "type" in event:
            self._sequence.server(event)
        found += self._sequence.violations[known:]
        findings = [Finding(problem, len(self.types), event) for problem in found]
        self.findings += findings
        return [str(finding) for finding in findings]

    def reject(self, problem: str) -> None:
        """Add a problem that only the transport can see, such as a binary frame."""
        self.findings.append(Finding(problem))

    def finish(self, *, complete: bool = True) -> list[str]:
        """All problems; `complete=False` forgives what a cut connection leaves open."""
        known = len(self._sequence.violations)
        self.findings += map(Finding, self._sequence.finish(complete=complete)[known:])
        return self.problems
