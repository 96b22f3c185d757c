"""The terminal client, driven by its keys: against the real gateway and against a scripted one."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

import audio_utils
import push_to_talk_app
from providers.scripted_stt import ScriptedSttProvider
from push_to_talk_app import DeviceAudio, FileAudio, Options, PushToTalkApp
from tests.e2e.gateway import HELLO, SCRIPT, STORY_HEARD, run_gateway

Event = dict[str, Any]
HELLO_CLIP = Path(__file__).with_name("fixtures") / "hello.wav"
LOUD_MS = 500
LOUD = b"\x00\x40" * audio_utils.ms_to_samples(LOUD_MS)
SIZE = (120, 40)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys, and no patience."""
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(push_to_talk_app, "BACKOFF_S", (0.01,))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second of steady sound."""
    path = tmp_path / "clip.wav"
    audio_utils.write_wav(path, LOUD)
    return path


# --- what a person sees ---------------------------------------------------------------------


def screen(pilot: Pilot[Any]) -> str:
    """The text on the screen, rows joined by single spaces."""
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", pilot.app.export_screenshot())
    return re.sub(r"\s+", " ", html.unescape(" ".join(texts)).replace("\xa0", " "))


async def until(pilot: Pilot[Any], met: Callable[[], bool]) -> None:
    """Waits for a condition; shows the screen if it does not come true."""
    try:
        async with asyncio.timeout(15):
            while not met():
                await pilot.pause(0.05)
    except TimeoutError:
        raise AssertionError(f"still on the screen: {screen(pilot)}") from None


async def until_shown(pilot: Pilot[Any], *texts: str) -> None:
    """Waits until all of these are on the screen."""
    await until(pilot, lambda: all(text in screen(pilot) for text in texts))


def sound_ms(path: Path) -> float:
    """How much of a recording is not silent, from first to last sound."""
    loud = np.flatnonzero(np.frombuffer(audio_utils.read_audio(path), "<i2"))
    return (loud[-1] - loud[0] + 1) / 24 if loud.size else 0.0


# --- a server that says what a test wants ----------------------------------------------------


class ScriptedServer:
    """Opens sessions and keeps what it receives; the test sends the rest."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.received: list[Event] = []
        self.status = HTTPStatus.SWITCHING_PROTOCOLS
        self._socket: ServerConnection | None = None

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        refused = self.status is not HTTPStatus.SWITCHING_PROTOCOLS
        return connection.respond(self.status, "") if refused else None

    async def serve(self, socket: ServerConnection) -> None:
        self._socket = socket
        await self.send("session.created", session={"id": f"sess_{len(self.requests)}"})
        async for message in socket:
            self.received.append(json.loads(message))

    async def send(self, kind: str, **fields: Any) -> None:
        assert self._socket is not None
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def say(self, item: str, pcm: bytes, *, whole: bool = False) -> None:
        """Some audio of a response `r`."""
        audio = {"response_id": "r", "item_id": item, "content_index": 0}
        await self.send("response.output_audio_transcript.delta", delta=f"words of {item}", **audio)
        delta = base64.b64encode(pcm).decode()
        await self.send("response.output_audio.delta", delta=delta, **audio)
        if whole:
            await self.send("response.output_audio.done", **audio)

    async def hang_up(self, code: int = 1011) -> None:
        assert self._socket is not None
        await self._socket.close(code, "restarting")

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.received if event["type"] == kind]

    @property
    def heard(self) -> bytes:
        appends = self.of("input_audio_buffer.append")
        return b"".join(base64.b64decode(event["audio"]) for event in appends)

    @property
    def orders(self) -> list[str]:
        """What came besides audio, by the last words of their types."""
        kinds = [event["type"] for event in self.received]
        return [kind for kind in kinds if kind != "input_audio_buffer.append"]

    @property
    def detections(self) -> list[Event | None]:
        """The turn detection of each update."""
        updates = [event["session"] for event in self.of("session.update")]
        return [update["audio"]["input"]["turn_detection"] for update in updates]


@pytest.fixture
async def server() -> AsyncGenerator[ScriptedServer]:
    scripted = ScriptedServer()
    async with serve(scripted.serve, "127.0.0.1", 0, process_request=scripted.answer) as listening:
        scripted.url = (
            f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}/v1/realtime"
        )
        yield scripted


@asynccontextmanager
async def running(
    url: str, *inputs: Path, output: Path | None = None, **options: Any
) -> AsyncGenerator[Pilot[Any]]:
    """The client on recordings, connected."""
    app = PushToTalkApp(Options(url, **options), FileAudio(list(inputs), output))
    async with app.run_test(size=SIZE) as pilot:
        await until_shown(pilot, "connected · sess_")
        yield pilot


# --- with the real gateway -------------------------------------------------------------------


async def test_spoken_turn_is_shown_and_played_and_interrupted(tmp_path: Path) -> None:
    ears = ScriptedSttProvider((STORY_HEARD, HELLO), SCRIPT.latency, SCRIPT.seed)
    heard = tmp_path / "heard.wav"
    async with (
        run_gateway(stt=ears) as gateway,
        running(gateway.url(), HELLO_CLIP, output=heard) as pilot,
    ):
        await until_shown(pilot, "you are speaking")
        await until_shown(pilot, f"you {STORY_HEARD}", "transcript after")
        await until_shown(pilot, "assistant Once upon a time", "voice after")
        await until_shown(pilot, "the assistant is speaking")
        await pilot.press("r")
        await until_shown(pilot, "interrupted after", f"you {HELLO}", f"You said: {HELLO}")
        assert "problem" not in screen(pilot)
        await until_shown(pilot, "listening")
    assert sound_ms(heard) > 0


async def test_push_to_talk_is_answered_on_the_second_press() -> None:
    ears = ScriptedSttProvider((HELLO,), SCRIPT.latency, SCRIPT.seed)
    async with run_gateway(stt=ears) as gateway, running(gateway.url()) as pilot:
        await pilot.press("k")
        await until_shown(pilot, "recording: press K to send", "push to talk")
        await pilot.pause(0.3)
        await pilot.press("k")
        await until_shown(pilot, f"you {HELLO}", f"You said: {HELLO}", "voice after")
        await until_shown(pilot, "listening", "hands-free")
        assert "problem" not in screen(pilot)


# --- barge-in --------------------------------------------------------------------------------


async def test_interruption_truncates_to_what_was_heard(
    server: ScriptedServer, tmp_path: Path
) -> None:
    heard = tmp_path / "heard.wav"
    async with running(server.url, output=heard) as pilot:
        await server.send("response.created", response={"id": "r"})
        await server.say("i", LOUD * 10)
        await until_shown(pilot, "the assistant is speaking")
        await server.send("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        await server.say("i", LOUD)  # was on its way when the server heard the speech
        await until(pilot, lambda: bool(server.of("conversation.item.truncate")))
        (truncate,) = server.of("conversation.item.truncate")
        await server.send("conversation.item.truncated", item_id="i", audio_end_ms=1234)
        await until_shown(pilot, "you are speaking", "interrupted after 1.2 s")

    assert (truncate["item_id"], truncate["content_index"]) == ("i", 0)
    assert 0 < truncate["audio_end_ms"] == sound_ms(heard)
    assert not server.of("response.cancel")


async def test_reply_heard_to_its_end_is_not_truncated(
    server: ScriptedServer, tmp_path: Path
) -> None:
    heard = tmp_path / "heard.wav"
    async with running(server.url, output=heard) as pilot:
        await server.say("i", LOUD, whole=True)
        await until_shown(pilot, "the assistant is speaking")
        await until_shown(pilot, "listening")
        await server.send("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        await until_shown(pilot, "you are speaking")
    assert not server.of("conversation.item.truncate")
    assert sound_ms(heard) == LOUD_MS


async def test_items_not_yet_played_are_truncated_to_nothing(server: ScriptedServer) -> None:
    async with running(server.url) as pilot:
        await server.say("first", LOUD * 10, whole=True)
        await server.say("second", LOUD, whole=True)
        await until_shown(pilot, "the assistant is speaking")
        await server.send("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        await until(pilot, lambda: len(server.of("conversation.item.truncate")) == 2)
    first, second = server.of("conversation.item.truncate")
    assert first["item_id"] == "first"
    assert (second["item_id"], second["audio_end_ms"]) == ("second", 0)


# --- push to talk and mute -------------------------------------------------------------------


async def test_recording_suspends_turn_detection_and_ends_in_a_response(
    server: ScriptedServer, clip: Path
) -> None:
    async with running(server.url, clip) as pilot:
        await until(pilot, lambda: LOUD in server.heard)
        await pilot.press("k")
        await until(pilot, lambda: server.heard.count(LOUD) == 2)
        await pilot.press("k")
        await until(pilot, lambda: len(server.detections) == 3)
    assert server.orders == [
        "session.update",
        *("session.update", "input_audio_buffer.clear"),
        *("input_audio_buffer.commit", "response.create", "session.update"),
    ]
    assert [detection and detection["type"] for detection in server.detections] == [
        *("server_vad", None, "server_vad")
    ]


async def test_recording_interrupts_the_reply(server: ScriptedServer) -> None:
    async with running(server.url) as pilot:
        await server.send("response.created", response={"id": "r"})
        await server.say("i", LOUD * 10)
        await until_shown(pilot, "the assistant is speaking")
        await pilot.press("K")
        await until(pilot, lambda: "input_audio_buffer.clear" in server.orders)
        output = [{"id": "i", "type": "message"}, {"id": "j", "type": "message"}]
        cancelled = {"id": "r", "status": "cancelled", "output": output}
        await server.send("response.done", response=cancelled)
        error = {"code": "response_cancel_not_active", "message": "nothing to cancel"}
        await server.send("error", error=error)
        await server.send("error", error={"code": "other", "message": "something else"})
        await until_shown(pilot, "something else")
        assert "nothing to cancel" not in screen(pilot)
    assert server.orders[1:3] == ["response.cancel", "conversation.item.truncate"]


async def test_recording_of_no_length_is_not_sent(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_to_talk_app, "SHORTEST_MS", 10_000)
    async with running(server.url) as pilot:
        await pilot.press("k", "k")
        await until_shown(pilot, "too short")
        await until(pilot, lambda: len(server.detections) == 3)
    assert "input_audio_buffer.commit" not in server.orders


async def test_muted_microphone_sends_silence(server: ScriptedServer, clip: Path) -> None:
    app = PushToTalkApp(Options(server.url), FileAudio([clip], None))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("m")
        await until_shown(pilot, "connected", "MUTED")
        await until(pilot, lambda: len(server.heard) > len(LOUD))
        assert not any(server.heard)
        await pilot.press("m", "r")
        await until(pilot, lambda: any(server.heard))
        await until(pilot, lambda: "MUTED" not in screen(pilot))


async def test_half_duplex_is_deaf_while_the_reply_plays(
    server: ScriptedServer, clip: Path
) -> None:
    async with running(server.url, clip, half_duplex=True) as pilot:
        await until(pilot, lambda: LOUD[:960] in server.heard)
        await until(pilot, lambda: server.heard.endswith(bytes(960)))
        known = len(server.heard)
        await server.say("i", LOUD * 2, whole=True)
        await until_shown(pilot, "the assistant is speaking", "half-duplex")
        await pilot.press("r")
        await until_shown(pilot, "listening")
        assert not any(server.heard[known:])
        # The room still echoes for a moment: what is spoken then is lost, the next time is not.
        await pilot.pause(push_to_talk_app.ECHO_TAIL_S + LOUD_MS / 1000)
        await pilot.press("r")
        await until(pilot, lambda: LOUD[:960] in server.heard[known:])


# --- connection ------------------------------------------------------------------------------


async def test_session_is_asked_for_with_key_model_and_voice(server: ScriptedServer) -> None:
    async with running(server.url, api_key="k", model="m 1", voice="v", tools=True) as pilot:
        await until(pilot, lambda: bool(server.of("session.update")))
    (request,), (update,) = server.requests, server.of("session.update")
    assert request.path == "/v1/realtime?model=m%201"
    assert request.headers["Authorization"] == "Bearer k"
    assert update["session"]["audio"]["output"]["voice"] == "v"
    assert "get_weather" in [tool["name"] for tool in update["session"]["tools"]]


async def test_lost_connection_is_told_and_made_again(server: ScriptedServer) -> None:
    async with running(server.url) as pilot:
        await pilot.press("k")
        await until_shown(pilot, "recording")
        await server.hang_up()
        await until_shown(pilot, "1011 restarting", "the recording was lost", "sess_2")
        await until_shown(pilot, "remembers nothing", "listening", "hands-free")
    assert server.detections[-1] is not None


async def test_refused_key_is_told_and_not_tried_again(server: ScriptedServer) -> None:
    server.status = HTTPStatus.UNAUTHORIZED
    app = PushToTalkApp(Options(server.url), FileAudio([], None))
    async with app.run_test(size=SIZE) as pilot:
        await until_shown(pilot, "not connected", "HTTP 401", "--api-key")
        await pilot.press("k")
        assert "recording" not in screen(pilot)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("code", "hint"), [(3000, "--api-key"), (4000, "--model")])
async def test_a_session_refused_for_good_is_not_tried_again(
    server: ScriptedServer, code: int, hint: str
) -> None:
    async with running(server.url) as pilot:
        await server.hang_up(code)
        await until_shown(pilot, "not connected", hint)
    assert len(server.requests) == 1


def test_without_a_terminal_it_ends_and_says_what_to_use() -> None:
    program = Path(push_to_talk_app.__file__)
    command = [sys.executable, str(program), "--input", str(HELLO_CLIP)]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "test_client.py --audio" in ended.stderr


async def test_busy_server_is_asked_again(server: ScriptedServer) -> None:
    server.status = HTTPStatus.SERVICE_UNAVAILABLE
    app = PushToTalkApp(Options(server.url), FileAudio([], None))
    async with app.run_test(size=SIZE) as pilot:
        await until_shown(pilot, "HTTP 503")
        server.status = HTTPStatus.SWITCHING_PROTOCOLS
        await until_shown(pilot, "connected · sess_")


@pytest.mark.parametrize(
    ("url", "words"),
    [("ws://127.0.0.1:1/", "python main.py"), ("http://127.0.0.1/", "isn't a valid URI")],
)
async def test_no_server_is_told(url: str, words: str) -> None:
    app = PushToTalkApp(Options(url), FileAudio([], None))
    async with app.run_test(size=SIZE) as pilot:
        await until_shown(pilot, "problem", words)


# --- what else the conversation shows ----------------------------------------------------------


async def test_tool_call_is_shown_run_and_answered(server: ScriptedServer) -> None:
    async with running(server.url, tools=True) as pilot:
        call = {"type": "function_call", "id": "c", "call_id": "call_1", "name": "get_weather"}
        added, done = call | {"arguments": ""}, call | {"arguments": '{"city": "Oslo"}'}
        await server.send("response.created", response={"id": "r"})
        await until_shown(pilot, "the assistant is thinking")
        await server.send("response.output_item.added", item=added)
        await until_shown(pilot, "tool get_weather(…)")
        await server.send("response.output_item.done", item=done)
        response = {"id": "r", "status": "completed", "output": [done]}
        await server.send("response.done", response=response)
        await until_shown(pilot, 'get_weather({"city": "Oslo"})', "sunny")
        await until(pilot, lambda: "response.create" in server.orders)
    (answer,) = server.of("conversation.item.create")
    assert answer["item"]["call_id"] == "call_1"
    assert json.loads(answer["item"]["output"])["city"] == "Oslo"
    assert server.orders[-2:] == ["conversation.item.create", "response.create"]


@pytest.mark.parametrize(
    ("name", "arguments", "key"),
    [
        ("get_current_time", "{}", "now"),
        ("get_weather", "{", "error"),
        ("get_weather", "[]", "error"),
        ("reboot", "{}", "error"),
    ],
)
def test_each_call_has_an_answer(name: str, arguments: str, key: str) -> None:
    assert key in push_to_talk_app.run_tool(name, arguments)


async def test_troubles_are_told_and_survived(server: ScriptedServer) -> None:
    async with running(server.url) as pilot:
        details = {"error": {"message": "no model"}}
        failed = {"id": "r", "status": "failed", "output": [], "status_details": details}
        await server.send("response.done", response=failed)
        prefix = "conversation.item.input_audio_transcription"
        await server.send("input_audio_buffer.committed", item_id="u")
        await server.send(f"{prefix}.failed", item_id="u", error={"message": "no ears"})
        await server.send(f"{prefix}.completed", item_id="w", transcript=" ")
        await server.send("response.done")
        await server.send("error", error={"code": "x", "message": "bad [bold]voice\x1b[31m"})
        await until_shown(pilot, "the response failed: no model", "not transcribed: no ears")
        await until_shown(pilot, "(nothing understood)", "cannot read", "bad [bold]voice [31m")


async def test_words_stream_into_one_entry_each(server: ScriptedServer) -> None:
    async with running(server.url) as pilot:
        transcription = "conversation.item.input_audio_transcription.delta"
        await server.send("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        await server.send(transcription, item_id="u", delta="what")
        await until_shown(pilot, "you what")
        await server.send(transcription, item_id="u", delta=" now?")
        await server.send("response.output_text.delta", item_id="i", delta="Nothing")
        await server.send("response.output_text.delta", item_id="i", delta=" much.")
        await until_shown(pilot, "you what now? assistant Nothing much.")


@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
async def test_small_terminal_shows_the_latest(
    server: ScriptedServer, size: tuple[int, int]
) -> None:
    app = PushToTalkApp(Options(server.url), FileAudio([], None))
    async with app.run_test(size=size) as pilot:
        await until_shown(pilot, "connected · sess_1")
        for number in range(30):
            await server.send("response.output_text.delta", item_id=f"i{number}", delta="blah " * 9)
        await server.send("response.output_text.delta", item_id="last", delta="the end")
        await until_shown(pilot, "the end", "listening", "mic", "Quit")


# --- devices -----------------------------------------------------------------------------------

PORTAUDIO = """
class PortAudioError(Exception): pass
class RawInputStream:
    opened = {}
    latency = 0.1
    def __init__(self, **settings): self.opened[type(self).__name__] = settings
    def __enter__(self): return self
    def __exit__(self, *error): pass
class RawOutputStream(RawInputStream): pass
"""
NO_DEVICE = f"""{PORTAUDIO}
def RawInputStream(**settings): raise PortAudioError("no device -1")
"""


@pytest.fixture
def portaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a module in place of sounddevice."""

    def install(source: str) -> None:
        (tmp_path / "sounddevice.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)

    yield install
    sys.modules.pop("sounddevice", None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ModuleNotFoundError", "pip install -r requirements-client.txt"),
        ("raise OSError('PortAudio library not found')", "apt-get install libportaudio2"),
        (NO_DEVICE, "no device -1"),
    ],
)
async def test_missing_device_is_told_and_the_rest_works(
    server: ScriptedServer, portaudio: Callable[[str], None], source: str, words: str
) -> None:
    portaudio(source)
    app = PushToTalkApp(Options(server.url), DeviceAudio())
    async with app.run_test(size=SIZE) as pilot:
        await until_shown(pilot, "No audio device", words, "--input", "connected · sess_")
        await server.say("i", LOUD, whole=True)
        await until_shown(pilot, "words of i", "the assistant is speaking")
        await until_shown(pilot, "listening")


async def test_devices_record_and_play(
    server: ScriptedServer, portaudio: Callable[[str], None]
) -> None:
    portaudio(PORTAUDIO)
    app = PushToTalkApp(Options(server.url), DeviceAudio())
    async with app.run_test(size=SIZE) as pilot:
        await until_shown(pilot, "connected · sess_")
        streams = sys.modules["sounddevice"].RawInputStream.opened
        record, play = (streams[f"Raw{way}Stream"]["callback"] for way in ("Input", "Output"))
        record(LOUD[:960], 480, None, None)
        await until(pilot, lambda: server.heard == LOUD[:960])
        await server.say("i", LOUD)
        await until_shown(pilot, "the assistant is speaking")
        speaker = bytearray(audio_utils.ms_to_bytes(300))
        play(speaker, len(speaker) // 2, None, None)
        assert speaker == LOUD[: len(speaker)]
        await server.send("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        await until(pilot, lambda: bool(server.of("conversation.item.truncate")))
        streams["RawInputStream"]["finished_callback"]()
        await until_shown(pilot, "the audio device has gone")
    (truncate,) = server.of("conversation.item.truncate")
    assert truncate["audio_end_ms"] == 200  # the last 100 ms were still inside the device


# --- command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--openai"], "OPENAI_API_KEY"),
        (["--openai", "--api-key", "k", "--url", "ws://x"], "--url"),
        (["--input", "absent.wav"], "absent.wav"),
        (["--output", "absent/out.wav"], "absent/out.wav"),
    ],
)
def test_wrong_use_is_one_clear_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        push_to_talk_app.main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_address_and_key_follow_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "ours")
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")

    def chosen(*arguments: str) -> tuple[str, str | None]:
        options, _ = push_to_talk_app.parse([*arguments])
        return options.url, options.api_key

    assert chosen() == (push_to_talk_app.LOCAL_URL, "ours")
    assert chosen("--url", "ws://x", "--api-key", "k") == ("ws://x", "k")
    assert chosen("--openai") == (push_to_talk_app.OPENAI_URL, "theirs")
    monkeypatch.setattr(push_to_talk_app, "USE_LOCAL_SERVER", False)
    assert chosen() == (push_to_talk_app.OPENAI_URL, "theirs")
    assert chosen("--url", "ws://x") == ("ws://x", "ours")
