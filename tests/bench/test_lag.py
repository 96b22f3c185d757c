"""What is made of the moments at which server events arrived."""

from __future__ import annotations

import pytest

from bench import lag
from bench.lag import Event, Heard


def said(*events: tuple[str, float]) -> list[Event]:
    return [Event(kind, at_s) for kind, at_s in events]


def test_milestones_are_starts_stops_and_the_first_audio_after_a_stop() -> None:
    events = said(
        ("started", 1.0),
        ("audio", 1.1),
        ("stopped", 2.0),
        ("audio", 2.1),
        ("audio", 2.3),
        ("started", 5.0),
        ("stopped", 6.0),
    )
    assert lag.milestones(events) == said(
        *(("started", 1.0), ("stopped", 2.0), ("first_audio", 2.1)),
        *(("started", 5.0), ("stopped", 6.0)),
    )


def test_the_earliest_of_several_takes_is_when_an_event_is_due() -> None:
    takes = [
        said(("started", 1.00), ("stopped", 2.03)),
        said(("started", 1.02), ("stopped", 2.01)),
        said(("stopped", 2.02)),
    ]
    assert lag.earliest(takes) == said(("started", 1.00), ("stopped", 2.01))


def test_lag_is_against_the_same_event_and_a_missing_one_counts_in_full() -> None:
    expected = said(("started", 1.0), ("stopped", 2.0), ("first_audio", 2.1), ("stopped", 9.0))
    seen = said(("started", 1.25), ("stopped", 1.75), ("first_audio", 4.1), ("stopped", 15.0))
    assert lag.lags_ms(lag.match(expected, seen)) == pytest.approx(
        [250, -250, 2000, lag.MISSING_MS]
    )


def test_an_event_is_taken_for_one_that_was_due_only_once() -> None:
    pairs = lag.match(said(("started", 1.0), ("started", 1.5)), said(("started", 1.6)))
    assert [seen for _, seen in pairs] == [Event("started", 1.6), None]


@pytest.mark.parametrize(
    ("client_late_s", "trusted"),
    [((), True), ((0.5,), True), ((1.9,), False), ((2.5,), False), ((3.5,), True)],
)
def test_a_client_that_was_late_itself_is_no_witness(
    client_late_s: tuple[float, ...], trusted: bool
) -> None:
    heard = Heard((), client_late_s)
    assert heard.trusted((Event("stopped", 2.0), Event("stopped", 3.0))) is trusted


def test_jitter_is_the_distance_from_the_common_rhythm() -> None:
    events = said(
        *(("stopped", 0.0), ("audio", 1.0), ("audio", 1.2), ("audio", 1.4)),
        *(("started", 2.0), ("stopped", 3.0), ("audio", 5.0), ("audio", 5.25), ("audio", 5.4)),
        *(("started", 6.0), ("stopped", 7.0), ("audio", 9.0), ("audio", 9.2)),
    )
    replies = lag.replies(events)
    assert [len(reply) for reply in replies] == [3, 3, 2]
    assert sorted(lag.jitter_ms(replies)) == pytest.approx([0, 0, 0, 0, 50], abs=1e-6)


def test_what_is_cut_in_on_goes_on_until_its_last_audio() -> None:
    due = said(
        *(("started", 1.0), ("stopped", 2.0), ("first_audio", 2.0)),
        *(("started", 4.0), ("stopped", 5.0), ("first_audio", 5.0)),
        ("started", 7.0),
    )
    heard = Heard(
        tuple(
            said(
                *(("started", 1.0), ("stopped", 2.0), ("audio", 2.0), ("audio", 3.0)),
                *(("audio", 4.02), ("started", 4.03), ("audio", 4.05)),
                *(("stopped", 5.0), ("audio", 5.0), ("audio", 6.0), ("started", 7.0)),
            )
        )
    )
    assert lag.cut_off_ms(heard, due) == pytest.approx([50, 0])


def test_a_barge_in_counts_from_when_it_was_due_however_early_it_was_heard() -> None:
    due = said(("stopped", 2.0), ("first_audio", 2.0), ("started", 4.0))
    early = said(("stopped", 2.0), ("audio", 2.0), ("started", 3.9), ("audio", 4.03))
    assert lag.cut_off_ms(Heard(tuple(early)), due) == pytest.approx([30])


def test_speech_that_cuts_in_on_nothing_is_no_barge_in() -> None:
    events = said(("started", 1.0), ("stopped", 2.0), ("started", 3.0))
    assert lag.cut_off_ms(Heard(tuple(events)), events) == []
