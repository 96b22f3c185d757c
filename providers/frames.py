"""The frames by which our own services say what Pipecat's stock frames cannot.

They travel in band (data and control frames), so order is kept and an interruption drops them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pipecat.frames.frames import (
    AggregatedTextFrame,
    ControlFrame,
    DataFrame,
    Frame,
    SystemFrame,
)

from core.messages import FinishReason, GenerationRequest, WordTime
from protocol import ErrorCategory, Stage, Usage


@dataclass
class ResponseBeginFrame(ControlFrame):
    """Opens one response: everything up to its `ResponseEndFrame` belongs to it.

    A service may read `request` (voice, metadata, limits) until the next one arrives. Its speed is
    one that the synthesiser has; the speech is made `stretch` times faster behind it.
    """

    response_id: str
    request: GenerationRequest
    stretch: float = 1.0


@dataclass
class ResponseEndFrame(ControlFrame):
    """Closes a response: behind it nothing of that response follows."""

    response_id: str


@dataclass
class ToolCallStartedFrame(DataFrame):
    """The model began a function call."""

    call_id: str
    function_name: str
    """Not `name`: every Pipecat frame has one of its own."""


@dataclass
class ToolCallArgumentsFrame(DataFrame):
    """More of a call's argument JSON."""

    call_id: str
    delta: str


@dataclass
class ToolCallEndedFrame(DataFrame):
    """A call's arguments are complete."""

    call_id: str


@dataclass
class RecordingFrame(DataFrame):
    """Part of a reply that is recorded already: `text` in `pcm` (s16le mono 24 kHz)."""

    text: str
    pcm: bytes


@dataclass
class ModelFinishedFrame(DataFrame):
    """Why the model stopped, and what it counted."""

    reason: FinishReason
    usage: Usage


@dataclass
class StageFailedFrame(DataFrame):
    """A stage failed on this response; pushed downstream where the result would have been."""

    stage: Stage
    category: ErrorCategory
    message: str


@dataclass
class SettleFrame(SystemFrame):
    """The user pauses: what does the open segment say so far? `sample` tells pauses apart.

    Answered by a `SettledFrame`, by recognisers that can; speech may go on behind it. A system
    frame as the audio is, so that it stays behind the audio it is about.
    """

    sample: int


@dataclass
class SettledFrame(DataFrame):
    """All the words of a segment up to the pause at `sample`, as good as the final answer."""

    text: str
    sample: int


@dataclass
class ClauseFrame(AggregatedTextFrame):
    """Text to speak in one breath: `exact` is the model's own text, spaces included.

    With `recording` (s16le mono 24 kHz) that is played instead.
    """

    exact: str = ""
    recording: bytes | None = None


@dataclass
class WordTimesFrame(DataFrame):
    """Word times of the clause being spoken, offsets into the text given to `run_tts`."""

    words: tuple[WordTime, ...]


FrameT = TypeVar("FrameT", bound=Frame)


def answering(frame: FrameT, segment: str | None) -> FrameT:
    """The frame, marked as the recogniser's answer to that segment.

    `segment` is what the segment's `VADUserStartedSpeakingFrame` had under the same name in its
    metadata.
    """
    frame.metadata["segment"] = segment
    return frame
