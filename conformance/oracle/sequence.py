"""The rules over the whole stream of one connection (protocol reference §8.6), as one checker.

Each rule has its letter there and in every report:

a  the first event is `session.created`, and it comes once
b  one `response.created` and one `response.done` per response, nothing outside them
c  an output item is added before its events, with stable ids and indexes, and done once
d  parts nest; the deltas add up to every later copy of the text
e  a conversation item is added before it is done; out-of-band items never join
f  at most one default-conversation response is active
g  speech starts, stops and is committed under one item id
h  `previous_item_id` rebuilds the item list
i  `event_id` is unique
j  an error names only client events that exist
k  no audio in the text modality
l  positions in the input audio grow, and stay within what was appended
m  transcription comes only when asked for
n  MCP listings and calls are begun, have one outcome, and only then are done
o  rate limits follow `response.done` in GA and `response.created` in beta, and add up
p  the audio of a response starts to sound once, and stops or is cleared once
"""

from __future__ import annotations

from contextlib import suppress

from conformance.oracle.schema import Dialect, WireEvent
from conformance.oracle.seq_conversation import Conversation
from conformance.oracle.seq_input import InputAudio
from conformance.oracle.seq_limits import RateLimits
from conformance.oracle.seq_mcp import Mcp
from conformance.oracle.seq_playback import Playback
from conformance.oracle.seq_responses import Responses

_BETA_NAMES = {
    "conversation.item.created": "conversation.item.added",
    "transcription_session": "session",
    "response.text": "response.output_text",
    "response.audio": "response.output_audio",
    "response.audio_transcript": "response.output_audio_transcript",
}


class SequenceChecker:
    """Follows one connection; problems gather in `violations`, each with its rule's letter.

    Args:
        dialect: In beta, `conversation.item.created` stands for `added` and no `done` follows.
        legacy: In GA, whether it is the twin of `added` instead of a name for it.
    """

    def __init__(self, dialect: Dialect, *, legacy: bool = False) -> None:
        has_item_done = dialect == "ga"
        self.violations: list[str] = []
        self._responses = Responses(self._report, has_item_done=has_item_done)
        self._conversation = Conversation(self._report, has_item_done=has_item_done)
        self._input = InputAudio(self._report)
        self._mcp = Mcp(self._report)
        self._limits = RateLimits(self._report, after_done=dialect == "ga")
        self._playback = Playback(self._report)
        self._has_twins = legacy and dialect == "ga"
        self._last: WireEvent = {}
        self._event_ids: set[str] = set()
        self._client_event_ids: set[str] = set()
        self._session_created = False
        self._refused = False

    def client(self, event: WireEvent) -> None:
        """Learn what the client sent; call it before the frame leaves."""
        if isinstance(event_id := event.get("event_id"), str):
            self._client_event_ids.add(event_id)
        # A test may send nonsense on purpose: it announces nothing.
        with suppress(KeyError, TypeError, AttributeError):
            match event.get("type"):
                case "session.update" | "transcription_session.update":
                    self._input.requested_session(event["session"])
                case "input_audio_buffer.append":
                    self._input.appended(event["audio"])
                case "conversation.item.create":
                    self._conversation.requested(event)
                case "output_audio_buffer.clear":
                    self._playback.requested()
                case _:
                    pass

    def server(self, event: WireEvent) -> None:
        """Check the next event of the server."""
        kind = event["type"]
        self._check_opening(kind.removeprefix("transcription_"))
        if (event_id := event.get("event_id")) in self._event_ids:
            self._report("i", f"event_id {event_id} is used twice")
        elif event_id is not None:
            self._event_ids.add(event_id)
        stem, _, step = kind.rpartition(".")
        ga_name = _BETA_NAMES.get(kind) or f"{_BETA_NAMES.get(stem, stem)}.{step}".lstrip(".")
        try:
            if self._has_twins and kind == "conversation.item.created":
                self._repeats_added(event)
            else:
                self._dispatch({**event, "type": ga_name})
        except (KeyError, TypeError, AttributeError) as error:
            self._report("?", f"{kind} cannot be followed: {error!r}")
        self._last = event

    def finish(self, *, complete: bool = True) -> list[str]:
        """Close the books.

        Args:
            complete: False when the connection was cut with work under way.

        Returns:
            All violations.
        """
        if not (self._session_created or self._refused):
            self._report("a", "session.created never came")
        if complete:
            self._responses.finish()
            self._conversation.finish()
        return self.violations

    def _report(self, letter: str, problem: str) -> None:
        self.violations.append(f"({letter}) {problem}")

    def _check_opening(self, kind: str) -> None:
        if kind == "session.created":
            if self._session_created or self._refused:
                self._report("a", "session.created is not the first event")
            self._session_created = True
        elif not self._session_created:
            # A refused handshake is told by an error alone, and then a close (reference §1.7).
            if kind != "error" or self._refused:
                self._report("a", f"{kind} before session.created")
            self._refused = kind == "error"

    def _dispatch(self, event: WireEvent) -> None:
        kind: str = event["type"]
        if kind == "error":
            self._error(event["error"])
        elif kind in ("session.created", "session.updated"):
            self._input.session(event["session"])
        elif kind == "conversation.created":
            if not str(self._last.get("type")).endswith("session.created"):
                self._report("a", "conversation.created is not right behind session.created")
        elif kind == "conversation.item.added":
            self._item_added(event)
        elif kind == "conversation.item.done":
            self._item_done(event)
        elif kind.startswith("conversation.item.input_audio_transcription."):
            added = self._conversation.was_added(event["item_id"])
            self._input.transcription(event, item_added=added)
        elif kind.startswith("conversation.item."):
            self._conversation.named(event)
            if kind.endswith(".deleted"):
                self._input.deleted(event["item_id"])
        elif kind.startswith("input_audio_buffer."):
            if kind.endswith(".committed") and event["previous_item_id"] != self._conversation.tail:
                self._report("h", f"committed after {event['previous_item_id']}, not the last item")
            self._input.server(event)
        elif kind.startswith(("mcp_list_tools.", "response.mcp_")):
            self._mcp.server(event)
        elif kind.startswith("response."):
            if kind == "response.output_item.added":
                self._mcp.added(event["item"])
            elif kind == "response.output_item.done":
                self._mcp.done(event["item"])
            if kind == "response.created":
                self._input.response_created()
            self._responses.server(event)
            self._limits.response(kind)
            self._playback.response(event)
        elif kind == "rate_limits.updated":
            self._limits.server(event)
        elif kind.startswith("output_audio_buffer."):
            self._playback.server(event)

    def _repeats_added(self, event: WireEvent) -> None:
        """GA's legacy `conversation.item.created` says again what `added` has just said."""
        places = [(e["previous_item_id"], e["item"]) for e in (event, self._last) if "item" in e]
        added = self._last.get("type") == "conversation.item.added"
        if not added or places[0] != places[-1]:
            self._report("e", "conversation.item.created is not the twin of the event before it")

    def _error(self, error: WireEvent) -> None:
        client_event_id = error["event_id"]
        if client_event_id is None:
            return
        if client_event_id not in self._client_event_ids:
            self._report("j", f"error names {client_event_id!r}, which the client never sent")
        self._conversation.refused(client_event_id)

    def _item_added(self, event: WireEvent) -> None:
        item = event["item"]
        self._mcp.added(item)
        expected: set[str | None] | None = None
        if self._responses.expects_added(item["id"]):
            self._responses.conversation_added(item)
            expected = {self._conversation.tail}
            if (previous_output := self._responses.predecessor(item["id"])) is not None:
                expected.add(previous_output)
        elif self._input.committed is not None:
            expected = {self._input.committed[1]}
        self._input.item_added(item["id"])
        self._conversation.added(event, expected)

    def _item_done(self, event: WireEvent) -> None:
        self._mcp.done(event["item"])
        is_output = self._responses.expects_done(event["item"]["id"])
        if is_output:
            self._responses.conversation_done(event["item"])
        self._conversation.done(event, is_output=is_output)
