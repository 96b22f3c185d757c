"""The frames by which our own services say what Pipecat's stock frames cannot.

They travel in band (data and control frames), so order is kept and an interruption drops them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pipecat.frames.frames import AggregatedTextFrame, ControlFrame, DataFrame, Frame

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
class ClauseFrame(AggregatedTextFrame):
    """Text to speak in one breath: `exact` is the model's own text, spaces included."""

    exact: str = ""


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
