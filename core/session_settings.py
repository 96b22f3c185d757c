"""The effective settings of a session: how a `session.update` is merged, all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from core.validation import quoted, validate
from protocol import ErrorCode, InvalidRequest, Session, SessionKind, SessionView

SERVER_OWNED = frozenset({"type", "object", "id", "expires_at", "client_secret", "model"})
"""Fields a client may send back and the server keeps: kind and model are the connection's."""


Json = dict[str, Any]
MERGED_BY_TYPE = frozenset({"turn_detection", "noise_reduction"})
NULLABLE = MERGED_BY_TYPE | {"transcription"}


@dataclass(slots=True)
class InForce:
    """A session as it is now: its machine puts another view here, all other rules only look."""

    view: SessionView

    @property
    def settings(self) -> Session:
        """The settings in force."""
        return self.view.settings


def merge_session(current: Session, patch: Mapping[str, Any], defaults: Session) -> Session:
    """The session after `patch`, a GA-shaped `session` object.

    Absent fields keep their value; null clears what is nullable and restores the default of what
    is not; `audio.input` and `audio.output` merge key by key; a `turn_detection` or
    `noise_reduction` object merges with the current one when its type is the same and with the
    defaults of its own type otherwise; everything else is replaced (protocol reference §2.3).

    Raises:
        InvalidRequest: naming the first field that is wrong; `current` stays in force.
    """
    merged = current.model_dump()
    fallback = defaults.model_dump()
    for key, value in _served(patch, current.type).items():
        if key in SERVER_OWNED:
            continue
        if key == "audio" and isinstance(value, dict):
            _merge_audio(merged["audio"], cast(Json, value), fallback["audio"])
        else:
            merged[key] = _or_default(Session, key, value, fallback)
    return validate(Session, merged, "session")


def check_kind(session: Session, kind: SessionKind) -> None:
    """Refuse an update that was written for the other kind of session (protocol reference §5).

    Raises:
        InvalidRequest: code `invalid_parameter`.
    """
    if session.type != kind:
        raise InvalidRequest(
            ErrorCode.INVALID_PARAMETER,
            f"Passing a {kind} session update event to a {session.type} session is not allowed.",
        )


def _served(patch: Mapping[str, Any], kind: SessionKind) -> Mapping[str, Any]:
    """What of a patch the kind of session has: a transcription session has ears only."""
    if kind == "realtime":
        return patch
    served = {key: patch[key] for key in ("audio", "include") if key in patch}
    audio: object = served.get("audio")
    if isinstance(audio, dict):
        sides = cast("dict[str, Any]", audio)
        served["audio"] = {side: value for side, value in sides.items() if side == "input"}
    return served


def _merge_audio(
    merged: dict[str, Any], patch: Mapping[str, Any], fallback: dict[str, Any]
) -> None:
    for side in ("input", "output"):
        if side not in patch:
            continue
        changes = patch[side]
        if not isinstance(changes, dict):
            merged[side] = changes if changes is not None else fallback[side]
            continue
        for key, value in cast(Json, changes).items():
            if key in MERGED_BY_TYPE and isinstance(value, dict):
                current = merged[side].get(key)
                default = fallback[side].get(key)
                merged[side][key] = _merge_typed(current, cast(Json, value), default)
            elif value is None and key not in NULLABLE:
                merged[side][key] = fallback[side].get(key)
            else:
                merged[side][key] = value


def _merge_typed(current: Any, patch: Json, fallback: Any) -> Json:
    """Merge an object that has a `type`: with the one in force, else with the type's defaults."""
    for base in cast("tuple[Json | None, ...]", (current, fallback)):
        if base is not None and patch.get("type", base["type"]) == base["type"]:
            return {**base, **patch}
    return patch


def _or_default(model: type[Session], key: str, value: Any, fallback: dict[str, Any]) -> Any:
    """Null on a field that cannot be null means its default."""
    if value is not None or key not in model.model_fields:
        return value
    return fallback[key]


def check_language(session: Session, languages: frozenset[str] | None, engine: str) -> None:
    """Refuse a transcription language that the speech recogniser does not understand.

    Raises:
        InvalidRequest: naming the language asked for, those there are, and the setting to change.
    """
    transcription = session.audio.input.transcription
    if languages is None or transcription is None or transcription.language is None:
        return
    if transcription.language.lower().replace("_", "-").split("-")[0] in languages:
        return
    known = ", ".join(f"'{language}'" for language in sorted(languages))
    raise InvalidRequest(
        ErrorCode.INVALID_VALUE,
        f"Invalid value: {quoted(transcription.language)}. The speech recogniser of this server "
        f"({engine}) supports only: {known}. Set STT_PROVIDER on the server to one that knows it.",
        "session.audio.input.transcription.language",
    )


def check_voice(current: Session, updated: Session, has_assistant_audio: bool) -> None:
    """Refuse another voice once the model has been heard.

    Raises:
        InvalidRequest: code `cannot_update_voice`.
    """
    if has_assistant_audio and updated.audio.output.voice != current.audio.output.voice:
        raise InvalidRequest(
            ErrorCode.CANNOT_UPDATE_VOICE,
            "Cannot update a conversation's voice if assistant audio is present.",
        )
