"""`idle_timeout_ms`: who is silent, from when on, and what the model makes of it."""

from __future__ import annotations

from typing import Any

import pytest

import protocol as p
from core import messages as m
from core.idle import IDLE_NOTE, IdleWatch
from tests.core.kit import (
    SAMPLES_PER_MS,
    TRANSCRIBED,
    Core,
    finished,
    pcm,
    session,
    spoken,
    user_text,
    with_detection,
)

TIMEOUT_MS = 5000


# --- the watch ------------------------------------------------------------------------------------

AT = 5000 * SAMPLES_PER_MS


@pytest.mark.parametrize(
    ("heard_ms", "at_s", "outcome"),
    [
        (5000, 14.9, None),
        (5000, 15.0, AT),
        # The network holds some back; more than half is a microphone that is on.
        (2500, 15.0, AT),
        (2499, 15.0, None),
        (0, 99.0, None),
        (60_000, 15.0, AT),
    ],
)
def test_watch(heard_ms: int, at_s: float, outcome: int | None) -> None:
    watch = IdleWatch(since_s=10.0)
    assert watch.deadline(TIMEOUT_MS) == 10.0
    assert watch.look(9.0, 1, TIMEOUT_MS) is None
    assert watch.look(10.0, AT, TIMEOUT_MS) is None
    assert watch.deadline(TIMEOUT_MS) == 15.0
    assert watch.look(at_s, AT + heard_ms * SAMPLES_PER_MS, TIMEOUT_MS) == outcome


def test_after_a_wait_without_audio_the_next_wait_begins() -> None:
    watch = IdleWatch(since_s=10.0)
    watch.look(10.0, 0, TIMEOUT_MS)
    watch.look(15.0, 0, TIMEOUT_MS)
    assert watch.deadline(TIMEOUT_MS) == 20.0
    assert watch.look(20.0, 4000 * SAMPLES_PER_MS, TIMEOUT_MS) == 0


# --- the session ----------------------------------------------------------------------------------


def answered(reply_ms: int = 1000, **detection: Any) -> Core:
    """A session whose first reply has just been sent; all of it is still to be played."""
    core = Core(settings=with_detection(idle_timeout_ms=TIMEOUT_MS, **detection))
    core(user_text("hi"), p.ResponseCreate())
    assert core(*spoken("hello", reply_ms), *finished())[-1].startswith("response.done")
    return core


def listen(core: Core, seconds: float) -> list[str]:
    """Silence from the microphone, in real time; the outputs but for the feeding."""
    outputs: list[str] = []
    for _ in range(round(seconds * 10)):
        outputs += core.wait(0.1)
        outputs += core(p.InputAudioAppend(pcm(100)))
    return [line for line in outputs if not line.startswith("> feed")]


def test_the_silence_becomes_a_turn_that_is_answered() -> None:
    core = answered()
    core.update(TRANSCRIBED)
    assert listen(core, 5.9) == []
    assert listen(core, 0.3) == [
        # The reply was played for one second; from then on five seconds were silent.
        "timeout_triggered item_3 1000-6000ms",
        f"item.added <item_2> system item_4 completed ['{IDLE_NOTE}']",
        f"item.done <item_2> system item_4 completed ['{IDLE_NOTE}']",
        "committed <item_4> item_3",
        "item.added <item_4> user item_3 completed [audio None 5000ms]",
        "item.done <item_4> user item_3 completed [audio None 5000ms]",
        "response.created resp_2 in_progress []",
        "> start resp_2",
        "transcription.completed item_3 '' 0s",
    ]
    start = next(o for o in reversed(core.log) if isinstance(o, m.StartResponse))
    assert [(x.role, x.text) for x in start.request.messages] == [
        ("user", "hi"),
        ("assistant", "hello"),
        ("system", IDLE_NOTE),
    ]


def test_while_that_answer_runs_and_plays_nobody_is_idle() -> None:
    core = answered()
    listen(core, 6.2)
    assert listen(core, 20) == []
    core(*spoken("still there", 2000, "resp_2"), *finished("resp_2"))
    assert listen(core, 6.9) == []
    assert listen(core, 0.3)[0].startswith("timeout_triggered")


QUIET = {"type": "server_vad", "idle_timeout_ms": None}
SEMANTIC = {"type": "semantic_vad"}


@pytest.mark.parametrize(
    "happening",
    [
        p.SessionUpdate({"audio": {"input": {"turn_detection": None}}}),
        p.SessionUpdate({"audio": {"input": {"turn_detection": QUIET}}}),
        p.SessionUpdate({"audio": {"input": {"turn_detection": SEMANTIC}}}),
        m.VadSpeechStarted(0, 1000 * SAMPLES_PER_MS),
        p.ResponseCreate(),
    ],
)
def test_what_keeps_the_model_quiet(happening: Any) -> None:
    core = answered()
    listen(core, 3)
    core(happening)
    assert not [line for line in listen(core, 20) if line.startswith("timeout_triggered")]


@pytest.mark.parametrize(
    "happening",
    [
        p.InputAudioCommit(),
        p.InputAudioClear(),
        p.SessionUpdate({"audio": {"input": {"turn_detection": {"threshold": 0.6}}}}),
    ],
)
def test_what_starts_the_wait_anew(happening: Any) -> None:
    core = answered(create_response=False)
    listen(core, 4)
    core(happening)
    assert listen(core, 4.9) == []
    assert listen(core, 0.3)[0].startswith("timeout_triggered")


def test_a_microphone_that_is_off_is_no_silence() -> None:
    core = answered()
    assert core.wait(60) == []
    # Once audio arrives again a whole wait passes first.
    assert listen(core, 4.9) == []
    assert any(line.startswith("timeout_triggered") for line in listen(core, 5))


def test_before_the_first_response_nobody_is_idle() -> None:
    core = Core(settings=with_detection(idle_timeout_ms=TIMEOUT_MS))
    assert listen(core, 12) == []


def test_create_response_false_commits_and_waits() -> None:
    core = answered(create_response=False)
    told = listen(core, 6.2)
    assert told[0].startswith("timeout_triggered")
    assert told[-1].startswith("item.done")
    assert listen(core, 20) == []


def test_a_cancelled_reply_is_over_at_once() -> None:
    core = Core(settings=with_detection(idle_timeout_ms=TIMEOUT_MS))
    core(user_text("hi"), p.ResponseCreate(), *spoken("hello", 4000), p.ResponseCancel())
    assert listen(core, 5.2)[0].startswith("timeout_triggered")


def test_a_transcription_session_has_nothing_to_say() -> None:
    settings = with_detection(idle_timeout_ms=TIMEOUT_MS)
    core = Core(settings=session(type="transcription", audio=settings.audio))
    core.speak()
    assert listen(core, 12) == []
