"""Checks of what a server says to wrong events; the session must survive each of them."""

from __future__ import annotations

from typing import Any

from conformance.client import Client
from conformance.lab import Lab
from conformance.names import path
from conformance.oracle import WireEvent
from conformance.registry import check, expect

_RULE = "protocol §5; clients rule 14"


async def _update(client: Client, **flat: Any) -> WireEvent:
    return await client.refused(client.update(**flat))


def _code(error: WireEvent, *codes: str) -> None:
    expect(
        error.get("code") in codes,
        f"The code is {error.get('code')!r} where OpenAI says {' or '.join(map(repr, codes))}.",
        error,
    )


@check(
    "errors",
    "a frame that is no JSON is answered with an error, and the session lives",
    source=f"{_RULE}; peers §3b (one malformed frame ends the session)",
)
async def not_json(lab: Lab) -> None:
    async with lab.session() as client:
        await client.refused(client.send_raw('{"type": "response.create", '))


@check("errors", "so is JSON that is no object", source=_RULE)
async def not_an_object(lab: Lab) -> None:
    async with lab.session() as client:
        await client.refused(client.send_raw('["response.create"]'))


@check("errors", "so is a binary frame", source=_RULE)
async def binary_frame(lab: Lab) -> None:
    async with lab.session() as client:
        await client.refused(client.send_raw(b"\x00\x01\x02\x03"))


@check("errors", "an event without a type is refused", source=_RULE)
async def no_type(lab: Lab) -> None:
    async with lab.session() as client:
        await client.refused(client.send({"session": {}}))


@check(
    "errors",
    "an unknown event is refused, not ignored",
    source=f"{_RULE}; peers §3b (only logged)",
)
async def unknown_event(lab: Lab) -> None:
    async with lab.session() as client:
        await client.refused(client.send({"type": "conversation.item.frobnicate"}))


@check(
    "errors",
    "an error names the client's event: both agents SDKs wait for ever without",
    source="protocol §5; clients §3",
)
async def event_id_is_echoed(lab: Lab) -> None:
    async with lab.session() as client:
        events: tuple[WireEvent, ...] = (
            {"type": "conversation.item.frobnicate"},
            {"type": "conversation.item.delete", "item_id": "item_nowhere"},
            {"type": "conversation.item.retrieve", "item_id": "item_nowhere"},
        )
        for event in events:
            event_id = await client.send({**event, "event_id": f"mine_{event['type']}"})
            error = (await client.wait("error"))["error"]
            expect(error.get("event_id") == event_id, "It names no event or another.", error)


@check(
    "errors",
    "the code and param of an unknown event are as at OpenAI",
    source=_RULE,
    level="recommended",
)
async def unknown_event_code(lab: Lab) -> None:
    async with lab.session() as client:
        error = await client.refused(client.send({"type": "conversation.item.frobnicate"}))
        _code(error, "invalid_value")
        expect(error.get("param") == "type", "param is not `type`.", error)


@check("errors", "a missing field is named", source=_RULE)
async def missing_field(lab: Lab) -> None:
    async with lab.session() as client:
        error = await client.refused(client.send({"type": "conversation.item.delete"}))
        _code(error, "missing_required_parameter")
        expect(error.get("param") == "item_id", "param is not `item_id`.", error)


@check("errors", "a value of the wrong type is named", source=_RULE)
async def wrong_type(lab: Lab) -> None:
    async with lab.session() as client:
        error = await _update(client, instructions=["no", "string"])
        _code(error, "invalid_type")
        expect(error.get("param") == "session.instructions", "param is another.", error)


@check("errors", "a number out of its range is named", source=_RULE)
async def out_of_range(lab: Lab) -> None:
    async with lab.session() as client:
        error = await _update(client, turn_detection={"type": "server_vad", "threshold": 7.5})
        _code(error, "decimal_above_max_value")
        wanted = f"session.{path(lab.dialect, 'turn_detection')}.threshold"
        expect(error.get("param") == wanted, f"param is not {wanted}.", error)


@check("errors", "a value outside a closed set is named", source=_RULE)
async def outside_the_set(lab: Lab) -> None:
    async with lab.session() as client:
        error = await _update(client, turn_detection={"type": "telepathic_vad"})
        _code(error, "invalid_value")


@check("errors", "many errors in a row leave the session up", source="clients rule 14")
async def many_errors(lab: Lab) -> None:
    async with lab.session() as client:
        for number in range(20):
            await client.send({"type": f"nonsense.{number}"})
        for _ in range(20):
            await client.wait("error")
        await client.lives()


@check(
    "errors",
    "fields it does not know are ignored, for clients address many servers",
    source="protocol §2.1; clients rule 14",
    level="recommended",
)
async def unknown_fields(lab: Lab) -> None:
    async with lab.session() as client:
        updated = await client.configure(instructions="Be brief.", vendor_extension={"x": 1})
        expect(updated["instructions"] == "Be brief.", "The rest was not applied.", updated)
