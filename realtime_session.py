"""The life of one session: its four tasks, and the one step by which they talk to the core.

It carries out what the core decides and decides nothing itself; it knows no JSON and no frame.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import core.messages as m
from config import Settings
from core.machine import Machine, Output
from core.mcp_policy import McpPolicy
from core.policy import Policy
from core.rate_limits import Limiter
from core.session_settings import merge_session
from core.turn_times import TurnClock, TurnTimes
from protocol import (
    ClientEvent,
    Disconnected,
    ErrorEvent,
    InputAudioAppend,
    InputAudioClear,
    InvalidRequest,
    ServerEvent,
    ServerVad,
    Session,
    SessionCreated,
    SessionKind,
    SessionUpdated,
    SessionView,
    Usage,
    error_event,
)
from service_providers import Stack
from session_inbox import Inbox

logger = logging.getLogger("realtime.session")

MAX_WAITING_EVENTS = 64
"""Client events read ahead of the driver; beyond it TCP makes the client wait."""
MAX_TAKEN_AT_ONCE = 16
"""Client events that the reader hands to the core itself before it lets others run."""
BACKLOG_LIMIT_MS = 10_000
"""Audio that may wait for its pace before the engine is told to stop making more."""
OUTBOX_HIGH_BYTES = 4 * 1024 * 1024
"""Bytes waiting for a slow reader before the engine is told to stop making more."""
FLOW_POLL_S = 0.1


APPEND_SLICE_BYTES = 48_000
"""One second: a whole file appended at once is worked off without holding the event loop."""


class InputCodec(Protocol):
    """Brings appended audio to s16le mono 24 kHz."""

    def to_pcm(self, append: InputAudioAppend) -> InputAudioAppend: ...
    def set_input(self, format_type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]) -> None: ...
    def reset(self) -> None: ...


class ClientConnection(Protocol):
    """The client's side of a session; `transport.Connection` is one."""

    @property
    def codec(self) -> InputCodec: ...
    @property
    def dialect(self) -> str: ...
    @property
    def outbox_bytes(self) -> int: ...
    async def receive(self) -> ClientEvent: ...
    def send(self, event: ServerEvent) -> None: ...
    async def write_forever(self) -> None: ...
    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class Pipeline(Protocol):
    """The engines' side of a session; `pipeline_manager.PipelineManager` is one."""

    @property
    def behind(self) -> bool: ...
    async def run(self) -> None: ...
    def execute(self, command: m.EngineCommand) -> None: ...
    def set_flow(self, open: bool) -> None: ...
    async def close(self) -> None: ...


class Observer(Protocol):
    """Whom a session reports to; `metrics.Metrics` is one."""

    def session_opened(self, dialect: str, took_s: float) -> None: ...
    def session_closed(self) -> None: ...
    def turn(self, times: TurnTimes) -> None: ...
    def stage_failed(self, failure: m.Failure) -> None: ...
    def refused(self, code: str) -> None: ...
    def speculated(self, *, used: int, dropped: int) -> None: ...


class ToolRunner(Protocol):
    """The session's way to MCP servers; `mcp_client.McpClient` is one."""

    async def run(self) -> None: ...
    def execute(self, command: m.McpCommand) -> None: ...


@dataclass(frozen=True, slots=True)
class _Tick:
    """The core's timer is due."""


@dataclass(frozen=True, slots=True)
class _Shutdown:
    """The process is going down."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is left of a long append, from byte `start` of its audio (s16le mono 24 kHz)."""

    append: InputAudioAppend
    start: int


@dataclass(frozen=True, slots=True)
class _Bug:
    """What went wrong while an engine event was taken."""

    error: Exception


class _SessionOver(Exception):
    """Ends the task group once the session has closed its connection."""


_FromClient = ClientEvent | InvalidRequest | _Rest
_Within = m.EngineEvent | _Tick | _Shutdown
_FromWithin = _Within | _Bug | m.CloseConnection


class RealtimeSession:
    """One client's conversation.

    Args:
        connection: The accepted WebSocket.
        engines: What its profile runs on.
        settings: The settings of its profile.
        first: The settings it starts with, see `first_settings`.
        open_pipeline: Builds the session's pipeline around the function that takes its events and
            the one that is told when it is no longer `behind`.
        new_id: Makes a unique id from a prefix.
        open_mcp: Builds its MCP client around the same.
        turnstile: Shared by the process: one session builds its pipeline at a time.
        limiter: The limits of its client's key.
        observer: Is told what happens here.
    """

    _pipeline: Pipeline

    def __init__(
        self,
        connection: ClientConnection,
        engines: Stack,
        settings: Settings,
        *,
        first: Session,
        open_pipeline: Callable[[Callable[[m.EngineEvent], None], Callable[[], None]], Pipeline],
        open_mcp: Callable[[Callable[[m.EngineEvent], None]], ToolRunner],
        new_id: Callable[[str], str],
        turnstile: asyncio.Lock,
        limiter: Limiter | None = None,
        observer: Observer,
    ) -> None:
        self.id = new_id("sess")
        self._connection = connection
        self._inbox: Inbox[_FromClient, _FromWithin] = Inbox(
            MAX_WAITING_EVENTS, lambda: not self._pipeline.behind
        )
        self._open_pipeline = open_pipeline
        self._turnstile = turnstile
        self._started_s = time.monotonic()
        self._responses = 0
        self._observer = observer
        self._clock = TurnClock()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_s: float | None = None
        self._flowing = True
        self._closing = False
        self._stepping = False
        lifetime_s = settings.session.max_session_s
        self._machine = Machine(
            SessionView(self.id, int(time.time()) + lifetime_s, first),
            conversation_id=new_id("conv"),
            policy=Policy(
                output_lead_ms=settings.session.output_lead_ms or None,
                stt_timeout_s=settings.session.stt_timeout_ms / 1000,
                generation_timeout_s=settings.session.generation_timeout_ms / 1000,
                stt_languages=engines.stt.languages,
                stt_engine=engines.stt.name,
                max_output_tokens=settings.llm.max_tokens,
                context_tokens=settings.llm.context_tokens or None,
                max_session_s=lifetime_s,
                expires_at_s=self._started_s + lifetime_s,
                # StepFun's console lets the user pick another voice at any time, and takes a
                # refusal for the end of the session.
                voice_is_fixed=not first.model.startswith("step-"),
                speculate_after_ms=speculate_after_ms(settings),
                mcp=mcp_policy(settings),
                playback=settings.session.playback,
                legacy_events=settings.session.legacy_events,
            ),
            new_id=new_id,
            limiter=limiter,
        )
        self._mcp = open_mcp(self._inbox.put_engine)
        self._mcp_started = False
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serve the client until one side ends it; leaves no task behind."""
        logger.info("%s opened (%s)", self.id, self._connection.dialect)
        created, *commands = self._machine.start()
        self._carry_out([created])
        # A client that never says a word must not outlive its session.
        self._set_alarm(time.monotonic())
        try:
            await self._run_tasks(commands)
        except* Disconnected as gone:
            logger.debug("%s disconnected: %s", self.id, gone.exceptions[0])
        except* _SessionOver:
            logger.debug("%s ended by the server", self.id)
        finally:
            self._machine.close(time.monotonic())
            if self._alarm is not None:
                self._alarm.cancel()
            drafts = self._machine.drafts
            self._observer.speculated(used=drafts.used, dropped=drafts.dropped)
            logger.info(
                "%s closed after %.1f s, %d responses; %d of %d replies begun early were dropped, "
                "about %d tokens",
                self.id,
                time.monotonic() - self._started_s,
                self._responses,
                drafts.dropped,
                drafts.made,
                drafts.dropped_tokens,
            )
            # They refer to the session: without that it is freed now and not by the collector.
            self._tasks = None
            self._inbox.close()

    async def _run_tasks(self, first: Sequence[Output]) -> None:
        """Open the pipeline, carry out what the core wants of it first, and run until the end."""
        try:
            async with AsyncExitStack() as engines, asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._connection.write_forever(), name=f"{self.id} writer")
                async with self._turnstile:
                    # session.created leaves before the engines are asked for anything, and of a
                    # hundred sessions that open at once each yields to the talk of the others.
                    await asyncio.sleep(0)
                    self._pipeline = self._open_pipeline(self._take, self._inbox.wake)
                engines.push_async_callback(self._pipeline.close)
                self._carry_out(first)
                self._observer.session_opened(
                    self._connection.dialect, time.monotonic() - self._started_s
                )
                engines.callback(self._observer.session_closed)
                tasks.create_task(self._read(), name=f"{self.id} reader")
                tasks.create_task(self._drive(), name=f"{self.id} driver")
                tasks.create_task(self._pipeline.run(), name=f"{self.id} pipeline")
        except BaseException as ended:
            # Its traceback leads to a frame of the task group, which holds it: a cycle.
            ended.__traceback__ = None
            raise

    def shutdown(self, reason: str) -> None:
        """Ask the session to end: the client gets 1001 and may reconnect elsewhere."""
        self._inbox.put_urgent(_Shutdown(reason))

    def waiting(self) -> dict[str, int]:
        """What waits here: messages for the driver, bytes for the client."""
        return {
            "client_messages": self._inbox.client_waiting,
            "engine_messages": self._inbox.engine_waiting,
            "outbox_bytes": self._connection.outbox_bytes,
        }

    # --- reader -----------------------------------------------------------------------------------

    async def _read(self) -> None:
        taken_at_once = 0
        while True:
            try:
                event: ClientEvent | InvalidRequest = await self._connection.receive()
            except InvalidRequest as refusal:
                event = refusal
            if self._closing or not self._inbox.idle:
                self._inbox.put_client(event)
                await self._inbox.room()
                continue
            # Nothing is before it: that the driver takes it is the same, a task switch later.
            self._step(event)
            taken_at_once += 1
            if taken_at_once % MAX_TAKEN_AT_ONCE == 0:
                await asyncio.sleep(0)

    # --- driver -----------------------------------------------------------------------------------

    async def _drive(self) -> None:
        try:
            while True:
                message = await self._inbox.next()
                if isinstance(message, m.CloseConnection):
                    await self._connection.close(message.code, message.reason)
                    raise _SessionOver
                if isinstance(message, _Bug):
                    raise message.error
                if not self._closing:
                    self._step(message)
        finally:
            # The engines may take a while to end, and what they still say is for nobody.
            self._closing = True

    def _step(self, message: _FromClient | _Within) -> None:
        """Show one message to the core and carry out what it says; the only place that does."""
        self._stepping = True
        now = time.monotonic()
        match message:
            case InputAudioAppend():
                outputs = self._append(self._connection.codec.to_pcm(message), 0, now)
            case _Rest():
                outputs = self._append(message.append, message.start, now)
            case _Tick():
                self._alarm_s = None
                outputs = self._machine.handle_timer(now)
            case _Shutdown():
                outputs = [m.CloseConnection(1001, message.reason)]
            case InvalidRequest():
                outputs = [error_event(message)]
            case _ if isinstance(message, ClientEvent):
                outputs = self._machine.handle(message, now)
                if isinstance(message, InputAudioClear):
                    self._connection.codec.reset()
            case _:
                self._note(message, now)
                outputs = self._machine.handle(message, now)
        if len(outputs) == 1 and isinstance(outputs[0], m.FeedAudio):
            # Audio that says nothing yet, fifty times a second: it moves no deadline.
            self._pipeline.execute(outputs[0])
        else:
            self._carry_out(outputs)
            self._set_alarm(now)
            self._set_flow()
        self._stepping = False

    def _take(self, event: m.EngineEvent) -> None:
        """Take an engine event, at once where nothing of the engines waits.

        Else the driver will: in the middle of a step, behind what came before it, and where a turn
        begins or ends before more audio.
        """
        if not (self._stepping or self._closing or self._inbox.engine_waiting):
            try:
                self._step(event)
            except Exception as bug:
                # It ends the session; the engine that calls here is not to blame for it.
                self._inbox.put_urgent(_Bug(bug))
        elif isinstance(
            event, m.VadSpeechStarted | m.VadSpeechStopped | m.VadPaused | m.VadResumed
        ):
            self._inbox.put_urgent(event)
        else:
            self._inbox.put_engine(event)

    def _append(self, append: InputAudioAppend, start: int, now: float) -> Sequence[Output]:
        """Take appended audio a second at a time: turns are found and others served in between."""
        end = start + APPEND_SLICE_BYTES
        if end < len(append.audio):
            if start == 0 and (refused := self._machine.require_room(append)):
                return refused
            self._inbox.put_back(_Rest(append, end))
        if start == 0 and end >= len(append.audio):
            return self._machine.handle(append, now)
        return self._machine.handle(InputAudioAppend(append.audio[start:end], append.event_id), now)

    def _carry_out(self, outputs: Sequence[Output]) -> None:
        """Send the events and execute the commands in their order, waiting for nobody."""
        for output in outputs:
            match output:
                case m.CloseConnection():
                    self._closing = True
                    self._inbox.put_urgent(output)
                    return
                case (
                    m.ConfigureVad()
                    | m.FeedAudio()
                    | m.OpenSegment()
                    | m.SettleSegment()
                    | m.CloseSegment()
                    | m.DropSegment()
                    | m.StopResponse()
                ):
                    self._pipeline.execute(output)
                case m.StartResponse():
                    self._clock.requested(output, time.monotonic())
                    self._pipeline.execute(output)
                case m.ListMcpTools() | m.CallMcpTool() | m.CancelMcp():
                    self._run_tool(output)
                case _:
                    if isinstance(output, SessionCreated | SessionUpdated):
                        input_format = output.session.settings.audio.input.format
                        self._connection.codec.set_input(input_format.type)
                    elif isinstance(output, ErrorEvent):
                        self._observer.refused(output.code or output.error_type)
                    if (times := self._clock.sent(output, time.monotonic())) is not None:
                        self._report(times)
                    self._connection.send(output)

    def _note(self, event: object, now: float) -> None:
        self._clock.heard(event, now, self._machine.appended_samples)
        match event:
            case m.GenerationFailed() if not self._machine.is_making(event.response_id):
                # A draft, which is begun afresh if its turn is over, or what nobody waits for.
                pass
            case m.GenerationFailed() | m.TranscriptFailed():
                self._observer.stage_failed(event.failure)
            case _:
                pass

    def _report(self, times: TurnTimes) -> None:
        """One line for each turn: where its time went, and what it cost."""
        self._responses += 1
        self._observer.turn(times)
        response, usage = times.response, times.response.usage or Usage()
        waits = [f"{name} {1000 * seconds:.0f}" for name, seconds in times.stages().items()]
        if times.wait_s is not None:
            waits.append(f"= waited {1000 * times.wait_s:.0f}")
        logger.info(
            "%s %s %s after %.0f ms (%s), tokens: %d in, %d out%s",
            self.id,
            response.id,
            response.status,
            1000 * times.total_s,
            ", ".join(waits) or "nothing was waited for",
            usage.input_tokens,
            usage.output_tokens,
            " (text estimated)" if usage.estimated else "",
        )

    def _run_tool(self, command: m.McpCommand) -> None:
        """Hand a command to the MCP client, which most sessions never start."""
        if not self._mcp_started and self._tasks is not None:
            self._mcp_started = True
            self._tasks.create_task(self._mcp.run(), name=f"{self.id} mcp")
        self._mcp.execute(command)

    def _set_alarm(self, now: float) -> None:
        """Have a tick put into the inbox when the core wants one."""
        due_s = self._machine.next_deadline(now)
        if due_s == self._alarm_s:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._alarm_s = due_s
        if due_s is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(max(due_s - now, 0.0), self._inbox.put_urgent, _Tick())

    def _set_flow(self) -> None:
        """Let the engine make more speech only while what it made finds a way out."""
        open_ = (
            self._machine.backlog_ms() < BACKLOG_LIMIT_MS
            and self._connection.outbox_bytes < OUTBOX_HIGH_BYTES
        )
        if open_ != self._flowing:
            self._flowing = open_
            self._pipeline.set_flow(open_)
        if not open_ and self._alarm_s is None:
            # Nothing else would wake the driver when a slow reader has caught up.
            loop = asyncio.get_running_loop()
            self._alarm_s = 0.0
            self._alarm = loop.call_later(FLOW_POLL_S, self._inbox.put_urgent, _Tick())


def mcp_policy(settings: Settings) -> McpPolicy:
    """What the operator allows of MCP."""
    return McpPolicy(settings.mcp.allowed_hosts, settings.mcp.allow_private, settings.mcp.follow_up)


def speculate_after_ms(settings: Settings) -> int | None:
    """After how long a pause a reply is prepared; None for never."""
    session = settings.session
    return session.speculate_after_ms if session.speculative_turns else None


def first_settings(
    settings: Settings,
    model: str,
    changes: Mapping[str, Any] | None = None,
    kind: SessionKind = "realtime",
) -> Session:
    """What a session starts with, before its client has said anything.

    Args:
        settings: The process's settings.
        model: The model name to show.
        changes: A GA-shaped `session` object, as in `session.update`: what an ephemeral key holds.
        kind: Which kind of session.

    Raises:
        InvalidRequest: naming the first field of `changes` that is wrong.
    """
    defaults = Session()
    detection = ServerVad(
        threshold=settings.vad.threshold,
        prefix_padding_ms=settings.vad.prefix_padding_ms,
        silence_duration_ms=settings.vad.silence_duration_ms,
    )
    audio_input = defaults.audio.input.model_copy(update={"turn_detection": detection})
    first = defaults.model_copy(
        update={
            "type": kind,
            "model": model,
            "instructions": settings.session.instructions,
            "temperature": settings.llm.temperature,
            "audio": defaults.audio.model_copy(update={"input": audio_input}),
        }
    )
    return merge_session(first, changes, first) if changes else first
