"""One WebSocket: handshake tables, message decoding, audio formats, outbox, and a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Generator, MutableMapping
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

import handshake
import transport
from config import Settings
from handshake import HandshakeRequest
from protocol import (
    PCM24K,
    ConnectionRefused,
    Disconnected,
    InputAudioAppend,
    InputAudioClear,
    InputAudioCleared,
    InvalidRequest,
    OutputAudioDelta,
    OutputAudioDone,
    OutputTextDelta,
    PcmaFormat,
    PcmuFormat,
    ResponseCreated,
    ResponseDone,
    ResponseView,
    ServerEvent,
    Session,
    SessionCreated,
    SessionUpdate,
    SessionView,
)
from tests.live import LiveServer, live_server, server_settings
from transport import AudioCodec, Connection, new_id

KEY = "sk-0123456789abcdef-real"
REALTIME = "realtime"
KEY_ENTRY = "openai-insecure-api-key.K"
BETA_ENTRY = "openai-beta.realtime-v1"


# --- ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prefix", "length"), [("event", 21), ("item", 21), ("call", 16)])
def test_ids_look_like_openai_s(prefix: str, length: int) -> None:
    assert re.fullmatch(rf"{prefix}_[0-9A-Za-z]{{{length}}}", new_id(prefix))


def test_ids_are_unique() -> None:
    assert len({new_id("item") for _ in range(1000)}) == 1000


# --- handshake: dialect (reference §1.4 and §1.5) -----------------------------------------------


def upgrade(
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
    subprotocols: tuple[str, ...] = (),
) -> HandshakeRequest:
    return HandshakeRequest(headers or {}, query or {}, subprotocols)


BEARER = {"authorization": "Bearer K"}
MODEL = {"model": "gpt-realtime"}


@pytest.mark.parametrize(
    ("request_", "dialect"),
    [
        # openai-python
        (upgrade(BEARER | {"user-agent": "AsyncOpenAI/Python 3.52.0"}, MODEL), "ga"),
        (upgrade(BEARER | {"user-agent": "OpenAI/Python 1.104.2"}, MODEL), "ga"),
        (
            upgrade(
                BEARER | {"user-agent": "AsyncOpenAI/Python 3.52.0", "openai-beta": "realtime=v1"},
                MODEL,
            ),
            "beta",
        ),
        (
            upgrade({"api-key": "K"}, {"api-version": "2024-10-01", "deployment": "D"}),
            "undecided",
        ),
        # openai-node
        (upgrade(BEARER | {"user-agent": "OpenAI/JS 7.55.0"}, MODEL), "ga"),
        (upgrade({"user-agent": "node"}, MODEL, (REALTIME, KEY_ENTRY)), "ga"),
        (upgrade(BEARER | {"openai-beta": "realtime=v1"}, MODEL), "beta"),
        (upgrade({}, MODEL, (REALTIME, KEY_ENTRY, BETA_ENTRY)), "beta"),
        (upgrade(BEARER, MODEL), "undecided"),
        # the JS reference client
        (upgrade({}, {"api-key": "K"}), "beta"),
        (upgrade({}, {"api-key": "K", "model": "m"}), "undecided"),
        (upgrade({}, {"api-key": "K", "deployment": "m"}), "undecided"),
        # agents SDKs
        (upgrade(BEARER | {"user-agent": "Agents/JavaScript 0.20.0"}, MODEL), "ga"),
        (upgrade(BEARER | {"x-openai-agents-sdk": "openai-agents-sdk.0.20.0"}, MODEL), "ga"),
        (upgrade({}, MODEL, (REALTIME, KEY_ENTRY, "openai-agents-sdk.0.20.0")), "ga"),
        (upgrade(BEARER | {"user-agent": "Agents/Python 0.24.0"}, MODEL), "ga"),
        # others
        (upgrade(BEARER | {"user-agent": "Python/3.11 websockets/17.4"}, MODEL), "undecided"),
        (upgrade(BEARER | {"user-agent": "LiveKit Agents"}, MODEL), "undecided"),
        (upgrade(BEARER, {"model": "step-audio-2"}), "beta"),
        (upgrade(BEARER, {"model": "gpt-step-1"}), "undecided"),
        (upgrade(), "undecided"),
        # the marker in a list, and what is no marker
        (upgrade({"openai-beta": "assistants=v2, realtime=v1"}), "beta"),
        (upgrade({"openai-beta": "assistants=v2"}), "undecided"),
        (upgrade({"openai-beta": "realtime=v10"}), "undecided"),
        # query keys only GA clients send
        (upgrade({}, {"intent": "realtime"}), "ga"),
        (upgrade({}, {"call_id": "rtc_1"}), "ga"),
    ],
)
def test_the_handshake_gives_the_dialect_away(request_: HandshakeRequest, dialect: str) -> None:
    assert handshake.detect_dialect(request_) == dialect


@pytest.mark.parametrize("forced", ["ga", "beta"])
@pytest.mark.parametrize("request_", [upgrade(), upgrade({"openai-beta": "realtime=v1"})])
def test_a_forced_dialect_is_pinned(forced: str, request_: HandshakeRequest) -> None:
    settled = handshake.negotiate(request_, server_settings(dialect=forced))
    assert (settled.dialect, settled.pinned) == (forced, True)


@pytest.mark.parametrize(
    "request_",
    [
        upgrade({"openai-beta": "realtime=v1"}),
        upgrade({}, MODEL, (REALTIME, BETA_ENTRY)),
        upgrade({"openai-beta": "realtime=v1"}, {"intent": "transcription"}),
        upgrade({}, {"model": "step-audio-2"}),
    ],
)
def test_beta_can_be_turned_away_as_openai_does(request_: HandshakeRequest) -> None:
    with pytest.raises(ConnectionRefused) as caught:
        handshake.negotiate(request_, server_settings(beta_enabled=False))
    refused = caught.value
    assert (refused.code, refused.close_code) == ("beta_api_shape_disabled", 4000)
    assert refused.close_reason == "invalid_request_error.beta_api_shape_disabled"
    assert refused.message == (
        "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
    )


def test_without_beta_an_unmarked_client_is_ga_for_good() -> None:
    settled = handshake.negotiate(upgrade(), server_settings(beta_enabled=False))
    assert (settled.dialect, settled.pinned) == ("ga", True)


# --- handshake: subprotocol, credentials, origin, model -----------------------------------------


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        ((), None),
        ((REALTIME,), REALTIME),
        ((REALTIME, KEY_ENTRY, BETA_ENTRY), REALTIME),
        ((KEY_ENTRY, REALTIME), REALTIME),
        ((KEY_ENTRY, BETA_ENTRY), BETA_ENTRY),
        (("chat", KEY_ENTRY), "chat"),
        ((KEY_ENTRY,), None),
    ],
)
def test_the_subprotocol_answered_is_never_the_key(
    offered: tuple[str, ...], answer: str | None
) -> None:
    assert handshake.choose_subprotocol(offered) == answer


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (upgrade(), None),
        (upgrade({"authorization": "Bearer A"}), "A"),
        (upgrade({"authorization": "bearer  A "}), "A"),
        (upgrade({"authorization": "Basic A"}), None),
        (upgrade({"authorization": "Bearer "}, {"api-key": "Q"}), "Q"),
        (upgrade({}, {}, (REALTIME, "openai-insecure-api-key.ek_a-b_c.d")), "ek_a-b_c.d"),
        (upgrade({}, {}, (REALTIME, "openai-insecure-api-key.")), None),
        (upgrade({"api-key": "H"}), "H"),
        (upgrade({}, {"api-key": "Q"}), "Q"),
        (upgrade({}, {"api-key": ""}), None),
        # the order of trust
        (
            upgrade({"authorization": "Bearer A", "api-key": "H"}, {"api-key": "Q"}, (KEY_ENTRY,)),
            "A",
        ),
        (upgrade({"api-key": "H"}, {"api-key": "Q"}, (KEY_ENTRY,)), "K"),
        (upgrade({"api-key": "H"}, {"api-key": "Q"}), "H"),
    ],
)
def test_credentials_are_found_in_their_order(request_: HandshakeRequest, key: str | None) -> None:
    assert handshake.find_credential(request_) == key


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(ConnectionRefused) as caught:
        handshake.negotiate(upgrade({}, MODEL), server_settings(api_key=KEY))
    assert (caught.value.code, caught.value.close_code) == (None, 3000)
    assert caught.value.message == "Missing bearer or basic authentication in header"
    assert caught.value.close_reason == "invalid_request_error"


@pytest.mark.parametrize(
    "wrong", ["x", "short-key", f"{KEY}x", KEY[:-1], "密钥密钥密钥密钥密钥密钥", "k\udcff" * 9]
)
def test_a_wrong_key_is_refused_and_not_repeated(wrong: str) -> None:
    request = upgrade({"authorization": f"Bearer {wrong}"}, MODEL)
    with pytest.raises(ConnectionRefused) as caught:
        handshake.negotiate(request, server_settings(api_key=KEY))
    assert (caught.value.code, caught.value.close_code) == ("invalid_api_key", 3000)
    assert caught.value.message.startswith("Incorrect API key provided: ")
    assert wrong not in caught.value.message.removeprefix("Incorrect API key provided")
    assert KEY not in caught.value.message
    assert caught.value.message.isascii()


@pytest.mark.parametrize(
    "request_",
    [
        upgrade({"authorization": f"Bearer {KEY}"}),
        upgrade({"api-key": KEY}),
        upgrade({}, {"api-key": KEY}),
        upgrade({}, {}, (REALTIME, f"openai-insecure-api-key.{KEY}")),
        upgrade({"authorization": f"Bearer {KEY}", "origin": "https://a.example"}),
    ],
)
def test_the_right_key_is_let_in_from_every_place(request_: HandshakeRequest) -> None:
    settings = server_settings(api_key=KEY)
    assert handshake.origin_allowed(request_, settings)
    assert handshake.negotiate(request_, settings).model == "gpt-realtime"


@pytest.mark.parametrize("request_", [upgrade(), upgrade(BEARER), upgrade({"api-key": "null"})])
def test_without_an_api_key_any_or_none_will_do(request_: HandshakeRequest) -> None:
    assert handshake.negotiate(request_, Settings()).model == "gpt-realtime"


@pytest.mark.parametrize(
    ("origin", "allowed_origins", "allowed"),
    [
        (None, (), True),
        ("http://localhost", (), True),
        ("http://localhost:5173", (), True),
        ("https://LOCALHOST:8443", (), True),
        ("http://127.0.0.1:3000", (), True),
        ("http://[::1]:3000", (), True),
        ("https://a.example", (), False),
        ("http://localhost.a.example", (), False),
        ("http://localhost@a.example", (), False),
        ("http://192.168.1.5:8000", (), False),
        ("file://localhost", (), False),
        ("null", (), False),
        ("", (), False),
        ("http://[::1", (), False),
        ("http://localhost, https://a.example", (), False),
        ("https://a.example", ("https://a.example",), True),
        ("https://A.example", ("https://a.example/",), True),
        ("https://a.example:444", ("https://a.example",), False),
        ("http://a.example", ("https://a.example",), False),
        ("https://a.example", ("*",), True),
        ("null", ("null",), True),
        ("http://localhost:1", ("https://a.example",), True),
    ],
)
def test_browser_pages_of_other_origins_must_be_named(
    origin: str | None, allowed_origins: tuple[str, ...], allowed: bool
) -> None:
    request = upgrade({} if origin is None else {"origin": origin})
    settings = server_settings(allowed_origins=allowed_origins)
    assert handshake.origin_allowed(request, settings) is allowed


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        # addresses, and names that the public DNS cannot have
        ("http://192.168.1.5:8000", "192.168.1.5:8000", True),
        ("https://[fd00::7]:8443", "[fd00::7]:8443", True),
        ("https://192.168.1.5", "192.168.1.5", True),
        ("https://192.168.1.5", "192.168.1.5:443", True),
        ("http://nas:8000", "nas:8000", True),
        ("http://NAS:8000", "nas:8000", True),
        ("http://nas.local:8000", "nas.local:8000", True),
        ("https://voice.internal", "voice.internal", True),
        ("http://nas.home.arpa:8000", "nas.home.arpa:8000", True),
        # pages of others
        ("http://192.168.1.6:8000", "192.168.1.5:8000", False),
        ("http://192.168.1.5:3000", "192.168.1.5:8000", False),
        ("http://192.168.1.5", "192.168.1.5:8000", False),
        ("http://192.168.1.5:8000", "", False),
        ("http://a.example", "192.168.1.5:8000", False),
        # a name of the public DNS may be made to point here: it must be listed
        ("http://a.example:8000", "a.example:8000", False),
        ("https://voice.a.example", "voice.a.example", False),
        ("http://192.168.1.5.a.example:8000", "192.168.1.5.a.example:8000", False),
        ("http://local:8000.a.example", "local:8000.a.example", False),
        ("http://a.local.:8000", "a.local.:8000", False),
        ("ftp://nas:8000", "nas:8000", False),
    ],
)
def test_the_gateways_own_page_may_connect_unless_its_name_could_be_rebound(
    origin: str, host: str, allowed: bool
) -> None:
    request = upgrade({"origin": origin, "host": host})
    assert handshake.origin_allowed(request, Settings()) is allowed


@pytest.mark.parametrize("origin", ["http://a.example:8000", "https://voice.a.example"])
def test_a_listed_name_may_connect(origin: str) -> None:
    request = upgrade({"origin": origin, "host": "elsewhere.example"})
    assert not handshake.origin_allowed(request, Settings())
    assert handshake.origin_allowed(request, server_settings(allowed_origins=(origin,)))


@pytest.mark.parametrize(
    ("query", "model"),
    [
        ({}, "gpt-realtime"),
        ({"model": ""}, "gpt-realtime"),
        ({"model": "anything/at-all"}, "anything/at-all"),
        ({"deployment": "D", "api-version": "1"}, "D"),
        ({"model": "M", "deployment": "D"}, "M"),
        ({"model": "M", "temperature": "0.8", "voice": "x", "intent": "conversation"}, "M"),
    ],
)
def test_any_model_is_accepted(query: dict[str, str], model: str) -> None:
    assert handshake.negotiate(upgrade({}, query), Settings()).model == model


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"intent": "transcription", "model": "gpt-realtime"}, "invalid_model"),
        ({"intent": "transcription", "deployment": "D"}, "invalid_model"),
        ({"call_id": "rtc_1"}, "invalid_parameter"),
    ],
)
def test_other_kinds_of_session_are_refused(query: dict[str, str], code: str) -> None:
    with pytest.raises(ConnectionRefused) as caught:
        handshake.negotiate(upgrade({}, query), Settings())
    assert (caught.value.code, caught.value.close_code) == (code, 4000)
    assert caught.value.close_reason == f"invalid_request_error.{code}"


def test_a_transcription_session_is_asked_for_by_intent() -> None:
    asked = handshake.negotiate(upgrade({}, {"intent": "transcription"}), Settings())
    assert (asked.kind, asked.dialect) == ("transcription", "ga")
    assert handshake.negotiate(upgrade({}, {"model": "m"}), Settings()).kind == "realtime"


# --- messages ---------------------------------------------------------------------------------


def text(**event: Any) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": json.dumps(event)}


TOO_LONG = "x" * transport.MAX_MESSAGE_BYTES


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("message", "code", "param", "event_id", "words"),
    [
        ({"bytes": b"{}"}, "invalid_event", None, None, "binary frames are not supported"),
        ({"text": "{"}, "invalid_json", None, None, "failed to parse JSON value"),
        ({"text": ""}, "invalid_json", None, None, "failed to parse JSON value"),
        ({"text": '{"type": NaN}'}, "invalid_json", None, None, "failed to parse JSON value"),
        ({"text": "[" * 5000}, "invalid_json", None, None, "failed to parse JSON value"),
        ({"text": "[]"}, "invalid_json", None, None, "JSON object"),
        ({"text": "null"}, "invalid_json", None, None, "JSON object"),
        (text(event_id="e"), "invalid_event", None, "e", "'type' field is missing"),
        (text(event_id=7), "invalid_event", None, None, "'type' field is missing"),
        (text(type=1, event_id="e"), "invalid_type", "type", "e", "'type'"),
        (
            text(type="x", event_id="e", a=nested(100)),
            "invalid_event",
            None,
            "e",
            "100 levels deep",
        ),
        (text(type="x", pad=TOO_LONG), "invalid_event", None, None, "22020096 bytes"),
        ({"text": "é" * (len(TOO_LONG) // 2 + 1)}, "invalid_event", None, None, "22020096 bytes"),
    ],
)
def test_a_message_that_is_no_event_is_an_error(
    message: dict[str, Any], code: str, param: str | None, event_id: str | None, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        transport.parse_message({"type": "websocket.receive", **message})
    error = caught.value
    assert (error.code, error.param, error.event_id) == (code, param, event_id)
    assert words in error.message


def test_nesting_up_to_the_limit_is_fine() -> None:
    assert transport.parse_message(text(type="x", a=nested(99)))["a"] == nested(99)


@pytest.mark.parametrize(
    ("event", "audio"),
    [
        ({"audio": "AAEC"}, b"\x00\x01\x02"),
        ({"audio": ""}, b""),
        ({"audio": base64.b64encode(bytes(15 * 1024 * 1024)).decode()}, bytes(15 * 1024 * 1024)),
    ],
)
def test_appended_audio_is_decoded(event: dict[str, Any], audio: bytes) -> None:
    append = transport.decode_append({"type": "input_audio_buffer.append", **event})
    assert append == InputAudioAppend(audio)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({}, "missing_required_parameter"),
        ({"audio": "AAE"}, "invalid_value"),
        ({"audio": "AAEC\n"}, "invalid_value"),
        ({"audio": "AA-_"}, "invalid_value"),
        ({"audio": "声音"}, "invalid_value"),
        (
            {"audio": base64.b64encode(bytes(15 * 1024 * 1024 + 1)).decode()},
            "string_above_max_length",
        ),
    ],
)
def test_bad_audio_is_an_error_with_the_client_s_event_id(event: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        transport.decode_append({"type": "input_audio_buffer.append", "event_id": "e", **event})
    assert (caught.value.code, caught.value.param) == (code, "audio")
    assert caught.value.event_id == "e"


# --- audio formats ----------------------------------------------------------------------------


def response(format_: Any, status: Any = "in_progress", response_id: str = "resp_1") -> Any:
    return ResponseView(
        id=response_id,
        status=status,
        status_details=None,
        output=(),
        conversation_id="conv_1",
        output_modalities=("audio",),
        max_output_tokens="inf",
        audio_format=format_,
        voice="alloy",
        usage=None,
        metadata=None,
        temperature=0.8,
    )


def delta(audio: bytes, item_id: str = "item_1", response_id: str = "resp_1") -> OutputAudioDelta:
    return OutputAudioDelta(response_id, item_id, 0, 0, audio)


def sent_audio(codec: AudioCodec, *events: ServerEvent) -> bytes:
    out = [part for event in events for part in codec.outgoing(event)]
    return b"".join(part.audio for part in out if isinstance(part, OutputAudioDelta))


TONE = (b"\x00\x10" * 120 + b"\x00\xf0" * 120) * 10
DONE = OutputAudioDone("resp_1", "item_1", 0, 0)


def test_pcm_output_is_untouched() -> None:
    codec = AudioCodec()
    assert codec.outgoing(ResponseCreated(response(PCM24K)))
    assert codec.outgoing(delta(TONE)) == (delta(TONE),)
    assert codec.outgoing(DONE) == (DONE,)


@pytest.mark.parametrize("format_", [PcmuFormat(), PcmaFormat()])
def test_g711_output_is_whole_before_its_done(format_: Any) -> None:
    codec = AudioCodec()
    codec.outgoing(ResponseCreated(response(format_)))
    early = sent_audio(codec, *(delta(TONE[at : at + 480]) for at in range(0, len(TONE), 480)))
    *tail, done = codec.outgoing(DONE)
    late = b"".join(part.audio for part in tail if isinstance(part, OutputAudioDelta))
    assert done == DONE
    assert len(early + late) == len(TONE) // 6


def test_each_response_has_its_own_format() -> None:
    codec = AudioCodec()
    codec.outgoing(ResponseCreated(response(PcmuFormat())))
    codec.outgoing(ResponseCreated(response(PCM24K, response_id="resp_2")))
    assert sent_audio(codec, delta(TONE, "item_2", "resp_2")) == TONE
    assert len(sent_audio(codec, delta(TONE), DONE)) == len(TONE) // 6


def test_items_of_one_response_do_not_share_an_encoder() -> None:
    codec, alone = AudioCodec(), AudioCodec()
    codec.outgoing(ResponseCreated(response(PcmuFormat())))
    alone.outgoing(ResponseCreated(response(PcmuFormat())))
    codec.outgoing(delta(TONE[::-1], "item_2"))
    assert sent_audio(codec, delta(TONE), DONE) == sent_audio(alone, delta(TONE), DONE)


def test_a_finished_response_is_forgotten() -> None:
    codec = AudioCodec()
    codec.outgoing(ResponseCreated(response(PcmuFormat())))
    codec.outgoing(delta(TONE))
    codec.outgoing(ResponseDone(response(PcmuFormat(), "cancelled")))
    assert codec.outgoing(DONE) == (DONE,)


def test_long_audio_leaves_in_frames_that_every_client_can_take() -> None:
    codec = AudioCodec()
    codec.outgoing(ResponseCreated(response(PCM24K)))
    parts = codec.outgoing(delta(TONE * 500))
    sizes = [len(part.audio) for part in parts if isinstance(part, OutputAudioDelta)]
    assert len(sizes) == len(parts) > 1
    assert max(sizes) * 4 / 3 < 1024 * 1024
    assert all(size % 2 == 0 for size in sizes)
    assert sent_audio(codec, delta(TONE * 500)) == TONE * 500


def test_an_odd_byte_is_carried_to_the_next_append_until_a_clear() -> None:
    codec = AudioCodec()
    assert codec.to_pcm(InputAudioAppend(b"\x01\x02\x03")).audio == b"\x01\x02"
    assert codec.to_pcm(InputAudioAppend(b"\x04", "e")) == InputAudioAppend(b"\x03\x04", "e")
    assert codec.to_pcm(InputAudioAppend(b"\x05")).audio == b""
    codec.reset()
    assert codec.to_pcm(InputAudioAppend(b"\x06\x07")).audio == b"\x06\x07"


def test_the_same_input_format_again_keeps_the_odd_byte() -> None:
    codec = AudioCodec()
    codec.to_pcm(InputAudioAppend(b"\x01"))
    codec.set_input("audio/pcm")
    assert codec.to_pcm(InputAudioAppend(b"\x02")).audio == b"\x01\x02"


@pytest.mark.parametrize("format_type", ["audio/pcmu", "audio/pcma"])
def test_a_changed_input_format_starts_fresh(format_type: Any) -> None:
    codec = AudioCodec()
    codec.to_pcm(InputAudioAppend(b"\x01"))
    codec.set_input(format_type)
    assert len(codec.to_pcm(InputAudioAppend(bytes(160))).audio) == 960
    codec.set_input("audio/pcm")
    assert codec.to_pcm(InputAudioAppend(b"\x02\x03")).audio == b"\x02\x03"


# --- connection -------------------------------------------------------------------------------


class FakeSocket:
    """A WebSocket in memory; `stalled` is a client that does not read."""

    def __init__(self, *messages: MutableMapping[str, Any], stalled: bool = False) -> None:
        self.messages = list(messages)
        self.sent: list[dict[str, Any]] = []
        self.closed: list[tuple[int, str | None]] = []
        self.gone = False
        self.reading = asyncio.Event()
        self.blocked = asyncio.Event()
        if not stalled:
            self.reading.set()

    async def receive(self) -> MutableMapping[str, Any]:
        return self.messages.pop(0) if self.messages else {"type": "websocket.disconnect"}

    async def send_text(self, data: str) -> None:
        if self.gone:
            raise WebSocketDisconnect(1006)
        if not self.reading.is_set():
            self.blocked.set()
        await self.reading.wait()
        self.sent.append(json.loads(data))

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.closed.append((code, reason))


VIEW = SessionView("sess_1", 3600, Session())
GA_UPDATE = text(type="session.update", session={"type": "realtime", "instructions": "i"})
BETA_UPDATE = text(type="session.update", session={"modalities": ["text"]})
NEUTRAL_UPDATE = text(type="session.update", session={"instructions": "i"})
CLEAR = text(type="input_audio_buffer.clear")


@pytest.mark.parametrize(
    ("start", "pinned", "messages", "end"),
    [
        ("undecided", False, [CLEAR, NEUTRAL_UPDATE], "undecided"),
        ("undecided", False, [GA_UPDATE], "ga"),
        ("undecided", False, [text(type="session.update", session={"audio": {}})], "ga"),
        (
            "undecided",
            False,
            [text(type="session.update", session={"output_modalities": ["text"]})],
            "ga",
        ),
        ("undecided", False, [BETA_UPDATE], "beta"),
        ("undecided", False, [NEUTRAL_UPDATE, GA_UPDATE], "ga"),
        ("undecided", False, [NEUTRAL_UPDATE, BETA_UPDATE, GA_UPDATE], "beta"),
        ("undecided", False, [GA_UPDATE, BETA_UPDATE], "ga"),
        ("undecided", False, [text(type="transcription_session.update", session={})], "beta"),
        # openai-node 5.18 to 5.23.0: marked beta, speaks GA
        ("beta", False, [CLEAR, GA_UPDATE], "ga"),
        ("beta", False, [NEUTRAL_UPDATE, GA_UPDATE], "beta"),
        ("beta", False, [BETA_UPDATE, GA_UPDATE], "beta"),
        ("ga", False, [BETA_UPDATE], "ga"),
        ("beta", True, [GA_UPDATE], "beta"),
        ("ga", True, [BETA_UPDATE], "ga"),
    ],
)
async def test_events_settle_the_dialect(
    start: Any, pinned: bool, messages: list[dict[str, Any]], end: str
) -> None:
    connection = Connection(FakeSocket(*messages), start, pinned=pinned)
    for _ in messages:
        try:
            await connection.receive()
        except InvalidRequest:
            continue
    assert connection.dialect == end


async def flushed(connection: Connection, socket: FakeSocket) -> list[dict[str, Any]]:
    await connection.close()
    return socket.sent


OUTPUT = OutputTextDelta("resp_1", "item_1", 0, 0, "hi")


@pytest.mark.parametrize(
    ("dialect", "delta_type", "session_keys"),
    [
        ("ga", "response.output_text.delta", {"type", "audio"}),
        ("beta", "response.text.delta", {"modalities", "input_audio_format"}),
        ("undecided", "response.text.delta", {"type", "audio", "modalities", "input_audio_format"}),
    ],
)
async def test_output_speaks_the_dialect(
    dialect: Any, delta_type: str, session_keys: set[str]
) -> None:
    socket = FakeSocket()
    connection = Connection(socket, dialect)
    connection.send(SessionCreated(VIEW))
    connection.send(OUTPUT)
    created, spoken = await flushed(connection, socket)
    told = created["session"].keys() & {"type", "audio", "modalities", "input_audio_format"}
    assert told == session_keys
    assert spoken["type"] == delta_type


async def test_every_event_has_its_own_event_id() -> None:
    socket = FakeSocket()
    connection = Connection(socket, "ga")
    for _ in range(50):
        connection.send(OUTPUT)
    ids = [event["event_id"] for event in await flushed(connection, socket)]
    assert len(set(ids)) == 50
    assert all(re.fullmatch(r"event_[0-9A-Za-z]{21}", event_id) for event_id in ids)


async def test_events_come_typed_and_bad_ones_do_not_end_the_connection() -> None:
    messages = [{"type": "websocket.receive", "bytes": b"x"}, text(type="no.such.event"), CLEAR]
    connection = Connection(FakeSocket(*messages, GA_UPDATE), "ga")
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            await connection.receive()
    assert await connection.receive() == InputAudioClear()
    assert isinstance(await connection.receive(), SessionUpdate)
    with pytest.raises(Disconnected):
        await connection.receive()


async def test_unknown_fields_are_logged_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    session = {"type": "realtime", "instructions": "i", "colour": "violet"}
    connection = Connection(FakeSocket(text(type="session.update", session=session)), "ga")
    with caplog.at_level(logging.INFO, "realtime.wire"):
        assert isinstance(await connection.receive(), SessionUpdate)
    assert "colour" in caplog.text
    assert "violet" not in caplog.text


async def test_the_wire_log_shows_neither_audio_nor_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    audio = base64.b64encode(TONE).decode()
    socket = FakeSocket(text(type="input_audio_buffer.append", audio=audio))
    connection = Connection(socket, "ga")
    with caplog.at_level(logging.DEBUG, "realtime.wire"):
        await connection.receive()
        connection.send(OutputTextDelta("resp_1", "item_1", 0, 0, "a whispered word"))
        connection.send(delta(TONE))
        await connection.close()
    assert "< 'input_audio_buffer.append'" in caplog.text
    assert "> response.output_audio.delta" in caplog.text
    assert "whispered" not in caplog.text
    assert audio[:24] not in caplog.text


async def test_the_outbox_is_counted_and_written_in_order() -> None:
    socket = FakeSocket(stalled=True)
    connection = Connection(socket, "ga")
    writer = asyncio.create_task(connection.write_forever())
    for number in range(20):
        connection.send(OutputTextDelta("resp_1", "item_1", 0, number, "x"))
    assert connection.outbox_bytes > 20 * 50
    socket.reading.set()
    await connection.close(1000, "done")
    writer.cancel()
    assert [event["content_index"] for event in socket.sent] == list(range(20))
    assert connection.outbox_bytes == 0
    assert socket.closed == [(1000, "done")]


async def test_an_interrupted_write_is_neither_lost_nor_repeated() -> None:
    socket = FakeSocket(stalled=True)
    connection = Connection(socket, "ga")
    writer = asyncio.create_task(connection.write_forever())
    connection.send(OUTPUT)
    connection.send(InputAudioCleared())
    await socket.blocked.wait()
    writer.cancel()
    socket.reading.set()
    types = [event["type"] for event in await flushed(connection, socket)]
    assert types == ["response.output_text.delta", "input_audio_buffer.cleared"]


async def test_a_client_that_lets_the_outbox_grow_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "OUTBOX_LIMIT_BYTES", 10_000)
    socket = FakeSocket(stalled=True)
    connection = Connection(socket, "ga")
    writer = asyncio.create_task(connection.write_forever())
    connection.send(OUTPUT)
    await socket.blocked.wait()
    for _ in range(100):
        connection.send(OUTPUT)
    with pytest.raises(Disconnected) as caught:
        await writer
    assert caught.value.code == 1008
    assert connection.outbox_bytes < 11_000
    await connection.close()
    assert socket.sent == []
    assert [code for code, _ in socket.closed] == [1008]
    assert "does not read" in str(socket.closed[0][1])


async def test_a_write_that_takes_too_long_cuts_the_client_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "WRITE_DEADLINE_S", 0.01)
    socket = FakeSocket(stalled=True)
    connection = Connection(socket, "ga")
    connection.send(OUTPUT)
    with pytest.raises(Disconnected, match="does not read"):
        await connection.write_forever()
    await connection.close(1000)
    assert [code for code, _ in socket.closed] == [1008]


async def test_a_client_that_reads_slowly_but_steadily_is_not_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class SlowSocket(FakeSocket):
        async def send_text(self, data: str) -> None:
            await asyncio.sleep(0.1)
            await super().send_text(data)

    monkeypatch.setattr(transport, "WRITE_DEADLINE_S", 1.5)
    socket = SlowSocket()
    connection = Connection(socket, "ga")
    for _ in range(20):
        connection.send(OUTPUT)
    writer = asyncio.create_task(connection.write_forever())
    async with asyncio.timeout(20):
        while len(socket.sent) < 20:  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.01)
    assert not writer.done()
    writer.cancel()
    await asyncio.wait([writer])


async def test_a_close_does_not_wait_long_for_a_client_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "FLUSH_DEADLINE_S", 0.01)
    socket = FakeSocket(stalled=True)
    connection = Connection(socket, "ga")
    writer = asyncio.create_task(connection.write_forever())
    connection.send(OUTPUT)
    await socket.blocked.wait()
    await connection.close(1001, "bye")
    with pytest.raises(Disconnected):
        await writer
    assert [code for code, _ in socket.closed] == [1008]


async def test_nothing_leaves_after_the_close() -> None:
    socket = FakeSocket()
    connection = Connection(socket, "ga")
    await connection.close(1001, "bye")
    connection.send(OUTPUT)
    await connection.close(1000)
    assert socket.sent == []
    assert connection.outbox_bytes == 0
    assert socket.closed == [(1001, "bye")]


async def test_a_long_close_reason_is_cut_at_a_whole_character() -> None:
    socket = FakeSocket()
    await Connection(socket, "ga").close(1011, "错" * 100)
    assert socket.closed == [(1011, "错" * 41)]


async def test_a_client_that_left_ends_the_writer() -> None:
    socket = FakeSocket()
    socket.gone = True
    connection = Connection(socket, "ga")
    connection.send(OUTPUT)
    with pytest.raises(Disconnected) as caught:
        await connection.write_forever()
    assert caught.value.code == 1006
    await connection.close()
    assert socket.closed == []


# --- a real socket ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live() -> Generator[LiveServer]:
    with live_server() as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Generator[LiveServer]:
    with live_server(server_settings(api_key=KEY)) as server:
        yield server


async def next_event(socket: ClientConnection) -> dict[str, Any]:
    return json.loads(await socket.recv())


@pytest.mark.parametrize(
    "path",
    [
        "/v1/realtime",
        "/v1/realtime/",
        "/",
        "",
        "/openai/realtime",
        "/openai/v1/realtime",
        "/v1/realtime/?model=m&temperature=0.8",
    ],
)
async def test_every_door_is_open(live: LiveServer, path: str) -> None:
    async with connect(live.url(path)) as socket:
        created = await next_event(socket)
    assert created["type"] == "session.created"
    assert created["session"]["model"] == ("m" if "model=" in path else "gpt-realtime")
    assert socket.close_code == 1000


@pytest.mark.parametrize("offered", [[], [REALTIME], [KEY_ENTRY, REALTIME, BETA_ENTRY]])
async def test_the_subprotocol_is_echoed(live: LiveServer, offered: list[str]) -> None:
    subprotocols = [Subprotocol(entry) for entry in offered]
    async with connect(live.url(), subprotocols=subprotocols or None) as socket:
        assert socket.subprotocol == (REALTIME if offered else None)
        assert (await next_event(socket))["type"] == "session.created"


async def test_bad_messages_are_answered_and_the_session_lives(live: LiveServer) -> None:
    bad_audio = {"type": "input_audio_buffer.append", "audio": "?", "event_id": "e1"}
    async with connect(live.url(), max_size=None) as socket:
        assert (await next_event(socket))["type"] == "session.created"
        codes: list[tuple[str, str | None]] = []
        for message in (
            b"\x00\x01",
            "{not json",
            "[1]",
            json.dumps({"event_id": "e0"}),
            json.dumps({"type": "nope", "event_id": "e2"}),
            json.dumps(bad_audio),
            json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 22_020_096}),
        ):
            await socket.send(message)
            answer = await next_event(socket)
            assert answer["type"] == "error"
            assert answer["error"].keys() == {"type", "code", "message", "param", "event_id"}
            codes.append((answer["error"]["code"], answer["error"]["event_id"]))
        await socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
        assert (await next_event(socket))["type"] == "input_audio_buffer.cleared"
    assert codes == [
        ("invalid_event", None),
        ("invalid_json", None),
        ("invalid_json", None),
        ("invalid_event", "e0"),
        ("invalid_value", "e2"),
        ("invalid_value", "e1"),
        ("invalid_event", None),
    ]


@pytest.mark.parametrize(
    ("headers", "code", "reason"),
    [
        ({}, None, "invalid_request_error"),
        (
            {"Authorization": "Bearer sk-wrong-wrong-wrong"},
            "invalid_api_key",
            "invalid_request_error.invalid_api_key",
        ),
    ],
)
async def test_a_refused_key_is_an_error_event_and_3000(
    guarded: LiveServer, headers: dict[str, str], code: str | None, reason: str
) -> None:
    async with connect(guarded.url(), additional_headers=headers) as socket:
        error = await next_event(socket)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert (socket.close_code, socket.close_reason) == (3000, reason)
    assert error["error"]["code"] == code
    assert error["error"]["type"] == "invalid_request_error"
    assert "sk-wrong-wrong-wrong" not in json.dumps(error)


async def test_the_right_key_opens_a_session(guarded: LiveServer) -> None:
    async with connect(guarded.url(f"/v1/realtime?api-key={KEY}")) as socket:
        assert (await next_event(socket))["type"] == "session.created"


async def test_a_refused_request_is_an_error_event_and_4000(live: LiveServer) -> None:
    async with connect(live.url("/v1/realtime?intent=transcription&model=m")) as socket:
        error = await next_event(socket)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert error["error"]["code"] == "invalid_model"
    assert (socket.close_code, socket.close_reason) == (
        4000,
        "invalid_request_error.invalid_model",
    )


async def test_a_foreign_browser_page_gets_no_socket(live: LiveServer) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(live.url(), origin="https://evil.example")  # pyright: ignore
    answer = caught.value.response
    assert answer.status_code == 403
    assert answer.body is not None
    error = json.loads(answer.body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert "ALLOWED_ORIGINS" in error["message"]


async def test_a_local_browser_page_may_connect(live: LiveServer) -> None:
    async with connect(live.url(), origin="http://localhost:5173") as socket:  # pyright: ignore
        assert (await next_event(socket))["type"] == "session.created"


async def test_a_bug_closes_with_1011_and_tells_nothing(live: LiveServer) -> None:
    async with connect(live.url()) as socket:
        await next_event(socket)
        crash = {"type": "session.update", "session": {"instructions": "crash"}}
        await socket.send(json.dumps(crash))
        error = await next_event(socket)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert (error["error"]["type"], error["error"]["code"]) == ("server_error", "server_error")
    assert "secret detail" not in json.dumps(error)
    assert socket.close_code == 1011


async def test_a_cut_socket_ends_its_session(live: LiveServer) -> None:
    async with connect(live.url()) as socket:
        await next_event(socket)
        assert len(live.app.state.registry) == 1
        socket.transport.abort()
    while len(live.app.state.registry):
        async with connect(live.url("/v1/realtime?call_id=x")) as probe:
            await next_event(probe)
