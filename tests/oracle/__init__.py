"""The oracle of the conformance command, as the tests use it: it counts and it asserts."""

from conformance.oracle import Dialect, SequenceChecker, WireEvent, check_event, check_keys
from tests.oracle.facade import SEEN, Oracle, seen_report

__all__ = [
    "SEEN",
    "Dialect",
    "Oracle",
    "SequenceChecker",
    "WireEvent",
    "check_event",
    "check_keys",
    "seen_report",
]
