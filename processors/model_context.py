"""Writes a generation request as the context that Pipecat's language model services take."""

from __future__ import annotations

from typing import Any

from pipecat.adapters.llm.schemas.tools_schema import AdapterType, ToolsSchema
from pipecat.processors.aggregators.llm_context import LLMContext

from core.messages import ChatMessage, GenerationRequest
from protocol import FunctionTool, NamedToolChoice


def model_context(request: GenerationRequest) -> LLMContext:
    """Build the context of one response: instructions, messages, tools and tool choice."""
    messages: list[Any] = [chat_message(message) for message in request.messages]
    if request.instructions:
        messages.insert(0, {"role": "system", "content": request.instructions})
    if not request.tools:
        # A `tool_choice` without tools is refused by OpenAI-compatible servers.
        return LLMContext(messages)
    tools = [_chat_tool(tool) for tool in request.tools]
    return LLMContext(
        messages,
        # Raw, since Pipecat's `FunctionSchema` keeps only parts of the JSON schema.
        tools=ToolsSchema(standard_tools=[], custom_tools={AdapterType.OPENAI: tools}),
        tool_choice=_tool_choice(request),
    )


def chat_message(message: ChatMessage) -> dict[str, Any]:
    """One message in the form of OpenAI's chat completions."""
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
    if message.role == "assistant" and message.tool_calls:
        return {
            "role": "assistant",
            "content": message.text or None,
            "tool_calls": [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ],
        }
    if message.images:
        parts: list[dict[str, Any]] = [{"type": "text", "text": message.text}]
        parts += [
            {
                "type": "image_url",
                "image_url": {"url": image.image_url, "detail": image.detail},
            }
            for image in message.images
        ]
        return {"role": message.role, "content": parts if message.text else parts[1:]}
    return {"role": message.role, "content": message.text}


def _chat_tool(tool: FunctionTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    return {"type": "function", "function": function}


def _tool_choice(request: GenerationRequest) -> Any:
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice):
        return {"type": "function", "function": {"name": choice.name}}
    return choice
