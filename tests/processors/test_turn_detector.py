"""The rule that makes turns of probabilities, window by window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.turn_detector import (
    WINDOW_SAMPLES,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    StateResetRule,
    TurnDetector,
)

LOUD = 0.1
FAINT = 0.01
SILENT = 0.0005
WINDOW_MS = 32

Window = float | tuple[float, float]
"""Probability, or probability and RMS; the RMS is `LOUD` where it does not matter."""


def turns(
    windows: list[Window], threshold: float = 0.5, silence_ms: int = 96
) -> list[tuple[str, int, int]]:
    """Events as (kind, position in windows, window after which it was reported)."""
    detector = TurnDetector(threshold, silence_ms)
    events: list[tuple[str, int, int]] = []
    for number, window in enumerate(windows, start=1):
        probability, rms = window if isinstance(window, tuple) else (window, LOUD)
        event = detector.push(probability, rms)
        if isinstance(event, SpeechStarted | SpeechStopped):
            kind = "start" if isinstance(event, SpeechStarted) else "stop"
            events.append((kind, event.position // WINDOW_SAMPLES, number))
    return events


def pauses(windows: list[float], pauses_ms: tuple[int, ...]) -> list[tuple[str, int, int]]:
    """Events as (kind, end of speech, position), in windows; silence of 320 ms ends a turn."""
    detector = TurnDetector()
    detector.configure(0.5, 320, pauses_ms)
    told: list[tuple[str, int, int]] = []
    for number, probability in enumerate(windows, start=1):
        match detector.push(probability, LOUD):
            case SpeechPaused(end, position):
                assert position == number * WINDOW_SAMPLES
                told.append(("pause", end // WINDOW_SAMPLES, number))
            case SpeechStopped(position):
                told.append(("stop", position // WINDOW_SAMPLES, number))
            case _:
                pass
    return told


SPEECH: list[Window] = [0.9, 0.9, 0.9]
TALK = [0.9] * 3


@pytest.mark.parametrize(
    ("windows", "asked_ms", "told"),
    [
        pytest.param([*TALK, *[0.0] * 12], (), [("stop", 3, 13)], id="none are asked for"),
        pytest.param([*TALK, *[0.0] * 4], (64, 128), [("pause", 3, 5), ("pause", 3, 7)], id="each"),
        pytest.param([*TALK, 0.0, 0.0, 0.0], (40,), [("pause", 3, 5)], id="once, rounded up"),
        pytest.param([*TALK, 0.0, *TALK], (64,), [], id="speech goes on before"),
        pytest.param(
            [*TALK, 0.0, 0.0, *TALK, 0.0, 0.0],
            (64,),
            [("pause", 3, 5), ("pause", 8, 10)],
            id="again after more speech",
        ),
        pytest.param([0.0] * 20, (64,), [], id="silence without speech is no pause"),
        pytest.param([*TALK, *[0.0] * 12], (320,), [("stop", 3, 13)], id="the end is no pause"),
    ],
)
def test_pauses(
    windows: list[float], asked_ms: tuple[int, ...], told: list[tuple[str, int, int]]
) -> None:
    assert pauses(windows, asked_ms) == told


def test_a_turn_is_ended_in_the_pause_that_was_told_and_in_no_other() -> None:
    detector = TurnDetector()
    detector.configure(0.5, 320, (64,))
    told = [detector.push(probability, LOUD) for probability in (*TALK, 0.0, 0.0)]
    assert told[-1] == SpeechPaused(3 * WINDOW_SAMPLES, 5 * WINDOW_SAMPLES)
    assert not detector.end_turn(2 * WINDOW_SAMPLES)
    assert detector.speaking
    assert detector.end_turn(3 * WINDOW_SAMPLES)
    assert not detector.speaking
    assert not detector.end_turn(3 * WINDOW_SAMPLES)
    events = [detector.push(probability, LOUD) for probability in (0.0, *TALK)]
    assert events == [None, None, None, SpeechStarted(6 * WINDOW_SAMPLES)]


def test_the_end_of_a_pause_is_told_if_the_pause_was() -> None:
    detector = TurnDetector()
    detector.configure(0.5, 320, (64,))
    windows = (*TALK, 0.0, 0.9, 0.0, 0.0, 0.9, 0.9, 0.0, 0.0, *[0.4] * 2)
    told = [type(event) for p in windows if (event := detector.push(p, LOUD)) is not None]
    # One window of silence is no pause; weak speech behind a pause ends it as loud speech does.
    assert told == [SpeechStarted, SpeechPaused, SpeechResumed, SpeechPaused, SpeechResumed]


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        pytest.param([0.0, 0.9, 0.9], [], id="two windows are not enough"),
        pytest.param([0.0, *SPEECH], [("start", 1, 4)], id="three are"),
        pytest.param([0.9, 0.9, 0.1, 0.9, 0.9], [], id="in a row"),
        pytest.param([0.6] * 9, [], id="unsure windows alone are not enough"),
        pytest.param([0.6] * 10, [("start", 0, 10)], id="unless they last"),
        pytest.param([0.0, 0.6, 0.6, 0.86], [("start", 1, 4)], id="one confident window will do"),
        pytest.param([0.0, 0.5, 0.5, 0.85], [("start", 1, 4)], id="both bounds are inclusive"),
        pytest.param([0.49, 0.9, 0.9], [], id="below the threshold does not count"),
    ],
)
def test_what_starts_a_turn(windows: list[Window], expected: list[tuple[str, int, int]]) -> None:
    assert turns(windows) == expected


@pytest.mark.parametrize(
    ("windows", "start"),
    [
        pytest.param([0.0, 0.2, 0.3, *SPEECH], 1, id="a soft onset belongs to the turn"),
        pytest.param([0.0, 0.3, 0.1, 0.3, *SPEECH], 3, id="as far as it is unbroken"),
        pytest.param([0.6, 0.3, *SPEECH], 0, id="a run that failed belongs to it as well"),
        pytest.param([(0.3, FAINT), 0.3, *SPEECH], 1, id="faint windows are the room, not speech"),
        pytest.param([(0.7, FAINT), (0.7, FAINT), *SPEECH], 2, id="nor is their run"),
        pytest.param([(0.9, FAINT), *SPEECH], 0, id="what the model is sure of is speech"),
        pytest.param([0.0, *[0.3] * 12, *SPEECH], 7, id="it is dated back by six windows at most"),
    ],
)
def test_where_a_turn_starts(windows: list[Window], start: int) -> None:
    assert [event[:2] for event in turns(windows)] == [("start", start)]


@pytest.mark.parametrize(
    ("after", "end", "reported"),
    [
        pytest.param([0.0] * 3, 3, 6, id="silence"),
        pytest.param([0.35, 0.0, 0.0], 3, 6, id="a falling slope is not speech"),
        pytest.param([0.4] * 3 + [0.0], 3, 7, id="up to three windows"),
        pytest.param([0.4] * 4 + [0.0] * 3, 7, 10, id="longer weak speech is"),
        pytest.param([0.0, 0.35, 0.0, 0.0, 0.0], 5, 8, id="weak speech after a gap is speech"),
        pytest.param([0.34] * 3, 3, 6, id="below the hysteresis is silence"),
        pytest.param([0.0, 0.0, 0.5, 0.0, 0.0, 0.0], 6, 9, id="a single window keeps the turn"),
        pytest.param([(0.9, SILENT)] * 3, 3, 6, id="near silence is silence whatever the model"),
        pytest.param([(0.9, 0.002), *[0.0] * 3], 4, 7, id="what is louder is not"),
    ],
)
def test_where_a_turn_stops(after: list[Window], end: int, reported: int) -> None:
    assert turns([*SPEECH, *after])[1:] == [("stop", end, reported)]


def test_a_quiet_speaker_is_not_near_silence() -> None:
    quiet: list[Window] = [(0.9, SILENT)] * 6
    assert turns(quiet) == [("start", 0, 3)]


@pytest.mark.parametrize(
    ("silence_ms", "windows_after"), [(0, 1), (32, 1), (33, 2), (200, 7), (500, 16), (512, 16)]
)
def test_a_stop_is_at_most_one_window_late(silence_ms: int, windows_after: int) -> None:
    events = turns([*SPEECH, *[0.0] * 40], silence_ms=silence_ms)
    assert events[1] == ("stop", 3, 3 + windows_after)
    assert silence_ms <= windows_after * WINDOW_MS
    assert silence_ms > (windows_after - 1) * WINDOW_MS or windows_after == 1


def test_after_a_stop_another_turn_may_start() -> None:
    one: list[Window] = [*SPEECH, 0.0, 0.0, 0.0]
    assert turns([*one, *one]) == [
        ("start", 0, 3),
        ("stop", 3, 6),
        ("start", 6, 9),
        ("stop", 9, 12),
    ]


@pytest.mark.parametrize(("threshold", "starts"), [(0.3, True), (0.9, True), (0.95, False)])
def test_the_threshold_decides(threshold: float, starts: bool) -> None:
    assert bool(turns([0.9] * 5, threshold)) is starts


@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.1])
def test_the_lowest_thresholds_can_still_end_a_turn(threshold: float) -> None:
    windows: list[Window] = [*SPEECH, *[0.005] * 4]
    assert turns(windows, threshold) == [("start", 0, 3), ("stop", 3, 6)]


def test_configuring_in_the_middle_of_speech_keeps_the_turn() -> None:
    detector = TurnDetector(0.5, 500)
    for _ in range(3):
        detector.push(0.9, LOUD)
    detector.push(0.0, LOUD)
    detector.configure(0.9, 64)
    assert detector.speaking
    assert detector.push(0.0, LOUD) == SpeechStopped(3 * WINDOW_SAMPLES)


def test_reset_forgets_the_turn_and_sets_the_position() -> None:
    detector = TurnDetector()
    for _ in range(4):
        detector.push(0.9, LOUD)
    detector.reset(1_000)
    assert not detector.speaking
    assert [detector.push(0.9, LOUD) for _ in range(3)] == [None, None, SpeechStarted(1_000)]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=120),
    st.floats(0, 1),
    st.integers(0, 1000),
)
def test_starts_and_stops_alternate_and_positions_never_go_back(
    windows: list[tuple[float, float]], threshold: float, silence_ms: int
) -> None:
    events = turns(list(windows), threshold, silence_ms)
    kinds = [kind for kind, *_ in events]
    assert kinds == ["start", "stop"] * (len(kinds) // 2) + ["start"] * (len(kinds) % 2)
    positions = [position for _, position, _ in events]
    assert positions == sorted(positions)
    assert all(position <= reported for _, position, reported in events)


# --- when the model's state is cleared ------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "speaking", "expected"),
    [
        pytest.param([0.05] * 130, False, [63, 126], id="every two seconds of quiet"),
        pytest.param([0.05] * 130, True, [], id="never during a turn"),
        pytest.param([0.2] * 130, False, [], id="not while the model hears something"),
        pytest.param([0.2] * 70 + [0.05] * 6, False, [75], id="after five clear windows"),
        pytest.param([0.05] * 60 + [0.2] + [0.05] * 9, False, [66], id="in a row"),
    ],
)
def test_when_the_models_state_is_cleared(
    scores: list[float], speaking: bool, expected: list[int]
) -> None:
    rule = StateResetRule()
    cleared = [number for number, p in enumerate(scores, 1) if rule.push(p, speaking)]
    assert cleared == expected
