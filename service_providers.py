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
from providers import configured, endpoints
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
    configured: Callable[[Settings], str | None] = lambda settings: None
    """Why `auto` would take it: what was set for it; None when nothing was."""


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
        language=settings.stt.language or "en",
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


def _local_whisper(settings: Settings, script: Script) -> SttProvider:
    from providers.local_whisper import LocalWhisperProvider

    stt = settings.stt
    return LocalWhisperProvider(
        stt.whisper_model or "base",
        language=stt.language,
        device=stt.whisper_device,
        compute_type=stt.whisper_compute_type,
        allow_download=stt.whisper_allow_download,
        workers=stt.whisper_workers,
        threads=stt.whisper_threads,
        timeout_s=stt.request_timeout_ms / 1000,
    )


def _deepgram(settings: Settings, script: Script) -> SttProvider:
    from providers.deepgram_stt import DeepgramProvider

    stt = settings.stt
    return DeepgramProvider(
        stt.deepgram_api_key,
        model=stt.deepgram_model,
        language=stt.deepgram_language or stt.language or "multi",
        base_url=stt.deepgram_base_url,
    )


def _openai_stt(settings: Settings, script: Script) -> SttProvider:
    from providers.openai_stt import OpenAiSttProvider

    return OpenAiSttProvider(
        endpoints.transcription(settings),
        language=settings.stt.language,
        timeout_s=settings.stt.request_timeout_ms / 1000,
    )


def _siliconflow_stt(settings: Settings, script: Script) -> SttProvider:
    from providers.openai_stt import SiliconFlowSttProvider

    return SiliconFlowSttProvider(
        endpoints.siliconflow(settings, "stt"),
        timeout_s=settings.stt.request_timeout_ms / 1000,
    )


def _openai_llm(settings: Settings, script: Script) -> LlmProvider:
    from providers.openai_llm import OpenAiLlmProvider

    return OpenAiLlmProvider(endpoints.openai(settings), **_llm_options(settings))


def _siliconflow_llm(settings: Settings, script: Script) -> LlmProvider:
    from providers.openai_llm import SiliconFlowLlmProvider

    endpoint = endpoints.siliconflow(settings, "llm")
    return SiliconFlowLlmProvider(endpoint, **_llm_options(settings))


def _ollama(settings: Settings, script: Script) -> LlmProvider:
    from providers.openai_llm import OllamaLlmProvider

    return OllamaLlmProvider(endpoints.ollama(settings), **_llm_options(settings))


def _llm_options(settings: Settings) -> dict[str, Any]:
    llm = settings.llm
    return {"images": llm.images, "stall_s": llm.stall_timeout_ms / 1000}


def _elevenlabs(settings: Settings, script: Script) -> TtsProvider:
    from providers.elevenlabs_tts import ElevenLabsProvider

    tts = settings.tts
    return ElevenLabsProvider(
        tts.elevenlabs_api_key,
        voice_id=tts.elevenlabs_voice_id,
        model=tts.elevenlabs_model,
        base_url=tts.elevenlabs_base_url,
        stall_s=tts.stall_timeout_ms / 1000,
    )


def _edge_tts(settings: Settings, script: Script) -> TtsProvider:
    from providers.edge_tts import EdgeTtsProvider

    tts = settings.tts
    return EdgeTtsProvider(voice=tts.edge_voice, stall_s=tts.stall_timeout_ms / 1000)


def _openai_tts(settings: Settings, script: Script) -> TtsProvider:
    from providers.openai_tts import OpenAiTtsProvider

    tts = settings.tts
    return OpenAiTtsProvider(
        endpoints.speech(settings),
        voice=tts.openai_voice,
        sample_rate_hz=tts.openai_sample_rate_hz,
        stall_s=tts.stall_timeout_ms / 1000,
    )


def _siliconflow_tts(settings: Settings, script: Script) -> TtsProvider:
    from providers.openai_tts import SiliconFlowTtsProvider

    return SiliconFlowTtsProvider(
        endpoints.siliconflow(settings, "tts"),
        voice=settings.siliconflow.tts_voice,
        stall_s=settings.tts.stall_timeout_ms / 1000,
    )


REGISTRY: tuple[Choice, ...] = (
    Choice(Stage.STT, "pocketsphinx", _pocketsphinx),
    Choice(Stage.STT, "scripted", _scripted_stt),
    Choice(Stage.STT, "local_whisper", _local_whisper, configured.local_whisper),
    Choice(Stage.STT, "deepgram", _deepgram, configured.deepgram),
    Choice(Stage.STT, "openai_whisper", _openai_stt, configured.openai_stt),
    Choice(Stage.STT, "siliconflow", _siliconflow_stt, configured.siliconflow),
    Choice(Stage.LLM, "scripted", _scripted_llm, configured.script),
    Choice(Stage.LLM, "openai", _openai_llm, configured.openai_llm),
    Choice(Stage.LLM, "siliconflow", _siliconflow_llm, configured.siliconflow),
    Choice(Stage.LLM, "ollama", _ollama, configured.ollama),
    Choice(Stage.TTS, "espeak", _espeak),
    Choice(Stage.TTS, "tone", _tone),
    Choice(Stage.TTS, "elevenlabs", _elevenlabs, configured.elevenlabs),
    Choice(Stage.TTS, "edge_tts", _edge_tts),
    Choice(Stage.TTS, "openai_tts", _openai_tts, configured.openai_tts),
    Choice(Stage.TTS, "siliconflow", _siliconflow_tts, configured.siliconflow),
)
"""Every provider. `auto` takes the first row of a stage that is configured, else the first row."""


def choose(stage: Stage, wanted: str, settings: Settings | None = None) -> tuple[Choice, str]:
    """The row for a stage and why it was taken.

    Args:
        stage: Which stage.
        wanted: A provider's name, or `auto`.
        settings: What `auto` looks at; None is as if nothing were configured.

    Raises:
        ConfigError: there is no such provider, naming those there are.
    """
    rows = [row for row in REGISTRY if row.stage is stage]
    variable = f"{stage.upper()}_PROVIDER"
    if wanted == "auto":
        for row in rows:
            if settings is not None and (reason := row.configured(settings)):
                return row, reason
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
            stt, stt_why = choose(Stage.STT, settings.stt.provider, settings)
        llm, llm_why = choose(Stage.LLM, settings.llm.provider, settings)
        tts, tts_why = choose(Stage.TTS, settings.tts.provider, settings)
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
