"""Asks the gateway of this container whether it lives; knows its settings and none of its parts."""

from __future__ import annotations

import ssl
import sys
from http.client import HTTPException
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from config import ServerSettings, load_settings

TIMEOUT_S = 4.0


def address(server: ServerSettings) -> str:
    """Where `/health` of this container is, which may have a certificate for another name."""
    scheme = "https" if server.ssl_certfile else "http"
    host = "127.0.0.1" if server.host in {"0.0.0.0", "::", "localhost"} else server.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.port}/health"


def main() -> int:
    """Print why it is unwell.

    Returns:
        The exit code: 0 when `/health` answers, else 1.
    """
    url = address(load_settings().server)
    # Nobody stands between a container and itself: no proxy is asked, no certificate looked at.
    unverified = HTTPSHandler(context=ssl._create_unverified_context())
    try:
        with build_opener(ProxyHandler({}), unverified).open(url, timeout=TIMEOUT_S):
            return 0
    except (OSError, HTTPException) as exc:
        print(f"{url}: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
