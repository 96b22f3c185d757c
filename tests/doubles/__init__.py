"""Vendors played on one local port, faithfully enough for their unmodified client libraries."""

from tests.doubles.modes import (
    HANG,
    MALFORMED,
    MIDCUT,
    OK,
    RESET,
    SLOW,
    Mode,
    raw,
    status,
)
from tests.doubles.running import refusing, running_double
from tests.doubles.server import Double, LoggedRequest

__all__ = [
    "HANG",
    "MALFORMED",
    "MIDCUT",
    "OK",
    "RESET",
    "SLOW",
    "Double",
    "LoggedRequest",
    "Mode",
    "raw",
    "refusing",
    "running_double",
    "status",
]
