"""Checks of tools that the client runs."""

from __future__ import annotations

import json
from typing import Any

from conformance.checks.prompts import SHORT, TEXT, WEATHER, WEATHER_TOOL
from conformance.client import Client, Reply
from conformance.lab import Lab
from conformance.names import ga_type
from conformance.oracle import WireEvent
from conformance.registry import Failed, check, expect

_RULE = "protocol §4.7; clients rule 15"
_FORCED: dict[str, Any] = {**TEXT, "tools": [WEATHER_TOOL], "tool_choice": "required"}


def _call(reply: Reply) -> WireEvent:
    """The function call of a response."""
    for item in reply.final["output"]:
        if item["type"] == "function_call":
            return item
    raise Failed("tool_choice is `required`, and the response has no call.", reply.final)


async def _answer(client: Client, call: WireEvent) -> WireEvent:
    output = json.dumps({"celsius": 21})
    return await client.add(
        {"type": "function_call_output", "call_id": call["call_id"], "output": output}
    )


@check("function-calls", "a required call is made, with a name and JSON arguments", source=_RULE)
async def required_call(lab: Lab) -> None:
    async with lab.session(**_FORCED) as client:
        call = _call(await client.ask(WEATHER))
        expect(call["name"] == "get_weather", "Another function was called.", call)
        expect(isinstance(json.loads(call["arguments"]), dict), "They are no object.", call)


@check(
    "function-calls",
    "a call is announced before its arguments, in progress and without any; then done",
    source=_RULE,
)
async def call_order(lab: Lab) -> None:
    async with lab.session(**_FORCED) as client:
        reply = await client.ask(WEATHER)
        call_id = _call(reply)["call_id"]
        kinds = [
            ga_type(event)
            for event in reply.events
            if event.get("call_id", event.get("item", {}).get("call_id")) == call_id
        ]
        outline = list(dict.fromkeys(kinds))
        expect(
            outline
            == [
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
            ],
            f"The order was {', '.join(outline)}.",
            reply.final,
        )
        added = next(e["item"] for e in reply.events if ga_type(e) == outline[0])
        expect(
            (added["status"], added["arguments"]) == ("in_progress", ""),
            "The call was not announced in progress and without arguments: it would run twice.",
            added,
        )
        done = next(e["item"] for e in reply.events if ga_type(e) == outline[-1])
        expect(done["status"] == "completed", "The finished call is not completed.", done)


@check("function-calls", "the result of a call is taken, and answered on request", source=_RULE)
async def result_is_answered(lab: Lab) -> None:
    async with lab.session(**_FORCED) as client:
        call = _call(await client.ask(WEATHER))
        item = await _answer(client, call)
        expect(item["call_id"] == call["call_id"], "The result names another call.", item)
        reply = await client.respond(tool_choice="none")
        expect(reply.final["status"] == "completed", "The reply failed.", reply.final)


@check("function-calls", "the server does not go on by itself after a result", source=_RULE)
async def result_starts_nothing(lab: Lab) -> None:
    async with lab.session(**_FORCED) as client:
        await _answer(client, _call(await client.ask(WEATHER)))
        await client.quiet("response.created")


@check(
    "function-calls",
    "a result may come before the response is done",
    source="protocol §4.7; clients rule 15",
)
async def early_result(lab: Lab) -> None:
    async with lab.session(**_FORCED) as client:
        await client.say(WEATHER)
        await client.create()
        created = await client.wait("response.created")
        done = await client.wait("response.function_call_arguments.done")
        await _answer(client, done)
        reply = await client.reply_to(created)
        expect(reply.final["status"] == "completed", "The response failed.", reply.final)


@check("function-calls", "with tool_choice `none` no call is made", source="protocol §2.3")
async def no_call(lab: Lab) -> None:
    async with lab.session(**_FORCED) as client:
        reply = await client.ask(WEATHER, tool_choice="none")
        calls = [item for item in reply.final["output"] if item["type"] == "function_call"]
        expect(not calls, "A call was made.", reply.final)


@check(
    "function-calls",
    "tools of one response replace the session's for that response",
    source="protocol §2.5",
)
async def tools_of_one_response(lab: Lab) -> None:
    async with lab.session(**TEXT) as client:
        call = _call(await client.ask(WEATHER, tools=[WEATHER_TOOL], tool_choice="required"))
        await _answer(client, call)
        reply = await client.ask(SHORT)
        calls = [item for item in reply.final["output"] if item["type"] == "function_call"]
        expect(not calls, "The tool is still known.", reply.final)


@check(
    "function-calls",
    "a tool wrapped as in the chat API is understood",
    source="clients rule 15 (StepFun)",
    level="recommended",
)
async def wrapped_tool(lab: Lab) -> None:
    inner = {key: value for key, value in WEATHER_TOOL.items() if key != "type"}
    async with lab.session(**TEXT) as client:
        await client.configure(tools=[{"type": "function", "function": inner}])
        _call(await client.ask(WEATHER, tool_choice="required"))
