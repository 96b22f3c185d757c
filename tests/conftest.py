"""Fixtures shared by the whole suite: real recordings, the protocol reference, the wire report."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from tests.oracle import SEEN, seen_report

_SHARED = Path(__file__).resolve().parents[2] / "shared"
_PCM_RATE_HZ = 24_000


@dataclass(frozen=True, slots=True)
class SharedAudio:
    """The recordings beside the project; too large and too foreign to commit."""

    folder: Path
    _cache: dict[tuple[str, int], bytes] = field(default_factory=dict[tuple[str, int], bytes])

    def __call__(self, name: str, rate_hz: int = _PCM_RATE_HZ) -> bytes:
        """One recording as s16le mono.

        Args:
            name: File name without its extension, e.g. `en_go_forward`.
            rate_hz: Sample rate wanted; clients of the API send 24 kHz.
        """
        if (name, rate_hz) not in self._cache:
            samples, source_hz = soundfile.read(self.path(name), dtype="float32", always_2d=True)
            resampled = soxr.resample(samples.mean(axis=1), source_hz, rate_hz)
            pcm = (np.clip(resampled, -1, 1) * 32767).round().astype("<i2").tobytes()
            self._cache[name, rate_hz] = pcm
        return self._cache[name, rate_hz]

    def path(self, name: str) -> Path:
        """The recording's FLAC file."""
        return self.folder / f"{name}.flac"


def _shared_folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or _SHARED / name)
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it is not part of the repository; set {variable}")
    return folder


@pytest.fixture(scope="session")
def shared_audio() -> SharedAudio:
    """Real recordings: `shared_audio("en_go_forward")` is PCM, `shared_audio.path(...)` a file."""
    return SharedAudio(_shared_folder("REALTIME_AUDIO_DIR", "audio"))


@pytest.fixture(scope="session")
def manifest(shared_audio: SharedAudio) -> dict[str, dict[str, Any]]:
    """What is in each recording (transcript, speech bounds in ms), by name without extension."""
    text = (shared_audio.folder / "manifest.json").read_text(encoding="utf-8")
    return {entry["file"].removesuffix(".flac"): entry for entry in json.loads(text)["files"]}


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """The folder of the protocol reference and its golden events."""
    return _shared_folder("REALTIME_REFERENCE_DIR", "reference")


# --- which event types the oracle has met, workers of pytest-xdist included -------------------


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand this worker's counts to the process that prints the summary."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["seen"] = {dialect: dict(counts) for dialect, counts in SEEN.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the counts of a worker that ended."""
    for dialect, counts in getattr(node, "workeroutput", {}).get("seen", {}).items():
        SEEN[dialect].update(counts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which server event types the oracle has met in this run."""
    for line in seen_report():
        terminalreporter.write_line(line)
