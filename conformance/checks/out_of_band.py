"""Checks of responses outside the conversation."""

from __future__ import annotations

from typing import Any

from conformance.checks.prompts import AUDIO, LONG, SHORT, TEXT
from conformance.lab import Lab
from conformance.oracle import WireEvent
from conformance.registry import check, expect

_RULE = "protocol §4.10; peers §1b"
_ALONE: dict[str, Any] = {**TEXT, "conversation": "none"}


def _typed(text: str) -> WireEvent:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


@check(
    "out-of-band",
    "an out-of-band response has no conversation and adds no item to it",
    source=_RULE,
)
async def adds_nothing(lab: Lab) -> None:
    async with lab.session() as client:
        await client.say(SHORT)
        known = len(client.of("conversation.item.added"))
        reply = await client.respond(**_ALONE, metadata={"topic": "aside"})
        expect(reply.final["conversation_id"] is None, "It has a conversation.", reply.final)
        expect(reply.final["metadata"] == {"topic": "aside"}, "Its metadata is lost.", reply.final)
        expect(reply.final["status"] == "completed", "It was not completed.", reply.final)
        added = client.of("conversation.item.added")
        expect(len(added) == known, "It added an item.", added[-1])


@check("out-of-band", "it runs beside the conversation's own response", source=_RULE)
async def runs_in_parallel(lab: Lab) -> None:
    async with lab.session(**AUDIO) as client:
        await client.say(LONG)
        await client.create()
        own = await client.wait("response.created")
        aside = await client.respond(**_ALONE, input=[_typed(SHORT)])
        expect(aside.final["status"] == "completed", "It was not completed.", aside.final)
        await client.send({"type": "response.cancel"})
        final = (await client.reply_to(own)).final
        expect(
            final["status"] == "cancelled",
            "A cancel without an id did not reach the conversation's response.",
            final,
        )


@check("out-of-band", "it is cancelled by its id, and the conversation's goes on", source=_RULE)
async def is_cancelled_by_id(lab: Lab) -> None:
    async with lab.session(**AUDIO) as client:
        await client.say(LONG)
        await client.create()
        own = await client.wait("response.created")
        await client.create(**AUDIO, conversation="none")
        aside = await client.wait("response.created")
        aside_id = aside["response"]["id"]
        await client.send({"type": "response.cancel", "response_id": aside_id})
        await client.reply_to(aside)
        over = [e["response"]["id"] for e in client.of("response.done")]
        expect(own["response"]["id"] not in over, "The other response was cancelled.", own)


@check("out-of-band", "items given as input are its context, even none", source="protocol §2.5")
async def takes_input(lab: Lab) -> None:
    async with lab.session() as client:
        said = await client.say(SHORT)
        reference = {"type": "item_reference", "id": said["id"]}
        for entries in ([_typed(SHORT)], [reference, _typed("And then?")], []):
            reply = await client.respond(**_ALONE, input=entries)
            expect(reply.final["status"] == "completed", "It was not completed.", reply.final)
