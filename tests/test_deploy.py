"""What deploy/ promises: the image gets the whole server and nothing else, and tells its health."""

from __future__ import annotations

import ast
import fnmatch
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import VARIABLES, ServerSettings
from deploy import healthcheck
from tests.clients.certificate import write_certificate
from tests.clients.gateway import running_gateway

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
GATEWAY = COMPOSE["services"]["gateway"]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))[
    "project"
]["optional-dependencies"]
NOT_OURS = {"PATH", "PYTHONUNBUFFERED", "HF_HOME"}
"""Variables that others read."""


# --- what goes in ---------------------------------------------------------------------------------


def taken(path: str) -> bool:
    """Whether .dockerignore lets a file into the image: the last line that matches it decides."""
    inside = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        anchored = {"/".join(parts[: depth + 1]) for depth in range(pattern.count("/"), len(parts))}
        names = (
            parts if "**/" in line else [p for p in anchored if p.count("/") == pattern.count("/")]
        )
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            inside = line.startswith("!")
    return inside


def imported(path: Path) -> set[Path]:
    """The project's modules that one of them imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(level=0, module=str(module), names=aliases):
                names |= {module} | {f"{module}.{alias.name}" for alias in aliases}
            case ast.ImportFrom(level=1, module=module, names=aliases):
                package = ".".join(path.relative_to(ROOT).parent.parts)
                base = f"{package}.{module}" if module else package
                names |= {base} | {f"{base}.{alias.name}" for alias in aliases}
            case _:
                pass
    candidates = [ROOT.joinpath(*name.split(".")) for name in names]
    return {
        file
        for candidate in candidates
        for file in (candidate.with_suffix(".py"), candidate / "__init__.py")
        if file.is_file()
    }


def needed(*roots: str) -> set[str]:
    """All modules that programs run, by their paths in the project."""
    waiting, found = [ROOT / root for root in roots], set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imported(path)
    return {str(path.relative_to(ROOT)) for path in found}


def test_the_image_has_every_module_the_server_needs() -> None:
    modules = needed("main.py", "test_client.py", "deploy/healthcheck.py", "realtime_server.py")
    assert "core/machine.py" in modules
    assert {module for module in modules if not taken(module)} == set()


@pytest.mark.parametrize("folder", ["core", "dialects", "processors", "providers", "web", "wire"])
def test_the_image_has_the_server_s_folders_whole(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    lost = {str(p.relative_to(ROOT)) for p in files if not taken(str(p.relative_to(ROOT)))}
    assert {path for path in lost if "__pycache__" not in path} == set()


@pytest.mark.parametrize(
    "path",
    [
        *("scripts/default.yaml", "profiles.example.yaml", "tests/fixtures/weather.wav"),
        *("requirements.txt", "pyproject.toml", "LICENSE"),
    ],
)
def test_the_image_has_the_files_that_are_read(path: str) -> None:
    assert (ROOT / path).is_file()
    assert taken(path)


@pytest.mark.parametrize(
    "path",
    [
        *(".env", "key.pem", "cert.pem", ".git/config", "tests/conftest.py", "docs/mcp.md"),
        *("push_to_talk_app.py", ".venv/lib/x.py", "core/__pycache__/turn.pyc", "bench/server.py"),
    ],
)
def test_the_image_has_no_secrets_and_no_ballast(path: str) -> None:
    assert not taken(path)


# --- how it is run --------------------------------------------------------------------------------


def test_the_dockerfile_s_settings_and_extras_exist() -> None:
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.M)
    variables = set(re.findall(r"(\w+)=", block))
    assert variables - NOT_OURS <= VARIABLES.keys()
    (default,) = re.findall(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.M)
    assert set(default.split(",")) <= EXTRAS.keys()


def test_the_container_is_not_root_and_watches_its_health() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last_stage, re.M)
    assert '"deploy.healthcheck"' in last_stage
    assert "HEALTHCHECK" in last_stage


def test_extras_have_the_ranges_that_are_tested() -> None:
    tested = (ROOT / "requirements-dev.txt").read_text("utf-8").splitlines()
    assert {row for rows in EXTRAS.values() for row in rows} <= set(tested)


def test_compose_builds_this_image_and_keeps_it_to_this_machine() -> None:
    build = GATEWAY["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert set(GATEWAY["environment"]) <= VARIABLES.keys()
    (port,) = GATEWAY["ports"]
    assert port == f"${{PUBLISH:-127.0.0.1:8000}}:{GATEWAY['environment']['SERVER_PORT']}"


def test_compose_has_redis_and_ollama_only_when_asked_for() -> None:
    optional = {
        name: row["profiles"] for name, row in COMPOSE["services"].items() if name != "gateway"
    }
    assert optional == {"redis": ["redis"], "ollama": ["ollama"]}
    assert all(row["required"] is False for row in GATEWAY["depends_on"].values())
    named = {
        volume.partition(":")[0]
        for row in COMPOSE["services"].values()
        for volume in row["volumes"]
    }
    assert named == COMPOSE["volumes"].keys()


def test_the_scrape_example_asks_for_the_metrics_of_the_default_port() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{ServerSettings().port}"]}]


# --- the health check -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({}, "http://127.0.0.1:8000/health"),
        ({"host": "0.0.0.0", "port": 9000}, "http://127.0.0.1:9000/health"),
        ({"host": "::"}, "http://127.0.0.1:8000/health"),
        ({"host": "::1"}, "http://[::1]:8000/health"),
        ({"host": "10.0.0.5"}, "http://10.0.0.5:8000/health"),
    ],
)
def test_the_health_check_asks_where_the_server_listens(server: dict[str, Any], url: str) -> None:
    assert healthcheck.address(ServerSettings(**server)) == url


def test_a_server_is_healthy_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A proxy that is not there must not be asked, nor a certificate for another name be refused.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    cert_file, key_file = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERTFILE", str(cert_file))
    monkeypatch.setenv("SSL_KEYFILE", str(key_file))
    tls = ("--ssl-certfile", str(cert_file), "--ssl-keyfile", str(key_file))
    with running_gateway(tmp_path, *tls) as gateway:
        monkeypatch.setenv("SERVER_PORT", str(gateway.port))
        assert healthcheck.main() == 0
    assert healthcheck.main() == 1
    assert f"https://127.0.0.1:{gateway.port}/health" in capsys.readouterr().err
