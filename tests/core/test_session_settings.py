"""`session.update`: what is merged with what, and that a bad one changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

import protocol as p
from core.session_settings import merge_session
from tests.core.kit import Core, Policy, pcm, session, spoken, user_text

BASE = session(instructions="Be brief.")


def dumped(patch: dict[str, Any], current: p.Session = BASE) -> dict[str, Any]:
    return merge_session(current, patch, BASE).model_dump()


VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
PCMU = {"type": "audio/pcmu"}

MERGED: list[tuple[dict[str, Any], tuple[str, ...], Any]] = [
    ({}, ("instructions",), "Be brief."),
    ({"instructions": ""}, ("instructions",), ""),
    ({"instructions": None}, ("instructions",), "Be brief."),
    ({"output_modalities": ["text"]}, ("output_modalities",), ("text",)),
    ({"tracing": "auto"}, ("tracing",), "auto"),
    ({"tracing": {"workflow_name": "w"}}, ("tracing", "workflow_name"), "w"),
    ({"max_output_tokens": 12}, ("max_output_tokens",), 12),
    ({"max_output_tokens": None}, ("max_output_tokens",), "inf"),
    ({"model": "another"}, ("model",), "gpt-realtime"),
    ({"id": "sess_x", "object": "o", "expires_at": 1}, ("model",), "gpt-realtime"),
    ({"never_heard_of": 1}, ("model",), "gpt-realtime"),
    ({"truncation": "disabled"}, ("truncation",), "disabled"),
    (
        {"truncation": {"type": "retention_ratio", "retention_ratio": 0.8}},
        ("truncation",),
        {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": None},
    ),
    ({"tool_choice": {"type": "function", "name": "f"}}, ("tool_choice", "name"), "f"),
    ({"audio": {}}, ("audio", "input", "turn_detection"), VAD),
    ({"audio": {"input": {}}}, ("audio", "input", "turn_detection"), VAD),
    ({"audio": {"input": {"format": PCMU}}}, ("audio", "input", "format"), PCMU),
    ({"audio": {"input": {"format": PCMU}}}, ("audio", "input", "turn_detection"), VAD),
    ({"audio": {"input": {"format": PCMU}}}, ("audio", "output", "format", "rate"), 24_000),
    ({"audio": {"input": {"format": None}}}, ("audio", "input", "format", "rate"), 24_000),
    ({"audio": {"input": {"turn_detection": None}}}, ("audio", "input", "turn_detection"), None),
    (
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.8}}}},
        ("audio", "input", "turn_detection"),
        {**VAD, "threshold": 0.8},
    ),
    (
        {"audio": {"input": {"turn_detection": {"silence_duration_ms": 900}}}},
        ("audio", "input", "turn_detection"),
        {**VAD, "silence_duration_ms": 900},
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
        ("audio", "input", "turn_detection"),
        {
            "type": "semantic_vad",
            "eagerness": "auto",
            "create_response": True,
            "interrupt_response": True,
        },
    ),
    (
        {"audio": {"output": {"turn_detection": {"type": "server_vad"}, "voice": "cedar"}}},
        ("audio", "output", "voice"),
        "cedar",
    ),
    (
        {"audio": {"output": {"noise_reduction": {"type": "near_field"}}}},
        ("audio", "input", "noise_reduction"),
        None,
    ),
    ({"audio": {"output": {"voice": "cedar"}}}, ("audio", "output", "voice"), "cedar"),
    ({"audio": {"output": {"voice": {"id": "v"}}}}, ("audio", "output", "voice", "id"), "v"),
    ({"audio": {"output": {"speed": 1}}}, ("audio", "output", "speed"), 1.0),
]


@pytest.mark.parametrize(("patch", "path", "expected"), MERGED)
def test_merge(patch: dict[str, Any], path: tuple[str, ...], expected: Any) -> None:
    value: Any = dumped(patch)
    for key in path:
        value = value[key]
    assert value == expected


def test_merge_builds_on_what_is_in_force() -> None:
    first = merge_session(BASE, {"audio": {"input": {"turn_detection": {"threshold": 0.9}}}}, BASE)
    second = merge_session(
        first, {"audio": {"input": {"turn_detection": {"silence_duration_ms": 200}}}}, BASE
    )
    detection = second.audio.input.turn_detection
    assert isinstance(detection, p.ServerVad)
    assert (detection.threshold, detection.silence_duration_ms) == (0.9, 200)


def test_turn_detection_comes_back_with_the_servers_defaults() -> None:
    off = merge_session(BASE, {"audio": {"input": {"turn_detection": None}}}, BASE)
    on = merge_session(off, {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}, BASE)
    assert on == BASE


def test_noise_reduction_keeps_its_strength_within_a_type() -> None:
    reduce = {"type": "near_field", "strength": 0.5}
    first = merge_session(BASE, {"audio": {"input": {"noise_reduction": reduce}}}, BASE)
    same = {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}
    other = {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}}
    assert merge_session(first, same, BASE) == first
    changed = merge_session(first, other, BASE).audio.input.noise_reduction
    assert changed == p.NoiseReduction(type="far_field")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
    ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
    ({"output_modalities": ["video"]}, "invalid_value", "session.output_modalities[0]"),
    ({"instructions": 5}, "invalid_type", "session.instructions"),
    ({"max_output_tokens": 0}, "integer_below_min_value", "session.max_output_tokens"),
    ({"max_output_tokens": 4097}, "integer_above_max_value", "session.max_output_tokens"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
    (
        {"audio": {"input": {"format": {"type": "audio/pcm"}}}},
        "missing_required_parameter",
        "session.audio.input.format.rate",
    ),
    (
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
        "integer_below_min_value",
        "session.audio.input.format.rate",
    ),
    ({"audio": {"input": {"format": "pcm16"}}}, "invalid_type", "session.audio.input.format"),
    (
        {"audio": {"input": {"turn_detection": {"threshold": 1.5}}}},
        "decimal_above_max_value",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "psychic_vad"}}}},
        "invalid_value",
        "session.audio.input.turn_detection.type",
    ),
    (
        {"audio": {"input": {"turn_detection": {"silence_duration_ms": "long"}}}},
        "invalid_type",
        "session.audio.input.turn_detection.silence_duration_ms",
    ),
    ({"audio": {"output": {"speed": 2}}}, "decimal_above_max_value", "session.audio.output.speed"),
    ({"audio": {"input": 3}}, "invalid_type", "session.audio.input"),
    ({"audio": []}, "invalid_type", "session.audio"),
]


@pytest.mark.parametrize(("patch", "code", "param"), REFUSED)
def test_a_bad_field_is_named_and_nothing_is_applied(
    patch: dict[str, Any], code: str, param: str
) -> None:
    core = Core()
    before = core.machine.settings
    good_and_bad = {"tracing": "auto", **patch}
    (error,) = core.raw(p.SessionUpdate(good_and_bad, "ev"))
    assert isinstance(error, p.ErrorEvent)
    assert (error.code, error.param, error.client_event_id) == (code, param, "ev")
    assert core.machine.settings is before


def test_a_language_the_recogniser_does_not_know_is_refused_by_name() -> None:
    core = Core(Policy(stt_languages=frozenset({"en"}), stt_engine="pocketsphinx"))
    wanted = {"audio": {"input": {"transcription": {"model": "whisper-1", "language": "zh"}}}}
    (error,) = core.raw(p.SessionUpdate(wanted, "ev"))
    assert isinstance(error, p.ErrorEvent)
    assert error.param == "session.audio.input.transcription.language"
    assert "'zh'" in error.message and "'en'" in error.message and "STT_PROVIDER" in error.message
    wanted["audio"]["input"]["transcription"]["language"] = "en-GB"
    assert core.update(wanted) == ["session.updated"]


def test_the_voice_is_fixed_once_the_model_was_heard() -> None:
    core = Core()
    change = {"audio": {"output": {"voice": "cedar"}}}
    assert core.update(change) == ["session.updated"]
    core(user_text(), p.ResponseCreate(), *spoken("Hi.", 100))
    core(p.ResponseCancel())
    assert core.update(change) == ["session.updated"]
    assert core.update({"audio": {"output": {"voice": "ash"}}}) == ["error cannot_update_voice ev"]


def test_the_voice_stays_free_where_the_policy_says_so() -> None:
    core = Core(Policy(voice_is_fixed=False))
    core(user_text(), p.ResponseCreate(), *spoken("Hi.", 100))
    assert core.update({"audio": {"output": {"voice": "ash"}}}) == ["session.updated"]


def test_each_update_is_answered_in_order_with_the_whole_session() -> None:
    core = Core()
    outputs = [core.raw(p.SessionUpdate({"instructions": word})) for word in ("one", "two")]
    shown = [
        o[0].session.settings.instructions for o in outputs if isinstance(o[0], p.SessionUpdated)
    ]
    assert shown == ["one", "two"]


def test_pacing_follows_turn_detection() -> None:
    core = Core(Policy(output_lead_ms=1000))
    core(user_text(), p.ResponseCreate(), *spoken("Long.", 3000))
    assert core.machine.backlog_ms() == 2000
    core.update({"audio": {"input": {"turn_detection": {"interrupt_response": False}}}})
    assert core.wait(0.001).count("audio.delta item_2 200ms") == 10
    assert pcm(1)
