"""Stands in for a session's pipeline and MCP client: obeys commands, and moves when it is told to.

Every text and sound it makes carries the id of the response it is for.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

import core.messages as m
from protocol import ErrorCategory, McpHttpError, McpListedTool, Stage, Usage

Emit = Callable[[m.EngineEvent], None]

SAMPLES_PER_MS = 24
_REASONS: tuple[m.FinishReason, ...] = ("stop", "stop", "stop", "tool_calls", "length",
                                        "content_filter")  # fmt: skip
_LATE = m.Failure(Stage.STT, ErrorCategory.TIMEOUT, "late")
_FAILURES = tuple(
    m.Failure(stage, category, "out of order")
    for stage in (Stage.LLM, Stage.TTS)
    for category in ErrorCategory
)


class FakeTools:
    """The way to MCP servers: answers when it is moved.

    Args:
        emit: Takes the answers.
        watch: Told of every command.
    """

    def __init__(self, emit: Emit, watch: Callable[[m.McpCommand], None]) -> None:
        self._emit = emit
        self._watch = watch
        self._asked: deque[m.McpCommand] = deque()

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    def execute(self, command: m.McpCommand) -> None:
        self._watch(command)
        # Every second answer is on its way when it is called off.
        if not isinstance(command, m.CancelMcp):
            self._asked.append(command)
        elif len(self._asked) % 2:
            kept = [asked for asked in self._asked if asked.item_id != command.item_id]
            self._asked = deque(kept)

    def move(self, rng: random.Random) -> None:
        """Answer one request."""
        if not self._asked:
            return
        asked = self._asked.popleft()
        match asked:
            case m.ListMcpTools(item_id):
                tools = tuple(McpListedTool(name, {"type": "object"}) for name in ("ask", "tell"))
                failed = rng.random() < 0.2
                self._emit(
                    m.McpToolsFailed(item_id) if failed else m.McpToolsListed(item_id, tools)
                )
            case m.CallMcpTool(item_id):
                outcome = rng.choice(("done", "", McpHttpError(502, "bad gateway")))
                self._emit(m.McpCallFinished(item_id, outcome))
            case _:
                pass

    def finish(self) -> None:
        """Answer everything."""
        while self._asked:
            self.move(random.Random(len(self._asked)))


def tag_of(response_id: str) -> int:
    """The sample value that marks the sound of a response."""
    return int(response_id.rsplit("_", 1)[1]) % 30_000 + 1


class FakePipeline:
    """The engines of one session.

    Args:
        emit: Takes their events.
        caught_up: Called when `behind` has become False.
        watch: Told of every command, and of the responses that will get nothing more.
    """

    def __init__(
        self,
        emit: Emit,
        caught_up: Callable[[], None],
        watch: Callable[[m.EngineCommand | m.GenerationFailed], None],
    ) -> None:
        self.behind = False
        self._emit = emit
        self._caught_up = caught_up
        self._watch = watch
        self._generation = 0
        self._listens = False
        self._tells_pauses = False
        self._speaking = False
        self._pausing = False
        self._course: list[Callable[[random.Random], None]] = []
        """What is left of a turn that takes its usual course."""
        self._heard_samples = 0
        self._vad_sample = 0
        self._open: str | None = None
        self._attempts: dict[str, int] = {}
        self._closed: deque[tuple[str, int]] = deque()
        self._old_segments: list[tuple[str, int]] = []
        self._pauses: list[m.SettleSegment] = []
        self._replies: dict[str, deque[m.EngineEvent]] = {}
        self._stopped: list[str] = []
        self._flows = True

    # --- the port ---------------------------------------------------------------------------

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        self._replies.clear()

    def set_flow(self, open: bool) -> None:
        self._flows = open

    def execute(self, command: m.EngineCommand) -> None:
        self._watch(command)
        match command:
            case m.ConfigureVad(generation, detection, pause_ms):
                if generation != self._generation or detection is None:
                    self._speaking = self._pausing = False
                self._generation, self._listens = generation, detection is not None
                self._tells_pauses = pause_ms is not None
            case m.FeedAudio(pcm):
                self._heard_samples += len(pcm) // 2
                if self._listens and not self.behind:
                    self.behind = True
                    asyncio.get_running_loop().call_soon(self._catch_up)
            case m.OpenSegment(item_id):
                self._open = item_id
                self._attempts[item_id] = command.attempt
            case m.SettleSegment():
                self._pauses.append(command)
            case m.CloseSegment(item_id):
                self._open = None
                self._closed.append((item_id, self._attempts[item_id]))
            case m.DropSegment(item_id):
                self._open = None if self._open == item_id else self._open
                self._old_segments.append((item_id, self._attempts.get(item_id, 0)))
            case m.StartResponse(response_id, _, request):
                self._replies[response_id] = deque()
                self._plan(random.Random(response_id), response_id, request)
            case m.StopResponse(response_id):
                # What is on its way still arrives: every second pipeline is slow to stop.
                self._stopped.append(response_id)
                if tag_of(response_id) % 2:
                    self._replies.pop(response_id, None)
            case _:
                pass

    def _catch_up(self) -> None:
        self.behind = False
        self._caught_up()

    # --- moves ------------------------------------------------------------------------------

    def move(self, rng: random.Random) -> None:
        """Do something of what there is to do."""
        if self._course and rng.random() < 0.85:
            self._course.pop(0)(rng)
            return
        if self._tells_pauses and not self._speaking and rng.random() < 0.2:
            # Chance alone would seldom take a draft as far as its use.
            pause = [self._vad, self._pause, self._tell_pause, self._reply]
            self._course = [*pause, *rng.choice(([], [], pause[1:])), self._stop,
                            self._transcribe, self._reply, self._reply]  # fmt: skip
        rng.choice((self._vad, self._transcribe, self._reply, self._reply, self._haunt))(rng)

    def finish(self) -> None:
        """Deliver all that is owed."""
        for response_id, events in list(self._replies.items()):
            while events:
                self._make(events.popleft())
            self._replies.pop(response_id)
        while self._closed:
            item_id, attempt = self._closed.popleft()
            self._emit(m.TranscriptFinal(item_id, "hello", attempt=attempt))

    def _vad(self, rng: random.Random) -> None:
        if not self._listens or self._heard_samples == self._vad_sample:
            return
        self._vad_sample = rng.randint(self._vad_sample, self._heard_samples)
        if not self._speaking:
            self._speaking = True
            self._emit(m.VadSpeechStarted(self._generation, self._vad_sample))
        elif self._tells_pauses and rng.random() < 0.6:
            self._pause(rng)
        else:
            self._stop(rng)

    def _stop(self, rng: random.Random) -> None:
        if self._speaking:
            self._speaking = self._pausing = False
            self._emit(m.VadSpeechStopped(self._generation, self._vad_sample))

    def _pause(self, rng: random.Random) -> None:
        """In the middle of a turn nobody speaks, or somebody goes on."""
        if not self._speaking:
            return
        if self._pausing and rng.random() < 0.3:
            self._emit(m.VadResumed(self._generation))
        else:
            self._emit(m.VadPaused(self._generation, self._vad_sample))
        self._pausing = True

    def _transcribe(self, rng: random.Random) -> None:
        if self._pauses and rng.random() < 0.2:
            self._tell_pause(rng)
        elif self._open is not None and rng.random() < 0.4:
            attempt = self._attempts[self._open]
            self._emit(m.TranscriptDelta(self._open, "so far ", attempt=attempt))
        elif self._closed:
            item_id, attempt = self._closed.popleft()
            self._old_segments.append((item_id, attempt))
            match rng.randrange(5):
                case 0:
                    self._emit(m.TranscriptFinal(item_id, "", attempt=attempt))
                case 1:
                    self._emit(m.TranscriptFailed(item_id, _LATE, attempt))
                case 2:
                    self._emit(m.TranscriptDelta(item_id, "hel", attempt=attempt))
                    self._emit(m.TranscriptDelta(item_id, "lo", attempt=attempt))
                    self._emit(m.TranscriptFinal(item_id, "hello", attempt=attempt))
                case _:
                    self._emit(m.TranscriptFinal(item_id, "hello", attempt=attempt))

    def _tell_pause(self, rng: random.Random) -> None:
        """The words of a pause; now and then of an old one, or of a turn that is over."""
        if self._pauses:
            pause = self._pauses[-1] if rng.random() < 0.8 else rng.choice(self._pauses[-3:])
            text = rng.choice(("hello", "Hello!", "hello you", "hello you", ""))
            self._emit(m.TranscriptTentative(pause.item_id, text, pause.sample))

    def _reply(self, rng: random.Random) -> None:
        talking = [reply for reply, events in self._replies.items() if events]
        if not talking:
            return
        response_id = rng.choice(talking)
        events = self._replies[response_id]
        for _ in range(rng.choice((1, 2, 4, 40))):
            if events:
                self._make(events.popleft())
        if not events:
            del self._replies[response_id]

    def _make(self, event: m.EngineEvent) -> None:
        if isinstance(event, m.GenerationFailed):
            self._watch(event)
        self._emit(event)

    def _haunt(self, rng: random.Random) -> None:
        """Say something that nobody waits for any more, as a race makes a pipeline do."""
        match rng.randrange(4):
            case 0:
                self._emit(m.VadSpeechStarted(self._generation - 1, 0))
                self._emit(m.VadSpeechStopped(self._generation - 1, self._heard_samples))
            case 1 if self._old_segments:
                item_id, attempt = rng.choice(self._old_segments[-3:])
                self._emit(m.TranscriptDelta(item_id, "late", attempt=attempt))
                self._emit(m.TranscriptFinal(item_id, "too late", attempt=attempt))
            case 2 if self._stopped:
                late = rng.choice(self._stopped[-3:])
                self._emit(m.ModelText(late, f"{late} was late. "))
                self._emit(m.SpeechText(late, f"{late} was late. "))
                self._emit(m.SpeechAudio(late, _sound(late, 40)))
                self._emit(m.ToolCallStarted(late, f"call_{tag_of(late)}_late", "f"))
                self._emit(m.GenerationEnded(late))
            case _:
                self._emit(m.GenerationFailed("resp_0", _FAILURES[0]))

    def _plan(self, rng: random.Random, response_id: str, request: m.GenerationRequest) -> None:
        """What the model will answer: clauses, calls, an end, a failure, or silence."""
        plan: list[m.EngineEvent] = []
        for _ in range(rng.randint(0, 3)):
            words = rng.choice(("says hello. ", "说你好。", "counts one two. "))
            said = f"{response_id} {words}"
            plan.append(m.ModelText(response_id, said))
            if request.speak:
                plan += self._spoken(rng, response_id, said)
        if request.tools or rng.random() < 0.2:
            for number in range(rng.choice((0, 0, 1, 2))):
                name = rng.choice([tool.name for tool in request.tools] or ["get_weather"])
                plan += _call(response_id, f"call_{tag_of(response_id)}_{number}", name)
        ending = rng.random()
        if ending < 0.8:
            reason = rng.choice(_REASONS)
            if reason == "length":
                del plan[rng.randint(0, len(plan)) :]
            usage = Usage(input_text_tokens=3, output_text_tokens=3)
            plan += [m.ModelFinished(response_id, reason, usage), m.GenerationEnded(response_id)]
        elif ending < 0.93:
            del plan[rng.randint(0, len(plan)) :]
            plan.append(m.GenerationFailed(response_id, rng.choice(_FAILURES)))
        self._replies[response_id] = deque(plan)

    def _spoken(self, rng: random.Random, response_id: str, said: str) -> list[m.EngineEvent]:
        events: list[m.EngineEvent] = [m.SpeechText(response_id, said)]
        if rng.random() < 0.5:
            events.append(m.SpeechWords(response_id, (m.WordTime(0, 4, 0), m.WordTime(5, 9, 30))))
        for _ in range(rng.randint(0, 3)):
            sound = _sound(response_id, rng.choice((20, 90, 900)))
            events.append(m.SpeechAudio(response_id, sound))
        return events


def _sound(response_id: str, ms: int) -> bytes:
    return tag_of(response_id).to_bytes(2, "little") * (ms * SAMPLES_PER_MS)


def _call(response_id: str, call_id: str, name: str) -> list[m.EngineEvent]:
    return [
        m.ToolCallStarted(response_id, call_id, name),
        m.ToolCallArguments(response_id, call_id, '{"city": '),
        m.ToolCallArguments(response_id, call_id, '"Rome"}'),
        m.ToolCallEnded(response_id, call_id),
    ]
