"""What a response has cost: what the model and the clock have counted, or an estimate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from core.context import ModelContext
from core.tokens import output_audio_tokens, text_tokens
from protocol import Usage


@dataclass(slots=True)
class ResponseUsage:
    """Grows with its response.

    Attributes:
        context: What went in; None as long as nothing did.
        counted: What the model has counted itself.
        written: All that it wrote.
        audio_ms: How much speech was sent.
    """

    context: ModelContext | None = None
    counted: Usage = field(default_factory=Usage)
    written: list[str] = field(default_factory=list[str])
    audio_ms: float = 0.0

    def total(self) -> Usage:
        """The cost by now.

        A response that was cut short has cost what went in and what had come out by then.
        """
        if self.context is None:
            return self.counted
        usage = replace(
            self.counted,
            input_audio_tokens=self.context.audio_tokens,
            output_audio_tokens=output_audio_tokens(self.audio_ms),
        )
        if usage.input_text_tokens or usage.output_text_tokens:
            return usage
        return replace(
            usage,
            input_text_tokens=self.context.text_tokens,
            output_text_tokens=text_tokens("".join(self.written)),
            estimated=True,
        )
