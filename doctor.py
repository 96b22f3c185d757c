"""`main.py --check` and the console's: tries every engine as a session would, says what to fix."""

from __future__ import annotations

import asyncio
import shutil
import textwrap
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from config import VARIABLES, Settings
from core.messages import (
    ChatMessage,
    CloseSegment,
    EngineCommand,
    EngineEvent,
    GenerationEnded,
    GenerationFailed,
    GenerationRequest,
    ModelText,
    OpenSegment,
    SpeechAudio,
    StartResponse,
    ToolCallStarted,
    TranscriptFailed,
    TranscriptFinal,
)
from pipeline_manager import EngineSet, PipelineManager
from protocol import SAMPLE_RATE_HZ, ConfigError, ErrorCategory, ProviderError, Stage
from providers.espeak_tts import EspeakProvider
from providers.script_file import parse_script
from providers.scripted_llm import ScriptedLlmProvider
from providers.scripted_stt import ScriptedSttProvider
from providers.tone_tts import ToneProvider
from service_providers import STAGES, EnginePlan, StackPlan, Workshop, plan

SENTENCE: Final = "Hello, how are you today?"
START_TIMEOUT_S: Final = 120.0
"""A model that is fetched first takes its time."""
PROBE_TIMEOUT_S: Final = 30.0

_TALKER: Final = parse_script(
    f"version: 1\nrules: [{{id: say, when: {{}}, do: [{{say: '{SENTENCE}'}}]}}]"
)
_REQUEST: Final = GenerationRequest(
    messages=(ChatMessage("user", "Say hello in one short sentence."),),
    instructions="Answer in one short sentence.",
    tools=(),
    tool_choice="auto",
    speak=False,
    voice="",
    speed=1.0,
    max_output_tokens=64,
    temperature=0.8,
)

_HINTS: Final = {
    ErrorCategory.AUTHENTICATION: ("api_key", "set {} to a key that is valid there"),
    ErrorCategory.QUOTA: ("api_key", "top up the account of {}"),
    ErrorCategory.RATE_LIMIT: ("api_key", "wait, or raise the limits of {}"),
    ErrorCategory.TIMEOUT: ("base_url", "see whether the server at {} is well and reachable"),
    ErrorCategory.CONNECTIVITY: ("base_url", "see whether {} is right, its server up, and the "
                                 "network open"),
    ErrorCategory.SERVER: ("base_url", "try again later, or look at the server at {}"),
    ErrorCategory.INVALID_REQUEST: ("model", "see whether {} names something there is"),
}  # fmt: skip


_LEAST_COLUMNS: Final = 30
"""What wraps to less is harder to read than a line that is too long."""
_HEARD_CHARS: Final = 18
"""Of a transcript: with more of it the columns before the engine's leave too little of 80."""

_SHARED: Final = {"base_url": "OPENAI_BASE_URL", "api_key": "OPENAI_API_KEY"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table.

    Attributes:
        result: `ok` with what was seen, or `FAILED`.
        taken_ms: Until the first token or audio, or the transcript.
        fix: What to do; "" where nothing is to be done.
    """

    stage: Stage
    engine: str
    result: str
    taken_ms: float | None
    fix: str = ""


async def check(settings: Settings, say: Callable[[str], None] = print) -> int:
    """Try each engine of each profile and print what came of it.

    Returns:
        0 when all of them work, else 1.

    Raises:
        ConfigError: the settings do not say which engines there are to try.
    """
    stacks = plan(settings)
    findings = [finding async for finding in examine(stacks)]
    findings.sort(key=lambda finding: STAGES.index(finding.stage))
    columns = shutil.get_terminal_size().columns
    say(_table(findings, columns))
    for line in voices(stacks):
        say("\n".join(_wrapped(line, "", "  ", columns)))
    failed = sum(1 for finding in findings if finding.fix)
    say(f"{failed} of {len(findings)} engines failed." if failed else "Every engine works.")
    return 1 if failed else 0


async def examine(stacks: Sequence[StackPlan]) -> AsyncGenerator[Finding]:
    """Try each engine of each profile once, one after the other; voices come first."""
    async with _Bench() as bench:
        for engine in _distinct(stacks, bench.order):
            yield await bench.examine(engine)


def _distinct(stacks: Sequence[StackPlan], order: Sequence[Stage]) -> list[EnginePlan]:
    """Every engine once, backups included, in an order in which voices come first."""
    engines: dict[Any, EnginePlan] = {}
    for stage in order:
        for stack in stacks:
            for engine in stack.stages[stage]:
                engines.setdefault(engine.told(), engine)
    return list(engines.values())


class _Bench:
    """Where engines are tried: it keeps what a voice said for the recognisers to hear."""

    order = (Stage.TTS, Stage.LLM, Stage.STT)

    def __init__(self) -> None:
        self._workshop = Workshop()
        self._speech = b""
        self._started: list[Any] = []

    async def __aenter__(self) -> _Bench:
        return self

    async def __aexit__(self, *error: object) -> None:
        for provider in self._started:
            await provider.close()

    async def examine(self, engine: EnginePlan) -> Finding:
        """Try one engine: start it, and have it do its work once."""
        name = engine.choice.name
        stage = engine.choice.stage
        try:
            provider = self._workshop.engine(engine)
            name = provider.describe()
            self._started.append(provider)
            async with asyncio.timeout(START_TIMEOUT_S):
                await provider.start()
            name = provider.describe()
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                result, taken_ms = await self._try(stage, provider)
        except ConfigError as error:
            return Finding(stage, name, "FAILED", None, str(error))
        except ProviderError as error:
            return Finding(stage, name, "FAILED", None, _fix(error, engine))
        except TimeoutError:
            late = ProviderError(stage, ErrorCategory.TIMEOUT, f"{engine.choice.name} is silent.")
            return Finding(stage, name, "FAILED", None, _fix(late, engine))
        return Finding(stage, name, result, taken_ms)

    async def _try(self, stage: Stage, provider: Any) -> tuple[str, float]:
        match stage:
            case Stage.TTS:
                return await self._speak(provider)
            case Stage.LLM:
                return await self._complete(provider)
            case _:
                return await self._hear(provider)

    async def _speak(self, provider: Any) -> tuple[str, float]:
        spoken, taken_ms = await _speech_of(provider)
        if not spoken:
            raise ProviderError(
                Stage.TTS, ErrorCategory.INVALID_REQUEST, f"{provider.name} sent no audio."
            )
        if not self._speech and provider.name != ToneProvider.name:
            self._speech = spoken
        return f"ok, {len(spoken) / (2 * SAMPLE_RATE_HZ):.1f} s of speech", taken_ms

    async def _complete(self, provider: Any) -> tuple[str, float]:
        command = StartResponse("check", out_of_band=False, request=_REQUEST)
        taken_ms = 0.0
        text = ""
        async with _session(EngineSet(_deaf(), provider, ToneProvider(), _NO_TURNS)) as session:
            began = time.monotonic()
            session.execute(command)
            async for event in session.events():
                match event:
                    case ModelText():
                        taken_ms = taken_ms or _since_ms(began)
                        text += event.text
                    case ToolCallStarted():
                        taken_ms = taken_ms or _since_ms(began)
                    case GenerationEnded():
                        break
                    case _:
                        pass
        if not taken_ms:
            return "ok, but the reply was empty", _since_ms(began)
        return f"ok, {len(text)} characters", taken_ms

    async def _hear(self, provider: Any) -> tuple[str, float]:
        speech = self._speech or await _any_speech()
        async with _session(
            EngineSet(provider, ScriptedLlmProvider(_TALKER), ToneProvider(), _NO_TURNS)
        ) as session:
            began = time.monotonic()
            session.execute(OpenSegment("check", speech))
            session.execute(CloseSegment("check"))
            async for event in session.events():
                if isinstance(event, TranscriptFinal):
                    return f"ok, {_told_heard(event.text)}", _since_ms(began)
        raise AssertionError("a session's events do not end")


async def _speech_of(provider: Any) -> tuple[bytes, float]:
    """What a voice makes of the sentence, and how long its first audio took."""
    request = replace(_REQUEST, speak=True)
    command = StartResponse("check", out_of_band=False, request=request)
    spoken = bytearray()
    taken_ms = 0.0
    engines = EngineSet(_deaf(), ScriptedLlmProvider(_TALKER), provider, _NO_TURNS)
    async with _session(engines) as session:
        began = time.monotonic()
        session.execute(command)
        async for event in session.events():
            match event:
                case SpeechAudio():
                    taken_ms = taken_ms or _since_ms(began)
                    spoken += event.pcm
                case GenerationEnded():
                    break
                case _:
                    pass
    return bytes(spoken), taken_ms


async def _any_speech() -> bytes:
    """Speech where no voice of the settings can give any."""
    voice = EspeakProvider()
    try:
        await voice.start()
        return (await _speech_of(voice))[0]
    except (ConfigError, ProviderError):
        return (await _speech_of(ToneProvider()))[0]
    finally:
        await voice.close()


class _Session:
    """A pipeline without a client."""

    def __init__(self, engines: EngineSet) -> None:
        self._events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self.pipeline = PipelineManager(engines, self._events.put_nowait)

    def execute(self, command: EngineCommand) -> None:
        self.pipeline.execute(command)

    async def events(self) -> AsyncGenerator[EngineEvent, None]:
        """What comes of the commands.

        Raises:
            ProviderError: a stage failed.
        """
        while True:
            event = await self._events.get()
            if isinstance(event, GenerationFailed | TranscriptFailed):
                failure = event.failure
                raise ProviderError(failure.stage, failure.category, failure.message)
            yield event


@asynccontextmanager
async def _session(engines: EngineSet) -> AsyncGenerator[_Session]:
    session = _Session(engines)
    running = asyncio.create_task(session.pipeline.run(), name="check")
    try:
        # The group of the pipeline takes commands once it runs.
        await asyncio.sleep(0)
        yield session
    finally:
        await session.pipeline.close()
        await asyncio.wait({running})


class _NoTurns:
    """Turn detection that nobody asks for."""

    def open(self, on_start: Any, on_stop: Any) -> Any:
        raise AssertionError("the check configures no turn detection")

    async def close(self) -> None:
        """Nothing to release."""


_NO_TURNS: Final[Any] = _NoTurns()


def _deaf() -> ScriptedSttProvider:
    return ScriptedSttProvider(("",))


def _since_ms(began: float) -> float:
    return (time.monotonic() - began) * 1000


# --- what the operator reads ------------------------------------------------------------------


def _told_heard(text: str) -> str:
    if not text:
        return "but heard nothing"
    shown = text if len(text) <= _HEARD_CHARS else f"{text[: _HEARD_CHARS - 1]}…"
    return f"heard {shown!r}"


def _fix(error: ProviderError, engine: EnginePlan) -> str:
    if any(name in error.message for name in VARIABLES) and not engine.place:
        return error.message
    option, advice = _HINTS.get(error.category, ("", ""))
    setting = _named(engine, option)
    if setting is None:
        advice, setting = "try again, or choose another engine with {}", _choice_of(engine)
    return f"{error.message} Fix: {advice.format(setting)}."


def _choice_of(engine: EnginePlan) -> str:
    variable = f"{engine.choice.stage.upper()}_PROVIDER"
    return f"{variable} (or {engine.place} in the profiles file)" if engine.place else variable


def _named(engine: EnginePlan, option: str) -> str | None:
    """The setting to change, as its operator knows it; None where the engine has no such."""
    choice = engine.choice
    wanted = ("model", "voice") if option == "model" else (option,)
    known = next((name for name in wanted if name in choice.options), None)
    if known is None:
        return None
    section, leaf = choice.options[known].split(".")
    variable = next(
        name for name, row in VARIABLES.items() if (row.section, row.field) == (section, leaf)
    )
    if known in _SHARED and engine.value("base_url") is None:
        # OPENAI_STT_BASE_URL and its like: without a server of its own the stage uses OpenAI's.
        variable = _SHARED[known]
    if not engine.place:
        return variable
    key = "api_key_env" if known == "api_key" else known
    return f"{variable} (or {key} of {engine.place} in the profiles file)"


def _table(findings: Sequence[Finding], columns: int) -> str:
    """A row for each engine, and below it what to fix; no line is longer than `columns`."""
    rows = [("stage", "result", "time", "engine")]
    for finding in findings:
        taken = "-" if finding.taken_ms is None else f"{finding.taken_ms:.0f} ms"
        rows.append((finding.stage.upper(), finding.result, taken, finding.engine))
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(3)]
    fixes = ("", *(finding.fix for finding in findings))
    lines: list[str] = []
    for row, fix in zip(rows, fixes, strict=True):
        head = "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        lines += _wrapped(row[3], head, " " * len(head), columns)
        if fix:
            indent = " " * widths[0]
            lines += _wrapped(fix, indent, indent, columns)
    return "\n".join(lines)


def _wrapped(text: str, head: str, indent: str, columns: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(columns, len(indent) + _LEAST_COLUMNS),
        initial_indent=head,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def voices(stacks: Sequence[StackPlan]) -> list[str]:
    """What becomes of the names that clients send, in lines."""
    if not stacks[0].name:
        return []
    lines = [f"Models that no profile is called are served by {stacks[0].name}."]
    for stack in stacks:
        for engine in stack.stages[Stage.TTS]:
            mapped = [f"{name} = {voice}" for name, voice in engine.voices.items()]
            told = "; ".join([*mapped, "names it does not know get its own voice"])
            lines.append(f"Voices of {stack.name}, {engine.choice.name}: {told}.")
    return lines
