"""A stock Pipecat session behind the gateway's own front, as Pipecat's guides build one.

Its FastAPI transport, user and assistant aggregators and `SileroVADAnalyzer` as they are; what is
ours is a serializer of the few events that the load client needs, and engines that answer at once.
Where Pipecat lets one choose, the choice is the cheaper one: no RTVI, no observers, no idle watch;
a turn ends with the silence window, and not with a second model's word or a timer on top.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pybase64
from fastapi import WebSocket
from loguru import logger
from pipecat.audio.utils import create_stream_resampler
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.services.settings import STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner

from providers import tone
from providers.scripted_llm import ScriptedLlmProvider

from . import front

_CLIENT_RATE_HZ = 24_000
_ENGINE_RATE_HZ = 16_000
_SILENCE_WINDOW_S = 0.5
"""Of the gateway's turn detection, whose other rules are followed as far as there are such here."""


class RealtimeSerializer(FrameSerializer):
    """Appends in; audio deltas, and events made elsewhere, out."""

    def __init__(self) -> None:
        super().__init__()
        self._resampler = create_stream_resampler(clear_after_secs=None)

    async def deserialize(self, data: str | bytes) -> Frame | None:
        event = orjson.loads(data)
        if event["type"] != "input_audio_buffer.append":
            return None
        pcm = await self._resampler.resample(
            pybase64.b64decode(event["audio"]), _CLIENT_RATE_HZ, _ENGINE_RATE_HZ
        )
        return InputAudioRawFrame(pcm, _ENGINE_RATE_HZ, 1) if pcm else None

    async def serialize(self, frame: Frame) -> str | bytes | None:
        match frame:
            case OutputAudioRawFrame():
                delta = pybase64.b64encode(frame.audio).decode()
                return _text({"type": "response.output_audio.delta", "delta": delta})
            case OutputTransportMessageFrame() | OutputTransportMessageUrgentFrame():
                return _text(frame.message)
            case _:
                return None


def _text(event: dict[str, Any]) -> str:
    return orjson.dumps(event).decode()


class InstantSTT(STTService):
    """Has the transcript of a turn as soon as turn detection says that it is over."""

    def __init__(self) -> None:
        super().__init__(ttfs_p99_latency=0, settings=STTSettings(model=None, language=None))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            await self.push_frame(
                TranscriptionFrame("something to do", "", time_now_iso8601(), finalized=True)
            )

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield None


class ToneTTS(TTSService):
    """The gateway's tone voice as a plain Pipecat service."""

    def __init__(self) -> None:
        super().__init__(
            sample_rate=_CLIENT_RATE_HZ,
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=None, voice=None, language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        for piece in tone.stream(text, 1.0):
            if isinstance(piece, bytes):
                yield TTSAudioRawFrame(piece, _CLIENT_RATE_HZ, 1, context_id=context_id)


async def _serve(websocket: WebSocket, model: ScriptedLlmProvider) -> None:
    transport = FastAPIWebsocketTransport(
        websocket,
        FastAPIWebsocketParams(
            audio_in_enabled=True, audio_out_enabled=True, serializer=RealtimeSerializer()
        ),
    )
    aggregators = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(
                params=VADParams(
                    confidence=0.5, start_secs=0.1, stop_secs=_SILENCE_WINDOW_S, min_volume=0
                )
            ),
            user_turn_strategies=UserTurnStrategies(
                start=[VADUserTurnStartStrategy()],
                stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0)],
            ),
        ),
    )
    user = aggregators.user()
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                InstantSTT(),
                user,
                model.create_service(),
                ToneTTS(),
                transport.output(),
                aggregators.assistant(),
            ]
        ),
        params=PipelineParams(
            audio_in_sample_rate=_ENGINE_RATE_HZ, audio_out_sample_rate=_CLIENT_RATE_HZ
        ),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
        check_dangling_tasks=False,
    )

    def event(event_type: str) -> OutputTransportMessageUrgentFrame:
        return OutputTransportMessageUrgentFrame({"type": event_type})

    @transport.event_handler("on_client_connected")
    async def connected(*_: Any) -> None:
        await worker.queue_frame(event("session.created"))

    @transport.event_handler("on_client_disconnected")
    async def disconnected(*_: Any) -> None:
        await worker.cancel()

    @user.event_handler("on_user_turn_started")
    async def started(*_: Any) -> None:
        await user.push_frame(event("input_audio_buffer.speech_started"))

    @user.event_handler("on_user_turn_stopped")
    async def stopped(*_: Any) -> None:
        await user.push_frame(event("input_audio_buffer.speech_stopped"))

    runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False)
    await runner.add_workers(worker)
    await runner.run()


@asynccontextmanager
async def stock() -> AsyncGenerator[front.Serve]:
    """Its scripted model, read once for all sessions."""
    logger.remove()
    model = ScriptedLlmProvider(Path(os.environ["SCRIPT_FILE"]))
    await model.start()

    async def serve(websocket: WebSocket) -> None:
        await _serve(websocket, model)

    yield serve
    await model.close()


if __name__ == "__main__":
    front.run(stock())
