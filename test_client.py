"""Command-line client that proves a running server over the wire: audio in, events out, exit code.

It knows the Realtime wire protocol only, so it runs unchanged against any server that speaks it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import ssl
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

import audio_utils

Event = dict[str, Any]

RATE_HZ = 24_000
BYTES_PER_MS = RATE_HZ * 2 // 1000
CHUNK_MS = 20
CHUNK_BYTES = CHUNK_MS * BYTES_PER_MS
TAIL_MS = 1000
"""Silence always sent after a file: speech at its very end is reported only some time later."""
LOUD_SHARE = 0.02
"""A chunk whose peak is above this share of the file's peak counts as speech."""
SPEECH = Path(__file__).resolve().parent / "tests" / "fixtures" / "weather.wav"
TYPED_TEXT = "Hello, who is there?"
TOOL_QUESTION = "What is the weather in Paris?"
CITY: Event = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER_TOOL: Event = {
    "type": "function",
    "name": "get_weather",
    "description": "Returns the current weather of a city.",
    "parameters": CITY,
}
STARTED = "input_audio_buffer.speech_started"
STOPPED = "input_audio_buffer.speech_stopped"
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
HELP = "Type a message, or: /say FILE (stream a WAV or FLAC file) · /cancel · /help · /quit"


class Failure(Exception):
    """The run cannot succeed; the message is the one line the user sees."""


# --- the two dialects -----------------------------------------------------------------------

BETA_PREFIXES = ("response.text.", "response.audio.", "response.audio_transcript.")


def ga_name(event_type: str) -> str:
    """The GA name of a server event of either dialect."""
    if event_type.startswith(BETA_PREFIXES):
        return event_type.replace("response.", "response.output_", 1)
    return event_type


def session_update(dialect: str, tools: list[Event]) -> Event:
    """A `session.update` with server VAD and transcription on, in the shape of `dialect`."""
    detection, transcription = {"type": "server_vad"}, {"model": "whisper-1"}
    session: Event = {"tools": tools, "tool_choice": "auto"}
    if dialect == "beta":
        session |= {"modalities": ["audio", "text"], "turn_detection": detection}
        session |= {"input_audio_transcription": transcription}
    else:
        audio = {"input": {"turn_detection": detection, "transcription": transcription}}
        session |= {"type": "realtime", "output_modalities": ["audio"], "audio": audio}
    return {"type": "session.update", "session": session}


def response_create(dialect: str, *, text_only: bool = False) -> Event:
    """A `response.create`, spoken or as text only."""
    key = "modalities" if dialect == "beta" else "output_modalities"
    return {"type": "response.create"} | ({"response": {key: ["text"]}} if text_only else {})


def user_message(text: str) -> Event:
    """A `conversation.item.create` with a typed user message."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return {"type": "conversation.item.create", "item": item}


# --- one line per event ---------------------------------------------------------------------

TYPE_WIDTH = len(TRANSCRIBED)
FIELDS = """
    error.code error.message error.param session.id session.model
    response.id response.status response.status_details.reason
    response.status_details.error.message response.usage.total_tokens
    item_id item.id item.type item.role item.status item.name item.arguments item.output
    item.content.0.text item.content.0.transcript part.type part.text part.transcript
    audio_start_ms audio_end_ms name arguments delta text transcript audio
"""
"""Paths of the fields worth a look, in the order they are printed."""
COLOURS = {
    "error": "31",
    "response.done": "32",
    "input_audio_buffer.": "33",
    "conversation.item.input_audio_transcription.": "35",
    "response.output_": "2",
}


def look_up(value: Any, path: str) -> Any:
    """The value at a dotted path of JSON, None where there is none."""
    for key in path.split("."):
        if isinstance(value, dict):
            value = value.get(key)
        else:
            value = value[0] if isinstance(value, list) and value else None
    return value


def describe(event: Event) -> str:
    """The telling fields: ids cut to their end, audio as its length, text quoted."""
    words: list[str] = []
    for path in FIELDS.split():
        value, label = look_up(event, path), path.rsplit(".", 1)[-1]
        if value is None or isinstance(value, dict | list):
            continue
        if path.endswith("id"):
            words.append(value if len(value) <= 8 else "…" + value[-6:])
        elif path == "delta" and ga_name(event["type"]) == "response.output_audio.delta":
            words.append(f"{len(base64.b64decode(value)) // BYTES_PER_MS} ms")
        elif label in {"text", "transcript", "delta", "arguments", "output"}:
            words.append(repr(value))
        else:
            words.append(f"{label}={value}" if isinstance(value, int) else " ".join(value.split()))
    return " ".join(words)


def format_line(event: Event, elapsed_s: float, *, sent: bool, colour: bool, width: int) -> str:
    """Time, direction, type and telling fields; cut at `width` columns unless it is 0."""
    kind = str(event["type"])
    arrow = "->" if sent else "<-"
    line = f"{elapsed_s:8.3f} s {arrow} {kind:<{TYPE_WIDTH}} {describe(event)}".rstrip()
    if width and len(line) > width:
        line = line[: width - 1] + "…"
    codes = (code for prefix, code in COLOURS.items() if ga_name(kind).startswith(prefix))
    code = "36" if sent else next(codes, "")
    return f"\x1b[{code}m{line}\x1b[0m" if colour and code else line


# --- the session as the wire shows it -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrival:
    """A server event, the GA name of its type, and its `time.monotonic()` of arrival."""

    kind: str
    event: Event
    at_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What one response has brought so far; times are `time.monotonic()` seconds."""

    status: str
    text: str
    pcm: bytes
    calls: list[Event]
    first_text_s: float | None
    first_audio_s: float | None


class Session:
    """One connection: sends events, prints and remembers those that come back.

    Args:
        socket: The open WebSocket.
        dialect: `ga` or `beta`.
        timeout_s: Longest silence of the server while something is expected of it.
        lenient: Whether `error` events and failed responses are only shown.
    """

    def __init__(
        self, socket: ClientConnection, dialect: str, timeout_s: float, *, lenient: bool = False
    ) -> None:
        self.dialect, self.timeout_s = dialect, timeout_s
        self._socket, self._lenient = socket, lenient
        self._arrivals: list[Arrival] = []
        self._news, self._ended = asyncio.Event(), asyncio.Event()
        self._failure: Failure | None = None
        self._start_s = time.monotonic()

    def show(self, event: Event, *, sent: bool) -> None:
        """Prints an event; in colour and cut to the width of the terminal only if there is one."""
        terminal = sys.stdout.isatty()
        colour = terminal and not os.environ.get("NO_COLOR")
        width = shutil.get_terminal_size().columns if terminal else 0
        elapsed_s = time.monotonic() - self._start_s
        print(format_line(event, elapsed_s, sent=sent, colour=colour, width=width), flush=True)

    async def send(self, event: Event, *, show: bool = True) -> None:
        """Sends one client event; fails when anything has gone wrong so far."""
        if show:
            self.show(event, sent=True)
        try:
            await self._socket.send(json.dumps(event))
        except ConnectionClosed:
            await self._ended.wait()
        self._check()

    async def until(self, met: Callable[[], bool], missing: str, *, forever: bool = False) -> None:
        """Waits for a condition; fails when the server stays silent for `timeout_s`."""
        self._check()
        while not met():
            self._news.clear()
            try:
                async with asyncio.timeout(None if forever else self.timeout_s):
                    await self._news.wait()
            except TimeoutError:
                message = f"timeout: missing {missing}, nothing came for {self.timeout_s:g} s"
                raise Failure(message) from None
            self._check()

    async def more(self, than: int, *kinds: str) -> None:
        """Waits until more than so many events of these types have come since the start."""
        await self.until(lambda: self.count(*kinds) > than, kinds[0])

    def wake(self) -> None:
        """Lets `until` look again."""
        self._news.set()

    async def read(self) -> None:
        """Takes in server events until the connection ends."""
        try:
            async for message in self._socket:
                self._take(message)
                self.wake()
            self._fail("the server closed the connection")
        except ConnectionClosed as closed:
            frame = closed.rcvd
            why = f"{frame.code} {frame.reason}" if frame else "without a word"
            self._fail(f"the server closed the connection: {why}")
        finally:
            self._ended.set()
            self.wake()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, message: str) -> None:
        self._failure = self._failure or Failure(message)

    def _take(self, message: str | bytes) -> None:
        try:
            event = json.loads(message)
            self.show(event, sent=False)
            kind = ga_name(event["type"])
            bad = kind == "error" or kind.endswith("transcription.failed")
            bad = bad or look_up(event, "response.status") in {"failed", "incomplete"}
            if bad and not self._lenient:
                self._fail(f"{kind}: {describe(event)}")
            self._arrivals.append(Arrival(kind, event, time.monotonic()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._fail(f"the server sent an event that cannot be read: {error!r}")

    def all(self, kind: str) -> list[Arrival]:
        """Everything of one type so far."""
        return [arrival for arrival in self._arrivals if arrival.kind == kind]

    def count(self, *kinds: str) -> int:
        """How many of these types have come."""
        return sum(arrival.kind in kinds for arrival in self._arrivals)

    def replies(self) -> list[Reply]:
        """All responses so far, in the order they were created."""
        return [self._reply(made.event["response"]["id"]) for made in self.all("response.created")]

    def _reply(self, response_id: str) -> Reply:
        status, text, pcm, calls = "in_progress", "", b"", list[Event]()
        text_s: float | None = None
        audio_s: float | None = None
        for arrival in self._arrivals:
            event = arrival.event
            if response_id not in (event.get("response_id"), look_up(event, "response.id")):
                continue
            match arrival.kind:
                case "response.output_text.delta" | "response.output_audio_transcript.delta":
                    text, text_s = text + event["delta"], text_s or arrival.at_s
                case "response.output_audio.delta":
                    pcm, audio_s = pcm + base64.b64decode(event["delta"]), audio_s or arrival.at_s
                case "response.output_item.done" if event["item"]["type"] == "function_call":
                    calls.append(event["item"])
                case "response.done":
                    status = event["response"]["status"]
                case _:
                    pass
        return Reply(status, text, pcm, calls, text_s, audio_s)


# --- turns ----------------------------------------------------------------------------------


def latency(start_s: float, end_s: float | None) -> str:
    """A span of time for people."""
    return "–" if end_s is None else f"{(end_s - start_s) * 1000:.0f} ms"


async def configure(session: Session, tools: list[Event]) -> None:
    """Sends the session settings and waits until they are in force."""
    known = session.count("session.updated")
    await session.send(session_update(session.dialect, tools))
    await session.more(known, "session.updated")


async def completed_reply(session: Session, index: int) -> Reply:
    """Waits until the response number `index` has come and is done."""
    await session.more(index, "response.created")
    await session.more(index, "response.done")
    reply = session.replies()[index]
    if reply.status != "completed":
        raise Failure(f"the response is {reply.status} instead of completed")
    return reply


async def ask(session: Session, item: Event, *, text_only: bool = False) -> tuple[float, Reply]:
    """Adds an item and has it answered; returns when it was asked, and the reply."""
    known, asked_s = session.count("response.created"), time.monotonic()
    await session.send(item)
    await session.send(response_create(session.dialect, text_only=text_only))
    return asked_s, await completed_reply(session, known)


async def typed_turn(session: Session) -> str:
    """A typed message, answered as text; returns a line for the summary, as all turns do."""
    asked_s, reply = await ask(session, user_message(TYPED_TEXT), text_only=True)
    if not reply.text:
        raise Failure("the typed turn got no text")
    return f"typed turn   first text after {latency(asked_s, reply.first_text_s)}: {reply.text!r}"


def load(path: Path) -> list[bytes]:
    """A sound file in chunks of `CHUNK_MS`, PCM at `RATE_HZ`."""
    try:
        pcm = audio_utils.read_audio(path, RATE_HZ)
    except (OSError, ValueError, RuntimeError) as error:
        raise Failure(f"cannot read {path}: {error}") from error
    return [pcm[start : start + CHUNK_BYTES] for start in range(0, len(pcm), CHUNK_BYTES)]


async def stream(session: Session, chunks: list[bytes], done: Callable[[], bool]) -> float:
    """Streams audio in real time, then silence until `done`; returns when its speech ended."""
    peaks = [max(map(abs, array("h", chunk))) for chunk in chunks]
    floor = LOUD_SHARE * max(peaks, default=0)
    last_loud = max((number for number, peak in enumerate(peaks) if peak > floor), default=0)
    note = f"{len(chunks) * CHUNK_MS} ms in real time"
    session.show({"type": "input_audio_buffer.append", "audio": note}, sent=True)
    tail_end = len(chunks) + TAIL_MS // CHUNK_MS
    start_s = end_s = time.monotonic()
    for number in range(tail_end + int(session.timeout_s * 1000 / CHUNK_MS)):
        if number >= tail_end and done():
            break
        await asyncio.sleep(start_s + (number + 1) * CHUNK_MS / 1000 - time.monotonic())
        chunk = chunks[number] if number < len(chunks) else bytes(CHUNK_BYTES)
        audio = base64.b64encode(chunk).decode()
        await session.send({"type": "input_audio_buffer.append", "audio": audio}, show=False)
        end_s = time.monotonic() if number <= last_loud else end_s
    return end_s


async def spoken_turn(session: Session, path: Path) -> str:
    """Streams a file under server VAD; each turn in it must be transcribed and answered."""

    def ended() -> bool:
        return 0 < session.count(STARTED) == session.count(STOPPED)

    known = session.count("response.created")
    end_s = await stream(session, load(path), ended)
    if not session.count(STARTED):
        raise Failure(f"missing {STARTED}: the server heard no speech in {path.name}")
    await session.until(ended, STOPPED)
    turns = session.all(STOPPED)
    await session.more(len(turns) - 1, TRANSCRIBED)
    # Where the file pauses, the next turn interrupts the reply before: only the last one counts.
    reply = await completed_reply(session, known + len(turns) - 1)
    if not reply.pcm:
        raise Failure("the spoken turn got no audio")
    words = " / ".join(arrival.event["transcript"] for arrival in session.all(TRANSCRIBED))
    times = f"speech_stopped {latency(end_s, turns[-1].at_s)}"
    times += f" and first audio {latency(end_s, reply.first_audio_s)} after the end of speech"
    return f"spoken turn  {times}: {words!r} -> {reply.text!r}"


def call_output(call: Event) -> Event:
    """The answer to a `get_weather` call."""
    try:
        city = json.loads(call["arguments"])["city"]
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"the call's arguments do not fit its schema: {error!r}") from error
    output = json.dumps({"city": city, "temp_c": 21, "conditions": "sunny"})
    item = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
    return {"type": "conversation.item.create", "item": item}


async def tool_turn(session: Session) -> str:
    """A question that needs `get_weather`: the call, its output, the spoken answer."""
    await configure(session, [WEATHER_TOOL])
    asked_s, reply = await ask(session, user_message(TOOL_QUESTION))
    called = latency(asked_s, time.monotonic())
    if not reply.calls:
        raise Failure("missing function call: get_weather was not called")
    *others, last = [call_output(call) for call in reply.calls]
    for output in others:
        await session.send(output)
    answered_s, answer = await ask(session, last)
    if not answer.pcm:
        raise Failure("the answer to the function call got no audio")
    audio = latency(answered_s, answer.first_audio_s)
    return f"tool call    call after {called}, output -> first audio {audio}: {answer.text!r}"


# --- interactive ----------------------------------------------------------------------------


def stdin_lines(wake: Callable[[], None]) -> deque[str]:
    """A queue that fills with the lines of stdin; /quit stands for its end.

    A daemon thread reads them: no event loop can await a console on every system.
    """
    lines: deque[str] = deque()
    loop = asyncio.get_running_loop()

    def put(line: str) -> None:
        lines.append(line)
        wake()

    def pump() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(put, line)
        loop.call_soon_threadsafe(put, "/quit")

    threading.Thread(target=pump, name="stdin", daemon=True).start()
    return lines


async def interactive(session: Session) -> list[str]:
    """Carries out the lines of stdin; waits for each reply only when no person is typing."""
    answers = ("response.created", "error")

    def idle() -> bool:
        return session.count("response.created") == session.count("response.done")

    def silent() -> bool:
        return session.count(STARTED) == session.count(STOPPED)

    await configure(session, [])
    print(HELP)
    lines = stdin_lines(session.wake)
    while True:
        await session.until(lambda: bool(lines), "input", forever=True)
        line, known = lines.popleft().strip(), session.count(*answers)
        match line.split(maxsplit=1):
            case []:
                continue
            case ["/quit"]:
                return []
            case ["/cancel"]:
                await session.send({"type": "response.cancel"})
                continue
            case ["/say", path]:
                turns = session.count(STARTED)
                try:
                    chunks = load(Path(path))
                except Failure as failure:
                    print(failure)
                    continue
                await stream(session, chunks, silent)
                if session.count(STARTED) == turns:
                    continue
            case [word, *_] if word.startswith("/"):
                print(HELP)
                continue
            case _:
                if not idle():
                    await session.send({"type": "response.cancel"})
                    await session.until(idle, "response.done")
                known = session.count(*answers)
                await session.send(user_message(line))
                await session.send(response_create(session.dialect))
        await session.more(known, *answers)
        if not sys.stdin.isatty():
            await session.until(idle, "response.done")


# --- command line ---------------------------------------------------------------------------


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line as options."""
    parser = argparse.ArgumentParser(
        description="Holds a conversation with a Realtime server and shows every event.",
        epilog="Without --audio and -i: a typed turn, a spoken turn and a tool call. "
        "Exit code: 0 all well, 1 anything failed, 2 wrong use.",
    )
    add = parser.add_argument
    add("--url", default="ws://127.0.0.1:8000/v1/realtime", help="default: %(default)s")
    add("--model", default="gpt-realtime", help="sent as ?model= (default: %(default)s)")
    add("--api-key", help="default: the variable API_KEY, then OPENAI_API_KEY")
    add("--dialect", choices=("ga", "beta"), default="ga", help="default: %(default)s")
    add("--output", type=Path, default=Path("reply.wav"), help="default: %(default)s")
    add("--timeout", type=float, default=30, help="longest silence, seconds (default: %(default)s)")
    add("--insecure", action="store_true", help="accept any certificate on wss://")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--audio", type=Path, metavar="FILE", help="stream a WAV or FLAC file")
    mode.add_argument("-i", "--interactive", action="store_true", help="take turns from a prompt")
    return parser.parse_args(arguments)


async def scripted(session: Session) -> list[str]:
    """The scripted conversation; returns its summary."""
    await configure(session, [])
    return [await typed_turn(session), await spoken_turn(session, SPEECH), await tool_turn(session)]


async def converse(session: Session, options: argparse.Namespace) -> list[str]:
    """Runs what the options ask for; returns the summary."""
    await session.more(0, "session.created")
    if options.interactive:
        return await interactive(session)
    if options.audio is None:
        return await scripted(session)
    await configure(session, [])
    return [await spoken_turn(session, options.audio)]


def save_speech(session: Session, path: Path) -> list[str]:
    """Writes everything the server has said to one WAV; returns a line for the summary."""
    pcm = b"".join(reply.pcm for reply in session.replies())
    if not pcm:
        return []
    try:
        audio_utils.write_wav(path, pcm, RATE_HZ)
    except (OSError, RuntimeError) as error:
        raise Failure(f"cannot write {path}: {error}") from error
    return [f"{len(pcm) / BYTES_PER_MS / 1000:.1f} s of speech saved to {path}"]


def connection(options: argparse.Namespace) -> connect:
    """The connection the options describe, not yet opened."""
    url = options.url
    if "model=" not in url:
        url += f"{'&' if '?' in url else '?'}model={quote(options.model)}"
    key = options.api_key or os.environ.get("API_KEY") or os.environ.get("OPENAI_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if options.dialect == "beta":
        headers["OpenAI-Beta"] = "realtime=v1"
    trust: dict[str, Any] = {}
    if options.insecure and url.startswith("wss:"):
        context = trust["ssl"] = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # A proxy named in the environment cannot reach a server on this machine.
    local = urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
    proxy: Literal[True] | None = None if local else True
    timeout_s = options.timeout
    limits: dict[str, Any] = {"max_size": None, "compression": None, "open_timeout": timeout_s}
    return connect(url, additional_headers=headers, proxy=proxy, **trust, **limits)


async def run(options: argparse.Namespace) -> list[str]:
    """Connects, converses, and saves what was said; returns the summary."""
    failure: Failure | None = None
    summary: list[str] = []
    async with connection(options) as socket:
        lenient = options.interactive
        session = Session(socket, options.dialect, options.timeout, lenient=lenient)
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(session.read(), name="reader")
            try:
                summary = await converse(session, options)
            except Failure as error:  # else the group would wrap it
                failure = error
            finally:
                reader.cancel()
    if failure is not None:
        raise failure
    return summary + save_speech(session, options.output)


def main(arguments: list[str] | None = None) -> int:
    """Runs the client; returns the exit code."""
    options = parse(arguments)
    try:
        summary = asyncio.run(run(options))
    except KeyboardInterrupt:
        return 130
    except ExceptionGroup as group:
        if group.subgroup(BrokenPipeError) is None:
            raise
        # `| head` has read enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Failure as failure:
        reason = str(failure)
    except ssl.SSLCertVerificationError as error:
        reason = f"the server's certificate is not trusted: {error.verify_message} (see --insecure)"
    except InvalidStatus as error:
        reason = f"the server refused the connection with HTTP {error.response.status_code}"
    except (InvalidURI, InvalidHandshake, ValueError) as error:
        reason = f"cannot connect to {options.url}: {error}"
    except OSError as error:
        why = "connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
        reason = f"cannot connect to {options.url}: {why}"
        reason += "\nIs the server running? Start it with: python main.py"
    else:
        print("", "OK", *summary, sep="\n")
        return 0
    print(f"\nFAILED: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
