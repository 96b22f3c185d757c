"""What the processes of one gateway share; processes are played by views of the same memory."""

from __future__ import annotations

import os
from pathlib import Path

from core.rate_limits import Allowance
from process_group import CONTEXT, ProcessGroup

STT_DOWN = {"stage": "stt", "engine": "deepgram", "reason": "key refused"}
TTS_DOWN = {"stage": "tts", "engine": "edge_tts", "reason": "cut"}


def test_sessions_of_all_processes_are_counted() -> None:
    one, other = ProcessGroup.form(2)
    one.session_opened()
    other.session_opened()
    other.session_opened()
    other.session_closed()
    assert one.open_sessions() == other.open_sessions() == 2
    one.forget(1)
    assert one.open_sessions() == 1


def test_a_request_counts_in_every_process() -> None:
    limiters = [group.limiter(2, 1000) for group in ProcessGroup.form(3)]
    alone = Allowance(2, 1000)
    assert limiters[0].admit("m", 10.0) is alone.admit("m", 10.0) is None
    assert limiters[1].admit("m", 10.5) is alone.admit("m", 10.5) is None
    limiters[1].spend(400, 11.0)
    alone.spend(400, 11.0)
    for limiter in limiters:
        assert limiter.levels(12.0) == alone.levels(12.0)
        assert not limiter.is_open(12.0)
    refused, expected = limiters[2].admit("m", 12.0), alone.admit("m", 12.0)
    assert refused is not None
    assert refused == expected
    assert limiters[0].is_open(71.0)


def test_a_process_that_died_with_the_lock_of_the_limits_holds_up_nobody() -> None:
    first, second = ProcessGroup.form(2)
    victim = CONTEXT.Process(target=_die_with_the_lock, args=(second,))
    victim.start()
    victim.join(60)
    lock = first.limit_cells.get_lock()
    assert not lock.acquire(block=False)
    first.forget(1)
    assert first.limiter(1, None).is_open(0.0)
    first.forget(1)
    assert lock.acquire(block=False)


def _die_with_the_lock(group: ProcessGroup) -> None:
    group.limit_cells.get_lock().acquire()
    os._exit(1)


def test_a_process_without_limits_tells_none() -> None:
    (alone,) = ProcessGroup.form(1)
    limiter = alone.limiter(None, None)
    assert limiter.admit("m", 0.0) is None
    assert limiter.levels(0.0) == ()


def test_what_fails_in_one_process_is_said_by_all_once(tmp_path: Path) -> None:
    one, other, third = ProcessGroup.form(3, tmp_path)
    one.tell_failing([STT_DOWN])
    other.tell_failing([STT_DOWN, TTS_DOWN])
    assert one.failing([STT_DOWN]) == [STT_DOWN, TTS_DOWN]
    assert third.failing([]) == [STT_DOWN, TTS_DOWN]
    other.tell_failing([])
    assert third.failing([]) == [STT_DOWN]
    third.forget(0)
    assert third.failing([]) == []


def test_a_gateway_alone_needs_no_folder() -> None:
    (alone,) = ProcessGroup.form(1)
    alone.tell_failing([STT_DOWN])
    assert alone.failing([STT_DOWN]) == [STT_DOWN]
    assert alone.failing([]) == []
