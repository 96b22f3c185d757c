"""Tells a failure of an OpenAI-compatible server in typed words that hold no secret."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import httpx2
from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, OpenAIError

from protocol import ErrorCategory, ProviderError, Stage

from .endpoint import Endpoint

FAILURES: Final = (
    OpenAIError,
    # Once a body is being read the SDK lets the transport's own errors through.
    httpx2.HTTPError,
    json.JSONDecodeError,
    UnicodeDecodeError,
    TimeoutError,
)
"""What a request may raise that is the server's or the network's doing."""

_QUOTA_CODES: Final = frozenset(
    # 30001 is SiliconFlow's "account balance is insufficient", which comes as a 403.
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "30001"}
)
_NO_MODEL_CODES: Final = frozenset({"model_not_found", "20012"})
"""20012 is SiliconFlow's "Model does not exist", which comes as a 400."""

# Vendors put short names here. A longer text may quote the request, or the key.
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,60}")


def provider_error(stage: Stage, endpoint: Endpoint, error: Exception) -> ProviderError:
    """The failure behind one of `FAILURES`."""
    category, message = _told(endpoint, error)
    return ProviderError(stage, category, f"{endpoint.label} {message}.")


def request_id(error: Exception) -> str:
    """What the vendor's support asks for, "" when there is none."""
    if not isinstance(error, APIStatusError):
        return ""
    headers = error.response.headers
    return str(headers.get("x-request-id") or headers.get("x-siliconcloud-trace-id") or "")[:80]


def _told(endpoint: Endpoint, error: Exception) -> tuple[ErrorCategory, str]:
    match error:
        case APIStatusError():
            return _told_status(endpoint, error)
        case APITimeoutError() | TimeoutError() | httpx2.TimeoutException():
            if isinstance(error.__cause__, httpx2.ConnectTimeout):
                return _unreachable(endpoint)
            return ErrorCategory.TIMEOUT, "did not answer in time"
        case APIConnectionError() | httpx2.HTTPError():
            if isinstance(error.__cause__ or error, httpx2.ConnectError):
                return _unreachable(endpoint)
            return ErrorCategory.CONNECTIVITY, "broke the connection"
        case APIError():
            return _told_event(error)
        case _:
            return ErrorCategory.SERVER, "sent an answer that cannot be read"


def _unreachable(endpoint: Endpoint) -> tuple[ErrorCategory, str]:
    return (
        ErrorCategory.CONNECTIVITY,
        f"could not be reached at {endpoint.host}: check {endpoint.url_variable}",
    )


def _told_status(endpoint: Endpoint, error: APIStatusError) -> tuple[ErrorCategory, str]:
    status = error.status_code
    codes = _codes(error)
    http = f"(HTTP {status})"
    if codes & _QUOTA_CODES or status == 402:
        return ErrorCategory.QUOTA, f"says that the account's quota is used up {http}"
    if codes & _NO_MODEL_CODES:
        return (
            ErrorCategory.INVALID_REQUEST,
            f"has no model {endpoint.model!r} {http}: check {endpoint.model_variable}",
        )
    match status:
        case 401:
            return (
                ErrorCategory.AUTHENTICATION,
                f"refused the API key {http}: check {endpoint.key_variable}",
            )
        case 403:
            return (
                ErrorCategory.AUTHENTICATION,
                f"denied access {http}: check what {endpoint.key_variable} may do",
            )
        case 404:
            return (
                ErrorCategory.INVALID_REQUEST,
                f"has no model {endpoint.model!r}, or no such address {http}: "
                f"check {endpoint.model_variable} and {endpoint.url_variable}",
            )
        case 429:
            return ErrorCategory.RATE_LIMIT, f"is limiting requests {http}"
        case 408 | 504:
            return ErrorCategory.TIMEOUT, f"did not answer in time {http}"
        case _ if status >= 500:
            return ErrorCategory.SERVER, f"had an internal error {http}"
        case _:
            return (
                ErrorCategory.INVALID_REQUEST,
                f"refused the request {http[:-1]}{_detail(error)})",
            )


def _told_event(error: APIError) -> tuple[ErrorCategory, str]:
    """An error that came inside a stream, or an answer that is not of the promised shape."""
    codes = _codes(error)
    if codes & _QUOTA_CODES:
        return ErrorCategory.QUOTA, "says that the account's quota is used up"
    if any("rate_limit" in code for code in codes) or "429" in codes:
        return ErrorCategory.RATE_LIMIT, "is limiting requests"
    if "invalid_request_error" in codes:
        return ErrorCategory.INVALID_REQUEST, f"refused the request (in its stream{_detail(error)})"
    return ErrorCategory.SERVER, "broke off with an error of its own"


def _codes(error: APIError) -> set[str]:
    body = error.body if isinstance(error.body, dict) else {}
    return {str(value) for value in (error.code, error.type, body.get("code")) if value}


def _detail(error: APIError) -> str:
    """The vendor's short names for what was wrong; never its prose, which quotes requests."""
    names: list[tuple[str, Any]] = [("code", error.code), ("parameter", error.param)]
    return "".join(
        f", {name} {value}"
        for name, value in names
        if isinstance(value, str | int) and _IDENTIFIER.fullmatch(str(value))
    )
