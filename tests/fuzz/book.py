"""The invariants I1 to I11 and I14 of the architecture page, over what a session says and commands.

The oracle judges JSON alone; here are the rules that need commands, samples or owners as well.
"""

from __future__ import annotations

import re

import core.messages as m
import protocol as p
from tests.core.books import RunsBook
from tests.fuzz.engines import tag_of

Entry = p.ServerEvent | m.EngineCommand | m.McpCommand | m.GenerationFailed

_TAG = re.compile(r"resp_\d+")
_CALL_TAG = re.compile(r"call_(\d+)_")


class Book:
    """Follows one session; problems gather until they are taken."""

    def __init__(self) -> None:
        self._problems: list[str] = []
        self._live: dict[str, bool] = {}
        self._ended: set[str] = set()
        self._runs = RunsBook()
        self._open_items: dict[str, str] = {}
        self._open_parts: dict[str, list[str]] = {}
        self._texts: dict[str, str] = {}
        self._speaking: str | None = None
        self._segment: str | None = None
        self._segments: set[str] = set()
        self._generation = 0
        self._fed = bytearray()
        """Audio that no commit has taken yet."""
        self._committed: str | None = None

    def take(self, entry: Entry) -> list[str]:
        """The rules that this event or command breaks."""
        self._commands(entry)
        try:
            self._asked(entry)
            self._responses(entry)
            self._outputs(entry)
        except AssertionError as broken:
            self._problems.append(str(broken))
        self._input(entry)
        found, self._problems = self._problems, []
        return found

    def settle(self) -> list[str]:
        """The rules that are broken when all is quiet."""
        draft = self._runs.draft
        if draft is None or draft in self._live or self._speaking is not None:
            return []
        return [f"I14: {draft} is kept behind its turn"]

    def _say(self, rule: str, problem: str) -> None:
        self._problems.append(f"{rule}: {problem}")

    def _must(self, holds: bool, rule: str, problem: str) -> None:
        if not holds:
            self._say(rule, problem)

    # --- commands ---------------------------------------------------------------------------

    def _commands(self, entry: Entry) -> None:
        match entry:
            case m.OpenSegment(item_id):
                self._must(self._segment is None, "segments", f"{item_id} opened in another")
                self._must(item_id not in self._segments, "segments", f"{item_id} opened twice")
                self._segment = item_id
                self._segments.add(item_id)
            case m.CloseSegment(item_id):
                self._must(self._segment == item_id, "segments", f"{item_id} closed, not open")
                self._segment = None
            case m.DropSegment(item_id):
                self._segments.discard(item_id)
                self._segment = None if self._segment == item_id else self._segment
            case m.ConfigureVad(generation):
                self._must(generation >= self._generation, "I8", "a VAD generation came back")
                self._generation = generation
            case m.FeedAudio(pcm):
                self._must(len(pcm) % 2 == 0, "I8", "half a sample fed")
                self._fed += pcm
            case _:
                pass

    # --- responses --------------------------------------------------------------------------

    def _asked(self, entry: Entry) -> None:
        """What the engines are asked for: see `RunsBook`."""
        match entry:
            case m.StartResponse():
                aside = {response for response, default in self._live.items() if not default}
                self._runs.started(entry, set(self._live), aside)
            case m.StopResponse():
                self._runs.stopped(entry)
            case m.GenerationFailed(run_id):
                self._runs.failed(run_id)
            case p.ResponseDone(view):
                self._runs.done(view)
            case _:
                pass

    def _responses(self, entry: Entry) -> None:
        match entry:
            case p.ResponseCreated(view):
                self._must(view.id not in self._live, "I2", f"{view.id} created twice")
                self._must(view.id not in self._ended, "I2", f"{view.id} created again")
                default = view.conversation_id is not None
                self._must(not (default and any(self._live.values())), "I1", "two are live")
                self._live[view.id] = default
            case p.ResponseDone(view):
                self._must(view.id in self._live, "I2", f"{view.id} done, not live")
                self._live.pop(view.id, None)
                self._ended.add(view.id)
                mine = [item for item, owner in self._open_items.items() if owner == view.id]
                self._must(not mine, "I4", f"{mine} open at response.done")
                for item in view.output:
                    self._must(_text(item) == self._texts.get(item.id), "I11", f"{item.id} differs")
            case _:
                pass

    def _outputs(self, entry: Entry) -> None:
        match entry:
            case p.OutputItemAdded(response_id, _, item):
                self._must(response_id in self._live, "I3", f"item of {response_id}, not live")
                self._must(item.id not in self._texts, "I5", f"{item.id} used twice")
                self._open_items[item.id] = response_id
                self._texts[item.id] = ""
                tag = tag_of(self._runs.of(response_id))
                if isinstance(item, p.FunctionCall) and (made := _CALL_TAG.match(item.call_id)):
                    mine = int(made[1]) == tag
                    self._must(mine, "I6", f"{item.call_id} left as {response_id}'s")
            case p.OutputItemDone(response_id, _, item):
                owner = self._open_items.pop(item.id, None)
                self._must(owner == response_id, "I4", f"{item.id} of {owner} done, not open")
                self._must(item.id not in self._open_parts, "I4", f"a part of {item.id} is open")
                self._texts[item.id] = _text(item)
            case p.ContentPartAdded(response_id, item_id):
                self._owned(response_id, item_id)
                self._open_parts[item_id] = []
            case p.ContentPartDone(_, item_id, part=part):
                sent = "".join(self._open_parts.pop(item_id, []))
                shown = part.text if isinstance(part, p.OutputText) else part.transcript
                self._must(shown == sent, "I11", f"part of {item_id} is not its deltas")
            case p.OutputTextDelta() | p.OutputTranscriptDelta():
                self._owned(entry.response_id, entry.item_id)
                self._must(entry.item_id in self._open_parts, "I5", f"delta of {entry.item_id}")
                self._open_parts.setdefault(entry.item_id, []).append(entry.delta)
                foreign = set(_TAG.findall(entry.delta)) - {self._runs.of(entry.response_id)}
                self._must(not foreign, "I6", f"text of {foreign} left as {entry.response_id}'s")
            case p.OutputAudioDelta():
                self._owned(entry.response_id, entry.item_id)
                tag = tag_of(self._runs.of(entry.response_id)).to_bytes(2, "little")
                mine = entry.audio[:2] == tag == entry.audio[-2:]
                self._must(mine, "I6", f"foreign audio left as {entry.response_id}'s")
            case p.FunctionArgumentsDelta():
                self._owned(entry.response_id, entry.item_id)
            case _:
                pass

    def _owned(self, response_id: str, item_id: str) -> None:
        self._must(response_id in self._live, "I3", f"output of {response_id}, not live")
        owner = self._open_items.get(item_id)
        self._must(owner == response_id, "I5", f"output of {response_id} in {item_id} of {owner}")

    # --- the user's audio -------------------------------------------------------------------

    def _input(self, entry: Entry) -> None:
        match entry:
            case p.ItemDeleted(item_id=item_id):
                # A client may use the id of a deleted item for another.
                self._segments.discard(item_id)
            case p.SpeechStarted(item_id=item_id):
                self._must(self._speaking is None, "I8", "speech started twice")
                self._speaking = item_id
            case p.SpeechStopped(item_id=item_id):
                self._must(self._speaking == item_id, "I8", f"{item_id} stopped, not speaking")
            case p.SessionUpdated(view):
                if view.settings.audio.input.turn_detection is None:
                    self._speaking = None
            case p.InputAudioCleared():
                self._speaking = None
                self._fed.clear()
            case p.InputAudioCommitted(item_id=item_id):
                self._speaking = None
                self._committed = item_id
            case p.ItemAdded(item=item) if item.id == self._committed:
                self._committed = None
                self._take_samples(item)
            case _:
                pass

    def _take_samples(self, item: p.Item) -> None:
        """Committed audio is a stretch of what was fed and not committed before."""
        for part in p.item_content(item):
            if isinstance(part, p.InputAudio) and part.audio:
                start = self._fed.find(part.audio)
                if start < 0:
                    self._say("I8", f"{item.id} holds audio that was not fed, or counted twice")
                else:
                    del self._fed[: start + len(part.audio)]


def _text(item: p.Item) -> str:
    """What a finished item says."""
    if isinstance(item, p.FunctionCall | p.McpCall | p.McpApprovalRequest):
        return item.arguments
    return "".join(
        part.text if isinstance(part, p.OutputText) else part.transcript
        for part in p.item_content(item)
        if isinstance(part, p.OutputText | p.OutputAudio)
    )
