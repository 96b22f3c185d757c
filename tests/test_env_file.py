"""Edits of a `.env` file: what changes, what stays, and what is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values

import env_file
from protocol import ConfigError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("", {"A": "1"}, "A=1\n"),
        ("B=2", {"A": "1"}, "B=2\nA=1\n"),
        ("A=1\nB=2\n", {"A": "3"}, "A=3\nB=2\n"),
        ("A=1\nB=2\n", {"A": None}, "B=2\n"),
        ("A=1\n", {"B": "2", "A": "3"}, "A=3\nB=2\n"),
        ("A=1\n", {"B": "2", "A": None}, "B=2\n"),
        ("A=1\nB=2\n", {"C": None}, "A=1\nB=2\n"),
        # comments, order, blank lines and lines of others stay
        ("# a\n\nA=1 # why\n???\nX=9\n", {"A": "2"}, "# a\n\nA=2 # why\n???\nX=9\n"),
        ("# a\n\nA='1'   # why\n", {"A": "x y"}, "# a\n\nA='x y'   # why\n"),
        ("export A = 1\n", {"A": "2"}, "export A = 2\n"),
        ("B=1\n\n# about A\nA=1\n", {"A": None}, "B=1\n\n# about A\n"),
        # a new one comes where the file shows it
        ("# A=\n\n# B=\n", {"A": "1"}, "# A=\nA=1\n\n# B=\n"),
        ("# A=\n# B=", {"B": "1"}, "# A=\n# B=\nB=1\n"),
        ("# A=\n# AB=\n", {"A": "1"}, "# A=\nA=1\n# AB=\n"),
        # the last of several is the one that counts
        ("A=1\nA=2\n", {"A": "3"}, "A=1\nA=3\n"),
        ("A=1\nB=1\nA=2\n", {"A": None}, "B=1\n"),
        ("A='one\ntwo'\nB=1\n", {"A": "3"}, "A=3\nB=1\n"),
        # line ends and the byte order mark of Windows
        ("A=1\r\nB=2\r\n", {"A": "3", "C": "4"}, "A=3\r\nB=2\r\nC=4\r\n"),
        ("\ufeffA=1\n", {"A": "2"}, "\ufeffA=2\n"),
    ],
)
def test_what_is_not_changed_stays(before: str, changes: dict[str, str | None], after: str) -> None:
    assert env_file.edited(before, changes) == after


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "two words",
        "a#b",
        "a # b",
        "#",
        "it's",
        '"quoted"',
        "'quoted'",
        "back\\slash",
        "ends\\",
        "\\'",
        "\\n is no line end",
        "one\ntwo\n\nthree",
        "你好，“世界” # 注释",
        "$HOME ${HOME} `id`",
        "a=b",
        "\ttab",
        "https://user:p%40ss@host/v1?x=1&y=2",
        "😀",
    ],
)
@pytest.mark.parametrize("file", ["", "B='x'\n# A=\nC=\"y\"\n", "A=old # c\r\nB='x'\r\n"])
def test_every_value_is_read_back_as_it_was(value: str, file: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    env_file.write(path, env_file.edited(file, {"A": value}))
    read = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    assert read == env_file.values(file) | {"A": value}


@pytest.mark.parametrize("value", ["\x00", "a\x1bb", "\ud800", "bell\x07"])
def test_what_is_no_text_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^A: must be text"):
        env_file.edited("", {"A": value})


def test_a_quote_that_does_not_end_swallows_nothing() -> None:
    with pytest.raises(ConfigError, match="quote that does not end"):
        env_file.edited("B='open\nC=1\n", {"A": "it's"})


def test_the_shipped_example_takes_all_and_gives_it_back() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    changes = {"SERVER_PORT": "9000", "LLM_SYSTEM_PROMPT": "两行\n'文字' # 1", "OWN": "1"}
    filled = env_file.edited(example, changes)
    assert env_file.values(filled) == changes
    assert "# SERVER_PORT=8000\nSERVER_PORT=9000\n" in filled
    assert env_file.edited(filled, dict.fromkeys(changes)) == example


def test_the_file_is_its_owners_and_replaced_in_one_step(tmp_path: Path) -> None:
    path, link = tmp_path / "kept" / "env", tmp_path / ".env"
    path.parent.mkdir()
    path.write_text("A=1\n")
    path.chmod(0o644)
    link.symlink_to(path)
    env_file.write(link, "A=2\n")
    assert link.is_symlink()
    assert path.read_text() == "A=2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["env"]


def test_a_write_that_fails_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    with pytest.raises(UnicodeEncodeError):
        env_file.write(path, "A=\ud800\n")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [(".env", "A=1\n")]


def test_an_absent_file_is_empty_and_an_unreadable_one_is_told(tmp_path: Path) -> None:
    assert env_file.read(tmp_path / ".env") == ""
    (tmp_path / ".env").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        env_file.read(tmp_path / ".env")
