"""Endpoints of providers that point at their doubles."""

from __future__ import annotations

from pydantic import SecretStr

from providers.endpoint import Endpoint
from tests.doubles import Double, Mode

KEY = "sk-test-0123456789-very-secret"
PATIENCE_S = 10.0
"""Longer than anything here takes, on however busy a machine."""
STALL_S = 0.6
"""For tests of what is too slow."""


def deadline_s(mode: Mode) -> float:
    """How long to wait for an answer of this mode."""
    return STALL_S if mode.kind in ("hang", "stall", "slow") else PATIENCE_S


def endpoint(double: Double, provider: str, model: str = "gone") -> Endpoint:
    """The endpoint of a double, with a key that must never show up in a message."""
    return at(double.url(provider), provider, model)


def at(base_url: str, provider: str, model: str = "gone") -> Endpoint:
    """An endpoint at any address."""
    name = provider.upper()
    return Endpoint(
        label=provider,
        base_url=base_url,
        api_key=SecretStr(KEY),
        model=model,
        key_variable=f"{name}_API_KEY",
        url_variable=f"{name}_BASE_URL",
        model_variable=f"{name}_MODEL",
    )
