"""The oracle's rule for MCP: what it lets pass, and one fault at a time that it must find."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.oracle.seq_mcp import Mcp

LIST = {"id": "l", "type": "mcp_list_tools", "server_label": "s", "tools": []}
CALL = {"id": "c", "type": "mcp_call", "name": "t", "arguments": "", "output": None}
TOOLS = [{"name": "t", "input_schema": {}}]


def step(name: str, item_id: str) -> dict[str, Any]:
    return {"type": name, "item_id": item_id}


LISTED: list[tuple[str, dict[str, Any]]] = [
    ("added", LIST),
    ("server", step("mcp_list_tools.in_progress", "l")),
    ("server", step("mcp_list_tools.completed", "l")),
    ("done", {**LIST, "tools": TOOLS}),
]
ARGUMENTS = "response.mcp_call_arguments"
CALLED: list[tuple[str, dict[str, Any]]] = [
    ("added", CALL),
    ("server", {**step(f"{ARGUMENTS}.delta", "c"), "delta": "{"}),
    ("server", {**step(f"{ARGUMENTS}.delta", "c"), "delta": "}"}),
    ("server", {**step(f"{ARGUMENTS}.done", "c"), "arguments": "{}"}),
    ("server", step("response.mcp_call.in_progress", "c")),
    ("server", step("response.mcp_call.completed", "c")),
    ("done", {**CALL, "arguments": "{}", "output": "x"}),
]
APPROVED = [*CALLED[1:4], ("added", {**CALL, "arguments": "{}"}), *CALLED[4:]]


def problems(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    found: list[str] = []
    checker = Mcp(lambda letter, problem: found.append(f"({letter}) {problem}"))
    for method, payload in events:
        getattr(checker, method)(payload)
    return found


@pytest.mark.parametrize("events", [LISTED, CALLED, APPROVED, [CALLED[0]]])
def test_what_is_right(events: list[tuple[str, dict[str, Any]]]) -> None:
    assert problems(events) == []


def test_a_call_may_be_broken_off_in_its_arguments() -> None:
    done = {**CALL, "arguments": "{", "error": {"type": "tool_execution_error", "message": "m"}}
    assert problems([*CALLED[:2], ("done", done)]) == []


@pytest.mark.parametrize(
    "events",
    [
        LISTED[1:],
        [("added", {**LIST, "tools": TOOLS}), *LISTED[1:]],
        [LISTED[0], *LISTED[2:]],
        [*LISTED[:2], LISTED[3]],
        [*LISTED[:3], LISTED[2], LISTED[3]],
        [*LISTED[:2], ("server", step("mcp_list_tools.failed", "l")), LISTED[3]],
        [*CALLED[:2], *CALLED[3:]],
        [*CALLED[:4], CALLED[1], *CALLED[4:]],
        [*CALLED[:4], *CALLED[5:]],
        [*CALLED[:5], CALLED[6]],
        [*CALLED[:5], ("server", step("response.mcp_call.failed", "c")), CALLED[6]],
        [*CALLED[:6], ("done", {**CALL, "arguments": "{}"})],
        [*CALLED[:6], ("done", {**CALL, "arguments": "{ }", "output": "x"})],
        [*CALLED, CALLED[5]],
    ],
)
def test_what_is_wrong(events: list[tuple[str, dict[str, Any]]]) -> None:
    assert problems(events)
    assert all(problem.startswith("(n) ") for problem in problems(events))
