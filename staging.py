"""Sessions of test mode: their engines and sockets with faults, handlers and a log put in between.

It knows engines and sockets as things to wrap; it must not know HTTP or the core.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import orjson

from protocol import ConfigError
from providers.base import LlmProvider, SttProvider, TtsProvider
from providers.fault_effects import spoiled_answer, spoiled_reply, spoiled_speech
from providers.faults import FaultBook, FaultStage, InjectedFault
from providers.frames import ResponseBeginFrame
from providers.recognition import Recognition
from providers.replies import Reply, ResponseRequest, steps_of
from providers.script import Script
from providers.script_reply import Step, reply
from providers.script_rules import Asked
from providers.scripted_llm import ScriptedLlmProvider, ScriptedLlmService
from providers.stt_service import Answer, TurnSTTService
from providers.tts_service import ClauseTTSService, Speech
from wire_faults import FaultySocket, Socket

_RESPONSES_REMEMBERED: Final = 64

logger = logging.getLogger("realtime.testing")


class Handlers(Protocol):
    """What a program may decide in place of the script; None leaves it to that."""

    async def handle_response_create(self, request: ResponseRequest) -> Reply | None: ...
    async def handle_transcript(self, session_id: str, text: str) -> str | None: ...


Event = dict[str, Any]


@contextmanager
def _bugs_told(handler: str) -> Generator[None]:
    """Log what a handler raises: its writer needs the traceback, and the client must not see it."""
    try:
        yield
    except Exception:
        logger.exception("%s raised", handler)
        raise


@dataclass(slots=True)
class EventLog:
    """What a session and its client said to each other, as the server saw it."""

    client: list[Event] = field(default_factory=list[Event])
    server: list[Event] = field(default_factory=list[Event])

    def note(self, side: str, text: str) -> None:
        """Keep a frame; what is no JSON object is kept as `{"invalid": text}`."""
        try:
            event: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            event = None
        kept = event if isinstance(event, dict) else {"invalid": text}
        (self.client if side == "client" else self.server).append(kept)


class Staging:
    """What the sessions of a process in test mode share.

    Args:
        new_id: Makes a unique id from a prefix.
        handlers: Decides in place of the script.
        keep_events: Whether to keep what is said, in `logs` by session id.

    Attributes:
        faults: Those set at run time.
    """

    def __init__(
        self,
        new_id: Callable[[str], str],
        handlers: Handlers | None = None,
        *,
        keep_events: bool = False,
    ) -> None:
        self.new_id = new_id
        self.faults = FaultBook()
        self.handlers = handlers
        self.logs: dict[str, EventLog] = {}
        self.keep_events = keep_events

    def session(self, llm: LlmProvider) -> StagedSession:
        """A session that is about to begin, on a model that `require_scripts` has seen."""
        assert isinstance(llm, ScriptedLlmProvider)
        return StagedSession(self, llm.script)

    def open_log(self, session_id: str, log: EventLog) -> None:
        """Make a session's log known."""
        if self.keep_events:
            self.logs[session_id] = log


def require_scripts(models: Iterable[LlmProvider], *, testing: bool) -> None:
    """Check that test mode and the models fit together.

    Raises:
        ConfigError: test mode without a script, or faults in a script without test mode.
    """
    for llm in models:
        scripted = isinstance(llm, ScriptedLlmProvider)
        if testing and not scripted:
            raise ConfigError("TESTING", f"needs LLM_PROVIDER=scripted, not {llm.name}")
        if scripted and llm.script.faults and not testing:
            raise ConfigError("TESTING", "must be true for a script with `faults`")


class StagedSession:
    """One session of test mode."""

    def __init__(self, staging: Staging, script: Script) -> None:
        self.id = ""
        self._staging = staging
        self._script = script
        self._own = FaultBook(script.faults)
        self._log = EventLog()
        self._speech_turns = 0
        self._responses = 0
        self._sent_responses = 0
        self._turns: deque[tuple[str, int, str]] = deque(maxlen=_RESPONSES_REMEMBERED)
        self._speech_faults: dict[str, InjectedFault | None] = {}

    def begin(self, session_id: str) -> None:
        """The session has its id."""
        self.id = session_id
        self._staging.open_log(session_id, self._log)

    # --- what is put in between -------------------------------------------------------------------

    def stt(self, provider: SttProvider) -> SttProvider:
        """The recogniser with faults."""
        return _Prepared(provider, self._prepare_stt)  # type: ignore[return-value]

    def llm(self, provider: LlmProvider) -> LlmProvider:
        """The model with faults, and with handlers ahead of its script."""
        return _Prepared(provider, self._prepare_llm)  # type: ignore[return-value]

    def tts(self, provider: TtsProvider) -> TtsProvider:
        """The voice with faults."""
        return _Prepared(provider, self._prepare_tts)  # type: ignore[return-value]

    def socket(self, socket: Socket) -> FaultySocket:
        """The client's socket with faults."""
        note = self._log.note if self._staging.keep_events else lambda side, text: None
        new_id = self._staging.new_id
        return FaultySocket(socket, take=self._wire_fault, note=note, new_id=new_id)

    def _prepare_stt(self, service: Any) -> None:
        if isinstance(service, TurnSTTService):
            service.shape_answer = self._hear

    def _prepare_llm(self, service: Any) -> None:
        if isinstance(service, ScriptedLlmService):
            service.compose = self._compose

    def _prepare_tts(self, service: Any) -> None:
        if isinstance(service, ClauseTTSService):
            service.shape_speech = partial(self._speak, service, service.shape_speech)

    # --- stages -----------------------------------------------------------------------------------

    async def _hear(self, answer: Answer) -> Recognition | None:
        heard = await answer
        if heard is None:
            return None
        self._speech_turns += 1
        handlers = self._staging.handlers
        told = None
        if handlers is not None:
            with _bugs_told("handle_transcript"):
                told = await handlers.handle_transcript(self.id, heard.text)
        if told is not None:
            heard = Recognition(told)
        fault = self._take("stt", self._speech_turns, heard.text)
        return heard if fault is None else await spoiled_answer(fault, heard)

    async def _compose(self, asked: Asked, begin: ResponseBeginFrame | None) -> Sequence[Step]:
        self._responses += 1
        user = asked.conversation.user or ""
        if begin is not None:
            self._turns.append((begin.response_id, self._responses, user))
        steps = await self._handled(asked, begin)
        if steps is None:
            steps = reply(self._script, asked)
        fault = self._take("llm", self._responses, user)
        return steps if fault is None else spoiled_reply(fault, steps)

    async def _handled(
        self, asked: Asked, begin: ResponseBeginFrame | None
    ) -> tuple[Step, ...] | None:
        handlers = self._staging.handlers
        if handlers is None or begin is None:
            return None
        request = ResponseRequest.read(self.id, self._responses, asked, begin)
        with _bugs_told("handle_response_create"):
            answer = await handlers.handle_response_create(request)
            return None if answer is None else steps_of(answer, asked.max_tokens)

    def _speak(
        self, service: ClauseTTSService, shape: Callable[[Speech], Speech], speech: Speech
    ) -> Speech:
        fault = self._speech_fault(service.response_id)
        shaped = shape(speech)
        return shaped if fault is None else spoiled_speech(fault, shaped)

    def _speech_fault(self, response_id: str | None) -> InjectedFault | None:
        """The fault of a response's speech, the same for all its clauses."""
        if response_id is None:
            return None
        if response_id not in self._speech_faults:
            turn, user = next(
                ((turn, user) for known, turn, user in self._turns if known == response_id), (0, "")
            )
            if len(self._speech_faults) >= _RESPONSES_REMEMBERED:
                del self._speech_faults[next(iter(self._speech_faults))]
            self._speech_faults[response_id] = self._take("tts", turn, user)
        return self._speech_faults[response_id]

    def _wire_fault(self, event: str) -> InjectedFault | None:
        self._sent_responses += event == "response.created"
        return self._take("ws", self._sent_responses, event=event)

    def _take(
        self, stage: FaultStage, turn: int, user: str = "", event: str = ""
    ) -> InjectedFault | None:
        """What was set at run time goes ahead of what the script says."""
        for book in (self._staging.faults, self._own):
            fault = book.take(stage, session=self.id, turn=turn, user=user, event=event)
            if fault is not None:
                return fault
        return None


class _Prepared:
    """A provider whose services are prepared before a session has them."""

    def __init__(self, inner: Any, prepare: Callable[[Any], None]) -> None:
        self._inner = inner
        self._prepare = prepare

    def create_service(self) -> Any:
        service = self._inner.create_service()
        self._prepare(service)
        return service

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
