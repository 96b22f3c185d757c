"""The taps behind the language model and at the tail: frames in, engine events out."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from pipecat.frames.frames import (
    AggregatedTextFrame,
    Frame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    SystemFrame,
    TTSAudioRawFrame,
)
from pipecat.metrics.metrics import LLMUsageMetricsData
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from core.messages import (
    Failure,
    ModelFinished,
    ModelText,
    SpeechAudio,
    SpeechText,
    SpeechWords,
    ToolCallArguments,
    ToolCallEnded,
    ToolCallStarted,
    WordTime,
)
from protocol import SAMPLE_RATE_HZ, Usage
from providers.frames import (
    ClauseFrame,
    ModelFinishedFrame,
    RecordingFrame,
    ResponseBeginFrame,
    ResponseEndFrame,
    StageFailedFrame,
    ToolCallArgumentsFrame,
    ToolCallEndedFrame,
    ToolCallStartedFrame,
    WordTimesFrame,
)

from .outlet import ResponseOutlet
from .resample import PcmResampler
from .speech_feed import UnspokenTextFrame
from .time_stretch import TimeStretch


@dataclass
class MarkerFrame(SystemFrame):
    """Does nothing; that it has reached the tail says that the pipeline has started."""


@dataclass(slots=True)
class _Reply:
    response_id: str
    speak: bool
    called_tools: bool = False
    finished: bool = False
    usage: Usage = field(default_factory=Usage)


class ModelTap(FrameProcessor):
    """Reports what the model says at once, and lets only what is to be spoken go on.

    Runs in the model's own push (direct mode), so tool calls and text never wait behind speech.
    """

    def __init__(self, outlet: ResponseOutlet) -> None:
        super().__init__(enable_direct_mode=True)
        self._outlet = outlet
        self._reply: _Reply | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM or self._passes(frame):
            await self.push_frame(frame, direction)

    def _passes(self, frame: Frame) -> bool:
        """Report the frame; says whether it goes on."""
        match frame:
            case ResponseBeginFrame():
                # Overtaken by its own interruption: it must not open what is already over.
                if not self._outlet.is_live(frame.response_id):
                    return False
                self._reply = _Reply(frame.response_id, frame.request.speak)
                return True
            case InterruptionFrame():
                self._reply = None
                return True
            case (
                LLMTextFrame()
                | RecordingFrame()
                | LLMFullResponseStartFrame()
                | LLMFullResponseEndFrame()
                | ToolCallStartedFrame()
                | ToolCallArgumentsFrame()
                | ToolCallEndedFrame()
                | FunctionCallsStartedFrame()
                | FunctionCallInProgressFrame()
                | FunctionCallResultFrame()
                | ModelFinishedFrame()
                | StageFailedFrame()
                | MetricsFrame()
                | ResponseEndFrame()
            ):
                reply = self._reply
                if reply is None or not self._outlet.is_live(reply.response_id):
                    return False
                return self._report(reply, frame)
            case _:
                return True

    def _report(self, reply: _Reply, frame: Frame) -> bool:
        response_id = reply.response_id
        match frame:
            case LLMTextFrame() | RecordingFrame():
                if frame.text:
                    self._outlet.pass_on(ModelText(response_id, frame.text))
                return reply.speak
            case LLMFullResponseStartFrame():
                return reply.speak
            case LLMFullResponseEndFrame():
                self._finish(reply)
                return reply.speak
            case ResponseEndFrame():
                self._finish(reply)
                return True
            case ToolCallStartedFrame():
                reply.called_tools = True
                self._outlet.pass_on(
                    ToolCallStarted(response_id, frame.call_id, frame.function_name)
                )
            case ToolCallArgumentsFrame():
                self._outlet.pass_on(ToolCallArguments(response_id, frame.call_id, frame.delta))
            case ToolCallEndedFrame():
                self._outlet.pass_on(ToolCallEnded(response_id, frame.call_id))
            case FunctionCallsStartedFrame():
                self._report_stock_calls(reply, frame)
            case ModelFinishedFrame():
                reply.finished = True
                self._outlet.pass_on(ModelFinished(response_id, frame.reason, frame.usage))
            case MetricsFrame():
                reply.usage = _usage(frame) or reply.usage
            case StageFailedFrame():
                self._outlet.fail(Failure(frame.stage, frame.category, frame.message))
            case _:
                pass
        return False

    def _report_stock_calls(self, reply: _Reply, frame: FunctionCallsStartedFrame) -> None:
        reply.called_tools = True
        for call in frame.function_calls:
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            ids = reply.response_id, call.tool_call_id
            self._outlet.pass_on(ToolCallStarted(*ids, call.function_name))
            self._outlet.pass_on(ToolCallArguments(*ids, arguments))
            self._outlet.pass_on(ToolCallEnded(*ids))

    def _finish(self, reply: _Reply) -> None:
        """Say that the model has ended where its service does not say so itself."""
        if not reply.finished:
            reply.finished = True
            reason = "tool_calls" if reply.called_tools else "stop"
            self._outlet.pass_on(ModelFinished(reply.response_id, reason, reply.usage))


class SpeechTap(FrameProcessor):
    """Reports speech in the order it comes, and the end of each response.

    Runs in the synthesiser's own push (direct mode). Whatever comes here belongs to the last
    `ResponseBeginFrame`, except audio of a synthesis context that none of its clauses has named:
    a synthesiser that streams may hand in audio of a cut response when the next has begun.
    """

    def __init__(self, outlet: ResponseOutlet) -> None:
        super().__init__(enable_direct_mode=True)
        self._outlet = outlet
        self._response_id: str | None = None
        self._indent = 0
        self._resampler: PcmResampler | None = None
        self._speed = 1.0
        self._stretch: TimeStretch | None = None
        self._contexts: set[str] = set()
        self._expected: tuple[SystemFrame, asyncio.Future[None]] | None = None

    def expect(self, frame: InterruptionFrame | MarkerFrame) -> asyncio.Future[None]:
        """Announce a frame; the future is done when it has come through to the tail."""
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected = (frame, arrival)
        return arrival

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM or self._passes(frame):
            await self.push_frame(frame, direction)

    def _passes(self, frame: Frame) -> bool:
        match frame:
            case ResponseBeginFrame():
                self._begin(frame.response_id, frame.stretch)
            case TTSAudioRawFrame() | AggregatedTextFrame():
                if self._belongs(frame):
                    self._report_speech(frame)
            case WordTimesFrame():
                self._report_words(frame)
            case UnspokenTextFrame():
                self._report_text(frame.text)
            case StageFailedFrame():
                if self._outlet.is_live(self._response_id):
                    self._outlet.fail(Failure(frame.stage, frame.category, frame.message))
            case ResponseEndFrame():
                self._end(frame.response_id)
            case InterruptionFrame():
                self._forget()
                self._arrive(frame)
                return True
            case MarkerFrame():
                self._arrive(frame)
            case _:
                return True
        return False

    def _begin(self, response_id: str, speed: float) -> None:
        self._contexts.clear()
        self._resampler = None
        self._stretch = None
        self._speed = speed
        self._indent = 0
        self._response_id = response_id if self._outlet.is_live(response_id) else None

    def _end(self, response_id: str) -> None:
        if response_id == self._response_id:
            self._flush_audio()
            self._response_id = None
            self._outlet.end(response_id)

    def _forget(self) -> None:
        self._response_id = None
        self._resampler = None
        self._stretch = None
        self._contexts.clear()

    def _arrive(self, frame: SystemFrame) -> None:
        if self._expected is not None and frame is self._expected[0]:
            arrival = self._expected[1]
            if not arrival.done():
                arrival.set_result(None)

    def _belongs(self, frame: TTSAudioRawFrame | AggregatedTextFrame) -> bool:
        """Whether the frame is the live response's; a text's context is from then on, too."""
        if not self._outlet.is_live(self._response_id):
            return False
        context_id = frame.context_id
        if context_id is None or context_id in self._contexts:
            return True
        if isinstance(frame, AggregatedTextFrame):
            self._contexts.add(context_id)
            return True
        return False

    def _report_speech(self, frame: TTSAudioRawFrame | AggregatedTextFrame) -> None:
        if isinstance(frame, ClauseFrame):
            self._flush_audio()
            self._indent = max(frame.exact.find(frame.text), 0)
            self._report_text(frame.exact)
        elif isinstance(frame, TTSAudioRawFrame):
            self._report_audio(frame)

    def _report_text(self, text: str) -> None:
        if self._response_id is not None:
            self._outlet.pass_on(SpeechText(self._response_id, text))

    def _report_words(self, frame: WordTimesFrame) -> None:
        if self._response_id is None:
            return
        words = tuple(
            WordTime(
                word.start + self._indent,
                word.end + self._indent,
                round(word.start_ms / self._speed),
            )
            for word in frame.words
        )
        self._outlet.pass_on(SpeechWords(self._response_id, words))

    def _report_audio(self, frame: TTSAudioRawFrame) -> None:
        pcm = frame.audio
        if frame.sample_rate != SAMPLE_RATE_HZ:
            if self._resampler is None:
                self._resampler = PcmResampler(frame.sample_rate, SAMPLE_RATE_HZ)
            pcm = self._resampler.resample(pcm)
        self._pass_audio(self._at_speed(pcm))

    def _flush_audio(self) -> None:
        """End a clause's audio, so that none of it is counted to the next clause."""
        if self._resampler is not None:
            self._pass_audio(self._at_speed(self._resampler.flush()))
            self._resampler = None
        if self._stretch is not None:
            self._pass_audio(self._stretch.flush())
            self._stretch = None

    def _at_speed(self, pcm: bytes) -> bytes:
        """The audio at the speed that was asked for, each clause an utterance of its own."""
        if self._speed == 1.0:
            return pcm
        if self._stretch is None:
            self._stretch = TimeStretch(self._speed)
        return self._stretch.process(pcm)

    def _pass_audio(self, pcm: bytes) -> None:
        if pcm and self._response_id is not None:
            self._outlet.pass_on(SpeechAudio(self._response_id, pcm))


def _usage(frame: MetricsFrame) -> Usage | None:
    for item in frame.data:
        if isinstance(item, LLMUsageMetricsData):
            return Usage(
                input_text_tokens=item.value.prompt_tokens,
                cached_tokens=item.value.cache_read_input_tokens or 0,
                output_text_tokens=item.value.completion_tokens,
            )
    return None
