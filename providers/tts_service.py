"""The Pipecat side of a voice of our own: clauses in, word times and audio out, one at a time.

An engine only implements `ClauseTTSService.synthesize`; frame order, the closing of audio
contexts and failures in band are settled here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

from pipecat.frames.frames import (
    AggregatedTextFrame,
    EndFrame,
    Frame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from core.messages import GenerationRequest, WordTime
from protocol import ProviderError

from .frames import ClauseFrame, ResponseBeginFrame, StageFailedFrame, WordTimesFrame
from .recording import play

SAMPLE_RATE_HZ = 24_000

Speech = AsyncGenerator[tuple[WordTime, ...] | bytes, None]
"""What `ClauseTTSService.synthesize` gives."""

# A turn of ours is closed by its `LLMFullResponseEndFrame`, never by silence: a model that thinks
# for longer than Pipecat's 3 s must not get its audio context closed between two clauses.
_CONTEXT_IDLE_S = 3600.0

_NO_RESPONSE = GenerationRequest(
    messages=(),
    instructions="",
    tools=(),
    tool_choice="auto",
    speak=True,
    voice="",
    speed=1.0,
    max_output_tokens=None,
    temperature=0.8,
)


class ClauseTTSService(TTSService):
    """Speaks the `ClauseFrame`s of a response in their order.

    Downstream, per clause: the `ClauseFrame` itself, any `WordTimesFrame`s, `TTSAudioRawFrame`s
    (s16le mono 24 kHz). Control frames keep their place among them. When the engine fails, a
    `StageFailedFrame` takes the place of the rest of the audio and the remaining clauses of that
    turn pass unspoken.
    """

    def __init__(self) -> None:
        super().__init__(
            sample_rate=SAMPLE_RATE_HZ,
            push_start_frame=True,
            push_stop_frames=True,
            push_text_frames=False,
            stop_frame_timeout_s=_CONTEXT_IDLE_S,
            max_consecutive_zero_audio_contexts=0,
            settings=TTSSettings(model=None, voice=None, language=None),
        )
        self.resolve_voice: Callable[[GenerationRequest], GenerationRequest] = lambda asked: asked
        """Brings the voice of a request to a name of the engine."""
        self.shape_speech: Callable[[Speech], Speech] = lambda speech: speech
        """Makes of each clause's speech what is sent: its timing, or what a test wants wrong."""
        self.response_id: str | None = None
        """The response that is being spoken."""
        self._request = _NO_RESPONSE
        self._recording: ClauseFrame | None = None
        self._turn_failed = False

    @abstractmethod
    def synthesize(
        self, text: str, request: GenerationRequest
    ) -> AsyncIterator[tuple[WordTime, ...] | bytes]:
        """Speak one clause; implemented as an async generator.

        Args:
            text: The clause; never blank.
            request: The response it belongs to: voice and speed are of interest.

        Yields:
            Tuples of word times (offsets into `text`, each word once) and s16le mono 24 kHz PCM.
            It is closed early when the response is interrupted.

        Raises:
            ProviderError: the clause cannot be spoken (any further).
        """

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Pipecat's hook: the frames of one clause."""
        if self._turn_failed:
            return
        # `synthesize` is an async generator by contract: an interruption must close it at once
        # (it cancels the engine's work there), not when the garbage collector finds it.
        recording, self._recording = self._recording, None
        spoken = self.synthesize(text, self._request) if recording is None else _played(recording)
        speech = self.shape_speech(cast(Speech, spoken))
        try:
            async with aclosing(speech):
                async for piece in speech:
                    if isinstance(piece, bytes):
                        yield TTSAudioRawFrame(piece, SAMPLE_RATE_HZ, 1, context_id=context_id)
                    else:
                        yield WordTimesFrame(piece)
        except ProviderError as error:
            self._turn_failed = True
            yield StageFailedFrame(error.stage, error.category, error.message)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, ResponseBeginFrame):
            self.response_id = frame.response_id
            self._request = self.resolve_voice(frame.request)
        await super().process_frame(frame, direction)

    async def stop(self, frame: EndFrame) -> None:
        # The base class waits for open audio contexts to end before it would end this one.
        await self.on_turn_context_completed()
        await super().stop(frame)

    async def on_turn_context_created(self, context_id: str) -> None:
        self._turn_failed = False

    async def on_turn_context_completed(self) -> None:
        """End the turn's audio context at once.

        The base class does so only if the last clause made audio; otherwise everything behind
        the context (our `ResponseEndFrame`) would wait for the idle timeout.
        """
        context_id, self._turn_context_id = self._turn_context_id, None
        if context_id is not None and self.audio_context_available(context_id):
            await self.append_to_audio_context(context_id, TTSStoppedFrame(context_id=context_id))
            await self.remove_audio_context(context_id)

    async def _handle_aggregated_text(
        self, src_frame: AggregatedTextFrame, context_id: str | None = None
    ) -> None:
        if not src_frame.text.strip():
            # The base class swallows what cannot be spoken; the transcript needs it, in order.
            await self._announce_text(src_frame, context_id or self.create_context_id())
            return
        # A clause outside a turn (left over by an interruption) is a turn of its own: a context
        # that nobody ends would hold back the next response.
        alone = context_id is None and self._turn_context_id is None
        if alone:
            self._turn_context_id = self.create_context_id()
            await self.on_turn_context_created(self._turn_context_id)
        if isinstance(src_frame, ClauseFrame) and src_frame.recording is not None:
            self._recording = src_frame
        await super()._handle_aggregated_text(src_frame, context_id)
        if alone:
            await self.on_turn_context_completed()

    async def _register_spoken_text(
        self, src_frame: AggregatedTextFrame, text: str, context_id: str
    ) -> None:
        """Keep no account of spoken words.

        `WordTimesFrame` tells them. Pipecat's own account serves its context aggregators, and
        takes time with the square of the clause: 1 ms at 440 characters, 90 ms at 4400.
        """

    async def _record_context_audio_outcome(self, context_id: str, received_audio: bool) -> None:
        """Report nothing: a turn without audio was blank or has its `StageFailedFrame`."""


async def _played(clause: ClauseFrame) -> Speech:
    """A recording in place of the engine's speech."""
    for piece in play(clause.recording or b"", clause.text):
        yield piece
