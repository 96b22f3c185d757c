"""What the operator types and is shown: options, the start-up table, warnings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from config import Settings

EMBEDDED_ENGINES = ("pocketsphinx", "scripted", "espeak", "tone")

_OPTIONS = {
    "host": "SERVER_HOST",
    "port": "SERVER_PORT",
    "api_key": "API_KEY",
    "workers": "WORKERS",
    "ssl_certfile": "SSL_CERTFILE",
    "ssl_keyfile": "SSL_KEYFILE",
    "script": "SCRIPT_FILE",
    "dialect": "REALTIME_DIALECT",
}


EngineRow = tuple[str, str, str]
"""Stage, engine, and why it was chosen."""


def parser() -> argparse.ArgumentParser:
    """The options there are."""
    found = argparse.ArgumentParser(
        prog="main.py",
        description="Serve the OpenAI Realtime API over Pipecat.",
        epilog="Every option overrides its environment variable; .env.example lists them all.",
    )
    found.add_argument("--host", help="address to listen on [SERVER_HOST, 127.0.0.1]")
    found.add_argument("--port", help="port to listen on, 0 = a free one [SERVER_PORT, 8000]")
    found.add_argument("--workers", help="processes to spread connections over [WORKERS, 1]")
    found.add_argument("--api-key", help="key clients must present [API_KEY]")
    found.add_argument("--ssl-certfile", help="certificate chain for wss: [SSL_CERTFILE]")
    found.add_argument("--ssl-keyfile", help="private key for wss: [SSL_KEYFILE]")
    found.add_argument(
        "--script",
        help="be a test server that replies by this YAML file [SCRIPT_FILE, LLM_PROVIDER, TESTING]",
    )
    found.add_argument(
        "--check-script", metavar="FILE", help="say what is wrong or doubtful in a script, and end"
    )
    found.add_argument("--dialect", help="auto, ga or beta [REALTIME_DIALECT]")
    found.add_argument("--debug", action="store_true", help="log wire events [DEBUG]")
    found.add_argument(
        "--check", action="store_true", help="try every engine once, say what to fix, and end"
    )
    return found


def parse_arguments(argv: Sequence[str] | None = None) -> dict[str, str]:
    """The command line as environment variables, so that one set of rules checks both."""
    arguments = vars(parser().parse_args(argv))
    overrides = {_OPTIONS[name]: arguments[name] for name in _OPTIONS if arguments[name]}
    if arguments["script"]:
        overrides |= {"LLM_PROVIDER": "scripted", "TESTING": "true"}
    return overrides | ({"DEBUG": "true"} if arguments["debug"] else {})


def banner(engines: Sequence[EngineRow], addresses: Sequence[str] = (), workers: int = 1) -> str:
    """The start-up table: which engine serves each stage and why, then where to connect."""
    rows = [("stage", "engine", "why"), *engines]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    if any(engine.startswith(EMBEDDED_ENGINES) for _, engine, _ in engines):
        lines += [
            "",
            "  The embedded engines are for trying and testing, not for production: "
            "set STT_PROVIDER,",
            "  LLM_PROVIDER and TTS_PROVIDER to use others (the README lists them).",
        ]
    if workers > 1:
        lines += ["", f"  {workers} worker processes, each with engines of its own"]
    if addresses:
        lines += ["", *(f"  {url}" for url in addresses)]
    return "\n".join(["", *lines, ""])


def urls(host: str, port: int, tls: bool) -> tuple[str, str, str]:
    """Where clients connect, where a browser has the console, and where to ask how it is."""
    shown = "localhost" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host
    secure = "s" if tls else ""
    http = f"http{secure}://{shown}:{port}"
    return f"ws{secure}://{shown}:{port}/v1/realtime", f"{http}/", f"{http}/health"


def exposure_warning(settings: Settings) -> str:
    """What to say loudly when the network can reach a gateway without a key; else ""."""
    host = settings.server.host
    is_loopback = host in {"localhost", "::1"} or host.startswith("127.")
    if settings.server.api_key is not None or is_loopback:
        return ""
    lines = (
        f"WARNING: listening on {host} without an API key.",
        "Everybody who can reach this machine can hold conversations here and use the engines",
        "behind it. Set API_KEY (or --api-key), or listen on 127.0.0.1.",
    )
    rule = "!" * 90
    return "\n".join((rule, *(f"!! {line}" for line in lines), rule))
