"""Reading script files: what is accepted, and how errors name their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol import ConfigError
from providers.script import Say
from providers.script_file import DEFAULT_SCRIPT, load_script, parse_script
from providers.script_lint import lint, report


def test_the_shipped_script_is_without_blame() -> None:
    assert lint(load_script(DEFAULT_SCRIPT)) == []


def test_a_whole_script() -> None:
    script = parse_script(
        """
version: 1
seed: 7
latency: {profile: typical, llm_first_token_ms: 10}
defaults: {fallback: {say: "Pardon?"}}
greeting: Hi.
transcripts: [one, two]
rules:
  - id: a
    when: {user: {all: [x], regex: "^y"}, turn: 2, instructions: be brief, tool_result: true}
    do:
      - {say: "{turn}", chunks: 2}
      - {tool: f, args: {deep: [{x: "{user}"}]}}
      - {wait: 5}
      - {silent: true}
      - {fault: llm.error, category: rate_limit, message: slow down}
"""
    )
    assert script.defaults.fallback == Say(say="Pardon?")
    assert [turn.text for turn in script.transcripts] == ["one", "two"]
    assert (script.latency.llm_first_token_ms, script.latency.llm_token_ms) == (10, 25)
    (rule,) = script.rules
    assert rule.when.turn is not None and rule.when.turn.eq == 2
    assert len(rule.do) == 5


RULE = "version: 1\nrules:\n  - id: r\n    do: [{say: ok}]\n  - id: bad\n    "


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a script is a mapping that starts with `version: 1`"),
        ("version: 1\nrules: [", "line 2"),
        ("version: 2", "line 1, version: Input should be 1"),
        ("seed: 1", "line 1, version: is required"),
        ("version: 1\nrulez: []", "line 2, rulez: unknown key"),
        ("version: 1\nrules: 3", "line 2, rules: must be a list"),
        (
            "version: 1\n\nlatency: {profile: wild}",
            "line 3, latency.profile: Input should be 'instant'",
        ),
        ("version: 1\ngreeting: '{name}'", "line 2, greeting: unknown placeholder {name}"),
        (RULE + "do: []", "line 6, rule 'bad', rules[1].do: Tuple should have at least 1 item"),
        (
            RULE + "do: [{say: a, chunk: 2}]",
            "line 6, rule 'bad', rules[1].do[0].chunk: unknown key",
        ),
        (RULE + "do: [{shout: a}]", "rules[1].do[0]: an action is a mapping with one of the keys"),
        (RULE + "do: [{say: '{user.match((}'}]", "rules[1].do[0].say: user.match( has no closing"),
        (RULE + "do: [{tool: t, args: {a: ['{x}']}}]", "rules[1].do[0].args: unknown placeholder"),
        (RULE + "do: [{fault: tts.error}]", "rules[1].do[0].fault: Input should be 'llm.error'"),
        (RULE + "do: [{wait: -1}]", "rules[1].do[0].wait: Input should be greater than"),
        (
            RULE + "do: [{say: a}]\n    when: {user: {any: [yes]}}",
            "line 7, rule 'bad', rules[1].when.user.any[0]: Input should be a valid string (YAML",
        ),
        (
            "version: 1\ntranscripts:\n  - {text: one two, logprobs: [-1]}",
            "line 3, transcripts[0]: the text has 2 pieces, logprobs has 1",
        ),
        (
            "version: 1\ntranscripts: [{text: one, logprobs: [0.1]}]",
            "transcripts[0].logprobs[0]: Input should be less than or equal to 0",
        ),
        ("version: 1\ntranscripts: [3]", "transcripts[0]: must be a mapping"),
        (RULE + "do: [{say: a}]\n    when: {user: {any: ['?!']}}", "'?!' has no letter or digit"),
        (RULE + "do: [{say: a}]\n    when: {user: {regex: '('}}", "bad regular expression"),
        (RULE + "do: [{say: a}]\n    when: {user: {}}", "rules[1].when.user: give any, all or"),
        (
            "version: 1\nrules:\n  - do: [{say: ok}]",
            "line 3, rule number 1, rules[0].id: is required",
        ),
    ],
)
def test_errors_name_the_file_and_the_place(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_script(path)
    assert caught.value.variable == "SCRIPT_FILE"
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    assert report(path) == 1
    printed = capsys.readouterr().out
    assert told in printed
    assert all(line.startswith("error: ") for line in printed.splitlines())


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_script(RULE + "do: [{say: '}'}, {wait: no}]")
    assert "do[0].say" in str(caught.value)
    assert "do[1].wait" in str(caught.value)
    assert "at least 1 item" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_script(tmp_path / "absent.yaml")
    (tmp_path / "latin").write_bytes(b"version: 1 # \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_script(tmp_path / "latin")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("- {id: a, do: [{say: x}]}\n- {id: b, do: [{say: y}]}", ["rule 'b': never reached"]),
        (
            "- {id: a, when: {user: {any: [x, Y]}}, do: [{say: x}]}\n"
            "- {id: b, when: {user: {any: [y]}, turn: 2}, do: [{say: y}]}",
            ["rule 'b': never reached, rule 'a'"],
        ),
        (
            "- {id: a, when: {user: {any: [x], all: [z]}}, do: [{say: x}]}\n"
            "- {id: b, when: {user: {any: [x]}}, do: [{say: y}]}",
            [],
        ),
        ("- {id: a, do: [{say: x}]}\n- {id: b, when: {tool_result: true}, do: [{say: y}]}", []),
        (
            "- {id: a, do: [{tool: f}]}\n- {id: b, do: [{say: x}]}\n"
            "- {id: c, when: {tool_result: f}, do: [{say: y}]}",
            [],
        ),
        (
            "- {id: a, when: {turn: 1}, do: [{say: x}]}\n"
            "- {id: a, when: {turn: 2}, do: [{say: x}]}",
            ["rule 'a': an earlier rule has the same id"],
        ),
        ("- {id: a, do: [{tool: f}]}", ["rule 'a': no rule has `tool_result: f`"]),
        (
            "- {id: a, do: [{fault: llm.empty}, {say: x}]}",
            ["rule 'a': nothing behind a fault"],
        ),
        ("- {id: a, do: [{wait: 5}]}", ["rule 'a': waits, but then says nothing"]),
        ("- {id: a, do: [{say: '{tool.x}'}]}", ["rule 'a': uses {tool} without `tool_result`"]),
        (
            "- {id: a, when: {user: {regex: 'x*'}}, do: [{say: x}]}",
            ["rule 'a': its regex 'x*' matches any text"],
        ),
    ],
)
def test_lint(rules: str, told: list[str]) -> None:
    found = lint(parse_script(f"version: 1\nrules:\n{rules}"))
    assert len(found) == len(told)
    for line, start in zip(found, told, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (
            "- {stage: llm, kind: melt}",
            "line 3, faults[0].kind: Input should be 'error', 'timeout'",
        ),
        ("- {stage: vad, kind: hang}", "faults[0].stage: Input should be 'stt', 'llm', 'tts' or"),
        ("- {stage: tts, kind: error, event: x}", "faults[0]: event is for stage ws, not tts"),
        ("- {stage: ws, kind: error, category: quota}", "category is for stage stt | llm | tts"),
        (
            "- {stage: ws, kind: disconnect, close_code: 99}",
            "faults[0].close_code: Input should be",
        ),
        ("- {stage: llm, kind: error, turn: {after: 3}}", "faults[0].turn.after: unknown key"),
    ],
)
def test_faults_of_a_script_are_checked(faults: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_script(f"version: 1\nfaults:\n  {faults}")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("faults", "doubts"),
    [
        ("- {stage: llm, kind: error, turn: 2}", []),
        (
            "- {stage: llm, kind: error, count: always}\n  - {stage: llm, kind: hang, turn: 2}",
            ["fault number 2: never strikes, number 1 does before it"],
        ),
        (
            "- {stage: llm, kind: error, session: sess_1}",
            ["fault number 1: no session has an id that a script can know"],
        ),
    ],
)
def test_faults_that_never_strike_are_told(faults: str, doubts: list[str]) -> None:
    assert lint(parse_script(f"version: 1\nfaults:\n  {faults}")) == doubts


def test_the_report_tells_doubts_and_every_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "version: 1\nrules:\n  - {id: a, do: [{say: x}]}\n  - {id: b, do: [{say: y}]}\n"
    )
    assert report(path) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"warning: {path}: rule 'b': never reached, rule 'a' matches before it",
        f"{path}: 2 rules, 0 faults, can be played",
    ]
    path.write_text("version: 1\nseeed: 3\nlatency: brisk\n")
    assert report(path) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert report(tmp_path / "absent.yaml") == 1
    assert "cannot read" in capsys.readouterr().out


def test_a_latency_profile_by_its_name_and_with_numbers() -> None:
    named = parse_script("version: 1\nlatency: typical").latency
    assert (named.llm_first_token_ms, named.tts_first_audio_ms) == (400, 200)
    mixed = parse_script("version: 1\nlatency: {profile: slow, llm_first_token_ms: 5}").latency
    assert (mixed.llm_first_token_ms, mixed.tts_first_audio_ms) == (5, 500)
    bare = parse_script("version: 1\nlatency: {stt_final_ms: 350}").latency
    assert (bare.stt_final_ms, bare.llm_token_ms, bare.jitter) == (350, 0, 0)
