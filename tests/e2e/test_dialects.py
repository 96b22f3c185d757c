"""Which dialect a connection speaks, and that it never mixes them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.e2e.gateway import Gateway, tone
from tests.e2e.wire import MANUAL, added, ask, configure, fields, lives
from tests.oracle import WireEvent

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAID = "You said: hi."

GA_ONLY = (
    "conversation.item.added",
    "conversation.item.done",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
)
BETA_ONLY = (
    "conversation.item.created",
    "response.audio.delta",
    "response.audio.done",
    "response.audio_transcript.delta",
    "response.audio_transcript.done",
)


def assert_only(kinds: set[str], dialect: str) -> None:
    spoken, foreign = (GA_ONLY, BETA_ONLY) if dialect == "ga" else (BETA_ONLY, GA_ONLY)
    assert kinds >= set(spoken)
    assert kinds.isdisjoint(foreign)
    assert "conversation.created" not in kinds


async def test_a_marked_connection_speaks_its_dialect(gateway: Gateway, dialect: Any) -> None:
    async with gateway.connect(dialect) as client:
        session = (await client.wait_for("session.created"))["session"]
        assert ("audio" in session) == (dialect == "ga")
        assert ("input_audio_format" in session) == (dialect == "beta")
        await configure(client, **MANUAL)
        assert (await ask(client, "hi")).transcript == SAID
    assert_only({event["type"] for event in client.events}, dialect)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"subprotocols": ["realtime", "openai-beta.realtime-v1"]}, "beta"),
        ({"headers": {"OpenAI-Beta": "assistants=v2, realtime=v1"}}, "beta"),
        ({"query": {"model": "step-audio-2"}}, "beta"),
        ({"headers": {"User-Agent": "AsyncOpenAI/Python 3.52.0"}}, "ga"),
        ({"headers": {"User-Agent": "Agents/Python 0.24.0"}}, "ga"),
        ({"headers": {"X-OpenAI-Agents-SDK": "openai-agents-sdk.0.20.0"}}, "ga"),
        ({"subprotocols": ["realtime", "openai-insecure-api-key.K"]}, "ga"),
    ],
)
async def test_the_handshake_decides(
    gateway: Gateway, options: dict[str, Any], expected: Any
) -> None:
    options = dict(options)
    url = gateway.url(**options.pop("query", {}))
    headers = options.pop("headers", {})
    if agent := headers.pop("User-Agent", None):
        options["user_agent_header"] = agent
    async with gateway.connect(
        expected, url=url, marked=False, opening=expected, headers=headers, **options
    ) as client:
        await configure(client, **MANUAL)
        assert (await ask(client, "hi")).transcript == SAID
    assert_only({event["type"] for event in client.events}, expected)


async def test_the_legacy_reference_client_is_beta(gateway: Gateway) -> None:
    url = f"ws://127.0.0.1:{gateway.port}/v1/realtime?api-key=K"
    async with gateway.connect(
        "beta", url=url, marked=False, opening="beta", api_key=None
    ) as client:
        assert (await ask(client, "hi")).transcript == SAID


FIRST_UPDATES: list[tuple[WireEvent, Any]] = [
    ({"type": "session.update", "session": {"type": "realtime"}}, "ga"),
    (
        {
            "type": "session.update",
            "session": {"type": "realtime", "audio": {"output": {"voice": "sage"}}},
        },
        "ga",
    ),
    ({"type": "session.update", "session": {"modalities": ["audio", "text"]}}, "beta"),
    ({"type": "session.update", "session": {"turn_detection": None, "voice": "x"}}, "beta"),
    ({"type": "session.update", "session": {"input_audio_transcription": None}}, "beta"),
]


@pytest.mark.parametrize(("update", "told"), FIRST_UPDATES)
@pytest.mark.parametrize("path", ["/v1/realtime", "/"])
async def test_an_unmarked_connection_is_told_by_its_first_update(
    gateway: Gateway, update: WireEvent, told: Any, path: str
) -> None:
    url = gateway.url(path)
    async with gateway.connect(told, url=url, marked=False) as client:
        created = (await client.wait_for("session.created"))["session"]
        assert {"audio", "type", "modalities", "input_audio_format"} <= created.keys()
        await client.send(update)
        updated = (await client.wait_for("session.updated"))["session"]
        assert ("audio" in updated) == (told == "ga")
        assert (await ask(client, "hi")).transcript == SAID
    assert_only({event["type"] for event in client.events}, told)


async def test_an_update_that_tells_nothing_leaves_the_question_open(gateway: Gateway) -> None:
    async with gateway.connect("ga", marked=False) as client:
        await client.send(
            {"type": "session.update", "session": {"type": "realtime", "instructions": "x"}}
        )
        assert "audio" in (await client.wait_for("session.updated"))["session"]
    async with gateway.connect("beta", marked=False) as client:
        await client.send({"type": "session.update", "session": {"instructions": "x"}})
        assert "modalities" in (await client.wait_for("session.updated"))["session"]


async def test_a_response_may_tell_the_dialect_too(gateway: Gateway) -> None:
    async with gateway.connect("ga", marked=False) as client:
        await client.create_response(output_modalities=["audio"])
        await client.collect_response()
        assert (await ask(client, "hi")).transcript == SAID
    async with gateway.connect("beta", marked=False) as client:
        await client.create_response(modalities=["text", "audio"])
        await client.collect_response()
        assert (await ask(client, "hi")).transcript == SAID


async def test_a_plain_client_gets_the_beta_names(gateway: Gateway) -> None:
    async with gateway.connect("beta", marked=False) as client:
        response = await ask(client, "hi")
        assert (response.transcript, response.audio) == (SAID, tone(SAID))
    assert_only({event["type"] for event in client.events}, "beta")


async def test_a_beta_marker_is_taken_back_by_a_ga_update(gateway: Gateway) -> None:
    # openai-node 5.18 to 5.23.0 sends the marker and speaks GA.
    async with gateway.connect(
        "ga", marked=False, opening="beta", headers={"OpenAI-Beta": "realtime=v1"}
    ) as client:
        assert "modalities" in (await client.wait_for("session.created"))["session"]
        await configure(client, **MANUAL)
        assert (await ask(client, "hi")).transcript == SAID
    assert_only({event["type"] for event in client.events}, "ga")


async def test_a_ga_connection_stays_ga(gateway: Gateway) -> None:
    async with gateway.connect("ga") as client:
        event_id = await client.send(
            {"type": "session.update", "session": {"modalities": ["text"], "voice": "x"}}
        )
        error = (await client.wait_for("error"))["error"]
        assert (error["event_id"], error["param"]) == (event_id, "session.type")
        await client.say_text("hi")
        await added(client)


# --- unknown fields ---------------------------------------------------------------------------


async def test_unknown_fields_are_ignored_with_a_log_line(
    gateway: Gateway, dialect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway.connect(dialect) as client:
        with caplog.at_level(logging.DEBUG, "realtime.wire"):
            await client.update_session(flavour="vanilla", **fields(dialect, voice="sage"))
            await client.wait_for("session.updated")
            await client.say_text("hi", priority=3)
            await client.create_response(mood="sunny")
            assert (await client.collect_response()).transcript == SAID
        assert client.events_of("error") == []
        await lives(client)
    ignored = [record.getMessage() for record in caplog.records if "ignored" in record.msg]
    assert any("session.flavour" in line for line in ignored)
    assert any("response.mood" in line for line in ignored)
    assert "vanilla" not in caplog.text
