"""Deepgram's live wire: the address of a stream, and what its messages say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from protocol import ErrorCategory, Stage

from .stt_service import SAMPLE_RATE_HZ
from .vendor_socket import Vendor
from .words import is_cjk

DEEPGRAM: Final = Vendor(
    label="Deepgram",
    stage=Stage.STT,
    key_variable="DEEPGRAM_API_KEY",
    url_variable="DEEPGRAM_BASE_URL",
    codes={
        "INVALID_AUTH": ErrorCategory.AUTHENTICATION,
        "ASR_PAYMENT_REQUIRED": ErrorCategory.QUOTA,
        "INSUFFICIENT_CREDITS": ErrorCategory.QUOTA,
        "TOO_MANY_REQUESTS": ErrorCategory.RATE_LIMIT,
    },
)

KEEP_ALIVE: Final = {"type": "KeepAlive"}
FINALIZE: Final = {"type": "Finalize"}
CLOSE_STREAM: Final = {"type": "CloseStream"}

# Deepgram's own pieces overlap the audio's end by less than this.
_END_TOLERANCE_S: Final = 0.03
# Two positions in a stream that differ by less are the same.
_SAME_S: Final = 0.005


def stream_url(base_url: str, model: str, language: str, *, diarize: bool = False) -> str:
    """The address of a stream of s16le mono 16 kHz; with `diarize` its words have a speaker.

    `smart_format` is left alone: it holds back finals for up to 3 s to see whether a number goes
    on.
    """
    query = {
        "model": model,
        "language": language,
        "encoding": "linear16",
        "sample_rate": SAMPLE_RATE_HZ,
        "channels": 1,
        "interim_results": "true",
        "punctuate": "true",
        **({"diarize": "true"} if diarize else {}),
    }
    return f"{base_url}/v1/listen?{urlencode(query)}"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a result, as it is written there; seconds of the stream.

    Attributes:
        confidence: Deepgram's own measure from 0 to 1; it is no probability of a token.
        speaker: Counted from 0 as the stream goes on; None on streams that tell none apart.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float
    speaker: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """One result: what was said up to `end_s` of the stream, since the last final one.

    Attributes:
        final: It will not change any more.
        finalizes: It is the answer to our `Finalize`.
    """

    text: str
    end_s: float
    final: bool
    finalizes: bool
    words: tuple[Word, ...] = ()


def read_message(message: Mapping[str, Any]) -> Heard | None:
    """The result in a message; None for messages that hold none.

    Raises:
        ProviderError: it reports an error, or is not what it claims to be.
    """
    match message.get("type"):
        case "Results":
            try:
                best = message["channel"]["alternatives"][0]
                return Heard(
                    str(best["transcript"]).strip(),
                    float(message["start"]) + float(message["duration"]),
                    bool(message.get("is_final")),
                    bool(message.get("from_finalize")),
                    tuple(map(_read_word, best.get("words") or ())),
                )
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise DEEPGRAM.unreadable() from error
        case "Error":
            raise DEEPGRAM.reported(message)
        case str():
            return None
        case _:
            raise DEEPGRAM.unreadable()


def _read_word(word: Mapping[str, Any]) -> Word:
    speaker = word.get("speaker")
    return Word(
        str(word.get("punctuated_word") or word["word"]),
        float(word["start"]),
        float(word["end"]),
        float(word["confidence"]),
        None if speaker is None else int(speaker),
    )


@dataclass(slots=True)
class Transcript:
    """What was heard of one segment so far.

    Attributes:
        start_s: Where in the stream the segment begins.
    """

    start_s: float
    _text: str = ""
    _pending: str = ""
    _words: tuple[Word, ...] = ()
    _pending_words: tuple[Word, ...] = ()
    _final_until_s: float = field(default=0.0)

    def __post_init__(self) -> None:
        self._final_until_s = self.start_s

    @property
    def text(self) -> str:
        """What is final."""
        return self._text

    @property
    def hypothesis(self) -> str:
        """What is final, and what may still change."""
        return join_pieces(self._text, self._pending)

    @property
    def words(self) -> tuple[Word, ...]:
        """Those of `text`."""
        return self._words

    @property
    def hypothesis_words(self) -> tuple[Word, ...]:
        """Those of `hypothesis`."""
        return self._words + self._pending_words

    @property
    def final_until_s(self) -> float:
        """Up to where in the stream nothing changes any more."""
        return self._final_until_s

    def add(self, heard: Heard) -> bool:
        """Take a result; False when it belongs to an earlier segment of the stream."""
        if heard.end_s <= self.start_s + _SAME_S:
            return False
        if heard.final:
            self._text = join_pieces(self._text, heard.text)
            self._words += heard.words
            self._pending, self._pending_words = "", ()
            self._final_until_s = heard.end_s
        else:
            self._pending, self._pending_words = heard.text, heard.words
        return True

    def is_complete(self, end_s: float) -> bool:
        """Whether nothing of a segment that ends at `end_s` is still to be decided."""
        return self._final_until_s >= end_s - _END_TOLERANCE_S

    def is_settled(self, end_s: float, silent_s: float) -> bool:
        """Whether at most `silent_s` without a word are undecided."""
        return not self._pending and self._final_until_s >= end_s - silent_s


def join_pieces(first: str, second: str) -> str:
    """Two pieces of one transcript, with a space where the script has spaces."""
    if not first or not second:
        return first or second
    dense = is_cjk(second[0]) or is_cjk(first[-1]) or (first[-1] in "。，、！？；：")
    return f"{first}{second}" if dense else f"{first} {second}"
