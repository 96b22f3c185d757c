"""Serves the browser console: its page at `/` and the files below `/console/`, from `web/`.

It knows files and HTTP headers; what the page does is the page's affair, over the public wire.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).resolve().parent / "web"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Not left to the operating system: on Windows the registry may call JavaScript plain text, which
browsers refuse to run."""

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text of a model can never become markup: assigning to innerHTML throws.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # File names carry no version: keep them, but ask each time whether they are still the same.
    "Cache-Control": "no-cache",
}

_WELCOME = {
    "service": "OpenAI-compatible Realtime gateway",
    "websocket": "/v1/realtime",
    "console": "/",
    "health": "/health",
    "ready": "/ready",
    "documentation": "README.md",
}


class _ConsoleFiles(StaticFiles):
    """Static files with the console's headers."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        if response.status_code != 304:
            response.headers["Content-Type"] = _MEDIA_TYPES[Path(full_path).suffix]
        return response


def install(app: FastAPI) -> None:
    """Add the console to an application.

    `/` answers browsers with the page and programs with a small JSON object.
    """

    async def front_door(request: Request) -> Response:
        vary = {"Vary": "Accept"}
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse(_WELCOME, headers=vary)
        page = FOLDER / "index.html"
        return FileResponse(page, media_type=_MEDIA_TYPES[".html"], headers=_HEADERS | vary)

    app.add_api_route("/", front_door, methods=["GET", "HEAD"], response_model=None)
    app.mount("/console", _ConsoleFiles(directory=FOLDER), name="console")
