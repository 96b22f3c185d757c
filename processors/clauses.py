"""Cuts a model's text stream into clauses that can be spoken one by one, losing no character."""

from __future__ import annotations

from dataclasses import dataclass

from providers.words import is_cjk, is_speakable

_SENTENCE_ENDS = frozenset(".!?…")
_CJK_SENTENCE_ENDS = frozenset("。！？｡")
_ENDS = _SENTENCE_ENDS | _CJK_SENTENCE_ENDS
_CLOSERS = frozenset("\"')]}*_”’»」』）】》〉〕")
_PAUSES = frozenset(",;:")
_CJK_PAUSES = frozenset("，；：、")

# Their dot rarely ends a sentence. Where it does, two sentences are spoken as one clause.
# fmt: off
_ABBREVIATIONS = frozenset({
    "mr", "mrs", "ms", "mx", "dr", "prof", "rev", "gen", "sen", "rep", "hon", "st", "sr", "jr",
    "vs", "etc", "cf", "al", "fig", "figs", "vol", "approx", "dept", "est", "inc", "ltd", "co",
    "corp", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
})
# fmt: on

_FIRST_PAUSE_CHARS, _FIRST_PAUSE_CJK = 12, 4
_PAUSE_CHARS, _PAUSE_CJK = 60, 25
_LIMIT_CHARS, _LIMIT_CJK = 200, 80


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of the text.

    `exact` is the model's own text, spaces included; `speech` is what of it to say, "" if it is
    nothing but spaces and punctuation.
    """

    exact: str
    speech: str


class ClauseSplitter:
    """Finds the earliest safe cuts: the first clause sooner (at a comma), later ones at sentences.

    Where the cuts fall depends on the text alone, not on how it was chunked: a mark that needs
    the next character to be understood (`3.` of `3.14`) waits for it. Space between two clauses
    leads the second one, as it leads a model's tokens.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the text; nothing of it will come out any more."""
        self._text = ""
        self._next = 0
        self._weigher = _Weigher()
        self._first = True

    def feed(self, text: str) -> list[Clause]:
        """Take more text; returns the clauses that are complete now."""
        self._text += text
        clauses: list[Clause] = []
        while self._next < len(self._text):
            cut = self._cut_at(self._next)
            if cut is None:
                break
            if cut == 0:
                self._weigher.add(self._text[self._next])
                self._next += 1
            else:
                clauses.append(self._take(cut))
        return clauses

    def flush(self) -> list[Clause]:
        """The text has ended; returns what is left of it, and the next text starts anew."""
        rest = [self._take(len(self._text))] if self._text else []
        self._first = True
        return rest

    def _take(self, cut: int) -> Clause:
        exact, self._text = self._text[:cut], self._text[cut:]
        self._next = 0
        self._weigher = _Weigher()
        if not is_speakable(exact):
            return Clause(exact, "")
        self._first = False
        return Clause(exact, exact.strip())

    def _cut_at(self, index: int) -> int | None:
        """Where to end the clause in view of the character at `index`.

        Returns:
            The length of the clause, 0 for no cut, None when the next character must be known.
        """
        text = self._text
        weigher = self._weigher
        if text[index] == "\n":
            return index if weigher.speakable else 0
        if weigher.is_over(_LIMIT_CHARS, _LIMIT_CJK):
            return self._cut_at_limit(index)
        if not weigher.speakable:
            return 0
        if text[index] in _ENDS or text[index] in _CLOSERS:
            return self._after_sentence(index)
        if weigher.is_over(
            _FIRST_PAUSE_CHARS if self._first else _PAUSE_CHARS,
            _FIRST_PAUSE_CJK if self._first else _PAUSE_CJK,
        ):
            return self._after_pause(index)
        return 0

    def _cut_at_limit(self, index: int) -> int:
        head = self._text[:index]
        lead = len(head) - len(head.lstrip())
        for cut in range(index, lead, -1):
            if self._text[cut].isspace() and is_speakable(head[lead:cut]):
                return cut
        return index

    def _after_sentence(self, index: int) -> int | None:
        text = self._text
        end = index
        while end >= 0 and text[end] in _CLOSERS:
            end -= 1
        if end < 0 or text[end] not in _ENDS:
            return 0
        if index + 1 == len(text):
            return None
        following = text[index + 1]
        if following in _ENDS or following in _CLOSERS:
            return 0
        if text[end] in _CJK_SENTENCE_ENDS or following.isspace() or is_cjk(following):
            return 0 if _is_inner_dot(text, end) else index + 1
        return 0

    def _after_pause(self, index: int) -> int | None:
        text = self._text
        char = text[index]
        if char in _CJK_PAUSES and not text[index - 1].isdigit():
            return index + 1
        if char not in _PAUSES and char not in _CJK_PAUSES and char not in "-–—":
            return 0
        if index + 1 == len(text):
            return None
        following = text[index + 1]
        if char in _CJK_PAUSES:
            pause = not following.isdigit()
        elif char in _PAUSES:
            pause = following.isspace() or is_cjk(following)
        elif char == "—":
            pause = following != "—"
        else:
            pause = following.isspace() and text[index - 1] in " -–"
        return index + 1 if pause else 0


class _Weigher:
    """Tells how much there is to say, counting dense scripts by their own measure."""

    def __init__(self) -> None:
        self.speakable = False
        self._chars = 0
        self._cjk = 0
        self._spaces = 0

    def add(self, char: str) -> None:
        if char.isspace():
            # Leading space never counts, other space once a character follows it.
            self._spaces += 1 if self._chars or self._cjk else 0
            return
        self._chars += self._spaces
        self._spaces = 0
        if is_cjk(char):
            self._cjk += 1
        else:
            self._chars += 1
        self.speakable = self.speakable or is_speakable(char)

    def is_over(self, chars: int, cjk: int) -> bool:
        return self._chars * cjk + self._cjk * chars >= chars * cjk


def _is_inner_dot(text: str, end: int) -> bool:
    """Whether the mark at `end` is the dot of an abbreviation, an initial or a list number."""
    if text[end] != "." or (end > 0 and text[end - 1] in _ENDS):
        return False
    start = end
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "."):
        start -= 1
    word = text[start:end].lower()
    if word.isdigit():
        return not text[:start].strip()
    parts = word.split(".")
    return word in _ABBREVIATIONS or all(len(p) == 1 and p.isascii() and p.isalpha() for p in parts)
