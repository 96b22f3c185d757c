"""JavaScript clients: the legacy beta reference client, openai-agents and openai-node."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.clients.conversation import (
    Clip,
    Reply,
    Turn,
    expect_interruption,
    expect_reply,
    expect_spoken_turn,
    expect_user_turn,
)
from tests.clients.gateway import Gateway, running_gateway
from tests.clients.javascript import Fact, JavaScriptClient, missing, running_client
from tests.clients.wiretap import Wire, tapped
from tests.harness import realtime_url
from tests.oracle import Dialect, Oracle

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

Clips = Callable[[str], Clip]

SEMANTIC_SILENCE_MS = 600
SAMPLES_PER_MS = 24


async def test_legacy_client(
    gateway: Gateway, clip: Clips, story_clip: Clip, tmp_path: Path
) -> None:
    async with (
        tapped(gateway.port, "beta") as tap,
        running_client(
            "legacy_client.mjs", f"ws://127.0.0.1:{tap.port}/v1/realtime", folder=tmp_path
        ) as client,
    ):
        talk = await _talk(await tap.connected(), client, clip, story_clip, silence_ms=500)
        items = await client.end()
    assert client.reported("tool") == ["paris"]
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
        tapped(gateway.port, "ga") as tap,
        running_client("agents_client.mjs", realtime_url(tap.port), folder=tmp_path) as client,
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


@dataclass(frozen=True, slots=True)
class _Talk:
    """What was said in `_talk`: the transcripts of the user, and the replies."""

    asked: str
    report: Reply
    story: str
    cancelled: Reply
    last: Turn


async def _talk(
    wire: Wire, client: JavaScriptClient, clip: Clips, story_clip: Clip, *, silence_ms: int
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


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(addresses, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@pytest.fixture
def secure_gateway(tmp_path: Path, certificate: tuple[Path, Path]) -> Generator[Gateway]:
    """A gateway with default settings that serves `wss:`."""
    cert_file, key_file = certificate
    options = ("--ssl-certfile", str(cert_file), "--ssl-keyfile", str(key_file))
    with running_gateway(tmp_path, *options) as gateway:
        yield gateway
        assert gateway.complaints() == []


async def _converse(
    gateway: Gateway, certificate: Path, dialect: Dialect, clips: list[Clip], folder: Path
) -> None:
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
        folder=folder,
        on_fact=take,
        NODE_EXTRA_CA_CERTS=str(certificate),
    ) as client:
        await wire.wait_for("session.updated")
        for clip in clips:
            await client.say(clip)
            await expect_spoken_turn(wire, clip)
        await client.end()
    assert client.reported("error") == []
    wire.oracle.assert_clean()


async def test_openai_node_over_wss(
    secure_gateway: Gateway, certificate: tuple[Path, Path], clip: Clips, tmp_path: Path
) -> None:
    clips = [clip("en_seven_of_clubs"), clip("en_weather")]
    async with asyncio.TaskGroup() as both:
        for dialect in ("ga", "beta"):
            both.create_task(_converse(secure_gateway, certificate[0], dialect, clips, tmp_path))
