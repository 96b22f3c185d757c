"""The settings of one process: a frozen tree read from the environment and `.env`.

Every leaf names its environment variable in its `Env` marker and explains itself in its
docstring; the table of both, `VARIABLES`, drives loading. This module knows no engine: it says
what may be chosen, `service_providers.py` says what the choice means.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from protocol import ConfigError
from setting_kinds import (
    HOST,
    HOST_PATTERNS,
    HTTP_URL,
    ORIGINS,
    REDIS_URL,
    engine_list,
    language_tag,
)


@dataclass(frozen=True, slots=True)
class Env:
    """The environment variable of a setting; `separator` splits the value of a list."""

    name: str
    separator: str | None = None


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ServerSettings(_Section):
    """Where the gateway listens and whom it lets in."""

    host: Annotated[str, HOST, Env("SERVER_HOST")] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 opens the gateway to the network."""
    port: Annotated[int, Field(ge=0, le=65_535), Env("SERVER_PORT")] = 8000
    """Port to listen on; 0 picks a free one."""
    workers: Annotated[int, Field(ge=1, le=64), Env("WORKERS")] = 1
    """Processes that connections are spread over; each loads its own engines."""
    api_key: Annotated[SecretStr | None, Env("API_KEY")] = None
    """Key every client must present; without one any key, or none, is accepted."""
    client_secret_key: Annotated[SecretStr | None, Env("CLIENT_SECRET_KEY")] = None
    """Signs ephemeral keys, at least 16 characters; unset = API_KEY, without that by chance."""
    allowed_origins: Annotated[tuple[str, ...], ORIGINS, Env("ALLOWED_ORIGINS", ",")] = ()
    """Browser origins besides localhost and our own page that need no API_KEY; * allows all."""
    ssl_certfile: Annotated[FilePath | None, Env("SSL_CERTFILE")] = None
    """Certificate chain (PEM); with SSL_KEYFILE it turns ws: and http: into wss: and https:."""
    ssl_keyfile: Annotated[FilePath | None, Env("SSL_KEYFILE")] = None
    """Private key (PEM) of SSL_CERTFILE."""
    testing: Annotated[bool, Env("TESTING")] = False
    """Test mode: a script's faults strike, and POST /testing/faults sets more."""
    debug: Annotated[bool, Env("DEBUG")] = False
    """Log every wire event and Pipecat's own debug lines, which may quote what was said."""
    dialect: Annotated[Literal["auto", "ga", "beta"], Env("REALTIME_DIALECT")] = "auto"
    """Dialect of the Realtime API to speak; auto decides for each connection."""
    beta_enabled: Annotated[bool, Env("BETA_ENABLED")] = True
    """Whether beta clients are served; false turns them away exactly as OpenAI does."""


class SessionSettings(_Section):
    """What a session starts with, and its limits."""

    model: Annotated[str, Env("DEFAULT_MODEL")] = "gpt-realtime"
    """Model name shown to clients that name none; any name a client asks for is echoed."""
    instructions: Annotated[str, Env("LLM_SYSTEM_PROMPT")] = (
        "You are a helpful voice assistant. Answer briefly, in the language the user speaks."
    )
    """Instructions of a session until the client sends its own."""
    output_lead_ms: Annotated[int, Field(ge=0, le=3_600_000), Env("OUTPUT_LEAD_MS")] = 5000
    """How far audio output may run ahead of real time while VAD may interrupt; 0 = no limit."""
    max_session_s: Annotated[int, Field(ge=1, le=86_400), Env("MAX_SESSION_SECONDS")] = 3600
    """Age at which a session is closed with session_expired."""
    stt_timeout_ms: Annotated[int, Field(ge=100, le=600_000), Env("STT_TIMEOUT_MS")] = 15_000
    """How long a committed turn may wait for its transcript before it counts as failed."""
    generation_timeout_ms: Annotated[
        int, Field(ge=100, le=600_000), Env("GENERATION_TIMEOUT_MS")
    ] = 30_000
    """How long a response may go without anything new from its engines before it fails."""
    speculative_turns: Annotated[bool, Env("SPECULATIVE_TURNS")] = True
    """Whether replies are prepared while the user pauses, before the turn is known to be over."""
    speculate_after_ms: Annotated[int, Field(ge=0, le=60_000), Env("SPECULATE_AFTER_MS")] = 150
    """Silence within a turn from which a reply is prepared."""
    profiles: Annotated[FilePath | None, Env("PROFILES_FILE")] = None
    """YAML file that gives model names stacks of their own; unset = one stack for every name."""
    failover_retry_s: Annotated[int, Field(ge=1, le=86_400), Env("FAILOVER_RETRY_SECONDS")] = 60
    """How long an engine that failed is spared where it has a backup."""
    playback: Annotated[Literal["client", "server"], Env("PLAYBACK")] = "client"
    """Who keeps the time of what is played; server is for devices that play audio as it comes."""
    requests_per_minute: Annotated[
        int | None, Field(ge=1, le=1_000_000), Env("RATE_LIMIT_REQUESTS_PER_MINUTE")
    ] = None
    """Responses a key may have a minute, in all its sessions together; unset = no limit."""
    tokens_per_minute: Annotated[
        int | None, Field(ge=1, le=1_000_000_000), Env("RATE_LIMIT_TOKENS_PER_MINUTE")
    ] = None
    """Tokens, in and out, that a key may use a minute in all its sessions; unset = no limit."""
    legacy_events: Annotated[bool, Env("LEGACY_EVENTS")] = False
    """Whether to send events that OpenAI's types still name and OpenAI no longer sends."""


class VadSettings(_Section):
    """Defaults of server_vad; a client may change them at any time."""

    threshold: Annotated[float, Field(ge=0, le=1), Env("VAD_THRESHOLD")] = 0.5
    """Speech probability from which a window of audio counts as speech."""
    silence_duration_ms: Annotated[int, Field(ge=0, le=60_000), Env("VAD_SILENCE_DURATION_MS")] = (
        500
    )
    """Silence that ends a turn."""
    prefix_padding_ms: Annotated[int, Field(ge=0, le=10_000), Env("VAD_PREFIX_PADDING_MS")] = 300
    """Audio kept from before the detected start of speech."""


class OpenAiSettings(_Section):
    """OpenAI, or whatever else speaks its HTTP API."""

    api_key: Annotated[SecretStr | None, Env("OPENAI_API_KEY")] = None
    """Key of OPENAI_BASE_URL; sent nowhere else."""
    base_url: Annotated[str, HTTP_URL, Env("OPENAI_BASE_URL")] = "https://api.openai.com/v1"
    """Any server with OpenAI's chat completions, e.g. vLLM, llama.cpp or LM Studio."""
    model: Annotated[str, Env("OPENAI_MODEL")] = "gpt-4.1-mini"
    """Language model."""


class SiliconFlowSettings(_Section):
    """SiliconFlow, for each stage."""

    api_key: Annotated[SecretStr | None, Env("SILICONFLOW_API_KEY")] = None
    """Key of SILICONFLOW_BASE_URL; sent nowhere else."""
    base_url: Annotated[str, HTTP_URL, Env("SILICONFLOW_BASE_URL")] = (
        "https://api.siliconflow.cn/v1"
    )
    """Where SiliconFlow's API is."""
    model: Annotated[str, Env("SILICONFLOW_MODEL")] = "Qwen/Qwen2.5-7B-Instruct"
    """Language model."""
    stt_model: Annotated[str, Env("SILICONFLOW_STT_MODEL")] = "FunAudioLLM/SenseVoiceSmall"
    """Speech recognition model."""
    tts_model: Annotated[str, Env("SILICONFLOW_TTS_MODEL")] = "FunAudioLLM/CosyVoice2-0.5B"
    """Speech synthesis model."""
    tts_voice: Annotated[str, Env("SILICONFLOW_TTS_VOICE")] = "FunAudioLLM/CosyVoice2-0.5B:alex"
    """Voice, with the model it belongs to in front."""


class OllamaSettings(_Section):
    """Ollama, on this machine or another."""

    base_url: Annotated[str, HTTP_URL, Env("OLLAMA_BASE_URL")] = "http://localhost:11434"
    """Where Ollama listens, with or without /v1."""
    model: Annotated[str | None, Env("OLLAMA_MODEL")] = None
    """Language model, pulled beforehand; unset = llama3.2."""


class SttSettings(_Section):
    """Speech to text."""

    provider: Annotated[
        str,
        engine_list(
            "auto",
            "deepgram",
            "openai_whisper",
            "siliconflow",
            "local_whisper",
            "pocketsphinx",
            "scripted",
        ),
        Env("STT_PROVIDER"),
    ] = "auto"
    """Engine, and its backups behind commas; auto takes the best one that is configured."""
    final_timeout_ms: Annotated[int, Field(ge=100, le=600_000), Env("STT_FINAL_TIMEOUT_MS")] = 5000
    """How long an engine that has a backup may take for a turn's transcript."""
    request_timeout_ms: Annotated[int, Field(ge=100, le=600_000), Env("STT_REQUEST_TIMEOUT_MS")] = (
        10_000
    )
    """How long an engine that is asked once a turn may take for its answer."""
    deepgram_api_key: Annotated[SecretStr | None, Env("DEEPGRAM_API_KEY")] = None
    """Key of DEEPGRAM_BASE_URL; sent nowhere else."""
    deepgram_model: Annotated[str, Env("DEEPGRAM_MODEL")] = "nova-3"
    """Model of deepgram."""
    deepgram_language: Annotated[str | None, language_tag("multi"), Env("DEEPGRAM_LANGUAGE")] = None
    """Language as Deepgram names it; unset = STT_LANGUAGE, without that multi."""
    deepgram_diarize: Annotated[bool, Env("DEEPGRAM_DIARIZE")] = False
    """Whether deepgram tells speakers apart for every client, not only for those that ask."""
    deepgram_base_url: Annotated[str, HTTP_URL, Env("DEEPGRAM_BASE_URL")] = (
        "https://api.deepgram.com"
    )
    """Where Deepgram's API is."""
    whisper_model: Annotated[str | None, Env("WHISPER_MODEL")] = None
    """Model of openai_whisper, or size, hub name or folder for local_whisper."""
    openai_base_url: Annotated[str | None, HTTP_URL, Env("OPENAI_STT_BASE_URL")] = None
    """Server of openai_whisper; unset = OPENAI_BASE_URL with its key."""
    openai_api_key: Annotated[SecretStr | None, Env("OPENAI_STT_API_KEY")] = None
    """Key of OPENAI_STT_BASE_URL, if it wants one."""
    whisper_device: Annotated[Literal["auto", "cpu", "cuda"], Env("WHISPER_DEVICE")] = "auto"
    """Where local_whisper computes; auto takes a GPU when there is one."""
    whisper_compute_type: Annotated[
        Literal[
            "auto",
            "default",
            "int8",
            "int8_float32",
            "int8_float16",
            "int8_bfloat16",
            "int16",
            "float16",
            "bfloat16",
            "float32",
        ],
        Env("WHISPER_COMPUTE_TYPE"),
    ] = "auto"
    """CTranslate2's compute type of local_whisper; auto = int8 on a CPU, float16 on a GPU."""
    whisper_workers: Annotated[int, Field(ge=1, le=64), Env("WHISPER_WORKERS")] = 1
    """Turns that local_whisper decodes at a time."""
    whisper_threads: Annotated[int, Field(ge=0, le=256), Env("WHISPER_THREADS")] = 0
    """CPU threads of local_whisper for each turn; 0 = CTranslate2's default, which is 4."""
    whisper_allow_download: Annotated[bool, Env("WHISPER_ALLOW_DOWNLOAD")] = False
    """Whether local_whisper may fetch a model from the Hugging Face hub."""
    mode: Annotated[Literal["auto", "general", "phrases"], Env("POCKETSPHINX_MODE")] = "auto"
    """What pocketsphinx listens for: general (free English) or phrases (only those listed); auto
    takes phrases when there are any, here or in the script."""
    phrases: Annotated[tuple[str, ...], Env("POCKETSPHINX_PHRASES", "|")] = ()
    """Phrases of the phrases mode, separated by |; unset = those of the script."""
    workers: Annotated[int, Field(ge=1, le=64), Env("POCKETSPHINX_WORKERS")] = 2
    """Worker processes, each of which decodes one turn at a time."""
    language: Annotated[str | None, language_tag(), Env("STT_LANGUAGE")] = None
    """Language (BCP-47) spoken when the client names none; unset = the engine finds out."""


class LlmSettings(_Section):
    """The language model."""

    provider: Annotated[
        str,
        engine_list("auto", "openai", "siliconflow", "ollama", "scripted"),
        Env("LLM_PROVIDER"),
    ] = "auto"
    """Engine, and its backups behind commas; auto takes the best one that is configured."""
    ttft_timeout_ms: Annotated[int, Field(ge=100, le=600_000), Env("LLM_TTFT_TIMEOUT_MS")] = 5000
    """How long a model that has a backup may take for the first token of a reply."""
    script: Annotated[FilePath | None, Env("SCRIPT_FILE")] = None
    """YAML file the scripted responder plays; unset = the one that is shipped."""
    # The bounds are those of the session object, where this value is the default.
    temperature: Annotated[float, Field(ge=0.6, le=1.2), Env("LLM_TEMPERATURE")] = 0.8
    """Sampling temperature until the client sends its own."""
    max_tokens: Annotated[int | None, Field(ge=1, le=4096), Env("LLM_MAX_TOKENS")] = None
    """Longest reply in tokens until the client sends its own; unset = no limit."""
    context_tokens: Annotated[int, Field(ge=0, le=10_000_000), Env("LLM_CONTEXT_TOKENS")] = 28_000
    """Most tokens of context (estimated) a model is given; 0 = no limit."""
    images: Annotated[Literal["auto", "true", "false"], Env("LLM_IMAGES")] = "auto"
    """Whether the model takes images; auto sends them and lets its server judge."""
    stall_timeout_ms: Annotated[int, Field(ge=100, le=600_000), Env("LLM_STALL_TIMEOUT_MS")] = (
        20_000
    )
    """How long a model may take for its first token, and then for each next one."""


class TtsSettings(_Section):
    """Text to speech."""

    provider: Annotated[
        str,
        engine_list(
            *("auto", "elevenlabs", "edge_tts", "openai_tts", "siliconflow", "espeak", "tone")
        ),
        Env("TTS_PROVIDER"),
    ] = "auto"
    """Engine, and its backups behind commas; auto takes the best one that is configured."""
    first_audio_timeout_ms: Annotated[
        int, Field(ge=100, le=600_000), Env("TTS_FIRST_AUDIO_TIMEOUT_MS")
    ] = 3000
    """How long a voice that has a backup may take for the first audio of a clause."""
    stall_timeout_ms: Annotated[int, Field(ge=100, le=600_000), Env("TTS_STALL_TIMEOUT_MS")] = (
        10_000
    )
    """How long a remote voice may take for its first audio, and then for each next piece."""
    elevenlabs_api_key: Annotated[SecretStr | None, Env("ELEVENLABS_API_KEY")] = None
    """Key of ELEVENLABS_BASE_URL; sent nowhere else."""
    elevenlabs_voice_id: Annotated[str, Env("ELEVENLABS_VOICE_ID")] = "JBFqnCBsd6RMkjVDRZzb"
    """Voice of elevenlabs, by its id."""
    elevenlabs_model: Annotated[str, Env("ELEVENLABS_MODEL")] = "eleven_flash_v2_5"
    """Model of elevenlabs."""
    elevenlabs_base_url: Annotated[str, HTTP_URL, Env("ELEVENLABS_BASE_URL")] = (
        "https://api.elevenlabs.io"
    )
    """Where ElevenLabs' API is."""
    edge_voice: Annotated[str, Env("EDGE_TTS_VOICE")] = "zh-CN-XiaoxiaoNeural"
    """Voice of edge_tts for clients that name none of its own."""
    openai_model: Annotated[str, Env("OPENAI_TTS_MODEL")] = "gpt-4o-mini-tts"
    """Model of openai_tts."""
    openai_voice: Annotated[str, Env("OPENAI_TTS_VOICE")] = "alloy"
    """Voice of openai_tts for clients that name none, or one the server lacks."""
    openai_base_url: Annotated[str | None, HTTP_URL, Env("OPENAI_TTS_BASE_URL")] = None
    """Server of openai_tts; unset = OPENAI_BASE_URL with its key."""
    openai_api_key: Annotated[SecretStr | None, Env("OPENAI_TTS_API_KEY")] = None
    """Key of OPENAI_TTS_BASE_URL, if it wants one."""
    openai_sample_rate_hz: Annotated[
        int | None, Field(ge=8000, le=48_000), Env("OPENAI_TTS_SAMPLE_RATE")
    ] = None
    """Rate to ask of a compatible server and to take from it; unset = OpenAI's 24000."""
    voice: Annotated[str, Env("TTS_VOICE")] = "en-us"
    """Voice used when the client's voice is not one of the engine's own."""
    rate_wpm: Annotated[int, Field(ge=80, le=450), Env("ESPEAK_RATE_WPM")] = 170
    """Speaking rate of espeak-ng in words per minute."""


class McpSettings(_Section):
    """Remote MCP servers, whose tools clients may have this server run; off by default."""

    allowed_hosts: Annotated[tuple[str, ...], HOST_PATTERNS, Env("MCP_ALLOWED_HOSTS", ",")] = ()
    """Hosts that clients may name: mcp.example.com, *.example.com, localhost:8001, *; unset = MCP
    is off."""
    allow_private: Annotated[bool, Env("MCP_ALLOW_PRIVATE")] = False
    """Whether they may be on this machine or in its network, and there without TLS."""
    timeout_ms: Annotated[int, Field(ge=100, le=600_000), Env("MCP_TIMEOUT_MS")] = 30_000
    """How long connecting, listing tools and running one may each take."""
    follow_up: Annotated[bool, Env("MCP_FOLLOW_UP")] = False
    """Whether the model goes on by itself after its calls; OpenAI leaves response.create to the
    client."""


class UploadSettings(_Section):
    """Recorded turns by HTTP (POST /process_audio), and the conversations they belong to."""

    max_bytes: Annotated[int, Field(ge=1024, le=1024**3), Env("PROCESS_AUDIO_MAX_BYTES")] = (
        25 * 1024 * 1024
    )
    """Largest audio file that is taken."""
    # A session's input buffer holds 15 minutes.
    max_seconds: Annotated[int, Field(ge=1, le=840), Env("PROCESS_AUDIO_MAX_SECONDS")] = 300
    """Longest recording that is taken."""
    conversation_ttl_s: Annotated[
        int, Field(ge=1, le=31_536_000), Env("CONVERSATION_TTL_SECONDS")
    ] = 3600
    """How long what was said in a conversation is remembered after its last turn."""
    redis_url: Annotated[SecretStr | None, REDIS_URL, Env("REDIS_URL")] = None
    """Redis that remembers it, redis://[:password@]host:6379/0; unset = this process does."""


class Settings(_Section):
    """The whole tree; `Settings()` is what an empty environment gives."""

    server: ServerSettings = ServerSettings()
    session: SessionSettings = SessionSettings()
    vad: VadSettings = VadSettings()
    openai: OpenAiSettings = OpenAiSettings()
    siliconflow: SiliconFlowSettings = SiliconFlowSettings()
    ollama: OllamaSettings = OllamaSettings()
    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    tts: TtsSettings = TtsSettings()
    mcp: McpSettings = McpSettings()
    uploads: UploadSettings = UploadSettings()


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of the table of settings: `Settings.<section>.<field>` comes from `env`."""

    section: str
    field: str
    env: Env
    description: str


def _variables() -> dict[str, Variable]:
    rows: dict[str, Variable] = {}
    for section, section_field in Settings.model_fields.items():
        model = cast(type[BaseModel], type(section_field.default))
        for name, field in model.model_fields.items():
            env = next(mark for mark in field.metadata if isinstance(mark, Env))
            rows[env.name] = Variable(section, name, env, field.description or "")
    return rows


VARIABLES: Mapping[str, Variable] = MappingProxyType(_variables())
"""Every environment variable by name, in the order of the tree."""


def load_settings(
    environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
) -> Settings:
    """Read the settings; the environment wins over the file, an empty value counts as unset.

    Args:
        environ: Variables by name; None is the environment of the process.
        env_file: File in `.env` syntax, taken literally (no `${}` expansion); it may be absent.

    Raises:
        ConfigError: naming the first variable with a bad value and what it may be.
    """
    raw = read_environment(environ, env_file)
    tree: dict[str, dict[str, Any]] = {section: {} for section in Settings.model_fields}
    for name, row in VARIABLES.items():
        if name in raw:
            if name not in _OF_SEVERAL_LINES and any(sign < " " for sign in raw[name].strip()):
                raise ConfigError(name, "must be one line without control characters")
            tree[row.section][row.field] = _split(raw[name], row.env.separator)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as exc:
        raise _config_error(exc, raw) from None
    _check_together(settings)
    return settings


def read_environment(
    environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
) -> dict[str, str]:
    """All variables that are set, those of the environment ahead of those of the file.

    Raises:
        ConfigError: the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    return _read_env_file(env_file) | {
        name: value for name, value in environ.items() if value.strip()
    }


def _read_env_file(path: Path | None) -> dict[str, str]:
    if path is None or not path.is_file():
        return {}
    try:
        # utf-8-sig: Windows editors begin the file with a byte order mark.
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(str(path), f"the file must be readable UTF-8 text ({exc})") from None
    return {name: value for name, value in values.items() if value and value.strip()}


def _split(value: str, separator: str | None) -> str | tuple[str, ...]:
    if separator is None:
        return value.strip()
    return tuple(part for piece in value.split(separator) if (part := piece.strip()))


_OF_SEVERAL_LINES = frozenset({"LLM_SYSTEM_PROMPT"})

_ALLOWED = {
    "bool_parsing": "true or false",
    "path_not_file": "the path of an existing file",
}
"""What pydantic's wording leaves unclear, by its error type."""

_OF_NUMBERS = frozenset({"int_parsing", "float_parsing", "greater_than_equal", "less_than_equal"})
"""The errors that are answered with the whole range."""


def _config_error(exc: ValidationError, raw: Mapping[str, str]) -> ConfigError:
    error = exc.errors(include_url=False, include_context=False)[0]
    section, field = str(error["loc"][0]), str(error["loc"][1])
    name = next(
        name for name, row in VARIABLES.items() if (row.section, row.field) == (section, field)
    )
    if error["type"] in _OF_NUMBERS:
        model = cast(type[BaseModel], Settings.model_fields[section].annotation)
        allowed = _range(model.model_fields[field])
    else:
        allowed = _ALLOWED.get(error["type"]) or error["msg"].removeprefix("Input should be ")
    # What has an @ in it may be a URL with a password.
    has_secret = error["type"] == "redis_url" or "@" in raw[name]
    return ConfigError(name, f"must be {allowed}" + ("" if has_secret else f", not {raw[name]!r}"))


def _range(field: FieldInfo) -> str:
    """The numbers a setting may be, in words; each has both bounds."""
    least = next(mark.ge for mark in field.metadata if hasattr(mark, "ge"))
    most = next(mark.le for mark in field.metadata if hasattr(mark, "le"))
    kind = "a number" if field.annotation is float else "a whole number"
    return f"{kind} from {least} to {most}"


def _check_together(settings: Settings) -> None:
    """Refuse values that are fine alone and wrong together."""
    server = settings.server
    for name, row in VARIABLES.items():
        secret = getattr(getattr(settings, row.section), row.field)
        if isinstance(secret, SecretStr) and name != "CLIENT_SECRET_KEY":
            key = secret.get_secret_value()
            if not (key.isascii() and key.isprintable()) or " " in key:
                raise ConfigError(
                    name, "must be printable ASCII without spaces: it is sent in a header"
                )
    signing_key = server.client_secret_key
    if signing_key is not None and len(signing_key.get_secret_value()) < 16:
        raise ConfigError("CLIENT_SECRET_KEY", "must have at least 16 characters")
    if server.ssl_certfile and not server.ssl_keyfile:
        raise ConfigError("SSL_KEYFILE", "must be set as well when SSL_CERTFILE is set")
    if server.ssl_keyfile and not server.ssl_certfile:
        raise ConfigError("SSL_CERTFILE", "must be set as well when SSL_KEYFILE is set")
    if server.dialect == "beta" and not server.beta_enabled:
        raise ConfigError("BETA_ENABLED", "must not be false while REALTIME_DIALECT is beta")
