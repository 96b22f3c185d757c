"""Decides which images of a conversation a model gets to see, so that none can spoil a session."""

from __future__ import annotations

from typing import Any, Final, Literal

from openai import APIStatusError

from protocol import ErrorCategory, ProviderError, Stage

from .endpoint import Endpoint

Images = Literal["auto", "true", "false"]
Message = dict[str, Any]

_NOTE: Final = "[an image that you cannot see]"


class ImagePolicy:
    """One session's images.

    An image that the model does not take fails the first response that has it, so that the
    client learns of it. From then on a note stands in its place, or every later response of the
    conversation would fail as well.

    Args:
        images: `true` and `auto` send images; `false` sends none.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        self._refused: set[int] = set()
        self._sent: set[int] = set()

    def messages(self, messages: list[Message], endpoint: Endpoint) -> list[Message]:
        """The messages as the model gets them.

        Raises:
            ProviderError: there is an image, and the model takes none.
        """
        images = {_key(part) for message in messages for part in _parts(message) if _is_image(part)}
        self._sent = images - self._refused
        if self._sent and self._images == "false":
            self._refused |= self._sent
            raise _unseen(endpoint, "LLM_IMAGES=false")
        if not images & self._refused:
            return messages
        return [self._with_notes(message) for message in messages]

    def told(self, error: ProviderError, endpoint: Endpoint) -> ProviderError:
        """The failure as the client shall hear it, given that the images may be the cause."""
        cause = error.__cause__
        if not self._sent or not isinstance(cause, APIStatusError):
            return error
        if not _blames_images(error, cause):
            return error
        self._refused |= self._sent
        return _unseen(endpoint, f"HTTP {cause.status_code}")

    def _with_notes(self, message: Message) -> Message:
        parts = _parts(message)
        if not parts:
            return message
        content = [
            {"type": "text", "text": _NOTE} if _is_image(p) and _key(p) in self._refused else p
            for p in parts
        ]
        if all(part.get("type") == "text" for part in content):
            # A model without eyes may not know content that is a list either.
            return {**message, "content": "\n".join(part["text"] for part in content)}
        return {**message, "content": content}


def _blames_images(error: ProviderError, cause: APIStatusError) -> bool:
    if "image" in cause.message.lower():
        # Ollama answers 500 to an image that a model has no eyes for.
        return error.category in (ErrorCategory.INVALID_REQUEST, ErrorCategory.SERVER)
    elsewhere = cause.param is not None and not cause.param.startswith("messages")
    return (
        error.category is ErrorCategory.INVALID_REQUEST
        and not elsewhere
        and (cause.status_code != 404)
    )


def _parts(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _is_image(part: dict[str, Any]) -> bool:
    return part.get("type") == "image_url"


def _key(part: dict[str, Any]) -> int:
    return hash(part["image_url"]["url"]) if _is_image(part) else 0


def _unseen(endpoint: Endpoint, why: str) -> ProviderError:
    return ProviderError(
        Stage.LLM,
        ErrorCategory.INVALID_REQUEST,
        f"{endpoint.label} did not take the image ({why}): model {endpoint.model!r} may not see "
        "images. Later responses go on without it.",
    )
