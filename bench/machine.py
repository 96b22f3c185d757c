"""Says what a run was made on, without naming the machine or any path of it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("pipecat-ai", "uvicorn", "websockets", "uvloop", "onnxruntime", "soxr", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the figures come from; they compare only with figures of the same run."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    packages: dict[str, str]


def describe() -> Machine:
    """This machine and the versions that matter."""
    return Machine(
        cpu=_cpu_model(),
        cores=psutil.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
    )


def load_average() -> float:
    """Runnable processes of the whole machine over the last minute; ours are among them."""
    return round(os.getloadavg()[0], 2)


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
