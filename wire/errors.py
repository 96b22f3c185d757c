"""The errors this gateway raises on purpose, and the codes a client reads."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """The `error.code` values of protocol reference §5 that this server sends."""

    INVALID_JSON = "invalid_json"
    INVALID_EVENT = "invalid_event"
    INVALID_VALUE = "invalid_value"
    INVALID_TYPE = "invalid_type"
    INVALID_PARAMETER = "invalid_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    MISSING_REQUIRED_PARAMETER = "missing_required_parameter"
    INTEGER_BELOW_MIN = "integer_below_min_value"
    INTEGER_ABOVE_MAX = "integer_above_max_value"
    DECIMAL_BELOW_MIN = "decimal_below_min_value"
    DECIMAL_ABOVE_MAX = "decimal_above_max_value"
    STRING_ABOVE_MAX_LENGTH = "string_above_max_length"
    COMMIT_EMPTY = "input_audio_buffer_commit_empty"
    RESPONSE_ACTIVE = "conversation_already_has_active_response"
    CANCEL_NOT_ACTIVE = "response_cancel_not_active"
    CANNOT_UPDATE_VOICE = "cannot_update_voice"
    ITEM_DELETE_UNKNOWN = "item_delete_invalid_item_id"
    ITEM_RETRIEVE_UNKNOWN = "item_retrieve_invalid_item_id"
    ITEM_TRUNCATE_UNKNOWN = "item_truncate_invalid_item_id"
    ITEM_CREATE_UNKNOWN_PREVIOUS = "item_create_invalid_previous_item_id"
    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
    INVALID_API_KEY = "invalid_api_key"
    INVALID_MODEL = "invalid_model"
    BETA_DISABLED = "beta_api_shape_disabled"
    SESSION_EXPIRED = "session_expired"


class RealtimeError(Exception):
    """Base of every error this gateway raises on purpose."""


class InvalidRequest(RealtimeError):
    """A client event that cannot be carried out; nothing of it was applied.

    Args:
        code: One of `ErrorCode`, or None where OpenAI sends none.
        message: What was wrong and what is allowed; never a key, audio or transcript.
        param: Path of the offending field, e.g. `session.audio.input.format.rate`.
        event_id: The client's `event_id`; filled in by the caller that knows the event.
    """

    def __init__(
        self,
        code: ErrorCode | None,
        message: str,
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id


class Stage(StrEnum):
    """The pipeline stage an engine serves."""

    VAD = "vad"
    STT = "stt"
    LLM = "llm"
    TTS = "tts"


class ErrorCategory(StrEnum):
    """What kind of failure a provider had: says whether a retry makes sense."""

    AUTHENTICATION = "authentication"
    QUOTA = "quota"
    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    CONNECTIVITY = "connectivity"
    SERVER = "server"
    INVALID_REQUEST = "invalid_request"
    UNINTELLIGIBLE = "unintelligible"
    CONTEXT_LENGTH = "context_length"

    @property
    def retryable(self) -> bool:
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        ErrorCategory.RATE_LIMIT,
        ErrorCategory.TIMEOUT,
        ErrorCategory.CONNECTIVITY,
        ErrorCategory.SERVER,
    }
)


class ProviderError(RealtimeError):
    """A pipeline stage failed while it served one turn.

    Args:
        stage: Which stage.
        category: Whether a retry makes sense.
        message: Free of secrets, audio and transcripts: it reaches the client.
    """

    def __init__(self, stage: Stage, category: ErrorCategory, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.category = category
        self.message = message


class ConfigError(RealtimeError):
    """A setting that the process cannot start with.

    Args:
        variable: The environment variable to change.
        message: What was wrong and what is allowed.
    """

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(f"{variable}: {message}")
        self.variable = variable


class Disconnected(Exception):
    """The connection is over: the client left, or it was cut off because it does not read.

    Args:
        code: The WebSocket close code.
        reason: The close reason, if any.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".strip())
        self.code = code
        self.reason = reason


class ConnectionRefused(RealtimeError):
    """A handshake that ends in an `error` event and a close, by protocol reference §1.7.

    Args:
        code: `error.code`, None for a missing credential.
        message: Text of the error.
        close_code: 3000 for credentials, 4000 for requests, 1001 for expiry.
    """

    def __init__(self, code: ErrorCode | None, message: str, close_code: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.close_code = close_code

    @property
    def close_reason(self) -> str:
        """`<error.type>[.<error.code>]`, as OpenAI words it (at most 123 bytes)."""
        return "invalid_request_error" + (f".{self.code}" if self.code else "")
