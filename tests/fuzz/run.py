"""One session from first event to last: real connection, session and core, watched throughout."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import traceback
import weakref
from collections import Counter, deque
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import orjson

import core.messages as m
import realtime_session
from conformance.oracle import SequenceChecker, check_event, check_keys
from conformance.oracle.required_keys import check_bilingual_session
from handshake import DialectName
from metrics import Metrics
from protocol import CLIENT_EVENT_TYPES, ServerEvent
from realtime_session import RealtimeSession, first_settings
from service_providers import Stack
from tests.fuzz.book import Book, Entry
from tests.fuzz.clock import FastLoop, on_this_clock
from tests.fuzz.engines import FakePipeline, FakeTools
from tests.fuzz.ledger import AppendLedger
from tests.fuzz.mirror import Mirror
from tests.fuzz.profile import Profile
from tests.fuzz.replies import Fate, judge
from tests.fuzz.script import Script
from tests.fuzz.steps import Engines, Send, Step, Wait
from transport import Connection

SCHEMA_EVERY = 16
"""One event in so many, and the first of each type in a session: the SDK's types are slow."""
LAST_BREATH_S = 400.0
"""Longer than any reply, transcript or timer of a session takes to end."""
_LAST_ROUNDS = 12
_KINDS = frozenset({*CLIENT_EVENT_TYPES, "transcription_session.update"})
_VERBATIM = re.compile(r"schema: (unknown field )?.*\bprompt\.variables")
"""What the SDK's types restrict, and this server gives back as it came."""
_ENGINES = cast(Stack, SimpleNamespace(stt=SimpleNamespace(languages=None, name="fake")))

OpenConnection = Callable[["MemorySocket", DialectName], Connection]


def open_connection(socket: MemorySocket, dialect: DialectName) -> Connection:
    """The product's own connection."""
    return Connection(socket, dialect, pinned=dialect != "undecided")


@dataclass(slots=True)
class Report:
    """What came of one run."""

    steps: list[Step] = field(default_factory=list[Step])
    problems: list[str] = field(default_factory=list[str])
    messages: int = 0
    events: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    codes: Counter[str] = field(default_factory=Counter[str])
    session: weakref.ref[RealtimeSession] | None = None
    """Dead once nothing holds the session any more."""


class MemorySocket:
    """An accepted WebSocket without a network."""

    def __init__(self) -> None:
        self.sent: deque[str] = deque()
        self.closed: tuple[int, str] | None = None
        self._inbox: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()

    def push(self, frame: str | bytes) -> None:
        """A message of the client, as an ASGI server passes it on."""
        key = "text" if isinstance(frame, str) else "bytes"
        self._inbox.put_nowait({"type": "websocket.receive", key: frame})

    def hang_up(self) -> None:
        """The client leaves."""
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000, "reason": ""})

    async def receive(self) -> MutableMapping[str, Any]:
        return await self._inbox.get()

    async def send_text(self, data: str) -> None:
        self.sent.append(data)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.closed = (code, reason or "")
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})


class _Watched:
    """A connection, and somebody who sees each event in its place among the commands."""

    def __init__(self, connection: Connection, watch: Callable[[ServerEvent], None]) -> None:
        self._connection = connection
        self._watch = watch
        self.codec = connection.codec
        self.receive = connection.receive
        self.write_forever = connection.write_forever
        self.close = connection.close

    @property
    def dialect(self) -> str:
        return self._connection.dialect

    @property
    def outbox_bytes(self) -> int:
        return self._connection.outbox_bytes

    def send(self, event: ServerEvent) -> None:
        self._watch(event)
        self._connection.send(event)


class _Log(logging.Handler):
    """Formats every record, and keeps those that report a bug."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.ERROR or record.exc_info:
            error = record.exc_info[1] if record.exc_info else None
            self.errors.append(f"{record.name}: {message} {error!r}")


class Run:
    """Plays a script against one session.

    Args:
        profile: What kind of session.
        connect: Makes the connection; tests of the checks put a faulty one here.
        schema_every: One event in so many is held against the SDK's types.
    """

    def __init__(
        self,
        profile: Profile,
        connect: OpenConnection = open_connection,
        schema_every: int = SCHEMA_EVERY,
    ) -> None:
        self.report = Report()
        self._schema_every = schema_every
        self._profile = profile
        self._socket = MemorySocket()
        self._entries: list[Entry] = []
        self._connection = _Watched(connect(self._socket, profile.opening), self._entries.append)
        self._counts: Counter[str] = Counter()
        self._mirror = Mirror(profile.dialect, profile.kind)
        self._sequence = SequenceChecker(profile.dialect)
        self._book = Book()
        self._ledger = AppendLedger()
        self._seen_types: set[str] = set()
        self._pending: list[Send] = []
        self._disturbed = False
        self._counted = 0
        self._pipeline: FakePipeline | None = None
        self._tools: FakeTools

    def play(self, script: Script) -> Report:
        """Run the script to its end or to the first problem."""
        log = _Log()
        root = logging.getLogger()
        level, handlers = root.level, root.handlers[:]
        root.handlers[:] = [log]
        root.setLevel(logging.DEBUG if self._profile.debug else logging.WARNING)
        try:
            with asyncio.Runner(loop_factory=FastLoop) as runner:
                loop = cast(FastLoop, runner.get_loop())
                loop.set_exception_handler(lambda _, context: log.errors.append(str(context)))
                with on_this_clock(loop, realtime_session):
                    runner.run(self._play(script, loop, log))
        except Exception:
            self.report.problems.append(f"the run broke off: {traceback.format_exc(limit=-6)}")
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        self.report.problems += [f"log: {error}" for error in log.errors]
        return self.report

    async def _play(self, script: Script, loop: FastLoop, log: _Log) -> None:
        session = self._open_session()
        self.report.session = weakref.ref(session)
        task = asyncio.create_task(session.run(), name="session")
        del session
        await self._settle(loop, task)
        while not self.report.problems and not task.done():
            step = script.next(self._mirror)
            if step is None:
                break
            self.report.steps.append(step)
            await self._take(step, loop, task)
            if log.errors:
                return
        await self._end(loop, task)

    def _open_session(self) -> RealtimeSession:
        settings = self._profile.settings
        return RealtimeSession(
            self._connection,
            _ENGINES,
            settings,
            first=first_settings(settings, "gpt-realtime", kind=self._profile.kind),
            open_pipeline=self._open_pipeline,
            open_mcp=self._open_tools,
            new_id=self._new_id,
            turnstile=asyncio.Lock(),
            observer=Metrics(),
        )

    def _open_pipeline(
        self, emit: Callable[[m.EngineEvent], None], caught_up: Callable[[], None]
    ) -> FakePipeline:
        self._pipeline = FakePipeline(emit, caught_up, self._entries.append)
        return self._pipeline

    def _open_tools(self, emit: Callable[[m.EngineEvent], None]) -> FakeTools:
        self._tools = FakeTools(emit, self._entries.append)
        return self._tools

    def _new_id(self, prefix: str) -> str:
        self._counts[prefix] += 1
        return f"{prefix}_{self._counts[prefix]}"

    # --- steps ------------------------------------------------------------------------------

    async def _take(self, step: Step, loop: FastLoop, task: asyncio.Task[None]) -> None:
        match step:
            case Send(frame):
                if step.alone and self._pending:
                    await self._settle(loop, task)
                self._socket.push(frame)
                self._pending.append(step)
                self.report.messages += 1
                if step.alone:
                    await self._settle(loop, task)
            case Engines(seed):
                assert self._pipeline is not None
                self._disturbed = True
                rng = random.Random(seed)
                mover = self._tools if rng.random() < 0.15 else self._pipeline
                mover.move(rng)
                if step.alone:
                    await self._settle(loop, task)
            case Wait(seconds):
                await self._settle(loop, task)
                self._disturbed = True
                await asyncio.sleep(seconds)
                await self._settle(loop, task)

    async def _settle(self, loop: FastLoop, task: asyncio.Task[None]) -> None:
        """Let everything happen that can happen now, then look at it."""
        await loop.settled()
        events: list[dict[str, Any]] = [orjson.loads(text) for text in self._socket.sent]
        self._socket.sent.clear()
        self.report.events += len(events)
        over = self._socket.closed is not None
        quiet = len(self._pending) == 1 and not self._disturbed
        problems: list[str] = []
        if task.done() and not over:
            self.report.problems.append(f"the session died: {_death(task)}")
            return
        if not over:
            fates, problems = judge(self._pending, events, self._mirror, quiet=quiet)
            for fate in fates:
                self._count(fate)
                self._tell(fate)
                self._ledger.sent(fate)
        for event in events:
            problems += self._check(event)
            self._mirror.take(event)
        entries, self._entries[:] = self._entries[:], []
        for entry in entries:
            problems += self._book.take(entry)
        if not over:
            problems += self._book.settle()
            fed = sum(len(entry.pcm) // 2 for entry in entries if isinstance(entry, m.FeedAudio))
            problems += self._ledger.settle(fed)
        if self._socket.closed is not None and self._socket.closed[0] != 1001:
            problems.append(f"the server closed with {self._socket.closed}")
        if not over and self._connection.outbox_bytes:
            problems.append(f"{self._connection.outbox_bytes} bytes stay in the outbox")
        self._pending.clear()
        self._disturbed = False
        self.report.problems += problems

    def _count(self, fate: Fate) -> None:
        kind: object = fate.event.get("type") if fate.event else None
        known = kind if isinstance(kind, str) and kind in _KINDS else "(no such event)"
        self.report.outcomes[f"{known} {fate.outcome}"] += 1
        if fate.error is not None:
            self.report.codes[fate.error["code"]] += 1

    def _tell(self, fate: Fate) -> None:
        """Tell the oracle what the client sent; of a refused event only that it was there."""
        if fate.event is None:
            return
        if fate.outcome == "refused":
            self._sequence.client({"type": "", "event_id": fate.event.get("event_id")})
        elif str(fate.event.get("type")).endswith("session.update"):
            return
        else:
            self._sequence.client(fate.event)

    def _check(self, event: dict[str, Any]) -> list[str]:
        kind: str = event["type"]
        problems: list[str] = []
        self._counted += 1
        if kind not in self._seen_types or self._counted % self._schema_every == 0:
            self._seen_types.add(kind)
            if kind == "session.created" and not self._profile.marked:
                problems += check_bilingual_session(event)
            else:
                dialect = self._profile.dialect
                found = check_event(event, dialect) or check_keys(event, dialect)
                problems += [problem for problem in found if not _VERBATIM.match(problem)]
        if kind.endswith(("session.created", "session.updated")):
            self._ledger.session(event["session"])
        if kind.endswith("session.updated"):
            # Only now is it sure which audio format the next appends are in.
            self._sequence.client({"type": "session.update", "session": event["session"]})
        known = len(self._sequence.violations)
        self._sequence.server(event)
        return problems + self._sequence.violations[known:]

    # --- the end ----------------------------------------------------------------------------

    async def _end(self, loop: FastLoop, task: asyncio.Task[None]) -> None:
        """Finish what was begun or break it off; nothing may be left over."""
        await self._settle(loop, task)
        if self.report.problems:
            task.cancel()
            await asyncio.wait({task})
            return
        finish = not self._profile.breaks_off and not task.done()
        if finish and self._pipeline is not None:
            self._disturbed = True
            # What is answered may lead to more: an approved call, a reply that goes on by itself.
            for _ in range(_LAST_ROUNDS):
                self._pipeline.finish()
                self._tools.finish()
                await asyncio.sleep(LAST_BREATH_S / _LAST_ROUNDS)
                await self._settle(loop, task)
        complete = finish and not task.done()
        known = len(self._sequence.violations)
        self.report.problems += self._sequence.finish(complete=complete)[known:]
        self._socket.hang_up()
        await asyncio.wait({task}, timeout=LAST_BREATH_S)
        if not task.done() or task.exception() is not None:
            self.report.problems.append(f"the session did not end: {_death(task)}")
            task.cancel()
            return
        self._entries.clear()
        if self._pipeline is not None:
            self._pipeline.move(random.Random(1))
            self._pipeline.finish()
        await loop.settled()
        if self._entries or (self._socket.sent and self._profile.breaks_off):
            self.report.problems.append(f"I10: {len(self._entries)} outputs after the close")
        left = [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]
        if left:
            self.report.problems.append(f"tasks are left over: {left}")


def _death(task: asyncio.Task[None]) -> str:
    if not task.done():
        return "it is still running"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return "" if error is None else "".join(traceback.format_exception(error, limit=-4))
