"""Takes a finished Pipecat pipeline apart, so that it is freed at once and not by the collector."""

from __future__ import annotations

from collections.abc import Iterator

from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.workers.runner import WorkerRunner


def dismantle(runner: WorkerRunner, worker: PipelineWorker) -> None:
    """Empty every part of a pipeline that has ended; none can be used again.

    Each part of a pipeline holds all others, by its neighbours, its setup, its task manager and
    the handlers of its events, and Pipecat lets go of none of them: 0.4 MB a session that only the
    cyclic garbage collector could find. To cut the links one by one would mean to know each of
    Pipecat's private attributes; an emptied object holds nothing, whatever it is made of.

    Args:
        runner: Has run, and ended.
        worker: Its only worker. No task of its pipeline may be left.
    """
    for part in (*_within(worker.pipeline), runner.bus, runner, worker):
        vars(part).clear()


def _within(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    for inner in processor.processors:
        yield from _within(inner)
    yield processor
