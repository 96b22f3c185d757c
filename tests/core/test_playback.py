"""Playback whose time the server keeps: one buffer, one clock, and what was cut is cut."""

from __future__ import annotations

from typing import Any

import pytest

import protocol as p
from core import messages as m
from core.playback import LEAD_MS
from core.policy import Policy
from protocol import ErrorCategory, InputAudioAppend, Stage
from tests.core.kit import SAMPLES_PER_MS, Core, brief, finished, manual, pcm, spoken, user_text

SERVER = Policy(playback="server")
TEXT = "one two three four"
BROKEN = m.GenerationFailed("resp_1", m.Failure(Stage.TTS, ErrorCategory.SERVER, "broken"))


def playing(ms: int = 1000, policy: Policy = SERVER, **options: Any) -> Core:
    """A session that has just begun to speak a reply of `ms` milliseconds."""
    core = Core(policy, **options)
    core(user_text(), p.ResponseCreate())
    core(*spoken(TEXT, ms))
    return core


def heard(core: Core) -> str:
    """What the conversation says of the reply."""
    (line,) = core(p.ItemRetrieve("item_2"))
    return line


def speaks(core: Core) -> list[str]:
    core(InputAudioAppend(pcm(500)))
    return core(m.VadSpeechStarted(0, 100 * SAMPLES_PER_MS))


def buffer_events(core: Core) -> list[str]:
    kinds = p.PlaybackStarted | p.PlaybackStopped | p.PlaybackCleared
    return [brief(output) for output in core.log if isinstance(output, kinds)]


def audio_ms(core: Core) -> int:
    return sum(len(o.audio) // 48 for o in core.log if isinstance(o, p.OutputAudioDelta))


def test_it_starts_with_the_first_audio_and_stops_when_all_has_sounded() -> None:
    core = Core(SERVER)
    core(user_text(), p.ResponseCreate())
    begun = core(*spoken(TEXT, 400))
    assert begun[begun.index("content_part.added item_2 said ''") :] == [
        "content_part.added item_2 said ''",
        f"transcript.delta item_2 '{TEXT}'",
        "started resp_1",
        *["audio.delta item_2 50ms"] * 4,
    ]
    core(*finished())
    # The last piece leaves 150 ms ahead of its turn, and then it has to sound.
    ended = core.wait(0.21)
    assert ended[-1].startswith("response.done resp_1 completed")
    assert core.wait(0.17) == []
    assert core.wait(0.03) == ["stopped resp_1"]
    assert buffer_events(core) == ["started resp_1", "stopped resp_1"]


@pytest.mark.parametrize("settings", [None, manual()])
@pytest.mark.parametrize("conversation", ["auto", "none"])
def test_all_output_is_paced_whoever_may_interrupt_it(settings: Any, conversation: Any) -> None:
    core = Core(SERVER, settings=settings)
    core(user_text(), p.ResponseCreate(p.ResponseParams(conversation=conversation)))
    core(*spoken(TEXT, 3000), *finished())
    for step in range(28):
        assert step * 100 < audio_ms(core) <= step * 100 + LEAD_MS
        core.wait(0.1)


def test_a_lead_that_is_shorter_still_counts() -> None:
    core = playing(1000, Policy(playback="server", output_lead_ms=100))
    assert audio_ms(core) == 100


def test_a_response_without_audio_does_not_sound() -> None:
    core = Core(SERVER)
    core(user_text(), p.ResponseCreate(p.ResponseParams(output_modalities=("text",))))
    core(m.ModelText("resp_1", TEXT), *finished())
    assert buffer_events(core) == []


def test_the_user_interrupts_what_sounds_and_the_item_is_cut_where_it_was_heard() -> None:
    core = playing(1000)
    core.wait(0.25)
    said = speaks(core)
    assert said[0] == "> stop resp_1"
    assert said[-3:] == [
        "response.done resp_1 cancelled turn_detected [item_2]",
        "cleared resp_1",
        "item.truncated item_2 250ms",
    ]
    # 450 ms have been sent, and 250 of those have sounded.
    assert audio_ms(core) == 450
    core.wait(5)
    assert buffer_events(core) == ["started resp_1", "cleared resp_1"]


def test_what_was_heard_of_a_cut_item_is_what_it_says() -> None:
    core = playing(1000)
    core.wait(0.5)
    speaks(core)
    # Half of what was made, not of what has left.
    assert heard(core) == "item.retrieved assistant item_2 incomplete [said 'one two']"


def test_a_reply_that_is_done_and_still_sounds_is_interrupted_too() -> None:
    core = playing(400)
    core(*finished())
    core.wait(0.25)
    assert speaks(core)[-2:] == ["cleared resp_1", "item.truncated item_2 250ms"]
    assert core.wait(5) == []


def test_where_speech_may_not_interrupt_nothing_is_cleared() -> None:
    core = playing(400)
    core.update({"audio": {"input": {"turn_detection": {"interrupt_response": False}}}})
    core(*finished())
    core.wait(0.25)
    assert "cleared resp_1" not in speaks(core)
    assert core.wait(1) == ["stopped resp_1"]


def test_what_was_said_aside_is_not_interrupted() -> None:
    core = Core(SERVER)
    core(user_text(), p.ResponseCreate(p.ResponseParams(conversation="none")))
    core(*spoken(TEXT, 400))
    assert "cleared resp_1" not in speaks(core)
    core(*finished())
    assert core.wait(1)[-1] == "stopped resp_1"


def test_a_client_clears_after_its_cancel() -> None:
    core = playing(1000)
    core.wait(0.1)
    cancelled = core(p.ResponseCancel())
    assert cancelled[-1] == "response.done resp_1 cancelled client_cancelled [item_2]"
    core.now += 0.05
    assert core(p.OutputAudioClear()) == ["cleared resp_1", "item.truncated item_2 150ms"]
    assert core.wait(5) == []


def test_what_is_cancelled_and_not_cleared_sounds_to_its_end() -> None:
    core = playing(1000)
    core.wait(0.1)
    core(p.ResponseCancel())
    assert core.wait(0.19) == []
    assert core.wait(0.02) == ["stopped resp_1"]


def test_a_clear_ends_a_response_that_would_go_on() -> None:
    core = playing(1000)
    core.wait(0.1)
    cleared = core(p.OutputAudioClear("clear"))
    assert cleared[0] == "> stop resp_1"
    assert cleared[-3:] == [
        "response.done resp_1 cancelled client_cancelled [item_2]",
        "cleared resp_1",
        "item.truncated item_2 100ms",
    ]


def test_an_empty_buffer_is_cleared_by_naming_what_sounded_last() -> None:
    core = playing(100)
    core(*finished())
    core.wait(1)
    assert core(p.OutputAudioClear()) == ["cleared resp_1"]
    assert Core(SERVER)(p.OutputAudioClear()) == []


def test_without_server_playback_the_event_is_of_another_transport() -> None:
    core = Core()
    assert core(p.OutputAudioClear("clear")) == ["error invalid_value clear"]
    core(user_text(), p.ResponseCreate(), *spoken(TEXT, 400), *finished())
    core.wait(5)
    assert buffer_events(core) == []


def test_an_item_that_was_deleted_meanwhile_is_not_cut() -> None:
    core = playing(400)
    core(*finished())
    core.wait(0.25)
    core(p.ItemDelete("item_2"))
    assert core(p.OutputAudioClear()) == ["cleared resp_1"]


def test_the_next_reply_waits_for_the_ear_and_not_only_for_the_wire() -> None:
    core = playing(200)
    core(*finished())
    assert audio_ms(core) == 200
    core(p.ResponseCreate(), *spoken(TEXT, 1000, "resp_2"))
    # Nothing more may run ahead before what sounds has sounded.
    assert audio_ms(core) == 200
    core.wait(0.1)
    assert audio_ms(core) == 300
    core.wait(0.15)
    assert buffer_events(core) == ["started resp_1", "started resp_2", "stopped resp_1"]
    assert speaks(core)[-1] == "item.truncated item_3 50ms"


def test_clearing_one_of_two_lets_the_other_move_up() -> None:
    core = playing(200)
    core(p.ResponseCreate(p.ResponseParams(conversation="none")))
    core(*spoken(TEXT, 100, "resp_2"))
    core.wait(0.1)
    speaks(core)
    core(*finished("resp_2"))
    # 100 ms of the first were left; without them the second ends earlier.
    assert core.wait(0.101)[-1] == "stopped resp_2"


def test_a_reply_that_fails_keeps_its_pace_to_the_end() -> None:
    core = playing(1000)
    assert core(BROKEN) == []
    core.wait(0.5)
    assert audio_ms(core) == 700
    ended = core.wait(2)
    assert ended[-2].startswith("response.done resp_1 failed")
    assert ended[-1] == "stopped resp_1"
    assert audio_ms(core) == 1000


def test_what_comes_behind_the_end_is_not_told() -> None:
    core = playing(1000)
    core(BROKEN, *spoken("five six", 500))
    core.wait(3)
    assert audio_ms(core) == 1000


def test_a_reply_that_fails_twice_is_done_once() -> None:
    core = playing(1000)
    core(*finished(), BROKEN, BROKEN)
    core.wait(3)
    assert [brief(o) for o in core.log if isinstance(o, p.ResponseDone)] == [
        "response.done resp_1 failed server_error [item_2]"
    ]
