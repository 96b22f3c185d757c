"""The items of a conversation and what they hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

ItemStatus = Literal["completed", "incomplete", "in_progress"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class InputText:
    """Text a client wrote."""

    text: str


@dataclass(frozen=True, slots=True)
class InputAudio:
    """Audio a user spoke.

    `transcript` is what the wire shows, None until and unless transcription is on; `audio` is
    s16le mono at 24 kHz, None once retention dropped it.
    """

    transcript: str | None = None
    audio: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image as a data URI."""

    image_url: str = field(repr=False)
    detail: Literal["auto", "low", "high"] = "auto"


@dataclass(frozen=True, slots=True)
class OutputText:
    """Text the model wrote."""

    text: str


@dataclass(frozen=True, slots=True)
class OutputAudio:
    """Audio the model spoke: its words only, the wire never replays the sound."""

    transcript: str


Content = InputText | InputAudio | InputImage | OutputText | OutputAudio


@dataclass(frozen=True, slots=True)
class Message:
    """A `message` item."""

    id: str
    role: Role
    status: ItemStatus
    content: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A `function_call` item; `arguments` is a JSON string."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


@dataclass(frozen=True, slots=True)
class FunctionCallOutput:
    """A `function_call_output` item; the wire shows no status for it."""

    id: str
    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class McpListedTool:
    """A tool as its MCP server describes it; the schema and annotations are passed on verbatim."""

    name: str
    input_schema: dict[str, Any]
    description: str = ""
    annotations: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class McpListTools:
    """An `mcp_list_tools` item: what an MCP server offers, nothing until it has answered."""

    id: str
    server_label: str
    tools: tuple[McpListedTool, ...] = ()


@dataclass(frozen=True, slots=True)
class McpProtocolError:
    """The MCP server, or the way to it, failed; `code` is JSON-RPC's."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class McpToolExecutionError:
    """The tool ran and failed, or was not let run."""

    message: str


@dataclass(frozen=True, slots=True)
class McpHttpError:
    """The MCP server answered with an HTTP error."""

    code: int
    message: str


McpError = McpProtocolError | McpToolExecutionError | McpHttpError


@dataclass(frozen=True, slots=True)
class McpCall:
    """An `mcp_call` item; the wire shows no status, only `output` or `error` once it is over.

    `incomplete` means that the model never finished its `arguments`.
    """

    id: str
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: McpError | None = None
    approval_request_id: str | None = None
    status: ItemStatus = "in_progress"


@dataclass(frozen=True, slots=True)
class McpApprovalRequest:
    """An `mcp_approval_request` item: a call that waits for the client's word."""

    id: str
    server_label: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class McpApprovalResponse:
    """An `mcp_approval_response` item: the client's word."""

    id: str
    approval_request_id: str
    approve: bool
    reason: str | None = None


McpItem = McpListTools | McpCall | McpApprovalRequest | McpApprovalResponse
Item = Message | FunctionCall | FunctionCallOutput | McpItem
