"""Checks of the input buffer while turn detection is off."""

from __future__ import annotations

import base64

from conformance.audio import silence
from conformance.checks.prompts import SHORT, vad
from conformance.client import Client
from conformance.lab import Lab
from conformance.oracle import WireEvent
from conformance.registry import Failed, check, expect

_TALK = "protocol §4.6; peers §3b (push to talk)"
_SPEECH_EVENTS = ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped")


async def _commit(client: Client) -> WireEvent:
    """Commit the buffer; returns the item."""
    await client.send({"type": "input_audio_buffer.commit"})
    committed = await client.wait("input_audio_buffer.committed", "error")
    expect(committed["type"] != "error", "A commit of audio was refused.", committed)
    added = await client.wait(
        "conversation.item.added", where=lambda e: e["item"]["id"] == committed["item_id"]
    )
    return added["item"]


@check(
    "input-audio",
    "a commit makes a user item of the audio, with an input_audio part and its transcript key",
    source=_TALK,
    requires=("speech",),
)
async def commit_makes_an_item(lab: Lab) -> None:
    async with lab.session() as client:
        await client.stream(lab.clip.pcm)
        item = await _commit(client)
        expect(
            item.get("role") == "user" and item["content"][0]["type"] == "input_audio",
            "The committed item is no user audio.",
            item,
        )
        expect("transcript" in item["content"][0], "The part has no transcript key.", item)


@check(
    "input-audio",
    "a commit alone starts no response",
    source="protocol §2.1, §4.6",
    requires=("speech",),
)
async def commit_starts_no_response(lab: Lab) -> None:
    async with lab.session() as client:
        await client.stream(lab.clip.pcm)
        await _commit(client)
        await client.quiet("response.created")


@check(
    "input-audio",
    "a committed turn can be answered",
    source=_TALK,
    requires=("speech",),
)
async def committed_turn_is_answered(lab: Lab) -> None:
    async with lab.session(modalities=["text"]) as client:
        await client.stream(lab.clip.pcm)
        await _commit(client)
        reply = await client.respond()
        expect(reply.final["status"] == "completed", "The reply was not completed.", reply.final)


@check(
    "input-audio",
    "speech with turn detection off brings no speech events",
    source="protocol §4.6; peers §3b, §7",
    requires=("speech",),
)
async def no_detection_when_off(lab: Lab) -> None:
    async with lab.session() as client:
        await client.speak(lab.clip.pcm)
        await client.quiet(*_SPEECH_EVENTS, "input_audio_buffer.committed")


@check("input-audio", "a commit of nothing is refused by its code", source="protocol §5; peers §2")
async def empty_commit(lab: Lab) -> None:
    async with lab.session() as client:
        error = await client.refused(client.send({"type": "input_audio_buffer.commit"}))
        expect(
            error.get("code") == "input_audio_buffer_commit_empty",
            f"The code is {error.get('code')!r}; clients special-case "
            "'input_audio_buffer_commit_empty'.",
            error,
        )


@check("input-audio", "clear drops what was appended", source="protocol §2.1, §7")
async def clear_drops_the_audio(lab: Lab) -> None:
    async with lab.session() as client:
        await client.stream(silence(500))
        await client.send({"type": "input_audio_buffer.clear"})
        await client.wait("input_audio_buffer.cleared")
        await client.send({"type": "input_audio_buffer.commit"})
        answer = await client.wait("error", "input_audio_buffer.committed")
        expect(answer["type"] == "error", "The cleared audio was committed.", answer)


@check("input-audio", "audio that is no base64 is refused; the session lives", source="protocol §5")
async def bad_base64(lab: Lab) -> None:
    async with lab.session() as client:
        event = {"type": "input_audio_buffer.append", "audio": "this is *not* base64!"}
        await client.refused(client.send(event))


@check(
    "input-audio",
    "appends may split a sample",
    source="protocol §7 (a 1-byte carry)",
    level="recommended",
)
async def odd_appends(lab: Lab) -> None:
    async with lab.session() as client:
        pcm = silence(400)
        for start in range(0, len(pcm), 1_601):
            await client.append(pcm[start : start + 1_601])
        await _commit(client)


@check(
    "input-audio",
    "a long recording may come in one append",
    source="protocol §1.4, §2.1 (up to 15 MiB)",
)
async def one_large_append(lab: Lab) -> None:
    async with lab.session() as client:
        await client.append(silence(30_000))
        await _commit(client)


@check(
    "input-audio",
    "the item of a commit follows the item before it",
    source="protocol §4.14; peers §3b",
)
async def commit_names_its_predecessor(lab: Lab) -> None:
    async with lab.session() as client:
        first = await client.say(SHORT)
        await client.stream(silence(300))
        await client.send({"type": "input_audio_buffer.commit"})
        committed = await client.wait("input_audio_buffer.committed")
        expect(
            committed["previous_item_id"] == first["id"],
            f"It names {committed['previous_item_id']!r}, not {first['id']!r}.",
            committed,
        )


@check(
    "input-audio",
    "a commit in the middle of detected speech commits",
    source="protocol §4.6; peers §3b (commit under VAD)",
    requires=("speech",),
)
async def commit_under_detection(lab: Lab) -> None:
    async with lab.session(turn_detection=vad(create_response=False)) as client:
        await client.stream(silence(200) + lab.clip.pcm[: (lab.clip.end_ms - 100) * 48])
        started = await client.wait("input_audio_buffer.speech_started")
        item = await _commit(client)
        expect(
            item["id"] == started["item_id"],
            "The committed item is not the one speech_started announced.",
            item,
        )


@check(
    "input-audio",
    "retrieve gives the audio of a committed item back",
    source="protocol §2.2, §7",
    level="recommended",
)
async def committed_audio_is_retrieved(lab: Lab) -> None:
    async with lab.session() as client:
        await client.stream(silence(600))
        item = await _commit(client)
        await client.send({"type": "conversation.item.retrieve", "item_id": item["id"]})
        event = await client.wait("conversation.item.retrieved")
        audio = event["item"]["content"][0].get("audio")
        if not audio:
            raise Failed("The retrieved item carries no audio.", event)
        length = len(base64.b64decode(audio))
        expect(length == len(silence(600)), f"It carries {length} bytes, not 28800.", event)


@check(
    "input-audio",
    "µ-law input is decoded as µ-law: its commit is as long as what was sent",
    source="protocol §7; peers §3b (declared format honoured)",
)
async def ulaw_is_measured(lab: Lab) -> None:
    async with lab.session(input_audio_format="g711_ulaw") as client:
        # 80 ms are below the least of 100 ms, in µ-law; taken for PCM they were 13 ms, and
        # 160 ms would be 27.
        await client.append(b"\xff" * 640)
        await client.refused(client.send({"type": "input_audio_buffer.commit"}))
        await client.append(b"\xff" * 1_280)
        await _commit(client)
