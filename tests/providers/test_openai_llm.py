"""Chat completions as a Pipecat service, against a double of the server: replies and failures."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    FunctionCallsStartedFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)

from core.messages import ChatMessage, GenerationRequest
from processors.model_context import model_context
from protocol import ErrorCategory, FunctionTool, InputImage, NamedToolChoice, Stage, Usage
from providers.frames import (
    ModelFinishedFrame,
    ResponseBeginFrame,
    ResponseEndFrame,
    StageFailedFrame,
    ToolCallArgumentsFrame,
    ToolCallEndedFrame,
    ToolCallStartedFrame,
)
from providers.openai_llm import (
    OllamaLlmProvider,
    OpenAiLlmProvider,
    SiliconFlowLlmProvider,
)
from providers.script_file import parse_script
from tests.doubles import (
    HANG,
    RESET,
    Double,
    Mode,
    raw,
    running_double,
    status,
)
from tests.doubles.openai_api import chat_chunk, usage
from tests.providers.endpoints import KEY, PATIENCE_S, STALL_S, at, deadline_s, endpoint
from tests.providers.service_line import ServiceLine, eventually, running

PROVIDERS: dict[str, type[OpenAiLlmProvider]] = {
    "openai": OpenAiLlmProvider,
    "siliconflow": SiliconFlowLlmProvider,
    "ollama": OllamaLlmProvider,
}
WEATHER = FunctionTool(
    name="get_weather",
    description="The weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "additionalProperties": False,
    },
)
SCRIPT = parse_script(
    """
version: 1
rules:
  - {id: tool, when: {user: {any: [weather]}},
     do: [{say: Wait.}, {tool: get_weather, args: {city: Paris}}]}
  - {id: two, when: {user: {any: [both]}},
     do: [{tool: get_weather, args: {city: Rome}}, {tool: get_weather, args: {city: Oslo}}]}
  - {id: broken, when: {user: {any: [break]}}, do: [{say: Well now.}, {fault: llm.error}]}
"""
)
HELLO = ["You", " said:", " hello", " there."]


@pytest.fixture
async def double() -> AsyncGenerator[Double]:
    async with running_double() as running:
        running.script = SCRIPT
        yield running


def request(*messages: ChatMessage | str, **changes: Any) -> GenerationRequest:
    told = tuple(ChatMessage("user", m) if isinstance(m, str) else m for m in messages)
    fields: dict[str, Any] = {
        "messages": told,
        "instructions": "",
        "tools": (),
        "tool_choice": "auto",
        "speak": True,
        "voice": "",
        "speed": 1.0,
        "max_output_tokens": None,
        "temperature": 0.8,
        **changes,
    }
    return GenerationRequest(**fields)


class Session:
    """One session's service in a running pipeline."""

    def __init__(self, line: ServiceLine) -> None:
        self._line = line
        self._count = 0

    async def begin(self, asked: GenerationRequest) -> str:
        self._count += 1
        response_id = f"r{self._count}"
        await self._line.send(
            ResponseBeginFrame(response_id, asked),
            LLMContextFrame(model_context(asked)),
            ResponseEndFrame(response_id),
        )
        return response_id

    async def ask(self, *messages: ChatMessage | str, **changes: Any) -> list[Frame]:
        """The frames of a whole response, without those that open and close it."""
        before = len(self._line.frames)
        response_id = await self.begin(request(*messages, **changes))
        await self._line.until(lambda: response_id in self._ended())
        kinds = (LLMFullResponseStartFrame, LLMFullResponseEndFrame, LLMTextFrame, ErrorFrame)
        frames = [
            frame
            for frame in self._line.frames[before:]
            if isinstance(frame, (*kinds, FunctionCallsStartedFrame))
            or type(frame).__module__ == "providers.frames"
        ]
        shape = [type(frame) for frame in (*frames[:2], *frames[-2:])]
        assert shape == [
            ResponseBeginFrame,
            LLMFullResponseStartFrame,
            LLMFullResponseEndFrame,
            ResponseEndFrame,
        ]
        return frames[2:-2]

    async def interrupt(self) -> None:
        await self._line.send(InterruptionFrame())
        await self._line.until(lambda: self._line.all(InterruptionFrame))

    def texts(self) -> list[str]:
        return told(self._line.frames)

    def _ended(self) -> list[str]:
        return [frame.response_id for frame in self._line.all(ResponseEndFrame)]


@asynccontextmanager
async def session(
    double: Double, name: str = "openai", base_url: str = "", **options: Any
) -> AsyncIterator[Session]:
    where = at(base_url, name) if base_url else endpoint(double, name)
    provider = PROVIDERS[name](where, **{"stall_s": PATIENCE_S, **options})
    await provider.start()
    try:
        async with running(provider.create_service()) as line:
            yield Session(line)
    finally:
        await provider.close()


def told(frames: list[Frame]) -> list[str]:
    return [frame.text for frame in frames if isinstance(frame, LLMTextFrame)]


def calls(frames: list[Frame]) -> list[tuple[str, str, bool]]:
    """Name, arguments and whether it ended, of each call, in the order they started."""
    found: dict[str, tuple[str, str, bool]] = {}
    for frame in frames:
        match frame:
            case ToolCallStartedFrame():
                assert frame.call_id not in found
                found[frame.call_id] = (frame.function_name, "", False)
            case ToolCallArgumentsFrame():
                name, arguments, ended = found[frame.call_id]
                assert not ended
                found[frame.call_id] = (name, arguments + frame.delta, False)
            case ToolCallEndedFrame():
                name, arguments, ended = found[frame.call_id]
                assert not ended
                found[frame.call_id] = (name, arguments, True)
            case _:
                pass
    return list(found.values())


def finished(frames: list[Frame]) -> ModelFinishedFrame:
    last = frames[-1]
    assert isinstance(last, ModelFinishedFrame), frames
    return last


def failed(frames: list[Frame]) -> StageFailedFrame:
    last = frames[-1]
    assert isinstance(last, StageFailedFrame), frames
    assert not any(isinstance(frame, ModelFinishedFrame | ErrorFrame) for frame in frames)
    return last


# --- replies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_reply(double: Double, name: str) -> None:
    async with session(double, name) as talk:
        frames = await talk.ask("hello there")
    assert told(frames) == HELLO
    assert finished(frames).reason == "stop"
    assert finished(frames).usage == Usage(input_text_tokens=2, output_text_tokens=4)
    (logged,) = double.log
    assert logged.provider == name
    assert logged.path == "/v1/chat/completions"
    assert logged.authorization == f"Bearer {KEY}"
    assert logged.body == {
        "model": "gone",
        "messages": [{"role": "user", "content": "hello there"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.8,
    }


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_tool_call_streams(double: Double, name: str) -> None:
    async with session(double, name) as talk:
        frames = await talk.ask("weather?", tools=(WEATHER,))
    assert told(frames) == ["Wait."]
    assert calls(frames) == [("get_weather", '{"city": "Paris"}', True)]
    assert sum(isinstance(frame, ToolCallArgumentsFrame) for frame in frames) > 1
    assert finished(frames).reason == "tool_calls"


async def test_tools_go_out_verbatim_with_their_choice(double: Double) -> None:
    async with session(double) as talk:
        frames = await talk.ask(
            "both",
            instructions="Be brief.",
            tools=(WEATHER,),
            tool_choice=NamedToolChoice(name="get_weather"),
            parallel_tool_calls=True,
            temperature=1.1,
            max_output_tokens=77,
        )
    body = double.log[0].body
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "The weather of a city.",
                "parameters": WEATHER.parameters,
            },
        }
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert (body["parallel_tool_calls"], body["temperature"], body["max_tokens"]) == (True, 1.1, 77)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert calls(frames) == [
        ("get_weather", '{"city": "Rome"}', True),
        ("get_weather", '{"city": "Oslo"}', True),
    ]


async def test_a_session_goes_on(double: Double) -> None:
    async with session(double) as talk:
        for _ in range(2):
            assert told(await talk.ask("hello there")) == HELLO
    assert len(double.log) == 2


async def test_an_interruption_closes_the_request(double: Double) -> None:
    double.once("openai", Mode("slow", pause_s=0.05))
    async with session(double) as talk:
        await talk.begin(request("hello there"))
        await eventually(talk.texts)
        await talk.interrupt()
        assert told(await talk.ask("hello there")) == HELLO


def text(content: str) -> dict[str, Any]:
    return chat_chunk({"content": content})


def call(*deltas: dict[str, Any]) -> dict[str, Any]:
    return chat_chunk({"tool_calls": list(deltas)})


def fragment(
    index: Any = 0, id: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    delta = {"index": index, "id": id, "function": {k: v for k, v in function.items() if v}}
    return {key: value for key, value in delta.items() if value is not None}


STOP = chat_chunk({}, "stop")
CALLS = chat_chunk({}, "tool_calls")
ROME, OSLO = ("f", '{"a":"Rome"}', True), ("g", '{"a":"Oslo"}', True)


@pytest.mark.parametrize(
    ("chunks", "texts", "expected", "reason"),
    [
        pytest.param(
            [chat_chunk({"role": "assistant"}), text("Hi"), chat_chunk(), STOP, chat_chunk()],
            ["Hi"],
            [],
            "stop",
            id="choices empty unasked",
        ),
        pytest.param(
            [chat_chunk({"role": "assistant", "content": ""}), call(fragment(0, "c1", "f")),
             call(fragment(0, arguments='{"a":"Rome"}')), CALLS],
            [],
            [ROME],
            "tool_calls",
            id="role chunk before a call",
        ),
        pytest.param(
            [call(fragment(0, "c1", "f"), fragment(1, "c2", "g")),
             call(fragment(1, arguments='{"a":"Oslo"}'), fragment(0, arguments='{"a":"Rome"}')),
             CALLS],
            [],
            [ROME, OSLO],
            "tool_calls",
            id="several a chunk, interleaved",
        ),
        pytest.param(
            [call(fragment(0, "c1", "f", '{"a":"Rome"}')),
             call(fragment(0, "c2", "g", '{"a":"Oslo"}')), STOP],
            [],
            [ROME, OSLO],
            "tool_calls",
            id="all at index 0 in one piece, finish says stop",
        ),
        pytest.param(
            [call(fragment(0, "c1", "f")), call(fragment(0, "c2", "f", '{"a":"Rome"}')), CALLS],
            [],
            [("f", "{}", True), ROME],
            "tool_calls",
            id="only the ids tell two calls apart",
        ),
        pytest.param(
            [call(fragment(3, None, "f")), call(fragment(3, arguments='{"a":"Rome"}')),
             call(fragment(7, None, "g", '{"a":"Oslo"}')), CALLS],
            [],
            [ROME, OSLO],
            "tool_calls",
            id="ids missing, indexes skip",
        ),
        pytest.param(
            [call(fragment(None, None, "f", '{"a":"Rome"}')),
             call(fragment(None, None, "g", {"a": "Oslo"})), CALLS],
            [],
            [ROME, ("g", '{"a": "Oslo"}', True)],
            "tool_calls",
            id="no index, arguments as an object",
        ),
        pytest.param(
            [call(fragment(0, "c1", "f", '{"a":"Ro')), call(fragment(0, "c1", "f", 'me"}')), CALLS],
            [],
            [ROME],
            "tool_calls",
            id="id and name repeated",
        ),
        pytest.param(
            [call(fragment(0, "c1", "f", '{"a":"Rome"}')),
             call(fragment(1, "c1", "g", '{"a":"Oslo"}')), CALLS],
            [],
            [ROME, OSLO],
            "tool_calls",
            id="one id twice",
        ),
        pytest.param(
            [call(fragment(0, "c1", "f")), CALLS], [], [("f", "{}", True)], "tool_calls",
            id="no arguments",
        ),
        pytest.param(
            [call(fragment(0, "c1", "f", '{"a": nonsense')), CALLS],
            [],
            [("f", '{"a": nonsense', True)],
            "tool_calls",
            id="arguments that are no JSON",
        ),
        pytest.param(
            [call(fragment(0, "c1", "f", '{"a":"Rome"}')), call(fragment(1, "c2", "g", '{"a":')),
             chat_chunk({}, "length")],
            [],
            [ROME, ("g", '{"a":', False)],
            "length",
            id="cut within the last call",
        ),
        pytest.param(
            [text("Hi"), call(fragment(0, "c1", "f", '{"a":"Rome"}')), CALLS],
            ["Hi"],
            [ROME],
            "tool_calls",
            id="text, then a call",
        ),
        pytest.param(
            [chat_chunk({"refusal": "I can't"}), chat_chunk({"refusal": " do that."}), STOP],
            ["I can't", " do that."],
            [],
            "stop",
            id="refusal",
        ),
        pytest.param([text("Hi"), chat_chunk({}, "length")], ["Hi"], [], "length", id="length"),
        pytest.param(
            [text("Hi"), chat_chunk({}, "content_filter")], ["Hi"], [], "content_filter",
            id="content filter",
        ),
        pytest.param([text("Hi"), chat_chunk({}, "eos")], ["Hi"], [], "stop", id="unknown reason"),
        pytest.param(
            [{"choices": [{"delta": None, "finish_reason": None}]}, {"choices": None}, text("Hi"),
             {"choices": [{"finish_reason": "stop"}]}],
            ["Hi"],
            [],
            "stop",
            id="nulls and gaps",
        ),
        pytest.param(
            [chat_chunk({"reasoning_content": "Hm."}), text("Hi"), STOP], ["Hi"], [], "stop",
            id="reasoning is not spoken",
        ),
        pytest.param(
            [chat_chunk({"content": "", "reasoning": "Hm.", "thinking": "Hm."}), text("Hi"), STOP],
            ["Hi"],
            [],
            "stop",
            id="reasoning by its other names",
        ),
        pytest.param(
            [text("\n<thi"), text("nk>Hm, <b"), text("r>.</thi"), text("nk>\n"), text("\nHi"),
             text(" you"), STOP],
            ["Hi", " you"],
            [],
            "stop",
            id="thoughts in the text, cut anywhere",
        ),
        pytest.param(
            [text("<think>\n\n</think>\n\nHi"), STOP], ["Hi"], [], "stop", id="an empty thought",
        ),
        pytest.param(
            [text("<think>Hm"), text(", well"), STOP], [], [], "stop", id="thoughts without an end",
        ),
        pytest.param([text("<th"), STOP], ["<th"], [], "stop", id="the beginning of no thought"),
        pytest.param(
            [text(" <b>Hi</b>"), text(" <think>no</think>"), STOP],
            [" <b>Hi</b>", " <think>no</think>"],
            [],
            "stop",
            id="the tag later on is text",
        ),
        pytest.param(
            [chat_chunk({"role": "assistant", "content": ""}),
             call(fragment(0, "", "f", '{"a":"Rome"}'), fragment(0, "", "f", '{"a":"Rome"}')),
             call(fragment(0, "", "g", '{"a":"Oslo"}')), chat_chunk({"content": ""}, "stop")],
            [],
            [ROME, ROME, OSLO],
            "tool_calls",
            id="whole calls at index 0 with empty ids",
        ),
    ],
)  # fmt: skip
async def test_a_stream_of_any_server(
    double: Double,
    chunks: list[Any],
    texts: list[str],
    expected: list[tuple[str, str, bool]],
    reason: str,
) -> None:
    double.once("openai", raw(*chunks, "[DONE]"))
    async with session(double) as talk:
        frames = await talk.ask("hello", tools=(WEATHER,))
    assert told(frames) == texts
    assert calls(frames) == expected
    assert finished(frames).reason == reason
    assert not any(isinstance(frame, FunctionCallsStartedFrame) for frame in frames)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([STOP, chat_chunk(usage=usage(120, 9, cached=64))], Usage(120, 64, 0, 9)),
        ([text("Hi"), chat_chunk({}, "stop", usage=usage(5, 1))], Usage(5, 0, 0, 1)),
        (
            [chat_chunk({"content": "Hi"}, usage=usage(5, 1)), STOP, chat_chunk(usage=usage(5, 2))],
            Usage(5, 0, 0, 2),
        ),
        (
            [{"choices": [{"delta": {}, "finish_reason": "stop", "usage": usage(7, 3)}]}],
            Usage(7, 0, 0, 3),
        ),
        (
            [STOP, chat_chunk(usage={"prompt_tokens": 9, "prompt_cache_hit_tokens": 4})],
            Usage(9, 4, 0, 0),
        ),
        ([STOP], Usage()),
    ],
)
async def test_usage_wherever_it_stands(double: Double, chunks: list[Any], expected: Usage) -> None:
    double.once("openai", raw(*chunks, "[DONE]"))
    async with session(double) as talk:
        assert finished(await talk.ask("hello")).usage == expected


async def test_a_complete_reply_survives_a_connection_that_dies_before_its_usage(
    double: Double,
) -> None:
    chunks = [text("Hi"), STOP, chat_chunk(usage=usage(5, 1))]
    double.once("openai", Mode("midcut", after=2, pieces=tuple(chunks)))
    async with session(double) as talk:
        frames = await talk.ask("hello there")
    assert told(frames) == ["Hi"]
    assert finished(frames).usage == Usage()


# --- what a model refuses to be told ------------------------------------------------------------


async def test_a_parameter_the_model_refuses_is_left_out_from_then_on(double: Double) -> None:
    double.once("openai", status(400, "unsupported_parameter"), status(400, "unsupported_value"))
    async with session(double) as talk:
        for _ in range(2):
            assert told(await talk.ask("hello there", max_output_tokens=50)) == HELLO
    sent = [
        {name: request.body[name] for name in ("max_tokens", "max_completion_tokens", "temperature")
         if name in request.body}
        for request in double.log
    ]  # fmt: skip
    assert sent == [
        {"max_tokens": 50, "temperature": 0.8},
        {"max_completion_tokens": 50, "temperature": 0.8},
        {"max_completion_tokens": 50},
        {"max_completion_tokens": 50},
    ]


# --- images -----------------------------------------------------------------------------------

PIXEL = "data:image/png;base64,iVBORw0KGgo="
LOOK = ChatMessage("user", "What is this?", images=(InputImage(image_url=PIXEL, detail="auto"),))


@pytest.mark.parametrize("images", ["auto", "true"])
async def test_images_go_out_as_parts(double: Double, images: Any) -> None:
    async with session(double, images=images) as talk:
        await talk.ask(LOOK)
    assert double.log[0].body["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "auto"}},
    ]


@pytest.mark.parametrize(
    ("images", "refusals"),
    [("false", []), ("auto", [status(400, "image")]), ("true", [status(400, "image")])],
)
async def test_an_image_the_model_does_not_see_fails_one_response_only(
    double: Double, images: Any, refusals: list[Mode]
) -> None:
    double.once("openai", *refusals)
    async with session(double, images=images) as talk:
        failure = failed(await talk.ask(LOOK))
        assert failure.category is ErrorCategory.INVALID_REQUEST
        assert "image" in failure.message
        frames = await talk.ask(LOOK, "hello there")
    assert told(frames) == HELLO
    content = double.log[-1].body["messages"][0]["content"]
    assert content == "What is this?\n[an image that you cannot see]"


async def test_a_refusal_that_has_nothing_to_do_with_the_image_keeps_it(double: Double) -> None:
    body = {"error": {"message": "Bad tool.", "type": "invalid_request_error", "param": "tools[0]"}}
    double.once("openai", status(400, body=body))
    async with session(double) as talk:
        assert "tools[0]" in failed(await talk.ask(LOOK)).message
        await talk.ask(LOOK)
    assert isinstance(double.log[-1].body["messages"][0]["content"], list)


# --- failures ---------------------------------------------------------------------------------

C = ErrorCategory
FAILURES: list[tuple[str, Mode, ErrorCategory, str]] = [
    (
        "openai",
        status(401),
        C.AUTHENTICATION,
        "the API key (HTTP 401): check OPENAI_API_KEY",
    ),
    ("openai", status(403), C.AUTHENTICATION, "denied access (HTTP 403)"),
    ("openai", status(404), C.INVALID_REQUEST, "has no model 'gone'"),
    ("openai", status(400), C.INVALID_REQUEST, "refused the request (HTTP 400)"),
    ("openai", status(422), C.INVALID_REQUEST, "refused the request (HTTP 422)"),
    ("openai", status(429), C.RATE_LIMIT, "is limiting requests (HTTP 429)"),
    ("openai", status(429, "insufficient_quota"), C.QUOTA, "quota is used up (HTTP 429)"),
    ("openai", status(402), C.QUOTA, "quota is used up (HTTP 402)"),
    ("openai", status(500), C.SERVER, "had an internal error (HTTP 500)"),
    ("openai", status(503), C.SERVER, "had an internal error (HTTP 503)"),
    ("openai", status(502, body="<html>Bad gateway</html>"), C.SERVER, "(HTTP 502)"),
    ("openai", status(504, body=""), C.TIMEOUT, "did not answer in time (HTTP 504)"),
    ("openai", HANG, C.TIMEOUT, "did not answer in time"),
    ("siliconflow", status(400), C.INVALID_REQUEST, "has no model 'gone'"),
    ("siliconflow", status(401), C.AUTHENTICATION, "check SILICONFLOW_API_KEY"),
    ("siliconflow", status(403), C.QUOTA, "quota is used up (HTTP 403)"),
    ("siliconflow", status(404), C.INVALID_REQUEST, "or no such address (HTTP 404)"),
    ("siliconflow", status(429), C.RATE_LIMIT, "is limiting requests"),
    ("siliconflow", status(503), C.SERVER, "had an internal error"),
    ("ollama", status(404), C.INVALID_REQUEST, "check OLLAMA_MODEL and OLLAMA_BASE_URL"),
    ("ollama", status(500, body={"error": "llama runner exited"}), C.SERVER, "internal error"),
    ("ollama", HANG, C.TIMEOUT, "did not answer in time"),
]
BROKEN_STREAMS: list[tuple[Mode, ErrorCategory, str]] = [
    (Mode("midcut", after=3), C.CONNECTIVITY, "broke the connection"),
    (Mode("malformed", after=3), C.SERVER, "cannot be read"),
    (raw(text("You"), text(" said:")), C.SERVER, "before its reply was complete"),
    (raw(text("You"), text(" said:"), "[DONE]"), C.SERVER, "before its reply was complete"),
    (
        raw(text("You"), text(" said:"), {"error": {"message": "boom", "type": "server_error"}}),
        C.SERVER,
        "broke off",
    ),
    (
        raw(
            text("You"), text(" said:"), {"error": {"message": "x", "code": "rate_limit_exceeded"}}
        ),
        C.RATE_LIMIT,
        "is limiting requests",
    ),
    (Mode("stall", after=3), C.TIMEOUT, "did not answer in time"),
    # Signs of life of the connection, of a proxy for one, are none of the model.
    (Mode("slow", pause_s=0.1, pieces=(b": ping\n\n",) * 20), C.TIMEOUT, "did not answer in time"),
    (Mode("slow", pause_s=STALL_S * 2), C.TIMEOUT, "did not answer in time"),
]


async def assert_fails_and_recovers(
    double: Double,
    name: str,
    modes: list[Mode],
    category: ErrorCategory,
    message: str,
    texts: list[str],
) -> None:
    double.once(name, *modes)
    async with session(double, name, stall_s=deadline_s(modes[0])) as talk:
        frames = await talk.ask("hello there")
        failure = failed(frames)
        assert (failure.stage, failure.category) == (Stage.LLM, category)
        assert message in failure.message
        assert KEY not in failure.message
        assert "hello" not in failure.message
        assert told(frames) == texts
        # A failure never spoils the session, whatever Pipecat thinks of the service.
        assert told(await talk.ask("hello there")) == HELLO


@pytest.mark.parametrize(
    ("name", "mode", "category", "message"),
    FAILURES,
    ids=[f"{name}-{m.kind}-{m.code or m.status}" for name, m, _, _ in FAILURES],
)
async def test_a_failure_is_typed_and_the_next_response_works(
    double: Double, name: str, mode: Mode, category: ErrorCategory, message: str
) -> None:
    await assert_fails_and_recovers(double, name, [mode], category, message, [])


async def test_a_connection_that_breaks_unanswered_is_tried_once_more(double: Double) -> None:
    double.once("openai", RESET)
    async with session(double) as talk:
        assert told(await talk.ask("hello there")) == HELLO
    assert len(double.log) == 2


async def test_a_server_that_keeps_resetting_fails(double: Double) -> None:
    await assert_fails_and_recovers(
        double, "openai", [RESET, RESET], C.CONNECTIVITY, "broke the connection", []
    )


@pytest.mark.parametrize(
    ("mode", "category", "message"),
    BROKEN_STREAMS,
    ids=[f"{m.kind}-{category}-{i}" for i, (m, category, _) in enumerate(BROKEN_STREAMS)],
)
async def test_a_stream_that_breaks_keeps_what_was_said(
    double: Double, mode: Mode, category: ErrorCategory, message: str
) -> None:
    spoken = [] if mode.kind == "slow" else ["You", " said:"]
    await assert_fails_and_recovers(double, "openai", [mode], category, message, spoken)


async def test_a_slow_trickle_is_no_failure(double: Double) -> None:
    double.once("openai", Mode("slow", pause_s=STALL_S / 5))
    async with session(double, stall_s=STALL_S) as talk:
        assert told(await talk.ask("hello there")) == HELLO


async def test_a_call_without_a_name_is_a_failure(double: Double) -> None:
    double.once("openai", raw(call(fragment(0, "c1", None, "{}")), CALLS))
    async with session(double) as talk:
        assert "without naming it" in failed(await talk.ask("x", tools=(WEATHER,))).message


async def test_a_call_that_breaks_off_is_never_called_ended(double: Double) -> None:
    double.once("openai", raw(call(fragment(0, "c1", "f", '{"a":')), "{not json"))
    async with session(double) as talk:
        frames = await talk.ask("x", tools=(WEATHER,))
    failed(frames)
    assert calls(frames) == [("f", '{"a":', False)]


async def test_a_server_that_is_not_there(double: Double) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with session(double, base_url=f"http://127.0.0.1:{port}/v1") as talk:
        failure = failed(await talk.ask("hello"))
    assert failure.category is C.CONNECTIVITY
    assert f"could not be reached at 127.0.0.1:{port}: check OPENAI_BASE_URL" in failure.message


async def test_no_secret_reaches_a_log(double: Double, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="providers")
    double.once("openai", status(401))
    async with session(double) as talk:
        failed(await talk.ask("hello"))
    assert "refused the API key" in caplog.text
    assert KEY not in caplog.text


async def test_all_sessions_share_one_client() -> None:
    provider = OpenAiLlmProvider(at("http://127.0.0.1:9/v1", "openai"))
    await provider.start()
    services: list[Any] = [provider.create_service() for _ in range(5)]
    clients = {id(service.create_client()) for service in services}
    await provider.close()
    assert len(clients) == 1
