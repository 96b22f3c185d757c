"""Chooses the rule of a script that answers a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from protocol import FunctionTool, NamedToolChoice, ToolChoice

from .script import Action, CallTool, Rule, Script
from .script_when import UserCondition, When, has_phrase, padded
from .words import plain, tokens


class ScriptedFailure(Exception):
    """The script cannot answer this request; the message may reach the client."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered; `name` is "" when its call is not in the conversation."""

    name: str
    output: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a script looks at.

    `user` is the last user turn, None before the first one; `results` are the tool outputs
    behind the last other message, empty unless tools have just answered.
    """

    user: str | None = field(repr=False)
    turn: int
    results: tuple[ToolResult, ...]
    instructions: str = field(repr=False)
    tokens: int

    @classmethod
    def read(cls, messages: Iterable[Mapping[str, Any]], instructions: str) -> Conversation:
        """Read OpenAI chat messages."""
        user: str | None = None
        turn = 0
        results: list[ToolResult] = []
        names: dict[str, str] = {}
        texts: list[str] = []
        system: list[str] = [instructions]
        for message in messages:
            text = _text_of(message.get("content"))
            texts.append(text)
            role = message.get("role")
            if role == "tool":
                results.append(ToolResult(names.get(str(message.get("tool_call_id")), ""), text))
                continue
            results.clear()
            if role == "user":
                user = text
                turn += 1
            elif role == "system":
                system.append(text)
            for call in message.get("tool_calls") or ():
                names[str(call.get("id"))] = call["function"]["name"]
                texts.append(call["function"]["arguments"])
        counted = sum(len(tokens(text)) for text in texts)
        return cls(user, turn, tuple(results), "\n".join(system), counted)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to answer: the conversation and what the reply may do."""

    conversation: Conversation
    speak: bool = True
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel: bool = True
    max_tokens: int | None = None
    rule_id: str | None = None


def choose(script: Script, asked: Asked) -> Rule | None:
    """The rule that `asked` names, or the first whose conditions all hold.

    Raises:
        ScriptedFailure: the rule it names does not exist.
    """
    if asked.rule_id is not None:
        for rule in script.rules:
            if rule.id == asked.rule_id:
                return rule
        known = ", ".join(repr(rule.id) for rule in script.rules) or "none"
        raise ScriptedFailure(f"metadata.rule {asked.rule_id!r} is no rule of the script: {known}")
    matcher = _Matcher(script, asked)
    return next((rule for rule in script.rules if matcher.takes(rule)), None)


def result_for(name: str | bool | None, conversation: Conversation) -> ToolResult | None:
    """The last tool output, or with a name the last one of that tool."""
    results = conversation.results
    fitting = [result for result in results if not isinstance(name, str) or result.name == name]
    return fitting[-1] if fitting else None


def wants_greeting(script: Script, conversation: Conversation) -> bool:
    """Whether nobody has spoken yet and the script has something to say to that."""
    nobody_spoke = conversation.user is None and not conversation.results
    return nobody_spoke and script.greeting is not None


class _Matcher:
    """Tells whether rules match one request; makes each text ready for comparison only once."""

    def __init__(self, script: Script, asked: Asked) -> None:
        self._asked = asked
        self._conversation = asked.conversation
        self._greets = wants_greeting(script, asked.conversation)
        callable_tools = asked.tools if asked.tool_choice != "none" else ()
        self._tools = frozenset(tool.name for tool in callable_tools)

    def takes(self, rule: Rule) -> bool:
        when = rule.when
        conversation = self._conversation
        # A rule without conditions of its own must not hide the greeting.
        if self._greets and when.turn is None and when.instructions is None:
            return False
        return (
            bool(allowed_actions(rule.do, self._asked))
            and self._answers_the_right_thing(when)
            and (when.tool_available is None or when.tool_available in self._tools)
            and (when.turn is None or when.turn.holds(conversation.turn))
            and (when.instructions is None or has_phrase(self._instructions, when.instructions))
            and (when.user is None or self._user_said(when.user))
        )

    def _answers_the_right_thing(self, when: When) -> bool:
        if when.tool_result is None:
            return not self._conversation.results
        return result_for(when.tool_result, self._conversation) is not None

    def _user_said(self, condition: UserCondition) -> bool:
        if self._conversation.user is None:
            return False
        return condition.fits(self._user_words, self._user_plain)

    @cached_property
    def _instructions(self) -> str:
        return padded(self._conversation.instructions)

    @cached_property
    def _user_words(self) -> str:
        return padded(self._conversation.user or "")

    @cached_property
    def _user_plain(self) -> str:
        return plain(self._conversation.user or "")


def allowed_actions(actions: Sequence[Action], asked: Asked) -> list[Action]:
    """`actions` less the tool calls that `tool_choice` rules out."""
    choice = asked.tool_choice
    if isinstance(choice, NamedToolChoice):
        return [a for a in actions if not isinstance(a, CallTool) or a.tool == choice.name]
    return [a for a in actions if choice != "none" or not isinstance(a, CallTool)]


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part for part in cast("list[Any]", content) if isinstance(part, dict))
        return " ".join(str(part["text"]) for part in parts if part.get("type") == "text")
    return ""
