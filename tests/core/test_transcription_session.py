"""A session that listens and never answers."""

from __future__ import annotations

from typing import Any

import pytest

import protocol as p
from core import messages as m
from tests.core.kit import Core, pcm, session, user_text

HEARS = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}

LOGPROBS = "item.input_audio_transcription.logprobs"


def listening(**patch: Any) -> Core:
    core = Core(settings=session(type="transcription"))
    assert core.update({**HEARS, **patch}) == ["session.updated"]
    return core


@pytest.mark.parametrize("kind", ["realtime", "transcription"])
def test_an_update_for_the_other_kind_is_refused(kind: p.SessionKind) -> None:
    other = "realtime" if kind == "transcription" else "transcription"
    core = Core(settings=session(type=kind))
    (error,) = core.raw(p.SessionUpdate({"type": other, "include": []}, "ev"))
    assert isinstance(error, p.ErrorEvent)
    assert (error.code, error.param, error.client_event_id) == ("invalid_parameter", None, "ev")
    assert error.message == (
        f"Passing a {other} session update event to a {kind} session is not allowed."
    )
    assert core.machine.settings.include is None
    assert core.update({"type": kind}) == ["session.updated"]


def test_what_only_a_realtime_session_has_is_ignored() -> None:
    core = listening(instructions="x", output_modalities=["nonsense"], include=[LOGPROBS])
    core.update({"type": "transcription", "audio": {"output": {"speed": 9}, "input": {}}})
    before = session(type="transcription")
    settings = core.machine.settings
    assert (settings.instructions, settings.audio.output) == ("", before.audio.output)
    assert settings.include == (LOGPROBS,)
    assert settings.audio.input.transcription == p.Transcription(model="whisper-1")


def test_a_turn_is_transcribed_and_not_answered() -> None:
    core = listening()
    assert core.speak() == [
        "> feed 1800ms",
        "> open item_1 1800ms",
        "speech_started item_1 0ms",
        "speech_stopped item_1 1700ms",
        "> close item_1",
        "committed <None> item_1",
        "item.added <None> user item_1 completed [audio None 1700ms]",
        "item.done <None> user item_1 completed [audio None 1700ms]",
    ]
    assert core(m.TranscriptDelta("item_1", "hel"), m.TranscriptDelta("item_1", "lo")) == [
        "transcription.delta item_1 'hel'",
        "transcription.delta item_1 'lo'",
    ]
    assert core(m.TranscriptFinal("item_1", "hello")) == [
        "transcription.completed item_1 'hello' 2s"
    ]


def test_transcripts_may_come_out_of_order_and_commits_say_the_order() -> None:
    core = listening()
    core.update({"type": "transcription", "audio": {"input": {"turn_detection": None}}})
    commits: list[str] = []
    for _ in range(2):
        commits += core(p.InputAudioAppend(pcm(200)), p.InputAudioCommit())
    assert [line for line in commits if line.startswith("committed")] == [
        "committed <None> item_1",
        "committed <item_1> item_2",
    ]
    assert core(m.TranscriptFinal("item_2", "b"), m.TranscriptFinal("item_1", "a")) == [
        "transcription.completed item_2 'b' 1s",
        "transcription.completed item_1 'a' 1s",
    ]


def test_a_response_is_refused() -> None:
    core = listening()
    (error,) = core.raw(p.ResponseCreate(event_id="ev"))
    assert isinstance(error, p.ErrorEvent)
    assert (error.code, error.client_event_id) == ("invalid_parameter", "ev")
    assert "response.create" in error.message
    aside = p.ResponseParams(conversation="none")
    assert core(p.ResponseCreate(aside, None, "ev")) == ["error invalid_parameter ev"]
    assert core(p.ResponseCancel(None, "ev")) == ["error response_cancel_not_active ev"]


def test_items_are_kept_as_in_any_session() -> None:
    core = listening()
    assert core(user_text("hi"))[0].startswith("item.added <None> user item_1")
    spoken = p.Message("mine", "user", "completed", (p.InputAudio(None, pcm(300)),))
    assert core(p.ItemCreate(spoken))[2:] == ["> open mine 300ms", "> close mine"]
    assert core(m.TranscriptFinal("mine", "words")) == ["transcription.completed mine 'words' 1s"]
    assert core(p.ItemRetrieve("item_1"))[0].startswith("item.retrieved")
    assert core(p.ItemDelete("item_1")) == ["item.deleted item_1"]
