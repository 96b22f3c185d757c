"""Transcription sessions as both dialects write them."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.oracle import Oracle
from dialects import beta, ga
from dialects.client_events import unknown_parameters
from protocol import (
    AudioInput,
    NoiseReduction,
    Session,
    SessionAudio,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    SessionView,
    Transcription,
)

VIEW = SessionView(
    "sess_1",
    1790000000,
    Session(
        type="transcription",
        include=("item.input_audio_transcription.logprobs",),
        audio=SessionAudio(
            input=AudioInput(
                transcription=Transcription(model="whisper-1", language="en"),
                noise_reduction=NoiseReduction(type="near_field"),
            )
        ),
    ),
)


@pytest.mark.parametrize("event", [SessionCreated(VIEW), SessionUpdated(VIEW)])
@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_the_oracle_accepts_it(event: SessionCreated | SessionUpdated, dialect: Any) -> None:
    oracle = Oracle(dialect)
    encode = ga.encode if dialect == "ga" else beta.encode
    if isinstance(event, SessionUpdated):
        oracle.server(encode(SessionCreated(VIEW), "event_0"))  # type: ignore[arg-type]
    assert oracle.server(encode(event, "event_1")) == []  # type: ignore[arg-type]


def test_beta_shows_a_flat_object_under_names_of_its_own() -> None:
    assert beta.encode(SessionUpdated(VIEW), "e") == {
        "type": "transcription_session.updated",
        "event_id": "e",
        "session": {
            "id": "sess_1",
            "object": "realtime.transcription_session",
            "expires_at": 1790000000,
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1", "language": "en", "prompt": None},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
            },
            "input_audio_noise_reduction": {"type": "near_field"},
            "include": ["item.input_audio_transcription.logprobs"],
        },
    }
    created = beta.encode(SessionCreated(VIEW), "e")
    assert created and created["type"] == "transcription_session.created"


def test_ga_names_the_kind_in_the_update() -> None:
    session = {"type": "transcription", "include": []}
    assert ga.decode({"type": "session.update", "session": session}) == SessionUpdate(session)


def test_beta_names_it_in_the_event() -> None:
    sent = {
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "m"},
        "turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000},
        "modalities": ["text"],
    }
    assert beta.decode(
        {"type": "transcription_session.update", "session": sent, "event_id": "e"}
    ) == SessionUpdate(
        {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "transcription": {"model": "m"},
                    "turn_detection": {"type": "server_vad"},
                }
            },
        },
        "e",
    )


def test_what_is_ignored_is_named_for_the_log() -> None:
    session = {"type": "transcription", "instructions": "x", "audio": {"output": {}, "input": {}}}
    assert unknown_parameters({"type": "session.update", "session": session}) == [
        "session.instructions",
        "session.audio.output",
    ]
    flat = {"include": [], "modalities": ["text"], "voice": "alloy"}
    assert beta.unknown_parameters({"type": "transcription_session.update", "session": flat}) == [
        "session.voice"
    ]
