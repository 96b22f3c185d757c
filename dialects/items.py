"""Items that a client makes: lenient about their spelling, strict about their substance.

Both dialects' content names are understood here; nothing is looked up in a conversation.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast

import pybase64
from pydantic import BeforeValidator, Field, RootModel
from pydantic_core import PydanticCustomError

from core.validation import validate
from protocol import (
    Content,
    ErrorCode,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    InvalidRequest,
    Item,
    ItemReference,
    McpApprovalResponse,
    Message,
    OutputAudio,
    OutputText,
    WireModel,
)

MAX_IMAGE_BYTES = 10 * 1024 * 1024
BAD_AUDIO = (
    "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) "
    "but got an invalid value."
)

_IMAGE_URI = re.compile(r"data:image/(?:png|jpeg|jpg|webp|gif);base64,", re.IGNORECASE)
_BAD_IMAGE = "Invalid 'image_url'. Expected a base64 data URI of a png, jpeg, webp or gif image."
_SERVER_MADE_ITEMS = frozenset({"mcp_list_tools", "mcp_call", "mcp_approval_request"})


def decode_item(value: dict[str, Any], path: str) -> Item:
    """The item a client describes, completed; its id, or call id, is "" when it has none.

    Args:
        value: The JSON object.
        path: Its path in the client event, `item` or `response.input[2]`.

    Raises:
        InvalidRequest: Naming the first field that is wrong.
    """
    kind: object = value.get("type")
    if isinstance(kind, str) and kind in _SERVER_MADE_ITEMS:
        raise InvalidRequest(
            ErrorCode.INVALID_VALUE,
            f"Invalid value: '{kind}'. Supported values are: 'message', 'function_call', "
            "'function_call_output', and 'mcp_approval_response'. Only the server makes the other "
            "MCP items.",
            f"{path}.type",
        )
    return validate(_Item, _normalised(value, path), path).root.build()


def decode_input(entries: list[Any], path: str) -> tuple[Item | ItemReference, ...]:
    """The entries of `response.create.response.input`.

    Raises:
        InvalidRequest: Naming the first field that is wrong.
    """
    decoded: list[Item | ItemReference] = []
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        fields = validate(_Object, entry, where).root
        if fields.get("type") == "mcp_approval_response":
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                "Invalid value: 'mcp_approval_response'. Approvals are given with "
                "conversation.item.create.",
                f"{where}.type",
            )
        if fields.get("type") == "item_reference":
            decoded.append(ItemReference(validate(_Reference, fields, where).id))
        else:
            decoded.append(decode_item(fields, where))
    return tuple(decoded)


# --- shapes ---------------------------------------------------------------------------------


def _decode_pcm(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        audio = pybase64.b64decode(value, validate=True)
    except ValueError:
        audio = b"?"
    if len(audio) % 2:
        raise PydanticCustomError("bad_audio", BAD_AUDIO)
    return audio


def _check_image(value: object) -> object:
    if not isinstance(value, str):
        return value
    prefix = _IMAGE_URI.match(value)
    if prefix is None:
        raise PydanticCustomError("bad_image", _BAD_IMAGE)
    if (len(value) - prefix.end()) * 3 // 4 > MAX_IMAGE_BYTES:
        raise PydanticCustomError(
            "large_image", "Invalid 'image_url'. Expected an image of at most 10 MiB."
        )
    # A model would refuse it, and with it every later response of the conversation.
    if not _is_base64(value[prefix.end() :]):
        raise PydanticCustomError("bad_image", _BAD_IMAGE)
    return value


def _is_base64(text: str) -> bool:
    """Whether it stands for any bytes; lines may be broken."""
    try:
        return bool(pybase64.b64decode(text))
    except ValueError:
        return False


class _Object(RootModel[dict[str, Any]]):
    pass


class _Reference(WireModel):
    id: str


class _InputTextPart(WireModel):
    type: Literal["input_text"]
    text: str

    def build(self) -> Content:
        return InputText(self.text)


class _InputAudioPart(WireModel):
    type: Literal["input_audio"]
    audio: Annotated[bytes, BeforeValidator(_decode_pcm)] | None
    transcript: str | None = None

    def build(self) -> Content:
        return InputAudio(self.transcript, self.audio)


class _InputImagePart(WireModel):
    type: Literal["input_image"]
    image_url: Annotated[str, BeforeValidator(_check_image)]
    detail: Literal["auto", "low", "high"] = "auto"

    def build(self) -> Content:
        return InputImage(self.image_url, self.detail)


class _OutputTextPart(WireModel):
    type: Literal["output_text"]
    text: str

    def build(self) -> Content:
        return OutputText(self.text)


class _OutputAudioPart(WireModel):
    type: Literal["output_audio"]
    transcript: str

    def build(self) -> Content:
        return OutputAudio(self.transcript)


_UserPart = Annotated[
    _InputTextPart | _InputAudioPart | _InputImagePart, Field(discriminator="type")
]
_AssistantPart = Annotated[_OutputTextPart | _OutputAudioPart, Field(discriminator="type")]
# Strict mode refuses a JSON array for a tuple; relaxing the tuple alone leaves its entries strict.
_FROM_ARRAY = Field(strict=False)


class _ItemShape(WireModel):
    id: str | None = None


class _SystemMessage(_ItemShape):
    type: Literal["message"]
    role: Literal["system"]
    content: Annotated[tuple[_InputTextPart, ...], _FROM_ARRAY]

    def build(self) -> Item:
        return _message(self)


class _UserMessage(_ItemShape):
    type: Literal["message"]
    role: Literal["user"]
    content: Annotated[tuple[_UserPart, ...], _FROM_ARRAY]

    def build(self) -> Item:
        return _message(self)


class _AssistantMessage(_ItemShape):
    type: Literal["message"]
    role: Literal["assistant"]
    content: Annotated[tuple[_AssistantPart, ...], _FROM_ARRAY]

    def build(self) -> Item:
        return _message(self)


class _FunctionCall(_ItemShape):
    type: Literal["function_call"]
    call_id: str | None = None
    name: str
    arguments: str

    def build(self) -> Item:
        return FunctionCall(
            self.id or "", self.call_id or "", self.name, self.arguments, "completed"
        )


class _FunctionCallOutput(_ItemShape):
    type: Literal["function_call_output"]
    call_id: str
    output: str

    def build(self) -> Item:
        return FunctionCallOutput(self.id or "", self.call_id, self.output)


class _McpApprovalResponse(_ItemShape):
    type: Literal["mcp_approval_response"]
    approval_request_id: str
    approve: bool
    reason: Annotated[str, Field(max_length=4096)] | None = None

    def build(self) -> Item:
        return McpApprovalResponse(
            self.id or "", self.approval_request_id, self.approve, self.reason
        )


_Message = Annotated[_SystemMessage | _UserMessage | _AssistantMessage, Field(discriminator="role")]


class _Item(
    RootModel[
        Annotated[
            _Message | _FunctionCall | _FunctionCallOutput | _McpApprovalResponse,
            Field(discriminator="type"),
        ]
    ]
):
    pass


def _message(shape: _SystemMessage | _UserMessage | _AssistantMessage) -> Message:
    content = tuple(part.build() for part in shape.content)
    return Message(shape.id or "", shape.role, "completed", content)


# --- spellings ------------------------------------------------------------------------------


def _normalised(item: dict[str, Any], path: str) -> dict[str, Any]:
    """`item` with its content in GA spelling; anything unexpected is left to validation."""
    if item.get("type") != "message":
        return item
    assistant = item.get("role") == "assistant"
    content: object = item.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        return item
    parts = [
        _normalised_part(cast("dict[str, Any]", part), assistant, f"{path}.content[{index}]")
        if isinstance(part, dict)
        else part
        for index, part in enumerate(cast("list[object]", content))
    ]
    return {**item, "content": parts}


def _normalised_part(part: dict[str, Any], assistant: bool, path: str) -> dict[str, Any]:
    side = "output" if assistant else "input"
    kind: object = part.get("type", _guessed_type(part))
    if kind in ("text", "audio"):
        kind = f"{side}_{kind}"
    named = part if kind is None else {**part, "type": kind}
    if kind == "input_audio" and named.get("audio") is None:
        # An old turn replayed as words is fine, one with neither words nor sound says nothing.
        named.pop("audio", None)
        if isinstance(named.get("transcript"), str):
            named["audio"] = None
    if kind == "output_audio" and assistant and named.get("transcript") is None:
        if named.get("text") is None:
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                "Invalid value: 'output_audio'. Assistant audio is accepted only with its "
                "'transcript'; use 'output_text' otherwise.",
                path,
            )
        named["transcript"] = named["text"]
    return named


def _guessed_type(part: dict[str, Any]) -> str | None:
    if "image_url" in part:
        return "input_image"
    if "text" in part:
        return "text"
    return "audio" if "audio" in part or "transcript" in part else None
