"""Sequence rules of responses: items, parts and deltas between `created` and `done`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from conformance.oracle.schema import WireEvent

Report = Callable[[str, str], None]
_FINAL = ("completed", "incomplete")


@dataclass(slots=True)
class _Part:
    kind: str
    deltas: list[str] = field(default_factory=list[str])
    text: str | None = None
    audio_done: bool = False
    done: bool = False


@dataclass(slots=True)
class _OutputItem:
    added: WireEvent
    parts: list[_Part] = field(default_factory=list[_Part])
    argument_deltas: list[str] = field(default_factory=list[str])
    arguments: str | None = None
    in_conversation: bool = False
    conversation_item: WireEvent | None = None
    final: WireEvent | None = None

    @property
    def id(self) -> str:
        return self.added["id"]


@dataclass(slots=True)
class _Response:
    view: WireEvent
    items: list[_OutputItem] = field(default_factory=list[_OutputItem])
    done: bool = False

    @property
    def out_of_band(self) -> bool:
        return self.view["conversation_id"] is None

    @property
    def text_only(self) -> bool:
        return self.view.get("output_modalities", self.view.get("modalities")) == ["text"]

    @property
    def speaks_pcm(self) -> bool:
        if "output_audio_format" in self.view:
            return self.view["output_audio_format"] == "pcm16"
        return self.view["audio"]["output"]["format"]["type"] == "audio/pcm"


class Responses:
    """All responses of one connection; events arrive under their GA names.

    Args:
        report: Called with the rule's letter and what was wrong.
        has_item_done: Whether the dialect has `conversation.item.done`.
    """

    def __init__(self, report: Report, *, has_item_done: bool) -> None:
        self._report = report
        self._has_item_done = has_item_done
        self._responses: dict[str, _Response] = {}
        self._owners: dict[str, tuple[_Response, _OutputItem]] = {}

    def server(self, event: WireEvent) -> None:
        """Take one `response.*` event other than `response.mcp_*`."""
        kind = event["type"]
        if kind == "response.created":
            self._created(event["response"])
            return
        response = self._live(event, event.get("response_id") or event["response"]["id"])
        if response is None:
            return
        if kind == "response.done":
            self._done(response, event["response"])
        elif kind == "response.output_item.added":
            self._item_added(response, event)
        elif (item := self._item(response, event)) is None:
            return
        elif kind == "response.output_item.done":
            self._item_done(response, item, event["item"])
        elif kind.startswith("response.function_call_arguments."):
            self._arguments(item, event)
        elif kind == "response.content_part.added":
            self._part_added(response, item, event)
        elif (part := self._part(item, event)) is not None:
            self._part_event(response, part, event)

    def expects_added(self, item_id: str) -> bool:
        """Whether `item_id` is an output item that has not joined the conversation.

        Once it has, and was deleted, a client may use its id again for an item of its own.
        """
        return item_id in self._owners and not self._owners[item_id][1].in_conversation

    def expects_done(self, item_id: str) -> bool:
        """Whether `item_id` is an output item without its `conversation.item.done`."""
        return item_id in self._owners and self._owners[item_id][1].conversation_item is None

    def predecessor(self, item_id: str) -> str | None:
        """The output item before `item_id` in its response."""
        response, item = self._owners[item_id]
        index = response.items.index(item)
        return response.items[index - 1].id if index else None

    def conversation_added(self, item: WireEvent) -> None:
        """`conversation.item.added` (beta `created`) came for an output item."""
        response, output = self._owners[item["id"]]
        if response.out_of_band:
            self._report("e", f"out-of-band item {item['id']} entered the conversation")
        if item != output.added:
            self._report("e", f"item {item['id']} differs from its response.output_item.added")
        output.in_conversation = True

    def conversation_done(self, item: WireEvent) -> None:
        """`conversation.item.done` came for an output item."""
        _, output = self._owners[item["id"]]
        if output.final is not None:
            self._report("e", f"conversation.item.done of {item['id']} after its output_item.done")
        self._check_closed(output, item)
        output.conversation_item = item

    def finish(self) -> None:
        for response_id, response in self._responses.items():
            if not response.done:
                self._report("b", f"{response_id} never got its response.done")

    # --- responses and items

    def _created(self, view: WireEvent) -> None:
        if view["id"] in self._responses:
            self._report("b", f"second response.created of {view['id']}")
            return
        response = _Response(view)
        active = [r for r in self._responses.values() if not r.done and not r.out_of_band]
        if active and not response.out_of_band:
            self._report("f", f"{view['id']} created while {active[0].view['id']} is active")
        self._responses[view["id"]] = response

    def _live(self, event: WireEvent, response_id: str) -> _Response | None:
        response = self._responses.get(response_id)
        if response is None:
            self._report("b", f"{event['type']} of {response_id}, which was never created")
        elif response.done:
            self._report("b", f"{event['type']} of {response_id} after its response.done")
        else:
            return response
        return None

    def _done(self, response: _Response, view: WireEvent) -> None:
        for key in ("conversation_id", "metadata", "output_modalities", "modalities"):
            if view.get(key) != response.view.get(key):
                self._report("b", f"{view['id']} changed its {key} between created and done")
        for item in response.items:
            if item.final is None:
                self._report("c", f"{view['id']} done before the output_item.done of {item.id}")
        if view["output"] != [item.final for item in response.items if item.final is not None]:
            self._report("d", f"output of {view['id']} is not the list of its output_item.done")
        statuses = {item.get("status") for item in view["output"]}
        if view["status"] == "completed" and "incomplete" in statuses:
            self._report("d", f"{view['id']} is completed with an incomplete item")
        response.done = True

    def _item_added(self, response: _Response, event: WireEvent) -> None:
        item, index = event["item"], event["output_index"]
        if index != len(response.items):
            self._report("c", f"output_index {index} where {len(response.items)} was next")
        if item["id"] in self._owners:
            self._report("c", f"second response.output_item.added of {item['id']}")
            return
        is_mcp = item["type"].startswith("mcp_")
        if not is_mcp and item["status"] != "in_progress":
            self._report("c", f"{item['id']} added with status {item['status']!r}: tools run twice")
        if item.get("content") or (
            item.get("arguments") and item["type"] != "mcp_approval_request"
        ):
            self._report("c", f"{item['id']} added with content before its deltas")
        output = _OutputItem(item)
        response.items.append(output)
        self._owners[item["id"]] = (response, output)

    def _item(self, response: _Response, event: WireEvent) -> _OutputItem | None:
        item_id = event["item"]["id"] if "item" in event else event["item_id"]
        index = event["output_index"]
        if not 0 <= index < len(response.items) or response.items[index].id != item_id:
            self._report("c", f"{event['type']} of {item_id} at {index}, which was not added")
            return None
        item = response.items[index]
        if item.final is not None:
            self._report("c", f"{event['type']} of {item_id} after its output_item.done")
            return None
        if not (item.in_conversation or response.out_of_band):
            self._report("e", f"{event['type']} of {item_id} before it joined the conversation")
        if item.conversation_item is not None and event["type"] != "response.output_item.done":
            self._report("e", f"{event['type']} of {item_id} after its conversation.item.done")
        return item

    def _item_done(self, response: _Response, output: _OutputItem, item: WireEvent) -> None:
        if not response.out_of_band and self._has_item_done:
            if output.conversation_item is None:
                self._report("e", f"output_item.done of {output.id} before conversation.item.done")
            elif output.conversation_item != item:
                self._report("d", f"output_item.done of {output.id} is not its item.done")
        self._check_closed(output, item)
        output.final = item

    def _check_closed(self, output: _OutputItem, item: WireEvent) -> None:
        """What was streamed must be over, and be what the finished item says."""
        for key in ("id", "type", "role", "name", "call_id"):
            if item.get(key) != output.added.get(key):
                self._report("c", f"{output.id} changed its {key}")
        if item["type"].startswith("mcp_"):
            return  # They have no status; `seq_mcp` judges the rest.
        if item["status"] not in _FINAL:
            self._report("d", f"{output.id} is done with status {item['status']!r}")
        if item["type"] == "function_call":
            if item["arguments"] != "".join(output.argument_deltas):
                self._report("d", f"arguments of {output.id} are not its deltas")
            if output.arguments is None and item["status"] == "completed":
                self._report("d", f"{output.id} is completed without its arguments.done")
            return
        if not all(part.done for part in output.parts):
            self._report("d", f"{output.id} is done before its content_part.done")
        streamed = [(part.kind, "".join(part.deltas)) for part in output.parts]
        stored = [
            (content["type"].removeprefix("output_"), _text_of(content))
            for content in item["content"]
        ]
        if stored != streamed:
            self._report("d", f"content of {output.id} is not its deltas")

    def _arguments(self, item: _OutputItem, event: WireEvent) -> None:
        if item.added["type"] != "function_call" or event["call_id"] != item.added["call_id"]:
            self._report("c", f"{event['type']} of {item.id} with a foreign call_id")
        elif item.arguments is not None:
            self._report("d", f"{event['type']} of {item.id} after its arguments.done")
        elif event["type"].endswith(".delta"):
            item.argument_deltas.append(event["delta"])
        else:
            item.arguments = event["arguments"]
            if item.arguments != "".join(item.argument_deltas):
                self._report("d", f"arguments.done of {item.id} is not the sum of its deltas")
            if event.get("name", item.added["name"]) != item.added["name"]:
                self._report("c", f"arguments.done of {item.id} names another function")

    # --- parts

    def _part_added(self, response: _Response, item: _OutputItem, event: WireEvent) -> None:
        kind, index = event["part"]["type"], event["content_index"]
        if item.added["type"] != "message":
            self._report("d", f"content part in {item.id}, which is no message")
        if index != len(item.parts):
            self._report("d", f"content_index {index} where {len(item.parts)} was next")
        if item.parts and not item.parts[-1].done:
            self._report("d", f"content part of {item.id} added inside an open one")
        if kind == "audio" and response.text_only:
            self._report("k", f"audio part in the text response {response.view['id']}")
        item.parts.append(_Part(kind))

    def _part(self, item: _OutputItem, event: WireEvent) -> _Part | None:
        index = event["content_index"]
        if not 0 <= index < len(item.parts):
            self._report("d", f"{event['type']} of {item.id} before its content_part.added")
            return None
        if item.parts[index].done:
            self._report("d", f"{event['type']} of {item.id} after its content_part.done")
            return None
        return item.parts[index]

    def _part_event(self, response: _Response, part: _Part, event: WireEvent) -> None:
        family, _, step = event["type"].removeprefix("response.").rpartition(".")
        if family == "content_part":
            self._part_done(part, event["part"])
            return
        if family == "output_audio" and response.text_only:
            self._report("k", f"{event['type']} in the text response {response.view['id']}")
        if part.kind != ("text" if family == "output_text" else "audio"):
            self._report("d", f"{event['type']} in a part of type {part.kind!r}")
        match family, step:
            case "output_audio", "delta":
                if part.audio_done:
                    self._report("d", "audio delta after output_audio.done")
                self._check_audio(response, event["delta"])
            case "output_audio", _:
                if part.audio_done:
                    self._report("d", "second output_audio.done")
                if part.text is not None:
                    self._report("d", "output_audio.done after the transcript's done")
                part.audio_done = True
            case _, "delta":
                if part.text is not None:
                    self._report("d", f"{event['type']} after its done")
                part.deltas.append(event["delta"])
            case _:
                self._text_done(part, event)

    def _text_done(self, part: _Part, event: WireEvent) -> None:
        if part.text is not None:
            self._report("d", f"second {event['type']}")
        if part.kind == "audio" and not part.audio_done:
            self._report("d", f"{event['type']} before output_audio.done")
        part.text = _text_of(event)
        if part.text != "".join(part.deltas):
            self._report("d", f"{event['type']} is not the sum of its deltas")

    def _part_done(self, part: _Part, final: WireEvent) -> None:
        if final["type"] != part.kind:
            self._report("d", f"content part changed its type from {part.kind!r}")
        if part.text is None:
            self._report("d", "content_part.done before the done of its text")
        elif _text_of(final) != part.text:
            self._report("d", "content_part.done differs from the done of its text")
        part.done = True

    def _check_audio(self, response: _Response, delta: str) -> None:
        try:
            audio = base64.b64decode(delta, validate=True)
        except (binascii.Error, ValueError):
            self._report("d", "audio delta is not base64")
            return
        if response.speaks_pcm and len(audio) % 2:
            self._report("d", "audio delta splits a sample")


def _text_of(node: WireEvent) -> Any:
    return node["transcript"] if "transcript" in node else node["text"]
