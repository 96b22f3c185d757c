"""How much of a long conversation a model is shown: whole turns, the oldest left out first."""

from __future__ import annotations

from collections.abc import Sequence

from core.conversation import Entry
from protocol import Message, RetentionRatio, Truncation


def turns_to_drop(
    turn_tokens: Sequence[int], fixed_tokens: int, limit: int | None, truncation: Truncation
) -> int | None:
    """How many of the oldest turns must go; None when they may not, but must.

    The newest turn always stays, so that a model whose limit it exceeds says so itself.

    Args:
        turn_tokens: Tokens of each turn, oldest first.
        fixed_tokens: Tokens of instructions and tools, which always stay.
        limit: Most tokens a model is given, None for no limit.
        truncation: The session's setting. `auto` drops what does not fit; a retention ratio drops
            to that share of the limit at once, so that the beginning of the context stays the same
            for many turns and a model's cache of it is of use.
    """
    total = sum(turn_tokens)
    room = None if limit is None else max(limit - fixed_tokens, 0)
    target: float | None = room
    if isinstance(truncation, RetentionRatio):
        wanted = truncation.token_limits and truncation.token_limits.post_instructions
        if wanted is not None:
            room = wanted if room is None else min(room, wanted)
        target = None if room is None else room * truncation.retention_ratio
    if room is None or target is None or total <= room:
        return 0
    if truncation == "disabled":
        return None
    dropped = 0
    while dropped < len(turn_tokens) - 1 and total > target:
        total -= turn_tokens[dropped]
        dropped += 1
    return dropped


def turns(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries by turn: each begins with what a user said.

    What stands before the first, such as a system message, is a turn of its own. A call and its
    output may lie in different turns; an output without its call is not shown to a model.
    """
    grouped: list[list[Entry]] = []
    for entry in entries:
        begins = isinstance(entry.item, Message) and entry.item.role == "user"
        if begins or not grouped:
            grouped.append([])
        grouped[-1].append(entry)
    return grouped
