"""Where the process's logs go, and what must not get into them."""

from __future__ import annotations

import logging
import re
from typing import Any

_SECRET_QUERY = re.compile(r"((?:api-key|api_key|key|token)=)[^&\s\"]+", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")


def configure_logging(debug: bool) -> None:
    """Send logs to stderr, and Pipecat's loguru into them: warnings, or all with `debug`."""
    from loguru import logger as loguru_logger

    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("realtime").setLevel(level)
    # It would tell of every request to a vendor: INFO is for sessions and their responses.
    requests = logging.getLogger("httpx2")
    requests.setLevel(logging.DEBUG if debug else logging.WARNING)
    _redact(requests)

    def forward(message: Any) -> None:
        record = message.record
        target = logging.getLogger(str(record["name"] or "pipecat"))
        target.log(record["level"].no, "%s", record["message"], exc_info=record["exception"])

    if debug:
        logging.getLogger("pipecat").setLevel(logging.DEBUG)
    loguru_logger.remove()
    loguru_logger.add(forward, level="DEBUG" if debug else "WARNING", format="{message}")


def silence_pipecat() -> None:
    """Keep Pipecat's own log, which loguru writes to stderr, out of a program that is not ours."""
    from loguru import logger as loguru_logger

    loguru_logger.disable("pipecat")


class _RedactKeys(logging.Filter):
    """uvicorn logs the whole URL of an upgrade, which may hold `?api-key=`; httpx that of each
    request to a vendor, which may hold a password."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_redacted, record.args))
        return True


def _redacted(argument: object) -> object:
    if isinstance(argument, int | float):
        return argument
    return _PASSWORD.sub("***@", _SECRET_QUERY.sub(r"\1***", str(argument)))


def _redact(logger: logging.Logger) -> None:
    if not any(isinstance(entry, _RedactKeys) for entry in logger.filters):
        logger.addFilter(_RedactKeys())


class _PassOver(logging.Filter):
    """Drops what uvicorn logs as an error of ours after each refused upgrade: it counts only an
    accepted one as an answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing handshake" not in record.getMessage()


def keep_keys_out_of_server_logs() -> None:
    """Have uvicorn log neither keys nor refusals that are no error of ours; idempotent."""
    for name in ("uvicorn.error", "uvicorn.access"):
        server_logger = logging.getLogger(name)
        _redact(server_logger)
        if not any(isinstance(entry, _PassOver) for entry in server_logger.filters):
            server_logger.addFilter(_PassOver())
    # At DEBUG the websockets library writes every header and frame through this logger, keys
    # and audio included.
    server_logger = logging.getLogger("uvicorn.error")
    if server_logger.getEffectiveLevel() < logging.INFO:
        server_logger.setLevel(logging.INFO)
