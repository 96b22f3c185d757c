"""The one HTTP client a provider has for an OpenAI-compatible server: shared, with deadlines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

import httpx2
from openai import APIConnectionError, APIError, APITimeoutError, AsyncOpenAI

from protocol import Stage

from .endpoint import Endpoint
from .openai_errors import FAILURES, provider_error, request_id

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 5.0
_NO_KEY: Final = "none"
"""The SDK wants a key; servers without keys ignore it."""


class OpenAiClient:
    """A provider's client; it lives from `start` to `close` and serves all sessions.

    Each new client of the SDK costs 22 ms of a blocked loop and 1.1 MB, so there is only one.

    Args:
        endpoint: The server.
        stage: What its failures are reported as.
        stall_s: How long to wait for the first answer, and then for each piece of it.
    """

    def __init__(self, endpoint: Endpoint, stage: Stage, stall_s: float) -> None:
        self.endpoint = endpoint
        self.stall_s = stall_s
        self._stage = stage
        self._sdk: AsyncOpenAI | None = None

    @property
    def sdk(self) -> AsyncOpenAI:
        """The SDK's client."""
        if self._sdk is None:
            raise RuntimeError(f"the client of {self.endpoint.label} was not started")
        return self._sdk

    async def start(self) -> None:
        """Set the client up; connects to nothing."""
        if self._sdk is None:
            # It reads the machine's certificates, which blocks.
            self._sdk = await asyncio.to_thread(self._make)

    async def close(self) -> None:
        """Close all connections."""
        sdk, self._sdk = self._sdk, None
        if sdk is not None:
            await sdk.close()

    async def answer(self, request: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        """Make a request and wait for its answer, or for the head of a streamed one.

        A connection that breaks before an answer is tried once more: it may have been a kept one
        that the server has closed meanwhile. Nothing else is tried again, since a caller who
        waits hears silence, and `Retry-After` may be a minute.

        Raises:
            ProviderError: there is no answer, or it says no.
        """
        sdk = self.sdk
        with self.telling():
            async with asyncio.timeout(self.stall_s):
                try:
                    return await request(sdk)
                except APIConnectionError as error:
                    if isinstance(error, APITimeoutError):
                        raise
                return await request(sdk)

    async def pieces(
        self, source: AsyncIterator[T], patience_s: Callable[[], float] | None = None
    ) -> AsyncGenerator[T, None]:
        """The pieces of a streamed answer.

        Args:
            source: The SDK's stream.
            patience_s: How long to wait for the next piece, if not `stall_s`.

        Raises:
            ProviderError: the stream breaks, stalls or is not what it should be.
        """
        while True:
            with self.telling():
                limit_s = self.stall_s if patience_s is None else patience_s()
                try:
                    async with asyncio.timeout(limit_s):
                        piece = await anext(source)
                except StopAsyncIteration:
                    return
            yield piece

    @contextmanager
    def telling(self) -> Generator[None]:
        """Turn what a server does wrong into a `ProviderError`."""
        try:
            yield
        except FAILURES as error:
            failure = provider_error(self._stage, self.endpoint, error)
            logger.warning("%s: %s %s", self._stage, failure.message, request_id(error))
            if isinstance(error, APIError):
                logger.debug("%s", self.endpoint.mask(error.message))
            raise failure from error

    def _make(self) -> AsyncOpenAI:
        endpoint = self.endpoint
        key = endpoint.api_key.get_secret_value() if endpoint.api_key is not None else _NO_KEY
        sdk = AsyncOpenAI(
            api_key=key,
            base_url=endpoint.base_url,
            max_retries=0,
            timeout=httpx2.Timeout(self.stall_s, connect=CONNECT_TIMEOUT_S),
        )
        if not endpoint.is_openai:
            # The SDK takes them from the environment; they are nobody else's business.
            sdk.organization = sdk.project = None
        return sdk
