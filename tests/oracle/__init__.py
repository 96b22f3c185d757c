"""The oracle: whether what a server put on the wire is the OpenAI Realtime protocol."""

from tests.oracle.facade import SEEN, Oracle, seen_report
from tests.oracle.required_keys import check_keys
from tests.oracle.schema import Dialect, WireEvent, check_event
from tests.oracle.sequence import SequenceChecker

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
