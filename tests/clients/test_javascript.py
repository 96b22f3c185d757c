"""JavaScript clients: the legacy beta reference client, openai-agents and openai-node."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.clients.certificate import write_certificate
from tests.clients.conversation import (
    TYPED,
    Clip,
    Reply,
    Turn,
    converse_by_hand,
    expect_interruption,
    expect_reply,
    expect_user_turn,
)
from tests.clients.gateway import Gateway, running_gateway
from tests.clients.javascript import (
    NATIVE_WEBSOCKET,
    Fact,
    JavaScriptClient,
    missing,
    missing_in_a_browser,
    running_client,
)
from tests.clients.matrix import EVIDENCE
from tests.clients.wiretap import Wire, tapped
from tests.e2e.mcp_server import McpServer
from tests.harness import realtime_url
from tests.oracle import Dialect, Oracle

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

Clips = Callable[[str], Clip]

_LEGACY = "openai-realtime-api, the legacy client"
_AGENTS = "openai-agents for JavaScript"
_NODE: dict[Dialect, str] = {
    "ga": "openai-node over TLS, GA",
    "beta": "openai-node over TLS, beta",
}

SEMANTIC_SILENCE_MS = None
"""The agents SDK asks for `semantic_vad`, where a model judges when a turn ends."""
SAMPLES_PER_MS = 24
API_KEY = "a-key-that-the-gateway-insists-on"
_AUTHORIZATION = {"Authorization": f"Bearer {API_KEY}"}


@pytest.fixture(scope="module")
def locked_gateway(
    tmp_path_factory: pytest.TempPathFactory, patient_script: Path
) -> Generator[Gateway]:
    """A gateway that serves only those who have its key."""
    folder = tmp_path_factory.mktemp("locked_gateway")
    with running_gateway(folder, API_KEY=API_KEY, SCRIPT_FILE=str(patient_script)) as gateway:
        yield gateway
        assert gateway.complaints() == []


async def test_legacy_client(
    gateway: Gateway, clip: Clips, story_clip: Clip, tmp_path: Path
) -> None:
    async with (
        tapped(gateway.port, "beta", _LEGACY) as tap,
        running_client(
            "legacy_client.mjs", f"ws://127.0.0.1:{tap.port}/v1/realtime", folder=tmp_path
        ) as client,
    ):
        talk = await _talk(await tap.connected(), client, clip, story_clip, silence_ms=500)
        items = await client.end()
    assert client.reported("tool") == ["paris"]
    assert set(client.reported("error")) == {"no ongoing response to cancel"}
    # The client cancels what it hears itself interrupt, and reports how much of it was played.
    assert {event["error"]["message"] for event in tap.wire.events_of("error")} == {
        "no ongoing response to cancel"
    }
    assert len(tap.wire.events_of("conversation.item.truncated")) == 2
    asked, call, output, report, story, cancelled, last, reply = items
    assert [(item["role"], item["transcript"]) for item in (asked, story, last)] == [
        ("user", talk.asked),
        ("user", talk.story),
        ("user", talk.last.heard),
    ]
    assert call["tool"]["name"] == "get_weather"
    assert json.loads(call["tool"]["arguments"]) == {"city": "paris"}
    assert json.loads(output["output"]) == {"weather": "sunny and 21 degrees"}
    assert (report["status"], cancelled["status"]) == ("completed", "incomplete")
    assert (reply["status"], reply["transcript"]) == ("completed", talk.last.reply.transcript)
    # This client forgets the words of what was truncated, and keeps the audio that was played.
    for item, sent in ((report, talk.report), (cancelled, talk.cancelled)):
        assert item["transcript"] == ""
        assert 0 < item["samples"] / SAMPLES_PER_MS < sent.audio_ms
    assert reply["samples"] / SAMPLES_PER_MS == pytest.approx(talk.last.reply.audio_ms)


async def test_agents(gateway: Gateway, clip: Clips, story_clip: Clip, tmp_path: Path) -> None:
    async with (
        tapped(gateway.port, "ga", _AGENTS) as tap,
        running_client(
            "agents_client.mjs", realtime_url(tap.port), "test-key", folder=tmp_path
        ) as client,
    ):
        wire = await tap.connected()
        talk = await _talk(wire, client, clip, story_clip, silence_ms=SEMANTIC_SILENCE_MS)
        items = await client.end()
    assert client.reported("tool") == ["paris"]
    assert client.reported("error") == []
    assert wire.events_of("error") == []
    call = items.pop(1)
    assert (call["name"], call["output"]) == ("get_weather", "sunny and 21 degrees")
    said = [(item["role"], item["status"], item["content"][0]["transcript"]) for item in items]
    asked, report, story, cancelled, last, reply = said
    assert asked == ("user", "completed", talk.asked)
    assert story == ("user", "completed", talk.story)
    assert last == ("user", "completed", talk.last.heard)
    assert reply == ("assistant", "completed", talk.last.reply.transcript)
    # What the user spoke over has been truncated to what was played.
    for item, status, sent in (
        (report, "completed", talk.report),
        (cancelled, "incomplete", talk.cancelled),
    ):
        assert item[:2] == ("assistant", status)
        assert item[2]
        assert sent.transcript.startswith(item[2])
        assert item[2] != sent.transcript


async def test_legacy_client_by_hand(patient_gateway: Gateway, clip: Clips, tmp_path: Path) -> None:
    async with (
        tapped(patient_gateway.port, "beta", _LEGACY) as tap,
        running_client(
            "legacy_client.mjs",
            f"ws://127.0.0.1:{tap.port}/v1/realtime",
            "by-hand",
            folder=tmp_path,
        ) as client,
    ):
        wire = await tap.connected()
        await wire.wait_for("session.updated")
        talk = await converse_by_hand(wire, client, clip("en_go_forward"))
        items = await client.end()
    assert client.reported("tool") == ["Oslo"]
    assert len(client.reported("error")) == 1
    roles = ["user", "assistant", "user", None, None, "assistant"] + ["user", "assistant"] * 3
    assert [item.get("role") for item in items] == roles
    users = [item for item in items if item.get("role") == "user"]
    assert [item["text"] for item in users if item["text"]] == list(TYPED)
    assert [item["transcript"] for item in users if not item["text"]] == [talk.heard]
    told = [item for item in items if item.get("role") == "assistant"]
    for item, reply in zip(told, talk.replies, strict=True):
        if reply is talk.cancelled:
            assert (item["status"], item["transcript"]) == ("incomplete", "")
            assert 0 < item["samples"] / SAMPLES_PER_MS < reply.audio_ms
        else:
            assert (item["status"], item["transcript"]) == ("completed", reply.transcript)
            assert item["samples"] / SAMPLES_PER_MS == pytest.approx(reply.audio_ms)


async def test_agents_by_hand(patient_gateway: Gateway, clip: Clips, tmp_path: Path) -> None:
    async with (
        tapped(patient_gateway.port, "ga", _AGENTS) as tap,
        running_client(
            "agents_client.mjs", realtime_url(tap.port), "test-key", "by-hand", folder=tmp_path
        ) as client,
    ):
        await _agents_by_hand(await tap.connected(), client, clip("en_go_forward"))


@pytest.mark.skipif(bool(missing_in_a_browser()), reason=missing_in_a_browser())
async def test_agents_in_a_browser(locked_gateway: Gateway, clip: Clips, tmp_path: Path) -> None:
    """A page has no headers, and no key but the one its server has minted for it."""
    url = f"http://127.0.0.1:{locked_gateway.port}/v1/realtime/client_secrets"
    session = {"type": "realtime", "instructions": "You are a pirate."}
    async with httpx.AsyncClient(headers=_AUTHORIZATION) as http:
        minted = (await http.post(url, json={"session": session})).json()
    assert minted["value"].startswith("ek_")
    async with (
        tapped(locked_gateway.port, "ga", f"{_AGENTS} in a browser") as tap,
        running_client(
            "agents_client.mjs",
            realtime_url(tap.port),
            minted["value"],
            "by-hand",
            folder=tmp_path,
            node_options=(*NATIVE_WEBSOCKET, "--conditions=browser"),
        ) as client,
    ):
        wire = await tap.connected()
        created = await wire.wait_for("session.created")
        assert created["session"]["instructions"] == session["instructions"]
        await _agents_by_hand(wire, client, clip("en_go_forward"))
    (handshake,) = tap.handshakes
    head = handshake.lower()
    assert "authorization:" not in head
    assert f"openai-insecure-api-key.{minted['value']}".lower() in head


@pytest.mark.parametrize("approval", ["never", "always"])
async def test_agents_with_a_hosted_mcp_server(
    tmp_path: Path, patient_script: Path, approval: str
) -> None:
    """A tool that the gateway runs; the SDK lists it, is asked for approval, and asks for more."""
    with running_gateway(
        tmp_path,
        SCRIPT_FILE=str(patient_script),
        MCP_ALLOWED_HOSTS="127.0.0.1",
        MCP_ALLOW_PRIVATE="true",
    ) as gateway:
        async with (
            McpServer().running() as server,
            tapped(gateway.port, "ga", _AGENTS) as tap,
            running_client(
                *("agents_client.mjs", realtime_url(tap.port), "test-key", "by-hand"),
                json.dumps(
                    {
                        "serverLabel": "weather",
                        "serverUrl": f"http://127.0.0.1:{server.port}/mcp",
                        "requireApproval": approval,
                    }
                ),
                folder=tmp_path,
            ) as client,
        ):
            wire = await tap.connected()
            await wire.wait_for("mcp_list_tools.completed")
            await client.type("what is the weather in Oslo")
            calling = await expect_reply(wire)
            report = await expect_reply(wire)
            items = await client.end()
        assert gateway.complaints() == []
    assert server.calls == ["get_weather"]
    (tools,) = client.reported("mcpTools")
    assert "get_weather" in tools
    (call,) = client.reported("mcpCall")
    assert (call["name"], call["status"]) == ("get_weather", "completed")
    assert "sunny in Oslo" in call["output"]
    assert client.reported("asked") == (["get_weather"] if approval == "always" else [])
    assert client.reported("error") == []
    assert wire.events_of("error") == []
    kinds = [item["type"] for item in calling.response["output"]]
    assert kinds == ["mcp_approval_request" if approval == "always" else "mcp_call"]
    assert "sunny in Oslo" in report.transcript
    requests = ["mcp_approval_request"] if approval == "always" else []
    assert [item["type"] for item in items] == ["message", *requests, "mcp_call", "message"]
    assert items[-1]["content"][0]["transcript"] == report.transcript


async def _agents_by_hand(wire: Wire, client: JavaScriptClient, clip: Clip) -> None:
    await wire.wait_for("session.updated")
    talk = await converse_by_hand(wire, client, clip)
    items = await client.end()
    assert client.reported("tool") == ["Oslo"]
    assert len(client.reported("error")) == 1
    call = items.pop(3)
    assert (call["name"], call["output"]) == ("get_weather", "sunny and 21 degrees")
    greeting, weather, story, last = TYPED
    parts = [(item["role"], item["content"][0]) for item in items]
    said = [part.get("text") or part["transcript"] for role, part in parts if role == "user"]
    assert said == [greeting, weather, story, talk.heard, last]
    told = [item for item in items if item["role"] == "assistant"]
    for item, reply in zip(told, talk.replies, strict=True):
        transcript = item["content"][0]["transcript"]
        if reply is talk.cancelled:
            assert item["status"] == "incomplete"
            assert reply.transcript.startswith(transcript)
            assert transcript != reply.transcript
        else:
            assert (item["status"], transcript) == ("completed", reply.transcript)


@dataclass(frozen=True, slots=True)
class _Talk:
    """What was said in `_talk`: the transcripts of the user, and the replies."""

    asked: str
    report: Reply
    story: str
    cancelled: Reply
    last: Turn


async def _talk(
    wire: Wire, client: JavaScriptClient, clip: Clips, story_clip: Clip, *, silence_ms: int | None
) -> _Talk:
    """Ask for the weather, then for a story, and interrupt that."""
    weather, forward = clip("en_weather"), clip("en_go_forward")
    await wire.wait_for("session.updated")
    await client.say(weather)
    asked = await expect_user_turn(wire, weather, silence_ms=silence_ms)
    calling = await expect_reply(wire)
    assert [item["type"] for item in calling.response["output"]] == ["function_call"]
    report = await expect_reply(wire)
    assert "sunny and 21 degrees" in report.transcript
    await client.say(story_clip)
    story = await expect_user_turn(wire, story_clip, silence_ms=silence_ms)
    cancelled, last = await expect_interruption(wire, client.say, forward, silence_ms=silence_ms)
    return _Talk(asked, report, story, cancelled, last)


# --- openai-node, which accepts nothing but wss -----------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def secure_gateway(
    tmp_path_factory: pytest.TempPathFactory,
    certificate: tuple[Path, Path],
    patient_script: Path,
) -> Generator[Gateway]:
    """A gateway that serves `wss:` to those who have its key."""
    cert_file, key_file = certificate
    options = ("--ssl-certfile", str(cert_file), "--ssl-keyfile", str(key_file))
    folder = tmp_path_factory.mktemp("secure_gateway")
    environment = {"API_KEY": API_KEY, "SCRIPT_FILE": str(patient_script)}
    with running_gateway(folder, *options, **environment) as gateway:
        yield gateway
        assert gateway.complaints() == []


@asynccontextmanager
async def _node(
    gateway: Gateway, certificate: Path, dialect: Dialect, *arguments: str, folder: Path
) -> AsyncGenerator[tuple[Wire, JavaScriptClient]]:
    """Run openai-node; what it gets must be right."""
    wire = Wire(Oracle(dialect))

    def take(fact: Fact) -> bool:
        # The client reports its events, because nobody can read along on a TLS connection.
        if "sent" in fact:
            wire.take_client(json.dumps(fact["sent"]))
        elif "received" in fact:
            wire.take_server(json.dumps(fact["received"]))
        else:
            return False
        return True

    async with running_client(
        "openai_node.mjs",
        f"https://127.0.0.1:{gateway.port}/v1",
        dialect,
        *arguments,
        folder=folder,
        on_fact=take,
        node_options=NATIVE_WEBSOCKET if "browser" in arguments else (),
        NODE_EXTRA_CA_CERTS=str(certificate),
    ) as client:
        yield wire, client
        await client.end()
    wire.oracle.assert_clean()
    name = f"{_NODE[dialect]} in a browser" if "browser" in arguments else _NODE[dialect]
    EVIDENCE.add(name, (entry.event for entry in wire.received))


async def test_openai_node(
    secure_gateway: Gateway,
    certificate: tuple[Path, Path],
    clip: Clips,
    story_clip: Clip,
    tmp_path: Path,
) -> None:
    forward, weather = clip("en_go_forward"), clip("en_weather")

    async def converse(dialect: Dialect) -> None:
        async with _node(
            secure_gateway, certificate[0], dialect, "ws", API_KEY, folder=tmp_path
        ) as (wire, client):
            talk = await _talk(wire, client, lambda name: clips[name], story_clip, silence_ms=500)
        assert client.reported("error") == []
        assert client.reported("tool") == ["paris"]
        assert client.reported("ended") == ["completed", "completed", "cancelled", "completed"]
        assert talk.last.reply.transcript

    clips = {"en_weather": weather, "en_go_forward": forward}
    async with asyncio.TaskGroup() as both:
        both.create_task(converse("ga"))
        both.create_task(converse("beta"))


@pytest.mark.skipif(bool(missing_in_a_browser()), reason=missing_in_a_browser())
async def test_openai_node_by_hand(
    secure_gateway: Gateway, certificate: tuple[Path, Path], clip: Clips, tmp_path: Path
) -> None:
    """All four classes; those for browsers with a key that was minted for them."""

    async def converse(dialect: Dialect, socket: str, key: str) -> None:
        async with _node(
            secure_gateway, certificate[0], dialect, socket, key, "by-hand", folder=tmp_path
        ) as (wire, client):
            await wire.wait_for("session.updated")
            talk = await converse_by_hand(wire, client, clip("en_go_forward"))
        assert client.reported("tool") == ["Oslo"]
        assert len(client.reported("error")) == 1
        ended = ["completed"] * 3 + ["cancelled"] + ["completed"] * 2
        assert client.reported("ended") == ended
        assert len(talk.replies) == 5

    url = f"https://127.0.0.1:{secure_gateway.port}/v1/realtime"
    async with (
        httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=certificate[0]), headers=_AUTHORIZATION
        ) as http,
        asyncio.TaskGroup() as all_four,
    ):
        session = {"type": "realtime", "model": "gpt-realtime"}
        ga = (await http.post(f"{url}/client_secrets", json={"session": session})).json()
        beta = (await http.post(f"{url}/sessions", json={"model": "gpt-realtime"})).json()
        all_four.create_task(converse("ga", "ws", API_KEY))
        all_four.create_task(converse("beta", "ws", API_KEY))
        all_four.create_task(converse("ga", "browser", ga["value"]))
        all_four.create_task(converse("beta", "browser", beta["client_secret"]["value"]))
