"""The spellings of `tools` and `tool_choice` in use among clients, brought to the flat GA one."""

from __future__ import annotations

from typing import Any, cast

from core.validation import quoted
from protocol import ErrorCode, InvalidRequest


def with_flat_tools(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy of a session or response object whose tools are flat; the rest is untouched.

    What is no tool at all stays as it is: validation words those errors.

    Args:
        settings: GA-shaped `session` or `response` object.
        path: Its path in the client event.

    Raises:
        InvalidRequest: For two tools of one name, and for MCP servers that have no URL.
    """
    flat = dict(settings)
    if isinstance(flat.get("tools"), list):
        flat["tools"] = _flat_tools(cast("list[object]", flat["tools"]), f"{path}.tools")
    if "tool_choice" in flat:
        flat["tool_choice"] = _unnested(flat["tool_choice"])
    return flat


def _flat_tools(tools: list[object], path: str) -> list[object]:
    flat: list[object] = []
    names: set[tuple[str, str]] = set()
    for index, sent in enumerate(tools):
        tool = _unnested(sent)
        flat.append(tool)
        if not isinstance(tool, dict):
            continue
        fields = cast("dict[str, object]", tool)
        is_mcp = fields.get("type") == "mcp"
        if is_mcp:
            _require_url(fields, f"{path}[{index}]")
        key, what = ("server_label", "MCP server labels") if is_mcp else ("name", "Tool names")
        name = fields.get(key)
        if isinstance(name, str):
            if (key, name) in names:
                raise InvalidRequest(
                    ErrorCode.INVALID_VALUE,
                    f"Invalid value: {quoted(name)}. {what} must be unique.",
                    f"{path}[{index}].{key}",
                )
            names.add((key, name))
    return flat


def _require_url(fields: dict[str, object], path: str) -> None:
    """Refuse the ways to an MCP server that only OpenAI has."""
    for name in ("connector_id", "tunnel_id"):
        if fields.get(name) is not None:
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                f"Invalid '{path}.{name}': this server reaches MCP servers by 'server_url' only.",
                f"{path}.{name}",
            )


def _unnested(sent: object) -> object:
    """`{type, function: {name, …}}` of chat completions (StepFun sends it) → `{type, name, …}`."""
    if not isinstance(sent, dict):
        return sent
    fields = cast("dict[str, object]", sent)
    function = fields.get("function")
    if not isinstance(function, dict) or "name" in fields:
        return fields
    rest = {name: value for name, value in fields.items() if name != "function"}
    return {"type": "function", **rest, **cast("dict[str, object]", function)}
