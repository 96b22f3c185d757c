"""OpenAI's transcription wire beside the words: what each model can tell, and how it tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from core.messages import Passage
from protocol import TokenLogprob

from .endpoint import Endpoint
from .recognition import Recognition, along
from .segment_stt import Utterance

_DIARISING: Final = "diarize"
"""In the name of a model that tells speakers apart whenever it is asked anything."""
_TOKEN_LOGPROBS: Final = ("gpt-4o-transcribe", "gpt-4o-mini-transcribe")
"""The models that give log probabilities of tokens; `gpt-transcribe` is not among them."""
_SEGMENT_LOGPROBS: Final = "whisper"
"""In the names of models whose servers know `verbose_json`, whoever runs them."""


def transcription_parameters(endpoint: Endpoint, utterance: Utterance) -> dict[str, Any]:
    """What goes with file and model: hints that the model takes, and what is wanted of it."""
    model = endpoint.model
    if endpoint.is_siliconflow:
        # Its API has file and model and nothing else, whichever provider is led there.
        return {}
    if _DIARISING in model:
        # It takes no prompt and gives no log probabilities; without `chunking_strategy` it
        # refuses more than 30 s.
        asked: dict[str, Any] = {"response_format": "diarized_json", "chunking_strategy": "auto"}
        hints = {"language": utterance.language_code}
    else:
        asked = _logprob_parameters(model) if utterance.logprobs else {}
        hints = {"language": utterance.language_code, "prompt": utterance.prompt}
    return {**{name: value for name, value in hints.items() if value}, **asked}


def _logprob_parameters(model: str) -> dict[str, Any]:
    if model.startswith(_TOKEN_LOGPROBS):
        return {"response_format": "json", "include": ["logprobs"]}
    return {"response_format": "verbose_json"} if _SEGMENT_LOGPROBS in model else {}


def read_transcription(answer: Any) -> Recognition:
    """What the SDK made of an answer.

    Servers leave out what they do not know; what is there decides.

    Raises:
        ValueError: it has no text; the SDK hands on a text as a text, be it the error page of a
            proxy.
    """
    text = getattr(answer, "text", None)
    if not isinstance(text, str):
        raise ValueError("no transcript")
    text = text.strip()
    tokens: Iterable[Any] = getattr(answer, "logprobs", None) or ()
    segments: Iterable[Any] = getattr(answer, "segments", None) or ()
    return Recognition(
        text,
        tuple(_token(token) for token in tokens if token.logprob is not None)
        or along(text, _means(segments)),
        tuple(_passage(segment) for segment in segments if hasattr(segment, "speaker")),
    )


def _token(token: Any) -> TokenLogprob:
    encoded = None if token.bytes is None else bytes(int(byte) for byte in token.bytes)
    return TokenLogprob(token.token or "", min(token.logprob, 0.0), encoded)


def _means(segments: Iterable[Any]) -> list[tuple[str, float]]:
    return [
        (segment.text.strip(), min(mean, 0.0))
        for segment in segments
        if (mean := getattr(segment, "avg_logprob", None)) is not None
    ]


def _passage(segment: Any) -> Passage:
    return Passage(segment.text.strip(), segment.speaker, segment.start, segment.end)
