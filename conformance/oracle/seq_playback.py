"""The sequence rule of the output buffer, on servers that keep the time of the playback."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.oracle.schema import WireEvent
from conformance.oracle.seq_responses import Report


@dataclass(slots=True)
class _Track:
    has_part: bool = False
    has_audio: bool = False
    started: bool = False
    done: bool = False
    over: bool = False


class Playback:
    """Each response's audio starts once, and stops or is cleared once.

    Args:
        report: Called with the rule's letter and what was wrong.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tracks: dict[str, _Track] = {}
        self._clears = 0
        self._used = False

    def requested(self) -> None:
        """The client sent an `output_audio_buffer.clear`."""
        self._clears += 1

    def response(self, event: WireEvent) -> None:
        """A `response.*` event came, under its GA name."""
        match event["type"]:
            case "response.content_part.added" if event["part"]["type"] == "audio":
                self._track(event["response_id"]).has_part = True
            case "response.output_audio.delta":
                self._audio(event["response_id"])
            case "response.done":
                self._track(event["response"]["id"]).done = True
            case _:
                pass

    def server(self, event: WireEvent) -> None:
        """Take one `output_audio_buffer.*` event."""
        self._used = True
        response_id = event["response_id"]
        track = self._track(response_id)
        match event["type"].rpartition(".")[2]:
            case "started":
                if track.started or track.has_audio:
                    self._report("p", f"{response_id} starts to sound a second time")
                if not track.has_part:
                    self._report("p", f"{response_id} starts to sound before its audio part")
                track.started = True
            case "stopped":
                if not track.started or track.over:
                    self._report("p", f"{response_id} stops to sound, but does not sound")
                if not track.done:
                    self._report("p", f"{response_id} stops to sound before its response.done")
                track.over = True
            case _:
                self._cleared(response_id, track)

    def _cleared(self, response_id: str, track: _Track) -> None:
        asked, self._clears = self._clears > 0, max(self._clears - 1, 0)
        if not track.started or (track.over and not asked):
            self._report("p", f"{response_id} is cleared, but does not sound")
        if not track.done:
            self._report("p", f"{response_id} is cleared before its response.done")
        track.over = True

    def _audio(self, response_id: str) -> None:
        track = self._track(response_id)
        if self._used and not track.started:
            self._report("p", f"audio of {response_id} before it starts to sound")
        if track.over:
            self._report("p", f"audio of {response_id} after it stopped or was cleared")
        track.has_audio = True

    def _track(self, response_id: str) -> _Track:
        return self._tracks.setdefault(response_id, _Track())
