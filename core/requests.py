"""From `response.create` and the session to what one response shows and is generated from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from core.context import chat_messages
from core.conversation import Conversation, Entry, Pending
from core.messages import GenerationRequest
from protocol import (
    CustomVoice,
    ErrorCode,
    FunctionTool,
    InvalidRequest,
    Item,
    ItemReference,
    Modality,
    NamedToolChoice,
    PcmaFormat,
    PcmFormat,
    PcmuFormat,
    ResponseParams,
    ResponseView,
    Session,
    ToolChoice,
)


def already_active(response_id: str) -> InvalidRequest:
    """The error for a second response in the default conversation."""
    return InvalidRequest(
        ErrorCode.RESPONSE_ACTIVE,
        f"Conversation already has an active response in progress: {response_id}. Wait until the "
        "response is finished before creating a new one.",
    )


def not_in_transcription() -> InvalidRequest:
    """The error for a response in a session that only listens."""
    return InvalidRequest(
        ErrorCode.INVALID_PARAMETER,
        "Passing a response.create event to a transcription session is not allowed.",
    )


def too_many(limit: int) -> InvalidRequest:
    """The error for more out-of-band responses than may run at once."""
    return InvalidRequest(
        ErrorCode.INVALID_VALUE,
        f"Too many out-of-band responses in progress: at most {limit} may run at once.",
        "response.conversation",
    )


def nothing_to_cancel() -> InvalidRequest:
    """The error for `response.cancel` with nothing to cancel."""
    return InvalidRequest(
        ErrorCode.CANCEL_NOT_ACTIVE, "Cancellation failed: no active response found"
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """One response as it was asked for: the session's settings under the request's overrides.

    `make_request` takes the snapshot of the context when it is called, after the transcripts in
    `waiting_for` are known.
    """

    modalities: tuple[Modality, ...]
    max_output_tokens: int | Literal["inf"]
    audio_format: PcmFormat | PcmuFormat | PcmaFormat
    voice: str | CustomVoice
    metadata: dict[str, str] | None
    temperature: float
    waiting_for: set[str]
    make_request: Callable[[], GenerationRequest]

    def view(self, response_id: str, conversation_id: str | None) -> ResponseView:
        """What `response.created` shows."""
        return ResponseView(
            id=response_id,
            status="in_progress",
            status_details=None,
            output=(),
            conversation_id=conversation_id,
            output_modalities=self.modalities,
            max_output_tokens=self.max_output_tokens,
            audio_format=self.audio_format,
            voice=self.voice,
            usage=None,
            metadata=self.metadata,
            temperature=self.temperature,
        )


def plan(
    params: ResponseParams,
    given: tuple[Item | ItemReference, ...] | None,
    settings: Session,
    conversation: Conversation,
    token_limit: int | None,
) -> Plan:
    """Work out a response.

    Args:
        params: The overrides of `response.create`.
        given: `response.input`, None when the conversation is the context.
        settings: The session in force.
        conversation: The default conversation.
        token_limit: The operator's limit on output tokens.

    Raises:
        InvalidRequest: an item that is not there, or a tool that was not given.
    """
    entries = _resolve(given, conversation)
    modalities = params.output_modalities or settings.output_modalities
    tools = settings.tools if params.tools is None else params.tools
    choice = _tool_choice(params.tool_choice, settings.tool_choice, tools)
    max_tokens = params.max_output_tokens or settings.max_output_tokens
    voice = params.audio.output.voice or settings.audio.output.voice
    temperature = settings.temperature if params.temperature is None else params.temperature
    parallel = (
        settings.parallel_tool_calls
        if params.parallel_tool_calls is None
        else params.parallel_tool_calls
    )
    limits = [limit for limit in (token_limit, max_tokens) if isinstance(limit, int)]
    make_request = partial(
        GenerationRequest,
        instructions=settings.instructions if params.instructions is None else params.instructions,
        tools=tools,
        tool_choice=choice,
        speak=modalities == ("audio",),
        voice=voice if isinstance(voice, str) else voice.id,
        speed=settings.audio.output.speed,
        max_output_tokens=min(limits, default=None),
        temperature=temperature,
        metadata=params.metadata,
        parallel_tool_calls=parallel,
    )
    source = conversation if entries is None else entries
    return Plan(
        modalities=modalities,
        max_output_tokens=max_tokens,
        audio_format=params.audio.output.format or settings.audio.output.format,
        voice=voice,
        metadata=params.metadata,
        temperature=temperature,
        waiting_for={e.item.id for e in source if isinstance(e.transcript, Pending)},
        make_request=lambda: make_request(messages=chat_messages(source)),
    )


def _resolve(
    given: tuple[Item | ItemReference, ...] | None, conversation: Conversation
) -> list[Entry] | None:
    """The entries of `response.input`: references are looked up, new items stand for themselves."""
    if given is None:
        return None
    entries: list[Entry] = []
    for index, item in enumerate(given):
        if not isinstance(item, ItemReference):
            entries.append(Entry(item))
            continue
        entry = conversation.get(item.id)
        if entry is None:
            raise InvalidRequest(
                ErrorCode.INVALID_VALUE,
                f"Invalid value: '{item.id}'. There is no item with this id in the conversation.",
                f"response.input[{index}].id",
            )
        entries.append(entry)
    return entries


def _tool_choice(
    asked: ToolChoice | None, session: ToolChoice, tools: Iterable[FunctionTool]
) -> ToolChoice:
    """The choice in force.

    A session may name a function before its tools arrive in another update: until then it counts
    as `auto`. A request that names a function that is not there is a mistake.
    """
    names = [tool.name for tool in tools]
    choice = session if asked is None else asked
    if not isinstance(choice, NamedToolChoice) or choice.name in names:
        return choice
    if asked is None:
        return "auto"
    known = ", ".join(f"'{name}'" for name in names) or "none"
    raise InvalidRequest(
        ErrorCode.INVALID_VALUE,
        f"Invalid value: '{choice.name}'. tool_choice names a function that is not among the "
        f"tools. The tools are: {known}.",
        "response.tool_choice",
    )
