"""A random client and a random engine against the core: the invariants I1 to I14 hold throughout.

Ids are drawn from all that were ever issued, so stale input is common, and every payload carries
the id of its owner, so output that leaves under another name is seen.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import protocol as p
from core import messages as m
from core.machine import Output
from core.policy import Policy
from core.rate_limits import Allowance
from protocol import ErrorCategory, Stage
from tests.core.books import LimitsBook, PlaybackBook, RunsBook
from tests.core.kit import MANUAL, SAMPLES_PER_MS, TRANSCRIBED, Core, pcm

IDLE = {"type": "server_vad", "idle_timeout_ms": 5000}
FAILURE = m.Failure(Stage.TTS, ErrorCategory.SERVER, "broken")


class SessionMachine(RuleBasedStateMachine):
    """Drives `Core` and keeps a book of its own of what may and may not happen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.responses: list[str] = ["resp_never"]
        self.runs = RunsBook()
        self.generation = 0
        self.pauses: list[int] = [0]
        self.items: list[str] = ["item_never"]
        self.live: set[str] = set()
        self.out_of_band: set[str] = set()
        self.finished: set[str] = set()
        self.open_items: dict[str, str] = {}
        self.open_parts: dict[str, list[str]] = {}
        self.conversation: list[str] = []
        self.speaking: str | None = None
        self.appended = 0
        self.committed_until = 0
        self.closed = False
        self.calls = 0
        self.idle: str | None = None
        self.transcribed: set[str] = set()

    @initialize(
        playback=st.sampled_from(["client", "server"]),
        requests=st.sampled_from([None, 5]),
        tokens=st.sampled_from([None, 40]),
        legacy=st.booleans(),
        speculate_after_ms=st.sampled_from([None, 100]),
    )
    def open(
        self, playback: Any, requests: Any, tokens: Any, legacy: bool, speculate_after_ms: Any
    ) -> None:
        # Few enough tokens that conversations are cut.
        policy = Policy(
            context_tokens=60,
            playback=playback,
            legacy_events=legacy,
            speculate_after_ms=speculate_after_ms,
        )
        self.core = Core(policy, limiter=Allowance(requests, tokens))
        self.playback = PlaybackBook(kept=playback == "server")
        self.limits = LimitsBook()

    # --- the client -------------------------------------------------------------------------------

    @rule(ms=st.integers(1, 900))
    def append(self, ms: int) -> None:
        self.appended += ms * SAMPLES_PER_MS
        self._feed(p.InputAudioAppend(pcm(ms)))

    @rule()
    def commit(self) -> None:
        self._feed(p.InputAudioCommit("commit"))

    @rule()
    def clear(self) -> None:
        self._feed(p.InputAudioClear("clear"))

    @rule()
    def clear_playback(self) -> None:
        self.playback.asked = True
        self._feed(p.OutputAudioClear("clear playback"))
        self.playback.asked = False

    @rule(data=st.data(), text=st.sampled_from(["hi", "你好"]))
    def create_item(self, data: Any, text: str) -> None:
        after = data.draw(st.sampled_from([None, "root", *self.items]))
        item_id = data.draw(st.sampled_from(["", f"mine_{len(self.items)}", *self.items]))
        item = p.Message(item_id, "user", "completed", (p.InputText(text),))
        self._feed(p.ItemCreate(item, after, "create"))

    @rule(data=st.data())
    def delete_item(self, data: Any) -> None:
        self._feed(p.ItemDelete(data.draw(st.sampled_from(self.items)), "delete"))

    @rule(data=st.data(), ms=st.floats(-10, 99_999))
    def truncate_item(self, data: Any, ms: float) -> None:
        self._feed(p.ItemTruncate(data.draw(st.sampled_from(self.items)), 0, ms, "truncate"))

    @rule(none=st.booleans(), text=st.booleans())
    def create_response(self, none: bool, text: bool) -> None:
        params = p.ResponseParams(
            conversation="none" if none else "auto",
            output_modalities=("text",) if text else ("audio",),
        )
        self._feed(p.ResponseCreate(params, None, "respond"))

    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        wanted = data.draw(st.sampled_from([None, *self.responses]))
        self._feed(p.ResponseCancel(wanted, "cancel"))

    @rule(
        patch=st.sampled_from(
            [
                MANUAL,
                TRANSCRIBED,
                {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}},
                {"audio": {"input": {"turn_detection": {"interrupt_response": False}}}},
                {"audio": {"input": {"turn_detection": IDLE}}},
                {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
                {"truncation": "disabled"},
                {"truncation": {"type": "retention_ratio", "retention_ratio": 0.5}},
                {"type": "transcription"},
                {"audio": {"input": {"turn_detection": {"threshold": 9}}}},
            ]
        )
    )
    def update(self, patch: dict[str, Any]) -> None:
        self._feed(p.SessionUpdate(patch, "update"))

    # --- the engine -------------------------------------------------------------------------------

    @rule(generation=st.integers(0, 4), back=st.integers(0, 500))
    def speech_starts(self, generation: int, back: int) -> None:
        start = max(self.appended - back * SAMPLES_PER_MS, 0)
        self._feed(m.VadSpeechStarted(generation, start))

    @rule(generation=st.integers(0, 4), back=st.integers(0, 500), ahead=st.integers(0, 900))
    def speech_stops(self, generation: int, back: int, ahead: int) -> None:
        end = max(self.appended - back * SAMPLES_PER_MS, 0)
        judged = end + ahead * SAMPLES_PER_MS if ahead else None
        self._feed(m.VadSpeechStopped(generation, end, judged))

    @rule(data=st.data(), back=st.integers(0, 500))
    def speech_pauses(self, data: Any, back: int) -> None:
        generation = data.draw(st.sampled_from([self.generation, 0, 1]))
        self.pauses.append(max(self.appended - back * SAMPLES_PER_MS, 0))
        self._feed(m.VadPaused(generation, self.pauses[-1]))

    @rule(data=st.data())
    def speech_goes_on(self, data: Any) -> None:
        self._feed(m.VadResumed(data.draw(st.sampled_from([self.generation, 0, 1]))))

    @rule(data=st.data(), text=st.sampled_from(["", "hello", "Hello.", "hello you"]))
    def words_in_a_pause(self, data: Any, text: str) -> None:
        item_id = data.draw(st.sampled_from([self.speaking or "item_never", *self.items]))
        sample = data.draw(st.sampled_from([self.pauses[-1], *self.pauses]))
        self._feed(m.TranscriptTentative(item_id, text, sample))

    @rule(data=st.data(), text=st.sampled_from(["hello", "hello you"]), goes_on=st.booleans())
    def a_pause_ends(self, data: Any, text: str, goes_on: bool) -> None:
        """The usual course of events, which chance alone would seldom take."""
        if self.speaking is None:
            self.append(300)
            self._feed(m.VadSpeechStarted(self.generation, self.appended))
        self.pauses.append(self.appended)
        self._feed(m.VadPaused(self.generation, self.appended))
        item_id = self.speaking or "item_never"
        self._feed(m.TranscriptTentative(item_id, text, self.appended))
        if self.runs.draft is not None:
            self._say(self._owner(data), 100)
            self._say(self.runs.draft, 100)
        if goes_on:
            self._feed(m.VadResumed(self.generation))
        self._feed(m.VadSpeechStopped(self.generation, self.appended))
        self._feed(m.TranscriptFinal(item_id, "Hello."))

    @rule(data=st.data(), text=st.sampled_from(["", "hello"]), fails=st.booleans())
    def transcript(self, data: Any, text: str, fails: bool) -> None:
        item_id = data.draw(st.sampled_from(self.items))
        if fails:
            self._feed(m.TranscriptFailed(item_id, FAILURE))
        else:
            self._feed(m.TranscriptDelta(item_id, f"<{item_id}>"))
            self._feed(m.TranscriptFinal(item_id, text))

    @rule(data=st.data(), ms=st.integers(1, 3000))
    def speak(self, data: Any, ms: int) -> None:
        self._say(self._owner(data), ms)

    def _owner(self, data: Any) -> str:
        return data.draw(st.sampled_from([*self.responses, *self.runs.ever]))

    def _say(self, owner: str, ms: int) -> None:
        text = f"<{owner}> "
        self._feed(m.ModelText(owner, text))
        self._feed(m.SpeechText(owner, text))
        self._feed(m.SpeechAudio(owner, pcm(ms, self._tag(owner))))

    @rule(data=st.data())
    def model_text(self, data: Any) -> None:
        owner = self._owner(data)
        self._feed(m.ModelText(owner, f"<{owner}>"))

    @rule(data=st.data(), ends=st.booleans())
    def call(self, data: Any, ends: bool) -> None:
        owner = self._owner(data)
        self.calls += 1
        call_id = f"call_{data.draw(st.integers(0, self.calls))}"
        self._feed(m.ToolCallStarted(owner, call_id, "f"))
        self._feed(m.ToolCallArguments(owner, call_id, f"<{owner}>"))
        if ends:
            self._feed(m.ToolCallEnded(owner, call_id))

    @rule(data=st.data(), reason=st.sampled_from(["stop", "length", "content_filter"]))
    def generation_ends(self, data: Any, reason: Any) -> None:
        owner = self._owner(data)
        self._feed(m.ModelFinished(owner, reason, p.Usage(1, 0, 0, 1)))
        self._feed(m.GenerationEnded(owner))

    @rule(data=st.data())
    def generation_fails(self, data: Any) -> None:
        owner = self._owner(data)
        self.runs.failed(owner)
        self._feed(m.GenerationFailed(owner, FAILURE))

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        end = self.core.now + seconds
        while self.core.tick(end):
            self._check_new()
        self.core.now = end

    @rule(seconds=st.integers(1, 12))
    def the_microphone_hears_nobody(self, seconds: int) -> None:
        for _ in range(seconds):
            self.append(1000)
            self.time_passes(1.0)

    @rule(last=st.booleans())
    def close(self, last: bool) -> None:
        # Rarely, or no run would get far.
        if last and len(self.responses) > 6:
            self.core.machine.close(self.core.now)
            self.closed = True

    # --- the book ---------------------------------------------------------------------------------

    def _tag(self, owner: str) -> int:
        return int(owner.rsplit("_", 1)[1]) if owner[-1].isdigit() else 0

    def _feed(self, event: Any) -> None:
        outputs = self.core.raw(event)
        errors = [o for o in outputs if isinstance(o, p.ErrorEvent)]
        if errors:
            # I9: an error names the event that caused it and nothing else happened.
            assert len(outputs) == 1
            assert errors[0].client_event_id == event.event_id
        self._check_new()

    def _check_new(self) -> None:
        new = self.core.log[self.seen :]
        self.seen = len(self.core.log)
        assert not (self.closed and new), "I10: output after close"
        for output in new:
            self._check(output)
            self.playback.check(output, self.core.now)
            self.limits.check(output)
        draft = self.runs.draft
        assert draft is None or self.speaking is not None or draft in self.live, "I14: kept"

    def _check(self, output: Output) -> None:
        match output:
            case p.ResponseCreated(view):
                assert view.id not in self.responses
                self.responses.append(view.id)
                self.live.add(view.id)
                if view.conversation_id is None:
                    self.out_of_band.add(view.id)
                assert len(self.live - self.out_of_band) <= 1, "I1"
            case p.ResponseDone(view):
                assert view.id in self.live, "I2: done without created, or twice"
                self.live.discard(view.id)
                self.finished.add(view.id)
                mine = [i for i, owner in self.open_items.items() if owner == view.id]
                assert not mine, "I4: items still open at response.done"
                self.runs.done(view)
            case m.StartResponse():
                self.runs.started(output, self.live, self.out_of_band)
            case m.StopResponse():
                self.runs.stopped(output)
            case m.ConfigureVad():
                self.generation = output.generation
            case p.OutputItemAdded():
                assert output.response_id in self.live, "I3"
                self.items.append(output.item.id)
                self.open_items[output.item.id] = output.response_id
                self.runs.of(output.response_id)
            case p.OutputItemDone():
                assert self.open_items.pop(output.item.id) == output.response_id, "I4"
                assert output.item.id not in self.open_parts, "I4: part open at item done"
                assert getattr(output.item, "status", None) != "in_progress"
            case p.ContentPartAdded():
                assert self.open_items[output.item_id] == output.response_id, "I5"
                self.open_parts[output.item_id] = []
            case p.ContentPartDone():
                sent = "".join(self.open_parts.pop(output.item_id))
                part = output.part
                shown = part.text if isinstance(part, p.OutputText) else part.transcript
                assert shown == sent, "I11"
            case p.OutputTextDelta() | p.OutputTranscriptDelta():
                assert output.response_id in self.live, "I3"
                self.open_parts[output.item_id].append(output.delta)
                assert output.delta.strip() == f"<{self.runs.of(output.response_id)}>", "I6"
            case p.OutputTextDone(text=text) | p.OutputTranscriptDone(transcript=text):
                assert text == "".join(self.open_parts[output.item_id]), "I11"
            case p.OutputAudioDelta():
                assert output.response_id in self.live, "I3"
                assert output.item_id in self.open_parts, "I5"
                tag = self._tag(self.runs.of(output.response_id)).to_bytes(2, "little", signed=True)
                assert output.audio[:2] == tag, "I6"
            case p.FunctionArgumentsDelta():
                assert self.open_items[output.item_id] == output.response_id, "I5"
                assert output.delta == f"<{self.runs.of(output.response_id)}>", "I6"
            case p.SpeechStarted():
                assert self.speaking is None, "I8"
                self.speaking = output.item_id
            case p.SpeechStopped():
                assert self.speaking == output.item_id, "I8"
            case p.TimeoutTriggered():
                assert self.speaking is None, "idle while the user speaks"
                assert not self.live - self.out_of_band, "idle while the model speaks"
                assert output.audio_start_ms <= output.audio_end_ms
                self.idle = output.item_id
            case p.InputAudioCommitted():
                assert self.idle in (None, output.item_id), "the silence was not committed"
                self.speaking = self.idle = None
            case p.TranscriptionCompleted() | p.TranscriptionFailed():
                assert output.item_id not in self.transcribed, "a transcript ends once"
                self.transcribed.add(output.item_id)
            case p.SessionUpdated(view):
                # Switched off in mid-speech: the announced turn goes on as a manual one.
                if view.settings.audio.input.turn_detection is None:
                    self.speaking = None
            case p.InputAudioCleared():
                self.speaking = None
                self.committed_until = self.appended
            case p.ItemAdded():
                self._check_added(output)
            case p.ItemDone():
                index = self.conversation.index(output.item.id)
                before = self.conversation[index - 1] if index else None
                assert output.previous_item_id == before, "previous_item_id of done"
            case p.ItemDeleted():
                self.conversation.remove(output.item_id)
            case _:
                pass

    def _check_added(self, output: p.ItemAdded) -> None:
        item = output.item
        assert item.id not in self.conversation, "I5: id used twice"
        previous = output.previous_item_id
        index = 0 if previous is None else self.conversation.index(previous) + 1
        self.conversation.insert(index, item.id)
        if item.id not in self.items:
            self.items.append(item.id)
        for part in p.item_content(item):
            if isinstance(part, p.InputAudio) and part.audio:
                samples = len(part.audio) // 2
                # I8: committed audio is new audio, and no more than was appended.
                self.committed_until += samples
                assert self.committed_until <= self.appended, "I8: samples counted twice"

    @invariant()
    def one_default_response(self) -> None:
        assert len(self.live - self.out_of_band) <= 1, "I1"


SessionMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSessionInvariants = SessionMachine.TestCase
