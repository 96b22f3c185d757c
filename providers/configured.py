"""Says what of the settings makes a provider the choice of `auto`, None when nothing does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from config import OllamaSettings, OpenAiSettings, Settings

_SIZE: Final = re.compile(
    r"(tiny|base|small|medium)(\.en)?|large(-v[123])?(-turbo)?|turbo|distil-[\w.-]+"
)
"""Names of local Whisper models; no server calls its models so."""


def script(settings: Settings) -> str | None:
    """Whoever names a script wants to hear it, keys in the environment or not."""
    return "SCRIPT_FILE is set" if settings.llm.script is not None else None


def local_whisper(settings: Settings) -> str | None:
    model = settings.stt.whisper_model
    if model is None:
        return None
    if _SIZE.fullmatch(model):
        return "WHISPER_MODEL is a local model"
    if Path(model).expanduser().is_dir():
        return "WHISPER_MODEL is a folder"
    # Also a mistyped one, which the engine then refuses; `a/b` may be any server's model.
    return "WHISPER_MODEL is a path" if model.startswith((".", "~", "/", "\\")) else None


def deepgram(settings: Settings) -> str | None:
    return "DEEPGRAM_API_KEY is set" if settings.stt.deepgram_api_key is not None else None


def elevenlabs(settings: Settings) -> str | None:
    return "ELEVENLABS_API_KEY is set" if settings.tts.elevenlabs_api_key is not None else None


def openai_stt(settings: Settings) -> str | None:
    if settings.stt.openai_base_url is not None:
        return "OPENAI_STT_BASE_URL is set"
    return _openai_key(settings)


def openai_llm(settings: Settings) -> str | None:
    if settings.openai.base_url != OpenAiSettings().base_url:
        return "OPENAI_BASE_URL is set"
    return _openai_key(settings)


def openai_tts(settings: Settings) -> str | None:
    if settings.tts.openai_base_url is not None:
        return "OPENAI_TTS_BASE_URL is set"
    return _openai_key(settings)


def siliconflow(settings: Settings) -> str | None:
    return "SILICONFLOW_API_KEY is set" if settings.siliconflow.api_key is not None else None


def ollama(settings: Settings) -> str | None:
    if settings.ollama.model is not None:
        return "OLLAMA_MODEL is set"
    changed = settings.ollama.base_url != OllamaSettings().base_url
    return "OLLAMA_BASE_URL is set" if changed else None


def _openai_key(settings: Settings) -> str | None:
    """A key for OpenAI itself: of another server nobody knows whether it hears or speaks."""
    vendor = settings.openai
    if vendor.api_key is None or vendor.base_url != OpenAiSettings().base_url:
        return None
    return "OPENAI_API_KEY is set"
