"""The GA JSON of what events carry: session, item, content part, response, usage.

Key order follows OpenAI's captures (protocol reference §2.3, §2.6, §2.7).
"""

from __future__ import annotations

from typing import Any, assert_never

import pybase64

from protocol import (
    AudioInput,
    Cancelled,
    Content,
    CustomVoice,
    Failed,
    FunctionCall,
    FunctionCallOutput,
    FunctionTool,
    Incomplete,
    InputAudio,
    InputImage,
    InputText,
    Item,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpError,
    McpHttpError,
    McpItem,
    McpListedTool,
    McpListTools,
    McpProtocolError,
    McpTool,
    McpToolChoice,
    McpToolExecutionError,
    Message,
    NamedToolChoice,
    OutputAudio,
    OutputText,
    ResponseView,
    SessionView,
    StatusDetails,
    Transcription,
    Usage,
    WireModel,
)

Json = dict[str, Any]

MAX_ECHOED_CHARS = 512 * 1024
"""Most image data given back unasked: the `websockets` library refuses frames over 1 MiB."""
MAX_REPLAYED_CHARS = 4_000_000
"""Most base64 given back to a client that asks for an item, a minute of audio: LiveKit's client
refuses frames over 4 MiB."""


def session_json(view: SessionView) -> Json:
    """The whole effective session, defaults included."""
    session = view.settings
    spoken = session.audio.output
    if session.type == "transcription":
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": view.id,
            "expires_at": view.expires_at,
            "audio": {"input": audio_input_json(session.audio.input)},
            "include": list(session.include) if session.include is not None else None,
        }
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": view.id,
        "model": session.model,
        "output_modalities": list(session.output_modalities),
        "instructions": session.instructions,
        "tools": [tool_json(tool) for tool in session.tools],
        "tool_choice": tool_choice_json(session.tool_choice),
        **_if_set(parallel_tool_calls=session.parallel_tool_calls),
        "max_output_tokens": session.max_output_tokens,
        **_if_set(reasoning=as_sent(session.reasoning)),
        "tracing": as_sent(session.tracing),
        "truncation": as_sent(session.truncation),
        "prompt": as_sent(session.prompt),
        "expires_at": view.expires_at,
        "audio": {
            "input": audio_input_json(session.audio.input),
            "output": {
                "format": spoken.format.model_dump(),
                "voice": voice_json(spoken.voice),
                "speed": spoken.speed,
            },
        },
        "include": list(session.include) if session.include is not None else None,
    }


def audio_input_json(heard: AudioInput) -> Json:
    """`session.audio.input`."""
    reduction, detection = heard.noise_reduction, heard.turn_detection
    return {
        "format": heard.format.model_dump(),
        "transcription": transcription_json(heard.transcription),
        "noise_reduction": reduction.model_dump(exclude_none=True) if reduction else None,
        "turn_detection": detection.model_dump() if detection else None,
    }


def as_sent(setting: str | WireModel | None) -> str | Json | None:
    """A setting that is a word or an object, as its client sent it."""
    return setting.model_dump(exclude_none=True) if isinstance(setting, WireModel) else setting


REDACTED = "<redacted>"
"""What stands for a secret that the client gave: that it is set, and nothing of it."""


def tool_json(tool: FunctionTool | McpTool) -> Json:
    """A tool as its client sent it, but for what is secret of an MCP server."""
    if isinstance(tool, McpTool):
        return mcp_tool_json(tool)
    return {
        "type": tool.type,
        "name": tool.name,
        **_if_set(description=tool.description, parameters=tool.parameters),
    }


def mcp_tool_json(tool: McpTool) -> Json:
    """An MCP server as its client named it."""
    return {
        "type": tool.type,
        "server_label": tool.server_label,
        "server_url": tool.server_url,
        **_if_set(
            server_description=tool.server_description,
            authorization=tool.authorization and REDACTED,
            headers=tool.headers and dict.fromkeys(tool.headers, REDACTED),
        ),
        **tool.model_dump(
            mode="json", include={"allowed_tools", "require_approval"}, exclude_none=True
        ),
    }


def tool_choice_json(choice: str | NamedToolChoice | McpToolChoice) -> str | Json:
    """`auto`, or the object that names a function or an MCP server."""
    return choice if isinstance(choice, str) else choice.model_dump(exclude_none=True)


def voice_json(voice: str | CustomVoice) -> str | Json:
    """A voice's name, or the object that holds a custom voice's id."""
    return voice if isinstance(voice, str) else {"id": voice.id}


def transcription_json(transcription: Transcription | None) -> Json | None:
    """`audio.input.transcription`: three keys always, those of newer models only when set."""
    if transcription is None:
        return None
    return {
        "model": transcription.model,
        "language": transcription.language,
        "prompt": transcription.prompt,
        **_if_set(
            delay=transcription.delay,
            keywords=transcription.keywords and list(transcription.keywords),
            languages=transcription.languages and list(transcription.languages),
        ),
    }


def item_json(item: Item, *, with_audio: bool = False) -> Json:
    """An item; user audio is replayed, and large images are, only to a client that asks for it."""
    match item:
        case Message():
            return {
                "id": item.id,
                "type": "message",
                "status": item.status,
                "role": item.role,
                "content": _contents_json(item.content, with_audio=with_audio),
            }
        case FunctionCall():
            return {
                "id": item.id,
                "type": "function_call",
                "status": item.status,
                "name": item.name,
                "call_id": item.call_id,
                "arguments": item.arguments,
            }
        case FunctionCallOutput():
            return {
                "id": item.id,
                "type": "function_call_output",
                "call_id": item.call_id,
                "output": item.output,
            }
        case McpListTools() | McpCall() | McpApprovalRequest() | McpApprovalResponse():
            return mcp_item_json(item)
        case _:
            assert_never(item)


def mcp_item_json(item: McpItem) -> Json:
    """An MCP item, by the SDK's types, which know no status; absent fields are left out.

    `output` of a call is there even when null: agents-js refuses the item without the key.
    """
    match item:
        case McpListTools():
            return {
                "id": item.id,
                "type": "mcp_list_tools",
                "server_label": item.server_label,
                "tools": [_listed_tool_json(tool) for tool in item.tools],
            }
        case McpCall():
            return {
                "id": item.id,
                "type": "mcp_call",
                "server_label": item.server_label,
                "name": item.name,
                "arguments": item.arguments,
                "output": item.output,
                **_if_set(
                    error=item.error and _mcp_error_json(item.error),
                    approval_request_id=item.approval_request_id,
                ),
            }
        case McpApprovalRequest():
            return {
                "id": item.id,
                "type": "mcp_approval_request",
                "server_label": item.server_label,
                "name": item.name,
                "arguments": item.arguments,
            }
        case McpApprovalResponse():
            return {
                "id": item.id,
                "type": "mcp_approval_response",
                "approval_request_id": item.approval_request_id,
                "approve": item.approve,
                **_if_set(reason=item.reason),
            }
        case _:
            assert_never(item)


def _listed_tool_json(tool: McpListedTool) -> Json:
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.input_schema,
        **_if_set(annotations=tool.annotations),
    }


def _mcp_error_json(error: McpError) -> Json:
    match error:
        case McpProtocolError():
            return {"type": "protocol_error", "code": error.code, "message": error.message}
        case McpHttpError():
            return {"type": "http_error", "code": error.code, "message": error.message}
        case McpToolExecutionError():
            return {"type": "tool_execution_error", "message": error.message}
        case _:
            assert_never(error)


def _contents_json(content: tuple[Content, ...], *, with_audio: bool) -> list[Json]:
    """A message's `content`, without the audio and images that have no room in a frame."""
    room = MAX_REPLAYED_CHARS if with_audio else MAX_ECHOED_CHARS
    parts = [content_json(part, with_audio=with_audio) for part in content]
    for part in parts:
        for bulk in part.keys() & {"audio", "image_url"}:
            if len(part[bulk]) <= room:
                room -= len(part[bulk])
            else:
                del part[bulk]
    return parts


def content_json(part: Content, *, with_audio: bool = False) -> Json:
    """One entry of a message's `content`.

    `transcript` of user audio is there even when null: agents-js throws without the key.
    """
    match part:
        case InputText():
            return {"type": "input_text", "text": part.text}
        case InputAudio():
            replayed = part.audio if with_audio else None
            return {
                "type": "input_audio",
                **({} if replayed is None else {"audio": base64_text(replayed)}),
                "transcript": part.transcript,
            }
        case InputImage():
            return {"type": "input_image", "image_url": part.image_url, "detail": part.detail}
        case OutputText():
            return {"type": "output_text", "text": part.text}
        case OutputAudio():
            return {"type": "output_audio", "transcript": part.transcript}
        case _:
            assert_never(part)


def part_json(part: OutputText | OutputAudio) -> Json:
    """`part` of the content_part events, whose type is `text` or `audio` in both dialects."""
    if isinstance(part, OutputText):
        return {"type": "text", "text": part.text}
    return {"type": "audio", "transcript": part.transcript}


def response_json(response: ResponseView) -> Json:
    """A response at the moment of its event."""
    return {
        "object": "realtime.response",
        "id": response.id,
        "status": response.status,
        "status_details": status_details_json(response.status_details),
        "output": [item_json(item) for item in response.output],
        "conversation_id": response.conversation_id,
        "output_modalities": list(response.output_modalities),
        "max_output_tokens": response.max_output_tokens,
        "audio": {
            "output": {
                "format": response.audio_format.model_dump(),
                "voice": voice_json(response.voice),
            }
        },
        "usage": usage_json(response.usage) if response.usage else None,
        "metadata": response.metadata,
    }


def status_details_json(details: StatusDetails | None) -> Json | None:
    """Why a response ended as it did; null while it runs and when it completed."""
    match details:
        case None:
            return None
        case Cancelled():
            return {"type": "cancelled", "reason": details.reason}
        case Incomplete():
            return {"type": "incomplete", "reason": details.reason}
        case Failed():
            error = {"type": details.type, "code": details.code, "message": details.message}
            return {"type": "failed", "error": error}
        case _:
            assert_never(details)


def usage_json(usage: Usage) -> Json:
    """Token counts; on a cascade everything cached is text and no token is an image's."""
    return {
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {
            "text_tokens": usage.input_text_tokens,
            "audio_tokens": usage.input_audio_tokens,
            "image_tokens": 0,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": {
                "text_tokens": usage.cached_tokens,
                "audio_tokens": 0,
                "image_tokens": 0,
            },
        },
        "output_token_details": {
            "text_tokens": usage.output_text_tokens,
            "audio_tokens": usage.output_audio_tokens,
        },
    }


def base64_text(audio: bytes) -> str:
    """Standard base64 with padding."""
    return pybase64.b64encode_as_string(audio)


def http_error(message: str, code: str | None = None, param: str | None = None) -> Json:
    """The body of an HTTP answer that refuses a request (protocol reference §6)."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return {"error": error}


def _if_set(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
