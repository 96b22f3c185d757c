"""Where the clause splitter cuts, and that it never loses a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.clauses import Clause, ClauseSplitter

SIXTY = "this sentence goes on and on for a good while before its comma"


def split(*chunks: str) -> list[Clause]:
    splitter = ClauseSplitter()
    clauses = [clause for chunk in chunks for clause in splitter.feed(chunk)]
    return clauses + splitter.flush()


@pytest.mark.parametrize(
    ("text", "speech"),
    [
        # sentences
        ("Hi! I am here. Are you?", ["Hi!", "I am here.", "Are you?"]),
        ("One.\nTwo\nThree", ["One.", "Two", "Three"]),
        ("你好！今天天气很好。你呢？", ["你好！", "今天天气很好。", "你呢？"]),
        ("OK!你好。Fine.好的", ["OK!", "你好。", "Fine.", "好的"]),
        ("Really?! Yes.", ["Really?!", "Yes."]),
        ("真的吗？！是的。", ["真的吗？！", "是的。"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("他说：“你好。”然后走了。", ["他说：“你好。”", "然后走了。"]),
        ("(See above.) Next.", ["(See above.)", "Next."]),
        ("Well... I think. Wait… what?", ["Well...", "I think.", "Wait…", "what?"]),
        ("嗯……好吧。", ["嗯……", "好吧。"]),
        # not the end of a sentence
        ("It is 3.14 or 1,000 or 12:30. Yes.", ["It is 3.14 or 1,000 or 12:30.", "Yes."]),
        ("Mr. Smith and Dr. J. Doe left.", ["Mr. Smith and Dr. J. Doe left."]),
        ("Use e.g. this one. Or that.", ["Use e.g. this one.", "Or that."]),
        ("See https://a.io/b?c=d,e or x.com. Bye.", ["See https://a.io/b?c=d,e or x.com.", "Bye."]),
        ("1. First\n2. Second", ["1. First", "2. Second"]),
        ("The answer is 42. Next.", ["The answer is 42.", "Next."]),
        # a pause ends the first clause once there is enough to say
        ("Hi, there you are, my friend, hello.", ["Hi, there you are,", "my friend, hello."]),
        ("In the end: nothing; nothing.", ["In the end: nothing;", "nothing."]),
        ("Listen carefully: now, now.", ["Listen carefully:", "now, now."]),
        ("Good afternoon - it is me.", ["Good afternoon -", "it is me."]),
        ("Good afternoon—it is me.", ["Good afternoon—", "it is me."]),
        ("A well-known state-of-the-art thing", ["A well-known state-of-the-art thing"]),
        ("From Monday 10–12 on", ["From Monday 10–12 on"]),
        ("好的，今天天气，很好，是吗", ["好的，今天天气，", "很好，是吗"]),
        ("时间是下午12：30，对", ["时间是下午12：30，", "对"]),
        ("我们先看——再说吧", ["我们先看——", "再说吧"]),
        # a pause ends a later clause only when it has grown long
        (f"Yes. {SIXTY}, then more.", ["Yes.", f"{SIXTY},", "then more."]),
        ("是。" + "天" * 25 + "，" + "地" * 5, ["是。", "天" * 25 + "，", "地" * 5]),
        ("Yes. I am quite sure, yes.", ["Yes.", "I am quite sure, yes."]),
        # nothing to say joins what follows
        ("... so, yes", ["... so, yes"]),
        ("\n\n- one\n- two", ["- one", "- two"]),
        ("**Bold.** Next", ["**Bold.**", "Next"]),
        ("!!!", [""]),
        (" \n ", [""]),
        ("😀 Great. Yes", ["😀 Great.", "Yes"]),
        ("", []),
    ],
)
def test_cuts(text: str, speech: list[str]) -> None:
    assert [clause.speech for clause in split(text)] == speech
    assert [clause.speech for clause in split(*text)] == speech


@pytest.mark.parametrize(
    ("chunks", "ready"),
    [
        (["It is 3."], []),
        (["It is 3.", "14 now."], []),
        (["It is fine.", " It"], ["It is fine."]),
        (["你好吗？", "好"], ["你好吗？"]),
        (["今天天气，"], ["今天天气，"]),
        (["Well then,"], []),
        (["Well, good then,", " I"], ["Well, good then,"]),
        (["One\n"], ["One"]),
    ],
)
def test_a_clause_comes_as_soon_as_its_end_is_certain(chunks: list[str], ready: list[str]) -> None:
    splitter = ClauseSplitter()
    assert [clause.speech for chunk in chunks for clause in splitter.feed(chunk)] == ready


def test_space_between_clauses_leads_the_second() -> None:
    assert split("One.  Two. ") == [
        Clause("One.", "One."),
        Clause("  Two.", "Two."),
        Clause(" ", ""),
    ]


def test_text_without_a_mark_is_cut_at_a_space_before_the_limit() -> None:
    clauses = split("word " * 100)
    assert [len(clause.exact) for clause in clauses[:2]] == [199, 200]
    assert all(clause.speech.split()[0] == "word" for clause in clauses)


@pytest.mark.parametrize("text", ["x" * 500, "." * 500, "天" * 500])
def test_text_without_a_space_is_cut_at_the_limit(text: str) -> None:
    assert max(len(clause.exact) for clause in split(text)) <= 200


def test_a_new_text_has_a_first_clause_again() -> None:
    splitter = ClauseSplitter()
    splitter.feed("One. Two is left over")
    splitter.reset()
    assert [c.speech for c in splitter.feed("Hello there you, again")] == ["Hello there you,"]
    assert [c.speech for c in splitter.flush()] == ["again"]
    assert [c.speech for c in splitter.feed("Hello there you, again")] == ["Hello there you,"]


PIECES = st.sampled_from(
    [
        ".",
        "...",
        "…",
        ",",
        " ",
        "\n",
        "3",
        "。",
        "，",
        "你",
        "好",
        "Mr",
        "word",
        "—",
        '"',
        ")",
        "é",
        "😀",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=150).map("".join))


@given(TEXTS, st.lists(st.integers(min_value=1, max_value=9), min_size=1))
def test_chunking_changes_nothing_and_nothing_is_lost(text: str, sizes: list[int]) -> None:
    chunks: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(text[at : at + size])
        at += size
    clauses = split(*chunks)
    assert "".join(clause.exact for clause in clauses) == text
    assert clauses == split(text)
    assert all(clause.speech in ("", clause.exact.strip()) for clause in clauses)
    assert all(clause.exact for clause in clauses)
