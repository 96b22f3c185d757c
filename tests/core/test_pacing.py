"""The pacer's lead, clock and queue."""

from __future__ import annotations

import pytest

from core.pacing import Pacer


def filled(lead_ms: float | None, *durations_ms: float) -> Pacer[int]:
    pacer: Pacer[int] = Pacer(lead_ms)
    for index, duration_ms in enumerate(durations_ms):
        pacer.push(index, duration_ms)
    return pacer


def test_without_a_limit_everything_goes_at_once() -> None:
    assert filled(None, 9000, 9000, 0).release(5.0) == [0, 1, 2]


def test_the_lead_is_never_exceeded() -> None:
    pacer = filled(1000, *[200] * 20)
    now, sent = 10.0, 0
    while sent < 20:
        sent += len(pacer.release(now))
        assert pacer.sent_ms - pacer.played_ms(now) <= 1000 + 0.01
        due = pacer.deadline(now)
        now = due if due is not None else now
    assert now == pytest.approx(10.0 + 3.0)


def test_a_piece_longer_than_the_lead_goes_when_nothing_plays() -> None:
    pacer = filled(100, 500, 500)
    assert pacer.release(0.0) == [0]
    assert pacer.deadline(0.0) == pytest.approx(0.5)
    assert pacer.release(0.5) == [1]


def test_entries_without_duration_keep_their_place() -> None:
    pacer = filled(400, 400, 0, 400)
    assert pacer.release(0.0) == [0, 1]
    assert pacer.release(0.4) == [2]


def test_the_clock_stands_still_while_nothing_is_left_to_play() -> None:
    pacer = filled(1000, 500)
    pacer.release(0.0)
    assert pacer.played_ms(0.2) == pytest.approx(200)
    assert pacer.played_ms(9.0) == pytest.approx(500)
    pacer.push(1, 500)
    pacer.release(9.0)
    assert pacer.played_ms(9.1) == pytest.approx(600)


def test_a_deadline_is_a_moment_at_which_something_goes() -> None:
    pacer = filled(250, *[100] * 9)
    now = 0.1
    pacer.release(now)
    while (due := pacer.deadline(now)) is not None:
        now = due
        assert pacer.release(now)
