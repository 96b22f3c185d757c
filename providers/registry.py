"""The providers there are, one row each; adding one is a module beside this one and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from config import Settings
from protocol import ConfigError, Stage

from . import configured, endpoints
from .base import LlmProvider, SttProvider, TtsProvider
from .script import Script


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
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """What a profile may tell it, by the leaf of the settings that it takes the place of."""
    share: Mapping[str, Callable[[Any, Any], Any]] = field(
        default_factory=dict[str, Callable[[Any, Any], Any]]
    )
    """Options that need no engine of their own: makes, of a running one, one with that value."""


def _pocketsphinx(settings: Settings, script: Script) -> SttProvider:
    from .pocketsphinx_stt import PocketsphinxProvider

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
    from .scripted_stt import ScriptedSttProvider

    return ScriptedSttProvider(script.transcripts, script.latency, script.seed)


def _scripted_llm(settings: Settings, script: Script) -> LlmProvider:
    from .scripted_llm import ScriptedLlmProvider

    return ScriptedLlmProvider(settings.llm.script or script)


def _espeak(settings: Settings, script: Script) -> TtsProvider:
    from .espeak_tts import EspeakProvider

    return EspeakProvider(voice=settings.tts.voice, rate_wpm=settings.tts.rate_wpm)


def _tone(settings: Settings, script: Script) -> TtsProvider:
    from .tone_tts import ToneProvider

    return ToneProvider(script.latency)


def _local_whisper(settings: Settings, script: Script) -> SttProvider:
    from .local_whisper import LocalWhisperProvider

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
    from .deepgram_stt import DeepgramProvider

    stt = settings.stt
    return DeepgramProvider(
        stt.deepgram_api_key,
        model=stt.deepgram_model,
        language=stt.deepgram_language or stt.language or "multi",
        diarize=stt.deepgram_diarize,
        base_url=stt.deepgram_base_url,
    )


def _openai_stt(settings: Settings, script: Script) -> SttProvider:
    from .openai_stt import OpenAiSttProvider

    return OpenAiSttProvider(
        endpoints.transcription(settings),
        language=settings.stt.language,
        timeout_s=settings.stt.request_timeout_ms / 1000,
    )


def _siliconflow_stt(settings: Settings, script: Script) -> SttProvider:
    from .openai_stt import SiliconFlowSttProvider

    return SiliconFlowSttProvider(
        endpoints.siliconflow(settings, "stt"),
        timeout_s=settings.stt.request_timeout_ms / 1000,
    )


def _openai_llm(settings: Settings, script: Script) -> LlmProvider:
    from .openai_llm import OpenAiLlmProvider

    return OpenAiLlmProvider(endpoints.openai(settings), **_llm_options(settings))


def _siliconflow_llm(settings: Settings, script: Script) -> LlmProvider:
    from .openai_llm import SiliconFlowLlmProvider

    endpoint = endpoints.siliconflow(settings, "llm")
    return SiliconFlowLlmProvider(endpoint, **_llm_options(settings))


def _ollama(settings: Settings, script: Script) -> LlmProvider:
    from .openai_llm import OllamaLlmProvider

    return OllamaLlmProvider(endpoints.ollama(settings), **_llm_options(settings))


def _llm_options(settings: Settings) -> dict[str, Any]:
    llm = settings.llm
    return {"images": llm.images, "stall_s": llm.stall_timeout_ms / 1000}


def _elevenlabs(settings: Settings, script: Script) -> TtsProvider:
    from .elevenlabs_tts import ElevenLabsProvider

    tts = settings.tts
    return ElevenLabsProvider(
        tts.elevenlabs_api_key,
        voice_id=tts.elevenlabs_voice_id,
        model=tts.elevenlabs_model,
        base_url=tts.elevenlabs_base_url,
        stall_s=tts.stall_timeout_ms / 1000,
    )


def _edge_tts(settings: Settings, script: Script) -> TtsProvider:
    from .edge_tts import EdgeTtsProvider

    tts = settings.tts
    return EdgeTtsProvider(voice=tts.edge_voice, stall_s=tts.stall_timeout_ms / 1000)


def _openai_tts(settings: Settings, script: Script) -> TtsProvider:
    from .openai_tts import OpenAiTtsProvider

    tts = settings.tts
    return OpenAiTtsProvider(
        endpoints.speech(settings),
        voice=tts.openai_voice,
        sample_rate_hz=tts.openai_sample_rate_hz,
        stall_s=tts.stall_timeout_ms / 1000,
    )


def _siliconflow_tts(settings: Settings, script: Script) -> TtsProvider:
    from .openai_tts import SiliconFlowTtsProvider

    return SiliconFlowTtsProvider(
        endpoints.siliconflow(settings, "tts"),
        voice=settings.siliconflow.tts_voice,
        stall_s=settings.tts.stall_timeout_ms / 1000,
    )


_SCRIPT = {"script": "llm.script"}
_OPENAI = {"base_url": "openai.base_url", "api_key": "openai.api_key"}
_SILICONFLOW = {"base_url": "siliconflow.base_url", "api_key": "siliconflow.api_key"}


REGISTRY: tuple[Choice, ...] = (
    Choice(
        Stage.STT,
        "pocketsphinx",
        _pocketsphinx,
        options={"language": "stt.language", "phrases": "stt.phrases", **_SCRIPT},
    ),
    Choice(Stage.STT, "scripted", _scripted_stt, options=_SCRIPT),
    Choice(
        Stage.STT,
        "local_whisper",
        _local_whisper,
        configured.local_whisper,
        options={"model": "stt.whisper_model", "language": "stt.language"},
        share={"language": lambda whisper, language: whisper.with_language(language)},
    ),
    Choice(
        Stage.STT,
        "deepgram",
        _deepgram,
        configured.deepgram,
        options={
            "model": "stt.deepgram_model",
            "language": "stt.deepgram_language",
            "base_url": "stt.deepgram_base_url",
            "api_key": "stt.deepgram_api_key",
        },
    ),
    Choice(
        Stage.STT,
        "openai_whisper",
        _openai_stt,
        configured.openai_stt,
        options={
            "model": "stt.whisper_model",
            "language": "stt.language",
            "base_url": "stt.openai_base_url",
            "api_key": "stt.openai_api_key",
        },
    ),
    Choice(
        Stage.STT,
        "siliconflow",
        _siliconflow_stt,
        configured.siliconflow,
        options={"model": "siliconflow.stt_model", **_SILICONFLOW},
    ),
    Choice(Stage.LLM, "scripted", _scripted_llm, configured.script, options=_SCRIPT),
    Choice(
        Stage.LLM,
        "openai",
        _openai_llm,
        configured.openai_llm,
        options={"model": "openai.model", **_OPENAI},
    ),
    Choice(
        Stage.LLM,
        "siliconflow",
        _siliconflow_llm,
        configured.siliconflow,
        options={"model": "siliconflow.model", **_SILICONFLOW},
    ),
    Choice(
        Stage.LLM,
        "ollama",
        _ollama,
        configured.ollama,
        options={"model": "ollama.model", "base_url": "ollama.base_url"},
    ),
    Choice(
        Stage.TTS,
        "espeak",
        _espeak,
        options={"voice": "tts.voice"},
        share={"voice": lambda espeak, voice: espeak.with_voice(voice)},
    ),
    Choice(Stage.TTS, "tone", _tone, options=_SCRIPT),
    Choice(
        Stage.TTS,
        "elevenlabs",
        _elevenlabs,
        configured.elevenlabs,
        options={
            "model": "tts.elevenlabs_model",
            "voice": "tts.elevenlabs_voice_id",
            "base_url": "tts.elevenlabs_base_url",
            "api_key": "tts.elevenlabs_api_key",
        },
    ),
    Choice(Stage.TTS, "edge_tts", _edge_tts, options={"voice": "tts.edge_voice"}),
    Choice(
        Stage.TTS,
        "openai_tts",
        _openai_tts,
        configured.openai_tts,
        options={
            "model": "tts.openai_model",
            "voice": "tts.openai_voice",
            "base_url": "tts.openai_base_url",
            "api_key": "tts.openai_api_key",
        },
    ),
    Choice(
        Stage.TTS,
        "siliconflow",
        _siliconflow_tts,
        configured.siliconflow,
        options={
            "model": "siliconflow.tts_model",
            "voice": "siliconflow.tts_voice",
            **_SILICONFLOW,
        },
    ),
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
