"""Turn detection of all sessions of a process in one place, in batches on the event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from loguru import logger
from numpy.typing import NDArray

from .turn_detector import (
    WINDOW_SAMPLES,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    StateResetRule,
    TurnDetector,
)
from .vad_model import (
    CONTEXT_SAMPLES,
    INPUT_SAMPLES,
    STATE_LAYERS,
    STATE_SIZE,
)
from .window_queue import WindowQueue

Float32 = NDArray[np.float32]
PositionCallback = Callable[[int], None]
"""Takes a position in 16 kHz samples, counted on from that of the last reset."""
PauseCallback = Callable[[int, int], None]
"""Takes the end of the last speech window and that of the silence behind it."""

# A window costs 0.11 ms alone, 0.06 ms in a batch of 8 and 0.055 ms in the largest; the model holds
# the event loop for 1.4 ms with 24.
MAX_BATCH: Final = 24
GOOD_BATCH: Final = 16
"""As many are worth no further wait."""
TICK_S: Final = 0.005

# A muted microphone or a client that fills pauses sends exact zeros. Below a third of one 16-bit
# step, and only while nobody speaks, a window is scored 0 without asking the model; the first few
# are still shown to it, so that it hears the silence. Over 782 variants of the recordings the turns
# stayed the same, and their bounds too but for 20 that moved by a window or two.
DIGITAL_SILENCE_RMS: Final = 1e-5
SILENT_WINDOWS_SHOWN: Final = 5


class VadModel(Protocol):
    """What the engine needs of `SileroModel`."""

    def run(self, windows: Float32, state: Float32) -> tuple[Float32, Float32]: ...


class VadStream:
    """One session's ear. Made by `VadEngine.open`; to be used on the event loop only.

    It costs 8 KB, and no task or thread.
    """

    __slots__ = (
        "_accounted",
        "_changes",
        "_detector",
        "_engine",
        "_epoch",
        "_failed",
        "_on_pause",
        "_on_resume",
        "_on_start",
        "_on_stop",
        "_open",
        "_progress",
        "_queued",
        "_reset_rule",
        "_silent_windows",
        "_state",
        "_waiting",
    )

    def __init__(
        self,
        engine: VadEngine,
        on_start: PositionCallback,
        on_stop: PositionCallback,
        on_pause: PauseCallback | None = None,
        on_resume: Callable[[], None] | None = None,
    ) -> None:
        self._engine = engine
        self._on_start = on_start
        self._on_stop = on_stop
        self._on_pause = on_pause
        self._on_resume = on_resume
        self._detector = TurnDetector()
        self._reset_rule = StateResetRule()
        self._waiting = WindowQueue(CONTEXT_SAMPLES)
        self._state = np.zeros((STATE_LAYERS, STATE_SIZE), np.float32)
        self._silent_windows = 0
        self._accounted = 0
        # Rules to come: how many windows must have been accounted for, then threshold, silence
        # window and pauses.
        self._changes: deque[tuple[int, float, int, tuple[int, ...]]] = deque()
        self._epoch = 0
        self._progress: asyncio.Event | None = None
        self._queued = False
        self._open = True
        self._failed = False

    @property
    def speaking(self) -> bool:
        """Whether a turn is under way."""
        return self._detector.speaking

    @property
    def backlog(self) -> int:
        """Samples fed and not scored yet; less than a window of them must wait for more."""
        return self._waiting.samples

    async def progress(self) -> None:
        """Wait until another of its windows has been scored, or it was reset or closed."""
        if self._progress is None:
            self._progress = asyncio.Event()
        await self._progress.wait()

    def _wake_waiter(self) -> None:
        if self._progress is not None:
            self._progress.set()
            self._progress.clear()

    def configure(self, threshold: float, silence_ms: int, pauses_ms: tuple[int, ...] = ()) -> None:
        """Change the rule from the next sample fed on; a turn that is under way goes on.

        See `TurnDetector.configure`.
        """
        ahead = self._waiting.samples // WINDOW_SAMPLES
        self._changes.append((self._accounted + ahead, threshold, silence_ms, pauses_ms))
        self._apply_changes()

    def end_turn(self, end: int) -> bool:
        """End a turn in the pause that was told with this `end`, without a callback.

        False, and nothing is done, when speech has gone on since then.
        """
        return self._detector.end_turn(end)

    def reset(self, position: int) -> None:
        """Forget all that was fed, a turn under way included, without a callback.

        Args:
            position: What the next sample fed is counted as.
        """
        self._discard()
        while self._changes:
            self._detector.configure(*self._changes.popleft()[1:])
        self._detector.reset(position)
        self._reset_rule.reset()
        self._clear_model_state()
        self._silent_windows = 0

    def feed(self, samples: Float32) -> None:
        """Take the next samples, any number, full scale being 1; after `close` a no-op.

        Raises:
            TypeError: not float32.
            RuntimeError: a bug stopped this stream; its traceback is in the log.
        """
        if samples.dtype != np.float32:
            raise TypeError(f"turn detection is fed float32, not {samples.dtype}")
        if self._failed:
            raise RuntimeError("turn detection of this stream has stopped after an error")
        if self._open:
            self._waiting.put(samples)
            self._engine._fed(self, samples.size)

    def close(self) -> None:
        """Stop listening; no callback follows. Idempotent."""
        self._discard()
        self._open = False
        self._engine._forget(self)

    def _discard(self) -> None:
        self._engine.samples_pending -= self._waiting.samples
        self._waiting.clear()
        self._epoch += 1
        self._wake_waiter()

    def _clear_model_state(self) -> None:
        self._waiting.forget_context()
        self._state.fill(0.0)

    def _take_window(self, row: Float32) -> float:
        """Fill `row` with context and the next window; return the window's RMS."""
        self._waiting.take(row)
        window = row[CONTEXT_SAMPLES:]
        return math.sqrt(float(np.dot(window, window)) / WINDOW_SAMPLES)

    def _may_skip(self, rms: float) -> bool:
        if rms >= DIGITAL_SILENCE_RMS:
            self._silent_windows = 0
            return False
        self._silent_windows += 1
        return self._silent_windows > SILENT_WINDOWS_SHOWN and not self._detector.speaking

    def _apply_changes(self) -> None:
        while self._changes and self._changes[0][0] <= self._accounted:
            self._detector.configure(*self._changes.popleft()[1:])

    def _account(self, probability: float, rms: float) -> None:
        event = self._detector.push(probability, rms)
        self._accounted += 1
        self._apply_changes()
        if self._reset_rule.push(probability, self._detector.speaking):
            self._clear_model_state()
        match event:
            case None:
                return
            case SpeechStarted():
                self._on_start(event.position)
            case SpeechPaused():
                if self._on_pause is not None:
                    self._on_pause(event.end, event.position)
            case SpeechResumed():
                if self._on_resume is not None:
                    self._on_resume()
            case _:
                self._on_stop(event.position)


class VadEngine:
    """Scores the windows of all open streams, one of each stream per batch, first come first.

    Its task lives while a stream is open and sleeps while no window is ready. A window that
    becomes ready waits a tick, or two where they are few, so that those of other sessions share its
    batch. A long backlog is worked off batch by batch without delay, the event loop getting its
    turn between batches and every stream as often as the others.

    Args:
        model: Shared by all streams.
        tick_s: How long a ready window waits for company, and as long again if too few have come.
    """

    def __init__(self, model: VadModel, tick_s: float = TICK_S) -> None:
        self._model = model
        self._tick_s = tick_s
        self._streams: set[VadStream] = set()
        self._ready: deque[VadStream] = deque()
        self._wake = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False
        self._windows = np.zeros((MAX_BATCH, INPUT_SAMPLES), np.float32)
        self._states = np.zeros(STATE_LAYERS * MAX_BATCH * STATE_SIZE, np.float32)
        self.samples_pending = 0
        """Samples fed and not yet scored, over all streams."""
        self.windows_scored = 0
        self.windows_skipped = 0
        self.batches = 0
        self.after_batch: Callable[[int, float], None] | None = None
        """Called after each batch with its number of windows and the seconds it took."""

    @property
    def streams_open(self) -> int:
        """Open streams."""
        return len(self._streams)

    @property
    def streams_waiting(self) -> int:
        """Streams of which a window is ready: the depth of the queue."""
        return len(self._ready)

    def open(
        self,
        on_start: PositionCallback,
        on_stop: PositionCallback,
        on_pause: PauseCallback | None = None,
        on_resume: Callable[[], None] | None = None,
    ) -> VadStream:
        """Open a stream; its first sample has position 0 until a reset says otherwise.

        Args:
            on_start: Called on the event loop with the first sample of a turn.
            on_stop: Called with the end of the turn's last speech window; the silence window is
                not included.
            on_pause: Called at each of the pauses that the stream was configured with.
            on_resume: Called when speech goes on after that.

        Raises:
            RuntimeError: the engine is closed, or no event loop is running.
        """
        if self._closed:
            raise RuntimeError("the VAD engine is closed")
        if self._ticker is None or self._ticker.done():
            loop = asyncio.get_running_loop()
            self._ticker = loop.create_task(self._tick(), name="vad-engine")
        stream = VadStream(self, on_start, on_stop, on_pause, on_resume)
        self._streams.add(stream)
        return stream

    async def close(self) -> None:
        """Close all streams and end the task. Idempotent."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.close()
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])

    def step(self) -> int:
        """Run one batch; returns how many windows it accounted for, 0 when none was ready."""
        began = time.perf_counter()
        scored: list[tuple[VadStream, int, float]] = []
        skipped: list[tuple[VadStream, int, float]] = []
        for _ in range(min(len(self._ready), MAX_BATCH)):
            stream = self._ready.popleft()
            stream._queued = False
            if stream._waiting.samples < WINDOW_SAMPLES:
                continue  # Reset or closed since it was queued.
            rms = stream._take_window(self._windows[len(scored)])
            taken = skipped if stream._may_skip(rms) else scored
            taken.append((stream, stream._epoch, rms))
            self._queue(stream)
        done = len(scored) + len(skipped)
        self.samples_pending -= done * WINDOW_SAMPLES
        self.windows_scored += len(scored)
        self.windows_skipped += len(skipped)
        probabilities = self._run_model(scored)
        for (stream, epoch, rms), probability in zip(
            scored + skipped, probabilities + [0.0] * len(skipped), strict=True
        ):
            # A callback before this one may have reset or closed the stream.
            if stream._epoch == epoch:
                self._account(stream, probability, rms)
            stream._wake_waiter()
        if done:
            self.batches += 1
            if self.after_batch is not None:
                self.after_batch(done, time.perf_counter() - began)
        return done

    def _run_model(self, batch: list[tuple[VadStream, int, float]]) -> list[float]:
        rows = len(batch)
        if not rows:
            return []
        states = self._states[: STATE_LAYERS * rows * STATE_SIZE]
        states = states.reshape(STATE_LAYERS, rows, STATE_SIZE)
        for row, (stream, _, _) in enumerate(batch):
            states[:, row] = stream._state
        probabilities, states = self._model.run(self._windows[:rows], states)
        for row, (stream, _, _) in enumerate(batch):
            stream._state[:] = states[:, row]
        return probabilities.tolist()

    def _account(self, stream: VadStream, probability: float, rms: float) -> None:
        try:
            stream._account(probability, rms)
        except Exception:
            # One session's bug must not deafen the others; its next `feed` raises.
            logger.exception("A turn detection callback failed")
            self._fail(stream)

    async def _tick(self) -> None:
        try:
            while self._streams:
                if self._ready:
                    await asyncio.sleep(self._tick_s)
                    if len(self._ready) < GOOD_BATCH:
                        await asyncio.sleep(self._tick_s)
                    while True:
                        if not (self.step() and self._ready):
                            break  # What comes later waits for company; this was no backlog.
                        await asyncio.sleep(0)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except Exception:
            logger.exception("Turn detection failed")
            for stream in tuple(self._streams):
                self._fail(stream)

    def _fail(self, stream: VadStream) -> None:
        stream.close()
        stream._failed = True

    def _queue(self, stream: VadStream) -> None:
        if not stream._queued and stream._waiting.samples >= WINDOW_SAMPLES:
            stream._queued = True
            self._ready.append(stream)

    def _fed(self, stream: VadStream, samples: int) -> None:
        self.samples_pending += samples
        self._queue(stream)
        if stream._queued:
            self._wake.set()

    def _forget(self, stream: VadStream) -> None:
        self._streams.discard(stream)
        self._wake.set()
