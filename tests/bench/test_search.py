"""The search for the most sessions that a server bears."""

from __future__ import annotations

import pytest

from bench.search import largest, next_count


def found(first: int, bears: int, precision: float = 0.05) -> tuple[int, list[int]]:
    tried: dict[int, bool] = {}
    while (count := next_count(tried, first, precision)) is not None:
        assert count not in tried
        assert len(tried) < 50
        tried[count] = count <= bears
    return largest(tried), list(tried)


@pytest.mark.parametrize("bears", [1, 2, 7, 32, 99, 180, 1000])
@pytest.mark.parametrize("first", [1, 30, 200])
def test_it_ends_within_the_precision(first: int, bears: int) -> None:
    answer, tried = found(first, bears)
    assert answer <= bears
    assert bears - answer <= max(1, 0.05 * answer)
    assert tried[0] == first


def test_a_server_that_bears_nothing_bears_none() -> None:
    answer, tried = found(40, 0)
    assert answer == 0
    assert tried[-1] == 1


def test_a_failure_below_a_success_was_noise() -> None:
    assert next_count({100: False, 75: True, 110: True}, 100, 0.05) == 143
