"""Figure: how many live sessions one core bears, and what their users notice at half of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import lag
from .lag import Event
from .load import PARTS
from .scale import Scale
from .search import largest, next_count
from .server import FLOOR, IN_TURN, Contender, Server, running, talkative
from .stats import Summary
from .window import BARGING_PAUSE_MS, PAUSE_MS, Talk, Window, observe

LAG_LIMIT_MS = 20.0
"""The p99 lag of server events up to which a server is taken to keep up."""
_SILENCE_WINDOW_S = 0.5


@dataclass(frozen=True, slots=True)
class Level:
    """So many sessions at once.

    Attributes:
        core_share: CPU time of the server, as a share of its core.
        others_share: What others took of that core meanwhile.
        lag_ms: Of speech started, speech stopped and first audio, see `bench.lag`.
        missing: Events that did not come at all; in `lag_ms` with `lag.MISSING_MS` each.
        dropped: Events that are not in `lag_ms` because the client itself was late then.
        client_late_ms: p99 of the worst load client's own lateness.
    """

    sessions: int
    core_share: float
    others_share: float
    cpu_s_per_session_minute: float
    lag_ms: Summary
    missing: int
    dropped: int
    client_late_ms: float

    @property
    def borne(self) -> bool:
        """Whether the server kept up."""
        return self.lag_ms.count > 0 and self.lag_ms.p99 <= LAG_LIMIT_MS


@dataclass(frozen=True, slots=True)
class HalfLoad:
    """What users notice at half of the capacity; in ms.

    Attributes:
        beyond_window: `speech_stopped` after the end of the silence window behind the end of
            speech in the recording.
        first_audio: From `speech_stopped` to the first audio of the reply.
        jitter: Of audio deltas, see `lag.jitter_ms`.
        barge_in: From when `speech_started` was due to the last audio, see `lag.cut_off_ms`.
    """

    level: Level
    beyond_window: Summary
    first_audio: Summary
    jitter: Summary
    barge_in: Summary


@dataclass(frozen=True, slots=True)
class Capacity:
    """One contender with one size of appends.

    Attributes:
        sessions: The most whose p99 lag stayed within the limit.
        idle_share: Share of the core that `PARTS` sessions took, when the due times were recorded.
        levels: All that were tried, in their order.
    """

    contender: str
    chunk_ms: int
    sessions: int
    idle_share: float
    levels: list[Level]
    half: HalfLoad

    @property
    def client_limited(self) -> bool:
        """Whether it may be more: where it failed, the load clients were late themselves."""
        failed = [level for level in self.levels if level.sessions > self.sessions]
        return bool(failed) and all(
            level.client_late_ms > lag.CLIENT_LATE_MS
            for level in failed
            if level.sessions == min(level.sessions for level in failed)
        )


async def measure(scale: Scale) -> list[Capacity]:
    """One contender after the other, for each size of appends."""
    return [
        await _measure(contender, chunk_ms, scale)
        for chunk_ms in scale.chunks_ms
        for contender in IN_TURN
    ]


async def _measure(contender: Contender, chunk_ms: int, scale: Scale) -> Capacity:
    talk = Talk(scale.recordings, PAUSE_MS, chunk_ms)
    async with running(contender) as server:
        due, idle_share = await due_times(server, talk, scale)
        levels: list[Level] = []
        tried: dict[int, bool] = {}
        first = round(scale.first_guess * PARTS / idle_share)
        while len(levels) < scale.most_levels and (
            count := next_count(tried, first, scale.precision)
        ):
            level = await _level(server, talk, count, due, scale)
            levels.append(level)
            # A neighbour on the machine fails a level too, but hardly twice.
            if not level.borne and scale.second_chance:
                level = await _level(server, talk, count, due, scale)
                levels.append(level)
            tried[count] = level.borne
            _say(contender, chunk_ms, level)
        sessions = largest(tried)
        half_count = max(sessions // 2, 1)
        window = await observe(server, talk, half_count, scale)
    barge_in_ms = [] if contender is FLOOR else await _barge_ins(contender, talk, half_count, scale)
    return Capacity(
        contender.name,
        chunk_ms,
        sessions,
        round(idle_share, 4),
        levels,
        _half(window, talk, due, barge_in_ms),
    )


def _say(contender: Contender, chunk_ms: int, level: Level) -> None:
    lag_ms = f"p99 lag {level.lag_ms.p99:.1f} ms, client late {level.client_late_ms:.1f} ms"
    print(f"{contender.name}, {chunk_ms} ms: {level.sessions} sessions, {lag_ms}", flush=True)


DueTimes = Mapping[int, Sequence[Event]]
"""For each part of the conversation the milestones of a session that begins there."""


async def due_times(server: Server, talk: Talk, scale: Scale) -> tuple[DueTimes, float]:
    """What a server says when it has next to nothing to do; and its share of the core."""
    windows = [await observe(server, talk, PARTS, scale) for _ in range(scale.takes)]
    due = {
        part: lag.earliest(
            [
                lag.milestones(heard.events)
                for window in windows
                for seat, heard in zip(window.seats, window.heard, strict=True)
                if seat.part == part
            ]
        )
        for part in range(PARTS)
    }
    return due, min(window.core_share for window in windows)


async def _level(server: Server, talk: Talk, count: int, due: DueTimes, scale: Scale) -> Level:
    return _as_level(await observe(server, talk, count, scale), due)


def _as_level(window: Window, due: DueTimes) -> Level:
    pairs: list[lag.Pair] = []
    dropped = 0
    for seat, heard in zip(window.seats, window.heard, strict=True):
        from_s, to_s = window.from_s - seat.delay_s, window.to_s - seat.delay_s
        matched = lag.match(lag.between(due[seat.part], from_s, to_s), lag.milestones(heard.events))
        trusted = [pair for pair in matched if heard.trusted(pair)]
        pairs += trusted
        dropped += len(matched) - len(trusted)
    return Level(
        sessions=len(window.seats),
        core_share=round(window.core_share, 4),
        others_share=round(max(window.others_share, 0.0), 4),
        cpu_s_per_session_minute=round(window.cpu_s_per_session_minute, 4),
        lag_ms=Summary.of(lag.lags_ms(pairs)),
        missing=sum(seen is None for _, seen in pairs),
        dropped=dropped,
        client_late_ms=window.late_ms.p99,
    )


def _half(window: Window, talk: Talk, due: DueTimes, barge_in_ms: list[float]) -> HalfLoad:
    beyond_ms: list[float] = []
    first_audio_ms: list[float] = []
    replies: list[list[Event]] = []
    spoken = talk.spoken
    for seat, heard in zip(window.seats, window.heard, strict=True):
        stopped_s: float | None = None
        for event in lag.milestones(heard.events):
            if event.kind == "stopped":
                stopped_s = event.at_s
            if not window.from_s <= event.at_s + seat.delay_s < window.to_s:
                continue
            if event.kind == "stopped":
                skipped_s = talk.skipped_s(seat.part)
                end_s = spoken.speech_ended_s(skipped_s + event.at_s - _SILENCE_WINDOW_S / 2)
                beyond_ms.append((skipped_s + event.at_s - end_s - _SILENCE_WINDOW_S) * 1000)
            elif event.kind == "first_audio" and stopped_s is not None:
                first_audio_ms.append((event.at_s - stopped_s) * 1000)
        replies += lag.replies(heard.events)
    return HalfLoad(
        _as_level(window, due),
        Summary.of(beyond_ms),
        Summary.of(first_audio_ms),
        Summary.of(lag.jitter_ms(replies)),
        Summary.of(barge_in_ms),
    )


async def _barge_ins(contender: Contender, talk: Talk, count: int, scale: Scale) -> list[float]:
    barging = Talk(talk.recordings, BARGING_PAUSE_MS, talk.chunk_ms)
    async with running(talkative(contender)) as server:
        due, _ = await due_times(server, barging, scale)
        window = await observe(server, barging, count, scale)
    return [
        cut_off_ms
        for seat, heard in zip(window.seats, window.heard, strict=True)
        for cut_off_ms in lag.cut_off_ms(
            heard, lag.between(due[seat.part], 0, window.to_s - seat.delay_s)
        )
    ]


def of(capacities: Sequence[Capacity], contender: Contender, chunk_ms: int) -> Capacity:
    """The figures of one contender at one size of appends."""
    return next(
        capacity
        for capacity in capacities
        if (capacity.contender, capacity.chunk_ms) == (contender.name, chunk_ms)
    )
