"""What a language model is shown of a conversation."""

from __future__ import annotations

import protocol as p
from core import messages as m
from core.context import PENDING_OUTPUT, chat_messages
from core.conversation import Entry, Known, Unknown
from core.messages import ChatMessage, ChatToolCall
from tests.core.kit import Core, pcm, spoken, user_text


def message(role: p.Role, *content: p.Content) -> Entry:
    return Entry(p.Message(f"item_{role}", role, "completed", content))


def call(call_id: str, status: p.ItemStatus = "completed") -> Entry:
    return Entry(p.FunctionCall(f"item_{call_id}", call_id, "f", "{}", status))


def output(call_id: str, text: str) -> Entry:
    return Entry(p.FunctionCallOutput(f"out_{call_id}", call_id, text))


def test_roles_and_texts() -> None:
    spoken_entry = message("user", p.InputAudio(None, b""))
    spoken_entry.transcript = Known("spoken words")
    entries = [
        message("system", p.InputText("rules")),
        message("user", p.InputText("typed"), p.InputText("twice")),
        message("assistant", p.OutputText("reply")),
        spoken_entry,
    ]
    assert [(x.role, x.text) for x in chat_messages(entries)] == [
        ("system", "rules"),
        ("user", "typed\ntwice"),
        ("assistant", "reply"),
        ("user", "spoken words"),
    ]


def test_what_nobody_understood_is_left_out() -> None:
    entry = message("user", p.InputAudio(None, b""))
    entry.transcript = Unknown()
    assert chat_messages([entry]) == ()


def test_outputs_follow_their_calls_whatever_came_between() -> None:
    entries = [
        message("user", p.InputText("go")),
        message("assistant", p.OutputAudio("One moment.")),
        call("a"),
        call("b"),
        message("user", p.InputText("hurry")),
        output("b", "2"),
        output("a", "1"),
    ]
    assert chat_messages(entries) == (
        ChatMessage("user", "go"),
        ChatMessage(
            "assistant",
            "One moment.",
            tool_calls=(ChatToolCall("a", "f", "{}"), ChatToolCall("b", "f", "{}")),
        ),
        ChatMessage("tool", "1", tool_call_id="a"),
        ChatMessage("tool", "2", tool_call_id="b"),
        ChatMessage("user", "hurry"),
    )


def test_an_unanswered_call_says_so_and_a_cancelled_one_is_left_out() -> None:
    assert chat_messages([call("a"), call("x", "incomplete")])[1:] == (
        ChatMessage("tool", PENDING_OUTPUT, tool_call_id="a"),
    )


def test_images_travel_with_their_message() -> None:
    image = p.InputImage("data:image/png;base64,AA==")
    (only,) = chat_messages([message("user", image)])
    assert (only.text, only.images) == ("", (image,))


def snapshot(core: Core) -> list[tuple[str, str]]:
    outputs = core.raw(p.ResponseCreate())
    start = next(o for o in outputs if isinstance(o, m.StartResponse))
    return [(x.role, x.text) for x in start.request.messages]


def test_after_barge_in_the_model_knows_what_was_heard() -> None:
    core = Core()
    core(user_text("go"), p.ResponseCreate(), *spoken("one two three four", 1000))
    core.now += 0.5
    core(m.VadSpeechStarted(0, 0), p.InputAudioClear())
    assert snapshot(core) == [("user", "go"), ("assistant", "one two")]


def test_truncation_overrides_what_the_clock_says() -> None:
    core = Core()
    core(user_text("go"), p.ResponseCreate(), *spoken("one two three four", 1000))
    core(m.GenerationEnded("resp_1"))
    core(p.ItemTruncate("item_2", 0, 300.7))
    assert snapshot(core)[1] == ("assistant", "one")
    (retrieved,) = core.raw(p.ItemRetrieve("item_2"))
    assert retrieved == p.ItemRetrieved(
        p.Message("item_2", "assistant", "completed", (p.OutputAudio("one"),))
    )


def test_truncation_outlives_the_response_it_comes_in() -> None:
    core = Core()
    core(user_text("go"), p.ResponseCreate(), *spoken("one two three four", 1000))
    core(p.ItemTruncate("item_2", 0, 300))
    # What has been sent is what the item ends with; what is kept of it is what was heard.
    whole = "assistant item_2 incomplete [said 'one two three four']"
    assert any(whole in line for line in core(p.ResponseCancel()))
    (retrieved,) = core.raw(p.ItemRetrieve("item_2"))
    assert retrieved == p.ItemRetrieved(
        p.Message("item_2", "assistant", "incomplete", (p.OutputAudio("one"),))
    )
    assert snapshot(core)[1] == ("assistant", "one")


def test_insertion_order_is_the_models_order() -> None:
    core = Core()
    core(user_text("b", "B"), p.ItemCreate(user_text("a", "A").item, "root"))
    core(p.ItemCreate(user_text("c", "C").item, "A"))
    core(p.ItemDelete("B"))
    assert snapshot(core) == [("user", "a"), ("user", "c")]


def test_a_manual_response_waits_for_every_word_before_it() -> None:
    core = Core()
    core.update({"audio": {"input": {"turn_detection": None}}})
    for _ in range(2):
        core(p.InputAudioAppend(pcm(200)), p.InputAudioCommit())
    assert core(p.ResponseCreate()) == ["response.created resp_1 in_progress []"]
    assert core(m.TranscriptFinal("item_2", "second")) == []
    outputs = core.raw(m.TranscriptFinal("item_1", "first"))
    assert isinstance(outputs[0], m.StartResponse)
    assert [x.text for x in outputs[0].request.messages] == ["first", "second"]


def test_root_is_a_place_and_no_name() -> None:
    core = Core()
    assert core(user_text("a", "root")) == ["error invalid_value None"]
