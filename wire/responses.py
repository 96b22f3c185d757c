"""A response and a session as events show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wire.items import (
    Item,
)
from wire.session import (
    CustomVoice,
    Modality,
    PcmaFormat,
    PcmFormat,
    PcmuFormat,
    Session,
)

ResponseStatus = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
CancelReason = Literal["turn_detected", "client_cancelled"]
IncompleteReason = Literal["max_output_tokens", "content_filter"]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`status_details` of a cancelled response."""

    reason: CancelReason


@dataclass(frozen=True, slots=True)
class Incomplete:
    """`status_details` of a response the model could not finish."""

    reason: IncompleteReason


@dataclass(frozen=True, slots=True)
class Failed:
    """`status_details` of a failed response; the error never carries a secret."""

    type: str
    code: str
    message: str


StatusDetails = Cancelled | Incomplete | Failed


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one response.

    Text is counted by the language model. The model of a cascade hears and speaks text only, so
    speech is counted beside it as OpenAI counts it, by its length: what users said in the context
    of this response, and what was spoken in it. `estimated` says that the model gave no count and
    text was estimated by its length; the wire has no field for that.
    """

    input_text_tokens: int = 0
    cached_tokens: int = 0
    input_audio_tokens: int = 0
    output_text_tokens: int = 0
    output_audio_tokens: int = 0
    estimated: bool = False

    @property
    def input_tokens(self) -> int:
        return self.input_text_tokens + self.input_audio_tokens

    @property
    def output_tokens(self) -> int:
        return self.output_text_tokens + self.output_audio_tokens


@dataclass(frozen=True, slots=True)
class ResponseView:
    """A response as an event shows it, at the moment of that event."""

    id: str
    status: ResponseStatus
    status_details: StatusDetails | None
    output: tuple[Item, ...]
    conversation_id: str | None
    output_modalities: tuple[Modality, ...]
    max_output_tokens: int | Literal["inf"]
    audio_format: PcmFormat | PcmuFormat | PcmaFormat
    voice: str | CustomVoice
    usage: Usage | None
    metadata: dict[str, str] | None
    temperature: float


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as an event shows it: the effective settings and the connection's ids."""

    id: str
    expires_at: int
    settings: Session
