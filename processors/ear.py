"""Turn detection of one session: it counts samples, so that positions are the session's.

It knows when to ask whether a turn is complete, and not how that is judged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from core.messages import (
    ConfigureVad,
    VadPaused,
    VadResumed,
    VadSpeechStarted,
    VadSpeechStopped,
)
from core.turn import SAMPLES_PER_MS, silence_window_ms
from protocol import SAMPLE_RATE_HZ, SemanticVad, ServerVad

from .decimator import Decimator
from .patience import PATIENCE, Patience

ENGINE_RATE_HZ: Final = 16_000
"""What turn detection and recognisers are fed."""
JUDGED_SAMPLES: Final = 8 * ENGINE_RATE_HZ
"""How much of a turn is kept to be judged."""
LEAD_SAMPLES: Final = ENGINE_RATE_HZ // 2
"""What is judged begins this much ahead of the speech, as the model is used to from Pipecat."""
MOST_BEHIND_SAMPLES: Final = ENGINE_RATE_HZ // 2
"""How far turn detection may lag behind the audio it was given before more has to wait."""
_SEMANTIC_THRESHOLD: Final = 0.5

Float32 = NDArray[np.float32]
VadEvent = VadSpeechStarted | VadSpeechStopped | VadPaused | VadResumed


class VadStreamPort(Protocol):
    """One session's turn detection; positions are 16 kHz samples."""

    def configure(
        self, threshold: float, silence_ms: int, pauses_ms: tuple[int, ...] = ()
    ) -> None: ...
    @property
    def backlog(self) -> int: ...
    def reset(self, position: int) -> None: ...
    def feed(self, samples: Float32) -> None: ...
    async def progress(self) -> None: ...
    def end_turn(self, end: int) -> bool: ...
    def close(self) -> None: ...


class VadEnginePort(Protocol):
    """The process-wide turn detection engine: `vad_engine.VadEngine`, or a test's."""

    def open(
        self,
        on_start: Callable[[int], None],
        on_stop: Callable[[int], None],
        on_pause: Callable[[int, int], None] | None = None,
        on_resume: Callable[[], None] | None = None,
    ) -> VadStreamPort: ...


class QuestionPort(Protocol):
    """A question that waits for its answer."""

    def cancel(self) -> None: ...


class TurnJudgePort(Protocol):
    """The process-wide judge of turns: `smart_turn.SmartTurn`, or a test's."""

    def prepare(self) -> None: ...
    def ask(self, audio: Float32, answered: Callable[[float], None]) -> QuestionPort: ...


class Ear:
    """Listens to one session's audio.

    Args:
        vad: The turn detection engine, shared by all sessions.
        judge: Says whether a turn is complete; without one `semantic_vad` always waits as long
            as its eagerness allows.
        emit: Takes the turn detection events, positions in 24 kHz samples of the session.
    """

    def __init__(
        self, vad: VadEnginePort, judge: TurnJudgePort | None, emit: Callable[[VadEvent], None]
    ) -> None:
        self._vad = vad
        self._judge = judge
        self._emit = emit
        self._heard_samples = 0
        self._generation = -1
        self._stream: VadStreamPort | None = None
        self._decimator = Decimator()
        self._patience: Patience | None = None
        self._pause_ms: int | None = None
        self._pause = _Pause(0)
        self._recent = _Recent(0)
        self._turn_start = 0
        self._question: QuestionPort | None = None
        self._turn_ends: deque[int] = deque()
        self._silence_ms = 0

    @property
    def settled_sample(self) -> int:
        """Up to where (24 kHz) it is known whose turn the audio belongs to.

        It stops at the end of a turn until `turn_taken` says that the end has been acted on.
        """
        if self._turn_ends:
            return self._turn_ends[0]
        return self._scored_sample

    @property
    def _scored_sample(self) -> int:
        if self._stream is None:
            return self._heard_samples
        return _session_sample(self._recent.end - self._stream.backlog)

    def turn_taken(self, until: int) -> None:
        """The ends of turns up to this position have been acted on."""
        while self._turn_ends and self._turn_ends[0] <= until:
            self._turn_ends.popleft()

    @property
    def keeps_up(self) -> bool:
        """Whether turn detection is not far behind."""
        return self._stream is None or self._stream.backlog <= MOST_BEHIND_SAMPLES

    async def keep_up(self) -> None:
        """Wait until it is not."""
        while self._stream is not None and not self.keeps_up:
            await self._stream.progress()

    def configure(self, command: ConfigureVad) -> None:
        """Follow the setting from the next sample on, see `ConfigureVad`."""
        if command.detection is None:
            self.close()
        else:
            fresh = self._stream is None or command.generation != self._generation
            if self._stream is None:
                self._stream = self._vad.open(
                    self._on_start, self._on_stop, self._on_pause, self._on_resume
                )
            self._pause_ms = command.pause_ms
            self._set_rule(self._stream, command.detection)
            if fresh:
                self._turn_ends.clear()
                self._decimator = Decimator()
                start = self._prelude()
                self._recent = _Recent(start)
                self._stream.reset(start)
        self._generation = command.generation

    def hear(self, pcm: bytes) -> None:
        """Take the next audio, s16le mono 24 kHz."""
        self._heard_samples += len(pcm) // 2
        if self._stream is None:
            return
        ready = self._decimator.process(pcm)
        if ready.size:
            self._recent.put(ready, keep=self._patience is not None)
            self._stream.feed(ready)

    def _prelude(self) -> int:
        """Let the stream begin as much earlier as its samples are late; returns its position.

        The last sample heard then ends a sample of the stream, and no window has to wait for the
        next append because of a millisecond.
        """
        self._decimator.process(bytes(2 * Decimator.LAG_SAMPLES))
        return (self._heard_samples - Decimator.LAG_SAMPLES) * ENGINE_RATE_HZ // SAMPLE_RATE_HZ

    def close(self) -> None:
        """Stop listening."""
        self._withdraw()
        self._turn_ends.clear()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _set_rule(self, stream: VadStreamPort, detection: ServerVad | SemanticVad) -> None:
        self._withdraw()
        self._silence_ms = silence_window_ms(detection)
        semantic = isinstance(detection, SemanticVad)
        self._patience = PATIENCE[detection.eagerness] if semantic else None
        threshold = _SEMANTIC_THRESHOLD if semantic else detection.threshold
        told = () if self._pause_ms is None else (self._pause_ms,)
        asks = () if self._patience is None else self._patience.asks_ms
        stream.configure(threshold, self._silence_ms, tuple(sorted({*told, *asks})))
        if semantic and self._judge is not None:
            self._judge.prepare()

    def _withdraw(self) -> None:
        """Forget a question: what it was about is over."""
        if self._question is not None:
            self._question.cancel()
            self._question = None

    def _on_start(self, position: int) -> None:
        self._turn_start = position
        self._emit(VadSpeechStarted(self._generation, _session_sample(position)))

    def _on_pause(self, end: int, position: int) -> None:
        if self._pause.end != end:
            self._pause = _Pause(end)
        pause, silence_ms = self._pause, (position - end) * 1000 // ENGINE_RATE_HZ
        if self._pause_ms is not None and silence_ms >= self._pause_ms and not pause.told:
            pause.told = True
            self._emit(VadPaused(self._generation, _session_sample(position)))
        asks_ms = () if self._patience is None else self._patience.asks_ms
        due = sum(silence_ms >= ask_ms for ask_ms in asks_ms)
        if due > pause.asked:
            pause.asked = due
            self._ask(end, position)

    def _on_resume(self) -> None:
        if self._pause.told:
            self._pause = _Pause(0)
            self._emit(VadResumed(self._generation))

    def _ask(self, end: int, position: int) -> None:
        patience, judge = self._patience, self._judge
        if patience is None or judge is None:
            return
        self._withdraw()
        start = max(self._turn_start - LEAD_SAMPLES, position - JUDGED_SAMPLES)
        audio = self._recent.read(start, position)

        def answered(probability: float) -> None:
            if probability >= patience.complete:
                self._complete(end, position)

        self._question = judge.ask(audio, answered)

    def _complete(self, end: int, position: int) -> None:
        if self._stream is not None and self._stream.end_turn(end):
            self._turn_ends.append(self._scored_sample)
            self._emit(
                VadSpeechStopped(self._generation, _session_sample(end), _session_sample(position))
            )

    def _on_stop(self, position: int) -> None:
        self._withdraw()
        # The silence window is part of the turn; its last analysis window may reach beyond it.
        end = _session_sample(position) + self._silence_ms * SAMPLES_PER_MS
        self._turn_ends.append(min(end, self._scored_sample))
        self._emit(VadSpeechStopped(self._generation, _session_sample(position)))


@dataclass(slots=True)
class _Pause:
    """The silence behind the speech window that ends at `end`, and what it has caused so far."""

    end: int
    told: bool = False
    asked: int = 0


@dataclass(slots=True)
class _Chunk:
    start: int
    samples: Float32


class _Recent:
    """The latest audio, as it came, by its position in the session."""

    __slots__ = ("_chunks", "end")

    def __init__(self, position: int) -> None:
        self._chunks: deque[_Chunk] = deque()
        self.end = position
        """Position behind the latest sample."""

    def put(self, samples: Float32, *, keep: bool) -> None:
        """Count the next samples, and keep them if they may be asked for."""
        if keep:
            self._chunks.append(_Chunk(self.end, samples))
        else:
            self._chunks.clear()
        self.end += samples.size
        while self._chunks:
            oldest = self._chunks[0]
            # Audio comes faster than it is scored when a file is appended at once: what is
            # asked for then lies up to a slice behind the end.
            if oldest.start + oldest.samples.size > self.end - JUDGED_SAMPLES - ENGINE_RATE_HZ:
                return
            self._chunks.popleft()

    def read(self, start: int, end: int) -> Float32:
        """What there is between two positions."""
        parts = [
            chunk.samples[max(start - chunk.start, 0) : max(end - chunk.start, 0)]
            for chunk in self._chunks
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _session_sample(position: int) -> int:
    return position * SAMPLE_RATE_HZ // ENGINE_RATE_HZ
