"""Where a server is that speaks OpenAI's HTTP wire; imports no SDK, so naming one is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a compatible server is, and which settings say so.

    Attributes:
        label: What messages call it: the provider's name.
        api_key: None where the server asks for none.
        key_variable, url_variable, model_variable: What to change when it does not work.
    """

    label: str
    base_url: str
    api_key: SecretStr | None
    model: str
    key_variable: str
    url_variable: str
    model_variable: str

    @property
    def host(self) -> str:
        """Host and port, for the operator to read."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own service."""
        return self._is_of("openai.com")

    @property
    def is_siliconflow(self) -> bool:
        """Whether it is SiliconFlow's own service, whatever the provider is called."""
        return self._is_of("siliconflow.cn") or self._is_of("siliconflow.com")

    def mask(self, text: str) -> str:
        """`text` without the key, should it be quoted there."""
        key = self.api_key.get_secret_value() if self.api_key is not None else ""
        return text.replace(key, "***") if key else text

    def _is_of(self, domain: str) -> bool:
        host = urlsplit(self.base_url).hostname or ""
        return host == domain or host.endswith(f".{domain}")
