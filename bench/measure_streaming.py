"""Figure: what a live session costs in CPU, as a share of the least any server could need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .client import Arrival, Stream, append_frames, connected
from .recordings import Conversation, conversation, load_clips
from .report import Table
from .scale import Scale
from .server import FLOOR, INSTANT, Server, running
from .stats import Summary, median

CHUNKS_MS = (20, 100)
_PAUSE_MS = 4000
"""After each utterance: room for the silence window and for the whole reply."""
_SILENCE_WINDOW_S = 0.5

_STOPPED = "input_audio_buffer.speech_stopped"
_FIRST_AUDIO = "response.output_audio.delta"


@dataclass(frozen=True, slots=True)
class Window:
    """One contender under load for a while.

    Attributes:
        cpu_s_per_session_minute: CPU seconds of the server process for a minute of one session.
        core_share: Of one core, all sessions together.
        turns: Utterances that ended within the window.
        unheard: Of these, how many brought no `speech_stopped`.
        stopped_lag_ms: `speech_stopped` after the end of the silence window that follows the end
            of speech in the recording: what a user waits beyond the window.
        detection_lag_ms: The same event after the audio that ends the window, by the event's own
            position, had been spoken: independent of where the recording's bounds were drawn.
        first_audio_ms: From `speech_stopped` to the first audio of the reply.
        client_lateness_ms: How late the client sent its appends: its own share of all times.
    """

    contender: str
    chunk_ms: int
    sessions: int
    cpu_s_per_session_minute: float
    core_share: float
    turns: int
    unheard: int
    stopped_lag_ms: Summary
    detection_lag_ms: Summary
    first_audio_ms: Summary
    client_lateness_ms: Summary


@dataclass(frozen=True, slots=True)
class Streaming:
    """All windows of a run, in the order in which they were measured."""

    recordings: tuple[str, ...]
    windows: list[Window]


async def measure(scale: Scale) -> Streaming:
    """Stream to the gateway and to the floor in turn, so that both see the same machine."""
    clips = load_clips(scale.recordings)
    spoken = conversation(clips, _PAUSE_MS)
    frames = {chunk_ms: append_frames(spoken.pcm, chunk_ms) for chunk_ms in CHUNKS_MS}
    windows: list[Window] = []
    async with running(INSTANT) as gateway, running(FLOOR) as floor:
        for _ in range(scale.rounds):
            for chunk_ms in CHUNKS_MS:
                for server in (gateway, floor):
                    windows.append(await _window(server, spoken, frames[chunk_ms], chunk_ms, scale))
    return Streaming(tuple(clip.name for clip in clips), windows)


async def _window(
    server: Server, spoken: Conversation, frames: Sequence[bytes], chunk_ms: int, scale: Scale
) -> Window:
    count = scale.streaming_sessions
    async with connected(server.url, count) as sessions:
        begin_s = time.perf_counter() + 0.1
        measured_s = begin_s + scale.warm_up_s
        end_s = measured_s + scale.streaming_s
        # Neither the users nor their packets come all at once.
        streams = [
            Stream(
                session,
                frames,
                chunk_ms,
                begin_s + chunk_ms / 1000 * index / count,
                len(frames) * index // count,
            )
            for index, session in enumerate(sessions)
        ]
        async with asyncio.TaskGroup() as tasks:
            for stream in streams:
                tasks.create_task(stream.play(end_s), name="microphone")
            await asyncio.sleep(measured_s - time.perf_counter())
            before, from_s = server.usage(), time.perf_counter()
            await asyncio.sleep(end_s - time.perf_counter())
            after, to_s = server.usage(), time.perf_counter()
        turns = [turn for stream in streams for turn in _turns(stream, spoken, measured_s, to_s)]
    cpu_s = after.cpu_s - before.cpu_s
    return Window(
        contender=server.contender.name,
        chunk_ms=chunk_ms,
        sessions=count,
        cpu_s_per_session_minute=round(cpu_s / count / (to_s - from_s) * 60, 4),
        core_share=round(cpu_s / (to_s - from_s), 4),
        turns=len(turns),
        unheard=sum(turn.stopped_lag_s is None for turn in turns),
        stopped_lag_ms=_summary_ms([turn.stopped_lag_s for turn in turns]),
        detection_lag_ms=_summary_ms([turn.detection_lag_s for turn in turns]),
        first_audio_ms=_summary_ms([turn.first_audio_s for turn in turns]),
        client_lateness_ms=_summary_ms(
            [late_s for stream in streams for late_s in stream.lateness_s]
        ),
    )


def _summary_ms(samples_s: Sequence[float | None]) -> Summary:
    return Summary.of([sample_s * 1000 for sample_s in samples_s if sample_s is not None])


@dataclass(frozen=True, slots=True)
class _Turn:
    stopped_lag_s: float | None = None
    detection_lag_s: float | None = None
    first_audio_s: float | None = None


def _turns(stream: Stream, spoken: Conversation, measured_s: float, end_s: float) -> list[_Turn]:
    """What the server made of the utterances that were spoken in the measured time."""
    duration_s = spoken.duration_ms / 1000
    offset_s = stream.first_frame * stream.chunk_ms / 1000
    turns: list[_Turn] = []
    for lap in range(int((end_s - stream.begin_s) / duration_s) + 2):
        for begin_ms, finish_ms in spoken.speech_ms:
            shift_s = stream.begin_s + lap * duration_s - offset_s
            due_s = shift_s + finish_ms / 1000 + _SILENCE_WINDOW_S
            # A second for the answer; an utterance of which only the end was sent is no turn.
            whole = shift_s + begin_ms / 1000 >= stream.begin_s
            if whole and due_s >= measured_s and due_s + 1 <= end_s:
                turns.append(_answer(stream, due_s))
    return turns


def _answer(stream: Stream, due_s: float) -> _Turn:
    """The first `speech_stopped` near `due_s` and the first audio behind it."""
    stopped: Arrival | None = None
    first_audio_s: float | None = None
    for arrival in stream.session.arrivals:
        event_type = arrival.event["type"]
        if stopped is None:
            # The bounds of the recordings are known to ±32 ms.
            if event_type == _STOPPED and abs(arrival.at_s - due_s) < 1:
                stopped = arrival
        elif event_type == _FIRST_AUDIO:
            first_audio_s = arrival.at_s - stopped.at_s
            break
    if stopped is None:
        return _Turn()
    window_closed_s = stream.begin_s + stopped.event["audio_end_ms"] / 1000
    return _Turn(stopped.at_s - due_s, stopped.at_s - window_closed_s, first_audio_s)


def tables(streaming: Streaming) -> list[Table]:
    """CPU against the floor, then what the users of the gateway noticed."""
    cpu: list[tuple[str, ...]] = []
    noticed: list[tuple[str, ...]] = []
    for chunk_ms in CHUNKS_MS:
        ours, least = (
            [w for w in streaming.windows if (w.contender, w.chunk_ms) == (server.name, chunk_ms)]
            for server in (INSTANT, FLOOR)
        )
        our_cost, least_cost = (
            median([window.cpu_s_per_session_minute for window in windows])
            for windows in (ours, least)
        )
        cpu.append(
            (
                f"{chunk_ms} ms",
                str(ours[0].sessions),
                f"{our_cost:.3f}",
                f"{least_cost:.3f}",
                f"{least_cost / our_cost:.2f}",
                f"{median([window.core_share for window in ours]):.1%}",
            )
        )
        for window in ours:
            noticed.append(
                (
                    f"{chunk_ms} ms",
                    f"{window.turns - window.unheard} of {window.turns}",
                    *window.stopped_lag_ms.shown(),
                    window.detection_lag_ms.shown()[0],
                    *window.first_audio_ms.shown(),
                    window.client_lateness_ms.shown()[1],
                )
            )
    return [
        Table(
            "CPU while streaming (seconds per session-minute)",
            ("appends", "sessions", "gateway", "floor", "floor / gateway", "gateway, of a core"),
            cpu,
        ),
        Table(
            "Turns of these sessions, instant engines (ms)",
            (
                *("appends", "turns heard", "stopped beyond the window p50", "p99", "worst"),
                "after the window's audio p50",
                *("→ first audio p50", "p99", "worst", "client late p99"),
            ),
            noticed,
        ),
    ]
