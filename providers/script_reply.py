"""Writes a script's reply to one request: a pure function from conversation to steps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, assert_never, cast

from core.messages import FinishReason
from protocol import ErrorCategory, NamedToolChoice

from .recording import load_recording
from .script import Action, CallTool, Fault, Rule, Say, SayAudio, Script, Silent, Wait
from .script_rules import (
    Asked,
    Conversation,
    ScriptedFailure,
    allowed_actions,
    choose,
    result_for,
    wants_greeting,
)
from .script_template import Template, TemplateError, Values, parse_tool_output
from .tool_arguments import ArgumentError, build_arguments
from .words import is_cjk, is_speakable, tokens


@dataclass(frozen=True, slots=True)
class SayToken:
    """The next piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class PlayRecording:
    """Recorded speech, s16le mono 24 kHz, and its words."""

    text: str
    pcm: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; joined, `arguments` are its JSON."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing, for a while."""

    duration_ms: int


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing, for ever."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The reply ends in a failure."""

    category: ErrorCategory
    message: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The reply ends well."""

    reason: FinishReason
    output_tokens: int


Step = SayToken | PlayRecording | Call | Pause | Hang | Fail | Finish


def reply(script: Script, asked: Asked) -> tuple[Step, ...]:
    """The whole reply; its last step is a `Finish`, a `Fail` or a `Hang`."""
    try:
        rule = choose(script, asked)
        actions = _fallback(script, asked) if rule is None else allowed_actions(rule.do, asked)
        # All is rendered before anything is sent: a template that fails must not leave half a
        # sentence behind.
        steps = _Renderer(asked, rule).render(_obey_tool_choice(actions, asked))
    except ScriptedFailure as failure:
        return (Fail(ErrorCategory.INVALID_REQUEST, str(failure)),)
    return finished(steps, asked.max_tokens)


def _fallback(script: Script, asked: Asked) -> list[Action]:
    if wants_greeting(script, asked.conversation):
        return [Say(say=script.greeting or "")]
    match script.defaults.fallback:
        case Say() | SayAudio() as action:
            return [action]
        case "silent":
            return []
        case "error":
            raise ScriptedFailure("no rule of the script matches, and its fallback is `error`")
        case "echo":
            return _echo(asked.conversation)


def _echo(conversation: Conversation) -> list[Action]:
    if conversation.results:
        return [Say(say="The tool answered: {tool|nothing}")]
    if conversation.user is None:
        return []
    if not is_speakable(conversation.user):
        return [Say(say="I heard nothing.")]
    ended = conversation.user.rstrip().endswith((".", "!", "?", "…", "。", "！", "？"))
    return [Say(say="You said: {user}" if ended else "You said: {user}.")]


def _obey_tool_choice(actions: list[Action], asked: Asked) -> list[Action]:
    """`actions`, or the call that `tool_choice` demands where they have none."""
    choice = asked.tool_choice
    if choice in ("auto", "none") or any(isinstance(a, CallTool | Fault) for a in actions):
        return actions
    if isinstance(choice, NamedToolChoice):
        return [CallTool(tool=choice.name)]
    if not asked.tools:
        raise ScriptedFailure("tool_choice is 'required', but there are no tools")
    return [CallTool(tool=asked.tools[0].name)]


class _Renderer:
    """Fills a rule's actions in for one request."""

    def __init__(self, asked: Asked, rule: Rule | None) -> None:
        self._asked = asked
        self._source = "the fallback of the script" if rule is None else f"script rule {rule.id!r}"
        conversation = asked.conversation
        result = result_for(None if rule is None else rule.when.tool_result, conversation)
        tool = None if result is None else parse_tool_output(result.output)
        self._values = Values((conversation.user or "").strip(), conversation.turn, tool)

    def render(self, actions: Iterable[Action]) -> list[Step]:
        steps: list[Step] = []
        for action in actions:
            match action:
                case Say():
                    steps += self._say(action, after=steps)
                case SayAudio():
                    steps.append(self._recording(action, after=steps))
                case CallTool():
                    if self._asked.parallel or not any(isinstance(step, Call) for step in steps):
                        steps.append(self._call(action))
                case Wait():
                    steps.append(Pause(action.wait))
                case Fault():
                    return steps + self._fault(action)
                case Silent():
                    continue
                case _:
                    assert_never(action)
        return steps

    def _say(self, say: Say, after: list[Step]) -> list[Step]:
        text = _joined(self._fill(say.say, whole=False), after)
        return [SayToken(token) for token in tokens(text)[: say.chunks]]

    def _recording(self, action: SayAudio, after: list[Step]) -> PlayRecording:
        text = _joined(self._fill(action.text, whole=False), after)
        return PlayRecording(text, load_recording(Path(action.say_audio)))

    def _call(self, action: CallTool) -> Call:
        tool = next((tool for tool in self._asked.tools if tool.name == action.tool), None)
        if tool is None:
            raise ScriptedFailure(
                f"{self._source} calls tool {action.tool!r}, which this response does not have"
            )
        try:
            arguments = build_arguments(tool, self._fill_all(action.args))
        except ArgumentError as error:
            raise ScriptedFailure(f"{self._source}: {error}") from error
        return Call(action.tool, tuple(tokens(json.dumps(arguments, ensure_ascii=False))))

    def _fault(self, fault: Fault) -> list[Step]:
        message = fault.message or f"scripted failure: {fault.fault} in {self._source}"
        match fault.fault:
            case "llm.error":
                return [Fail(fault.category, message)]
            case "llm.disconnect":
                return [Fail(ErrorCategory.CONNECTIVITY, message)]
            case "llm.hang":
                return [Hang()]
            case "llm.empty":
                return []

    def _fill(self, source: str, *, whole: bool) -> Any:
        template = _template(source)
        try:
            return template.value(self._values) if whole else template.text(self._values)
        except TemplateError as error:
            raise ScriptedFailure(f"{self._source}: {error}") from error

    def _fill_all(self, value: Any) -> Any:
        match value:
            case str():
                return self._fill(value, whole=True)
            case dict():
                members = cast("dict[str, Any]", value)
                return {key: self._fill_all(inner) for key, inner in members.items()}
            case list():
                return [self._fill_all(inner) for inner in cast("list[Any]", value)]
            case _:
                return value


def _joined(text: str, after: Sequence[Step]) -> str:
    """`text` as it stands behind what is said before it."""
    said = any(isinstance(step, SayToken | PlayRecording) and step.text for step in after)
    if said and text and not (text[0].isspace() or is_cjk(text[0])):
        return f" {text}"
    return text


# Only texts of the script come here; their number is that of the file's lines.
_template = lru_cache(maxsize=1024)(Template)


def finished(steps: Sequence[Step], max_tokens: int | None) -> tuple[Step, ...]:
    """`steps` up to the token limit, and the `Finish` if none of them ends the reply."""
    done: list[Step] = []
    spent = 0
    called = False
    for step in steps:
        cost = 0
        match step:
            case SayToken():
                cost = 1
            case PlayRecording():
                cost = len(tokens(step.text))
            case Call():
                cost = len(step.arguments)
                called = True
            case Fail() | Hang():
                return (*done, step)
            case Pause() | Finish():
                pass
        if max_tokens is not None and spent + cost > max_tokens:
            # Half a function call is of no use to a client: it is left out as a whole.
            return (*done, Finish("length", spent))
        spent += cost
        done.append(step)
    return (*done, Finish("tool_calls" if called else "stop", spent))
