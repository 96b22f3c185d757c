"""Re-exports the tables of required keys of the conformance command's oracle."""

from conformance.oracle.required_keys import REQUIRED, check_bilingual_session, check_keys

__all__ = ["REQUIRED", "check_bilingual_session", "check_keys"]
