"""What an operator's tools ask the process: is it alive, does it serve, how is it doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from config import Settings
from dialects.objects import http_error
from handshake import HandshakeRequest, require_api_key
from metrics import CONTENT_TYPE, Metrics
from protocol import ConnectionRefused


class Sessions(Protocol):
    """The live sessions; `serving.SessionRegistry` holds them."""

    @property
    def draining(self) -> bool: ...
    def __len__(self) -> int: ...


def router(
    settings: Settings,
    metrics: Metrics,
    sessions: Sessions,
    failing: Callable[[], Sequence[Mapping[str, str]]],
) -> APIRouter:
    """`/health` (liveness), `/ready` (which stage does not serve) and `/metrics` (Prometheus).

    Metrics want the API key when the gateway has one; the other two tell nothing of worth.

    Args:
        settings: The process's settings.
        metrics: What is shown.
        sessions: The live sessions.
        failing: Gives the stages that do not serve at present.
    """
    routes = APIRouter()

    @routes.get("/health")
    async def health() -> dict[str, str | int]:
        return {"status": "healthy", "active_sessions": len(sessions)}

    @routes.get("/ready")
    async def ready() -> JSONResponse:
        if sessions.draining:
            return JSONResponse({"status": "unavailable", "reason": "shutting down"}, 503)
        if stages := failing():
            return JSONResponse({"status": "unavailable", "failing": stages}, 503)
        return JSONResponse({"status": "ready"})

    @routes.get("/metrics")
    async def exposition(request: Request) -> Response:
        try:
            require_api_key(HandshakeRequest(headers=dict(request.headers)), settings)
        except ConnectionRefused as refusal:
            return JSONResponse(http_error(refusal.message, refusal.code), 401)
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    return routes
