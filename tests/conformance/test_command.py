"""The command around the checks: arguments, report and exit code."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.broken_server import broken_server
from tests.conformance.faults import FAULTS

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PROJECT = Path(__file__).resolve().parents[2]
_QUICK = ("--pace", "fast", "--settle", "0.3", "--dialect", "ga", "--jobs", "8")


async def _command(*arguments: str) -> tuple[int | None, str, str]:
    """Exit code, output and error output of the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "conformance", *arguments),
        cwd=_PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_server_that_passes(gateway_url: str, tmp_path: Path) -> None:
    file = tmp_path / "score.json"
    code, out, _ = await _command(
        f"{gateway_url}/v1/realtime", *_QUICK, "--section", "errors", "--json", str(file)
    )
    assert (code, "CONFORMS" in out, "100 %" in out) == (0, True, True)
    score = json.loads(file.read_text(encoding="utf-8"))
    assert score["conforms"] is True
    sections = {result["section"] for result in score["dialects"]["ga"]["results"]}
    assert sections == {"errors"}


async def test_a_server_that_fails(gateway_url: str) -> None:
    name = "cancel-code"
    plants = {fault.name: fault.plant for fault in FAULTS if fault.name == name}
    async with broken_server(gateway_url, plants) as broken:
        code, out, _ = await _command(broken.url(name), *_QUICK, "--section", "responses")
    assert code == 1
    _, _, failures = out.partition("FAILED, required")
    assert "responses/cancel-nothing  [protocol §4.9, §5; clients rule 13]" in failures
    assert "invalid_value" in failures
    assert '"type": "error"' in failures
    assert "DOES NOT CONFORM" in failures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give the server's address"),
        (("ws://127.0.0.1:9/v1/realtime",), "Nothing to measure"),
        (("ws://127.0.0.1:9/v1/realtime", "--audio", "absent.wav"), "cannot be read"),
    ],
)
async def test_nothing_to_measure(arguments: tuple[str, ...], message: str) -> None:
    code, _, err = await _command(*arguments)
    assert code == 2
    assert message in err


async def test_a_missing_package_is_named() -> None:
    script = (
        "import runpy, sys; sys.modules['openai'] = None; sys.argv = ['conformance', '--list']; "
        "runpy.run_module('conformance', run_name='__main__')"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), cwd=_PROJECT, stderr=subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"needs the package openai" in err
    assert b"pip install" in err
