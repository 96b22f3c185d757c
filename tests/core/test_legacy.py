"""The events that OpenAI no longer sends, where the operator wants them."""

from __future__ import annotations

import pytest

from core.policy import Policy
from tests.core.kit import Core, brief, session, user_text

LEGACY = Policy(legacy_events=True)


def test_the_conversation_is_announced_right_behind_the_session() -> None:
    core = Core(LEGACY)
    assert [brief(output) for output in core.log[:2]] == [
        "session.created",
        "conversation.created conv_1",
    ]


def test_an_item_is_created_between_added_and_done() -> None:
    core = Core(LEGACY)
    item = "user item_1 completed ['hi']"
    assert core(user_text()) == [
        f"item.added <None> {item}",
        f"item.created <None> {item}",
        f"item.done <None> {item}",
    ]


def test_a_transcription_session_announces_no_conversation() -> None:
    core = Core(LEGACY, session(type="transcription"))
    assert "conversation.created conv_1" not in [brief(output) for output in core.log]


@pytest.mark.parametrize("policy", [None, Policy()])
def test_by_default_there_are_none(policy: Policy | None) -> None:
    core = Core(policy)
    core(user_text())
    assert [line for line in map(brief, core.log) if ".created" in line] == ["session.created"]
