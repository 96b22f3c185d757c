"""The limits of a key: what leaks when, what is refused, and what a session says of it."""

from __future__ import annotations

from typing import Any

import pytest

import protocol as p
from core.messages import ModelFinished, StartResponse
from core.rate_limits import Allowance
from protocol import RateLimit
from tests.core.kit import Core, finished, session, user_text

TEXT = p.ResponseCreate(p.ResponseParams(output_modalities=("text",)))


def refusals(limits: Allowance, *moments: float) -> list[bool]:
    return [limits.admit("m", now) is not None for now in moments]


def test_no_more_requests_than_the_limit_and_then_one_as_each_leaks_away() -> None:
    limits = Allowance(3, None)
    assert refusals(limits, 0, 0, 0, 0, 19.9, 20, 20, 40) == [False] * 3 + [
        True,
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("limit", [1, 3, 7, 60, 1000])
@pytest.mark.parametrize("now", [0.1, 1000.7, 123_456.789])
def test_a_request_fits_at_the_moment_that_was_named(limit: int, now: float) -> None:
    limits = Allowance(limit, None)
    for _ in range(limit):
        assert limits.admit("m", now) is None
    (level,) = limits.levels(now)
    assert (level.remaining, level.reset_seconds) == (0, pytest.approx(60))
    refused = limits.admit("m", now)
    assert refused is not None
    assert limits.admit("m", now + 60 / limit) is None


def test_reset_seconds_is_when_all_of_the_limit_is_there_again() -> None:
    limits = Allowance(None, 600)
    limits.spend(300, 10.0)
    assert limits.levels(10.0) == (RateLimit("tokens", 600, 300, 30.0),)
    assert limits.levels(25.0) == (RateLimit("tokens", 600, 450, 15.0),)
    assert limits.levels(40.0) == (RateLimit("tokens", 600, 600, 0.0),)


def test_the_response_that_crosses_the_limit_of_tokens_is_served_and_later_ones_wait() -> None:
    limits = Allowance(None, 60)
    assert refusals(limits, 0) == [False]
    limits.spend(90, 0)
    assert limits.levels(0) == (RateLimit("tokens", 60, 0, 90.0),)
    assert refusals(limits, 0, 30, 31) == [True, True, False]


def test_what_is_refused_is_not_counted() -> None:
    limits = Allowance(1, 1000)
    assert refusals(limits, 0, 0, 0, 60) == [False, True, True, False]


def test_a_report_that_comes_late_is_counted_all_the_same() -> None:
    limits = Allowance(None, 600)
    limits.spend(100, 50.0)
    limits.spend(100, 49.0)
    assert limits.levels(50.0)[0].remaining == 400


def test_a_state_is_all_that_another_needs_to_go_on() -> None:
    first, second = Allowance(2, 600), Allowance(2, 600)
    assert refusals(first, 0) == [False]
    first.spend(100, 1.0)
    second.restore(first.state())
    assert second.levels(2.0) == first.levels(2.0)
    assert refusals(second, 2.0, 2.0) == [False, True]


# --- in a session ---------------------------------------------------------------------------------


def limited(requests: int | None, tokens: int | None = None, **settings: Any) -> Core:
    return Core(settings=session(**settings), limiter=Allowance(requests, tokens))


def test_the_limits_are_told_at_both_ends_of_a_response() -> None:
    core = limited(5, 100)
    core(user_text())
    assert core(TEXT) == [
        "response.created resp_1 in_progress []",
        "limits at created: 4/5 requests, 100/100 tokens",
        "> start resp_1",
    ]
    assert core(*finished())[-2:] == [
        "response.done resp_1 completed []",
        "limits at done: 4/5 requests, 94/100 tokens",
    ]


def test_without_limits_nothing_is_told() -> None:
    core = Core()
    core(user_text(), TEXT, *finished())
    assert not [o for o in core.log if isinstance(o, p.RateLimitsUpdated)]


def test_over_the_limit_a_response_fails_and_no_engine_is_asked() -> None:
    core = limited(1)
    core(user_text(), TEXT, *finished())
    assert core(TEXT) == [
        "response.created resp_2 in_progress []",
        "limits at created: 0/1 requests",
        "response.done resp_2 failed rate_limit_exceeded []",
        "limits at done: 0/1 requests",
    ]
    done = next(o for o in reversed(core.log) if isinstance(o, p.ResponseDone))
    details = done.response.status_details
    assert isinstance(details, p.Failed)
    assert details.type == "rate_limit_error"
    assert details.message == (
        "Rate limit reached for gpt-realtime on requests per min (RPM): Limit 1, Used 1. "
        "Please try again in 60s."
    )
    core.now += 60
    assert "> start resp_3" in core(TEXT)


@pytest.mark.parametrize("conversation", ["auto", "none"])
def test_automatic_and_out_of_band_responses_count_too(conversation: Any) -> None:
    core = limited(1)
    core(p.ResponseCreate(p.ResponseParams(conversation=conversation)), *finished())
    said = core.speak()
    assert "response.done resp_2 failed rate_limit_exceeded []" in said
    assert not [o for o in core.log[-len(said) :] if isinstance(o, StartResponse)]
    # The user was heard nevertheless, and the next turn finds the session alive.
    assert any(line.startswith("committed") for line in said)


def test_sessions_of_one_key_share_its_limits() -> None:
    limits = Allowance(None, 100)
    first, second = Core(limiter=limits), Core(limiter=limits)
    first(user_text(), TEXT, ModelFinished("resp_1", "stop", p.Usage(60, 0, 0, 40)))
    assert "response.done resp_1 failed rate_limit_exceeded []" in second(user_text(), TEXT)


def test_hanging_up_does_not_save_the_tokens() -> None:
    limits = Allowance(None, 100)
    core = Core(limiter=limits)
    core(user_text("four words are here"), TEXT)
    core.machine.close(core.now)
    assert limits.levels(core.now)[0].remaining < 100
