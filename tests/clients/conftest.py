"""Fixtures of the client tests: gateways in processes of their own, taps, and recordings."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
import soundfile
from pathlib import Path

from tests.clients.conversation import Clip
from tests.clients.gateway import Gateway, running_gateway
from tests.conftest import SharedAudio

_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture(scope="session")
def embedded_gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    """A gateway with default settings: pocketsphinx, the shipped script, espeak-ng."""
    with running_gateway(tmp_path_factory.mktemp("embedded_gateway")) as gateway:
        yield gateway


@pytest.fixture
def gateway(embedded_gateway: Gateway) -> Generator[Gateway]:
    """`embedded_gateway`, which must have nothing to complain about during the test."""
    known = len(embedded_gateway.complaints())
    yield embedded_gateway
    assert embedded_gateway.complaints()[known:] == []


@pytest.fixture(scope="session")
def clip(shared_audio: SharedAudio, manifest: dict[str, dict[str, Any]]) -> Callable[[str], Clip]:
    """`clip("en_weather")` is a real recording with its manifest entry."""

    def load(name: str) -> Clip:
        entry = manifest[name]
        return Clip(
            name,
            shared_audio(name),
            entry["speech_start_ms"],
            entry["speech_end_ms"],
            entry["transcript"],
        )

    return load


@pytest.fixture(scope="session")
def story_clip() -> Clip:
    """"Tell me a story", which the shipped script answers with half a minute of speech."""
    samples, rate_hz = soundfile.read(_FIXTURES / "story.wav", dtype="int16")
    assert rate_hz == 24_000
    return Clip("story", samples.astype("<i2").tobytes(), 260, 1260, "tell me a story")
