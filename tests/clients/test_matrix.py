"""The compatibility table is complete, names tests that exist, and is what the page says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.clients.matrix import ROWS, Cell, Evidence, Row, cells_of
from tools import compatibility_page

_FOLDER = Path(__file__).parent


def _functions(file: str) -> set[str]:
    tree = ast.parse((_FOLDER / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.client)
def test_every_cell_has_a_test_that_exists_or_a_reason(row: Row) -> None:
    assert not row.tests.keys() & row.lacks.keys()
    assert row.tests.keys() | row.lacks.keys() == set(Cell)
    for test in row.tests.values():
        file, _, function = test.partition("::")
        assert function in _functions(file)


def test_the_page_is_what_the_table_says() -> None:
    assert compatibility_page.main(["--check"]) == 0


def _response(response_id: str, status: str = "completed", reason: str = "") -> list[Any]:
    details = {"reason": reason} if reason else None
    done = {"id": response_id, "status": status, "status_details": details}
    return [
        {"type": "response.created", "response": {"id": response_id}},
        {"type": "response.done", "response": done},
    ]


def _item(**item: Any) -> dict[str, Any]:
    return {"type": "conversation.item.added", "item": item}


_STOPPED = {"type": "input_audio_buffer.speech_stopped", "item_id": "a"}
_COMMITTED = {"type": "input_audio_buffer.committed", "item_id": "a"}
_TYPED = _item(type="message", role="user", content=[{"type": "input_text"}])
_RESULT = _item(type="function_call_output")
_MCP = {"type": "response.mcp_call.completed"}
_REPLY = _response("r2")
_CUT = "cancelled"


@pytest.mark.parametrize(
    ("before", "cell"),
    [
        ([_STOPPED, _COMMITTED], Cell.SPOKEN),
        ([_COMMITTED], Cell.PUSH_TO_TALK),
        ([_TYPED], Cell.TYPED),
        ([_RESULT], Cell.TOOL),
        (_response("r1", _CUT, "turn_detected"), Cell.BARGE_IN),
        (_response("r1", _CUT, "client_cancelled"), Cell.CANCEL),
        ([{"type": "error"}], Cell.WRONG_EVENT),
        ([_MCP], Cell.MCP),
    ],
    ids=str,
)
def test_a_cell_is_what_happened_and_the_reply_after_it(before: list[Any], cell: Cell) -> None:
    assert cells_of([*before, *_REPLY]) == {cell}
    assert cells_of(before) == set()
    assert cells_of([*before, *_response("r2", "failed")]) == set()


def test_an_item_is_answered_by_the_next_response_only() -> None:
    assert cells_of([_TYPED, *_response("r1", "failed"), *_REPLY]) == set()


def test_a_test_must_prove_every_cell_it_stands_for() -> None:
    row = ROWS[0]
    test = row.tests[Cell.SPOKEN]
    stood_for = {cell for cell, proof in row.tests.items() if proof == test}
    evidence = Evidence()
    evidence.add(row.client, [_STOPPED, _COMMITTED, *_REPLY])
    assert f"{row.client}: {Cell.SPOKEN}" not in evidence.missing(test)
    for cell in stood_for - {Cell.SPOKEN}:
        assert f"{row.client}: {cell}" in evidence.missing(test)
    evidence.clear()
    assert f"{row.client}: {Cell.SPOKEN}" in evidence.missing(test)
