"""The HTTP endpoints beside the socket: the models, and ephemeral keys bound to a session.

It knows HTTP and the shape of its bodies (protocol reference §6); what a session object may say
is judged by the code that judges a `session.update`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Protocol

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import AliasChoices, Field, StringConstraints
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from client_secrets import ClientSecret, ClientSecrets, SecretDialect
from config import Settings
from core.validation import validate, wrong_type
from dialects import beta, ga
from dialects.beta_client import param_to_beta
from dialects.objects import Json, http_error, session_json
from handshake import HandshakeRequest, origin_allowed, require_api_key
from protocol import (
    ClientEvent,
    ConnectionRefused,
    ErrorCode,
    InvalidRequest,
    Session,
    SessionKind,
    SessionUpdate,
    SessionView,
    WireModel,
)

logger = logging.getLogger("realtime.rest")

MAX_BODY_BYTES = 256 * 1024
"""Far above what fits into a key, so that it is a session's size that is complained about."""
BETA_LIFETIME_S = 60


class FirstSession(Protocol):
    """What a session of `kind` starts with when `changes`, a GA-shaped object, are applied.

    Raises:
        InvalidRequest: naming the first field of `changes` that is wrong.
    """

    def __call__(self, model: str, changes: Mapping[str, Any], kind: SessionKind) -> Session: ...


# --- bodies ---------------------------------------------------------------------------------


class _Lifetime(WireModel):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class _SecretBody(WireModel):
    expires_after: _Lifetime | None = None
    session: dict[str, Any] | None = None


class _FlatSecret(WireModel):
    # The beta types call it `expires_after` for sessions, `expires_at` for transcription sessions.
    expires_after: Annotated[
        _Lifetime | None, Field(validation_alias=AliasChoices("expires_after", "expires_at"))
    ] = None


class _FlatBody(WireModel):
    client_secret: _FlatSecret | None = None


class _Model(WireModel):
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None


class _Refusal(Exception):
    """A request refused with another status than 400 and 401."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


class _Route(APIRoute):
    """Answers a refused request with OpenAI's error body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except ConnectionRefused as refused:
                return JSONResponse(http_error(refused.message, refused.code), 401)
            except InvalidRequest as refused:
                return JSONResponse(http_error(refused.message, refused.code, refused.param), 400)
            except _Refusal as refused:
                return JSONResponse(http_error(refused.message, refused.code), refused.status)

        return answer


async def _json_body(request: Request) -> Json:
    """The JSON object of a request; an empty body counts as an empty object."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _Refusal(413, f"The body is larger than the maximum of {MAX_BODY_BYTES} bytes.")
    if not body:
        return {}
    # A page of a foreign origin can send any other type without asking first.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _Refusal(
            415,
            f"Unsupported content type: '{media_type[:64]}'. "
            "This API method only accepts 'application/json' requests.",
            "unsupported_content_type",
        )
    try:
        parsed: Any = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        message = f"Could not parse the JSON body: {exc.msg} at character {exc.pos}."
        raise InvalidRequest(ErrorCode.INVALID_JSON, message) from None
    if not isinstance(parsed, dict):
        raise wrong_type("an object", parsed, "body")
    return parsed


# --- endpoints ------------------------------------------------------------------------------


def router(
    settings: Settings,
    secrets: ClientSecrets,
    first_session: FirstSession,
    new_id: Callable[[str], str],
    models: Sequence[str],
) -> APIRouter:
    """The endpoints, for the caller to mount below `/v1`.

    Args:
        settings: The process's settings.
        secrets: Mints the ephemeral keys.
        first_session: Judges session objects.
        new_id: Makes a unique id from a prefix.
        models: The names of the models that are served.
    """

    async def guard(request: Request) -> None:
        require_api_key(HandshakeRequest(headers=dict(request.headers)), settings)

    async def guard_beta() -> None:
        if not settings.server.beta_enabled:
            raise InvalidRequest(
                ErrorCode.BETA_DISABLED,
                "The Realtime Beta API is no longer supported. "
                "Please use /v1/realtime/client_secrets for the GA API.",
            )

    created = int(time.time())
    served = {
        name: {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "realtime-gateway",
        }
        for name in models
    }
    routes = APIRouter(route_class=_Route, dependencies=[Depends(guard)])
    beta_only = [Depends(guard_beta)]

    @routes.get("/models")
    async def list_models() -> Json:
        return {"object": "list", "data": list(served.values())}

    @routes.get("/models/{model_id:path}")
    async def retrieve_model(model_id: str) -> Json:
        if model_id not in served:
            raise _Refusal(404, f"The model '{model_id[:256]}' does not exist", "model_not_found")
        return served[model_id]

    def mint(
        kind: SessionKind,
        dialect: SecretDialect,
        model: str | None,
        changes: Mapping[str, Any],
        lifetime: _Lifetime,
    ) -> tuple[Json, SessionView]:
        """The `{value, expires_at}` of a new key, and the session it opens."""
        shown = model or settings.session.model
        view = SessionView(new_id("sess"), 0, first_session(shown, changes, kind))
        expires_at = secrets.expiry(lifetime.seconds)
        key = secrets.mint(ClientSecret(expires_at, dialect, kind, model, changes))
        logger.info("minted a %s client secret for %d s (%s)", kind, lifetime.seconds, dialect)
        return {"value": key, "expires_at": expires_at}, view

    @routes.post("/realtime/client_secrets")
    async def create_client_secret(request: Request) -> Json:
        body = validate(_SecretBody, await _json_body(request), "")
        session = {"type": "realtime"} if body.session is None else body.session
        kind, changes = _decoded(ga.decode({"type": "session.update", "session": session}))
        model = _named_model(session, "session") if kind == "realtime" else None
        minted, view = mint(kind, "ga", model, changes, body.expires_after or _Lifetime())
        return {**minted, "session": session_json(view)}

    async def create_flat(request: Request, event_type: str) -> Json:
        body = await _json_body(request)
        with _flat_paths():
            kind, changes = _decoded(beta.decode({"type": event_type, "session": body}))
            model = _named_model(body, "") if kind == "realtime" else None
            minted, view = mint(kind, "beta", model, changes, _flat_lifetime(body))
        return {**beta.session_fields(view), "client_secret": minted}

    @routes.post("/realtime/sessions", dependencies=beta_only)
    async def create_session(request: Request) -> Json:
        return await create_flat(request, "session.update")

    @routes.post("/realtime/transcription_sessions", dependencies=beta_only)
    async def create_transcription_session(request: Request) -> Json:
        return await create_flat(request, "transcription_session.update")

    return routes


def _named_model(session: Json, prefix: str) -> str | None:
    return validate(_Model, session, prefix).model


def _flat_lifetime(body: Json) -> _Lifetime:
    secret = validate(_FlatBody, body, "").client_secret
    chosen = secret.expires_after if secret else None
    return chosen or _Lifetime(seconds=BETA_LIFETIME_S)


def _decoded(update: ClientEvent) -> tuple[SessionKind, Mapping[str, Any]]:
    """The kind and the GA-shaped settings of a body, read as a `session.update` is."""
    assert isinstance(update, SessionUpdate)
    tools = update.session.get("tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        for name in ("authorization", "headers"):
            if isinstance(tool, dict) and tool.get(name):
                raise InvalidRequest(
                    ErrorCode.INVALID_VALUE,
                    f"Invalid 'session.tools[{index}].{name}': a client secret is readable for "
                    "whoever holds it, so it must contain no other secret.",
                    f"session.tools[{index}].{name}",
                )
    kept = Session.model_fields.keys() - {"model", "type"}
    changes = {name: value for name, value in update.session.items() if name in kept}
    return update.session["type"], changes


@contextmanager
def _flat_paths() -> Generator[None]:
    """Name the wrong field as a flat body has it: `turn_detection.type`."""
    try:
        yield
    except InvalidRequest as refused:
        path = refused.param or ""
        flat = param_to_beta(path).removeprefix("session.")
        message = refused.message.replace(f"'{path}'", f"'{flat}'") if path else refused.message
        raise InvalidRequest(refused.code, message, flat or None) from None


# --- browsers -------------------------------------------------------------------------------


class BrowserAccess(CORSMiddleware):
    """Lets pages of the origins that may open a socket read the answers of these endpoints."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("Conversation-ID",),
            allow_private_network=True,
        )
        self._settings = settings

    def is_allowed_origin(self, origin: str) -> bool:
        return origin_allowed(HandshakeRequest({"origin": origin}), self._settings)
