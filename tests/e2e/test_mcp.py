"""MCP against a real server: tools imported and run, approvals, failures, and who is not asked."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from config import McpSettings
from providers.script_file import parse_script
from providers.scripted_llm import ScriptedLlmProvider
from tests.e2e.gateway import Gateway, run_gateway
from tests.e2e.mcp_server import McpServer
from tests.e2e.wire import (
    AUDIO,
    MANUAL,
    TEXT,
    ask,
    begin,
    configure,
    ended,
    refusal,
    respond,
    retrieve,
)
from tests.harness import RealtimeClient
from tests.oracle import WireEvent

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPT = parse_script(
    """
version: 1
rules:
  - {id: result, when: {tool_result: true}, do: [{say: "It says {tool}."}]}
  - {id: weather, when: {user: {any: [weather]}, tool_available: weather__get_weather},
     do: [{tool: weather__get_weather, args: {city: Rome}}]}
  - {id: both, when: {user: {any: [compare]}},
     do: [{say: "One moment."}, {tool: weather__get_weather, args: {city: Rome}},
          {tool: mine, args: {}}]}
  - {id: wait, when: {user: {any: [wait]}}, do: [{tool: weather__wait, args: {}}]}
  - {id: broken, when: {user: {any: [break]}}, do: [{tool: weather__broken, args: {}}]}
  - {id: none, do: [{say: "I cannot know."}]}
"""
)
LOCAL = McpSettings(allowed_hosts=("127.0.0.1",), allow_private=True, timeout_ms=20_000)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["modern", "legacy"])
async def server(request: pytest.FixtureRequest) -> AsyncGenerator[McpServer]:
    async with McpServer(legacy=request.param == "legacy").running() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mcp_gateway() -> AsyncGenerator[Gateway]:
    async with run_gateway(llm=ScriptedLlmProvider(SCRIPT), mcp=LOCAL) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def mcp_client(mcp_gateway: Gateway) -> AsyncGenerator[RealtimeClient]:
    async with mcp_gateway.connect() as connected:
        await configure(connected, **MANUAL, **TEXT)
        yield connected


async def imported(client: RealtimeClient, *tools: dict[str, Any]) -> WireEvent:
    """Name MCP servers and wait for the tools of one; the `mcp_list_tools` item."""
    await configure(client, tools=list(tools))
    done = await client.wait_for(
        "conversation.item.done", where=lambda e: e["item"]["type"] == "mcp_list_tools"
    )
    return done["item"]


async def output_item(client: RealtimeClient, kind: str) -> WireEvent:
    event = await client.wait_for(
        "conversation.item.done", where=lambda e: e["item"]["type"] == kind
    )
    return event["item"]


async def answer_approval(client: RealtimeClient, request: WireEvent, approve: bool) -> None:
    item = {
        "type": "mcp_approval_response",
        "approval_request_id": request["id"],
        "approve": approve,
    }
    await client.send(
        {"type": "conversation.item.create", "item": item, "previous_item_id": request["id"]}
    )


@pytest.mark.parametrize("modality", [TEXT, AUDIO])
async def test_tools_are_imported_and_called(
    mcp_client: RealtimeClient, server: McpServer, modality: dict[str, Any]
) -> None:
    since = len(mcp_client.events)
    listed = await imported(mcp_client, server.tool())
    assert [tool["name"] for tool in listed["tools"]] == ["get_weather", "wait", "broken"]
    assert listed["tools"][0]["description"] == "The weather of a city."
    assert listed["tools"][0]["annotations"] == {"readOnlyHint": True}
    assert [event["type"] for event in mcp_client.events[since:]] == [
        "session.updated",
        "conversation.item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "conversation.item.done",
    ]
    since = len(mcp_client.events) + 2
    response = await ask(mcp_client, "the weather please", **modality)
    assert [event["type"] for event in mcp_client.events[since:]] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        *["response.mcp_call_arguments.delta"]
        * len(mcp_client.events_of("response.mcp_call_arguments.delta")),
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    (call,) = response.final["output"]
    assert (call["server_label"], call["name"]) == ("weather", "get_weather")
    assert json.loads(call["arguments"]) == {"city": "Rome"}
    assert (call["output"], call.get("error")) == ("sunny in Rome", None)
    assert await retrieve(mcp_client, call["id"]) == call

    follow_up = await respond(mcp_client, **modality)
    assert (follow_up.text or follow_up.transcript) == "It says sunny in Rome."


async def test_a_call_beside_speech_and_a_function(
    mcp_client: RealtimeClient, server: McpServer
) -> None:
    await imported(mcp_client, server.tool(), {"type": "function", "name": "mine"})
    response = await ask(mcp_client, "compare", **AUDIO)
    kinds = [item["type"] for item in response.final["output"]]
    assert kinds == ["message", "mcp_call", "function_call"]
    assert response.final["output"][1]["output"] == "sunny in Rome"
    call = response.calls[0]
    item = {"type": "function_call_output", "call_id": call["call_id"], "output": "mine too"}
    await mcp_client.send({"type": "conversation.item.create", "item": item})
    assert (await respond(mcp_client)).status == "completed"


async def test_a_response_created_too_early_does_not_see_the_tools(
    mcp_client: RealtimeClient, server: McpServer
) -> None:
    await mcp_client.say_text("the weather please")
    early = await respond(mcp_client, tools=[server.tool()])
    assert early.text == "I cannot know."
    await output_item(mcp_client, "mcp_list_tools")
    late = await respond(mcp_client, tools=[server.tool()])
    assert [item["type"] for item in late.final["output"]] == ["mcp_call"]


async def test_credentials_reach_the_server_and_nobody_else(
    mcp_client: RealtimeClient, server: McpServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.headers.clear()
    secrets = {"authorization": "hush-token", "headers": {"X-Key": "hush-key"}}
    await imported(mcp_client, server.tool(**secrets))
    await ask(mcp_client, "the weather please")
    assert server.headers
    for headers in server.headers:
        assert headers["authorization"] == "Bearer hush-token"
        assert headers["x-key"] == "hush-key"
    assert "hush" not in json.dumps(mcp_client.events)
    (shown,) = mcp_client.events_of("session.updated")[-1]["session"]["tools"]
    assert shown["authorization"] == "<redacted>"
    # The websockets library logs the test client's own frames.
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("websockets")]
    assert "hush" not in "\n".join(ours)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"allowed_tools": ["wait"]}, ["wait"]),
        ({"allowed_tools": {"read_only": True}}, ["get_weather"]),
    ],
)
async def test_only_allowed_tools_are_listed(
    mcp_client: RealtimeClient, server: McpServer, wanted: dict[str, Any], names: list[str]
) -> None:
    listed = await imported(mcp_client, server.tool(**wanted))
    assert [tool["name"] for tool in listed["tools"]] == names


# --- approvals --------------------------------------------------------------------------------


async def test_a_call_runs_once_it_is_approved(
    mcp_client: RealtimeClient, server: McpServer
) -> None:
    await imported(mcp_client, server.tool(require_approval="always"))
    server.calls.clear()
    response = await ask(mcp_client, "the weather please")
    (request,) = response.final["output"]
    assert request["type"] == "mcp_approval_request"
    assert json.loads(request["arguments"]) == {"city": "Rome"}
    assert server.calls == []
    (announced,) = mcp_client.events_of("response.mcp_call_arguments.done")

    await answer_approval(mcp_client, request, approve=True)
    call = await output_item(mcp_client, "mcp_call")
    assert call["output"] == "sunny in Rome"
    assert call["approval_request_id"] == request["id"]
    assert call["id"] == announced["item_id"]
    assert server.calls == ["get_weather"]
    assert (await respond(mcp_client)).text == "It says sunny in Rome."


async def test_a_declined_call_does_not_run(mcp_client: RealtimeClient, server: McpServer) -> None:
    await imported(mcp_client, server.tool(require_approval=None))
    server.calls.clear()
    (request,) = (await ask(mcp_client, "the weather please")).final["output"]
    await answer_approval(mcp_client, request, approve=False)
    assert (await respond(mcp_client)).text == "It says The user did not allow this call.."
    assert server.calls == []
    event_id = await mcp_client.send(
        {
            "type": "conversation.item.create",
            "item": {
                "type": "mcp_approval_response",
                "approval_request_id": request["id"],
                "approve": True,
            },
        }
    )
    error = await refusal(mcp_client, event_id)
    assert (error["code"], error["param"]) == ("invalid_value", "item.approval_request_id")


# --- failures ---------------------------------------------------------------------------------


async def test_a_tool_that_fails(mcp_client: RealtimeClient, server: McpServer) -> None:
    await imported(mcp_client, server.tool())
    response = await ask(mcp_client, "break it")
    (call,) = response.final["output"]
    assert call["error"]["type"] == "tool_execution_error"
    assert call["output"] is None
    assert (await respond(mcp_client)).text.startswith("It says Error: ")


async def test_a_tool_that_takes_too_long(server: McpServer) -> None:
    settings = LOCAL.model_copy(update={"timeout_ms": 1000})
    async with (
        run_gateway(llm=ScriptedLlmProvider(SCRIPT), mcp=settings) as gateway,
        gateway.connect() as client,
    ):
        await configure(client, **MANUAL, **TEXT)
        await imported(client, server.tool())
        (call,) = (await ask(client, "wait")).final["output"]
        assert call["error"] == {
            "type": "protocol_error",
            "code": -32001,
            "message": "The MCP server did not answer within 1 s.",
        }
        # The connection is opened anew.
        (call,) = (await ask(client, "the weather please")).final["output"]
        assert call["output"] == "sunny in Rome"


async def test_a_cancelled_response_breaks_its_call_off(
    mcp_client: RealtimeClient, server: McpServer
) -> None:
    await imported(mcp_client, server.tool())
    server.waiting.clear()
    response_id = await begin(mcp_client, "wait")
    async with asyncio.timeout(10):
        await server.waiting.wait()
    await mcp_client.send({"type": "response.cancel"})
    final = await ended(mcp_client, response_id)
    assert final["status"] == "cancelled"
    assert final["output"][0]["error"]["type"] == "tool_execution_error"


@pytest.mark.parametrize("path", ["/forbidden", "/elsewhere"])
async def test_a_server_that_does_not_list_its_tools(
    mcp_client: RealtimeClient, server: McpServer, path: str
) -> None:
    listed = await imported(mcp_client, server.tool(path))
    assert listed["tools"] == []
    assert len(mcp_client.events_of("mcp_list_tools.failed")) == 1
    assert (await ask(mcp_client, "the weather please")).text == "I cannot know."


async def test_a_redirect_within_the_server_is_followed(
    mcp_client: RealtimeClient, server: McpServer
) -> None:
    assert (await imported(mcp_client, server.tool("/moved")))["tools"]


# --- who is not asked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "host", "param"),
    [
        (McpSettings(), "127.0.0.1", "type"),
        (McpSettings(allowed_hosts=("other.example",)), "127.0.0.1", "server_url"),
        (McpSettings(allowed_hosts=("127.0.0.1",)), "127.0.0.1", "server_url"),
    ],
)
async def test_a_server_the_operator_does_not_allow(
    server: McpServer, settings: McpSettings, host: str, param: str
) -> None:
    async with run_gateway(mcp=settings) as gateway, gateway.connect() as client:
        await configure(client, **MANUAL, **TEXT)
        event_id = await client.update_session(tools=[server.tool(host=host)])
        error = await refusal(client, event_id)
        assert (error["code"], error["param"]) == ("invalid_value", f"session.tools[0].{param}")
        event_id = await client.create_response(tools=[server.tool(host=host)])
        error = await refusal(client, event_id)
        assert error["param"] == f"response.tools[0].{param}"
        assert client.events_of("mcp_list_tools.in_progress") == []


async def test_an_ephemeral_key_keeps_to_the_same_rules(server: McpServer) -> None:
    body = {"session": {"type": "realtime", "tools": [server.tool()]}}

    async def mint(gateway: Gateway) -> Any:
        url = f"http://127.0.0.1:{gateway.port}/v1/realtime/client_secrets"
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.post(url, json=body)).json()

    async with run_gateway() as gateway:
        assert (await mint(gateway))["error"]["param"] == "session.tools[0].type"
    async with run_gateway(mcp=LOCAL) as gateway:
        key = (await mint(gateway))["value"]
        async with gateway.connect(api_key=key) as client:
            await client.wait_for("mcp_list_tools.completed")


async def test_a_name_that_leads_to_a_private_address(
    server: McpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An allowed name whose DNS answers with an address of this network."""

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("providers.mcp_session.resolve", resolve)
    server.headers.clear()
    settings = McpSettings(allowed_hosts=("*.example",))
    async with run_gateway(mcp=settings) as gateway, gateway.connect() as client:
        url = f"https://mcp.example:{server.port}/mcp"
        listed = await imported(client, server.tool(server_url=url))
        assert listed["tools"] == []
        assert len(client.events_of("mcp_list_tools.failed")) == 1
    assert not any("mcp.example" in headers["host"] for headers in server.headers)


# --- life -------------------------------------------------------------------------------------


async def test_the_model_goes_on_where_the_operator_wants_it(server: McpServer) -> None:
    settings = LOCAL.model_copy(update={"follow_up": True})
    async with (
        run_gateway(llm=ScriptedLlmProvider(SCRIPT), mcp=settings) as gateway,
        gateway.connect() as client,
    ):
        await configure(client, **MANUAL, **TEXT)
        await imported(client, server.tool())
        await ask(client, "the weather please")
        assert (await client.collect_response()).text == "It says sunny in Rome."


async def test_the_end_of_a_session_closes_its_connections(server: McpServer) -> None:
    server.waiting.clear()
    server.methods.clear()
    async with run_gateway(llm=ScriptedLlmProvider(SCRIPT), mcp=LOCAL) as gateway:
        async with gateway.connect() as client:
            await configure(client, **MANUAL, **TEXT)
            await imported(client, server.tool())
            await begin(client, "wait")
            async with asyncio.timeout(10):
                await server.waiting.wait()
            await client.close(complete=False)
        sessions: Any = gateway.app.state.registry
        async with asyncio.timeout(10):
            await sessions.drain()
        assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("mcp ")]
    assert ("DELETE" in server.methods) is server.legacy
