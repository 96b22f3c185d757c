"""The gateway as its operator starts it: `python main.py` in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config import VARIABLES

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 60
_URL = re.compile(r"wss?://[^:]+:(\d+)/v1/realtime")
_COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway.

    Attributes:
        port: Where it listens on 127.0.0.1.
        log: What it has written to stderr.
    """

    port: int
    log: Path

    def complaints(self) -> list[str]:
        """Lines of the log at WARNING or above."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if _COMPLAINT.search(line)]


@contextmanager
def running_gateway(folder: Path, *options: str, **environment: str) -> Generator[Gateway]:
    """Start it on a free port with default settings, and stop it at the end.

    Args:
        folder: Where it runs and writes its log; a `.env` of the project is not read there.
        options: Command-line options.
        environment: Settings, by their environment variables.
    """
    banner, log = folder / "banner.txt", folder / "gateway.log"
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    with banner.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(_PROJECT_ROOT / "main.py"), "--port", "0", *options],
            cwd=folder,
            env=inherited | environment,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield Gateway(_port(process, banner, log), log)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _port(process: subprocess.Popen[bytes], banner: Path, log: Path) -> int:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if found := _URL.search(banner.read_text(encoding="utf-8")):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(f"the gateway did not start:\n{log.read_text(encoding='utf-8')}")
