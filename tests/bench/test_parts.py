"""Seats, cores, memory of a soak, stacks of a profile, and speech in a conversation."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bench.cores import Cores, divide
from bench.load import PARTS, seats
from bench.measure_soak import Sample, growth
from bench.profiler import Cost, count
from bench.recordings import BYTES_PER_MS, Conversation
from bench.stats import Summary
from bench.window import Talk


@pytest.mark.parametrize("sessions", [1, 8, 9, 50, 203])
def test_sessions_are_spread_over_conversation_and_chunk(sessions: int) -> None:
    placed = seats(sessions, duration_s=24.0, chunk_s=0.02)
    assert len(placed) == sessions
    begun_s = sorted(24.0 * seat.part / PARTS - seat.delay_s for seat in placed)
    gaps_s = [later - earlier for earlier, later in pairwise(begun_s)]
    assert all(0 <= seat.delay_s < 24.0 / PARTS + 0.02 for seat in placed)
    assert len({round(seat.delay_s % 0.02, 6) for seat in placed}) > sessions // 2
    assert all(gap_s > 0 for gap_s in gaps_s)


@pytest.mark.parametrize("chunk_ms", [20, 100])
def test_what_a_seat_skips_is_a_whole_number_of_frames(chunk_ms: int) -> None:
    talk = Talk(recordings=1, pause_ms=1000, chunk_ms=chunk_ms)
    duration_s = talk.spoken.duration_ms / 1000
    for part in range(PARTS):
        skipped_s = talk.skipped_s(part)
        assert skipped_s * 1000 % chunk_ms == pytest.approx(0, abs=1e-6)
        assert 0 <= duration_s * part / PARTS - skipped_s < chunk_ms / 1000


def test_the_server_has_a_core_to_itself() -> None:
    assert divide({5, 2, 7}) == Cores(server=7, clients=(2, 5))
    with pytest.raises(ValueError, match="two cores"):
        divide({3})


def test_a_soak_is_judged_once_memory_has_settled() -> None:
    samples = [Sample(minute / 10, 100 + min(minute, 50)) for minute in range(300)]
    assert growth(samples, 30) == (150, 150)
    leaking = [Sample(minute / 10, 100 + minute) for minute in range(300)]
    settled_mb, end_mb = growth(leaking, 30)
    assert end_mb - settled_mb == pytest.approx(200)
    with pytest.raises(ValueError, match="too short"):
        growth(samples[:3], 30)


def test_a_profile_adds_up_functions_whatever_their_lines() -> None:
    costs, samples = count(
        [
            "<module> (main.py:1);drive (session.py:10);encode (wire.py:3) 3",
            "<module> (main.py:1);drive (session.py:12) 1",
            "run (threading.py:5);_worker (concurrent/futures/thread.py:81) 90",
        ]
    )
    assert samples == 4
    assert costs == [
        Cost("<module> (main.py)", 1.0, 0.0),
        Cost("drive (session.py)", 1.0, 0.25),
        Cost("encode (wire.py)", 0.75, 0.75),
    ]


@pytest.mark.parametrize(
    ("at_s", "ended_s"), [(1.5, 1.0), (3.9, 1.0), (4.2, 4.0), (11.5, 11.0), (0.5, -6.0)]
)
def test_when_an_utterance_was_last_over(at_s: float, ended_s: float) -> None:
    spoken = Conversation(bytes(10_000 * BYTES_PER_MS), ((200.0, 1000.0), (3000.0, 4000.0)))
    assert spoken.speech_ended_s(at_s) == pytest.approx(ended_s)


def test_a_summary_of_nothing_shows_as_a_gap() -> None:
    assert Summary.of([]).shown() == ("–", "–", "–")
    assert Summary.of([1.0, 3.0]).shown() == ("2.0", "3.0", "3.0")
