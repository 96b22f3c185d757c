"""Fixtures of the client tests: gateways in processes of their own, taps, and recordings."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.clients.conversation import Clip
from tests.clients.gateway import Gateway, running_gateway
from tests.clients.matrix import EVIDENCE

_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
_SPEECH_MS = {"hello": (312, 1122), "story": (334, 1326), "weather": (226, 1630)}
"""Bounds of the speech in the committed recordings as Silero hears it, like the manifest's.

The soft onset of "hello" is heard anywhere from 250 to 375 ms, depending on how the windows fall.
"""
_STAND_INS = {
    "en_go_forward": "hello",
    "en_seven_of_clubs": "hello",
    "en_cards_long": "weather",
    "en_weather": "weather",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test must prove what the compatibility table says of it."""
    EVIDENCE.clear()
    outcome = yield
    name = item.name.partition("[")[0]
    assert EVIDENCE.missing(f"{item.path.name}::{name}") == []
    return outcome


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
def patient_script() -> Path:
    """A script whose story takes its time, see there."""
    return Path(__file__).parent / "patient.yaml"


@pytest.fixture(scope="session")
def _patient_gateway(
    tmp_path_factory: pytest.TempPathFactory, patient_script: Path
) -> Generator[Gateway]:
    folder = tmp_path_factory.mktemp("patient_gateway")
    with running_gateway(folder, SCRIPT_FILE=str(patient_script)) as gateway:
        yield gateway


@pytest.fixture
def patient_gateway(_patient_gateway: Gateway) -> Generator[Gateway]:
    """A gateway whose story takes its time, which must have nothing to complain about."""
    known = len(_patient_gateway.complaints())
    yield _patient_gateway
    assert _patient_gateway.complaints()[known:] == []


@pytest.fixture(scope="session")
def clip(request: pytest.FixtureRequest) -> Callable[[str], Clip]:
    """`clip("en_weather")` is a real recording; where there are none, a committed stand-in."""

    def load(name: str) -> Clip:
        try:
            pcm: bytes = request.getfixturevalue("shared_audio")(name)
        except pytest.skip.Exception:
            return _committed(_STAND_INS[name])
        entry: dict[str, Any] = request.getfixturevalue("manifest")[name]
        return Clip(name, pcm, entry["speech_start_ms"], entry["speech_end_ms"])

    return load


@pytest.fixture(scope="session")
def story_clip() -> Clip:
    """ "Tell me a story", which the shipped script answers with half a minute of speech."""
    return _committed("story")


def _committed(name: str) -> Clip:
    samples, rate_hz = soundfile.read(_FIXTURES / f"{name}.wav", dtype="int16")
    assert rate_hz == 24_000
    return Clip(name, samples.astype("<i2").tobytes(), *_SPEECH_MS[name])
