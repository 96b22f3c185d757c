"""The check of the engines: what it tries, what it tells, and how it ends; and readiness."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

import doctor
import main
from config import Settings, load_settings
from processors.vad_engine import VadEngine
from processors.vad_model import SileroModel
from protocol import ErrorCategory, Stage
from providers.health import StageHealth
from service_providers import Engines
from tests.doubles import Double, Mode, running_double, status
from tests.doubles.edge import redirected
from tests.e2e.wire import MANUAL, TEXT, ask, configure
from tests.harness import RealtimeClient, realtime_url, running_server
from tests.live import live_server

KEY = "sk-doctor-0123456789-secret"
COLUMNS = 80


@pytest.fixture(autouse=True)
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


@pytest.fixture
async def double() -> AsyncGenerator[Double]:
    async with running_double() as running:
        yield running


def settings(double: Double, **more: str) -> Settings:
    return load_settings(
        {
            "STT_PROVIDER": "openai_whisper",
            "LLM_PROVIDER": "openai",
            "TTS_PROVIDER": "openai_tts",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": double.url("openai"),
            "LLM_STALL_TIMEOUT_MS": "300",
            "STT_REQUEST_TIMEOUT_MS": "300",
            "TTS_STALL_TIMEOUT_MS": "300",
            **more,
        },
        None,
    )


async def examined(chosen: Settings) -> tuple[int, list[str]]:
    """The exit code and the lines; what is wrapped or stands below its row is put behind it."""
    said: list[str] = []
    code = await doctor.check(chosen, lambda text: said.extend(text.splitlines()))
    assert KEY not in "\n".join(said)
    assert all(len(line) <= COLUMNS for line in said), said
    lines: list[str] = []
    for line in said:
        if line.startswith(" "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return code, lines


async def test_engines_that_work_are_told_with_their_times(double: Double) -> None:
    code, lines = await examined(settings(double))
    assert code == 0
    assert lines[0].split() == ["stage", "result", "time", "engine"]
    stt, llm, tts = lines[1:4]
    assert stt.startswith("STT") and f"ok, heard '{double.transcript}'" in stt
    assert llm.startswith("LLM") and "ok, " in llm
    assert tts.startswith("TTS") and "s of speech" in tts
    assert all(" ms " in line for line in lines[1:4])
    assert lines[4] == "Every engine works."
    # The recogniser hears what the voice said.
    audio = double.requests("/audio/transcriptions")[0].body["file"]
    assert len(audio) > 16_000


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (status(401), "OPENAI_API_KEY"),
        (status(429, "insufficient_quota"), "OPENAI_API_KEY"),
        (status(404), "_MODEL"),
        (status(503), "OPENAI_BASE_URL"),
        (Mode("hang"), "OPENAI_BASE_URL"),
        (Mode("reset"), "OPENAI_BASE_URL"),
    ],
    ids=["key", "quota", "model", "overloaded", "hang", "reset"],
)
async def test_each_failure_says_which_variable_to_change(
    double: Double, mode: Mode, told: str
) -> None:
    double.always("openai", mode)
    code, lines = await examined(settings(double))
    assert code == 1
    for line in lines[1:4]:
        assert "FAILED" in line
        assert told in line, line
    assert lines[4] == "3 of 3 engines failed."


async def test_an_engine_without_a_key_is_not_said_to_want_one(double: Double) -> None:
    double.always("edge", status(403))
    with redirected(double):
        _, lines = await examined(settings(double, TTS_PROVIDER="edge_tts"))
    assert "FAILED" in lines[3]
    assert "choose another engine with TTS_PROVIDER" in lines[3]
    assert "key" not in lines[3]


async def test_what_was_heard_is_cut_to_what_fits(double: Double) -> None:
    double.transcript = "hello from " + "a very long way off " * 5
    _, lines = await examined(settings(double))
    assert "heard 'hello from a very…'" in lines[1]


async def test_a_backup_is_tried_like_any_other(double: Double) -> None:
    chosen = settings(double, TTS_PROVIDER="edge_tts,tone", EDGE_TTS_VOICE="nobody")
    code, lines = await examined(chosen)
    assert code == 1
    first, backup = lines[3:5]
    assert "edge_tts" in first and "FAILED" in first and "EDGE_TTS_VOICE" in first
    assert "tone" in backup and "ok" in backup


async def test_each_engine_of_the_profiles_is_tried_once(double: Double, tmp_path: Path) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(
        """
version: 1
default: a
profiles:
  a: {tts: {provider: openai_tts, voice: x, voices: {alloy: y, a_name_that_is_rather_long: z}}}
  b: {tts: tone, llm: {provider: openai, model: other}}
""",
        encoding="utf-8",
    )
    double.once("openai", Mode("ok"), status(401))
    code, lines = await examined(settings(double, PROFILES_FILE=str(file)))
    assert code == 1
    assert [line.split()[0] for line in lines[1:6]] == ["STT", "LLM", "LLM", "TTS", "TTS"]
    failed = next(line for line in lines if "FAILED" in line)
    assert "OPENAI_API_KEY" in failed
    assert "Models that no profile is called are served by a." in lines
    assert any("Voices of a, openai_tts: alloy = y;" in line for line in lines)


def test_the_command_line_ends_with_what_the_check_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"STT_PROVIDER": "scripted", "TTS_PROVIDER": "tone"}.items():
        monkeypatch.setenv(name, value)
    script = tmp_path / "script.yaml"
    script.write_text("version: 1\ntranscripts: [good day]\n", encoding="utf-8")
    assert main.run(["--check", "--script", str(script)]) == 0
    assert "heard 'good day'" in capsys.readouterr().out
    script.write_text("version: 1\n", encoding="utf-8")
    assert main.run(["--check", "--script", str(script)]) == 1
    assert "SCRIPT_FILE" in capsys.readouterr().out


# --- readiness --------------------------------------------------------------------------------


async def test_ready_names_the_stage_that_fails() -> None:
    with live_server() as live:
        async with httpx.AsyncClient(trust_env=False) as client:
            url = live.url("/ready", "http")
            answer = await client.get(url)
            assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
            live.engines.failures = [{"stage": "llm", "engine": "openai", "reason": "quota"}]
            answer = await client.get(url)
            assert answer.status_code == 503
            assert answer.json()["failing"] == live.engines.failures
            assert (await client.get(live.url("/health", "http"))).status_code == 200


F, OK, BAD = ErrorCategory.SERVER, None, ErrorCategory.INVALID_REQUEST


@pytest.mark.parametrize(
    ("outcomes", "passed_s", "fails"),
    [
        ([], 0, False),
        ([F, F], 0, False),
        ([F, F, F], 0, True),
        ([F, F, F], 61, False),
        ([F, F, F, OK], 0, False),
        ([F, F, OK, F], 0, False),
        # What a client asked for wrongly is not the engine's failure.
        ([BAD, BAD, BAD, BAD], 0, False),
    ],
)
def test_a_stage_fails_when_its_latest_turns_did(
    outcomes: list[ErrorCategory | None], passed_s: float, fails: bool
) -> None:
    now = 100.0
    health = StageHealth(lambda: now)
    for outcome in outcomes:
        if outcome is None:
            health.worked(Stage.LLM)
        else:
            health.failed(Stage.LLM, outcome, "out of order")
    now += passed_s
    assert health.failing() == ({Stage.LLM: "out of order"} if fails else {})


async def test_turns_that_fail_make_the_gateway_unready(double: Double) -> None:
    chosen = settings(double, STT_PROVIDER="pocketsphinx", TTS_PROVIDER="tone")
    built = Engines.from_settings(chosen, VadEngine(SileroModel()))
    app = main.create_app(chosen, engines=built, announce=lambda ready: None)
    async with running_server(app, ws_max_size=main.WS_MAX_SIZE_BYTES) as port:
        ready = f"http://127.0.0.1:{port}/ready"
        async with (
            RealtimeClient.connect(realtime_url(port)) as client,
            httpx.AsyncClient(trust_env=False) as web,
        ):
            await configure(client, **TEXT, **MANUAL)
            double.once("openai", status(503), status(503), status(503))
            for _ in range(3):
                assert (await ask(client, "hello")).status == "failed"
            answer = await web.get(ready)
            assert answer.status_code == 503
            (failing,) = answer.json()["failing"]
            assert (failing["stage"], failing["engine"]) == ("llm", "openai")
            assert KEY not in answer.text
            assert (await ask(client, "hello")).status == "completed"
            assert (await web.get(ready)).status_code == 200
