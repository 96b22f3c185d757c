"""What the documentation points at is there: files, headings, settings and engines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from config import VARIABLES
from providers.registry import REGISTRY
from tests.coverage_table import CLIENT_ROWS, SERVER_ROWS

ROOT = Path(__file__).resolve().parents[1]
READMES = ("README.md", "README.zh-CN.md")
GUIDES = (*READMES, "docs/providers.md", "docs/siliconflow.zh-CN.md")


def pages() -> list[Path]:
    """The project's Markdown files; what is installed or hidden in its folder is not its own."""
    return sorted(
        page
        for page in ROOT.rglob("*.md")
        if not any(
            part.startswith(".") or part in {"node_modules", "venv"}
            for part in page.relative_to(ROOT).parts
        )
    )


@cache
def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```", "", page.read_text("utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The names GitHub gives to a page's headings; no page here has two that are the same."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def relative_links(page: Path) -> Iterator[tuple[str, str]]:
    """File (empty for the page itself) and anchor of each link that stays in the project."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for path, anchor in relative_links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} is not there"
        assert target.is_relative_to(ROOT), f"{path} is outside of the project"
        assert not anchor or anchor in anchors(target), f"{path} has no heading #{anchor}"


def variables_in_tables(page: Path) -> set[str]:
    rows = "\n".join(line for line in prose(page).splitlines() if line.startswith("|"))
    single = "|".join(name for name in VARIABLES if "_" not in name)
    return set(re.findall(rf"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|{single})(?:=[^`]*)?`", rows))


@pytest.mark.parametrize("name", GUIDES)
def test_settings_in_tables_exist(name: str) -> None:
    # What libraries read for themselves.
    elsewhere = {"HF_ENDPOINT", "HTTPS_PROXY", "NO_PROXY", "ORT_DISABLE_TELEMETRY"}
    found = variables_in_tables(ROOT / name)
    assert found
    assert found - elsewhere <= VARIABLES.keys()


@pytest.mark.parametrize("name", [*READMES, "docs/providers.md"])
def test_every_engine_is_in_the_tables(name: str) -> None:
    text = prose(ROOT / name)
    assert [row.name for row in REGISTRY if f"`{row.name}`" not in text] == []


@pytest.mark.parametrize("name", READMES)
def test_the_readmes_name_every_setting(name: str) -> None:
    assert variables_in_tables(ROOT / name) == VARIABLES.keys()


def events_in(cell: str) -> set[str]:
    """The events that a cell names: `.done` stands for the one before it with another ending."""
    found: list[str] = []
    for name in re.findall(r"`([a-z_.]+)`", cell):
        found.append(found[-1].rpartition(".")[0] + name if name.startswith(".") else name)
    return set(found)


@pytest.mark.parametrize("name", READMES)
@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_the_readmes_name_every_event_of_a_dialect(name: str, dialect: str) -> None:
    sent = {
        row.event for row in CLIENT_ROWS if row.outcome == "supported" and dialect in row.dialects
    }
    told = {
        row.event for row in SERVER_ROWS if row.outcome == "emitted" and dialect in row.dialects
    }
    section = re.split(r"^## (?:Events|事件)$", prose(ROOT / name), flags=re.M)[1]
    found: set[str] = set()
    for ga, beta in re.findall(
        r"^\| [^|]+ \| ([^|]+) \| ([^|]+) \|$", section.partition("\n## ")[0], re.M
    ):
        found |= events_in(ga if dialect == "ga" or beta in {"the same", "同左"} else beta)
    assert found == sent | told
