"""Function calls: streamed, several at once, beside speech, answered early or late."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.wire import (
    AUDIO,
    MANUAL,
    TEXT,
    added,
    ask,
    begin,
    configure,
    ended,
    order,
    refusal,
    respond,
)
from tests.harness import RealtimeClient
from tests.oracle import WireEvent

pytestmark = pytest.mark.asyncio(loop_scope="session")

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "get_weather", "description": "…", "parameters": CITY}
TIME = {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}}
TOOLS = [WEATHER, TIME]

CALL = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]


async def answer(client: RealtimeClient, call: WireEvent, output: str) -> WireEvent:
    """Send a tool's output back; the event that says it was added."""
    item = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
    await client.send({"type": "conversation.item.create", "item": item})
    return await added(client, type="function_call_output")


@pytest.mark.parametrize("modality", [TEXT, AUDIO])
async def test_a_call_is_streamed_and_its_output_answered(
    client: RealtimeClient, dialect: Any, modality: dict[str, Any]
) -> None:
    await configure(client, **modality, tools=TOOLS)
    since = len(client.events) + (1 if dialect == "beta" else 2)
    response = await ask(client, "what is the weather in Rome")
    assert order(client, since) == ["response.created", *CALL, "response.done"]
    (call,) = response.calls
    assert (call["name"], call["status"]) == ("get_weather", "completed")
    assert json.loads(call["arguments"]) == {"city": "Rome"}
    assert response.final["output"] == [call]
    begun = client.events_of("response.output_item.added")[0]["item"]
    assert begun == {**call, "status": "in_progress", "arguments": ""}
    (finished,) = client.events_of("response.function_call_arguments.done")
    assert finished["call_id"] == call["call_id"]
    assert finished.get("name") == ("get_weather" if dialect == "ga" else None)
    assert len(client.events_of("response.function_call_arguments.delta")) > 1

    event = await answer(client, call, '{"degrees": 21}')
    assert event["previous_item_id"] == call["id"]
    follow_up = await respond(client)
    said = follow_up.text or follow_up.transcript
    assert said == "The tool said degrees: 21."


@pytest.mark.parametrize("modality", [TEXT, AUDIO])
async def test_speech_and_two_calls_share_a_response(
    client: RealtimeClient, modality: dict[str, Any]
) -> None:
    await configure(client, **modality, tools=TOOLS)
    response = await ask(client, "compare them")
    assert (response.text or response.transcript) == "One moment."
    kinds = [item["type"] for item in response.final["output"]]
    assert kinds == ["message", "function_call", "function_call"]
    indexes = [event["output_index"] for event in client.events_of("response.output_item.added")]
    assert indexes == [0, 1, 2]
    first, second = response.calls
    assert [first["name"], second["name"]] == ["get_weather", "get_time"]
    assert first["call_id"] != second["call_id"]
    await answer(client, second, "noon")
    await answer(client, first, "rain")
    follow_up = await respond(client)
    assert (follow_up.text or follow_up.transcript).startswith("The tool said ")


async def test_parallel_calls_can_be_ruled_out(client: RealtimeClient, dialect: Any) -> None:
    if dialect == "beta":
        tools = {"tools": [WEATHER]}
        response = await ask(client, "weather", **TEXT, **tools)
    else:
        response = await ask(client, "compare", **TEXT, tools=TOOLS, parallel_tool_calls=False)
    assert len(response.calls) == 1


async def test_an_output_may_come_before_the_response_is_done(client: RealtimeClient) -> None:
    await configure(client, **TEXT, tools=TOOLS)
    response_id = await begin(client, "call slowly")
    called = await client.wait_for(
        "response.output_item.done", where=lambda e: e["item"]["type"] == "function_call"
    )
    await answer(client, called["item"], "noon")
    assert client.events_of("response.done") == []
    assert (await ended(client, response_id))["status"] == "completed"
    follow_up = await respond(client)
    assert follow_up.status == "completed"


async def test_an_output_needs_its_call(client: RealtimeClient) -> None:
    item = {"type": "function_call_output", "call_id": "call_nobody", "output": "1"}
    event_id = await client.send({"type": "conversation.item.create", "item": item})
    error = await refusal(client, event_id)
    assert (error["code"], error["param"]) == ("invalid_value", "item.call_id")
    assert "call_nobody" in error["message"]


async def test_calls_can_be_replayed(client: RealtimeClient) -> None:
    call = {
        "type": "function_call",
        "id": "fc",
        "call_id": "call_1",
        "name": "get_time",
        "arguments": "{}",
    }
    await client.say_text("what time is it")
    await client.send({"type": "conversation.item.create", "item": call})
    assert (await added(client, type="function_call"))["item"]["status"] == "completed"
    await answer(client, call, "noon")
    assert (await respond(client, **TEXT)).text == "The tool said noon."


@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        ("auto", ["get_weather"]),
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "name": "get_time"}, ["get_time"]),
    ],
)
async def test_the_choice_of_tools_is_obeyed(
    client: RealtimeClient, choice: Any, calls: list[str]
) -> None:
    session = await configure(client, **TEXT, tools=TOOLS, tool_choice=choice)
    assert [tool["name"] for tool in session["tools"]] == ["get_weather", "get_time"]
    response = await ask(client, "the weather in Rome")
    assert [call["name"] for call in response.calls] == calls


async def test_nested_tools_are_understood(client: RealtimeClient) -> None:
    nested = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
    session = await configure(client, **TEXT, tools=[nested])
    (tool,) = session["tools"]
    assert (tool["type"], tool["name"], tool["parameters"]) == ("function", "get_weather", CITY)
    assert [call["name"] for call in (await ask(client, "weather")).calls] == ["get_weather"]


async def test_a_call_that_was_complete_survives_the_cancel(client: RealtimeClient) -> None:
    await configure(client, **TEXT, tools=TOOLS)
    response_id = await begin(client, "call slowly")
    await client.wait_for("response.function_call_arguments.done")
    await client.send({"type": "response.cancel"})
    done = await ended(client, response_id)
    assert done["status"] == "cancelled"
    # The call was complete before the cancel: it stays a call that may be answered.
    (call,) = [i for i in done["output"] if i["type"] == "function_call"]
    assert call["status"] == "completed"
    await answer(client, call, "noon")
    assert (await respond(client)).text == "The tool said noon."


async def test_tools_alone_can_be_updated(client: RealtimeClient, dialect: Any) -> None:
    before = await configure(client, instructions="be brief", **MANUAL)
    after = await configure(client, tools=[TIME])
    assert [tool["name"] for tool in after["tools"]] == ["get_time"]
    assert {**after, "tools": before["tools"]} == before
    assert (await configure(client, tools=[]))["tools"] == []
