"""Turns revised recognition hypotheses into text that only ever grows; knows no frames."""

from __future__ import annotations

from providers.words import is_cjk, tokens


class StablePrefix:
    """Releases the words of one segment that the recogniser has stopped changing.

    A word is stable once two hypotheses in a row agree on it and on all before it. What was
    released is never taken back: where a later hypothesis disagrees, nothing more is released
    until it agrees again.
    """

    def __init__(self) -> None:
        self._released = ""
        self._previous: list[str] = []

    def revise(self, hypothesis: str) -> str:
        """Take the whole hypothesis so far; returns what is newly stable, "" if nothing."""
        words = tokens(hypothesis.strip())
        agreed = 0
        for word, previous in zip(words, self._previous, strict=False):
            if word != previous:
                break
            agreed += 1
        self._previous = words
        return self._release("".join(words[:agreed]))

    def finish(self, text: str) -> str:
        """Take the final text; returns its rest, "" when it contradicts what was released."""
        return self._release(text)

    def _release(self, text: str) -> str:
        if not text.startswith(self._released):
            return ""
        delta = text[len(self._released) :]
        self._released = text
        return delta


def join_texts(first: str, second: str) -> str:
    """Put two pieces of one transcript together, with a space where the script has spaces."""
    first, second = first.strip(), second.strip()
    if not first or not second:
        return first or second
    dense = is_cjk(first[-1]) or is_cjk(second[0])
    return f"{first}{second}" if dense else f"{first} {second}"
