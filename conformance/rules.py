"""The rules that every connection of a run is held against, whichever check opened it.

A fault in one event type would otherwise fail every check that meets it: here it is one failed
rule, with the place where it was seen first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.lab import Traffic
from conformance.oracle import Dialect, Finding
from conformance.registry import BOTH, Level

_INPUT = "input_audio_buffer."
_SPEECH = (f"{_INPUT}speech_started", f"{_INPUT}speech_stopped", f"{_INPUT}committed")
_TRANSCRIPTION = "conversation.item.input_audio_transcription."
_ITEMS = ("conversation.item.added", "conversation.item.done", "conversation.item.created")
_TEXT = ("response.output_text.", "response.text.")
_TRANSCRIPT = ("response.output_audio_transcript.", "response.audio_transcript.")
_AUDIO = ("response.output_audio.", "response.audio.")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule over all connections.

    Attributes:
        id: `section/name`.
        title: What is right.
        source: Where it is laid down.
        about: Prefixes of the event types it speaks of; without one of them it is not measured.
        dialects: Where it applies.
        level: As with checks.
    """

    id: str
    title: str
    source: str
    about: tuple[str, ...] = ("",)
    dialects: tuple[Dialect, ...] = BOTH
    level: Level = "required"

    @property
    def section(self) -> str:
        return self.id.partition("/")[0]


_SHAPES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("error", ("error",)),
    ("session", ("session.", "transcription_session.")),
    ("input-audio", (_INPUT,)),
    ("transcription", (_TRANSCRIPTION,)),
    ("items", ("conversation.",)),
    ("output-items", ("response.output_item.",)),
    ("content-parts", ("response.content_part.",)),
    ("text", _TEXT),
    ("audio-transcript", _TRANSCRIPT),
    ("audio", _AUDIO),
    ("function-calls", ("response.function_call_arguments.",)),
    ("mcp", ("mcp_list_tools.", "response.mcp_")),
    ("response", ("response.created", "response.done")),
    ("other", ("rate_limits.", "output_audio_buffer.")),
)
"""Families of event types; the first that fits an event is its family."""

_ORDER: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("a", "session-first", "session.created is the first event, and comes once", ("",)),
    (
        "b",
        "response-lifetime",
        "each response has one response.created and one response.done, and no event outside them",
        ("response.",),
    ),
    (
        "c",
        "output-items",
        "an output item is added before its events, keeps its ids and index, and is done once",
        ("response.output_item.",),
    ),
    (
        "d",
        "nesting-and-sums",
        "content parts nest, and the deltas add up to every later copy of the text",
        ("response.content_part.", "response.function_call_arguments.", _TRANSCRIPTION),
    ),
    (
        "e",
        "item-lifetime",
        "an item joins the conversation before its events, is done once, out-of-band ones never",
        _ITEMS,
    ),
    ("f", "one-response", "at most one response of the conversation is active", ("response.",)),
    (
        "g",
        "speech-boundaries",
        "speech starts, stops and is committed under one item id, which joins the conversation",
        _SPEECH,
    ),
    ("h", "predecessors", "previous_item_id rebuilds the list of items", _ITEMS),
    ("i", "unique-event-ids", "no event_id is used twice", ("",)),
    ("j", "error-origins", "an error names only client events that exist", ("error",)),
    ("k", "no-audio-in-text", "a text response carries no audio", _TEXT),
    (
        "l",
        "positions",
        "positions in the input audio grow, and stay within what was appended",
        _SPEECH[:2],
    ),
    (
        "m",
        "transcription-on-request",
        "transcription events come only when the session asks for them",
        (f"{_INPUT}committed",),
    ),
    (
        "n",
        "mcp-outcomes",
        "MCP listings and calls are begun, have one outcome, and only then are done",
        ("mcp_list_tools.", "response.mcp_"),
    ),
    (
        "o",
        "rate-limits",
        "rate limits follow response.done (beta: response.created), and add up",
        ("rate_limits.",),
    ),
    (
        "p",
        "playback",
        "the audio of a response starts to sound once, and stops or is cleared once",
        ("output_audio_buffer.",),
    ),
)
_LETTERS = {letter: f"ordering/{name}" for letter, name, _, _ in _ORDER}

RULES: tuple[Rule, ...] = (
    Rule(
        "shapes/frames",
        "every frame is text with a JSON object, below 4 MiB, deltas below 1 MiB",
        "protocol §1.4; clients rule 7",
    ),
    Rule("shapes/event-id", "every event has an event_id", "protocol §2.2; peers §3b"),
    Rule(
        "shapes/no-nulls",
        "no null where a closed-world client drops the whole event for it",
        "protocol §8.4",
    ),
    *(
        Rule(
            f"shapes/{name}",
            f"{' and '.join(f'{prefix}*' if prefix[-1] in '._' else prefix for prefix in about)}"
            " have every field, of the right type",
            "protocol §2.2–2.7, §3, §8.1",
            about,
        )
        for name, about in _SHAPES
    ),
    *(
        Rule(f"ordering/{name}", title, f"protocol §8.6 ({letter})", about)
        for letter, name, title, about in _ORDER
    ),
    Rule(
        "dialect-purity/event-names",
        "no event that the dialect does not have",
        "protocol §2.2, §3.3, §3.5; clients rule 4",
    ),
    Rule(
        "dialect-purity/fields",
        "no field that the dialect does not have",
        "protocol §3.4; clients rule 4",
    ),
    Rule(
        "dialect-purity/content-types",
        "content of items is named as the dialect names it",
        "protocol §2.6, §3.4",
        (*_ITEMS, "response.output_item."),
    ),
)

_CONTENT = "dialect-purity/content-types"

_WORDING: tuple[tuple[str, str], ...] = (
    (r"frames: ", "shapes/frames"),
    (r".*is no event of the|.*Input tag .* does not match", "dialect-purity/event-names"),
    (r".*does not belong in the|.*unknown field", "dialect-purity/fields"),
    (r".*does not belong to role|schema: .*\.content\.\d+\.type: ", _CONTENT),
    (r".*missing event_id|schema: [\w.]*\.event_id: ", "shapes/event-id"),
    (r".*: null ", "shapes/no-nulls"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a rule fared: None findings where nothing it speaks of has passed."""

    rule: Rule
    findings: list[Finding] | None


def rule_of(finding: Finding) -> str:
    """The id of the rule that a finding breaks."""
    if match := re.match(r"\((\w)\) ", finding.problem):
        return _LETTERS[match[1]]
    for pattern, rule_id in _WORDING:
        if re.match(pattern, finding.problem, re.DOTALL):
            return rule_id
    kind = str((finding.event or {}).get("type"))
    for name, about in _SHAPES:
        if kind.startswith(about):
            return f"shapes/{name}"
    return "dialect-purity/event-names"


def judge(traffic: Iterable[Traffic], dialect: Dialect) -> list[Verdict]:
    """Hold every connection of a run against every rule."""
    traffic = list(traffic)
    types = {kind for connection in traffic for kind in connection.types}
    found: dict[str, list[Finding]] = {}
    for connection in traffic:
        # An item fits none of its shapes when its content is misnamed, and each says why.
        misnamed = {f.number for f in connection.findings if rule_of(f) == _CONTENT}
        for finding in connection.findings:
            about_shape = finding.problem.startswith("schema: ") and finding.number in misnamed
            rule_id = _CONTENT if about_shape else rule_of(finding)
            found.setdefault(rule_id, []).append(finding)
    return [
        Verdict(rule, _outcome(rule, found, types)) for rule in RULES if dialect in rule.dialects
    ]


def _outcome(rule: Rule, found: dict[str, list[Finding]], types: set[str]) -> list[Finding] | None:
    if rule.id in found or any(kind.startswith(rule.about) for kind in types):
        return found.get(rule.id, [])
    return None
