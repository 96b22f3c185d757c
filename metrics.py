"""What the process tells a Prometheus server about its sessions, their turns and its event loop.

Nothing here decides anything: sessions report, and one task looks at the event loop. With several
worker processes the values of all of them are added up, see `exposition`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, assert_never

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from core.messages import Failure
from core.turn_times import TurnTimes
from protocol import Cancelled, Failed, Incomplete, StatusDetails

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable: where the worker processes keep their values; unset with one process."""
LAG_INTERVAL_S: Final = 0.1
"""How often the event loop is asked to be on time."""
DEPTHS_EVERY: Final = 10
"""Queue depths are read at each of so many looks."""

_LAG_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_TURN_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
    *(1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0),
)


@dataclass(frozen=True, slots=True)
class Depths:
    """How much waits at one moment, over all sessions of the process.

    Attributes:
        by_queue: Elements, or bytes or samples where the name says so, by the queue's name.
        vad_scored: Analysis windows that turn detection has run its model on since the start.
        vad_skipped: Those it did not need to.
    """

    by_queue: Mapping[str, int]
    vad_scored: int = 0
    vad_skipped: int = 0


class Metrics:
    """The process's metrics.

    Args:
        registry: None makes one of its own, so that a process can hold several applications.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = CollectorRegistry() if registry is None else registry
        self._sessions = Gauge(
            "realtime_sessions",
            "Sessions open now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._opened = Counter(
            "realtime_sessions_opened", "Sessions since the start.", ["dialect"], registry=registry
        )
        self._open_seconds = Histogram(
            "realtime_session_open_seconds",
            "From the accepted upgrade to a pipeline that takes audio.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self._responses = Counter(
            "realtime_responses",
            "Responses that ended, by how.",
            ["status", "reason"],
            registry=registry,
        )
        self._stages = Histogram(
            "realtime_turn_stage_seconds",
            "The stages of a turn: endpointing (end of speech to end of turn), transcript, "
            "first_token (of the model, from the request), first_audio (from that token).",
            ["stage"],
            buckets=_TURN_BUCKETS,
            registry=registry,
        )
        self._waits = Histogram(
            "realtime_turn_wait_seconds",
            "What the user waits for: end of speech, endpointing included, to the first output.",
            buckets=_TURN_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            "realtime_tokens",
            "Tokens of the responses' usage.",
            ["direction", "kind"],
            registry=registry,
        )
        self._failures = Counter(
            "realtime_stage_failures",
            "Turns that a stage failed, by what went wrong.",
            ["stage", "category"],
            registry=registry,
        )
        self._refused = Counter(
            "realtime_errors", "Error events sent to clients.", ["code"], registry=registry
        )
        self._drafts = Counter(
            "realtime_speculative_turns",
            "Replies begun in a pause: used, or dropped because the user went on.",
            ["outcome"],
            registry=registry,
        )
        self._lag = Histogram(
            "realtime_event_loop_lag_seconds",
            "How late the event loop was for an appointment it had every 100 ms.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self._depth = Gauge(
            "realtime_queue_depth",
            "What waits, over all sessions: messages, bytes or samples as the queue's name says.",
            ["queue"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._windows = Counter(
            "realtime_vad_windows",
            "Windows of 32 ms that turn detection accounted for: scored by its model, or silent "
            "enough to be skipped.",
            ["outcome"],
            registry=registry,
        )
        self._windows_told = Depths({})

    # --- what sessions report -----------------------------------------------------------------

    def session_opened(self, dialect: str, took_s: float) -> None:
        """A session takes audio now."""
        self._sessions.inc()
        self._opened.labels(dialect).inc()
        self._open_seconds.observe(took_s)

    def session_closed(self) -> None:
        """One that was opened has ended."""
        self._sessions.dec()

    def turn(self, times: TurnTimes) -> None:
        """A response has ended."""
        response = times.response
        self._responses.labels(response.status, _reason(response.status_details)).inc()
        for stage, seconds in times.stages().items():
            self._stages.labels(stage).observe(seconds)
        if times.wait_s is not None:
            self._waits.observe(times.wait_s)
        if (usage := response.usage) is not None:
            self._tokens.labels("input", "text").inc(usage.input_text_tokens)
            self._tokens.labels("input", "audio").inc(usage.input_audio_tokens)
            self._tokens.labels("output", "text").inc(usage.output_text_tokens)
            self._tokens.labels("output", "audio").inc(usage.output_audio_tokens)

    def stage_failed(self, failure: Failure) -> None:
        """A stage could not serve a turn."""
        self._failures.labels(failure.stage.value, failure.category.value).inc()

    def refused(self, code: str) -> None:
        """A client was sent an error event."""
        self._refused.labels(code).inc()

    def speculated(self, *, used: int, dropped: int) -> None:
        """Replies begun before their turn had ended."""
        self._drafts.labels("used").inc(used)
        self._drafts.labels("dropped").inc(dropped)

    # --- what is looked at --------------------------------------------------------------------

    async def watch(self, depths: Callable[[], Depths]) -> None:
        """Look at the event loop and the queues until cancelled."""
        looks = 0
        while True:
            due_s = time.perf_counter() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            self._lag.observe(max(time.perf_counter() - due_s, 0.0))
            looks += 1
            if looks % DEPTHS_EVERY == 0:
                self.note_depths(depths())

    def note_depths(self, now: Depths) -> None:
        """Take what waits at this moment."""
        for queue, depth in now.by_queue.items():
            self._depth.labels(queue).set(depth)
        told, self._windows_told = self._windows_told, now
        self._windows.labels("scored").inc(now.vad_scored - told.vad_scored)
        self._windows.labels("skipped").inc(now.vad_skipped - told.vad_skipped)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format; of all worker processes, if there are several."""
        registry = self.registry
        if os.environ.get(SHARED_FOLDER):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)


def _reason(details: StatusDetails | None) -> str:
    match details:
        case Cancelled(reason) | Incomplete(reason):
            return reason
        case Failed(code=code):
            return code
        case None:
            return ""
        case _:
            assert_never(details)


def forget_process(process_id: int) -> None:
    """A worker process is gone: its open sessions and queues count no more, its turns do."""
    with suppress(FileNotFoundError):
        multiprocess.mark_process_dead(process_id)
