"""docs/architecture.md names the modules there are, their layers, and who may import what."""

from __future__ import annotations

import re
from pathlib import Path

from tests.architecture.test_imports import LAYERS, OWNERS, PROJECT

_UNLISTED = {"scripts", "web"}
"""Folders that the page mentions in other words, since they hold no Python."""

PAGE = (PROJECT / "docs" / "architecture.md").read_text("utf-8")
MODULES, LAYER_ROWS = re.findall(
    r"^```\n(.*?)^```$", PAGE.partition("## 5.")[2].partition("## 6.")[0], re.M | re.S
)


def top_level() -> set[str]:
    """The project's modules and folders, as the page writes them."""
    files = {path.name for path in PROJECT.glob("*.py")}
    folders = {
        f"{path.parent.name}/"
        for path in PROJECT.glob("*/*")
        if path.suffix in {".py", ".md", ".yaml"} and not path.parent.name.startswith(".")
    }
    return files | folders


def test_the_list_has_every_module_and_no_other() -> None:
    listed = re.findall(r"^(\w+(?:\.py|/)) ", MODULES, re.M)
    assert len(listed) == len(set(listed))
    assert top_level() - {f"{name}/" for name in _UNLISTED} == set(listed)


def test_the_layers_are_those_that_are_tested() -> None:
    text = re.sub(r"\([^)]*\)", "", LAYER_ROWS)
    rows = [row for row in re.split(r"\n(?! )", text.strip()) if row]
    written = [frozenset(re.findall(r"\w+", row)) for row in rows]
    assert written == list(reversed(LAYERS))


def test_libraries_are_where_the_page_says() -> None:
    told = PAGE.partition("`pipecat` is imported only in")[2].partition("`tests/architecture`")[0]
    named = set(re.findall(r"`(\w+)`", f"`pipecat`{told}"))
    libraries = OWNERS.keys() - {"tests"}
    assert libraries <= named
    for library in libraries:
        assert {owner for owner in OWNERS[library] if owner not in named} == set(), library


def test_the_core_s_modules_are_in_their_table() -> None:
    table = PAGE.partition("## 2.")[2].partition("## 3.")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.M)
    named = {name for cell in cells for name in re.findall(r"`([\w*]+)`", cell)}
    modules = {path.stem for path in Path(PROJECT, "core").glob("*.py")} - {"__init__"}
    prefixes = tuple(name.removesuffix("*") for name in named if name.endswith("*"))
    assert {name for name in modules - named if not name.startswith(prefixes)} == set()
    assert {name for name in named - modules if not name.endswith("*")} == set()
