"""How a response ended, in the words of `response.done`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from core.messages import Failure, FinishReason
from protocol import (
    Cancelled,
    CancelReason,
    ErrorCategory,
    Failed,
    Incomplete,
    ItemStatus,
    ResponseStatus,
    StatusDetails,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a response; `items` is what becomes of those still open."""

    status: ResponseStatus
    details: StatusDetails | None
    items: ItemStatus


COMPLETED = Outcome("completed", None, "completed")


def finished(reason: FinishReason) -> Outcome:
    """The model came to an end of its own, or to one that it was set."""
    match reason:
        case "length":
            return Outcome("incomplete", Incomplete("max_output_tokens"), "incomplete")
        case "content_filter":
            return Outcome("incomplete", Incomplete("content_filter"), "incomplete")
        case "stop" | "tool_calls":
            return COMPLETED
        case _:
            assert_never(reason)


def cancelled(reason: CancelReason) -> Outcome:
    """The client or its user broke it off."""
    return Outcome("cancelled", Cancelled(reason), "incomplete")


def failed(failure: Failure) -> Outcome:
    """A stage failed; the codes of `status_details.error` are those that clients know (§5)."""
    match failure.category:
        case ErrorCategory.QUOTA:
            kind, code = "insufficient_quota", "insufficient_quota"
        case ErrorCategory.RATE_LIMIT:
            kind, code = "rate_limit_error", "rate_limit_exceeded"
        case ErrorCategory.CONTEXT_LENGTH:
            kind, code = "invalid_request_error", "context_length_exceeded"
        case ErrorCategory.INVALID_REQUEST:
            kind, code = "invalid_request_error", "invalid_value"
        case _:
            kind, code = "server_error", "server_error"
    return Outcome("failed", Failed(kind, code, failure.message), "incomplete")
