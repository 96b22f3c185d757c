"""All checks: importing this package registers them, in the order of the report."""

from conformance.checks import (
    barge_in,
    connection,
    errors,
    function_calls,
    input_audio,
    items,
    out_of_band,
    responses,
    session,
    transcription,
    turn_detection,
)

__all__ = [
    "barge_in",
    "connection",
    "errors",
    "function_calls",
    "input_audio",
    "items",
    "out_of_band",
    "responses",
    "session",
    "transcription",
    "turn_detection",
]
