"""Checks of speech over a reply."""

from __future__ import annotations

from conformance.audio import silence
from conformance.checks.prompts import AUDIO, LONG, vad
from conformance.client import Client, Reply
from conformance.lab import Lab
from conformance.oracle import WireEvent
from conformance.registry import NotMeasured, check, expect

_RULE = "protocol §4.8; clients rule 12"
_STARTED = "input_audio_buffer.speech_started"


async def _interrupted(lab: Lab, client: Client) -> tuple[Reply, WireEvent]:
    """Speak over a long reply; gives that reply and the speech_started."""
    await client.say(LONG)
    await client.create()
    created = await client.wait("response.created")
    await client.wait("response.output_audio.delta")
    await client.speak(lab.clip.pcm)
    started = await client.wait(_STARTED)
    reply = await client.reply_to(created)
    done = next(e for e in client.of("response.done") if e["response"]["id"] == reply.id)
    if client.place(done) < client.place(started):
        raise NotMeasured("The reply was over before the speech was noticed.")
    return reply, started


@check(
    "barge-in",
    "speech cancels the reply, for the reason turn_detected, its items incomplete",
    source=f"{_RULE}; peers §3b (client_cancelled)",
    requires=("speech",),
)
async def speech_cancels(lab: Lab) -> None:
    async with lab.session(**AUDIO, turn_detection=vad(create_response=False)) as client:
        final = (await _interrupted(lab, client))[0].final
        details = final.get("status_details") or {}
        expect(
            (final["status"], details.get("reason")) == ("cancelled", "turn_detected"),
            "The reply is not cancelled by turn_detected.",
            final,
        )
        expect(
            all(item.get("status") == "incomplete" for item in final["output"]),
            "An item that was cut is not incomplete.",
            final,
        )


@check(
    "barge-in",
    "the reply is over before the speech that cut it is committed",
    source=_RULE,
    requires=("speech",),
)
async def reply_ends_first(lab: Lab) -> None:
    async with lab.session(**AUDIO, turn_detection=vad(create_response=False)) as client:
        reply, _ = await _interrupted(lab, client)
        committed = await client.wait("input_audio_buffer.committed")
        done = next(e for e in client.of("response.done") if e["response"]["id"] == reply.id)
        expect(
            client.place(done) < client.place(committed),
            "The reply went on until the speech was committed.",
            done,
        )


@check(
    "barge-in",
    "what interrupted is answered",
    source=_RULE,
    requires=("speech",),
)
async def interruption_is_answered(lab: Lab) -> None:
    async with lab.session(**AUDIO, turn_detection=vad()) as client:
        reply, _ = await _interrupted(lab, client)
        created = await client.wait("response.created")
        expect(created["response"]["id"] != reply.id, "The cut reply was begun again.", created)


@check(
    "barge-in",
    "the truncation that clients send after an interruption is acknowledged",
    source=f"{_RULE}; peers §3b (never acknowledged)",
    requires=("speech",),
)
async def truncation_follows(lab: Lab) -> None:
    async with lab.session(**AUDIO, turn_detection=vad(create_response=False)) as client:
        reply, _ = await _interrupted(lab, client)
        item_id = reply.final["output"][0]["id"]
        event = {
            "type": "conversation.item.truncate",
            "item_id": item_id,
            "content_index": 0,
            "audio_end_ms": 200,
        }
        await client.send(event)
        answer = await client.wait("conversation.item.truncated", "error")
        expect(answer["type"] != "error", "The truncation was refused.", answer)


@check(
    "barge-in",
    "with interrupt_response false the reply goes on",
    source="protocol §4.8",
    requires=("speech",),
)
async def no_interruption_unless_wanted(lab: Lab) -> None:
    detection = vad(create_response=False, interrupt_response=False)
    async with lab.session(**AUDIO, turn_detection=detection) as client:
        await client.say(LONG)
        await client.create()
        await client.wait("response.output_audio.delta")
        await client.speak(lab.clip.pcm)
        await client.wait("input_audio_buffer.committed")
        for done in client.of("response.done"):
            expect(done["response"]["status"] == "completed", "The reply was cut short.", done)


@check(
    "barge-in",
    "silence over a reply changes nothing",
    source="protocol §4.8",
)
async def silence_does_not_interrupt(lab: Lab) -> None:
    async with lab.session(**AUDIO, turn_detection=vad()) as client:
        await client.say(LONG)
        await client.create()
        await client.wait("response.output_audio.delta")
        await client.stream(silence(1000))
        await client.quiet("response.done", where=lambda e: e["response"]["status"] == "cancelled")
