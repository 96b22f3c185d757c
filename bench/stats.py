"""Summaries of samples; it knows no units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Summary:
    """What is told of a set of samples; all but `count` are in the unit of the samples."""

    count: int
    p50: float
    p99: float
    worst: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Summary:
        """Summarise; without samples every figure is 0, and shows as a gap."""
        if not samples:
            return cls(0, 0.0, 0.0, 0.0)
        p50, p99 = np.percentile(samples, (50, 99))
        return cls(len(samples), round(float(p50), 3), round(float(p99), 3), round(max(samples), 3))

    def shown(self, digits: int = 1) -> tuple[str, str, str]:
        """`p50`, `p99` and `worst` as table cells."""
        if not self.count:
            return "–", "–", "–"
        return f"{self.p50:.{digits}f}", f"{self.p99:.{digits}f}", f"{self.worst:.{digits}f}"


def median(samples: Sequence[float]) -> float:
    """The middle of the samples, NaN without any."""
    return float(np.median(samples)) if samples else float("nan")
