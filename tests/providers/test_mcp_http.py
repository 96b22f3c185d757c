"""The guard below an MCP client: addresses checked once and kept, one origin, bounded answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from core.mcp_policy import Endpoint
from protocol import McpHttpError, McpProtocolError
from providers import mcp_http
from providers.mcp_http import GuardedTransport, Refused

PUBLIC, OTHER, PRIVATE = "93.184.215.14", "93.184.215.15", "10.0.0.7"


class Wire(httpx2.AsyncBaseTransport):
    """Answers requests and remembers where they went."""

    def __init__(
        self,
        status: int = 200,
        body_bytes: int = 0,
        dead: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.requests: list[httpx2.Request] = []
        self._status = status
        self._body_bytes = body_bytes
        self._dead = dead
        self._headers = headers

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.url.host == self._dead:
            raise httpx2.ConnectError("nobody there")
        return httpx2.Response(self._status, headers=self._headers, stream=_Body(self._body_bytes))


class _Body(httpx2.AsyncByteStream):
    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._size_bytes // 1024):
            yield bytes(1024)


class Names:
    """A resolver whose answers change from one question to the next."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


def guarded(
    wire: Wire, names: Names, *, scheme: str = "https", allow_private: bool = False
) -> GuardedTransport:
    origin = Endpoint(scheme, "mcp.example", 443 if scheme == "https" else 80)
    return GuardedTransport(origin, allow_private=allow_private, resolve_host=names, inner=wire)


async def post(
    transport: GuardedTransport, url: str = "https://mcp.example/mcp"
) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=transport, headers={"X-Key": "k"}) as client:
        return await client.post(url, json={})


async def test_the_address_is_pinned_and_the_name_kept_for_tls() -> None:
    wire, names = Wire(), Names([PUBLIC], [PRIVATE])
    transport = guarded(wire, names)
    await post(transport)
    # The name would lead into the private network by now: it is not looked up again.
    await post(transport)
    assert names.asked == 1
    for request in wire.requests:
        assert request.url.host == PUBLIC
        assert request.headers["host"] == "mcp.example"
        assert request.extensions["sni_hostname"] == "mcp.example"


@pytest.mark.parametrize(
    ("answer", "allow_private", "scheme"),
    [
        ([PRIVATE], False, "https"),
        ([PUBLIC, PRIVATE], False, "https"),
        (["127.0.0.1"], False, "https"),
        (["::1"], False, "https"),
        (["169.254.169.254"], True, "http"),
        ([PUBLIC], True, "http"),
        ([], False, "https"),
    ],
)
async def test_where_a_name_may_not_lead(
    answer: list[str], allow_private: bool, scheme: str
) -> None:
    wire = Wire()
    transport = guarded(wire, Names(answer), scheme=scheme, allow_private=allow_private)
    with pytest.raises(Refused):
        await post(transport, f"{scheme}://mcp.example/mcp")
    assert wire.requests == []
    assert isinstance(transport.problem, McpProtocolError)


async def test_a_private_address_where_it_is_allowed() -> None:
    wire = Wire()
    transport = guarded(wire, Names([PRIVATE]), scheme="http", allow_private=True)
    await post(transport, "http://mcp.example/mcp")
    assert wire.requests[0].url.host == PRIVATE


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/mcp",
        "http://mcp.example/mcp",
        "https://mcp.example:8443/mcp",
        f"https://{PUBLIC}/mcp",
    ],
)
async def test_no_other_origin_is_reached(url: str) -> None:
    wire = Wire()
    with pytest.raises(Refused):
        await post(guarded(wire, Names([PUBLIC])), url)
    assert wire.requests == []


async def test_the_next_address_is_tried_when_one_is_dead() -> None:
    wire = Wire(dead=PUBLIC)
    await post(guarded(wire, Names([PUBLIC, OTHER])))
    assert [request.url.host for request in wire.requests] == [PUBLIC, OTHER]


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_http, "MAX_RESPONSE_BYTES", 4096)
    transport = guarded(Wire(body_bytes=4096), Names([PUBLIC]))
    assert len((await post(transport)).content) == 4096
    transport = guarded(Wire(body_bytes=5120), Names([PUBLIC]))
    with pytest.raises(Refused):
        await post(transport)
    assert isinstance(transport.problem, McpProtocolError)


async def test_a_compressed_answer_is_not_unpacked() -> None:
    transport = guarded(Wire(headers={"Content-Encoding": "gzip"}), Names([PUBLIC]))
    with pytest.raises(Refused):
        await post(transport)


async def test_the_status_of_a_refusal_is_remembered() -> None:
    transport = guarded(Wire(status=503), Names([PUBLIC]))
    await post(transport)
    assert isinstance(transport.problem, McpHttpError)
    assert transport.problem.code == 503
