"""Runs checks side by side and puts their outcomes together; it prints nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import conformance.checks as all_checks
from conformance.lab import Lab, Target, Traffic
from conformance.oracle import Dialect, Finding, WireEvent
from conformance.registry import CHECKS, SECTIONS, Check, Failed, Level, NotMeasured
from conformance.rules import Rule, judge

Outcome = Literal["passed", "failed", "not measured"]

__all__ = ["DialectReport", "Result", "all_checks", "checks_for", "declines_beta", "opening", "run"]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one check or rule.

    Attributes:
        explanation: What was wrong, or why nothing was measured.
        event: The offending event.
        times: How often a rule was broken.
    """

    id: str
    section: str
    title: str
    source: str
    level: Level
    outcome: Outcome
    explanation: str = ""
    event: object = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class DialectReport:
    """One dialect's results, checks first, then the rules over all connections."""

    dialect: Dialect
    results: list[Result]
    traffic: dict[str, list[Traffic]] = field(repr=False)

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.outcome == "failed"]

    @property
    def conforms(self) -> bool:
        """Nothing required failed, and something was measured."""
        measured = any(result.outcome == "passed" for result in self.results)
        return measured and all(result.level != "required" for result in self.failed)

    @property
    def seen(self) -> set[str]:
        """Every server event type of the run."""
        return {
            kind for entries in self.traffic.values() for entry in entries for kind in entry.types
        }


def checks_for(dialect: Dialect, sections: Iterable[str] = ()) -> list[Check]:
    """The checks of a dialect, all of them or those of some sections."""
    wanted = set(sections) or SECTIONS.keys()
    return [
        check for check in CHECKS.values() if dialect in check.dialects and check.section in wanted
    ]


async def run(
    target: Target,
    dialect: Dialect,
    *,
    checks: Sequence[Check] | None = None,
    sections: Iterable[str] = (),
    jobs: int = 4,
) -> DialectReport:
    """Make the checks of one dialect.

    Args:
        target: The server.
        dialect: What to speak to it.
        checks: Which ones; all of the dialect's by default.
        sections: Which sections to make and report; all by default.
        jobs: How many at once.
    """
    sections = set(sections)
    if checks is None:
        # Sections without checks of their own are about what passes in all the others.
        overall = sections - {check.section for check in CHECKS.values()}
        checks = checks_for(dialect, () if overall else sections)
    slots = asyncio.Semaphore(jobs)
    traffic: dict[str, list[Traffic]] = {}

    async def make(check: Check) -> Result:
        async with slots:
            lab = Lab(target, dialect)
            result = await _result_of(check, lab)
            traffic[check.id] = lab.traffic
            return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(make(check), name=check.id) for check in checks]
    results = [task.result() for task in tasks]
    entries = [entry for check in checks for entry in traffic[check.id]]
    results += [_rule_result(verdict.rule, verdict.findings) for verdict in judge(entries, dialect)]
    order = list(SECTIONS)
    results.sort(key=lambda result: order.index(result.section))
    results = [result for result in results if not sections or result.section in sections]
    return DialectReport(dialect, results, traffic)


async def opening(target: Target, dialect: Dialect) -> WireEvent:
    """The first event of a connection.

    Raises:
        Failed: There is none.
    """
    lab = Lab(target, dialect)
    async with lab.connect(judged=False) as client:
        return await client.wait("session.created", "error")


def declines_beta(first: WireEvent) -> bool:
    """Whether a first event refuses the beta dialect in OpenAI's own way (protocol §1.6)."""
    error = first.get("error")
    return isinstance(error, dict) and error.get("code") == "beta_api_shape_disabled"


async def _result_of(check: Check, lab: Lab) -> Result:
    target = lab.target
    outcome: Outcome = "passed"
    explanation, event = "", None
    if "speech" in check.requires and target.clip is None:
        outcome, explanation = "not measured", "There is no recording to say; give --audio."
    elif "api-key" in check.requires and target.api_key is None:
        outcome, explanation = "not measured", "It needs a key; give --api-key."
    else:
        try:
            await check.run(lab)
        except Failed as failure:
            outcome, explanation, event = "failed", failure.explanation, failure.event
        except NotMeasured as reason:
            outcome, explanation = "not measured", str(reason)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            # A check reads what the protocol promises; a server that breaks the promise fails it.
            outcome = "failed"
            explanation = f"An event lacks what the check reads from it: {error!r}."
    return Result(
        check.id,
        check.section,
        check.title,
        check.source,
        check.level,
        outcome,
        explanation,
        event,
    )


def _rule_result(rule: Rule, findings: list[Finding] | None) -> Result:
    head = (rule.id, rule.section, rule.title, rule.source, rule.level)
    if findings is None:
        return Result(*head, "not measured", "No event that it speaks of has come.")
    if not findings:
        return Result(*head, "passed")
    first = findings[0]
    return Result(*head, "failed", str(first), first.event, len(findings))
