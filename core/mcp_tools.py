"""MCP tools as a language model sees them: functions, and which tool each stands for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from protocol import (
    FunctionTool,
    McpListedTool,
    McpTool,
    McpToolChoice,
    McpToolFilter,
    NamedToolChoice,
    ToolChoice,
    WireToolChoice,
)

MAX_NAME_CHARS = 64
"""What chat APIs take as the name of a function."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_MAX_DESCRIPTION_CHARS = 1024

Catalogue = Callable[[McpTool], tuple[McpListedTool, ...]]
"""The tools of a server that are known by now, after `allowed_tools`."""


@dataclass(frozen=True, slots=True)
class McpTarget:
    """What a function of the model stands for."""

    server: McpTool
    tool_name: str
    needs_approval: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """The functions a model may call, and those of them that are MCP tools."""

    functions: tuple[FunctionTool, ...]
    targets: Mapping[str, McpTarget]


def offer(tools: Iterable[FunctionTool | McpTool], known: Catalogue) -> Offer:
    """Turn a `tools` list into functions with unique names."""
    tools = tuple(tools)
    taken = {tool.name for tool in tools if isinstance(tool, FunctionTool)}
    functions: list[FunctionTool] = []
    targets: dict[str, McpTarget] = {}
    for tool in tools:
        if isinstance(tool, FunctionTool):
            functions.append(tool)
            continue
        for listed in known(tool):
            name = _free_name(function_name(tool.server_label, listed.name), taken)
            taken.add(name)
            description = " ".join(filter(None, (listed.description, tool.server_description)))
            functions.append(
                FunctionTool(
                    name=name,
                    description=description[:_MAX_DESCRIPTION_CHARS],
                    parameters=listed.input_schema,
                )
            )
            targets[name] = McpTarget(tool, listed.name, needs_approval(tool, listed))
    return Offer(tuple(functions), targets)


def function_name(server_label: str, tool_name: str) -> str:
    """The name a model knows an MCP tool by: `label__tool`, made fit for chat APIs.

    Where that changed or cut anything, a digest keeps two tools apart that would look alike.
    """
    plain = f"{server_label}__{tool_name}"
    fit = _NOT_IN_NAMES.sub("_", plain)
    if fit == plain and len(fit) <= MAX_NAME_CHARS:
        return fit
    digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
    return f"{fit[: MAX_NAME_CHARS - 9]}_{digest}"


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        suffix = f"_{number}"
        candidate = name[: MAX_NAME_CHARS - len(suffix)] + suffix
    return candidate


def allowed(server: McpTool, tools: Iterable[McpListedTool]) -> tuple[McpListedTool, ...]:
    """The tools that `allowed_tools` lets through; all of them without it."""
    wanted = server.allowed_tools
    if wanted is None:
        return tuple(tools)
    if isinstance(wanted, tuple):
        wanted = McpToolFilter(tool_names=wanted)
    return tuple(tool for tool in tools if _matches(wanted, tool))


def needs_approval(server: McpTool, tool: McpListedTool) -> bool:
    """Whether the client must agree to each call; yes unless it said otherwise."""
    rule = server.require_approval
    if rule is None or isinstance(rule, str):
        return rule != "never"
    if rule.always is not None and _matches(rule.always, tool):
        return True
    return rule.never is None or not _matches(rule.never, tool)


def _matches(wanted: McpToolFilter, tool: McpListedTool) -> bool:
    if wanted.tool_names is not None and tool.name not in wanted.tool_names:
        return False
    if wanted.read_only is not None:
        # A server is free to claim it, which is why the client decides whether to believe it.
        return bool((tool.annotations or {}).get("readOnlyHint")) == wanted.read_only
    return wanted.tool_names is not None


def narrowed(
    choice: WireToolChoice, offered: Offer
) -> tuple[ToolChoice, tuple[FunctionTool, ...]] | None:
    """A choice as an engine takes it, and the functions to give it; None when nothing fits."""
    if isinstance(choice, NamedToolChoice):
        names = {tool.name for tool in offered.functions} - offered.targets.keys()
        return (choice, offered.functions) if choice.name in names else None
    if not isinstance(choice, McpToolChoice):
        return choice, offered.functions
    fitting = tuple(
        function
        for function in offered.functions
        if (target := offered.targets.get(function.name)) is not None
        and target.server.server_label == choice.server_label
        and choice.name in (None, target.tool_name)
    )
    if not fitting:
        return None
    if choice.name is not None:
        return NamedToolChoice(name=fitting[0].name), offered.functions
    return "required", fitting
