"""Settings: what the environment and `.env` may say, and what is answered to a mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from config import VARIABLES, Settings, load_settings
from protocol import ConfigError

ROOT = Path(__file__).resolve().parents[1]


def leaf(settings: Settings, path: str) -> Any:
    section, name = path.split(".")
    return getattr(getattr(settings, section), name)


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("SERVER_HOST", "0.0.0.0", "server.host", "0.0.0.0"),
        ("SERVER_PORT", "0", "server.port", 0),
        ("SERVER_PORT", " 9000 ", "server.port", 9000),
        ("SERVER_HOST", "fe80::1%eth0", "server.host", "fe80::1%eth0"),
        ("SERVER_HOST", "my_gateway.local", "server.host", "my_gateway.local"),
        ("MCP_ALLOWED_HOSTS", "*, *.a.b, ::1", "mcp.allowed_hosts", ("*", "*.a.b", "::1")),
        ("MCP_ALLOWED_HOSTS", "10.0.*,h:80", "mcp.allowed_hosts", ("10.0.*", "h:80")),
        ("REDIS_URL", "unix:///run/r", "uploads.redis_url", SecretStr("unix:///run/r")),
        ("REDIS_URL", "rediss://:p@h/1", "uploads.redis_url", SecretStr("rediss://:p@h/1")),
        ("ALLOWED_ORIGINS", "*", "server.allowed_origins", ("*",)),
        (
            "ALLOWED_ORIGINS",
            "https://a.example, http://b.example:8080,",
            "server.allowed_origins",
            ("https://a.example", "http://b.example:8080"),
        ),
        ("CLIENT_SECRET_KEY", "s" * 16, "server.client_secret_key", SecretStr("s" * 16)),
        ("DEBUG", "true", "server.debug", True),
        ("DEBUG", "0", "server.debug", False),
        ("REALTIME_DIALECT", "beta", "server.dialect", "beta"),
        ("BETA_ENABLED", "no", "server.beta_enabled", False),
        ("DEFAULT_MODEL", "step-audio-2", "session.model", "step-audio-2"),
        ("LLM_SYSTEM_PROMPT", "请用中文回答。", "session.instructions", "请用中文回答。"),
        ("OUTPUT_LEAD_MS", "0", "session.output_lead_ms", 0),
        ("MAX_SESSION_SECONDS", "60", "session.max_session_s", 60),
        ("STT_TIMEOUT_MS", "1000", "session.stt_timeout_ms", 1000),
        ("VAD_THRESHOLD", "0.9", "vad.threshold", 0.9),
        ("VAD_SILENCE_DURATION_MS", "200", "vad.silence_duration_ms", 200),
        ("VAD_PREFIX_PADDING_MS", "0", "vad.prefix_padding_ms", 0),
        ("STT_PROVIDER", "scripted", "stt.provider", "scripted"),
        ("POCKETSPHINX_PHRASES", "go|turn left|", "stt.phrases", ("go", "turn left")),
        ("POCKETSPHINX_WORKERS", "4", "stt.workers", 4),
        ("STT_LANGUAGE", "en-GB", "stt.language", "en-GB"),
        ("WHISPER_MODEL", "base", "stt.whisper_model", "base"),
        ("WHISPER_ALLOW_DOWNLOAD", "true", "stt.whisper_allow_download", True),
        ("STT_REQUEST_TIMEOUT_MS", "3000", "stt.request_timeout_ms", 3000),
        (
            "OPENAI_BASE_URL",
            "http://localhost:8000/v1/",
            "openai.base_url",
            "http://localhost:8000/v1",
        ),
        ("OPENAI_MODEL", "qwen", "openai.model", "qwen"),
        ("OPENAI_STT_BASE_URL", "http://[::1]:1/v1", "stt.openai_base_url", "http://[::1]:1/v1"),
        ("SILICONFLOW_MODEL", "Qwen/Qwen3-8B", "siliconflow.model", "Qwen/Qwen3-8B"),
        ("OLLAMA_MODEL", "qwen3", "ollama.model", "qwen3"),
        ("LLM_IMAGES", "false", "llm.images", "false"),
        ("OPENAI_TTS_VOICE", "nova", "tts.openai_voice", "nova"),
        ("OPENAI_TTS_SAMPLE_RATE", "16000", "tts.openai_sample_rate_hz", 16_000),
        ("LLM_PROVIDER", "scripted", "llm.provider", "scripted"),
        ("LLM_TEMPERATURE", "1.2", "llm.temperature", 1.2),
        ("LLM_MAX_TOKENS", "256", "llm.max_tokens", 256),
        ("TTS_PROVIDER", "tone", "tts.provider", "tone"),
        ("TTS_VOICE", "cmn", "tts.voice", "cmn"),
        ("ESPEAK_RATE_WPM", "200", "tts.rate_wpm", 200),
    ],
)
def test_a_variable_sets_its_field(variable: str, text: str, path: str, value: Any) -> None:
    assert leaf(load_settings({variable: text}, None), path) == value


NUMBERS = [
    name
    for name, row in VARIABLES.items()
    if type(leaf(Settings(), f"{row.section}.{row.field}")) in (int, float)
]


@pytest.mark.parametrize("variable", NUMBERS)
def test_what_is_no_number_of_the_range_is_told_the_range(variable: str) -> None:
    with pytest.raises(ConfigError, match=r"a (whole )?number from [\d.]+ to [\d.]+, not '-2'"):
        load_settings({variable: "-2"}, None)


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load_settings({}, None) == Settings()


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_value_counts_as_unset(variable: str, text: str) -> None:
    assert load_settings({variable: text}, None) == Settings()


@pytest.mark.parametrize(
    ("environ", "variable", "allowed"),
    [
        ({"SERVER_PORT": "http"}, "SERVER_PORT", "a whole number from 0 to 65535"),
        ({"SERVER_PORT": "65536"}, "SERVER_PORT", "from 0 to 65535"),
        ({"SERVER_PORT": "-1"}, "SERVER_PORT", "from 0 to 65535"),
        ({"DEBUG": "maybe"}, "DEBUG", "true or false"),
        ({"CLIENT_SECRET_KEY": "s" * 15}, "CLIENT_SECRET_KEY", "at least 16 characters"),
        ({"REALTIME_DIALECT": "alpha"}, "REALTIME_DIALECT", "'auto', 'ga' or 'beta'"),
        ({"STT_PROVIDER": "whisper"}, "STT_PROVIDER", "'openai_whisper'"),
        ({"POCKETSPHINX_MODE": "words"}, "POCKETSPHINX_MODE", "'general' or 'phrases'"),
        ({"LLM_PROVIDER": "gpt"}, "LLM_PROVIDER", "'siliconflow', 'ollama' or 'scripted'"),
        ({"TTS_PROVIDER": "piper"}, "TTS_PROVIDER", "'espeak' or 'tone'"),
        ({"OPENAI_BASE_URL": "api.openai.com"}, "OPENAI_BASE_URL", "http:// or https:// URL"),
        ({"OLLAMA_BASE_URL": "ftp://x"}, "OLLAMA_BASE_URL", "http:// or https:// URL"),
        ({"OLLAMA_BASE_URL": "http://h:99999"}, "OLLAMA_BASE_URL", "http:// or https:// URL"),
        ({"DEEPGRAM_BASE_URL": "http://a b/"}, "DEEPGRAM_BASE_URL", "http:// or https:// URL"),
        ({"OPENAI_BASE_URL": "http://[::1"}, "OPENAI_BASE_URL", "http:// or https:// URL"),
        ({"OPENAI_TTS_BASE_URL": "http://"}, "OPENAI_TTS_BASE_URL", "http:// or https:// URL"),
        ({"WHISPER_DEVICE": "tpu"}, "WHISPER_DEVICE", "'auto', 'cpu' or 'cuda'"),
        ({"WHISPER_COMPUTE_TYPE": "int4"}, "WHISPER_COMPUTE_TYPE", "'bfloat16' or 'float32'"),
        ({"SERVER_HOST": "http://localhost"}, "SERVER_HOST", "an IP address or a host name"),
        ({"SERVER_HOST": "10.0.0"}, "SERVER_HOST", "an IP address or a host name"),
        ({"SERVER_HOST": "a" * 64}, "SERVER_HOST", "an IP address or a host name"),
        ({"MCP_ALLOWED_HOSTS": "a.example, https://b"}, "MCP_ALLOWED_HOSTS", "*.example.com"),
        ({"MCP_ALLOWED_HOSTS": "[::1]:80"}, "MCP_ALLOWED_HOSTS", "localhost:8001"),
        ({"MCP_ALLOWED_HOSTS": "a.example:http"}, "MCP_ALLOWED_HOSTS", "localhost:8001"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL", "redis://[:password@]host:6379/0"),
        ({"REDIS_URL": "redis://localhost/main"}, "REDIS_URL", "host:6379/0"),
        ({"REDIS_URL": "unix://"}, "REDIS_URL", "unix:///path"),
        ({"OPENAI_MODEL": "qwen\nTTS_VOICE=en"}, "OPENAI_MODEL", "one line"),
        ({"LLM_IMAGES": "maybe"}, "LLM_IMAGES", "'auto', 'true' or 'false'"),
        ({"OPENAI_API_KEY": "sk two"}, "OPENAI_API_KEY", "without spaces"),
        ({"VAD_THRESHOLD": "loud"}, "VAD_THRESHOLD", "a number from 0 to 1"),
        ({"VAD_THRESHOLD": "nan"}, "VAD_THRESHOLD", "from 0 to 1"),
        ({"VAD_THRESHOLD": "1.1"}, "VAD_THRESHOLD", "from 0 to 1"),
        ({"OUTPUT_LEAD_MS": "-1"}, "OUTPUT_LEAD_MS", "a whole number from 0 to "),
        ({"LLM_TEMPERATURE": "2"}, "LLM_TEMPERATURE", "a number from 0.6 to 1.2"),
        ({"LLM_MAX_TOKENS": "0"}, "LLM_MAX_TOKENS", "a whole number from 1 to 4096"),
        ({"ESPEAK_RATE_WPM": "20"}, "ESPEAK_RATE_WPM", "from 80 to 450"),
        ({"STT_LANGUAGE": "Chinese"}, "STT_LANGUAGE", "a language tag such as en or zh-CN, not"),
        ({"STT_LANGUAGE": "multi"}, "STT_LANGUAGE", "a language tag such as en or zh-CN, not"),
        ({"DEEPGRAM_LANGUAGE": "auto"}, "DEEPGRAM_LANGUAGE", "en or zh-CN, or multi"),
        ({"SCRIPT_FILE": "absent.yaml"}, "SCRIPT_FILE", "an existing file"),
        ({"ALLOWED_ORIGINS": "app.example.com"}, "ALLOWED_ORIGINS", "https://app.example.com"),
        ({"ALLOWED_ORIGINS": "https://a:99999"}, "ALLOWED_ORIGINS", "https://app.example.com"),
        ({"ALLOWED_ORIGINS": "https://a/page"}, "ALLOWED_ORIGINS", "https://app.example.com"),
        ({"SSL_CERTFILE": __file__}, "SSL_KEYFILE", "set as well"),
        ({"SSL_KEYFILE": __file__}, "SSL_CERTFILE", "set as well"),
        ({"REALTIME_DIALECT": "beta", "BETA_ENABLED": "false"}, "BETA_ENABLED", "not be false"),
        ({"API_KEY": "two words"}, "API_KEY", "without spaces"),
        ({"API_KEY": "密钥"}, "API_KEY", "ASCII"),
    ],
)
def test_a_bad_value_names_its_variable_and_what_is_allowed(
    environ: dict[str, str], variable: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, None)
    assert caught.value.variable == variable
    assert str(caught.value).startswith(f"{variable}: must ")
    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "variable",
    ["OPENAI_API_KEY", "SILICONFLOW_API_KEY", "OPENAI_STT_API_KEY", "OPENAI_TTS_API_KEY"],
)
def test_no_key_of_a_provider_is_shown(variable: str) -> None:
    settings = load_settings({variable: "sk-very-secret"}, None)
    row = VARIABLES[variable]
    assert leaf(settings, f"{row.section}.{row.field}").get_secret_value() == "sk-very-secret"
    assert "very-secret" not in f"{settings} {settings!r} {settings.model_dump_json()}"
    with pytest.raises(ConfigError) as caught:
        load_settings({variable: "sk-very secret"}, None)
    assert "very" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "url"),
    [("REDIS_URL", "http://:very-secret@h"), ("OPENAI_BASE_URL", "http://me:very-secret@h:99999")],
)
def test_no_password_of_a_url_is_shown(variable: str, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({variable: url}, None)
    assert "secret" not in str(caught.value)


def test_the_api_key_is_shown_by_nothing() -> None:
    settings = load_settings({"API_KEY": "sk-very-secret"}, None)
    assert settings.server.api_key is not None
    assert settings.server.api_key.get_secret_value() == "sk-very-secret"
    assert "very-secret" not in f"{settings} {settings!r} {settings.model_dump_json()}"
    with pytest.raises(ConfigError) as caught:
        load_settings({"API_KEY": "sk-very secret"}, None)
    assert "very" not in str(caught.value)


def test_the_tree_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().server.port = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SERVER_PORT=1111\nTTS_VOICE='cmn'\nSERVER_HOST=::1\n", encoding="utf-8")
    settings = load_settings({"SERVER_PORT": "2222", "SERVER_HOST": ""}, file)
    assert (settings.server.port, settings.tts.voice) == (2222, "cmn")
    assert settings.server.host == "::1"


def test_the_file_is_taken_literally(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("\ufeffAPI_KEY=a${HOME}b\n", encoding="utf-8")
    key = load_settings({}, file).server.api_key
    assert key is not None
    assert key.get_secret_value() == "a${HOME}b"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"LLM_SYSTEM_PROMPT=\xc4\xe3\xba\xc3\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings({}, file)


def test_an_absent_file_is_fine(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path / ".env") == Settings()


# --- .env.example -----------------------------------------------------------------------------


def example_values() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_the_example_lists_every_variable_and_nothing_else() -> None:
    assert list(example_values()) == list(VARIABLES)


def test_the_example_shows_the_defaults() -> None:
    assert load_settings(example_values(), None) == Settings()
    for name, text in example_values().items():
        row = VARIABLES[name]
        default = leaf(Settings(), f"{row.section}.{row.field}")
        assert bool(text) == (default not in (None, ())), name


def test_the_example_explains_every_variable() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.match(r"# [A-Z][A-Z_]+=", line):
            assert re.match(r"# \w.*\w", lines[number - 1]), line
    active = [line for line in lines if line and not line.startswith("#")]
    assert active == []


def test_every_variable_is_described() -> None:
    assert [name for name, row in VARIABLES.items() if not row.description.endswith(".")] == []
