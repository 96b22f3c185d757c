"""Sequence rules of the input side: speech boundaries, commits and input transcription."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from conformance.oracle.schema import WireEvent
from conformance.oracle.seq_responses import Report

_BYTES_PER_MS = {"audio/pcm": 48, "pcm16": 48}
_G711_BYTES_PER_MS = 8


@dataclass(slots=True)
class _Transcript:
    wanted: bool
    deltas: list[str] = field(default_factory=list[str])
    ended: bool = False


class InputAudio:
    """The input buffer as the events describe it.

    Args:
        report: Called with the rule's letter and what was wrong.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._appended_ms = 0.0
        self._format: Any = "audio/pcm"
        self._transcribing = False
        self._speaking = False
        self._announced: str | None = None
        self._last_ms = 0
        self._used: set[str] = set()
        self._committed_ids: set[str] = set()
        self._transcripts: dict[str, _Transcript] = {}
        self.committed: tuple[str, str | None] | None = None
        """Id and predecessor of a committed item that has not joined the conversation yet."""

    # --- client events

    def requested_session(self, session: WireEvent) -> None:
        """The client sent a `session.update`; its format counts from the next append on."""
        wanted = _hearing(session, "format", "input_audio_format")
        if wanted is not None:
            self._format = wanted.get("type") if isinstance(wanted, dict) else wanted

    def appended(self, audio_base64: str) -> None:
        """The client appended audio; an upper bound, since the server may refuse it."""
        audio_bytes = len(audio_base64) * 3 // 4
        self._appended_ms += audio_bytes / _BYTES_PER_MS.get(self._format, _G711_BYTES_PER_MS)

    # --- server events

    def session(self, session: WireEvent) -> None:
        """`session.created` or `session.updated`."""
        transcription = _hearing(session, "transcription", "input_audio_transcription")
        self._transcribing = transcription is not None
        if _hearing(session, "turn_detection", "turn_detection") is None:
            # Turn detection ended in mid-speech: the buffer stays, its speech is never stopped.
            self._speaking, self._announced = False, None

    def server(self, event: WireEvent) -> None:
        """Take one `input_audio_buffer.*` event."""
        match event["type"].removeprefix("input_audio_buffer."):
            case "speech_started":
                self._started(event["item_id"], event["audio_start_ms"])
            case "speech_stopped":
                self._stopped(event["item_id"], event["audio_end_ms"])
            case "timeout_triggered":
                self._announced = event["item_id"]
                self._advance(event["audio_end_ms"], "audio_end_ms")
            case "committed":
                self._committed(event["item_id"], event["previous_item_id"])
            case "cleared":
                self._speaking, self._announced = False, None
            case _:
                pass

    def transcription(self, event: WireEvent, *, item_added: bool) -> None:
        """Take one `conversation.item.input_audio_transcription.*` event."""
        item_id, step = event["item_id"], event["type"].rpartition(".")[2]
        if not item_added and not (step == "delta" and item_id == self._announced):
            self._report("e", f"transcription {step} of {item_id} before the item was added")
        transcript = self._transcripts.setdefault(item_id, _Transcript(self._transcribing))
        if not (transcript.wanted or self._transcribing):
            self._report("m", f"transcription {step} of {item_id}, which nobody asked for")
        if transcript.ended:
            self._report("d", f"transcription {step} of {item_id} after its end")
        match step:
            case "delta":
                transcript.deltas.append(event.get("delta") or "")
            case "completed":
                transcript.ended = True
                # A recogniser may revise what it has said: then the transcript contradicts the
                # deltas and stands. But it may not go on where they end: that part was lost.
                streamed, text = "".join(transcript.deltas), event["transcript"]
                if streamed and text != streamed and text.startswith(streamed):
                    self._report("d", f"transcript of {item_id} goes on after its deltas")
            case "failed":
                transcript.ended = True
            case _:
                pass

    def deleted(self, item_id: str) -> None:
        """An item is gone; a client may use its id for another, with a transcript of its own."""
        self._transcripts.pop(item_id, None)

    def item_added(self, item_id: str) -> None:
        """An item joined the conversation: the committed one, if any is waiting, must be it."""
        if self.committed is not None and self.committed[0] != item_id:
            self._report("g", f"{self.committed[0]} was committed, {item_id} added")
        self.committed = None

    def response_created(self) -> None:
        if self.committed is not None:
            self._report("g", f"response.created before committed {self.committed[0]} was added")

    # --- rules

    def _started(self, item_id: str, start_ms: int) -> None:
        if self._speaking:
            self._report("g", "speech_started while speech is going on")
        elif self._announced is not None:
            self._report("g", f"speech_started before {self._announced} was committed")
        if item_id in self._used:
            self._report("g", f"speech_started reuses {item_id}")
        self._used.add(item_id)
        self._speaking, self._announced = True, item_id
        self._advance(start_ms, "audio_start_ms")

    def _stopped(self, item_id: str, end_ms: int) -> None:
        if not self._speaking:
            self._report("g", "speech_stopped without speech_started")
        elif item_id != self._announced:
            self._report("g", f"speech_stopped names {item_id}, started was {self._announced}")
        self._speaking = False
        self._advance(end_ms, "audio_end_ms")

    def _committed(self, item_id: str, previous: str | None) -> None:
        if self._announced is not None and item_id != self._announced:
            self._report("g", f"committed names {item_id}, the speech was {self._announced}")
        if item_id in self._committed_ids:
            self._report("g", f"committed reuses {item_id}")
        self._committed_ids.add(item_id)
        self._used.add(item_id)
        self._speaking, self._announced = False, None
        self._transcripts.setdefault(item_id, _Transcript(self._transcribing))
        self.committed = (item_id, previous)

    def _advance(self, position_ms: int, name: str) -> None:
        if position_ms < self._last_ms:
            self._report("l", f"{name} {position_ms} lies before {self._last_ms}")
        if position_ms > self._appended_ms + 1:
            self._report("l", f"{name} {position_ms} of {self._appended_ms:.0f} ms appended")
        self._last_ms = max(self._last_ms, position_ms)


def _hearing(session: WireEvent, ga_key: str, beta_key: str) -> Any:
    """A setting of the input side, wherever the session's dialect keeps it."""
    if "audio" in session:
        return (session["audio"].get("input") or {}).get(ga_key)
    return session.get(beta_key)
