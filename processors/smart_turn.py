"""Judges by the sound of a turn whether its speaker has finished; one model for all sessions.

It knows neither sessions nor silences: it is asked, and it answers with a probability.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import resources
from typing import Final, Protocol, cast

import numpy as np
import onnxruntime
from loguru import logger
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Float32 = NDArray[np.float32]

SAMPLE_RATE_HZ: Final = 16_000
MAX_SAMPLES: Final = 8 * SAMPLE_RATE_HZ
"""What the model hears at most: the end of the turn counts."""


class TurnModel(Protocol):
    """What `SmartTurn` needs of `SmartTurnModel`."""

    def probability(self, audio: Float32) -> float: ...


class SmartTurnModel:
    """Smart Turn v3 as Pipecat ships it.

    Pipecat's own analyser wraps the same file in the buffers and the clock of one stream and loads
    it anew for each; here it is a function of the audio.
    """

    def __init__(self) -> None:
        # Pipecat's module; imported here, since only those who judge turns need it.
        from pipecat.audio.turn.smart_turn import _whisper_features

        self._features = _whisper_features.compute_whisper_log_mel_features
        # The one matrix product among the features takes 1 ms. Shared out to all cores it takes 40,
        # since BLAS threads spin while they wait for each other, and nothing else here needs them.
        threadpool_limits(1, user_api="blas")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        folder = resources.files("pipecat").joinpath("audio", "turn", "smart_turn", "data")
        file = next(entry for entry in folder.iterdir() if entry.name.endswith("-cpu.onnx"))
        self._session = onnxruntime.InferenceSession(
            file.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

    def probability(self, audio: Float32) -> float:
        """How likely the turn is complete; takes some 100 ms of one core.

        Args:
            audio: The turn up to now at 16 kHz, full scale being 1; the last 8 s are heard.
        """
        recent = audio[-MAX_SAMPLES:]
        padded = np.pad(recent, (MAX_SAMPLES - recent.size, 0))
        features = self._features(padded, do_normalize=True)
        (output,) = self._session.run(None, {"input_features": features[np.newaxis]})
        return float(cast(Float32, output)[0, 0])


class Question:
    """A question that waits for its answer."""

    __slots__ = ("_answered", "_future")

    def __init__(self, answered: Callable[[float], None]) -> None:
        self._answered: Callable[[float], None] | None = answered
        self._future: Future[float] | None = None

    def cancel(self) -> None:
        """No answer is wanted any more, and none comes."""
        self._answered = None
        if self._future is not None:
            self._future.cancel()

    def _answer(self, probability: float) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(probability)


class SmartTurn:
    """Answers the questions of all sessions one after another, in one thread.

    A thread will do: onnxruntime computes without the interpreter's lock, and numpy holds it for a
    few milliseconds at a time (docs/turn-detection.md has the lag of the event loop).

    Args:
        load: Builds the model, in that thread, when it is first needed.
    """

    def __init__(self, load: Callable[[], TurnModel] = SmartTurnModel) -> None:
        self._load = load
        self._model: TurnModel | None = None
        self._broken = False
        self._worker: ThreadPoolExecutor | None = None

    def prepare(self) -> None:
        """Have the model loaded by the time of the first question."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="smart-turn")
            self._worker.submit(self._ready)

    def ask(self, audio: Float32, answered: Callable[[float], None]) -> Question:
        """Ask whether a turn is complete; must be called on the event loop.

        Args:
            audio: See `SmartTurnModel.probability`; it must not be changed afterwards.
            answered: Called on the event loop with the probability; 0 when there is no model.
        """
        self.prepare()
        assert self._worker is not None
        loop = asyncio.get_running_loop()
        question = Question(answered)
        future = self._worker.submit(self._judge, audio)
        question._future = future
        future.add_done_callback(partial(_pass_on, loop, question))
        return question

    async def close(self) -> None:
        """Forget all questions and end the thread. Idempotent."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(worker.shutdown, wait=True, cancel_futures=True)

    def _judge(self, audio: Float32) -> float:
        try:
            model = self._ready()
            return 0.0 if model is None else model.probability(audio)
        except Exception:
            # The turn then ends by its longest wait, which is slow, and late is better than deaf.
            logger.exception("Judging a turn failed")
            return 0.0

    def _ready(self) -> TurnModel | None:
        if self._model is None and not self._broken:
            try:
                self._model = self._load()
            except Exception:
                self._broken = True
                logger.exception("The smart-turn model cannot be loaded: semantic_vad waits")
        return self._model


def _pass_on(loop: asyncio.AbstractEventLoop, question: Question, future: Future[float]) -> None:
    """Carry an answer from the thread to the event loop."""
    if not future.cancelled() and not loop.is_closed():
        loop.call_soon_threadsafe(question._answer, future.result())
