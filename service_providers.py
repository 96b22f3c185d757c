"""Which engine serves each stage, and why; the engines themselves live in `providers/`.

Adding a provider is one module there and one row here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from config import Settings
from protocol import ConfigError, Stage
from providers.base import LlmProvider, Provider, SttProvider, TtsProvider
from providers.script import Script
from providers.script_file import DEFAULT_SCRIPT, load_script

logger = logging.getLogger("realtime.engines")


class VadEngine(Protocol):
    """The process-wide turn detector: sessions open streams of it, the process closes it."""

    def open(self, on_start: Callable[[int], None], on_stop: Callable[[int], None]) -> Any: ...
    async def close(self) -> None: ...


class TurnJudge(Protocol):
    """The process-wide judge of turns: sessions ask it, the process closes it."""

    def prepare(self) -> None: ...
    def ask(self, audio: Any, answered: Callable[[float], None]) -> Any: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """One row of the registry.

    `build` imports its module only when the row is chosen, so that what is not used costs neither
    start-up time nor memory.
    """

    stage: Stage
    name: str
    build: Callable[[Settings, Script], Any]


def _pocketsphinx(settings: Settings, script: Script) -> SttProvider:
    from providers.pocketsphinx_stt import PocketsphinxProvider

    phrases = settings.stt.phrases or script.stt.phrases
    mode = settings.stt.mode
    if mode == "auto":
        mode = "phrases" if settings.stt.phrases or script.stt.mode == "phrases" else "general"
    return PocketsphinxProvider(
        mode=mode,
        phrases=phrases,
        workers=settings.stt.workers,
        language=settings.stt.language,
    )


def _scripted_stt(settings: Settings, script: Script) -> SttProvider:
    from providers.scripted_stt import ScriptedSttProvider

    return ScriptedSttProvider(script.transcripts, script.latency, script.seed)


def _scripted_llm(settings: Settings, script: Script) -> LlmProvider:
    from providers.scripted_llm import ScriptedLlmProvider

    return ScriptedLlmProvider(settings.llm.script or script)


def _espeak(settings: Settings, script: Script) -> TtsProvider:
    from providers.espeak_tts import EspeakProvider

    return EspeakProvider(voice=settings.tts.voice, rate_wpm=settings.tts.rate_wpm)


def _tone(settings: Settings, script: Script) -> TtsProvider:
    from providers.tone_tts import ToneProvider

    return ToneProvider(first_audio_ms=script.latency.tts_first_ms)


REGISTRY: tuple[Choice, ...] = (
    Choice(Stage.STT, "pocketsphinx", _pocketsphinx),
    Choice(Stage.STT, "scripted", _scripted_stt),
    Choice(Stage.LLM, "scripted", _scripted_llm),
    Choice(Stage.TTS, "espeak", _espeak),
    Choice(Stage.TTS, "tone", _tone),
)
"""Every provider; the first row of a stage is what `auto` falls back to."""


def choose(stage: Stage, wanted: str) -> tuple[Choice, str]:
    """The row for a stage and why it was taken.

    Raises:
        ConfigError: there is no such provider, naming those there are.
    """
    rows = [row for row in REGISTRY if row.stage is stage]
    variable = f"{stage.upper()}_PROVIDER"
    if wanted == "auto":
        return rows[0], "embedded: nothing else is configured"
    for row in rows:
        if row.name == wanted:
            return row, f"{variable}={wanted}"
    known = ", ".join(["auto", *(row.name for row in rows)])
    raise ConfigError(variable, f"there is no provider '{wanted}'; choose one of: {known}")


class Engines:
    """The engines of this process: one provider a stage, and the one VAD engine.

    Args:
        stt, llm, tts: The providers.
        why: For each stage, what made the choice.
        vad: The process-wide VAD engine.
        judge: Judges for `semantic_vad` whether a turn is complete; None leaves that to silence.
    """

    def __init__(
        self,
        stt: SttProvider,
        llm: LlmProvider,
        tts: TtsProvider,
        *,
        vad: VadEngine,
        judge: TurnJudge | None = None,
        why: dict[Stage, str] | None = None,
    ) -> None:
        self.stt = stt
        self.llm = llm
        self.tts = tts
        self.vad = vad
        self.judge = judge
        self._why = why or {}

    @classmethod
    def from_settings(
        cls, settings: Settings, vad: VadEngine, judge: TurnJudge | None = None
    ) -> Engines:
        """Choose and build the providers; nothing is started yet.

        Raises:
            ConfigError: a setting that no engine can work with, naming the variable.
        """
        script = load_script(settings.llm.script or DEFAULT_SCRIPT)
        if settings.stt.provider == "auto" and script.stt.mode == "scripted":
            stt, stt_why = choose(Stage.STT, "scripted")[0], "the script says stt: mode: scripted"
        else:
            stt, stt_why = choose(Stage.STT, settings.stt.provider)
        llm, llm_why = choose(Stage.LLM, settings.llm.provider)
        tts, tts_why = choose(Stage.TTS, settings.tts.provider)
        return cls(
            stt.build(settings, script),
            llm.build(settings, script),
            tts.build(settings, script),
            vad=vad,
            judge=judge,
            why={Stage.STT: stt_why, Stage.LLM: llm_why, Stage.TTS: tts_why},
        )

    @property
    def providers(self) -> dict[Stage, Provider]:
        """The provider of each stage."""
        return {Stage.STT: self.stt, Stage.LLM: self.llm, Stage.TTS: self.tts}

    async def start(self) -> None:
        """Bring all engines up, side by side.

        Raises:
            ConfigError: a setting an engine cannot work with.
            ProviderError: an engine that does not come up.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for stage, provider in self.providers.items():
                    tasks.create_task(provider.start(), name=f"start {stage}")
        except BaseExceptionGroup as group:
            await self.close()
            raise _first(group) from group

    async def close(self) -> None:
        """Release everything; leaves no task, thread or process behind."""
        for stage, provider in self.providers.items():
            try:
                await provider.close()
            except Exception:
                # One engine that does not go down quietly must not keep the others up.
                logger.exception("the %s engine did not close cleanly", stage)
        await self.vad.close()
        if self.judge is not None:
            await self.judge.close()

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows of the start-up table: stage, engine, and why it was chosen."""
        rows = [("VAD", "silero (bundled with Pipecat, one model for all sessions)", "always")]
        for stage, provider in self.providers.items():
            rows.append((stage.upper(), provider.describe(), self._why.get(stage, "given")))
        return rows


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, however deeply nested."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
