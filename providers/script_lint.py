"""Finds what is allowed in a script but surely not meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from protocol import ConfigError

from .faults import InjectedFault
from .script import CallTool, Fault, Rule, Script, Wait
from .script_file import ScriptError, load_script
from .script_template import Template
from .script_when import UserCondition, When
from .words import comparable


def report(path: Path) -> int:
    """Print all that is wrong or doubtful in the script at `path`, one line each.

    Returns:
        1 if it cannot be played, else 0.
    """
    try:
        script = load_script(path)
    except ScriptError as error:
        for problem in error.problems:
            print(f"error: {path}: {problem}")
        return 1
    except ConfigError as error:
        print(f"error: {str(error).removeprefix(f'{error.variable}: ')}")
        return 1
    doubts = lint(script)
    for doubt in doubts:
        print(f"warning: {path}: {doubt}")
    print(f"{path}: {len(script.rules)} rules, {len(script.faults)} faults, can be played")
    return 0


def lint(script: Script) -> list[str]:
    """All that is doubtful in a script that can be loaded, one line each."""
    return [
        *_duplicates(script),
        *_hidden(script),
        *_unanswered(script),
        *_single_rules(script),
        *_faults(script),
    ]


def _duplicates(script: Script) -> Iterator[str]:
    seen: set[str] = set()
    for rule in script.rules:
        if rule.id in seen:
            yield f"rule {rule.id!r}: an earlier rule has the same id; metadata finds only that one"
        seen.add(rule.id)


def _hidden(script: Script) -> Iterator[str]:
    for index, rule in enumerate(script.rules):
        for earlier in script.rules[:index]:
            if _hides(earlier, rule):
                other = f"rule {earlier.id!r}" if earlier.id != rule.id else "the earlier one"
                yield f"rule {rule.id!r}: never reached, {other} matches before it"
                break


def _unanswered(script: Script) -> Iterator[str]:
    answered = {rule.when.tool_result for rule in script.rules}
    if True in answered:
        return
    for rule in script.rules:
        for name in dict.fromkeys(a.tool for a in rule.do if isinstance(a, CallTool)):
            if name not in answered:
                yield f"rule {rule.id!r}: no rule has `tool_result: {name}` for what it answers"


def _single_rules(script: Script) -> Iterator[str]:
    for rule in script.rules:
        if any(isinstance(action, Fault) for action in rule.do[:-1]):
            yield f"rule {rule.id!r}: nothing behind a fault is carried out"
        if all(isinstance(action, Wait) for action in rule.do):
            yield f"rule {rule.id!r}: waits, but then says nothing; write `silent: true` if meant"
        if rule.when.tool_result is None and any(map(_needs_tool, _templates(rule))):
            yield f"rule {rule.id!r}: uses {{tool}} without `tool_result`, so there is none to use"
        condition = rule.when.user
        pattern = None if condition is None else condition.regex
        if pattern is not None and re.search(pattern, "", re.IGNORECASE):
            yield f"rule {rule.id!r}: its regex {pattern!r} matches any text"


def _faults(script: Script) -> Iterator[str]:
    for index, fault in enumerate(script.faults):
        if fault.session is not None:
            yield f"fault number {index + 1}: no session has an id that a script can know"
        if fault.stage == "stt" and script.stt.mode == "scripted" and not script.transcripts:
            yield f"fault number {index + 1}: there are no transcripts, so nothing is recognised"
        for number, earlier in enumerate(script.faults[:index], start=1):
            if _outlasts(earlier, fault):
                yield f"fault number {index + 1}: never strikes, number {number} does before it"
                break


def _outlasts(earlier: InjectedFault, later: InjectedFault) -> bool:
    return (
        earlier.count == "always"
        and (earlier.stage, earlier.event) == (later.stage, later.event)
        and earlier.turn in (None, later.turn)
        and earlier.user in (None, later.user)
    )


def _hides(earlier: Rule, later: Rule) -> bool:
    """Whether `earlier` takes all that `later` could; forgets rules forced by metadata."""
    calls_only = all(isinstance(action, CallTool) for action in earlier.do)
    if calls_only and later.when.tool_available is None:
        # With `tool_choice: none` the earlier one stands back.
        return False
    return _covers(earlier.when, later.when)


def _covers(wide: When, narrow: When) -> bool:
    if (wide.tool_result is None) != (narrow.tool_result is None):
        return False
    return (
        wide.tool_result in (None, True, narrow.tool_result)
        and wide.turn in (None, narrow.turn)
        and wide.instructions in (None, narrow.instructions)
        and wide.tool_available in (None, narrow.tool_available)
        and (
            wide.user is None or (narrow.user is not None and _covers_user(wide.user, narrow.user))
        )
    )


def _covers_user(wide: UserCondition, narrow: UserCondition) -> bool:
    return (
        (wide.any is None or (narrow.any is not None and _words(narrow.any) <= _words(wide.any)))
        and (wide.all is None or _words(wide.all) <= _words(narrow.all or ()))
        and wide.regex in (None, narrow.regex)
    )


def _words(phrases: tuple[str, ...]) -> set[str]:
    return {comparable(phrase) for phrase in phrases}


def _templates(rule: Rule) -> Iterator[str]:
    for action in rule.do:
        match action:
            case CallTool():
                yield from _texts(action.args)
            case _:
                if (say := getattr(action, "say", None)) is not None:
                    yield say


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
        case _:
            return


def _needs_tool(template: str) -> bool:
    return Template(template).uses_tool
