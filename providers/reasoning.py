"""Takes out what a model thinks before it answers, where a server leaves that in the text."""

from __future__ import annotations

from typing import Final

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"


class ReasoningFilter:
    """The text of one reply, piece by piece, without the thoughts it begins with.

    DeepSeek's and Qwen's models think in `<think>…</think>` ahead of the answer. Most servers put
    that into a field of its own; Ollama, llama.cpp and SiliconFlow do so for some models and leave
    it in the text for others. Only the beginning of a reply is looked at: a model that explains
    the tag later on may speak of it.
    """

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._thought = False
        self._answering = False

    def add(self, text: str) -> str:
        """Take a piece; returns what may be spoken of it, and of what was held back before."""
        if self._answering:
            return text
        self._held += text
        while not self._answering:
            if self._thinking:
                end = self._held.find(_CLOSE)
                if end < 0:
                    # The rest may be the beginning of the tag; the thoughts themselves may be long.
                    self._held = self._held[-len(_CLOSE) + 1 :]
                    return ""
                self._held = self._held[end + len(_CLOSE) :]
                self._thinking = False
                self._thought = True
            beginning = self._held.lstrip()
            if beginning.startswith(_OPEN):
                self._held = beginning.removeprefix(_OPEN)
                self._thinking = True
            elif _OPEN.startswith(beginning):
                return ""
            else:
                self._answering = True
        return self._rest()

    def end(self) -> str:
        """The reply is over; returns what was held back and is no thought after all."""
        return "" if self._thinking or self._answering else self._rest()

    def _rest(self) -> str:
        rest, self._held = self._held, ""
        # The blank lines behind a thought are no part of the answer.
        return rest.lstrip() if self._thought else rest
