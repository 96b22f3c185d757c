"""Endpoints of providers that point at their doubles."""

from __future__ import annotations

from pydantic import SecretStr

from providers.openai_errors import Endpoint
from tests.doubles import Double

KEY = "sk-test-0123456789-very-secret"
STALL_S = 0.3


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
