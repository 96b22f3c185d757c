"""Turn detection tells nobody about itself: its runtime's telemetry stays off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What the runtime would send waits in a database below the home folder.
LOAD = "from processors.vad_model import SileroModel\nSileroModel()\n"


def test_the_vad_model_leaves_no_telemetry(tmp_path: Path) -> None:
    # The runtime keeps quiet by itself where these say that it is being tested.
    quiet = {"CI", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environ = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={**environ, "HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*onnxruntime*")) == []
