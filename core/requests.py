"""From `response.create` and the session to what one response shows and is generated from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from core.context import Prepared, model_context
from core.conversation import Conversation, Entry, Pending
from core.mcp_tools import Catalogue, McpTarget, Offer, narrowed, offer
from core.messages import Failure, GenerationRequest
from core.tokens import instruction_tokens
from core.validation import quoted
from protocol import (
    CustomVoice,
    ErrorCategory,
    ErrorCode,
    FunctionTool,
    InvalidRequest,
    Item,
    ItemReference,
    McpToolChoice,
    Modality,
    PcmaFormat,
    PcmFormat,
    PcmuFormat,
    ResponseParams,
    ResponseView,
    Session,
    Stage,
    ToolChoice,
    WireToolChoice,
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


def too_long(limit: int) -> Failure:
    """Why a response fails whose conversation may not be cut."""
    return Failure(
        Stage.LLM,
        ErrorCategory.CONTEXT_LENGTH,
        f"The conversation is longer than the {limit} tokens a model is given here, and the "
        "session's truncation is 'disabled'. Delete items, or set truncation to 'auto'.",
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """One response as it was asked for: the session's settings under the request's overrides.

    `prepare` takes the snapshot of the context when it is called, after the transcripts in
    `waiting_for` are known; the response fails where there is none to be had. `mcp` says
    which of the model's functions are MCP tools.
    """

    modalities: tuple[Modality, ...]
    max_output_tokens: int | Literal["inf"]
    audio_format: PcmFormat | PcmuFormat | PcmaFormat
    voice: str | CustomVoice
    metadata: dict[str, str] | None
    temperature: float
    waiting_for: set[str]
    prepare: Callable[[], Prepared | Failure]
    mcp: Mapping[str, McpTarget]

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
    catalogue: Catalogue,
    context_limit: int | None = None,
    supposed: Entry | None = None,
) -> Plan:
    """Work out a response.

    Args:
        params: The overrides of `response.create`.
        given: `response.input`, None when the conversation is the context.
        settings: The session in force.
        conversation: The default conversation.
        token_limit: The operator's limit on output tokens.
        catalogue: The MCP tools that are known by now.
        context_limit: The operator's limit on the tokens of the context.
        supposed: An item that might come next: what the response would then be, without
            consequences for the conversation.

    Raises:
        InvalidRequest: an item that is not there, or a tool that was not given.
    """
    entries = _resolve(given, conversation)
    modalities = params.output_modalities or settings.output_modalities
    offered = offer(settings.tools if params.tools is None else params.tools, catalogue)
    choice, tools = _tool_choice(params.tool_choice, settings.tool_choice, offered)
    max_tokens = params.max_output_tokens or settings.max_output_tokens
    voice = params.audio.output.voice or settings.audio.output.voice
    temperature = settings.temperature if params.temperature is None else params.temperature
    parallel = (
        settings.parallel_tool_calls
        if params.parallel_tool_calls is None
        else params.parallel_tool_calls
    )
    limits = [limit for limit in (token_limit, max_tokens) if isinstance(limit, int)]
    instructions = settings.instructions if params.instructions is None else params.instructions
    make_request = partial(
        GenerationRequest,
        instructions=instructions,
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
    if supposed is not None:
        source = [*source, supposed]

    def prepare() -> Prepared | Failure:
        # A context that a client made itself is cut for this response alone.
        shown = [entry for entry in source if entries is not None or not entry.forgotten]
        fixed_tokens = instruction_tokens(instructions, tools)
        context = model_context(shown, fixed_tokens, context_limit, settings.truncation)
        if context is None:
            return too_long(context_limit or 0)
        if entries is None and supposed is None:
            for entry in context.dropped:
                entry.forgotten = True
        return Prepared(make_request(messages=context.messages), context)

    return Plan(
        modalities=modalities,
        max_output_tokens=max_tokens,
        audio_format=params.audio.output.format or settings.audio.output.format,
        voice=voice,
        metadata=params.metadata,
        temperature=temperature,
        waiting_for={e.item.id for e in source if isinstance(e.transcript, Pending)},
        prepare=prepare,
        mcp=offered.targets,
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
                f"Invalid value: {quoted(item.id)}. There is no item with this id in the "
                "conversation.",
                f"response.input[{index}].id",
            )
        entries.append(entry)
    return entries


def _tool_choice(
    asked: WireToolChoice | None, session: WireToolChoice, offered: Offer
) -> tuple[ToolChoice, tuple[FunctionTool, ...]]:
    """The choice in force, and the functions the model gets with it.

    A session may name a function before its tools arrive, in another update or from an MCP server:
    until then it counts as `auto`. A request that names one that is not there is a mistake.
    """
    choice = session if asked is None else asked
    found = narrowed(choice, offered)
    if found is not None:
        return found
    if asked is None:
        return "auto", offered.functions
    if isinstance(choice, McpToolChoice):
        name = choice.server_label if choice.name is None else choice.name
        what = f"an MCP tool that is not known, or not yet ({quoted(choice.server_label)})"
    else:
        name = choice if isinstance(choice, str) else choice.name
        what = "a function that is not among the tools"
    known = ", ".join(f"'{tool.name}'" for tool in offered.functions) or "none"
    raise InvalidRequest(
        ErrorCode.INVALID_VALUE,
        f"Invalid value: {quoted(name)}. tool_choice names {what}. The tools are: {known}.",
        "response.tool_choice",
    )
