"""Checks of replies: the order of their events, overrides, limits, cancellation."""

from __future__ import annotations

import itertools
from typing import Any

from conformance.checks.prompts import AUDIO, COUNT, LONG, PIRATE, SHORT, TEXT
from conformance.client import Client
from conformance.lab import Lab
from conformance.names import ga_type, shown
from conformance.registry import check, expect

_ORDER = "protocol §4.3, §4.4; clients rule 8"
_OPENING = ("response.created", "response.output_item.added", "conversation.item.added")
_CLOSING = (
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
)


def _order(client: Client, since: int) -> list[str]:
    """GA types from the first `response.created` behind the `since`th event on.

    Runs are taken as one, rate limits left out. What comes ahead of the response, such as the
    `done` of the item it answers, may still have been under way when the count was taken.
    """
    kinds = (ga_type(event) for event in client.events[since:])
    response = itertools.dropwhile(lambda kind: kind != "response.created", kinds)
    wanted = (kind for kind in response if kind != "rate_limits.updated")
    return [kind for kind, _ in itertools.groupby(wanted)]


def _expected(lab: Lab, *kinds: str) -> list[str]:
    return [k for k in kinds if lab.dialect == "ga" or k != "conversation.item.done"]


@check("responses", "a text reply has its events in the one order clients know", source=_ORDER)
async def text_order(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        await client.say(SHORT)
        since = len(client.events)
        reply = await client.respond()
        wanted = _expected(
            lab,
            *_OPENING,
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            *_CLOSING,
        )
        kinds = _order(client, since)
        expect(kinds == wanted, f"The order was {', '.join(kinds)}.", reply.final)
        expect(reply.final["status"] == "completed", "The reply was not completed.", reply.final)


@check(
    "responses",
    "a spoken reply opens with its transcript, and closes audio, transcript, part, item, response",
    source=_ORDER,
)
async def audio_order(lab: Lab) -> None:
    async with lab.session(**AUDIO) as client:
        await client.say(SHORT)
        since = len(client.events)
        reply = await client.respond()
        kinds = _order(client, since)
        first_delta = _expected(lab, *_OPENING, "response.content_part.added")
        ending = _expected(
            lab, "response.output_audio.done", "response.output_audio_transcript.done", *_CLOSING
        )
        expect(
            kinds[: len(first_delta)] == first_delta and kinds[-len(ending) :] == ending,
            f"The order was {', '.join(kinds)}.",
            reply.final,
        )
        for kind in ("response.output_audio.delta", "response.output_audio_transcript.delta"):
            expect(kind in kinds, f"The reply has no {kind}.", reply.final)


@check(
    "responses",
    "the items of a conversation follow each other",
    source="protocol §4.14; clients rule 8",
)
async def items_follow_each_other(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        for text in (SHORT, COUNT):
            await client.ask(text)
        added = client.of("conversation.item.added")
        chain = [None, *(event["item"]["id"] for event in added)]
        told = [event["previous_item_id"] for event in added]
        expect(told == chain[:-1], f"They name {told} as predecessors.", added[-1])


@check(
    "responses",
    "metadata is echoed in response.created and response.done: LiveKit matches replies by it",
    source="protocol §2.5, §2.7; clients §3",
)
async def metadata_is_echoed(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        metadata = {"client_event_id": "abc", "topic": "天气"}
        reply = await client.ask(SHORT, metadata=metadata)
        for view in (reply.created, reply.final):
            expect(view.get("metadata") == metadata, "The metadata is another.", view)


@check(
    "responses",
    "metadata over its limits is refused",
    source="protocol §2.5",
    level="recommended",
)
async def metadata_limits(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        await client.say(SHORT)
        for metadata in ({"k" * 65: "v"}, {"k": "v" * 513}, {f"k{n}": "v" for n in range(17)}):
            await client.refused(client.create(metadata=metadata))


@check(
    "responses",
    "overrides hold for one response, which shows them",
    source="protocol §2.5, §2.7",
)
async def overrides_hold_once(lab: Lab) -> None:
    async with lab.session(**AUDIO) as client:
        reply = await client.ask(SHORT, **TEXT, instructions="Answer: yes.")
        expect(
            shown(lab.dialect, reply.final, "modalities") == ["text"],
            "The response shows another modality.",
            reply.final,
        )
        expect(not reply.of("response.output_audio.delta"), "It carried audio.", reply.final)
        spoken = await client.ask(SHORT)
        expect(
            spoken.of("response.output_audio.delta"),
            "The next response was not spoken, as the session has it.",
            spoken.final,
        )


@check(
    "responses",
    "instructions of one response have an effect on it",
    source="protocol §2.5; peers §3b (the event's body ignored)",
    level="recommended",
)
async def instructions_have_an_effect(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        reply = await client.ask(SHORT, instructions=PIRATE)
        text = "".join(event["delta"] for event in reply.of("response.output_text.delta"))
        expect("arr" in text.lower(), f"To “{PIRATE}” it said “{text}”.", reply.final)


@check("responses", "max_output_tokens makes a response incomplete", source="protocol §2.7, §7")
async def token_limit(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        final = (await client.ask(COUNT, max_response_output_tokens=3)).final
        details = final.get("status_details") or {}
        expect(
            (final["status"], details.get("reason")) == ("incomplete", "max_output_tokens"),
            "The response is not incomplete for max_output_tokens.",
            final,
        )


@check(
    "responses",
    "every response.done carries usage with totals that add up",
    source="protocol §7; clients rule 11",
)
async def usage(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        final = (await client.ask(SHORT)).final
        told: dict[str, Any] = final.get("usage") or {}
        expect(
            told.get("total_tokens") == told.get("input_tokens", 0) + told.get("output_tokens", 0),
            "total_tokens is not input_tokens + output_tokens.",
            final,
        )
        expect(told.get("output_tokens"), "No output was counted.", final)


@check(
    "responses",
    "a second response.create is refused by its code while one is active; the first goes on",
    source="protocol §4.7, §5; clients rule 11",
)
async def one_at_a_time(lab: Lab) -> None:
    async with lab.session(**AUDIO) as client:
        await client.say(LONG)
        await client.create()
        created = await client.wait("response.created")
        error = await client.refused(client.create())
        expect(
            error.get("code") == "conversation_already_has_active_response",
            f"The code is {error.get('code')!r}; Pipecat hangs up on any other.",
            error,
        )
        await client.send({"type": "response.cancel"})
        reply = await client.reply_to(created)
        expect(reply.final["status"] == "cancelled", "The first response was lost.", reply.final)


@check(
    "responses",
    "a cancelled response ends with response.done, cancelled by client_cancelled",
    source="protocol §4.9; peers §3b (cancel not implemented)",
)
async def cancel(lab: Lab) -> None:
    async with lab.session(**AUDIO) as client:
        await client.say(LONG)
        await client.create()
        created = await client.wait("response.created")
        await client.wait("response.output_audio.delta")
        await client.send({"type": "response.cancel"})
        final = (await client.reply_to(created)).final
        details = final.get("status_details") or {}
        expect(
            (final["status"], details.get("reason")) == ("cancelled", "client_cancelled"),
            "The response is not cancelled by client_cancelled.",
            final,
        )
        expect(
            all(item.get("status") == "incomplete" for item in final["output"]),
            "An item that was cut is not incomplete.",
            final,
        )


@check(
    "responses",
    "nothing of a response comes after its response.done, cancelled or not",
    source="protocol §4.8; clients rule 12",
)
async def silence_after_cancel(lab: Lab) -> None:
    async with lab.session(**AUDIO) as client:
        await client.say(LONG)
        await client.create()
        created = await client.wait("response.created")
        await client.wait("response.output_audio.delta")
        await client.send({"type": "response.cancel"})
        reply = await client.reply_to(created)
        expect(reply.final["status"] == "cancelled", "It was not cancelled.", reply.final)
        done = next(e for e in client.of("response.done") if e["response"]["id"] == reply.id)
        await client.quiet(
            "response.output_audio.delta",
            "response.output_audio_transcript.delta",
            "response.output_item.done",
            where=lambda e: (
                e.get("response_id") == reply.id and client.place(e) > client.place(done)
            ),
        )


@check(
    "responses",
    "a new response can follow a cancelled one at once",
    source="protocol §4.9; peers §4 (10)",
)
async def respond_after_cancel(lab: Lab) -> None:
    async with lab.session(**AUDIO) as client:
        await client.say(LONG)
        await client.create()
        created = await client.wait("response.created")
        await client.send({"type": "response.cancel"})
        await client.reply_to(created)
        reply = await client.ask(SHORT, **TEXT)
        expect(reply.final["status"] == "completed", "The next reply failed.", reply.final)


@check(
    "responses",
    "a cancel with nothing to cancel is refused by its code, or passes in silence",
    source="protocol §4.9, §5; clients rule 13",
)
async def cancel_nothing(lab: Lab) -> None:
    async with lab.session() as client:
        await client.send({"type": "response.cancel"})
        await client.lives()
        for event in client.of("error"):
            expect(
                event["error"].get("code") == "response_cancel_not_active",
                f"The code is {event['error'].get('code')!r}; Pipecat hangs up on any other.",
                event,
            )


@check("responses", "a conversation without items can be answered", source="clients rule 5")
async def empty_conversation(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        reply = await client.respond()
        expect(reply.final["status"] == "completed", "The reply was not completed.", reply.final)
