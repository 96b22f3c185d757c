"""Replies that are begun in a pause: used when the turn ends there, never seen when it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import protocol as p
from core import messages as m
from core.mcp_policy import McpPolicy
from core.policy import Policy
from core.rate_limits import Allowance
from protocol import ErrorCategory, Stage
from tests.core.kit import (
    MANUAL,
    SAMPLES_PER_MS,
    TRANSCRIBED,
    Core,
    brief,
    finished,
    pcm,
    session,
    spoken,
    user_text,
)

EARLY = Policy(speculate_after_ms=100)
NEVER = Policy()
PAUSE_MS = 1100
END_MS = 1000
FAILURE = m.Failure(Stage.LLM, ErrorCategory.SERVER, "the model fell over")
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


def at(ms: int) -> int:
    return ms * SAMPLES_PER_MS


def speaking(policy: Policy = EARLY, **patch: Any) -> Core:
    """A second of speech under way."""
    core = Core(policy, session(**patch))
    core.update(TRANSCRIBED)
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    return core


def pause(core: Core, ms: int = PAUSE_MS) -> list[str]:
    return core(m.VadPaused(0, at(ms)))


def tentative(text: str = "hello", ms: int = PAUSE_MS) -> m.TranscriptTentative:
    return m.TranscriptTentative("item_1", text, at(ms))


def stop(core: Core, end_ms: int = END_MS) -> list[str]:
    core(p.InputAudioAppend(pcm(400)))
    return core(m.VadSpeechStopped(0, at(end_ms)))


FINAL = m.TranscriptFinal("item_1", "hello")


def drafted(policy: Policy = EARLY, **patch: Any) -> Core:
    """A pause in which a reply to "hello" was begun as resp_1."""
    core = speaking(policy, **patch)
    assert pause(core) == ["> settle item_1 1100ms"]
    assert core(tentative()) == ["> start resp_1"]
    return core


def shown(core: Core) -> list[str]:
    """All events, without the commands."""
    return [line for output in core.log if not (line := brief(output)).startswith(">")]


# --- the same on the wire -------------------------------------------------------------------------

REPLIES: dict[str, list[Any]] = {
    "speech": [*spoken("Hi. ", 400), *spoken("You.", 300), *finished()],
    "a call": [
        m.ToolCallStarted("resp_1", "call_a", "f"),
        m.ToolCallArguments("resp_1", "call_a", "{}"),
        m.ToolCallEnded("resp_1", "call_a"),
        *finished(reason="tool_calls"),
    ],
    "speech and a call": [
        *spoken("Let me see.", 900),
        m.ToolCallStarted("resp_1", "call_a", "f"),
        m.ToolCallArguments("resp_1", "call_a", "{}"),
        m.ToolCallEnded("resp_1", "call_a"),
        *finished(reason="tool_calls"),
    ],
    "nothing": finished(),
    "a failure": [*spoken("Hi.", 100), m.GenerationFailed("resp_1", FAILURE)],
}


@pytest.mark.parametrize("reply", [r for name, r in REPLIES.items() if name != "a failure"])
@pytest.mark.parametrize("made_early", [0, 1, 3, 99])
def test_a_reply_begun_early_is_on_the_wire_what_it_would_be_otherwise(
    reply: list[Any], made_early: int
) -> None:
    late = speaking(NEVER)
    stop(late)
    late(FINAL, *reply)

    early = drafted()
    assert early(*reply[:made_early]) == []
    stop(early)
    early(FINAL, *reply[made_early:])

    assert shown(early) == shown(late)
    assert early.machine.drafts.used == 1


def test_the_turn_and_the_words_come_before_the_reply() -> None:
    core = drafted()
    core(*REPLIES["speech"])
    assert stop(core) == [
        "speech_stopped item_1 1500ms",
        "> close item_1 as settled",
        "committed <None> item_1",
        "item.added <None> user item_1 completed [audio None 1500ms]",
        "item.done <None> user item_1 completed [audio None 1500ms]",
        "response.created resp_1 in_progress []",
    ]
    assert core(FINAL)[:3] == [
        "transcription.completed item_1 'hello' 2s",
        "output_item.added 0 assistant item_2 in_progress []",
        "item.added <item_1> assistant item_2 in_progress []",
    ]


def test_what_the_engine_makes_while_the_words_are_awaited_keeps_its_place() -> None:
    core = drafted(output_modalities=("text",))
    core(m.ModelText("resp_1", "One "))
    stop(core)
    assert core(m.ModelText("resp_1", "two"), *finished()) == []
    core(FINAL)
    said = [o.text for o in core.log if isinstance(o, p.OutputTextDone)]
    assert said == ["One two"]


def test_words_that_only_gain_punctuation_keep_the_reply() -> None:
    core = drafted()
    core(*REPLIES["speech"])
    stop(core)
    assert "> start resp_2" not in core(m.TranscriptFinal("item_1", "Hello!"))
    assert core.machine.drafts.used == 1


def test_a_failed_draft_is_begun_afresh() -> None:
    core = drafted()
    assert core(*REPLIES["a failure"]) == []
    stop(core)
    outputs = core(FINAL)
    assert outputs[-1] == "> start resp_2"
    core(*spoken("Hi.", 100, "resp_2"), *finished("resp_2"))
    done = [brief(o) for o in core.log if isinstance(o, p.ResponseDone)]
    assert done == ["response.done resp_1 completed [item_2]"]


def test_what_is_made_for_a_draft_is_made_for_a_response_once_it_is_used() -> None:
    """Until then its failure is nobody's: the response begins afresh."""
    core = drafted()
    assert not core.machine.is_making("resp_1")
    stop(core)
    assert not core.machine.is_making("resp_1")
    core(FINAL)
    assert core.machine.is_making("resp_1")
    core(*finished())
    assert not core.machine.is_making("resp_1")


def test_a_draft_that_failed_is_not_tried_again_in_the_same_pause() -> None:
    core = drafted()
    core(m.GenerationFailed("resp_1", FAILURE))
    assert core(tentative("hello you")) == []


# --- the user goes on -----------------------------------------------------------------------------


def test_a_turn_that_goes_on_leaves_no_trace() -> None:
    core = drafted()
    core(*REPLIES["speech"][:4])
    assert core(m.VadResumed(0)) == ["> stop resp_1"]
    assert core(*REPLIES["speech"]) == []
    core(p.InputAudioAppend(pcm(1000)))
    stopped = core(m.VadSpeechStopped(0, at(2000)))
    assert "> close item_1" in stopped
    assert stopped[-1] == "response.created resp_2 in_progress []"
    assert core(m.TranscriptFinal("item_1", "hello you"))[-1] == "> start resp_2"
    assert core(*REPLIES["speech"]) == []
    drafts = core.machine.drafts
    assert (drafts.made, drafts.used, drafts.dropped) == (1, 0, 1)
    assert drafts.dropped_tokens > 0


def test_a_second_pause_gets_a_draft_of_its_own() -> None:
    core = drafted()
    core(m.VadResumed(0), p.InputAudioAppend(pcm(1000)))
    assert core(tentative()) == [], "the first pause's words are stale"
    assert pause(core, 2000) == ["> settle item_1 2000ms"]
    assert core(tentative()) == []
    assert core(tentative("hello you", 2000)) == ["> start resp_2"]
    core(*spoken("Hi.", 100, "resp_2"))
    stop(core, 1900)
    outputs = core(m.TranscriptFinal("item_1", "hello you"))
    assert "transcript.delta item_2 'Hi.'" in outputs


def test_better_words_replace_the_draft() -> None:
    core = drafted()
    assert core(tentative()) == []
    assert core(tentative("Hello.")) == []
    assert core(tentative("hello you")) == ["> stop resp_1", "> start resp_2"]
    core(*spoken("<1>", 50), *spoken("<2>", 50, "resp_2"))
    stop(core)
    core(m.TranscriptFinal("item_1", "hello you"), *finished("resp_2"))
    done = [brief(o) for o in core.log if isinstance(o, p.ResponseDone)]
    assert done == ["response.done resp_2 completed [item_2]"]
    said = [o.transcript for o in core.log if isinstance(o, p.OutputTranscriptDone)]
    assert said == ["<2>"]


def test_other_final_words_are_answered_afresh() -> None:
    core = drafted()
    core(*spoken("<1>", 100))
    stop(core)
    outputs = core(m.TranscriptFinal("item_1", "hello you"))
    assert outputs == [
        "> stop resp_1",
        "transcription.completed item_1 'hello you' 2s",
        "> start resp_2",
    ]
    core(*spoken("<1>", 100), *spoken("<2>", 100, "resp_2"), *finished("resp_2"))
    said = [o.transcript for o in core.log if isinstance(o, p.OutputTranscriptDone)]
    assert said == ["<2>"]
    done = [brief(o) for o in core.log if isinstance(o, p.ResponseDone)]
    assert done == ["response.done resp_1 completed [item_2]"]


def test_words_that_come_behind_the_end_of_the_turn_are_no_draft() -> None:
    core = speaking()
    pause(core)
    stop(core)
    assert core(tentative()) == []
    assert core(FINAL)[-1] == "> start resp_1"


def test_a_turn_in_which_nothing_was_understood_is_not_answered() -> None:
    core = drafted()
    stop(core)
    assert core(m.TranscriptFinal("item_1", ""))[-1] == "response.done resp_1 completed []"
    assert core.machine.drafts.dropped == 1


# --- what else ends a draft -----------------------------------------------------------------------


DROPPED: dict[str, Any] = {
    "commit": p.InputAudioCommit(),
    "clear": p.InputAudioClear(),
    "an item": user_text("by the way"),
    "instructions": p.SessionUpdate({"instructions": "Be short."}),
    "tools": p.SessionUpdate({"tools": [TOOL]}),
    "another voice": p.SessionUpdate({"audio": {"output": {"voice": "echo"}}}),
    "manual turns": p.SessionUpdate(MANUAL),
    "no answers": p.SessionUpdate(
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}}
    ),
    "a response": p.ResponseCreate(),
}


@pytest.mark.parametrize("event", DROPPED.values(), ids=DROPPED)
def test_a_draft_that_fits_no_more_is_dropped_at_once(event: Any) -> None:
    core = drafted()
    outputs = core(event)
    assert outputs[0] == "> stop resp_1"
    assert core(*REPLIES["speech"]) == []
    assert core.machine.drafts.dropped == 1


@pytest.mark.parametrize("event", DROPPED.values(), ids=DROPPED)
def test_the_turn_is_answered_as_if_there_had_been_no_draft(event: Any) -> None:
    cores = []
    for policy in (NEVER, EARLY):
        core = speaking(policy)
        pause(core)
        core(tentative(), event, *REPLIES["speech"])
        stop(core)
        core(m.TranscriptFinal("item_1", "hello"))
        cores.append([line.replace("resp_2", "resp_1") for line in shown(core)])
    assert cores[0] == cores[1]


@pytest.mark.parametrize(
    "event",
    [
        p.SessionUpdate({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}),
        p.ResponseCreate(p.ResponseParams(conversation="none")),
        p.ItemRetrieve("item_never"),
        p.ResponseCancel(),
    ],
)
def test_what_changes_nothing_for_the_reply_leaves_it_alone(event: Any) -> None:
    core = drafted()
    assert "> stop resp_1" not in core(event)
    stop(core)
    core(FINAL)
    assert core.machine.drafts.used == 1


def test_deleting_what_was_said_before_drops_it() -> None:
    core = Core(EARLY)
    core(user_text("remember this", "mine"))
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    pause(core)
    assert core(tentative()) == ["> start resp_1"]
    assert core(p.ItemDelete("mine")) == ["> stop resp_1", "item.deleted mine"]


def test_a_turn_cancelled_before_its_words_are_known_stops_the_engine() -> None:
    core = drafted()
    stop(core)
    assert core(p.ResponseCancel()) == [
        "> stop resp_1",
        "response.done resp_1 cancelled client_cancelled []",
    ]
    assert core(FINAL, *REPLIES["speech"]) == ["transcription.completed item_1 'hello' 2s"]


def test_a_reply_in_use_is_cancelled_as_any_other() -> None:
    core = drafted()
    core(*spoken("Hi.", 100))
    stop(core)
    core(FINAL)
    assert core(p.ResponseCancel())[0] == "> stop resp_1"


def test_nothing_follows_a_disconnect() -> None:
    core = drafted()
    core.machine.close(core.now)
    assert core(*REPLIES["speech"], FINAL) == []


def test_words_that_never_come_fail_the_response_and_drop_the_draft() -> None:
    core = drafted()
    stop(core)
    outputs = core.wait(60)
    assert outputs[0] == "> stop resp_1"
    assert outputs[-1] == "response.done resp_1 failed server_error []"


# --- when none is made ----------------------------------------------------------------------------


def answering() -> Core:
    """The user speaks into a reply that may not be interrupted."""
    core = Core(EARLY)
    core.update({"audio": {"input": {"turn_detection": {"interrupt_response": False}}}})
    core(user_text(), p.ResponseCreate())
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    return core


def listening() -> Core:
    core = Core(EARLY)
    core(p.InputAudioAppend(pcm(PAUSE_MS)))
    return core


def unanswered() -> Core:
    core = Core(EARLY)
    core.update({"audio": {"input": {"turn_detection": {"create_response": False}}}})
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    return core


def transcribing() -> Core:
    return speaking(type="transcription")


@pytest.mark.parametrize("state", [answering, listening, unanswered, transcribing])
def test_no_words_are_asked_for_where_no_reply_would_follow(state: Callable[[], Core]) -> None:
    assert pause(state()) == []


def test_nothing_is_begun_while_other_words_are_awaited() -> None:
    core = Core(EARLY)
    audio = p.Message("mine", "user", "completed", (p.InputAudio(None, pcm(500)),))
    core(p.ItemCreate(audio))
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    pause(core)
    assert core(tentative()) == []


def test_a_stale_pause_asks_for_nothing() -> None:
    assert speaking()(m.VadPaused(7, at(PAUSE_MS))) == []


def test_blank_words_are_not_answered() -> None:
    core = speaking()
    pause(core)
    assert core(tentative("  ")) == []


# --- limits ---------------------------------------------------------------------------------------


def test_held_audio_counts_as_backlog() -> None:
    core = drafted()
    core(*spoken("Hi.", 3000))
    assert core.machine.backlog_ms() == 3000
    core(m.VadResumed(0))
    assert core.machine.backlog_ms() == 0


def test_a_draft_is_used_within_the_limits_only() -> None:
    """They were open when it was begun; another session of the key has come in between."""
    limits = Allowance(1, None)
    core = Core(EARLY, limiter=limits)
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    pause(core)
    assert core(tentative()) == ["> start resp_1"]
    core(*REPLIES["speech"])
    assert limits.admit("gpt-realtime", core.now) is None
    outputs = stop(core)
    assert outputs[0] == "> stop resp_1"
    assert outputs[-2] == "response.done resp_1 failed rate_limit_exceeded []"
    core(FINAL, *REPLIES["speech"])
    assert [o for o in core.log if isinstance(o, p.OutputItemAdded)] == []


def test_no_draft_is_begun_beyond_the_limits() -> None:
    limits = Allowance(1, None)
    core = Core(EARLY, limiter=limits)
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    limits.admit("gpt-realtime", core.now)
    pause(core)
    assert core(tentative()) == []


def test_a_draft_is_not_late() -> None:
    core = drafted()
    assert core.wait(300) == []


def test_a_draft_does_not_cut_a_long_conversation() -> None:
    core = Core(Policy(speculate_after_ms=100, context_tokens=40))
    core(user_text("x" * 100, "old"))
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    pause(core)
    long_turn = "y" * 80
    core(tentative(long_turn))
    core(m.VadResumed(0))
    stop(core)
    core(m.TranscriptFinal("item_1", "y"))
    request = next(o.request for o in reversed(core.log) if isinstance(o, m.StartResponse))
    assert [message.text for message in request.messages] == ["x" * 100, "y"]


# --- tools are not run ahead of time --------------------------------------------------------------

MCP = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://mcp.example/",
    "require_approval": "never",
}


def test_an_mcp_tool_runs_when_the_turn_is_over_and_not_before() -> None:
    core = Core(Policy(speculate_after_ms=100, mcp=McpPolicy(("*.example",))))
    core.update({"tools": [MCP]})
    listed = next(o for o in core.log if isinstance(o, m.ListMcpTools))
    tool = p.McpListedTool("search", {"type": "object"})
    core(m.McpToolsListed(listed.item_id, (tool,)))
    core(p.InputAudioAppend(pcm(PAUSE_MS)), m.VadSpeechStarted(0, at(300)))
    item_id = next(o.item_id for o in core.log if isinstance(o, m.OpenSegment))
    pause(core)
    core(m.TranscriptTentative(item_id, "hello", at(PAUSE_MS)))
    started = next(o for o in core.log if isinstance(o, m.StartResponse))
    name = started.request.tools[0].name
    call = [
        m.ToolCallStarted(started.response_id, "call_a", name),
        m.ToolCallArguments(started.response_id, "call_a", "{}"),
        m.ToolCallEnded(started.response_id, "call_a"),
        *finished(started.response_id, "tool_calls"),
    ]
    assert core(*call) == []
    stop(core)
    outputs = core(m.TranscriptFinal(item_id, "hello"))
    assert [line for line in outputs if line.startswith("> mcp call")] != []
