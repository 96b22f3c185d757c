"""Doubles of everything that speaks OpenAI's HTTP wire: `/<provider>/v1/...` for any provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aiohttp import web

from protocol import FunctionTool, NamedToolChoice
from providers import tone
from providers.script_reply import Call, Fail, Finish, Hang, Pause, SayToken, reply
from providers.script_rules import Asked, Conversation
from providers.words import tokens
from tests.doubles.modes import Mode
from tests.doubles.openai_errors import error_body
from tests.doubles.server import BODY, Double, handler, stream

_MODELS = ("gpt-4.1-mini", "scripted-1")
_PIECE_BYTES = 4097
"""Odd, as chunks of HTTP are."""


def add_routes(app: web.Application, double: Double) -> None:
    """Serve the doubles under `/<provider>`."""
    router = app.router
    router.add_post("/{provider}/v1/chat/completions", handler(double, _chat))
    router.add_post("/{provider}/v1/audio/transcriptions", handler(double, _transcribe))
    router.add_post("/{provider}/v1/audio/speech", handler(double, _speak))
    router.add_get("/{provider}/v1/models", handler(double, _models))
    router.add_get("/{provider}/api/tags", handler(double, _ollama_tags))


# --- chat completions -------------------------------------------------------------------------


async def _chat(double: Double, request: web.Request, mode: Mode) -> web.StreamResponse:
    if mode.kind == "status":
        return _refusal(request, mode)
    body = request[BODY]
    if "tool_choice" in body and not body.get("tools"):
        refusal = Mode("status", status=400, body={"error": {
            "message": "'tool_choice' is only allowed when 'tools' are specified.",
            "type": "invalid_request_error", "param": "tool_choice", "code": None,
        }})  # fmt: skip
        return _refusal(request, refusal)
    chunks: list[Any] = list(mode.pieces or _reply(double, body))
    pieces = [_event(chunk) for chunk in chunks]
    if mode.kind != "raw":
        pieces.append(b"data: [DONE]\n\n")
    return await stream(double, request, mode, pieces, "text/event-stream", b"data: {not json\n\n")


def _event(chunk: Any) -> bytes:
    if isinstance(chunk, bytes):
        return chunk
    text = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def chat_chunk(delta: Any = None, finish: str | None = None, **members: Any) -> dict[str, Any]:
    """One chunk as OpenAI sends it; without delta and finish `choices` is empty."""
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-double",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "scripted-1",
        "choices": [] if delta is None and finish is None else [choice],
        "usage": None,
        **members,
    }


def usage(prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    """Token counts as OpenAI sends them."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _reply(double: Double, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The scripted responder's reply to a request, as chunks."""
    asked = _asked(body)
    yield chat_chunk({"role": "assistant", "content": "", "refusal": None})
    calls = 0
    for step in reply(double.script, asked):
        match step:
            case SayToken(text):
                yield chat_chunk({"content": text})
            case Call():
                head = {
                    "index": calls,
                    "id": f"call_double_{asked.conversation.turn}_{calls}",
                    "type": "function",
                    "function": {"name": step.name, "arguments": ""},
                }
                yield chat_chunk({"tool_calls": [head]})
                for delta in step.arguments:
                    part = {"index": calls, "function": {"arguments": delta}}
                    yield chat_chunk({"tool_calls": [part]})
                calls += 1
            case Finish():
                yield chat_chunk({}, step.reason)
                if (body.get("stream_options") or {}).get("include_usage"):
                    counted = usage(asked.conversation.tokens, step.output_tokens)
                    yield chat_chunk(usage=counted)
            case Fail():
                yield {"error": {"message": step.message, "type": "server_error", "code": None}}
            case Hang() | Pause():
                raise AssertionError("a double hangs by its mode, not by its script")


def _asked(body: dict[str, Any]) -> Asked:
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        choice = NamedToolChoice(type="function", name=choice["function"]["name"])
    functions = [tool["function"] for tool in body.get("tools") or ()]
    return Asked(
        Conversation.read(body["messages"], ""),
        tools=tuple(FunctionTool(**function) for function in functions),
        tool_choice=choice,
        parallel=body.get("parallel_tool_calls") is not False,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
    )


# --- audio ------------------------------------------------------------------------------------


async def _transcribe(double: Double, request: web.Request, mode: Mode) -> web.StreamResponse:
    match mode.kind:
        case "status":
            return _refusal(request, mode)
        case "malformed":
            return web.Response(text="<html>Bad gateway</html>", content_type="text/html")
        case "midcut":
            pieces = [b'{"text": "hel', b'lo"}']
            return await stream(
                double, request, Mode("midcut", after=1), pieces, "application/json", b""
            )
        case _:
            text = mode.pieces[0] if mode.kind == "raw" else double.transcript
            refusal = _unsupported(request[BODY])
            if refusal is not None:
                return _refusal(request, refusal)
            body = json.dumps(_transcription(request[BODY], text)).encode()
            mode = replace(mode, headers={"x-siliconcloud-trace-id": "ti_double"})
            return await stream(
                double, request, mode, [body[:4], body[4:]], "application/json", b""
            )


def _unsupported(body: dict[str, Any]) -> Mode | None:
    """What OpenAI refuses of each model."""
    model, wanted = body["model"], body.get("response_format", "json")
    diarizes = "diarize" in model
    formats = ("json", "text", "diarized_json") if diarizes else ("json",)
    param = None
    if model != "whisper-1" and "whisper" not in model and wanted not in formats:
        param = "response_format"
    elif diarizes and "prompt" in body:
        param = "prompt"
    elif "include[]" in body and (diarizes or "gpt-4o" not in model or wanted != "json"):
        param = "include"
    if param is None:
        return None
    message = f"'{param}' is not compatible with model '{model}'."
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return Mode("status", status=400, body={"error": error})


def _transcription(body: dict[str, Any], text: str) -> dict[str, Any]:
    """The answer in the format that was asked for; a second of speech for each word."""
    words = tokens(text)
    match body.get("response_format", "json"):
        case "diarized_json":
            half = (len(words) + 1) // 2
            said = (("A", "".join(words[:half]), 0.0), ("B", "".join(words[half:]), float(half)))
            segments = [
                {
                    "type": "transcript.text.segment",
                    "id": f"seg_{number:03}",
                    "start": start_s,
                    "end": start_s + len(tokens(part)),
                    "text": part,
                    "speaker": speaker,
                }
                for number, (speaker, part, start_s) in enumerate(said)
            ]
            duration = {"task": "transcribe", "duration": float(len(words))}
            return {**duration, "text": text, "segments": segments}
        case "verbose_json":
            segment = {
                "id": 0,
                "seek": 0,
                "start": 0.0,
                "end": float(len(words)),
                "text": f" {text}",
                "tokens": [50364, *range(len(words))],
                "temperature": 0.0,
                "avg_logprob": -0.25,
                "compression_ratio": 0.9,
                "no_speech_prob": 0.01,
            }
            head = {"task": "transcribe", "language": "english", "duration": float(len(words))}
            return {**head, "text": text, "segments": [segment]}
        case _ if body.get("include[]") == "logprobs":
            pieces = [
                {"token": word, "logprob": -0.5, "bytes": list(word.encode())} for word in words
            ]
            return {"text": text, "logprobs": pieces}
        case _:
            return {"text": text}


async def _speak(double: Double, request: web.Request, mode: Mode) -> web.StreamResponse:
    if mode.kind == "status":
        return _refusal(request, mode)
    if mode.kind == "malformed":
        return web.json_response({"object": "not what you asked for"})
    pieces = list(mode.pieces)
    if not pieces and mode.kind != "raw":
        pcm = tone.render(request[BODY]["input"], request[BODY].get("speed", 1.0))[0]
        pieces = [pcm[i : i + _PIECE_BYTES] for i in range(0, len(pcm), _PIECE_BYTES)]
    return await stream(double, request, mode, pieces, "audio/pcm", b"")


# --- what there is ----------------------------------------------------------------------------


async def _models(double: Double, request: web.Request, mode: Mode) -> web.StreamResponse:
    if mode.kind == "status":
        return _refusal(request, mode)
    rows = [
        {"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "double"}
        for name in _MODELS
    ]
    return web.json_response({"object": "list", "data": rows})


async def _ollama_tags(double: Double, request: web.Request, mode: Mode) -> web.StreamResponse:
    return web.json_response({"models": [{"name": f"{name}:latest"} for name in _MODELS]})


def _refusal(request: web.Request, mode: Mode) -> web.Response:
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    body, is_json = error_body(request.match_info["provider"], mode, key)
    headers = {"x-request-id": "req_double", **mode.headers}
    if is_json:
        return web.json_response(body, status=mode.status, headers=headers)
    return web.Response(text=str(body), status=mode.status, headers=headers)
