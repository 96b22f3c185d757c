"""MCP in the core: importing tools, calls within responses, approvals, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from core import messages as m
from core.context import chat_messages
from core.conversation import Entry
from core.mcp_policy import McpPolicy, check_tools, endpoint, is_never_allowed, is_public
from core.mcp_tools import allowed, function_name, needs_approval, offer
from core.policy import Policy
from protocol import (
    ErrorEvent,
    FunctionTool,
    InvalidRequest,
    ItemCreate,
    ItemDelete,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListedTool,
    McpListTools,
    McpProtocolError,
    McpTool,
    McpToolExecutionError,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
    Session,
    SessionUpdate,
)
from tests.core.kit import Core, finished, user_text

OPEN = McpPolicy(("*.example",))
URL = "https://mcp.example/mcp"
SERVER = {
    "type": "mcp",
    "server_label": "w",
    "server_url": URL,
    "authorization": "secret-token",
    "require_approval": "never",
}
GET = McpListedTool("get", {"type": "object"}, "Gets.", {"readOnlyHint": True})
PUT = McpListedTool("put", {"type": "object"}, "Puts.")
WRITTEN: dict[str, Any] = {
    "output_modalities": ["text"],
    "audio": {"input": {"turn_detection": None}},
}


def update(core: Core, *tools: dict[str, Any]) -> list[str]:
    return core.update({"type": "realtime", "tools": list(tools)})


def ready(policy: McpPolicy = OPEN, **server: Any) -> Core:
    """A session that writes, knows the tools of one server, and was asked something."""
    core = Core(Policy(mcp=policy))
    core.update({"type": "realtime", **WRITTEN})
    update(core, {**SERVER, **server})
    core(m.McpToolsListed("mcpl_1", (GET, PUT)), user_text(item_id="u"))
    return core


def call(name: str = "w__get", arguments: str = "{}", response: str = "resp_1") -> list[Any]:
    """The model's call and the end of its reply."""
    return [
        m.ToolCallStarted(response, "k", name),
        m.ToolCallArguments(response, "k", arguments),
        m.ToolCallEnded(response, "k"),
        *finished(response, "tool_calls"),
    ]


def approve(request_id: str = "mcpr_1", answer: bool = True, **fields: Any) -> ItemCreate:
    return ItemCreate(McpApprovalResponse("ok", request_id, answer, **fields), event_id="ev")


def functions(core: Core, **params: Any) -> list[str]:
    """The functions that a response of this moment is offered."""
    (start,) = [o for o in core.raw(create(**params)) if isinstance(o, m.StartResponse)]
    core(*finished(start.response_id))
    return [tool.name for tool in start.request.tools]


def create(**params: Any) -> ResponseCreate:
    return ResponseCreate(ResponseParams.model_validate(params), event_id="ev")


# --- importing --------------------------------------------------------------------------------


def test_an_update_imports_the_tools_of_a_new_server() -> None:
    core = Core(Policy(mcp=OPEN))
    assert update(core, SERVER) == [
        "session.updated",
        "item.added <None> mcp tools mcpl_1 w []",
        "mcp_list_tools.in_progress mcpl_1",
        "> mcp list mcpl_1 w",
    ]
    assert functions(core) == []
    assert core(m.McpToolsListed("mcpl_1", (GET, PUT))) == [
        "mcp_list_tools.completed mcpl_1",
        "item.done <None> mcp tools mcpl_1 w [get,put]",
    ]
    assert functions(core) == ["w__get", "w__put"]


def test_a_server_that_is_known_is_not_asked_again() -> None:
    core = ready()
    assert update(core, {**SERVER, "require_approval": "always"}) == ["session.updated"]
    assert core.update({"type": "realtime", "instructions": "x"}) == ["session.updated"]
    assert "> mcp list mcpl_2 w" in update(core, {**SERVER, "authorization": "another"})


def test_a_server_that_failed_is_asked_again_when_it_is_named_again() -> None:
    core = Core(Policy(mcp=OPEN))
    update(core, SERVER)
    assert core(m.McpToolsFailed("mcpl_1")) == [
        "mcp_list_tools.failed mcpl_1",
        "item.done <None> mcp tools mcpl_1 w []",
    ]
    assert core(m.McpToolsListed("mcpl_1", (GET,))) == []
    assert core.update({"type": "realtime", "instructions": "x"}) == ["session.updated"]
    assert "> mcp list mcpl_2 w" in update(core, SERVER)


def test_a_server_that_is_taken_away_while_it_is_asked() -> None:
    core = Core(Policy(mcp=OPEN))
    update(core, SERVER)
    assert update(core) == [
        "session.updated",
        "mcp_list_tools.failed mcpl_1",
        "item.done <None> mcp tools mcpl_1 w []",
        "> mcp cancel mcpl_1",
    ]
    assert core(m.McpToolsListed("mcpl_1", (GET,))) == []


def test_an_item_that_is_deleted_while_its_server_is_asked() -> None:
    core = Core(Policy(mcp=OPEN))
    update(core, SERVER)
    assert core(ItemDelete("mcpl_1")) == [
        "mcp_list_tools.failed mcpl_1",
        "item.done <None> mcp tools mcpl_1 w []",
        "item.deleted mcpl_1",
        "> mcp cancel mcpl_1",
    ]


def test_a_response_imports_and_does_not_wait() -> None:
    core = Core(Policy(mcp=OPEN))
    assert core(create(tools=[SERVER])) == [
        "response.created resp_1 in_progress []",
        "> start resp_1",
        "item.added <None> mcp tools mcpl_1 w []",
        "mcp_list_tools.in_progress mcpl_1",
        "> mcp list mcpl_1 w",
    ]
    core(*finished("resp_1"), m.McpToolsListed("mcpl_1", (GET,)))
    assert functions(core) == []
    assert functions(core, tools=[SERVER]) == ["w__get"]


def test_tools_that_were_there_from_the_start() -> None:
    settings = Session().model_copy(update={"tools": (McpTool.model_validate(SERVER),)})
    core = Core(Policy(mcp=OPEN), settings)
    assert [type(output).__name__ for output in core.log] == [
        "SessionCreated",
        "ConfigureVad",
        "ItemAdded",
        "McpListToolsInProgress",
        "ListMcpTools",
    ]
    refused = Core(Policy(), settings)
    assert refused.machine.settings.tools == ()
    assert [type(output).__name__ for output in refused.log][:2] == ["SessionCreated", "ErrorEvent"]


# --- calls ------------------------------------------------------------------------------------


def test_a_call_is_run_within_its_response() -> None:
    core = ready()
    core(create())
    assert core(*call(arguments='{"a":1}')) == [
        "output_item.added 0 mcp call item_1 get()",
        "item.added <u> mcp call item_1 get()",
        "mcp arguments.delta item_1 0 '{\"a\":1}'",
        'mcp arguments.done item_1 0 {"a":1}',
        "mcp_call.in_progress item_1 0",
        '> mcp call item_1 get({"a":1})',
    ]
    # The tool may take longer than an engine may be silent.
    assert core.wait(60) == []
    assert core(m.McpCallFinished("item_1", "sunny")) == [
        "mcp_call.completed item_1 0",
        'item.done <u> mcp call item_1 get({"a":1}) = sunny',
        'output_item.done 0 mcp call item_1 get({"a":1}) = sunny',
        "response.done resp_1 completed [item_1]",
    ]
    assert core(m.McpCallFinished("item_1", "again")) == []


def test_the_model_says_something_first_and_calls_twice() -> None:
    core = ready()
    core(create(), m.ModelText("resp_1", "Wait."))
    outputs = core(m.ToolCallStarted("resp_1", "a", "w__get"), m.ToolCallEnded("resp_1", "a"))
    assert outputs[-1] == "> mcp call item_2 get()"
    assert core(*call("w__put"))[-1] == "> mcp call item_3 put({})"
    assert core(m.McpCallFinished("item_3", "done"))[-1].startswith("output_item.done 2")
    assert core(m.McpCallFinished("item_2", "done"))[-1] == (
        "response.done resp_1 completed [item_1,item_2,item_3]"
    )


def test_arguments_that_are_no_object_are_not_sent() -> None:
    core = ready()
    core(create())
    call_text = "mcp call item_1 get([1]) ! The model's arguments are not a JSON object."
    assert core(*call(arguments="[1]"))[-5:] == [
        "mcp_call.in_progress item_1 0",
        "mcp_call.failed item_1 0",
        f"item.done <u> {call_text}",
        f"output_item.done 0 {call_text}",
        "response.done resp_1 completed [item_1]",
    ]


def test_a_failed_call_completes_the_response() -> None:
    core = ready()
    core(create(), *call())
    assert core(m.McpCallFinished("item_1", McpProtocolError(-32602, "no such city"))) == [
        "mcp_call.failed item_1 0",
        "item.done <u> mcp call item_1 get({}) ! no such city",
        "output_item.done 0 mcp call item_1 get({}) ! no such city",
        "response.done resp_1 completed [item_1]",
    ]


@pytest.mark.parametrize("end", [ResponseCancel(), ItemDelete("item_1")])
def test_a_cancel_breaks_the_call_off(end: Any) -> None:
    core = ready()
    core(create(), *call())
    over = "The response ended before the call did."
    assert core(end)[:5] == [
        "> stop resp_1",
        "mcp_call.failed item_1 0",
        f"item.done <u> mcp call item_1 get({{}}) ! {over}",
        f"output_item.done 0 mcp call item_1 get({{}}) ! {over}",
        "response.done resp_1 cancelled client_cancelled [item_1]",
    ]
    assert core.log[-1] == m.CancelMcp("item_1")
    assert core(m.McpCallFinished("item_1", "late")) == []


def test_a_call_cut_off_in_its_arguments_is_not_run() -> None:
    core = ready()
    core(create(), *call(arguments='{"a')[:2])
    assert core(ResponseCancel())[1:3] == [
        'item.done <u> mcp call item_1 get({"a) ! The response ended before the call did.',
        'output_item.done 0 mcp call item_1 get({"a) ! The response ended before the call did.',
    ]


def test_an_out_of_band_call_stays_out_of_the_conversation() -> None:
    core = ready()
    core(create(conversation="none"))
    outputs = core(*call(), m.McpCallFinished("item_1", "sunny"))
    assert not any(output.startswith("item.") for output in outputs)
    assert outputs[-1] == "response.done resp_1 completed [item_1]"


# --- approvals --------------------------------------------------------------------------------


def test_a_call_that_needs_approval_is_asked_about() -> None:
    core = ready(require_approval=None)
    core(create())
    assert core(*call(arguments='{"a":1}')) == [
        "mcp arguments.delta item_1 0 '{\"a\":1}'",
        'mcp arguments.done item_1 0 {"a":1}',
        'output_item.added 0 approval? mcpr_1 get({"a":1})',
        'item.added <u> approval? mcpr_1 get({"a":1})',
        'item.done <u> approval? mcpr_1 get({"a":1})',
        'output_item.done 0 approval? mcpr_1 get({"a":1})',
        "response.done resp_1 completed [mcpr_1]",
    ]
    assert core(approve()) == [
        "item.added <mcpr_1> approval ok mcpr_1 True",
        "item.done <mcpr_1> approval ok mcpr_1 True",
        'item.added <ok> mcp call item_1 get({"a":1}) for mcpr_1',
        "mcp_call.in_progress item_1 0",
        '> mcp call item_1 get({"a":1})',
    ]
    assert core(m.McpCallFinished("item_1", "sunny")) == [
        "mcp_call.completed item_1 0",
        'item.done <ok> mcp call item_1 get({"a":1}) for mcpr_1 = sunny',
    ]


def test_a_call_that_is_declined_is_not_run() -> None:
    core = ready(require_approval="always")
    core(create(), *call())
    assert core(approve(answer=False)) == [
        "item.added <mcpr_1> approval ok mcpr_1 False",
        "item.done <mcpr_1> approval ok mcpr_1 False",
    ]


def test_nothing_can_be_approved_twice_or_unasked() -> None:
    core = ready(require_approval="always")
    assert core(approve()) == ["error invalid_value ev"]
    core(create(), *call(), approve())
    assert core(replace(approve(), item=McpApprovalResponse("again", "mcpr_1", True))) == [
        "error invalid_value ev"
    ]


def test_a_deleted_request_cannot_be_approved() -> None:
    core = ready(require_approval="always")
    core(create(), *call(), ItemDelete("mcpr_1"))
    assert core(approve()) == ["error invalid_value ev"]


def test_a_cancelled_reply_leaves_no_half_request() -> None:
    core = ready(require_approval="always")
    core(create(), *call(arguments='{"a')[:2])
    assert core(ResponseCancel()) == [
        "> stop resp_1",
        "response.done resp_1 cancelled client_cancelled []",
    ]


def test_deleting_an_approved_call_breaks_it_off() -> None:
    core = ready(require_approval="always")
    core(create(), *call(), approve())
    assert core(ItemDelete("item_1")) == [
        "mcp_call.failed item_1 0",
        "item.done <ok> mcp call item_1 get({}) for mcpr_1 ! "
        "The response ended before the call did.",
        "item.deleted item_1",
        "> mcp cancel item_1",
    ]
    assert core(m.McpCallFinished("item_1", "late")) == []


# --- going on ---------------------------------------------------------------------------------

GOES_ON = replace(OPEN, follow_up=True)


def test_the_client_asks_for_the_answer_by_default() -> None:
    core = ready()
    core(create(), *call(), m.McpCallFinished("item_1", "sunny"))
    assert core.wait(10) == []


def test_the_model_goes_on_where_the_operator_wants_it() -> None:
    core = ready(GOES_ON)
    core(create(tool_choice="required", metadata={"a": "b"}), *call())
    outputs = core.raw(m.McpCallFinished("item_1", "sunny"))
    assert isinstance(outputs[-1], m.StartResponse)
    assert (outputs[-1].request.tool_choice, outputs[-1].request.metadata) == ("auto", {"a": "b"})
    assert core(*finished("resp_2"))[-1] == "response.done resp_2 completed []"


def test_it_goes_on_after_an_approved_call() -> None:
    core = ready(GOES_ON, require_approval="always")
    core(create(), *call())
    assert "> start resp_2" not in core(approve())
    assert core(m.McpCallFinished("item_1", "sunny"))[-1] == "> start resp_2"


def test_it_does_not_go_on_for_ever() -> None:
    core = ready(GOES_ON)
    core(create())
    number = 1
    while f"> start resp_{number + 1}" in core(
        *call(response=f"resp_{number}"), m.McpCallFinished(f"item_{number}", "more")
    ):
        number += 1
        assert number < 20
    assert number == 9


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "server", "param"),
    [
        (McpPolicy(), {}, "type"),
        (OPEN, {"server_url": "https://evil.test/mcp"}, "server_url"),
        (OPEN, {"server_url": "https://mcp.example.evil.test/mcp"}, "server_url"),
        (OPEN, {"server_url": "https://mcp.example@evil.test/mcp"}, "server_url"),
        (OPEN, {"server_url": "https://evil.test\\@mcp.example/mcp"}, "server_url"),
        (OPEN, {"server_url": "https://mcp.example:99999/mcp"}, "server_url"),
        (OPEN, {"server_url": "file:///etc/passwd"}, "server_url"),
        (OPEN, {"server_url": "http://mcp.example/mcp"}, "server_url"),
        (McpPolicy(("mcp.example:8443",)), {}, "server_url"),
        (McpPolicy(("*",)), {"server_url": "https://127.0.0.1/mcp"}, "server_url"),
        (McpPolicy(("*",)), {"server_url": "https://[::1]/mcp"}, "server_url"),
        (McpPolicy(("*",)), {"server_url": "https://LOCALHOST/mcp"}, "server_url"),
        (McpPolicy(("*",)), {"server_url": "https://10.1.2.3/mcp"}, "server_url"),
        (McpPolicy(("*",)), {"server_url": "https://[::ffff:10.0.0.1]/mcp"}, "server_url"),
        (OPEN, {"headers": {"Host": "internal"}}, "headers"),
        (OPEN, {"headers": {"a b": "c"}}, "headers"),
        (OPEN, {"headers": {"X-Key": "a\r\nHost: internal"}}, "headers"),
        (OPEN, {"authorization": "a\nb"}, "authorization"),
    ],
)
def test_refused_servers(policy: McpPolicy, server: dict[str, Any], param: str) -> None:
    core = Core(Policy(mcp=policy))
    for path, event in (
        ("session", {"type": "realtime", "instructions": "x", "tools": [{**SERVER, **server}]}),
        ("response", None),
    ):
        if event is not None:
            (error,) = core.raw(_session_update(event))
        else:
            (error,) = core.raw(create(tools=[{**SERVER, **server}]))
        assert isinstance(error, ErrorEvent)
        assert (error.code, error.param) == ("invalid_value", f"{path}.tools[0].{param}")
        assert "secret-token" not in error.message
    assert core.machine.settings.instructions == ""


def _session_update(session: dict[str, Any]) -> Any:
    return SessionUpdate(session, "ev")


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (OPEN, URL),
        (OPEN, "https://MCP.Example:8443/mcp?x=1"),
        (McpPolicy(("mcp.example:8443",)), "https://mcp.example:8443/mcp"),
        (McpPolicy(("*",), allow_private=True), "http://localhost:8000/mcp"),
        (McpPolicy(("[::1]:80", "::1"), allow_private=True), "http://[::1]/mcp"),
    ],
)
def test_allowed_servers(policy: McpPolicy, url: str) -> None:
    check_tools((McpTool(server_label="w", server_url=url),), policy, "session.tools")


def test_a_session_has_so_many_servers() -> None:
    tools = [McpTool(server_label=str(n), server_url=URL) for n in range(9)]
    check_tools(tools[:8], OPEN, "session.tools")
    with pytest.raises(InvalidRequest, match="at most 8"):
        check_tools(tools, OPEN, "session.tools")
    core = Core(Policy(mcp=OPEN))
    for number in range(32):
        core(create(conversation="none", tools=[{**SERVER, "server_label": str(number)}]))
        core(*finished(f"resp_{number + 1}"))
    assert core(create(tools=[{**SERVER, "server_label": "x"}])) == ["error invalid_value ev"]


@pytest.mark.parametrize(
    ("text", "public", "never"),
    [
        ("93.184.215.14", True, False),
        ("2606:2800:21f:cb07::1", True, False),
        ("10.0.0.1", False, False),
        ("100.64.0.1", False, False),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("fd00::1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("2002:7f00:1::", False, False),
        ("169.254.169.254", False, True),
        ("::ffff:169.254.169.254", False, True),
        ("fe80::1", False, True),
        ("0.0.0.0", False, True),
        ("224.0.0.1", False, True),
    ],
)
def test_addresses(text: str, public: bool, never: bool) -> None:
    address = ip_address(text)
    assert (is_public(address), is_never_allowed(address)) == (public, never)


@pytest.mark.parametrize(
    "url",
    [
        *("https://a b/", "https://ä.example/", "//x", "https://", "x", "ftp://mcp.example/"),
        *("https://user:pw@mcp.example/", "https://mcp.example/#x", "https://mcp.example:x/"),
    ],
)
def test_no_endpoint(url: str) -> None:
    assert endpoint(url) is None


# --- what the model sees ----------------------------------------------------------------------


def server(**fields: Any) -> McpTool:
    return McpTool.model_validate({**SERVER, **fields})


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ["get", "put"]),
        (["put"], ["put"]),
        ([], []),
        ({"tool_names": ["get", "nothing"]}, ["get"]),
        ({"read_only": True}, ["get"]),
        ({"read_only": False}, ["put"]),
        ({"read_only": True, "tool_names": ["put"]}, []),
        ({}, []),
    ],
)
def test_allowed_tools(wanted: Any, names: list[str]) -> None:
    assert [t.name for t in allowed(server(allowed_tools=wanted), (GET, PUT))] == names


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        (None, ["get", "put"]),
        ("always", ["get", "put"]),
        ("never", []),
        ({"never": {"tool_names": ["get"]}}, ["put"]),
        ({"always": {"tool_names": ["put"]}, "never": {"read_only": True}}, ["put"]),
        ({"always": {"tool_names": ["get"]}, "never": {"tool_names": ["get", "put"]}}, ["get"]),
    ],
)
def test_require_approval(rule: Any, asked: list[str]) -> None:
    entry = server(require_approval=rule)
    assert [tool.name for tool in (GET, PUT) if needs_approval(entry, tool)] == asked


def test_functions_have_unique_names_that_chat_apis_take() -> None:
    mine = FunctionTool(name="w__get")
    offered = offer((mine, server(server_description="Weather.")), lambda _: (GET, PUT))
    assert [tool.name for tool in offered.functions] == ["w__get", "w__get_2", "w__put"]
    assert offered.functions[1].description == "Gets. Weather."
    assert [target.tool_name for target in offered.targets.values()] == ["get", "put"]
    odd = [function_name("my server", "a.b"), function_name("my.server", "a b")]
    long = [function_name("x" * 64, "a"), function_name("x" * 64, "b")]
    for names in (odd, long):
        assert len({*names}) == 2
        assert all(len(name) <= 64 and name.replace("_", "a").isalnum() for name in names)


@pytest.mark.parametrize(
    ("choice", "given", "names"),
    [
        ({"type": "mcp", "server_label": "w"}, "required", ["w__get", "w__put"]),
        ({"type": "mcp", "server_label": "w", "name": "put"}, "w__put", ["w__get", "w__put"]),
    ],
)
def test_tool_choice(choice: Any, given: str, names: list[str]) -> None:
    core = ready()
    (start,) = [o for o in core.raw(create(tool_choice=choice)) if isinstance(o, m.StartResponse)]
    chosen = start.request.tool_choice
    assert (chosen if isinstance(chosen, str) else chosen.name) == given
    assert [tool.name for tool in start.request.tools] == names


def test_a_choice_of_what_is_not_there() -> None:
    core = ready()
    assert core(create(tool_choice={"type": "mcp", "server_label": "x"})) == [
        "error invalid_value ev"
    ]
    core.update({"type": "realtime", "tool_choice": {"type": "mcp", "server_label": "x"}})
    assert functions(core) == ["w__get", "w__put"]


REQUEST = McpApprovalRequest("r", "w", "get", "{}")


@pytest.mark.parametrize(
    ("items", "output"),
    [
        ([McpCall("c", "w", "get", "{}", output="sunny")], "sunny"),
        ([McpCall("c", "w", "get", "{}", error=McpToolExecutionError("x"))], "Error: x"),
        ([McpCall("c", "w", "get", "{}")], "not available yet"),
        ([REQUEST], "not yet"),
        ([REQUEST, McpApprovalResponse("a", "r", False, "Too dear.")], "did not allow this call."),
        (
            [
                REQUEST,
                McpApprovalResponse("a", "r", True),
                McpCall("c", "w", "get", "{}", output="sunny", approval_request_id="r"),
            ],
            "sunny",
        ),
    ],
)
def test_a_call_in_the_context(items: list[Any], output: str) -> None:
    asked, answered = chat_messages(map(Entry, items))
    assert [tool_call.name for tool_call in asked.tool_calls] == ["w__get"]
    assert output in answered.text


def test_what_is_no_call_is_not_in_the_context() -> None:
    items = [McpListTools("l", "w", (GET,)), McpCall("c", "w", "g", '{"', status="incomplete")]
    assert chat_messages(map(Entry, items)) == ()
