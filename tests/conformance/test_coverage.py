"""The coverage table is true, complete, and what the committed page says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from conformance.audio import silence
from conformance.oracle import Dialect, WireEvent
from conformance.oracle.required_keys import REQUIRED
from conformance.oracle.schema import event_types
from conformance.runner import DialectReport
from protocol import CLIENT_EVENT_TYPES, PLAYBACK_CLEAR
from tests.coverage_table import BOTH, CLIENT_ROWS, SERVER_ROWS, ClientRow, ServerRow
from tests.e2e.gateway import run_gateway
from tests.e2e.wire import MANUAL, TEXT, ask, configure, fields, lives
from tests.fakes import FakeStt
from tests.harness import RealtimeClient
from tools import coverage_page

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PROJECT = Path(__file__).resolve().parents[2]
_WHISPER = {"model": "whisper-1"}
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def _cases() -> list[Any]:
    return [
        pytest.param(row, dialect, id=f"{row.event}-{row.session}-{dialect}-{row.outcome}")
        for row in CLIENT_ROWS
        for dialect in row.dialects
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def playing_url() -> AsyncGenerator[str]:
    """Where a gateway listens that keeps the time of the playback."""
    async with run_gateway(session={"playback": "server"}) as gateway:
        yield f"ws://127.0.0.1:{gateway.port}"


@asynccontextmanager
async def _connected(url: str, row: ClientRow, dialect: Dialect) -> AsyncGenerator[RealtimeClient]:
    query = {"model": "gpt-realtime"}
    if row.session == "transcription":
        query = {"intent": "transcription"}
    async with RealtimeClient.connect(
        f"{url}/v1/realtime?{urlencode(query)}", dialect=dialect
    ) as client:
        await client.wait_for("session.created", "transcription_session.created")
        if row.session == "realtime":
            await configure(client, **MANUAL, **TEXT)
        yield client


async def _sample(client: RealtimeClient, row: ClientRow) -> WireEvent:
    """One valid event of the row's type, with what it needs made ready."""
    dialect = client.oracle.dialect
    fresh = {"type": row.event}
    typed = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
    match row.event:
        case "session.update" if row.session == "transcription":
            return fresh | {
                "session": {
                    "type": "transcription",
                    "audio": {"input": {"transcription": _WHISPER}},
                }
            }
        case "session.update":
            kind = {"type": "realtime"} if dialect == "ga" else {}
            return fresh | {"session": kind | fields(dialect, instructions="Be brief.")}
        case "transcription_session.update":
            return fresh | {"session": {"input_audio_transcription": _WHISPER}}
        case "input_audio_buffer.append":
            return fresh | {"audio": "AAAA"}
        case "input_audio_buffer.commit":
            await client.append_fast(silence(200))
            return fresh
        case "conversation.item.create":
            return fresh | {"item": typed}
        case "conversation.item.retrieve" | "conversation.item.delete":
            response = await ask(client, "Hi.")
            return fresh | {"item_id": response.final["output"][0]["id"]}
        case "conversation.item.truncate":
            response = await ask(client, "Hi.", modalities=["audio", "text"])
            item_id = response.final["output"][0]["id"]
            return fresh | {"item_id": item_id, "content_index": 0, "audio_end_ms": 100}
        case "response.cancel":
            await client.say_text("Tell me a story.")
            await client.create_response(**fields(dialect, modalities=["audio", "text"]))
            await client.wait_for("response.created")
            return fresh
        case "output_audio_buffer.clear" if row.playback == "server":
            await client.say_text("Tell me a story.")
            await client.create_response(**fields(dialect, modalities=["audio", "text"]))
            await client.wait_for("output_audio_buffer.started")
            return fresh
        case _:
            return fresh


@pytest.mark.parametrize(("row", "dialect"), _cases())
async def test_a_client_event_is_answered_as_the_table_says(
    gateway_url: str, playing_url: str, row: ClientRow, dialect: Dialect
) -> None:
    url = playing_url if row.playback == "server" else gateway_url
    async with _connected(url, row, dialect) as client:
        event = await _sample(client, row)
        since = len(client.events)
        event_id = await client.send(event)
        if row.outcome == "refused":
            refusal = await client.wait_for("error")
            assert (refusal["error"]["event_id"], refusal["error"]["code"]) == (
                event_id,
                row.answer,
            )
        elif row.answer:
            await client.wait_for(row.answer)
        if row.answer == "response.created":
            await client.wait_for("response.done")
        await lives(client)
        errors = [event for event in client.events[since:] if event["type"] == "error"]
        assert len(errors) == (row.outcome == "refused")


@pytest.mark.parametrize("dialect", BOTH)
async def test_every_client_event_has_a_row(dialect: Dialect) -> None:
    rows = {row.event for row in CLIENT_ROWS if dialect in row.dialects}
    assert rows == {
        *CLIENT_EVENT_TYPES,
        PLAYBACK_CLEAR,
        "transcription_session.update",
    }


@pytest.mark.parametrize("dialect", BOTH)
async def test_every_server_event_has_one_row(dialect: Dialect) -> None:
    rows = [row.event for row in SERVER_ROWS if dialect in row.dialects]
    assert len(rows) == len(set(rows))
    assert set(rows) == event_types(dialect) | REQUIRED[dialect].keys()


async def test_emitted_server_events_have_been_seen(
    healthy: dict[Dialect, DialectReport],
) -> None:
    seen = {dialect: set(report.seen) for dialect, report in healthy.items()}
    for dialect in BOTH:
        seen[dialect] |= await _rare_events(dialect)
    unproven = [
        f"{row.event} ({dialect})"
        for row in SERVER_ROWS
        for dialect in row.dialects
        if row.outcome == "emitted" and row.event not in seen[dialect] and not _named(row)
    ]
    assert unproven == []
    wrong = [
        f"{row.event} ({dialect})"
        for row in SERVER_ROWS
        for dialect in row.dialects
        if row.outcome != "emitted" and row.event in seen[dialect]
    ]
    assert wrong == []


async def test_what_is_not_emitted_says_why() -> None:
    assert [row.event for row in SERVER_ROWS if row.outcome != "emitted" and not row.note] == []
    assert [row.event for row in SERVER_ROWS if (row.outcome == "emitted") != bool(row.proof)] == []


async def test_the_page_is_the_generated_one() -> None:
    assert coverage_page.main(["--check"]) == 0


def _named(row: ServerRow) -> bool:
    """Whether the row's proof is a test that names the event."""
    if not row.proof.endswith(".py"):
        return False
    name = row.event.removeprefix("response.")
    return name in (_PROJECT / row.proof).read_text(encoding="utf-8")


async def _rare_events(dialect: Dialect) -> set[str]:
    """Event types of a recogniser that fails, and of a transcription session."""
    ears = FakeStt()
    async with run_gateway(stt=ears) as gateway:
        async with gateway.connect(dialect) as client:
            await configure(client, **MANUAL, input_audio_transcription=_WHISPER)
            await client.append_fast(silence(400))
            await client.send({"type": "input_audio_buffer.commit"})
            await (await ears.closed.get()).answer(RuntimeError("no ears"))
            await client.wait_for(f"{_TRANSCRIPTION}.failed")
            kinds = {event["type"] for event in client.events}
        row = ClientRow("", (dialect,), "supported", "", session="transcription")
        async with _connected(f"ws://127.0.0.1:{gateway.port}", row, dialect) as client:
            event = "session.update" if dialect == "ga" else "transcription_session.update"
            row = ClientRow(event, (dialect,), "supported", "", session="transcription")
            await client.send(await _sample(client, row))
            await client.wait_for(event.replace("update", "updated"))
            kinds |= {event["type"] for event in client.events}
    return kinds
