"""What templates render, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from providers.script_template import Template, TemplateError, Values, parse_tool_output

TOOL = {"city": "Paris", "temp": 21.5, "days": [{"sky": "grey"}, "blue"], "none": None, "ok": True}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{{a}} {turn}", "{a} 3"),
        ("You said: {user}.", "You said: Weather in Rome, please!."),
        (r"{user.match(in (\w+))|Paris}", "Rome"),
        (r"{user.match(IN (\w+))}", "Rome"),
        (r"{user.match(weather)}", "Weather"),
        (r"{user.match(rome please$)}", "Rome please"),
        (r"{user.match(on (\w+))|Paris}", "Paris"),
        (r"{user.match(on (\w+))|}", ""),
        (r"{user.match([)}\)]|(R[a-z]{3}))}!", "Rome!"),
        ("{tool.city}, {tool.temp}, {tool.ok}", "Paris, 21.5, true"),
        ("{tool.days.0.sky} {tool.days.1}", "grey blue"),
        ("{tool.days}", "sky: grey, blue"),
        ("{tool.none|nothing} {tool.days.9|late} {tool.city.x|no}", "nothing late no"),
        ("{ tool.city | x }", "Paris"),
    ],
)
def test_text(source: str, text: str) -> None:
    assert Template(source).text(Values("Weather in Rome, please!", 3, TOOL)) == text


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{tool.temp}", 21.5),
        ("{tool.days}", TOOL["days"]),
        ("{turn}", 3),
        ("at {tool.temp}", "at 21.5"),
    ],
)
def test_a_lone_placeholder_keeps_its_json_type(source: str, value: Any) -> None:
    assert Template(source).value(Values("", 3, TOOL)) == value


@pytest.mark.parametrize(
    "source",
    [
        "{",
        "}",
        "{user",
        "{name}",
        "{user.upper}",
        "{user.__class__}",
        "{tool.__class__[0]}",
        "{tool..a}",
        "{user.match(x}",
        "{user.match([)}",
        "{user.match(()}",
        "{user.match(x).y}",
        "{0}",
        "{}",
    ],
)
def test_what_cannot_be_parsed(source: str) -> None:
    with pytest.raises(TemplateError):
        Template(source)


@pytest.mark.parametrize("source", ["{tool.absent}", "{tool.__class__}", "{user.match(x)}"])
def test_a_missing_value_without_default_is_an_error_that_names_it(source: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(source).text(Values("hello", 1, TOOL))
    assert source in str(caught.value)
    assert "hello" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("21", 21),
        ("sunny", "sunny"),
        ("{", "{"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_tool_output_is_json_or_text(output: str, value: Any) -> None:
    assert parse_tool_output(output) == value
