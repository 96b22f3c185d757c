"""What a client may have beside the words of a turn, and whose words they are."""

from __future__ import annotations

from typing import Any

import pytest

import protocol as p
from core import messages as m
from tests.core.kit import Core, pcm, session

LOGPROBS = "item.input_audio_transcription.logprobs"
PIECES = (p.TokenLogprob("hel", -0.1), p.TokenLogprob("lo", -0.2))
SAID = (m.Passage("hel", "A", 0.0, 0.4), m.Passage("lo", "B", 0.4, 1.0))


def hearing(model: str = "whisper-1", include: list[str] | None = None) -> Core:
    core = Core(settings=session(type="transcription"))
    heard = {"input": {"transcription": {"model": model}}}
    core.update({"type": "transcription", "audio": heard, "include": include})
    return core


def asked(core: Core) -> m.OpenSegment:
    core.speak()
    return next(output for output in core.log if isinstance(output, m.OpenSegment))


@pytest.mark.parametrize(("include", "wanted"), [(None, False), ([], False), ([LOGPROBS], True)])
def test_logprobs_are_asked_of_the_engine_when_the_client_includes_them(
    include: list[str] | None, wanted: bool
) -> None:
    assert asked(hearing(include=include)).logprobs is wanted


@pytest.mark.parametrize(
    ("model", "wanted"), [("gpt-4o-transcribe-diarize", True), ("gpt-4o-transcribe", False)]
)
def test_speakers_are_asked_of_the_engine_when_the_client_names_such_a_model(
    model: str, wanted: bool
) -> None:
    assert asked(hearing(model)).speakers is wanted


def test_a_client_without_transcription_asks_for_nothing() -> None:
    core = Core(settings=session())
    core.update({"include": [LOGPROBS]})
    opened = asked(core)
    assert (opened.logprobs, opened.speakers) == (False, False)


def told(core: Core, *events: Any) -> list[Any]:
    core.speak()
    return [output for event in events for output in core.raw(event)]


def test_delta_and_completed_carry_what_was_included() -> None:
    delta = m.TranscriptDelta("item_1", "hel", PIECES[:1])
    delta_told, completed = told(
        hearing(include=[LOGPROBS]), delta, m.TranscriptFinal("item_1", "hello", PIECES)
    )
    assert (delta_told.logprobs, completed.logprobs) == (PIECES[:1], PIECES)


def test_a_client_that_asks_no_longer_is_told_none() -> None:
    core = hearing(include=[LOGPROBS])
    core.speak()
    core.update({"type": "transcription", "include": None})
    (completed,) = core.raw(m.TranscriptFinal("item_1", "hello", PIECES))
    assert isinstance(completed, p.TranscriptionCompleted)
    assert completed.logprobs is None


def test_an_engine_without_logprobs_leaves_the_field_out() -> None:
    final = m.TranscriptFinal("item_1", "hello")
    (completed,) = told(hearing(include=[LOGPROBS]), final)
    assert completed.logprobs is None


def test_who_said_what_is_told_ahead_of_the_whole() -> None:
    core = hearing("gpt-4o-transcribe-diarize")
    core.speak()
    assert core(m.TranscriptFinal("item_1", "hello", passages=SAID)) == [
        "transcription.segment item_1 A 0.0-0.4s 'hel'",
        "transcription.segment item_1 B 0.4-1.0s 'lo'",
        "transcription.completed item_1 'hello' 2s",
    ]
    ids = {output.id for output in core.log if isinstance(output, p.TranscriptionSegment)}
    assert len(ids) == 2


def test_a_client_that_wants_no_words_is_told_no_speakers() -> None:
    core = Core(settings=session(type="transcription"))
    core.speak()
    assert core(m.TranscriptFinal("item_1", "hello", passages=SAID)) == []


# --- ids that are used again ----------------------------------------------------------------------


def audio_item() -> p.ItemCreate:
    content = (p.InputAudio(None, pcm(500)),)
    return p.ItemCreate(p.Message("mine", "user", "completed", content))


@pytest.mark.parametrize(
    "late",
    [
        m.TranscriptDelta("mine", "of the deleted one"),
        m.TranscriptFinal("mine", "of the deleted one"),
        m.TranscriptFailed("mine", m.Failure(p.Stage.STT, p.ErrorCategory.SERVER, "no")),
    ],
)
def test_an_item_gets_no_words_of_the_deleted_one_whose_id_it_has(late: Any) -> None:
    core = hearing()
    core(audio_item(), p.ItemDelete("mine"), audio_item())
    attempts = [output.attempt for output in core.log if isinstance(output, m.OpenSegment)]
    assert attempts == [0, 1]
    assert core(late) == []
    assert core(m.TranscriptFinal("mine", "my own", attempt=1)) == [
        "transcription.completed mine 'my own' 1s"
    ]


def test_words_that_came_too_late_are_nobodys() -> None:
    core = hearing()
    core(audio_item())
    assert core.wait(60) == ["> drop mine", "transcription.failed mine server_error"]
    core(p.ItemDelete("mine"), audio_item())
    assert core(m.TranscriptFinal("mine", "of the one that failed")) == []
