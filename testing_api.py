"""The endpoints of test mode, below `/testing`: faults set, shown and taken back at run time.

It knows HTTP and who may ask; `providers/faults.py` knows the faults.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from config import Settings
from dialects.objects import http_error
from handshake import HandshakeRequest, operator_refusal, require_api_key
from protocol import ConnectionRefused
from providers.faults import FaultBook, InjectedFault

MAX_BODY_BYTES = 64 * 1024


def router(settings: Settings, faults: FaultBook) -> APIRouter:
    """The endpoints; whoever may change settings may set faults.

    Args:
        settings: Those of the process.
        faults: The faults that strike its sessions.
    """

    def guard(request: Request) -> None:
        presented = HandshakeRequest(headers=dict(request.headers))
        if settings.server.api_key is not None:
            try:
                require_api_key(presented, settings)
            except ConnectionRefused as refused:
                raise HTTPException(401, refused.message) from None
        peer = request.client.host if request.client else None
        if refusal := operator_refusal(presented, peer, settings):
            raise HTTPException(403, refusal)

    routes = APIRouter(prefix="/testing", dependencies=[Depends(guard)])

    @routes.get("/faults")
    def show() -> dict[str, Any]:
        return {"faults": [_shown(*row) for row in faults.waiting()]}

    @routes.post("/faults", response_model=None)
    async def add(request: Request) -> JSONResponse:
        body = await request.body()
        if len(body) > MAX_BODY_BYTES:
            return JSONResponse(http_error("That is more than a fault can be."), 413)
        try:
            fault = InjectedFault.model_validate_json(body)
        except ValidationError as error:
            return JSONResponse(_refusal(error), 400)
        fault_id = faults.add(fault)
        left = None if fault.count == "always" else fault.count
        return JSONResponse(_shown(fault_id, fault, left), 201)

    @routes.delete("/faults")
    def clear() -> dict[str, int]:
        return {"removed": faults.clear()}

    @routes.delete("/faults/{fault_id}", response_model=None)
    def remove(fault_id: str) -> JSONResponse:
        if not faults.remove(fault_id):
            message = f"There is no fault '{fault_id:.40}' (any more)."
            return JSONResponse(http_error(message, "not_found"), 404)
        return JSONResponse({"removed": 1})

    return routes


def _shown(fault_id: str, fault: InjectedFault, left: int | None) -> dict[str, Any]:
    """A fault as it was set, with its id and how often it will strike yet."""
    told = fault.model_dump(mode="json", exclude_unset=True)
    return {"id": fault_id, **told, "left": "always" if left is None else left}


def _refusal(error: ValidationError) -> dict[str, Any]:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        problem = f"there is no such field, only {', '.join(InjectedFault.model_fields)}"
    message = f"{place}: {problem}" if place else problem
    return http_error(f"Not a fault: {message}", "invalid_fault", place or None)
