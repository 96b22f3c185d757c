"""Re-exports the schema check of the conformance command's oracle."""

from conformance.oracle.schema import Dialect, WireEvent, check_event, event_types

__all__ = ["Dialect", "WireEvent", "check_event", "event_types"]
