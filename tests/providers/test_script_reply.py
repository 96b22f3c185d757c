"""Which rule answers a conversation, and with what."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import ErrorCategory, FunctionTool, NamedToolChoice
from providers.script import Script
from providers.script_file import DEFAULT_SCRIPT, load_script, parse_script
from providers.script_reply import Call, Fail, Finish, Hang, Pause, SayToken, Step, reply
from providers.script_rules import Asked, Conversation

Message = dict[str, Any]

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = FunctionTool(name="get_weather", parameters=CITY)
TIME = FunctionTool(name="get_time")


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def called(*names: str) -> Message:
    calls = [
        {"id": f"id-{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in names
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(name: str, output: str) -> Message:
    return {"role": "tool", "tool_call_id": f"id-{name}", "content": output}


def ask(*messages: Message, instructions: str = "", **limits: Any) -> Asked:
    return Asked(Conversation.read(messages, instructions), **limits)


def said(steps: tuple[Step, ...]) -> str:
    return "".join(step.text for step in steps if isinstance(step, SayToken))


def calls(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    return [(step.name, "".join(step.arguments)) for step in steps if isinstance(step, Call)]


def rules(text: str, head: str = "") -> Script:
    return parse_script(f"version: 1\n{head}\nrules:\n{text}")


MATCHING = rules(
    """
  - {id: turn, when: {turn: {gte: 3, lte: 4}}, do: [{say: turn}]}
  - {id: regex, when: {user: {regex: "^drop (it|that)$"}}, do: [{say: regex}]}
  - {id: all, when: {user: {all: [red, "light blue"]}}, do: [{say: all}]}
  - {id: any, when: {user: {any: ["don't", 天气, "３"]}}, do: [{say: any}]}
  - {id: pirate, when: {instructions: "a Pirate"}, do: [{say: pirate}]}
  - {id: two, when: {turn: 2}, do: [{say: two}]}
"""
)


@pytest.mark.parametrize(
    ("messages", "instructions", "expected"),
    [
        ([user("Drop it!")], "", "regex"),
        ([user("drop it now")], "", "You said: drop it now."),
        ([user("RED and light, blue")], "", "all"),
        ([user("red and light")], "", "You said: red and light."),
        ([user("dont")], "", "any"),
        ([user("I don’t.")], "", "any"),
        ([user("今天天气怎么样")], "", "any"),
        ([user("今天")], "", "You said: 今天."),
        ([user("今天。")], "", "You said: 今天。"),
        ([user("3!")], "", "any"),
        ([user("33")], "", "You said: 33."),
        ([user("x")], "You are a pirate.", "pirate"),
        ([{"role": "system", "content": "be a pirate"}, user("x")], "", "pirate"),
        ([user("x")], "You are a pirateship.", "You said: x."),
        ([user("x"), assistant("y"), user("z")], "", "two"),
        ([user("x")] * 3, "", "turn"),
        ([user("x")] * 5, "", "You said: x."),
        ([user("x"), assistant("y")], "", "You said: x."),
        ([user(" ?! ")], "", "I heard nothing."),
        ([], "", ""),
        ([user([{"type": "text", "text": "drop"}, {"type": "text", "text": "it"}])], "", "regex"),  # type: ignore[arg-type]
    ],
)
def test_conditions(messages: list[Message], instructions: str, expected: str) -> None:
    assert said(reply(MATCHING, ask(*messages, instructions=instructions))) == expected


TOOLS = rules(
    """
  - {id: weather, when: {user: {any: [weather]}, tool_available: get_weather},
     do: [{tool: get_weather, args: {city: "{user.match(in (\\\\w+))|Paris}"}}]}
  - {id: both, when: {user: {any: [both]}},
     do: [{say: "Wait."}, {tool: get_weather, args: {city: Rome}}, {tool: get_time}]}
  - {id: can, when: {user: {any: [can]}, tool_available: get_weather}, do: [{say: "I can."}]}
  - {id: result, when: {tool_result: get_weather}, do: [{say: "It is {tool.temp}."}]}
  - {id: catch-all, do: [{say: "Hm."}]}
"""
)


@pytest.mark.parametrize(
    ("messages", "limits", "text", "calls_made", "reason"),
    [
        (
            [user("weather in Rome")],
            {"tools": (WEATHER,)},
            "",
            [("get_weather", '{"city": "Rome"}')],
            "tool_calls",
        ),
        (
            [user("weather")],
            {"tools": (WEATHER,)},
            "",
            [("get_weather", '{"city": "Paris"}')],
            "tool_calls",
        ),
        ([user("weather")], {}, "Hm.", [], "stop"),
        ([user("can you")], {"tools": (TIME, WEATHER)}, "I can.", [], "stop"),
        ([user("can you")], {"tools": (TIME,)}, "Hm.", [], "stop"),
        ([user("can you")], {"tools": (WEATHER,), "tool_choice": "none"}, "Hm.", [], "stop"),
        ([user("weather")], {"tools": (WEATHER,), "tool_choice": "none"}, "Hm.", [], "stop"),
        (
            [user("both")],
            {"tools": (WEATHER, TIME)},
            "Wait.",
            [("get_weather", '{"city": "Rome"}'), ("get_time", "{}")],
            "tool_calls",
        ),
        (
            [user("both")],
            {"tools": (WEATHER, TIME), "parallel": False},
            "Wait.",
            [("get_weather", '{"city": "Rome"}')],
            "tool_calls",
        ),
        (
            [user("both")],
            {"tools": (WEATHER, TIME), "tool_choice": "none"},
            "Wait.",
            [],
            "stop",
        ),
        (
            [user("both")],
            {"tools": (WEATHER, TIME), "tool_choice": NamedToolChoice(name="get_time")},
            "Wait.",
            [("get_time", "{}")],
            "tool_calls",
        ),
        (
            [user("other")],
            {"tools": (WEATHER, TIME), "tool_choice": NamedToolChoice(name="get_time")},
            "",
            [("get_time", "{}")],
            "tool_calls",
        ),
        (
            [user("other")],
            {"tools": (WEATHER,), "tool_choice": "required"},
            "",
            [("get_weather", '{"city": "city"}')],
            "tool_calls",
        ),
        (
            [user("weather"), called("get_weather"), result("get_weather", '{"temp": 21}')],
            {"tools": (WEATHER,)},
            "It is 21.",
            [],
            "stop",
        ),
        (
            [
                user("weather"),
                called("get_weather", "get_time"),
                result("get_weather", '{"temp": 21}'),
                result("get_time", "noon"),
            ],
            {"tools": (WEATHER,)},
            "It is 21.",
            [],
            "stop",
        ),
        (
            [user("weather"), called("get_time"), result("get_time", '{"h": 1}')],
            {},
            "The tool answered: h: 1",
            [],
            "stop",
        ),
        (
            [user("a"), called("get_weather"), result("get_weather", "{}"), user("b")],
            {},
            "Hm.",
            [],
            "stop",
        ),
    ],
)
def test_tools(
    messages: list[Message],
    limits: dict[str, Any],
    text: str,
    calls_made: list[tuple[str, str]],
    reason: str,
) -> None:
    steps = reply(TOOLS, ask(*messages, **limits))
    assert said(steps) == text
    assert calls(steps) == calls_made
    assert isinstance(steps[-1], Finish)
    assert steps[-1].reason == reason


@pytest.mark.parametrize(
    ("messages", "limits", "told"),
    [
        ([user("both")], {"tools": (TIME,)}, "rule 'both' calls tool 'get_weather'"),
        ([user("x")], {"tool_choice": "required"}, "there are no tools"),
        ([user("x")], {"tool_choice": NamedToolChoice(name="f")}, "calls tool 'f'"),
        ([user("x")], {"rule_id": "nope"}, "'nope' is no rule of the script: 'weather', 'both'"),
        ([user("secret")], {"rule_id": "result"}, "nothing to fill {tool.temp} with"),
        (
            [user("x"), called("get_weather"), result("get_weather", "secret")],
            {},
            "rule 'result': nothing to fill {tool.temp} with",
        ),
    ],
)
def test_what_the_script_cannot_answer(
    messages: list[Message], limits: dict[str, Any], told: str
) -> None:
    (failure,) = reply(TOOLS, ask(*messages, **limits))
    assert isinstance(failure, Fail)
    assert failure.category is ErrorCategory.INVALID_REQUEST
    assert told in failure.message
    assert "secret" not in failure.message


def test_a_rule_that_fails_to_render_says_nothing_before() -> None:
    script = rules('  - {id: a, do: [{say: "Well."}, {say: "{tool.x}"}]}')
    assert [type(step) for step in reply(script, ask(user("x")))] == [Fail]


GREETING = """
  - {id: brief, when: {instructions: brief}, do: [{say: "Hi."}]}
  - {id: first, when: {turn: 0, tool_available: get_time}, do: [{say: "Tick."}]}
  - {id: catch-all, do: [{say: "Hm."}]}
"""


@pytest.mark.parametrize(
    ("messages", "asked", "expected"),
    [
        ([], {}, "Hello, turn 0."),
        ([assistant("x")], {}, "Hello, turn 0."),
        ([], {"instructions": "be brief"}, "Hi."),
        ([], {"tools": (TIME,)}, "Tick."),
        ([], {"rule_id": "catch-all"}, "Hm."),
        ([user("x")], {}, "Hm."),
    ],
)
def test_greeting(messages: list[Message], asked: dict[str, Any], expected: str) -> None:
    script = rules(GREETING, 'greeting: "Hello, turn {turn}."')
    assert said(reply(script, ask(*messages, **asked))) == expected


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("echo", "You said: x."),
        ("silent", ""),
        ('{say: "Turn {turn}?"}', "Turn 1?"),
    ],
)
def test_fallback(fallback: str, expected: str) -> None:
    script = parse_script(f"version: 1\ndefaults: {{fallback: {fallback}}}")
    steps = reply(script, ask(user("x")))
    assert said(steps) == expected
    assert isinstance(steps[-1], Finish)


def test_fallback_error() -> None:
    script = parse_script("version: 1\ndefaults: {fallback: error}")
    (failure,) = reply(script, ask(user("x")))
    assert isinstance(failure, Fail)
    assert "no rule of the script matches" in failure.message


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        (
            '{say: "This will be cut", chunks: 3}, {fault: llm.disconnect, message: gone}',
            [
                SayToken("This"),
                SayToken(" will"),
                SayToken(" be"),
                Fail(ErrorCategory.CONNECTIVITY, "gone"),
            ],
        ),
        (
            "{fault: llm.error, category: rate_limit}, {say: never}",
            [Fail(ErrorCategory.RATE_LIMIT, "scripted failure: llm.error in script rule 'r'")],
        ),
        ("{say: a}, {fault: llm.hang}", [SayToken("a"), Hang()]),
        ("{fault: llm.empty}", [Finish("stop", 0)]),
        ("{silent: true}", [Finish("stop", 0)]),
        (
            "{say: a}, {wait: 7}, {say: b}, {say: 好}, {say: 好}",
            [
                SayToken("a"),
                Pause(7),
                SayToken(" b"),
                SayToken("好"),
                SayToken("好"),
                Finish("stop", 4),
            ],
        ),
    ],
)
def test_actions(do: str, expected: list[Step]) -> None:
    assert list(reply(rules(f"  - {{id: r, do: [{do}]}}"), ask(user("x")))) == expected


@pytest.mark.parametrize(
    ("limit", "text", "calls_made", "finish"),
    [
        (None, "One two three", 1, Finish("tool_calls", 5)),
        (5, "One two three", 1, Finish("tool_calls", 5)),
        (4, "One two three", 0, Finish("length", 3)),
        (3, "One two three", 0, Finish("length", 3)),
        (2, "One two", 0, Finish("length", 2)),
    ],
)
def test_token_limit(limit: int | None, text: str, calls_made: int, finish: Finish) -> None:
    script = rules("  - {id: r, do: [{say: One two three}, {tool: get_weather, args: {city: x}}]}")
    steps = reply(script, ask(user("x"), tools=(WEATHER,), max_tokens=limit))
    assert said(steps) == text
    assert len(calls(steps)) == calls_made
    assert steps[-1] == finish


def test_input_tokens_count_all_texts() -> None:
    conversation = Conversation.read(
        [user("two words"), called("f"), result("f", "你好")], "instructions do not count"
    )
    assert conversation.tokens == 2 + 1 + 2


def test_the_shipped_script_answers_in_both_languages() -> None:
    script = load_script(DEFAULT_SCRIPT)
    assert said(reply(script, ask())).startswith("Hello")
    assert "重复" in said(reply(script, ask(user("你好！"))))
    assert len(said(reply(script, ask(user("Tell me a story.")))).split()) > 100
    asked = ask(user("What's the weather in New York today?"), tools=(WEATHER,))
    assert calls(reply(script, asked)) == [("get_weather", '{"city": "New York"}')]
    answered = ask(user("x"), called("get_weather"), result("get_weather", '{"sky": "grey"}'))
    assert said(reply(script, answered)) == "The weather report says: sky: grey"
