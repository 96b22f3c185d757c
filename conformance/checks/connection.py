"""Checks of the handshake and of the socket while it is open."""

from __future__ import annotations

import asyncio

from websockets.exceptions import ConnectionClosed

from conformance.checks.prompts import COUNT, LONG, SHORT, TEXT
from conformance.lab import Lab
from conformance.registry import Failed, check, expect

_KEY_PROTOCOL = "openai-insecure-api-key."


@check(
    "connection",
    "session.created is the first event, and comes before the client has sent anything",
    source="protocol §4.1; clients rule 5",
)
async def opens_with_session_created(lab: Lab) -> None:
    async with lab.connect() as client:
        event = await client.wait("session.created")
        expect(client.events[0] is event, "Another event came first.", client.events[0])
        expect(event["session"].get("id"), "The session has no id.", event)


@check(
    "connection",
    "of the subprotocols offered, `realtime` is answered and never the one with the key",
    source="protocol §1.3; clients rule 2",
)
async def answers_the_realtime_subprotocol(lab: Lab) -> None:
    offered = ["realtime", f"{_KEY_PROTOCOL}{lab.target.api_key or 'none'}"]
    if lab.dialect == "beta":
        offered.append("openai-beta.realtime-v1")
    async with lab.connect(subprotocols=offered, headers={}) as client:
        await client.wait("session.created")
        answer = client.socket.subprotocol
        expect(
            answer == "realtime",
            f"The server answered {answer!r}: browsers then drop the connection.",
        )


@check(
    "connection",
    "no subprotocol is answered when none is offered",
    source="protocol §1.3",
)
async def answers_no_subprotocol_unasked(lab: Lab) -> None:
    async with lab.connect(subprotocols=[], judged=lab.dialect == "beta") as client:
        await client.wait("session.created")
        answer = client.socket.subprotocol
        expect(answer is None, f"The server answered {answer!r}, which nobody offered.")


@check(
    "connection",
    "a key in the subprotocol opens the session, as browsers send it",
    source="protocol §1.2; clients rule 1",
    requires=("api-key",),
)
async def takes_the_key_from_the_subprotocol(lab: Lab) -> None:
    offered = ["realtime", f"{_KEY_PROTOCOL}{lab.target.api_key}"]
    if lab.dialect == "beta":
        offered.append("openai-beta.realtime-v1")
    async with lab.connect(subprotocols=offered, headers={}, api_key=None) as client:
        await client.wait("session.created")


@check(
    "connection",
    "a wrong key is refused: an error event with close code 3000, or HTTP 401 or 403",
    source="protocol §1.7",
    requires=("api-key",),
)
async def refuses_a_wrong_key(lab: Lab) -> None:
    try:
        async with lab.connect(api_key="sk-wrong-0123456789", judged=False) as client:
            event = await client.wait("error", "session.created")
            expect(event["type"] == "error", "A session opened with a wrong key.", event)
            code, _ = await client.wait_closed()
            expect(code == 3000, f"The server closed with {code} instead of 3000.", event)
    except Failed as failure:
        if not any(status in failure.explanation for status in ("HTTP 401", "HTTP 403")):
            raise


@check(
    "connection",
    "query keys it does not know and a trailing slash change nothing",
    source="protocol §1.1; clients rule 1",
    level="recommended",
)
async def takes_odd_addresses(lab: Lab) -> None:
    url = lab.target.with_query(path_suffix="/", temperature="0.8", trace="x")
    async with lab.connect(url) as client:
        await client.wait("session.created")


@check(
    "connection",
    "events sent before session.created has been read are answered",
    source="protocol §4.1; clients rule 5",
)
async def takes_events_at_once(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.update(instructions="Be brief.")
        await client.say(SHORT)
        session = await client.wait("session.updated")
        expect(
            session["session"].get("instructions") == "Be brief.",
            "The first session.update was lost.",
            session,
        )


@check(
    "connection",
    "a second client is served while the first one's reply is under way",
    source="peers §3b (one pipeline by default)",
)
async def serves_several_at_once(lab: Lab) -> None:
    async with lab.session() as first, lab.session(**TEXT) as second:
        await first.say(LONG)
        await first.create()
        created = await first.wait("response.created")
        reply = await second.ask(COUNT)
        expect(
            reply.final["status"] == "completed",
            "The second client's reply was not completed.",
            reply.final,
        )
        expect(reply.id != created["response"]["id"], "Both clients got one response.", reply.final)


@check(
    "connection",
    "pings are answered while a reply is under way",
    source="protocol §1.7; clients rule 7",
)
async def answers_pings(lab: Lab) -> None:
    async with lab.session() as client:
        await client.say(LONG)
        await client.create()
        await client.wait("response.created")
        try:
            async with asyncio.timeout(client.pace.timeout_s):
                await (await client.socket.ping())
        except (TimeoutError, ConnectionClosed):
            raise Failed("A ping was not answered.") from None


@check(
    "connection",
    "a client's close code 1000 is answered with 1000",
    source="protocol §1.7",
    level="recommended",
)
async def answers_the_close(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
    code = client.socket.close_code
    expect(code == 1000, f"The close was answered with {code}.")
