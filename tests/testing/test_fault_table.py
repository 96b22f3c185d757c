"""Every fault of every stage: what the client sees of it, and that the next turn is as ever."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, get_args

import pytest

from providers.faults import FaultKind, FaultStage
from realtime_server import RealtimeServer
from tests.testing.table import App

FOLDER = Path(__file__).parent
READY = "'Ready, steady, go now.'"
SPOKEN = f"completed: {READY} in 53760 bytes"
CUT = 'frame cut off, begins \'{"type":"response.create\''
NO_TRANSCRIPT = "The speech recogniser did not answer within 0 s and the length of the audio."


def stt_failure(kind: str) -> str:
    told = f"Injected fault: stt {kind}."
    return f"transcript failed: {told}; failed ({told}): nothing"


TABLE = {
    ("stt", "error"): stt_failure("error"),
    ("stt", "timeout"): stt_failure("timeout"),
    ("stt", "hang"): f"transcript failed: {NO_TRANSCRIPT}; failed ({NO_TRANSCRIPT}): nothing",
    ("stt", "disconnect"): stt_failure("disconnect"),
    ("stt", "truncate"): "heard 'one two'; completed: 'You counted.' in 32160 bytes",
    ("stt", "slow"): "heard 'one two three four'; completed: 'You counted.' in 32160 bytes",
    ("stt", "malformed"): stt_failure("malformed"),
    ("stt", "empty"): "heard ''; completed: 'Pardon?' in 18720 bytes",
    ("llm", "error"): "failed (Injected fault: llm error.): nothing",
    ("llm", "timeout"): "failed (Injected fault: llm timeout.): nothing",
    ("llm", "hang"): "failed (No output came from the engines within 0 s.): nothing",
    ("llm", "disconnect"): "failed (Injected fault: llm disconnect.): 'Ready, steady,'",
    ("llm", "truncate"): "incomplete (max_output_tokens): 'Ready, steady,'",
    ("llm", "slow"): f"completed: {READY}",
    ("llm", "malformed"): "failed (Injected fault: llm malformed.): nothing",
    ("llm", "empty"): "completed: nothing",
    ("tts", "error"): "failed (Injected fault: tts error.): 'Ready, steady,'",
    ("tts", "timeout"): "failed (Injected fault: tts timeout.): 'Ready, steady,'",
    ("tts", "hang"): "failed (No output came from the engines within 0 s.): 'Ready, steady,'",
    ("tts", "disconnect"): (
        "failed (Injected fault: tts disconnect.): 'Ready, steady,' in 17400 bytes"
    ),
    ("tts", "truncate"): f"completed: {READY} in 26880 bytes",
    ("tts", "slow"): SPOKEN,
    ("tts", "malformed"): "failed (Injected fault: tts malformed.): 'Ready, steady,'",
    ("tts", "empty"): f"failed (The speech synthesiser returned no audio for the reply.): {READY}",
    ("ws", "error"): f"error event: Injected fault: ws error.; {SPOKEN}",
    ("ws", "timeout"): "closed 1011 'keepalive ping timeout'",
    ("ws", "hang"): "then nothing",
    ("ws", "disconnect"): "closed 1011 'Injected fault: ws disconnect.'",
    ("ws", "truncate"): f"{CUT}; closed 1011 'Injected fault: ws truncate.'",
    ("ws", "slow"): SPOKEN,
    ("ws", "malformed"): f"{CUT}; {SPOKEN}",
    ("ws", "empty"): f"frame empty; {SPOKEN}",
}
OVER = {("ws", kind) for kind in ("timeout", "hang", "disconnect", "truncate")}
"""What costs the client its connection."""
SHORT = {"slow": {"delay_ms": 50}, "timeout": {"delay_ms": 50}}


@pytest.fixture(scope="module")
def server() -> Generator[RealtimeServer]:
    patience = {"STT_TIMEOUT_MS": "200", "GENERATION_TIMEOUT_MS": "200"}
    with RealtimeServer(FOLDER / "replies.yaml", settings=patience) as running:
        yield running


def test_the_table_has_every_cell() -> None:
    cells = {(stage, kind) for stage in get_args(FaultStage) for kind in get_args(FaultKind)}
    assert set(TABLE) == cells


async def turn(app: App, stage: str) -> str:
    match stage:
        case "stt":
            return (await app.speak()).outcome
        case "llm":
            return (await app.type("go", modality="text")).outcome
        case _:
            return (await app.type("go")).outcome


@pytest.mark.parametrize(("stage", "kind"), TABLE)
async def test_a_fault_and_the_turn_behind_it(
    server: RealtimeServer, stage: Any, kind: Any
) -> None:
    app = await App.open(server)
    server.inject(stage, kind, **SHORT.get(kind, {}))
    if (stage, kind) == ("ws", "hang"):
        app.patience_s = 0.3
    assert await turn(app, stage) == TABLE[stage, kind]
    if (stage, kind) in OVER:
        await app.close()
        app = await App.open(server)
    assert (await app.type("go")).outcome == SPOKEN
    await app.close()


async def test_a_malformed_reply_that_calls_a_function_has_broken_arguments(
    server: RealtimeServer,
) -> None:
    app = await App.open(server)
    server.inject("llm", "malformed")
    assert (await app.type("weather")).outcome == """called with {"city":; completed: nothing"""
    await app.close()


@pytest.mark.parametrize(
    ("stage", "when", "outcomes"),
    [
        ("llm", {"turn": 2}, [SPOKEN, "failed (no): nothing", SPOKEN]),
        ("llm", {"count": 2}, ["failed (no): nothing", "failed (no): nothing", SPOKEN]),
        ("llm", {"count": "always", "turn": {"lte": 2}}, ["failed (no): nothing"] * 2 + [SPOKEN]),
        ("llm", {"user": {"any": ["stop"]}}, [SPOKEN, SPOKEN, SPOKEN]),
        ("llm", {"user": {"any": ["go"]}}, ["failed (no): nothing", SPOKEN, SPOKEN]),
        ("llm", {"session": "sess_other"}, [SPOKEN, SPOKEN, SPOKEN]),
        ("llm", {"category": "quota"}, ["failed (no): nothing", SPOKEN, SPOKEN]),
        ("tts", {"turn": 3}, [SPOKEN, SPOKEN, "failed (no): 'Ready, steady,'"]),
        ("ws", {"turn": 2}, [SPOKEN, f"error event: no; {SPOKEN}", SPOKEN]),
        ("ws", {"event": "response.done"}, [f"error event: no; {SPOKEN}", SPOKEN, SPOKEN]),
    ],
)
async def test_when_a_fault_strikes(
    server: RealtimeServer, stage: Any, when: dict[str, Any], outcomes: list[str]
) -> None:
    app = await App.open(server)
    server.inject(stage, "error", message="no", **when)
    assert [(await app.type("go")).outcome for _ in outcomes] == outcomes
    await app.close()
    server.clear_faults()


async def test_a_fault_of_one_session_spares_the_others(server: RealtimeServer) -> None:
    one, other = await App.open(server), await App.open(server)
    server.inject("llm", "error", session=one.session, message="no")
    assert (await other.type("go")).outcome == SPOKEN
    assert (await one.type("go")).outcome == "failed (no): nothing"
    await one.close()
    await other.close()


async def test_what_comes_before_a_failure_of_the_model_is_sent(server: RealtimeServer) -> None:
    app = await App.open(server)
    server.inject("llm", "error", after_tokens=3, message="no")
    outcome = (await app.type("go", modality="text")).outcome
    assert outcome == "failed (no): 'Ready, steady, go'"
    await app.close()
