"""What test_client.py promises its user: exit codes, the one clear line, the event lines."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers

import audio_utils
import test_client

Event = dict[str, Any]

LOUD = b"\x00\x40" * 2400
"""100 ms at 24 kHz."""
BETA_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_text.delta": "response.text.delta",
}


class ScriptedServer:
    """Just enough of a Realtime server, with one fault at choice."""

    def __init__(self) -> None:
        self.fault = ""
        self.url = ""
        self.headers = Headers()
        self.path = ""
        self.received: list[Event] = []

    async def serve(self, connection: ServerConnection) -> None:
        """Speaks with one client until it leaves."""
        assert connection.request is not None
        self.headers = connection.request.headers
        self.path = connection.request.path
        await Conversation(self, connection).run()


class Conversation:
    """The state of one connection."""

    def __init__(self, server: ScriptedServer, connection: ServerConnection) -> None:
        self._server, self._connection = server, connection
        self._tools: list[Event] = []
        self._last_item: Event = {}
        self._loud = False
        self._silence_bytes = 0
        self._responses = 0

    async def run(self) -> None:
        """Answers events until the client leaves."""
        await self._send("session.created", session={"id": "sess_1", "model": "gpt-realtime"})
        async for message in self._connection:
            event = json.loads(message)
            self._server.received.append(event)
            await self._answer(event)

    async def _send(self, kind: str, **fields: Any) -> None:
        if "OpenAI-Beta" in self._server.headers:
            kind = BETA_NAMES.get(kind, kind)
        await self._connection.send(json.dumps({"type": kind, "event_id": "event_1", **fields}))

    async def _answer(self, event: Event) -> None:
        match event["type"]:
            case "session.update":
                self._tools = event["session"].get("tools", [])
                await self._send("session.updated", session=event["session"])
            case "conversation.item.create":
                self._last_item = event["item"]
                await self._send("conversation.item.added", item=event["item"])
            case "response.create":
                await self._respond(event.get("response") or {})
            case "input_audio_buffer.append":
                await self._hear(base64.b64decode(event["audio"]))
            case _:
                pass

    async def _hear(self, pcm: bytes) -> None:
        if any(pcm):
            self._silence_bytes = 0
            if not self._loud and self._server.fault != "deaf":
                self._loud = True
                await self._send("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
            return
        self._silence_bytes += len(pcm)
        if self._loud and self._silence_bytes >= 100 * test_client.BYTES_PER_MS:
            self._loud = False
            await self._send("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=200)
            await self._send("input_audio_buffer.committed", item_id="u")
            await self._transcribe()
            self._last_item = {}
            await self._respond({})

    async def _transcribe(self) -> None:
        prefix = "conversation.item.input_audio_transcription"
        if self._server.fault == "transcription":
            await self._send(f"{prefix}.failed", item_id="u", error={"message": "no words"})
        else:
            await self._send(f"{prefix}.completed", item_id="u", transcript="good morning")

    async def _respond(self, wanted: Event) -> None:
        fault = self._server.fault
        if fault == "error":
            error = {"code": "invalid_value", "message": "not like this", "param": None}
            await self._send("error", error=error)
        elif fault == "close":
            await self._connection.close(1011, "broken")
        elif fault == "garbage":
            await self._connection.send("{")
        elif fault != "silent":
            await self._reply(wanted)

    async def _reply(self, wanted: Event) -> None:
        self._responses += 1
        ids = {"response_id": f"resp_{self._responses}", "item_id": f"item_{self._responses}"}
        await self._send("response.created", response={"id": ids["response_id"]})
        if ["text"] in (wanted.get("modalities"), wanted.get("output_modalities")):
            await self._send("response.output_text.delta", delta="written", **ids)
        elif self._tools and self._last_item.get("role") == "user":
            call = {"type": "function_call", "name": "get_weather", "call_id": "call_1"}
            if self._server.fault != "no call":
                item = call | {"arguments": '{"city": "Paris"}'}
                await self._send("response.output_item.done", item=item, **ids)
        else:
            await self._send("response.output_audio_transcript.delta", delta="spoken", **ids)
            if self._server.fault != "mute":
                for part in (LOUD[:1200], LOUD[1200:]):
                    delta = base64.b64encode(part).decode()
                    await self._send("response.output_audio.delta", delta=delta, **ids)
        status = "failed" if self._server.fault == "failed" else "completed"
        details = {"error": {"message": "no model"}} if status == "failed" else None
        response = {"id": ids["response_id"], "status": status, "status_details": details}
        await self._send("response.done", response=response)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    async with serve(scripted.serve, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        scripted.url = f"ws://127.0.0.1:{port}/v1/realtime"
        yield scripted


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short clip instead of the bundled one, no keys, and a folder to write into."""
    clip = tmp_path / "clip.wav"
    audio_utils.write_wav(clip, LOUD, test_client.RATE_HZ)
    monkeypatch.setattr(test_client, "SPEECH", clip)
    monkeypatch.setattr(test_client, "TAIL_MS", 40)
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    yield


async def run(server: ScriptedServer, *arguments: str) -> int:
    """Runs the client as from the command line; returns its exit code."""
    return await asyncio.to_thread(test_client.main, ["--url", server.url, *arguments])


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_conversation_succeeds_in_both_dialects(
    server: ScriptedServer, dialect: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await run(server, "--dialect", dialect, "--model", "m 1", "--api-key", "k")

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert server.path == "/v1/realtime?model=m%201"
    assert server.headers["Authorization"] == "Bearer k"
    assert server.headers.get("OpenAI-Beta") == ("realtime=v1" if dialect == "beta" else None)
    assert ("type" in server.received[0]["session"]) == (dialect == "ga")
    for word in ("typed turn", "spoken turn", "good morning", "tool call", "written", "spoken"):
        assert word in printed.out
    spoken = audio_utils.read_audio(tmp_path / "reply.wav", test_client.RATE_HZ)
    assert spoken == LOUD * 2


async def test_call_is_answered_by_its_id(server: ScriptedServer) -> None:
    assert await run(server) == 0

    items = [event["item"] for event in server.received if "item" in event]
    answer = next(item for item in items if item["type"] == "function_call_output")
    assert answer["call_id"] == "call_1"
    assert json.loads(answer["output"]).keys() == {"city", "temp_c", "conditions"}
    assert json.loads(answer["output"])["city"] == "Paris"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("error", "error: invalid_value not like this"),
        ("failed", "response.done: resp_1 failed no model"),
        ("close", "closed the connection: 1011 broken"),
        ("garbage", "cannot be read"),
        ("silent", "missing response.created"),
        ("deaf", "the server heard no speech in clip.wav"),
        ("transcription", "transcription.failed"),
        ("mute", "the spoken turn got no audio"),
        ("no call", "get_weather was not called"),
    ],
)
async def test_each_fault_ends_in_one_clear_line(
    server: ScriptedServer, fault: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fault = fault

    code = await run(server, "--timeout", "0.3")

    error = capsys.readouterr().err.strip()
    assert code == 1
    assert error.startswith("FAILED: ")
    assert line in error
    assert "\n" not in error


async def test_file_is_streamed_whole_and_in_order(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = b"".join(n.to_bytes(2, "little") for n in range(1, 3001))
    audio_utils.write_wav(tmp_path / "own.wav", clip, test_client.RATE_HZ)

    code = await run(server, "--audio", "own.wav", "--output", "answer.wav")

    appended = b"".join(
        base64.b64decode(event["audio"]) for event in server.received if "audio" in event
    )
    assert code == 0
    assert appended.startswith(clip)
    assert not any(appended[len(clip) :])
    assert "tool call" not in capsys.readouterr().out
    assert audio_utils.read_audio(tmp_path / "answer.wav", test_client.RATE_HZ) == LOUD


async def test_unreadable_file_fails(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(server, "--audio", "absent.wav") == 1
    assert "cannot read absent.wav" in capsys.readouterr().err


async def test_prompt_takes_text_files_and_commands(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "\nhello there\n/cancel\n/say clip.wav\n/say absent.wav\n/what\nbye\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))

    code = await run(server, "-i")

    kinds = [event["type"] for event in server.received if event["type"] != "session.update"]
    spoken = [kind for kind in kinds if kind == "input_audio_buffer.append"]
    others = [kind for kind in kinds if kind != "input_audio_buffer.append"]
    turn = ["conversation.item.create", "response.create"]
    assert code == 0
    assert spoken
    assert others == [*turn, "response.cancel", *turn]
    printed = capsys.readouterr().out
    assert "cannot read absent.wav" in printed
    assert printed.count(test_client.HELP) == 2


async def test_prompt_outlives_errors(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fault = "error"
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n/quit\nthree\n"))

    assert await run(server, "--interactive") == 0
    assert capsys.readouterr().out.count("not like this") == 2


def test_nobody_listening_says_how_to_start_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/v1/realtime"
        assert test_client.main(["--url", url]) == 1
    error = capsys.readouterr().err
    assert url in error
    assert "python main.py" in error


async def test_refused_upgrade_names_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(connection: ServerConnection, _request: object) -> Any:
        return connection.respond(401, "")

    async def nothing(_connection: ServerConnection) -> None:
        return

    async with serve(nothing, "127.0.0.1", 0, process_request=refuse) as listening:
        url = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}/"
        assert await asyncio.to_thread(test_client.main, ["--url", url]) == 1
    assert "HTTP 401" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--dialect", "gamma"], ["-i", "--audio", "a.wav"]])
def test_wrong_use_exits_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        test_client.main(arguments)
    assert stop.value.code == 2


async def test_key_of_the_environment_is_sent(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    assert await run(server) == 0
    assert server.headers["Authorization"] == "Bearer from-environment"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            {"type": "session.created", "session": {"id": "sess_abcdefghij", "model": "m"}},
            "…efghij m",
        ),
        (
            {
                "type": "response.output_audio.delta",
                "item_id": "item_abcdefghij",
                "delta": "AAAA" * 16,
            },
            "…efghij 1 ms",
        ),
        (
            {"type": "response.audio.delta", "item_id": "i", "delta": "AAAA" * 32},
            "i 2 ms",
        ),
        ({"type": "response.output_text.delta", "delta": "你好\n"}, "'你好\\n'"),
        (
            {"type": "input_audio_buffer.speech_started", "item_id": "i", "audio_start_ms": 0},
            "i audio_start_ms=0",
        ),
        (
            {
                "type": "error",
                "error": {"code": "invalid_value", "message": "no", "param": "session.x"},
            },
            "invalid_value no session.x",
        ),
        (
            {
                "type": "conversation.item.done",
                "item": {"id": "i", "role": "user", "content": [{"transcript": "hi"}]},
            },
            "i user 'hi'",
        ),
        (
            {
                "type": "response.done",
                "response": {
                    "id": "r",
                    "status": "cancelled",
                    "status_details": {"reason": "turn_detected"},
                    "usage": {"total_tokens": 7},
                },
            },
            "r cancelled turn_detected total_tokens=7",
        ),
        ({"type": "input_audio_buffer.cleared"}, ""),
    ],
)
def test_line_shows_the_telling_fields(event: Event, words: str) -> None:
    assert test_client.describe(event) == words


def test_lines_are_aligned_and_cut_only_on_request() -> None:
    event = {"type": "response.output_text.delta", "delta": "x" * 200}
    transcribed = {"type": test_client.TRANSCRIBED, "transcript": "y"}

    def line(shown: Event, **options: Any) -> str:
        chosen = {"sent": False, "colour": False, "width": 0} | options
        return test_client.format_line(shown, 1.2345, **chosen)

    assert line(event).index("'x") == line(transcribed).index("'y")
    assert line(event).startswith("   1.234 s <- response.output_text.delta ")
    assert line(event, sent=True).startswith("   1.234 s -> ")
    assert len(line(event, width=80)) == 80
    assert line(event, width=80).endswith("…")
    assert "\x1b" not in line(event)
    assert line(event, colour=True).endswith("\x1b[0m")
