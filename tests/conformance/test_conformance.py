"""The conformance command: our gateway passes it, and every planted fault fails what it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from conformance.client import Pace
from conformance.oracle import Dialect
from conformance.registry import CHECKS
from conformance.rules import RULES
from conformance.runner import DialectReport, checks_for, declines_beta, opening, run
from tests.conformance.broken_server import BrokenServer, Plant, broken_server, touches
from tests.conformance.conftest import API_KEY, scripted_gateway, target
from tests.conformance.faults import FAULTS, Fault

pytestmark = pytest.mark.asyncio(loop_scope="session")

_TAKES_THE_KEY = "connection/takes-the-key-from-the-subprotocol"
_REFUSES_A_WRONG_KEY = "connection/refuses-a-wrong-key"
_NEEDS_A_KEY = {_TAKES_THE_KEY, _REFUSES_A_WRONG_KEY}
_NEVER_FAILED = {"connection/answers-the-close"}
"""The library that the proxy is made of answers a close by itself, and always rightly."""
_SOUND = "none"
_BATCH = 28
_FAULTS_AT_ONCE = 6
_BROKEN_PACE = Pace(timeout_s=4, settle_s=0.8, realtime=False)
_PATIENT_PACE = Pace(timeout_s=15, settle_s=0.8, realtime=False)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broken(gateway_url: str) -> AsyncGenerator[BrokenServer]:
    """The gateway behind a proxy that can plant every fault, and none."""
    plants = {fault.name: fault.plant for fault in FAULTS} | {_SOUND: Plant}
    async with broken_server(gateway_url, plants) as running:
        yield running


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_the_gateway_passes(healthy: dict[Dialect, DialectReport], dialect: Dialect) -> None:
    report = healthy[dialect]
    assert [(result.id, result.explanation) for result in report.failed] == []
    assert report.conforms
    checks = {result.id for result in report.results if result.id in CHECKS}
    unmeasured = {r.id for r in report.results if r.outcome == "not measured"} & checks
    assert unmeasured == _NEEDS_A_KEY
    assert len(checks) > 100


async def test_the_gateway_passes_behind_a_key() -> None:
    async with scripted_gateway(api_key=API_KEY) as url:
        address = target(f"{url}/v1/realtime", api_key=API_KEY)
        for dialect in ("ga", "beta"):
            report = await run(address, dialect, sections=["connection"])
            assert [(result.id, result.explanation) for result in report.failed] == []
            outcomes = {result.id: result.outcome for result in report.results}
            assert {outcomes[check_id] for check_id in _NEEDS_A_KEY} == {"passed"}


async def test_a_server_without_the_beta_dialect_is_told_from_a_wrong_one() -> None:
    async with scripted_gateway(beta_enabled=False) as url:
        assert declines_beta(await opening(target(f"{url}/v1/realtime"), "beta"))


async def test_the_proxy_alone_changes_nothing(broken: BrokenServer) -> None:
    report = await run(target(broken.url(_SOUND)), "ga", jobs=8)
    assert [(result.id, result.explanation) for result in report.failed] == []


@pytest.mark.parametrize(
    "faults",
    [FAULTS[start : start + _BATCH] for start in range(0, len(FAULTS), _BATCH)],
    ids=lambda faults: faults[0].name,
)
async def test_each_fault_fails_what_it_should(
    broken: BrokenServer, healthy: dict[Dialect, DialectReport], faults: tuple[Fault, ...]
) -> None:
    slots = asyncio.Semaphore(_FAULTS_AT_ONCE)

    async def failures(fault: Fault) -> dict[str, str]:
        async with slots:
            return await _failures(fault, broken, healthy, _BROKEN_PACE)

    outcomes = await asyncio.gather(*map(failures, faults))
    for fault, outcome in zip(faults, outcomes, strict=True):
        # Most faults show by what does not come, so little is waited for. A busy machine may need
        # more: what went otherwise than expected is tried once more, alone and with patience.
        if outcome.keys() != fault.fails:
            outcome = await _failures(fault, broken, healthy, _PATIENT_PACE)
        unexpected = {k: why for k, why in outcome.items() if k not in fault.fails}
        assert (fault.name, unexpected, fault.fails - outcome.keys()) == (fault.name, {}, set())


async def _failures(
    fault: Fault, broken: BrokenServer, healthy: dict[Dialect, DialectReport], pace: Pace
) -> dict[str, str]:
    """The checks and rules that fail with a fault, and how.

    Only the checks on whose connections the fault changes anything are made again.
    """
    traffic = healthy[fault.dialect].traffic
    checks = [
        check
        for check in checks_for(fault.dialect, fault.within)
        if any(touches(fault.plant, connection.log) for connection in traffic[check.id])
    ]
    report = await run(
        target(broken.url(fault.name), pace=pace),
        fault.dialect,
        checks=checks,
        jobs=fault.jobs,
    )
    return {result.id: result.explanation for result in report.failed}


async def test_an_open_door_is_no_lock(gateway_url: str) -> None:
    address = target(f"{gateway_url}/v1/realtime", api_key=API_KEY, pace=_BROKEN_PACE)
    report = await run(address, "ga", sections=["connection"])
    assert [result.id for result in report.failed] == [_REFUSES_A_WRONG_KEY]


class _DeafToKeys(Plant):
    """The server reads the key from the header only."""

    def heeds(self, offered: str) -> bool:
        return not offered.startswith("openai-insecure-api-key.")


async def test_a_key_that_browsers_cannot_send_is_noticed() -> None:
    async with (
        scripted_gateway(api_key=API_KEY) as url,
        broken_server(url, {"deaf": _DeafToKeys}) as broken,
    ):
        address = target(broken.url("deaf"), api_key=API_KEY, pace=_BROKEN_PACE)
        report = await run(address, "ga", checks=[CHECKS[_TAKES_THE_KEY]])
    assert [result.id for result in report.failed] == [_TAKES_THE_KEY]


async def test_what_can_fail_has_been_seen_to_fail() -> None:
    seen = {check_id for fault in FAULTS for check_id in fault.fails} | _NEEDS_A_KEY
    never = (CHECKS.keys() | {rule.id for rule in RULES}) - seen
    assert never == _NEVER_FAILED
