"""Tells the core why a stage failed, in words that hold no secret."""

from __future__ import annotations

from typing import Final

from pipecat.frames.frames import ErrorFrame
from pipecat.utils.errors import ErrorCategory as PipecatCategory

from core.messages import Failure
from protocol import ErrorCategory, ProviderError, Stage

_CATEGORIES: Final = {
    PipecatCategory.AUTHENTICATION: ErrorCategory.AUTHENTICATION,
    PipecatCategory.AUTHORIZATION: ErrorCategory.AUTHENTICATION,
    PipecatCategory.INVALID_REQUEST: ErrorCategory.INVALID_REQUEST,
    PipecatCategory.APPLICATION: ErrorCategory.INVALID_REQUEST,
    PipecatCategory.RATE_LIMIT: ErrorCategory.RATE_LIMIT,
    PipecatCategory.QUOTA: ErrorCategory.QUOTA,
    PipecatCategory.CONNECTIVITY: ErrorCategory.CONNECTIVITY,
    PipecatCategory.SERVER: ErrorCategory.SERVER,
    PipecatCategory.UNKNOWN: ErrorCategory.SERVER,
}

_STAGE_NAMES: Final = {
    Stage.VAD: "Turn detection",
    Stage.STT: "Speech recognition",
    Stage.LLM: "The language model",
    Stage.TTS: "Speech synthesis",
}

_REASONS: Final = {
    ErrorCategory.AUTHENTICATION: "the provider refused the server's credentials",
    ErrorCategory.QUOTA: "the provider's quota is used up",
    ErrorCategory.RATE_LIMIT: "the provider is limiting requests",
    ErrorCategory.TIMEOUT: "the provider did not answer in time",
    ErrorCategory.CONNECTIVITY: "the provider could not be reached",
    ErrorCategory.SERVER: "the provider had an internal error",
    ErrorCategory.INVALID_REQUEST: "the provider refused the request",
    ErrorCategory.UNINTELLIGIBLE: "nothing could be made out",
}


def failure(stage: Stage, category: ErrorCategory) -> Failure:
    """The failure of a stage, told in general words."""
    return Failure(stage, category, f"{_STAGE_NAMES[stage]} failed: {_REASONS[category]}.")


def failure_of_error(stage: Stage, frame: ErrorFrame) -> Failure:
    """The failure behind Pipecat's `ErrorFrame`.

    Neither `frame.error` nor the exception's text is used, since vendors quote requests in them;
    only our own `ProviderError` promises to be fit for the client.
    """
    error = frame.exception
    if isinstance(error, ProviderError):
        return Failure(error.stage, error.category, error.message)
    # Pipecat counts a time-out as lack of connectivity.
    if isinstance(error, TimeoutError):
        return failure(stage, ErrorCategory.TIMEOUT)
    return failure(stage, _CATEGORIES[frame.category or PipecatCategory.UNKNOWN])
