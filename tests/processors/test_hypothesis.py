"""Hypotheses in, append-only text out."""

from __future__ import annotations

import pytest

from processors.hypothesis import StablePrefix, join_texts

ROWS = {
    "nothing is stable at first": (["go"], ["", "go"], "go"),
    "a word is stable when it was said twice": (
        ["go", "go forward", "go forward ten"],
        ["", "go", " forward", " ten"],
        "go forward ten",
    ),
    "a word that changes waits": (
        ["ice", "I scream", "I scream loud", "I scream loud"],
        ["", "", "I scream", " loud", ""],
        "I scream loud",
    ),
    "the stable part may grow inside a word": (
        ["go for", "go for", "go forward", "go forward"],
        ["", "go for", "", "ward", ""],
        "go forward",
    ),
    "what was said is never taken back": (
        ["four cats", "four cats", "for dogs", "for dogs"],
        ["", "four cats", "", "", ""],
        "for dogs",
    ),
    "the final text brings the rest": (
        ["one", "one two"],
        ["", "one", " two three"],
        "one two three",
    ),
    "a final text that contradicts brings nothing": (["one", "one"], ["", "one", ""], "won"),
    "characters are words in Chinese": (
        ["今天", "今天天气", "今天天汽好"],
        ["", "今天", "天", "气好"],
        "今天天气好",
    ),
    "no hypotheses, all at the end": ([], ["hello"], "hello"),
    "nothing understood": (["uh"], ["", ""], ""),
}


@pytest.mark.parametrize(("hypotheses", "deltas", "final"), ROWS.values(), ids=ROWS.keys())
def test_deltas(hypotheses: list[str], deltas: list[str], final: str) -> None:
    stable = StablePrefix()
    seen = [stable.revise(hypothesis) for hypothesis in hypotheses]
    assert [*seen, stable.finish(final)] == deltas


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("one", "two", "one two"),
        (" one ", " two ", "one two"),
        ("今天", "天气", "今天天气"),
        ("", "two", "two"),
        ("one", "", "one"),
        ("", "", ""),
    ],
)
def test_join(first: str, second: str, joined: str) -> None:
    assert join_texts(first, second) == joined
