"""The error bodies of OpenAI, SiliconFlow and Ollama, word for word where that is known."""

from __future__ import annotations

from typing import Any

from tests.doubles.modes import Mode

_OPENAI: dict[int, tuple[str, str, str | None, str | None]] = {
    400: ("The request is not valid.", "invalid_request_error", None, None),
    401: (
        "Incorrect API key provided: {key}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        "invalid_request_error",
        None,
        "invalid_api_key",
    ),
    403: ("You are not allowed to use this model.", "invalid_request_error", None, None),
    404: (
        "The model `gone` does not exist or you do not have access to it.",
        "invalid_request_error",
        None,
        "model_not_found",
    ),
    429: ("Rate limit reached for requests", "requests", None, "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", None, None),
    503: ("The engine is currently overloaded.", "server_error", None, None),
}
_CODES: dict[str, tuple[str, str, str | None]] = {
    "insufficient_quota": (
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        None,
    ),
    "unsupported_parameter": (
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "invalid_request_error",
        "max_tokens",
    ),
    "unsupported_value": (
        "Unsupported value: 'temperature' does not support 0.8 with this model.",
        "invalid_request_error",
        "temperature",
    ),
    "image": (
        "Invalid content type. image_url is only supported by certain models.",
        "invalid_request_error",
        "messages.[0].content.[0].type",
    ),
}

_SILICONFLOW: dict[int, Any] = {
    400: {
        "code": 20012,
        "message": "Model does not exist. Please check it carefully.",
        "data": None,
    },
    401: "Invalid token",
    403: {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None},
    404: "404 page not found",
    429: {"message": "Request was rejected due to rate limiting. If you want more, please contact"},
    503: {
        "code": 50505,
        "message": "Model service overloaded. Please try again later.",
        "data": None,
    },
}


def error_body(provider: str, mode: Mode, key: str) -> tuple[Any, bool]:
    """The body of an error and whether it is JSON; some of SiliconFlow's are not."""
    if mode.body is not None:
        return mode.body, not isinstance(mode.body, str)
    if provider == "siliconflow" and mode.status in _SILICONFLOW:
        return _SILICONFLOW[mode.status], mode.status != 404
    if provider == "ollama" and mode.status == 404:
        message = 'model "gone" not found, try pulling it first'
        return {"error": _error(message, "api_error", None, None)}, True
    if mode.code is not None:
        message, kind, param = _CODES[mode.code]
        code = None if mode.code == "image" else mode.code
        return {"error": _error(message, kind, param, code)}, True
    message, kind, param, code = _OPENAI.get(mode.status, _OPENAI[500])
    return {"error": _error(message.replace("{key}", key), kind, param, code)}, True


def _error(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": code}
