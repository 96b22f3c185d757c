"""The search for the most sessions that a server bears; it knows no server and no time."""

from __future__ import annotations

from collections.abc import Mapping

_GROWTH = 1.3
_SHRINKAGE = 0.75


def next_count(tried: Mapping[int, bool], first: int, precision: float) -> int | None:
    """How many sessions to try next.

    Args:
        tried: Counts so far, and whether each was borne. What fails below a success was noise.
        first: Where to begin.
        precision: How far apart, as a share, the largest success and the smallest failure may be.

    Returns:
        None when the answer is known: the largest success, 0 without one.
    """
    if not tried:
        return max(first, 1)
    most = largest(tried)
    failed = min((count for count, borne in tried.items() if not borne and count > most), default=0)
    if not failed:
        return max(most + 1, round(most * _GROWTH))
    if not most:
        return None if failed == 1 else max(1, int(failed * _SHRINKAGE))
    if failed - most <= max(1, precision * most):
        return None
    return (most + failed) // 2


def largest(tried: Mapping[int, bool]) -> int:
    """The most that was borne, 0 if nothing was."""
    return max((count for count, borne in tried.items() if borne), default=0)
