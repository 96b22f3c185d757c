"""Words, tokens and comparison in scripts with and without spaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.words import comparable, find_words, plain, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, my  friend.", ["Hello,", " my", "  friend."]),
        ("你好，世界。OK then", ["你", "好，", "世", "界。", "OK", " then"]),
        ("end \n", ["end", " \n"]),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@given(st.text())
def test_tokens_join_to_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Hello," he said - twice!', ["Hello", "he", "said", "twice"]),
        ("don't  say 3.14", ["don't", "say", "3.14"]),
        ("你好，OK吗", ["你", "好", "OK", "吗"]),
        ("हिन्दी।", ["हिन्दी"]),
        ("👍 ... —", ["👍"]),
    ],
)
def test_words_and_where_they_stand(text: str, expected: list[str]) -> None:
    words = find_words(text)
    assert [word.text for word in words] == expected
    assert [text[word.start : word.end] for word in words] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  What's up, Doc?! ", "What's up Doc"),
        ("It’s 'fine' at 12:30, ok", "It's fine at 12:30 ok"),
        ("1,000.5 (net)", "1,000.5 net"),
        ("你好，世界！", "你好 世界"),
        ("ＦＵＬＬ width", "FULL width"),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_comparable_ignores_case_apostrophes_and_sets_chinese_apart() -> None:
    assert comparable("What's 今天 STRASSE?") == comparable("whats 今，天 straße")
