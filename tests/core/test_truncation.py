"""Long conversations: what is left out, what is never torn apart, and who decides."""

from __future__ import annotations

from typing import Any

import pytest

import protocol as p
from core import messages as m
from core.policy import Policy
from core.tokens import (
    IMAGE_TOKENS,
    MESSAGE_TOKENS,
    input_audio_tokens,
    instruction_tokens,
    message_tokens,
    output_audio_tokens,
    text_tokens,
)
from core.truncation import turns_to_drop
from tests.core.kit import Core, pcm, user_text

# --- the estimate ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("x" * 400, 100), ("你好", 2), ("hi 你好", 3)],
)
def test_text(text: str, tokens: int) -> None:
    assert text_tokens(text) == tokens


def test_messages_count_calls_and_images_too() -> None:
    call = m.ChatToolCall("c", "name", "arguments_16_ch.")
    image = p.InputImage("data:image/png;base64,AA==", "low")
    assert message_tokens(m.ChatMessage("assistant", "", (call,))) == MESSAGE_TOKENS + 1 + 4
    seen = m.ChatMessage("user", "look", images=(image,))
    assert message_tokens(seen) == MESSAGE_TOKENS + 1 + IMAGE_TOKENS["low"]


def test_tools_count_with_the_instructions() -> None:
    bare = instruction_tokens("Be brief.", ())
    tool = p.FunctionTool(name="f", parameters={"type": "object", "x": "y" * 400})
    assert bare == MESSAGE_TOKENS + 3
    assert instruction_tokens("Be brief.", (tool,)) > bare + 100


@pytest.mark.parametrize(("ms", "heard", "spoken"), [(0, 0, 0), (1000, 10, 20), (1001, 11, 21)])
def test_speech_counts_by_its_length(ms: int, heard: int, spoken: int) -> None:
    assert (input_audio_tokens(ms), output_audio_tokens(ms)) == (heard, spoken)


# --- the rule -------------------------------------------------------------------------------------


def ratio(share: float, post_instructions: int | None = None) -> p.RetentionRatio:
    limits = None if post_instructions is None else {"post_instructions": post_instructions}
    return p.RetentionRatio.model_validate(
        {"type": "retention_ratio", "retention_ratio": share, "token_limits": limits}
    )


@pytest.mark.parametrize(
    ("turns", "fixed", "limit", "truncation", "dropped"),
    [
        ([10, 10, 10], 5, None, "auto", 0),
        ([10, 10, 10], 5, 35, "auto", 0),
        ([10, 10, 10], 5, 34, "auto", 1),
        ([10, 10, 10], 5, 24, "auto", 2),
        ([10, 10, 10], 5, 1, "auto", 2),
        ([99], 0, 1, "auto", 0),
        ([], 9, 1, "auto", 0),
        ([10, 10, 10], 5, 35, "disabled", 0),
        ([10, 10, 10], 5, 34, "disabled", None),
        ([10, 10, 10], 5, None, "disabled", 0),
        ([10, 10, 10, 10], 5, 45, ratio(0.5), 0),
        ([10, 10, 10, 10], 5, 44, ratio(0.5), 3),
        ([10, 10, 10, 10], 5, 44, ratio(0.8), 1),
        ([10, 10, 10, 10], 5, 44, ratio(1.0), 1),
        ([10, 10, 10, 10], 5, 44, ratio(0.0), 3),
        # The client's own limit counts what follows the instructions.
        ([10, 10, 10, 10], 5, 99, ratio(0.8, 40), 0),
        ([10, 10, 10, 10], 5, 99, ratio(0.8, 39), 1),
        ([10, 10, 10, 10], 5, None, ratio(0.5, 30), 3),
        # It cannot raise the operator's.
        ([10, 10, 10, 10], 5, 25, ratio(1.0, 1000), 2),
    ],
)
def test_turns_to_drop(
    turns: list[int], fixed: int, limit: int | None, truncation: Any, dropped: int | None
) -> None:
    assert turns_to_drop(turns, fixed, limit, truncation) == dropped


# --- the session ----------------------------------------------------------------------------------

TURN_TOKENS = MESSAGE_TOKENS + 25
FIXED = instruction_tokens("", ())


def talked(turns: int, limit: int, truncation: Any = "auto") -> Core:
    """A session with some typed turns of 25 tokens each."""
    core = Core(Policy(context_tokens=limit))
    core.update({"truncation": truncation})
    for number in range(turns):
        core(user_text(f"{number}".ljust(100, "."), f"u{number}"))
    return core


def shown(core: Core) -> list[str]:
    """First characters of the messages of the next response, which is cancelled."""
    outputs = core.raw(p.ResponseCreate())
    core(p.ResponseCancel())
    start = next(o for o in outputs if isinstance(o, m.StartResponse))
    return [message.text.rstrip(".") for message in start.request.messages]


def test_the_oldest_turns_are_left_out_and_stay_items() -> None:
    core = talked(4, FIXED + 2 * TURN_TOKENS)
    assert shown(core) == ["2", "3"]
    assert core(p.ItemRetrieve("u0"))[0].startswith("item.retrieved")


def test_with_a_ratio_the_beginning_stays_the_same_for_a_while() -> None:
    core = talked(4, FIXED + 4 * TURN_TOKENS, ratio(0.5).model_dump())
    begins: list[str] = [shown(core)[0]]
    for number in range(4, 8):
        core(user_text(f"{number}".ljust(100, "."), f"u{number}"))
        begins.append(shown(core)[0])
    assert begins == ["0", "3", "3", "3", "6"]


def test_disabled_fails_the_response_and_says_why() -> None:
    core = talked(4, FIXED + 2 * TURN_TOKENS, "disabled")
    created, done = core.raw(p.ResponseCreate())
    assert isinstance(created, p.ResponseCreated) and isinstance(done, p.ResponseDone)
    details = done.response.status_details
    assert isinstance(details, p.Failed)
    assert (details.type, details.code) == ("invalid_request_error", "context_length_exceeded")
    assert "truncation" in details.message
    core(p.ItemDelete("u0"), p.ItemDelete("u1"))
    assert shown(core) == ["2", "3"]


def test_a_call_and_its_output_go_together() -> None:
    core = Core(Policy(context_tokens=FIXED + 3 * TURN_TOKENS))
    call = p.FunctionCall("call", "c1", "f", '{"x": 1}', "completed")
    core(user_text("old".ljust(100, "."), "u0"), p.ItemCreate(call))
    core(user_text("new".ljust(100, "."), "u1"))
    core(p.ItemCreate(p.FunctionCallOutput("out", "c1", "result".ljust(100, "."))))
    assert shown(core) == ["new"]


def test_an_output_that_was_put_into_an_older_turn_stays_with_its_call() -> None:
    core = Core(Policy(context_tokens=FIXED + 3 * TURN_TOKENS))
    core(user_text("old".ljust(200, "."), "u0"), user_text("new".ljust(100, "."), "u1"))
    core(p.ItemCreate(p.FunctionCall("call", "c1", "f", "{}", "completed")))
    core(p.ItemCreate(p.FunctionCallOutput("out", "c1", "result"), "u0"))
    assert shown(core) == ["new", "", "result"]


def test_a_context_of_the_clients_own_is_cut_and_nothing_is_forgotten() -> None:
    core = talked(2, FIXED + 2 * TURN_TOKENS)
    given = tuple(p.ItemReference(f"u{number}") for number in (0, 1, 0))
    outputs = core.raw(p.ResponseCreate(p.ResponseParams(conversation="none"), given))
    start = next(o for o in outputs if isinstance(o, m.StartResponse))
    assert [x.text.rstrip(".") for x in start.request.messages] == ["1", "0"]
    assert shown(core) == ["0", "1"]


@pytest.mark.parametrize(
    ("truncation", "code", "param"),
    [
        ("sometimes", "invalid_value", "session.truncation"),
        ({"type": "retention_ratio"}, "missing_required_parameter", ".retention_ratio"),
        ({"type": "ratio", "retention_ratio": 1}, "invalid_value", ".type"),
        ({"type": "retention_ratio", "retention_ratio": 2}, "decimal_above_max_value", "_ratio"),
        (
            {
                "type": "retention_ratio",
                "retention_ratio": 1,
                "token_limits": {"post_instructions": -1},
            },
            "integer_below_min_value",
            "session.truncation.token_limits.post_instructions",
        ),
    ],
)
def test_a_bad_setting_is_named(truncation: Any, code: str, param: str) -> None:
    (error,) = Core().raw(p.SessionUpdate({"truncation": truncation}))
    assert isinstance(error, p.ErrorEvent)
    assert error.code == code
    assert error.param is not None and error.param.endswith(param)


# --- usage ----------------------------------------------------------------------------------------


def usage_of(outputs: list[Any]) -> p.Usage:
    done = next(o for o in outputs if isinstance(o, p.ResponseDone))
    assert done.response.usage is not None
    return done.response.usage


def spoken_turn() -> Core:
    """1.5 s of speech, the response to which has begun."""
    core = Core()
    core(p.InputAudioAppend(pcm(3000)), m.VadSpeechStarted(0, 300 * 24))
    core(m.VadSpeechStopped(0, 1000 * 24), m.TranscriptFinal("item_1", "hello"))
    return core


def test_the_models_counts_and_the_length_of_speech_make_the_usage() -> None:
    core = spoken_turn()
    counts = p.Usage(input_text_tokens=50, cached_tokens=40, output_text_tokens=7)
    core(m.ModelText("resp_1", "Hi."), m.SpeechText("resp_1", "Hi."))
    core(m.SpeechAudio("resp_1", pcm(500)), m.ModelFinished("resp_1", "stop", counts))
    assert usage_of(core.raw(m.GenerationEnded("resp_1"))) == p.Usage(50, 40, 15, 7, 10)


def test_speech_that_the_model_is_not_shown_does_not_count() -> None:
    core = spoken_turn()
    core(p.ResponseCancel(), p.ItemDelete("item_1"), user_text(), p.ResponseCreate())
    assert usage_of(core.raw(p.ResponseCancel())).input_audio_tokens == 0


def test_without_counts_text_is_estimated() -> None:
    core = Core()
    core(user_text("x" * 40), p.ResponseCreate(p.ResponseParams(output_modalities=("text",))))
    core(m.ModelText("resp_1", "12345678"), m.ToolCallStarted("resp_1", "c", "f"))
    core(m.ToolCallArguments("resp_1", "c", '{"a":1}!'))
    usage = usage_of(core.raw(p.ResponseCancel()))
    expected = FIXED + MESSAGE_TOKENS + 10
    assert usage == p.Usage(expected, 0, 0, 4, 0, estimated=True)


def test_a_response_that_never_began_has_cost_nothing() -> None:
    core = Core()
    core(p.InputAudioAppend(pcm(3000)), m.VadSpeechStarted(0, 300 * 24))
    core(m.VadSpeechStopped(0, 1000 * 24))
    assert usage_of(core.raw(p.ResponseCancel())) == p.Usage()
