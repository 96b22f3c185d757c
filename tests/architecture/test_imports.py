"""Who may import whom: the layers of docs/architecture.md, read off the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
_NOT_LAYERED = {"tests", "bench", "examples", "scripts", "docs", "deploy", "web", "tools"}

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"wire"}),
    frozenset({"protocol"}),
    frozenset({"setting_kinds"}),
    frozenset({"config", "audio_utils", "env_file"}),
    frozenset({"core", "client_secrets", "conversation_store", "profiles"}),
    frozenset({"providers", "metrics", "process_group"}),
    frozenset(
        {
            *("dialects", "handshake", "processors", "service_providers"),
            *("session_inbox", "spoken_turn", "workers"),
        }
    ),
    frozenset(
        {
            *("transport", "rest", "process_audio", "web_console", "operations"),
            *("realtime_session", "pipeline_manager", "mcp_client"),
            *("command_line", "server_logs", "serving"),
            *("testing_api", "wire_faults"),
        }
    ),
    frozenset({"doctor", "settings_table", "staging"}),
    frozenset({"console_settings"}),
    frozenset({"main", "push_to_talk_app", "test_client", "conformance"}),
    frozenset({"realtime_server"}),
)
"""From the ground up: a row may import the rows below it, not its neighbours."""

ONLY_FROM_BELOW: dict[str, set[str]] = {
    "push_to_talk_app": {"audio_utils"},
    "test_client": {"audio_utils"},
    "conformance": set(),
}
"""The clients must prove the wire, so they share nothing with the server that speaks it."""

OWNERS: dict[str, set[str]] = {
    "pipecat": {"pipeline_manager", "processors", "providers", "service_providers"},
    "fastapi": {
        *("main", "serving", "transport", "rest", "process_audio", "web_console"),
        *("console_settings", "operations", "testing_api"),
    },
    "starlette": {
        *("main", "transport", "rest", "process_audio", "web_console", "console_settings"),
        "testing_api",
    },
    "openai": {"providers", "conformance"},
    "tests": set(),
    "mcp": {"providers"},
    "httpx2": {"providers"},
    "redis": {"conversation_store"},
    "prometheus_client": {"metrics"},
}
"""Libraries that only these parts may know."""

IMPURE = {
    *("asyncio", "time", "datetime", "random", "secrets", "uuid"),
    *("logging", "loguru", "threading", "socket"),
}
"""What makes the core's outcome depend on more than its input."""


def part_of(path: Path) -> str:
    """The layered part a source file belongs to: its top-level folder, or its own name."""
    relative = path.relative_to(PROJECT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_roots(source: str, part: str) -> Iterator[str]:
    """Top-level names that a module imports, anywhere in it, `TYPE_CHECKING` blocks included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module.partition(".")[0]
            case ast.ImportFrom():
                yield part
            case _:
                pass


def violations(part: str, source: str) -> list[str]:
    """The import rules that a module breaks.

    Args:
        part: The layered part it belongs to, e.g. `core` or `transport`.
        source: Its text.
    """
    ranks = {name: rank for rank, names in enumerate(LAYERS) for name in names}
    if part not in ranks:
        return [f"{part} has no place in the layers"]
    found: list[str] = []
    for root in sorted(set(imported_roots(source, part)) - {part}):
        if root in ranks:
            if ranks[root] >= ranks[part]:
                found.append(f"{part} imports {root}, which is not below it")
            elif root not in ONLY_FROM_BELOW.get(part, ranks):
                allowed = sorted(ONLY_FROM_BELOW[part]) or "nothing of ours"
                found.append(f"{part} imports {root}: it may use {allowed} only")
        elif part not in OWNERS.get(root, ranks):
            found.append(f"{part} imports {root}, which belongs to {sorted(OWNERS[root])}")
        elif part == "core" and root in IMPURE:
            found.append(f"core imports {root}: it is pure")
    return found


def sources() -> list[Path]:
    return sorted(
        path
        for path in PROJECT.rglob("*.py")
        if not any(name.startswith(".") for name in path.relative_to(PROJECT).parts)
        and path.relative_to(PROJECT).parts[0] not in _NOT_LAYERED
        and not any((parent / "pyvenv.cfg").exists() for parent in path.parents)
    )


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_module_keeps_the_layers(path: Path) -> None:
    assert violations(part_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        # up the layers, sideways, and from hidden places
        ("protocol", "import config"),
        ("protocol", "from core.messages import Failure"),
        ("config", "import audio_utils"),
        ("core", "from dialects import ga"),
        ("core", "import providers.frames"),
        ("providers", "import processors"),
        ("dialects", "from service_providers import Engines"),
        ("transport", "from realtime_session import RealtimeSession"),
        ("realtime_session", "import pipeline_manager"),
        ("transport", "def late():\n    import main"),
        ("core", "if TYPE_CHECKING:\n    from transport import Connection"),
        ("helpers", "x = 1"),
        # clients
        ("test_client", "import protocol"),
        ("push_to_talk_app", "from dialects import beta"),
        ("test_client", "from push_to_talk_app import App"),
        ("conformance", "import audio_utils"),
        ("conformance", "from tests.harness import RealtimeClient"),
        ("conformance", "from protocol import ServerEvent"),
        # libraries
        ("core", "import pipecat"),
        ("transport", "from pipecat.frames.frames import Frame"),
        ("realtime_session", "import fastapi"),
        ("processors", "from starlette.websockets import WebSocket"),
        ("protocol", "from openai.types import realtime"),
        ("test_client", "import openai"),
        # the pure core
        *(("core", f"import {name}") for name in sorted(IMPURE)),
        ("core", "from asyncio import Queue"),
        ("core", "from datetime import datetime"),
    ],
)
def test_planted_violation_is_found(part: str, source: str) -> None:
    assert len(violations(part, source)) == 1


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("core", "from core.messages import Failure\nfrom . import turn\nfrom .turn import Turn"),
        ("core", "import dataclasses\nfrom protocol import Item"),
        ("transport", "from fastapi import WebSocket\nimport dialects, config, asyncio, time"),
        ("pipeline_manager", "import pipecat, processors, service_providers, core.messages"),
        ("providers", "from openai import AsyncOpenAI"),
        ("main", "import transport, realtime_session, pipeline_manager, fastapi"),
        ("test_client", "import audio_utils, websockets, asyncio"),
        ("conformance", "from openai.types import realtime\nimport conformance.oracle, websockets"),
    ],
)
def test_allowed_imports_pass(part: str, source: str) -> None:
    assert violations(part, source) == []
