"""The quick start works as it stands, in both languages: commands, settings, script and output."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import command_line
import push_to_talk_app
import test_client
from config import load_settings
from service_providers import plan
from tests.clients.gateway import Gateway, running_gateway

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("QUICKSTART.md", "QUICKSTART.zh-CN.md")
_RUN_TIMEOUT_S = 120

EMBEDDED = ("pocketsphinx", "scripted", "espeak")
OPENAI = ("openai_whisper", "openai", "openai_tts")
SILICONFLOW = ("siliconflow", "siliconflow", "edge_tts")
LOCAL = ("local_whisper", "ollama", "edge_tts")

ENGINES = {
    "QUICKSTART.md": [OPENAI, SILICONFLOW, LOCAL],
    "QUICKSTART.zh-CN.md": [SILICONFLOW, OPENAI, LOCAL],
    "README.md": [SILICONFLOW],
    "README.zh-CN.md": [SILICONFLOW],
    "docs/migration.md": [
        ("openai_whisper", "scripted", "openai_tts"),
        ("openai_whisper", "openai", "espeak"),
    ],
}
"""What the `.env` files of a page choose for the three stages, in their order there."""


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), re.M | re.S)
    return [block for name, block in found if name == language]


def commands(page: str, program: str = "python") -> list[list[str]]:
    """The words of each command of the page that calls a program."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


def run(folder: Path, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """What a command of the page does, in a folder that stands for the project's."""
    program, *arguments = command
    assert program == "python"
    return subprocess.run(
        [sys.executable, str(ROOT / arguments[0]), *arguments[1:]],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


# --- commands -------------------------------------------------------------------------------------


def test_both_languages_have_the_same_commands() -> None:
    english, chinese = (commands(page) for page in PAGES)
    assert english == chinese


def test_commands_are_options_that_exist() -> None:
    for _, script, *options in commands(PAGES[0]):
        match script:
            case "main.py":
                command_line.parser().parse_args(options)
            case "push_to_talk_app.py":
                push_to_talk_app.parse(options)
            case "test_client.py":
                test_client.parse(options)
            case _:
                assert (ROOT / script).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(r"-r (\S+\.txt)|(?<!\]\()\b((?:tests|examples)/[\w./]+)", text(page))
    files = {"".join(found) for found in named}
    assert {"requirements.txt", "requirements-client.txt", "tests/fixtures/story.wav"} <= files
    assert {file for file in files if not (ROOT / file).is_file()} == set()


def test_the_test_client_and_the_examples_come_to_their_end(
    gateway: Gateway, tmp_path: Path
) -> None:
    url = f"127.0.0.1:{gateway.port}/v1"
    tried: list[str] = []
    for command in commands(PAGES[0]):
        script = command[1]
        if script == "test_client.py":
            done = run(tmp_path, [*command, "--url", f"ws://{url}/realtime"])
        elif script.startswith("examples/"):
            done = run(tmp_path, command, REALTIME_BASE_URL=f"http://{url}")
        else:
            continue
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        tried.append(script)
    assert tried == [
        *("test_client.py", "examples/openai_python.py", "examples/openai_python_beta.py")
    ]


# --- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_the_start_up_table_is_the_one_that_is_printed(gateway: Gateway, page: str) -> None:
    (table,) = [block for block in blocks(page, "") if "stage" in block]
    assert table in (gateway.log.parent / "banner.txt").read_text("utf-8")


@pytest.mark.parametrize(("page", "expected"), ENGINES.items())
def test_the_env_files_choose_the_engines_they_are_for(
    page: str, expected: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    chosen: list[tuple[str, ...]] = []
    for block in blocks(page, "bash"):
        if block.startswith("# .env"):
            file = tmp_path / ".env"
            file.write_text(block.replace("…", "0"), encoding="utf-8")
            (stack,) = plan(load_settings({}, file))
            chosen.append(tuple(first.choice.name for first, *_ in stack.stages.values()))
    assert chosen == expected


def test_without_settings_the_embedded_engines_serve() -> None:
    (stack,) = plan(load_settings({}, None))
    assert tuple(first.choice.name for first, *_ in stack.stages.values()) == EMBEDDED


@pytest.mark.parametrize("page", PAGES)
def test_the_script_passes_its_check(page: str, tmp_path: Path) -> None:
    (script,) = [block for block in blocks(page, "yaml") if block.startswith("# replies.yaml")]
    (tmp_path / "replies.yaml").write_text(script, encoding="utf-8")
    (check,) = [command for command in commands(page) if "--check-script" in command]
    done = run(tmp_path, check)
    assert done.returncode == 0, done.stdout
    assert "can be played" in done.stdout
    assert "warning" not in done.stdout
