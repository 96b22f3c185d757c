"""The oracle: whether what a server put on the wire is the OpenAI Realtime protocol."""

from conformance.oracle.facade import Finding, Opening, Oracle
from conformance.oracle.required_keys import check_keys
from conformance.oracle.schema import Dialect, WireEvent, check_event
from conformance.oracle.sequence import SequenceChecker

__all__ = [
    "Dialect",
    "Finding",
    "Opening",
    "Oracle",
    "SequenceChecker",
    "WireEvent",
    "check_event",
    "check_keys",
]
