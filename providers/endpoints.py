"""Reads from the settings which OpenAI-compatible server serves which stage."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import SecretStr

from config import Settings
from protocol import ConfigError

from .endpoint import Endpoint

_LOCAL_MODEL: Final = "llama3.2"
_OPENAI_STT_MODEL: Final = "gpt-transcribe"
_COMPATIBLE_STT_MODEL: Final = "whisper-1"


def openai(settings: Settings) -> Endpoint:
    """The chat completions of `OPENAI_BASE_URL`.

    Raises:
        ConfigError: it is OpenAI itself, and there is no key.
    """
    return _with_key(_openai(settings, settings.openai.model, "OPENAI_MODEL"), "LLM_PROVIDER")


def transcription(settings: Settings) -> Endpoint:
    """The transcription address of `openai_whisper`.

    Raises:
        ConfigError: it is OpenAI itself, and there is no key.
    """
    stt = settings.stt
    own = _own("OPENAI_STT", stt.openai_base_url, stt.openai_api_key)
    endpoint = own or _openai(settings, "", "")
    default = _OPENAI_STT_MODEL if endpoint.is_openai else _COMPATIBLE_STT_MODEL
    return _with_key(
        _named(endpoint, "openai_whisper", stt.whisper_model or default, "WHISPER_MODEL"),
        "STT_PROVIDER",
    )


def speech(settings: Settings) -> Endpoint:
    """The speech address of `openai_tts`.

    Raises:
        ConfigError: it is OpenAI itself, and there is no key.
    """
    tts = settings.tts
    own = _own("OPENAI_TTS", tts.openai_base_url, tts.openai_api_key)
    endpoint = own or _openai(settings, "", "")
    return _with_key(
        _named(endpoint, "openai_tts", tts.openai_model, "OPENAI_TTS_MODEL"), "TTS_PROVIDER"
    )


def siliconflow(settings: Settings, stage: Literal["stt", "llm", "tts"]) -> Endpoint:
    """SiliconFlow, for one stage.

    Raises:
        ConfigError: there is no key.
    """
    vendor = settings.siliconflow
    model, variable = {
        "stt": (vendor.stt_model, "SILICONFLOW_STT_MODEL"),
        "llm": (vendor.model, "SILICONFLOW_MODEL"),
        "tts": (vendor.tts_model, "SILICONFLOW_TTS_MODEL"),
    }[stage]
    if vendor.api_key is None:
        raise ConfigError(
            "SILICONFLOW_API_KEY", f"must be set when {stage.upper()}_PROVIDER=siliconflow"
        )
    return Endpoint(
        label="siliconflow",
        base_url=vendor.base_url,
        api_key=vendor.api_key,
        model=model,
        key_variable="SILICONFLOW_API_KEY",
        url_variable="SILICONFLOW_BASE_URL",
        model_variable=variable,
    )


def ollama(settings: Settings) -> Endpoint:
    """Ollama's compatible address."""
    url = settings.ollama.base_url
    return Endpoint(
        label="ollama",
        base_url=url if url.endswith("/v1") else f"{url}/v1",
        api_key=None,
        model=settings.ollama.model or _LOCAL_MODEL,
        # It asks for no key; a proxy in front of it that does is another server's business.
        key_variable="OLLAMA_BASE_URL",
        url_variable="OLLAMA_BASE_URL",
        model_variable="OLLAMA_MODEL",
    )


def _openai(settings: Settings, model: str, model_variable: str) -> Endpoint:
    vendor = settings.openai
    return Endpoint(
        label="openai",
        base_url=vendor.base_url,
        api_key=vendor.api_key,
        model=model,
        key_variable="OPENAI_API_KEY",
        url_variable="OPENAI_BASE_URL",
        model_variable=model_variable,
    )


def _own(prefix: str, base_url: str | None, api_key: SecretStr | None) -> Endpoint | None:
    """A stage's own server, with its own key or none: `OPENAI_API_KEY` is not for everybody."""
    if base_url is None:
        return None
    return Endpoint("", base_url, api_key, "", f"{prefix}_API_KEY", f"{prefix}_BASE_URL", "")


def _named(endpoint: Endpoint, label: str, model: str, model_variable: str) -> Endpoint:
    return Endpoint(
        label,
        endpoint.base_url,
        endpoint.api_key,
        model,
        endpoint.key_variable,
        endpoint.url_variable,
        model_variable,
    )


def _with_key(endpoint: Endpoint, provider_variable: str) -> Endpoint:
    if endpoint.is_openai and endpoint.api_key is None:
        raise ConfigError(
            endpoint.key_variable,
            f"must be set when {provider_variable}={endpoint.label}; a server without keys is "
            f"named with {endpoint.url_variable}",
        )
    return endpoint
