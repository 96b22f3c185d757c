"""Sessions, responses and event names of either dialect, for tests that run in both.

Settings are named by their flat beta names and brought to the shape of the client's dialect.
"""

from __future__ import annotations

import itertools
from typing import Any

from tests.harness import CollectedResponse, RealtimeClient
from tests.oracle import WireEvent

MANUAL: dict[str, Any] = {"turn_detection": None}
TEXT: dict[str, Any] = {"modalities": ["text"]}
AUDIO: dict[str, Any] = {"modalities": ["audio", "text"]}
FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}

_GA_PATHS = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "turn_detection": "audio.input.turn_detection",
    "max_response_output_tokens": "max_output_tokens",
}
_BETA_NAMES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_text": "response.text",
    "response.output_audio": "response.audio",
    "response.output_audio_transcript": "response.audio_transcript",
}


def fields(dialect: str, **flat: Any) -> dict[str, Any]:
    """The members of a session or response object."""
    if dialect == "beta":
        return flat
    shaped: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = _GA_PATHS.get(name, name).split(".")
        target = shaped
        for parent in parents:
            target = target.setdefault(parent, {})
        if name.endswith("_format"):
            value = FORMATS[value]
        elif name == "modalities":
            value = ["audio"] if "audio" in value else ["text"]
        target[last] = value
    return shaped


def shown(dialect: str, session: WireEvent, name: str) -> Any:
    """One setting of a session or response object the server sent."""
    if dialect == "beta":
        return session[name]
    value: Any = session
    for step in _GA_PATHS.get(name, name).split("."):
        value = value[step]
    return value


def named(dialect: str, kind: str) -> str:
    """The name of a GA event type in a dialect."""
    if dialect == "ga":
        return kind
    stem, _, step = kind.rpartition(".")
    return _BETA_NAMES.get(kind) or f"{_BETA_NAMES.get(stem, stem)}.{step}"


def ga_kind(event: WireEvent) -> str:
    """The GA name of an event of either dialect."""
    kind: str = event["type"]
    for ga, beta in _BETA_NAMES.items():
        if kind == beta or kind.rpartition(".")[0] == beta:
            return ga + kind.removeprefix(beta)
    return kind


def content_type(dialect: str, kind: str) -> str:
    """`text` or `audio` of an assistant's content, as a dialect calls it."""
    return kind if dialect == "beta" else f"output_{kind}"


def order(client: RealtimeClient, since: int = 0) -> list[str]:
    """GA types of the events from the `since`th on, runs of one type taken as one.

    What only GA sends (`conversation.item.done`) is left out, so that both dialects compare.
    """
    kinds = (ga_kind(event) for event in client.events[since:])
    return [kind for kind, _ in itertools.groupby(kinds) if kind != "conversation.item.done"]


async def configure(client: RealtimeClient, **flat: Any) -> WireEvent:
    """`session.update` with flat names; returns the session that came back."""
    await client.update_session(**fields(client.oracle.dialect, **flat))
    return (await client.wait_for("session.updated"))["session"]


async def respond(client: RealtimeClient, **flat: Any) -> CollectedResponse:
    """`response.create` with flat names, to its end."""
    await client.create_response(**fields(client.oracle.dialect, **flat))
    return await client.collect_response()


async def begin(client: RealtimeClient, text: str, **flat: Any) -> str:
    """A typed turn as far as its `response.created`; the id of the response."""
    await client.say_text(text)
    await client.create_response(**fields(client.oracle.dialect, **flat))
    return (await client.wait_for("response.created"))["response"]["id"]


async def ended(client: RealtimeClient, response_id: str, **options: Any) -> WireEvent:
    """The response when it is done."""

    def is_it(event: WireEvent) -> bool:
        return event["response"]["id"] == response_id

    return (await client.wait_for("response.done", where=is_it, **options))["response"]


async def ask(client: RealtimeClient, text: str, **flat: Any) -> CollectedResponse:
    """A whole typed turn."""
    await client.say_text(text)
    return await respond(client, **flat)


async def retrieve(client: RealtimeClient, item_id: str) -> WireEvent:
    """One item as the server keeps it."""
    await client.send({"type": "conversation.item.retrieve", "item_id": item_id})
    return (await client.wait_for("conversation.item.retrieved"))["item"]


async def added(client: RealtimeClient, **conditions: Any) -> WireEvent:
    """The next item that joins the conversation, whatever the dialect calls that."""
    event = await client.wait_for(
        named(client.oracle.dialect, "conversation.item.added"),
        where=lambda event: all(event["item"].get(k) == v for k, v in conditions.items()),
    )
    return event


async def refusal(client: RealtimeClient, event_id: str | None) -> WireEvent:
    """The error that answers one client event; the session must live on."""
    event = await client.wait_for("error", where=lambda e: e["error"]["event_id"] == event_id)
    await lives(client)
    return event["error"]


async def lives(client: RealtimeClient) -> None:
    """Assert that the session still answers; all it was sent before has been answered by then."""
    await client.send({"type": "input_audio_buffer.clear"})
    await client.wait_for("input_audio_buffer.cleared")
