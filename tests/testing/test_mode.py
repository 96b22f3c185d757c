"""Test mode: off unless asked for, and only with the scripted model."""

from __future__ import annotations

import httpx
import pytest

import main
from protocol import ConfigError
from providers.script_file import parse_script
from providers.scripted_llm import ScriptedLlmProvider
from staging import require_scripts
from tests.e2e.gateway import run_gateway
from tests.live import FakeEngines, FakeSession, server_settings

FAULTY = parse_script("version: 1\nfaults: [{stage: llm, kind: error}]")
PLAIN = parse_script("version: 1")


@pytest.mark.parametrize(("testing", "status"), [(False, 404), (True, 200)])
async def test_the_endpoints_are_there_in_test_mode_only(testing: bool, status: int) -> None:
    engines = FakeEngines()
    app = main.create_app(
        server_settings(testing=testing),
        engines=engines,  # type: ignore[arg-type]
        session_factory=FakeSession,
    )
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/testing/faults")).status_code == status


def test_faults_of_a_script_need_test_mode() -> None:
    model = ScriptedLlmProvider(FAULTY)
    require_scripts([model], testing=True)
    with pytest.raises(ConfigError, match="TESTING: must be true for a script with `faults`"):
        require_scripts([model], testing=False)
    require_scripts([ScriptedLlmProvider(PLAIN)], testing=False)


def test_test_mode_needs_the_scripted_model() -> None:
    class Another:
        name = "ollama"

    with pytest.raises(ConfigError, match="needs LLM_PROVIDER=scripted, not ollama"):
        require_scripts([Another()], testing=True)  # type: ignore[list-item]


async def test_a_gateway_without_test_mode_refuses_a_script_with_faults() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        async with run_gateway(llm=ScriptedLlmProvider(FAULTY)):
            pass
