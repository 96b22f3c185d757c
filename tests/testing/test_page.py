"""docs/testing-your-app.md: its files are written out as they stand there, and run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from providers.script import Latency
from providers.script_file import load_script
from tests.clients.javascript import FOLDER as JAVASCRIPT
from tests.clients.javascript import missing as javascript_missing
from tests.testing.test_fault_table import TABLE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "testing-your-app.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(?:\w+)\n(?:#|//) (\S+\.\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RUN_TIMEOUT_S = 120


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with all files of the page and the sound they name."""
    for name, text in _BLOCK.findall(PAGE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "tests" / "fixtures" / "hello.wav", tmp_path / "jingle.wav")
    return tmp_path


def run(folder: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if "PYTEST" not in name},
        "REALTIME_GATEWAY": str(ROOT),
        "PYTHON": sys.executable,
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT_S,
        check=False,
    )


def test_the_page_has_all_its_files(app: Path) -> None:
    files = {str(path.relative_to(app)) for path in app.rglob("*.*") if path.is_file()}
    assert files == {
        *("replies.yaml", "faults.yaml", "jingle.wav", ".github/workflows/app.yml"),
        *("conftest.py", "test_app.py", "test_custom.py", "gateway.mjs", "app.test.mjs"),
    }
    assert len(load_script(app / "replies.yaml").rules) == 3
    assert len(load_script(app / "faults.yaml").faults) == 3


@pytest.mark.skipif(bool(javascript_missing()), reason=javascript_missing())
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_node_fixture(app: Path) -> None:
    (app / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
    done = run(app, ["node", "--test", "app.test.mjs"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"pass 2\b", done.stdout)


def test_the_workflow_and_the_commands_in_it(app: Path) -> None:
    workflow = yaml.safe_load((app / ".github/workflows/app.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    install, check, test = (step["run"] for step in job["steps"] if "run" in step)
    requirements = shlex.split(install.replace("$REALTIME_GATEWAY", str(ROOT)))[3]
    assert Path(requirements).is_file()
    for command in (check, test):
        words = shlex.split(command.replace("$REALTIME_GATEWAY", str(ROOT)))
        assert words[0] == "python"
        done = run(app, [sys.executable, *words[1:]])
        assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_tables_of_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(?: [^|]+\|){4}$", PAGE, re.MULTILINE)
    assert {kind for _, kind in TABLE} == set(rows)
    for name, *cells in re.findall(
        r"^\| `(\w+)`: [^|]+\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE
    ):
        for profile, cell in zip(("instant", "typical", "slow"), cells, strict=True):
            latency = Latency.model_validate(profile)
            assert getattr(latency, name) == float(cell), (name, profile)
