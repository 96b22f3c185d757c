"""The settings page's endpoints: the engines in use, the table of settings, `.env`, and the check.

It knows HTTP and who may ask; `settings_table.py` knows the settings, `doctor.py` the check.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

import env_file
from config import Settings, load_settings
from dialects.objects import http_error
from handshake import HandshakeRequest, operator_refusal
from protocol import ConfigError
from settings_table import Setting, SettingsTable

if TYPE_CHECKING:
    from service_providers import Engines, StackPlan

logger = logging.getLogger("realtime.console")

MAX_BODY_BYTES = 256 * 1024
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class EngineRow(TypedDict):
    """Which engine serves a stage, and why."""

    stage: str
    engine: str
    why: str


class Overview(TypedDict):
    """What the settings page shows.

    Attributes:
        problem: Why the server would not start again with `.env` as it is; "" when it would.
    """

    engines: list[EngineRow]
    failing: list[dict[str, str]]
    env_file: str
    problem: str
    settings: list[Setting]


class _Changes(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    changes: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=65_536)] | None], Field(min_length=1)
    ]


def router(
    settings: Settings,
    engines: Callable[[], Engines],
    environ: Mapping[str, str] = os.environ,
    path: Path = Path(".env"),
) -> APIRouter:
    """The endpoints, below `/console`.

    Args:
        settings: What the process was started with.
        engines: Those that serve, once they are up.
        environ: The environment of the process.
        path: The `.env` file to show and to edit.
    """
    table = SettingsTable(settings, environ, path.absolute())
    writing = threading.Lock()
    checking = asyncio.Lock()

    def refused(status: int, message: str, code: str, param: str | None = None) -> JSONResponse:
        return JSONResponse(http_error(message, code, param), status, _HEADERS)

    def wrong(error: ConfigError) -> JSONResponse:
        return refused(400, str(error), "invalid_setting", error.variable)

    def guard(request: Request) -> None:
        presented = HandshakeRequest(headers=dict(request.headers))
        peer = request.client.host if request.client else None
        if refusal := operator_refusal(presented, peer, settings):
            raise HTTPException(403, refusal, _HEADERS)

    routes = APIRouter(prefix="/console", dependencies=[Depends(guard)])

    @routes.get("/settings", response_model=None)
    def show() -> Response:
        overview = Overview(
            engines=[EngineRow(stage=s, engine=e, why=w) for s, e, w in engines().describe()],
            failing=engines().failing(),
            env_file=str(table.path),
            problem=table.problem(),
            settings=table.rows(),
        )
        return JSONResponse(overview, headers=_HEADERS)

    @routes.put("/settings", response_model=None)
    async def change(request: Request) -> Response:
        if len(body := await request.body()) > MAX_BODY_BYTES:
            return refused(413, "That is more than settings can be.", "too_large")
        try:
            changes = _Changes.model_validate_json(body).changes
        except ValidationError as error:
            told = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(step) for step in told["loc"])
            message = (
                f'Send {{"changes": {{NAME: text or null}}}}; {place or "body"}: {told["msg"]}'
            )
            return refused(400, message, "invalid_body")
        wanted = {name: _tidy(value) for name, value in changes.items()}
        try:
            await run_in_threadpool(save, wanted)
        except ConfigError as error:
            return wrong(error)
        except OSError as error:
            message = f"Cannot write {table.path}: {error.strerror or error}. Nothing was changed."
            return refused(500, message, "not_written")
        logger.info("the settings page changed .env: %s", ", ".join(sorted(wanted)))
        shadowed = table.shadowed(wanted)
        restart = [row["name"] for row in await run_in_threadpool(table.rows) if row["restart"]]
        answer = {
            "env_file": str(table.path),
            "saved": [*wanted],
            "shadowed": shadowed,
            "restart": restart,
        }
        return JSONResponse(answer, headers=_HEADERS)

    def save(wanted: Mapping[str, str | None]) -> None:
        with writing:
            text = table.edited(wanted)
            _check_engines(table.environment(text))
            env_file.write(table.path, text)

    @routes.post("/doctor", response_model=None)
    async def check() -> Response:
        if checking.locked():
            return refused(409, "A check is under way already: wait for its end.", "busy")
        from service_providers import plan

        try:
            following = table.following()
            environ = table.environment(env_file.read(table.path))
            stacks = await run_in_threadpool(plan, following, environ)
        except ConfigError as error:
            return wrong(error)

        async def told() -> AsyncGenerator[bytes]:
            async with checking, aclosing(_findings(stacks)) as rows:
                async for row in rows:
                    yield orjson.dumps(row) + b"\n"

        return StreamingResponse(told(), media_type="application/x-ndjson", headers=_HEADERS)

    return routes


def _tidy(value: str | None) -> str | None:
    """A value without the line ends of the machine it was typed on; None when nothing is left."""
    if value is None:
        return None
    return value.replace("\r\n", "\n").replace("\r", "\n").strip() or None


def _check_engines(environ: Mapping[str, str]) -> None:
    """Choose and build the engines as a start does, and leave it at that.

    Raises:
        ConfigError: the server would not start.
    """
    from service_providers import Workshop, plan

    workshop = Workshop()
    for stack in plan(load_settings(environ, None), environ):
        for engines in stack.stages.values():
            for engine in engines:
                workshop.engine(engine)


async def _findings(stacks: Sequence[StackPlan]) -> AsyncGenerator[dict[str, Any]]:
    """The rows of the check as they come, and at last what they amount to."""
    import doctor

    count = failed = 0
    async with aclosing(doctor.examine(stacks)) as findings:
        async for finding in findings:
            count += 1
            failed += bool(finding.fix)
            yield {
                "stage": finding.stage,
                "engine": finding.engine,
                "result": finding.result,
                "ok": not finding.fix,
                "taken_ms": finding.taken_ms,
                "fix": finding.fix,
            }
    yield {"count": count, "failed": failed, "voices": doctor.voices(stacks)}
