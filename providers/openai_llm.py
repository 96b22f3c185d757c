"""Language models behind OpenAI's chat completions: OpenAI, SiliconFlow, Ollama, any compatible."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar, Final, Literal, cast

from openai import APIStatusError, AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta
from pipecat.frames.frames import Frame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.utils.types import is_given

from core.messages import GenerationRequest
from protocol import ErrorCategory, ProviderError, Stage

from .chat_images import ImagePolicy, Images
from .chat_stream import IncompleteReply, ReplyReader
from .endpoint import Endpoint
from .frames import ResponseBeginFrame, StageFailedFrame
from .openai_client import OpenAiClient

Parameters = dict[str, Any]

_USAGE_PATIENCE_S: Final = 1.0
"""How long a reply that is complete waits for its token counts."""

_DISPENSABLE: Final = frozenset(
    {
        *("temperature", "parallel_tool_calls", "stream_options"),
        *("max_tokens", "max_completion_tokens"),
    }
)
"""What a model may refuse to be told; reasoning models take no temperature, for one."""

_REFUSED_CODES: Final = frozenset(
    {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
)
_OTHER_LIMIT: Final = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}


class OpenAiLlmProvider:
    """Text from a chat completions server.

    Args:
        endpoint: The server and the model.
        images: Whether the model sees images; `auto` sends them and lets the server judge.
        stall_s: How long it may take to the first piece of a reply, and then to each next one.
    """

    name: ClassVar[str] = "openai"

    def __init__(
        self, endpoint: Endpoint, *, images: Images = "auto", stall_s: float = 20.0
    ) -> None:
        self.client = OpenAiClient(endpoint, Stage.LLM, stall_s)
        self.images: Images = images
        self._refused: set[str] = set()
        self._limit_name: Literal["max_tokens", "max_completion_tokens"] = (
            "max_completion_tokens" if endpoint.is_openai else "max_tokens"
        )

    def describe(self) -> str:
        endpoint = self.client.endpoint
        return f"{self.name}: {endpoint.model} at {endpoint.host}"

    async def start(self) -> None:
        """Set up the shared client; asks the server for nothing."""
        await self.client.start()

    async def close(self) -> None:
        await self.client.close()

    def create_service(self) -> LLMService[Any]:
        return OpenAiLlmService(self)

    def parameters(self, request: GenerationRequest | None) -> Parameters:
        """What this model takes of the things a response may set."""
        wanted: Parameters = {
            "model": self.client.endpoint.model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request is not None:
            wanted["temperature"] = request.temperature
            wanted[self._limit_name] = request.max_output_tokens
            if request.tools:
                wanted["parallel_tool_calls"] = request.parallel_tool_calls
        return {
            name: value
            for name, value in wanted.items()
            if value is not None and name not in self._refused
        }

    async def open(
        self, request: GenerationRequest | None, content: Parameters
    ) -> AsyncStream[ChatCompletionChunk]:
        """Begin a reply.

        A parameter that the model refuses is left out, now and from then on.

        Args:
            request: What the response sets.
            content: Messages and tools.

        Raises:
            ProviderError: the server cannot or will not.
        """
        while True:
            parameters = self.parameters(request) | content
            try:
                return await self.client.answer(lambda sdk, p=parameters: _create(sdk, p))
            except ProviderError as error:
                if not self._learn(error.__cause__, parameters):
                    raise

    def _learn(self, error: BaseException | None, parameters: Parameters) -> bool:
        """Note which parameter was refused; says whether there is any point in trying again."""
        if not isinstance(error, APIStatusError) or error.code not in _REFUSED_CODES:
            return False
        name = error.param or ""
        if name not in _DISPENSABLE or name not in parameters:
            return False
        self._refused.add(name)
        if name == self._limit_name and _OTHER_LIMIT[name] not in self._refused:
            self._limit_name = cast(Any, _OTHER_LIMIT[name])
        return True


class SiliconFlowLlmProvider(OpenAiLlmProvider):
    """SiliconFlow's models."""

    name: ClassVar[str] = "siliconflow"


class OllamaLlmProvider(OpenAiLlmProvider):
    """Models that Ollama runs, on this machine or another."""

    name: ClassVar[str] = "ollama"


class OpenAiLlmService(OpenAILLMService):
    """One session's access to the provider's model.

    Pipecat's service pushes the text and times it. All that it would lose (why the model stopped,
    tool arguments as they stream, calls with unparsable arguments, several calls in one chunk) is
    read ahead of it, and it gets to see nothing else, so it never runs a function.
    """

    def __init__(self, provider: OpenAiLlmProvider) -> None:
        # Before the base class's constructor, which asks for the client.
        self._provider = provider
        super().__init__(settings=OpenAILLMService.Settings(model=provider.client.endpoint.model))
        self._request: GenerationRequest | None = None
        self._images = ImagePolicy(provider.images)

    def create_client(self, *args: Any, **kwargs: Any) -> AsyncOpenAI:
        """The client all sessions share."""
        return self._provider.client.sdk

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, ResponseBeginFrame):
            self._request = frame.request
        await super().process_frame(frame, direction)

    async def get_chat_completions(self, context: LLMContext) -> AsyncStream[ChatCompletionChunk]:
        """Pipecat's hook: the chunks it shall see."""
        return cast("AsyncStream[ChatCompletionChunk]", self._reply(context))

    async def _reply(self, context: LLMContext) -> AsyncGenerator[ChatCompletionChunk, None]:
        """Push what the reply is besides text, and yield the text.

        Never raises for the provider: Pipecat would write the service off. A failure takes the
        place of the rest of the reply.
        """
        try:
            async with aclosing(self._read(self._content(context))) as texts:
                async for text in texts:
                    yield _text_chunk(text)
        except ProviderError as error:
            await self.push_frame(StageFailedFrame(error.stage, error.category, error.message))

    async def _read(self, content: Parameters) -> AsyncGenerator[str, None]:
        client = self._provider.client
        reader = ReplyReader()
        stream = await self._open(content)
        try:

            def patience_s() -> float:
                return _USAGE_PATIENCE_S if reader.finished else client.stall_s

            async with aclosing(client.pieces(stream, patience_s)) as chunks:
                async for chunk in chunks:
                    text, calls = reader.read(chunk)
                    if text:
                        yield text
                    for frame in calls:
                        await self.push_frame(frame)
        except ProviderError:
            # A reply that is complete is not spoilt by what comes of its connection then.
            if not reader.finished:
                raise
        finally:
            await stream.close()
        try:
            for frame in reader.finish():
                await self.push_frame(frame)
        except IncompleteReply as error:
            message = f"{client.endpoint.label} {error}."
            raise ProviderError(Stage.LLM, ErrorCategory.SERVER, message) from error

    async def _open(self, content: Parameters) -> AsyncStream[ChatCompletionChunk]:
        try:
            return await self._provider.open(self._request, content)
        except ProviderError as error:
            told = self._images.told(error, self._provider.client.endpoint)
            if told is error:
                raise
            raise told from error

    def _content(self, context: LLMContext) -> Parameters:
        content: Parameters = {
            "messages": self._images.messages(
                cast("list[Parameters]", context.messages), self._provider.client.endpoint
            )
        }
        tools = self.get_llm_adapter().from_standard_tools(context.tools)
        if isinstance(tools, list) and tools:
            content["tools"] = tools
            if is_given(context.tool_choice):
                content["tool_choice"] = context.tool_choice
        return content


async def _create(sdk: AsyncOpenAI, parameters: Parameters) -> AsyncStream[ChatCompletionChunk]:
    return await sdk.chat.completions.create(**parameters)


def _text_chunk(text: str) -> ChatCompletionChunk:
    # Unchecked, as the SDK builds its own.
    delta = ChoiceDelta.model_construct(content=text)
    choice = Choice.model_construct(index=0, delta=delta, finish_reason=None)
    return ChatCompletionChunk.model_construct(id="", choices=[choice], model=None, usage=None)
