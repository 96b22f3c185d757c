"""Terminal client for talking with a Realtime server: microphone, speaker, live conversation.

It knows the wire protocol only, so it talks to this project's server and to OpenAI's alike.
"""

from __future__ import annotations

import abc
import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import os
import sys
import threading
import time
import wave
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

import audio_utils
from audio_utils import PIPELINE_HZ as RATE_HZ
from audio_utils import bytes_to_ms, ms_to_bytes

try:
    from textual.app import App, ComposeResult
    from textual.binding import Binding
    from textual.containers import Horizontal, VerticalScroll
    from textual.content import Content
    from textual.widgets import Footer, Static
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing}: pip install -r requirements-client.txt") from None

Event = dict[str, Any]

USE_LOCAL_SERVER = True
"""False talks to OpenAI's own service, as `--openai` does; it needs OPENAI_API_KEY."""
LOCAL_URL = "ws://127.0.0.1:8000/v1/realtime"
OPENAI_URL = "wss://api.openai.com/v1/realtime"
CHUNK_MS = 20
CHUNK_BYTES = ms_to_bytes(CHUNK_MS)
BACKOFF_S = (0.5, 1, 2, 4, 8, 15)
"""Pauses before each further attempt to connect; the last one is repeated."""
ECHO_TAIL_S = 0.3
"""How long a room still echoes what the speaker said; half-duplex stays deaf meanwhile."""
REFUSALS = {3000: "check the key (--api-key)", 4000: "check --model and --url"}
"""Codes that close a connection which the next attempt would only repeat, and what may help."""
SHORTEST_MS = 100
"""Servers refuse to commit less audio."""
SERVER_VAD: Event = {"type": "server_vad", "create_response": True, "interrupt_response": True}
CALLS = {"function_call", "mcp_call"}


# --- tools the model may call ---------------------------------------------------------------


def tool(name: str, description: str, **parameters: str) -> Event:
    """A function as `session.update` declares it; all its parameters are required strings."""
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {"type": "function", "name": name, "description": description, "parameters": schema}


TOOLS: list[Event] = [
    tool("get_current_time", "Returns the local date and time of the user."),
    tool("get_weather", "Returns the current weather (a made-up sample).", city="Name of a city"),
]


def run_tool(name: str, arguments: str) -> Event:
    """What a tool returns; an object with `error` when it cannot be called like this."""
    try:
        match name:
            case "get_current_time":
                return {"now": datetime.now().astimezone().isoformat(timespec="seconds")}
            case "get_weather":
                return {"city": json.loads(arguments)["city"], "temp_c": 21, "sky": "sunny"}
            case _:
                return {"error": f"there is no function {name}"}
    except (ValueError, KeyError, TypeError):
        return {"error": "the arguments do not fit the function's schema"}


# --- audio ----------------------------------------------------------------------------------

Listener = Callable[[bytes], None]
"""Takes the next `CHUNK_MS` of the microphone."""


class AudioError(Exception):
    """There is nothing to hear or speak with; the message says why and what to do."""


@dataclass(slots=True)
class Clip:
    """Audio of one item: what is still to be played, and how much has been."""

    item_id: str
    content_index: int
    pending: bytearray = field(default_factory=bytearray)
    played_bytes: int = 0
    whole: bool = False


class Playback:
    """Replies on their way to the speaker; PortAudio takes them from a thread of its own."""

    def __init__(self) -> None:
        self.level = 0.0
        self.delay_s = 0.0
        """How long after `pull` a sample is heard."""
        self._clips: deque[Clip] = deque()
        self._sounded_at_s = float("-inf")
        self._lock = threading.Lock()

    def add(self, item_id: str, content_index: int, pcm: bytes) -> None:
        """Queue audio behind what is there."""
        with self._lock:
            if not self._clips or self._clips[-1].item_id != item_id:
                self._clips.append(Clip(item_id, content_index))
            self._clips[-1].pending += pcm

    def finish(self, item_id: str) -> None:
        """No more audio comes for an item: once played out, it cannot be interrupted."""
        with self._lock:
            for clip in self._clips:
                clip.whole = clip.whole or clip.item_id == item_id

    def pull(self, length_bytes: int) -> bytes:
        """The next samples to be heard, silence where there are none."""
        with self._lock:
            pcm = bytearray()
            while self._clips and len(pcm) < length_bytes:
                clip = self._clips[0]
                part = clip.pending[: length_bytes - len(pcm)]
                del clip.pending[: len(part)]
                clip.played_bytes += len(part)
                pcm += part
                if clip.pending or (not clip.whole and len(self._clips) == 1):
                    break
                self._clips.popleft()
            if pcm:
                self._sounded_at_s = time.monotonic()
            self.level = loudness(bytes(pcm))
            return bytes(pcm).ljust(length_bytes, b"\0")

    def stop(self) -> list[tuple[Clip, int]]:
        """Fall silent at once; returns each clip not played to its end, and the ms heard of it."""
        with self._lock:
            cut = [clip for clip in self._clips if clip.pending or not clip.whole]
            self._clips.clear()
        unheard_ms = round(self.delay_s * 1000)
        return [(clip, max(0, bytes_to_ms(clip.played_bytes) - unheard_ms)) for clip in cut]

    def sounding(self, tail_s: float = 0.0) -> bool:
        """Whether a reply is to be heard now, or was within the last `tail_s`."""
        with self._lock:
            if any(clip.pending for clip in self._clips):
                return True
        return time.monotonic() - self._sounded_at_s < tail_s + self.delay_s


class Audio(abc.ABC):
    """Where speech comes from and replies go to."""

    def __init__(self, clips: int = 0) -> None:
        self.playback = Playback()
        self.clips = clips
        """How many recordings there are to be spoken on demand."""

    @abc.abstractmethod
    async def run(self, listener: Listener) -> None:
        """Record and play until cancelled; raises AudioError if that cannot be."""

    def speak(self, *, again: bool) -> None:  # noqa: B027  (a microphone has nothing to repeat)
        """Speak the next recording, unless one is being spoken and `again` is false."""


class DeviceAudio(Audio):
    """Microphone and speaker of this machine."""

    async def run(self, listener: Listener) -> None:
        try:
            import sounddevice
        except ModuleNotFoundError:
            reason = "sounddevice is missing (pip install -r requirements-client.txt)"
            raise AudioError(reason) from None
        except OSError as error:
            raise AudioError(f"{error} (Debian, Ubuntu: apt-get install libportaudio2)") from None
        loop, gone = asyncio.get_running_loop(), asyncio.Event()

        def record(indata: Any, _frames: int, _time: Any, _status: Any) -> None:
            loop.call_soon_threadsafe(listener, bytes(indata))

        def play(outdata: Any, _frames: int, _time: Any, _status: Any) -> None:
            outdata[:] = self.playback.pull(len(outdata))

        settings: dict[str, Any] = {
            "samplerate": RATE_HZ,
            "channels": 1,
            "dtype": "int16",
            "blocksize": audio_utils.ms_to_samples(CHUNK_MS),
            "finished_callback": lambda: loop.call_soon_threadsafe(gone.set),
        }
        try:
            with (
                sounddevice.RawInputStream(callback=record, **settings),
                sounddevice.RawOutputStream(callback=play, **settings) as speaker,
            ):
                self.playback.delay_s = cast(float, speaker.latency)
                await gone.wait()
        except (sounddevice.PortAudioError, ValueError) as error:
            reason = f"{error} (python -m sounddevice lists the devices)"
            raise AudioError(reason) from None
        raise AudioError("the audio device has gone")


class FileAudio(Audio):
    """Recordings in place of a microphone and a WAV file in place of a speaker, in real time.

    Raises:
        AudioError: a file cannot be read or written.
    """

    def __init__(self, inputs: list[Path], output: Path | None) -> None:
        super().__init__(len(inputs))
        try:
            speech = [audio_utils.read_audio(path, RATE_HZ) for path in inputs]
            if output is not None:
                output.touch()
        except (OSError, RuntimeError) as error:
            raise AudioError(str(error)) from error
        self._output = output
        self._speech = itertools.cycle(speech)
        self._rest = memoryview(b"")

    async def run(self, listener: Listener) -> None:
        start_s = time.monotonic()
        with contextlib.ExitStack() as stack:
            wav: wave.Wave_write | None = None
            if self._output is not None:
                wav = stack.enter_context(wave.open(str(self._output), "wb"))
                wav.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
            for number in itertools.count(1):
                await asyncio.sleep(start_s + number * CHUNK_MS / 1000 - time.monotonic())
                spoken, self._rest = self._rest[:CHUNK_BYTES], self._rest[CHUNK_BYTES:]
                heard = self.playback.pull(CHUNK_BYTES)
                if wav is not None:
                    wav.writeframes(heard)  # keeps the header right: a crash loses nothing
                listener(bytes(spoken).ljust(CHUNK_BYTES, b"\0"))

    def speak(self, *, again: bool) -> None:
        if self.clips and (again or not self._rest):
            self._rest = memoryview(next(self._speech))


def loudness(pcm: bytes) -> float:
    """Peak of some PCM16 from 0 (-60 dBFS or less) to 1 (full scale)."""
    samples = abs(audio_utils.pcm16_to_float32(pcm))
    peak = float(samples.max()) if samples.size else 0.0
    return 0.0 if peak <= 1e-3 else 1 + audio_utils.np.log10(peak).item() / 3


# --- connection -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose on the command line."""

    url: str = LOCAL_URL
    api_key: str | None = None
    model: str = "gpt-realtime"
    voice: str | None = None
    half_duplex: bool = False
    tools: bool = False


class Link:
    """Keeps a connection to the server, and opens another when it is lost.

    Args:
        options: Where to connect, and with which key.
        on_event: Takes each server event.
        on_end: Told once a connection has ended.
    """

    def __init__(
        self, options: Options, on_event: Callable[[Event], None], on_end: Callable[[], None]
    ) -> None:
        self.state: Literal["connecting", "connected", "waiting", "refused"] = "connecting"
        self.trouble = ""
        self.retry_at_s = 0.0
        self._options, self._on_event, self._on_end = options, on_event, on_end
        self._outbox: asyncio.Queue[Event] = asyncio.Queue()
        self._failures = 0

    def send(self, event: Event) -> None:
        """Send one client event; without a session it is dropped."""
        if self.state == "connected":
            self._outbox.put_nowait(event)

    async def run(self) -> None:
        """Stay connected until cancelled, or until the server refuses for good."""
        while self.state != "refused":
            self.state = "connecting"
            try:
                async with self._connection() as socket:
                    self.trouble = await self._converse(socket)
            except InvalidStatus as error:
                status = error.response.status_code
                self.trouble = f"the server answers HTTP {status}"
                if status in {401, 403}:
                    self.trouble += ", check the key (--api-key)"
                if 400 <= status < 500 and status not in {408, 425, 429}:
                    self.state = "refused"
            except (InvalidURI, ValueError) as error:
                self.state, self.trouble = "refused", str(error)
            except (OSError, InvalidHandshake, TimeoutError) as error:
                self.trouble = str(error) or type(error).__name__
                if "Connect call failed" in self.trouble:  # asyncio's words, on every system
                    self.trouble = "connection refused. Is the server running? (python main.py)"
            self._on_end()
            if self.state != "refused":
                await self._pause()

    async def _pause(self) -> None:
        pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        self.state, self.retry_at_s = "waiting", time.monotonic() + pause_s
        await asyncio.sleep(pause_s)

    def _connection(self) -> connect:
        url = self._options.url
        if "model=" not in url:
            url += f"{'&' if '?' in url else '?'}model={quote(self._options.model)}"
        key = self._options.api_key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy named in the environment cannot reach a server on this machine.
        local = urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
        proxy: Literal[True] | None = None if local else True
        limits: dict[str, Any] = {"max_size": None, "compression": None, "close_timeout": 2}
        return connect(url, additional_headers=headers, proxy=proxy, **limits)

    async def _converse(self, socket: ClientConnection) -> str:
        """Carries events both ways; returns why it ended."""
        self._outbox = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            sender = tasks.create_task(self._send_all(socket), name="sender")
            try:
                while True:
                    self._take(await socket.recv())
            except ConnectionClosed as closed:
                frame = closed.rcvd
                if frame and frame.code in REFUSALS:
                    self.state = "refused"
                    return f"the server refuses: {REFUSALS[frame.code]}"
                why = f": {frame.code} {frame.reason}".rstrip() if frame else ""
                return f"the connection was closed{why}"
            finally:
                sender.cancel()

    async def _send_all(self, socket: ClientConnection) -> None:
        while True:
            event = await self._outbox.get()
            try:
                await socket.send(json.dumps(event))
            except ConnectionClosed:
                return  # which the reader learns as well, with the reason

    def _take(self, message: str | bytes) -> None:
        try:
            event = json.loads(message)
            if event["type"] == "session.created":
                self.state, self._failures, self.trouble = "connected", 0, ""
        except (ValueError, KeyError, TypeError):
            event = {"type": "error", "error": {"message": "the server sent no readable event"}}
        self._on_event(event)


# --- conversation ---------------------------------------------------------------------------

Role = Literal["you", "assistant", "tool", "notice", "problem"]


class View(Protocol):
    """What a session shows of itself; entries are named by the ids of their items."""

    def write(self, entry: str, role: Role, text: str, *, append: bool = False) -> None:
        """Set or extend the text of an entry, which is added if it is new."""
        ...

    def remark(self, entry: str, text: str) -> None:
        """Add to the small print under an entry."""
        ...

    def remove(self, entry: str) -> None:
        """Take an entry away."""
        ...


@dataclass(slots=True)
class Turn:
    """When the user's last turn ended (`time.monotonic()`), and what has not come since."""

    ended_at_s: float
    waiting_for: set[str] = field(default_factory=lambda: {"transcript", "call", "words", "voice"})


class Session:
    """Both sides of the conversation: what the user does becomes events, and events are shown."""

    def __init__(self, options: Options, audio: Audio, view: View) -> None:
        self.id = ""
        self.audio = audio
        self.muted = self.recording = self.user_speaks = False
        self.level = 0.0
        self.link = Link(options, self._take_safely, self._lost)
        self._options, self._view = options, view
        self._silence_ms = 500
        self._sent_bytes = self._recorded_bytes = 0
        self._utterance = self._response = self._trouble = ""
        self._interrupted: set[str] = set()
        """Responses and items of which no more is to be heard."""
        self._turn: Turn | None = None
        self._notes = itertools.count(1)

    # --- what the user does

    def microphone(self, pcm: bytes) -> None:
        """Pass on what the microphone hears, as silence while it must not be heard.

        Silence, not nothing: turn detection ends an utterance only when it hears the pause.
        """
        echo = self._options.half_duplex and self.audio.playback.sounding(ECHO_TAIL_S)
        if self.muted or echo:
            pcm = bytes(len(pcm))
        self.level = loudness(pcm)
        if self.link.state == "connected":
            self._sent_bytes += len(pcm)
            self._recorded_bytes += len(pcm)
            audio = base64.b64encode(pcm).decode()
            self.link.send({"type": "input_audio_buffer.append", "audio": audio})

    def toggle_recording(self) -> None:
        """Start a push-to-talk recording, or have the one under way answered."""
        if self.link.state != "connected":
            return
        self.recording = not self.recording
        if self.recording:
            self._interrupt(cancel=True)
            self._drop_utterance()
            self._detect_turns(None)
            self.link.send({"type": "input_audio_buffer.clear"})
            self._recorded_bytes = 0
            self.audio.speak(again=False)
            return
        if bytes_to_ms(self._recorded_bytes) < SHORTEST_MS:
            self.link.send({"type": "input_audio_buffer.clear"})
            self.note("too short: nothing was sent")
        else:
            self.link.send({"type": "input_audio_buffer.commit"})
            self.link.send({"type": "response.create"})
            self._turn = Turn(time.monotonic())
        self._detect_turns(SERVER_VAD)

    def note(self, text: str, *, problem: bool = False) -> None:
        """Tell the user something that neither side said."""
        self._view.write(f"note {next(self._notes)}", "problem" if problem else "notice", text)

    @property
    def thinking(self) -> bool:
        """Whether a response is under way."""
        return bool(self._response)

    # --- what the server says

    def _take_safely(self, event: Event) -> None:
        try:
            self._take(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.note(f"cannot read the server's {event.get('type')}: {error!r}", problem=True)

    def _take(self, event: Event) -> None:
        view, item_id = self._view, event.get("item_id", "")
        match event["type"]:
            case "session.created":
                self._begin(event["session"].get("id", ""))
            case "session.updated":
                detection = event["session"].get("audio", {}).get("input", {}).get("turn_detection")
                self._silence_ms = (detection or {}).get("silence_duration_ms", self._silence_ms)
            case "input_audio_buffer.speech_started":
                self.user_speaks, self._utterance = True, item_id
                self._interrupt(cancel=False)
                view.write(item_id, "you", "…")
            case "input_audio_buffer.speech_stopped":
                self.user_speaks = False
                self._turn = Turn(self._speech_end_s(event["audio_end_ms"]))
            case "input_audio_buffer.committed":
                self._utterance = ""
                view.write(item_id, "you", "…")
            case "conversation.item.input_audio_transcription.delta":
                view.write(item_id, "you", event["delta"], append=True)
            case "conversation.item.input_audio_transcription.completed":
                view.write(item_id, "you", event["transcript"].strip() or "(nothing understood)")
                self._measure(item_id, "transcript")
            case "conversation.item.input_audio_transcription.failed":
                reason = event["error"].get("message")
                view.write(item_id, "problem", f"not transcribed: {reason}")
            case "response.created":
                self._response = event["response"]["id"]
            case "response.output_item.added" if event["item"]["type"] in CALLS:
                view.write(event["item"]["id"], "tool", f"{event['item']['name']}(…)")
                self._measure(event["item"]["id"], "call")
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                view.write(item_id, "assistant", event["delta"], append=True)
                self._measure(item_id, "words")
            case "response.output_audio.delta":
                self._hear(event)
            case "response.output_audio.done":
                self.audio.playback.finish(item_id)
            case "response.output_item.done":
                self._show_call(event["item"])
            case "response.done":
                self._end_response(event["response"])
            case "conversation.item.truncated":
                view.remark(item_id, f"interrupted after {event['audio_end_ms'] / 1000:.1f} s")
            case "error" if event["error"].get("code") != "response_cancel_not_active":
                # A response may end while its cancellation is on the way: nothing is wrong then.
                self.note(event["error"]["message"], problem=True)
            case _:
                pass

    def _begin(self, session_id: str) -> None:
        if self.id:
            self.note("a new session: the server remembers nothing said above")
        else:
            self.audio.speak(again=False)
        self.id, self._sent_bytes, self._trouble = session_id, 0, ""
        pcm = {"type": "audio/pcm", "rate": RATE_HZ}
        output: Event = {"format": pcm}
        if self._options.voice:
            output["voice"] = self._options.voice
        transcription = {"model": "whisper-1"}
        listen = {"format": pcm, "turn_detection": SERVER_VAD, "transcription": transcription}
        session: Event = {"audio": {"input": listen, "output": output}, "tool_choice": "auto"}
        session |= {"output_modalities": ["audio"], "tools": TOOLS if self._options.tools else []}
        self._update(session)

    def _update(self, session: Event) -> None:
        self.link.send({"type": "session.update", "session": {"type": "realtime"} | session})

    def _detect_turns(self, detection: Event | None) -> None:
        self._update({"audio": {"input": {"turn_detection": detection}}})

    def _lost(self) -> None:
        """Nothing of the old session is known to the next one."""
        if self.link.trouble != self._trouble:
            self._trouble = self.link.trouble
            self.note(f"{self._options.url}: {self._trouble}", problem=True)
        self.audio.playback.stop()
        self._drop_utterance()
        if self.recording:
            self.note("the recording was lost with the connection", problem=True)
        self.recording, self._response, self._turn = False, "", None

    def _drop_utterance(self) -> None:
        if self._utterance:
            self._view.remove(self._utterance)
        self.user_speaks, self._utterance = False, ""

    def _interrupt(self, *, cancel: bool) -> None:
        """Fall silent, and tell the server how much of its reply was heard."""
        if self._response:
            self._interrupted.add(self._response)
            if cancel:
                self.link.send({"type": "response.cancel"})
        for clip, heard_ms in self.audio.playback.stop():
            self._interrupted.add(clip.item_id)
            place = {"item_id": clip.item_id, "content_index": clip.content_index}
            truncate = {"type": "conversation.item.truncate", **place, "audio_end_ms": heard_ms}
            self.link.send(truncate)

    def _hear(self, event: Event) -> None:
        if event["response_id"] not in self._interrupted:
            pcm = base64.b64decode(event["delta"])
            self.audio.playback.add(event["item_id"], event["content_index"], pcm)
            self._measure(event["item_id"], "voice")

    def _show_call(self, item: Event) -> None:
        if item["type"] in CALLS:
            self._view.write(item["id"], "tool", f"{item['name']}({item['arguments']})")
            if item.get("output") or item.get("error"):
                self._view.remark(item["id"], f"→ {item.get('output') or item['error']}")

    def _end_response(self, response: Event) -> None:
        self._response = ""
        calls = [item for item in response["output"] if item["type"] == "function_call"]
        match response["status"]:
            case "failed":
                details = response.get("status_details") or {}
                reason = (details.get("error") or {}).get("message", "no reason given")
                self.note(f"the response failed: {reason}", problem=True)
            case "incomplete":
                self.note("the response was cut off by the server", problem=True)
            case "cancelled":
                for item in response["output"]:
                    if item["id"] not in self._interrupted:  # else its truncation says more
                        self._view.remark(item["id"], "interrupted")
            case "completed" if calls:
                for call in calls:
                    self._answer_call(call)
                self.link.send({"type": "response.create"})
            case _:
                pass

    def _answer_call(self, call: Event) -> None:
        output = json.dumps(run_tool(call["name"], call["arguments"]), ensure_ascii=False)
        answer = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
        self.link.send({"type": "conversation.item.create", "item": answer})
        self._view.remark(call["id"], f"→ {output}")

    # --- latency

    def _speech_end_s(self, audio_end_ms: int) -> float:
        """When the last word was spoken: detection adds its window of silence to the turn."""
        ago_ms = bytes_to_ms(self._sent_bytes) - (audio_end_ms - self._silence_ms)
        return time.monotonic() - max(0, ago_ms) / 1000

    def _measure(self, item_id: str, what: str) -> None:
        """Note, once a turn, how long after its end this came."""
        if self._turn is not None and what in self._turn.waiting_for:
            self._turn.waiting_for.remove(what)
            elapsed_ms = (time.monotonic() - self._turn.ended_at_s) * 1000
            self._view.remark(item_id, f"{what} after {elapsed_ms:.0f} ms")


# --- screen ---------------------------------------------------------------------------------


def printable(text: str) -> str:
    """Text without what could move the cursor or colour the terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def meter(label: str, level: float, width: int = 14) -> Content:
    """A level as a bar; red where it comes close to clipping."""
    lit = round(level * width)
    colour = "$error" if level > 0.97 else "$success"
    dark = ("▯" * (width - lit), "$foreground-disabled")
    return Content.assemble(f"{label} ", ("▮" * lit, colour), dark)


class Entry(Horizontal):
    """One thing said, called or reported, with small print below."""

    DEFAULT_CSS = """
    Entry { height: auto; margin-top: 1; }
    Entry > .role { width: 10; text-style: bold; }
    Entry > .said { width: 1fr; }
    Entry.you > .role { color: $accent; }
    Entry.assistant > .role { color: $success; }
    Entry.tool > .role { color: $warning; }
    Entry.problem > .role { color: $error; }
    Entry.notice { color: $text-muted; }
    """

    def __init__(self, role: Role) -> None:
        self.said = ""
        self.remarks: list[str] = []
        self._role, self._body = Static(classes="role"), Static(classes="said")
        super().__init__(self._role, self._body)
        self.write(role, "")

    def write(self, role: Role, said: str) -> None:
        """Show who says what; the small print stays."""
        self.said = said
        self.set_classes(role)
        self._role.update(role)
        self._refresh_body()

    def remark(self, text: str) -> None:
        """Add to the small print."""
        self.remarks.append(text)
        self._refresh_body()

    def _refresh_body(self) -> None:
        small = ("\n" + printable(" · ".join(self.remarks)), "$foreground-muted")
        self._body.update(Content.assemble(printable(self.said), small if self.remarks else ""))


class PushToTalkApp(App[None]):
    """The terminal client.

    Args:
        options: Where to connect, and how to behave.
        audio: Where speech comes from and goes to.
    """

    TITLE = "Realtime"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #status { height: 3; padding: 0 1; background: $panel; text-wrap: nowrap;
              text-overflow: ellipsis; }
    #conversation { padding: 0 1; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar = [
        Binding("k,K", "record", "Push to talk", key_display="K"),
        Binding("m,M", "mute", "Mute", key_display="M"),
        Binding("r,R", "speak", "Speak the file", key_display="R"),
        Binding("q,Q", "quit", "Quit", key_display="Q"),
    ]

    def __init__(self, options: Options, audio: Audio) -> None:
        super().__init__()
        self.options = options
        self.session = Session(options, audio, self)
        self._status, self._conversation = Static(id="status"), VerticalScroll(id="conversation")
        self._entries: dict[str, Entry] = {}

    def compose(self) -> ComposeResult:
        yield self._status
        yield self._conversation
        yield Footer()

    def on_mount(self) -> None:
        """Start everything that goes on by itself."""
        self._conversation.anchor()
        self.refresh_status()
        self.set_interval(0.1, self.refresh_status)
        self.run_worker(self._run_audio(), name="audio")
        self.run_worker(self.session.link.run(), name="link")

    async def _run_audio(self) -> None:
        try:
            await self.session.audio.run(self.session.microphone)
        except AudioError as error:
            hint = "Without one: --input QUESTION.wav --output REPLY.wav"
            self.session.note(f"No audio device: {error}. {hint}", problem=True)
            self.session.audio = FileAudio([], None)
            await self.session.audio.run(self.session.microphone)

    # --- keys

    def action_record(self) -> None:
        """Start or send a push-to-talk recording."""
        self.session.toggle_recording()
        self.refresh_status()

    def action_mute(self) -> None:
        """Close or open the microphone."""
        self.session.muted = not self.session.muted
        self.refresh_status()

    def action_speak(self) -> None:
        """Speak the next recording, from its beginning."""
        self.session.audio.speak(again=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to speak recordings only where there are any."""
        return action != "speak" or self.session.audio.clips > 0

    # --- status

    def refresh_status(self) -> None:
        """Show connection, session, who is speaking, and the levels."""
        session = self.session
        lines = [self._connection(), self._activity()]
        speaker = meter("speaker", session.audio.playback.level)
        lines.append(Content("   ").join([meter("mic", session.level), speaker]))
        self._status.update(Content("\n").join(lines))

    def _connection(self) -> Content:
        link = self.session.link
        match link.state:
            case "connected":
                dot, text = "$success", f"connected · {self.session.id} · {self.options.model}"
            case "connecting":
                dot, text = "$warning", f"connecting to {self.options.url}"
            case "waiting":
                left_s = max(0.0, link.retry_at_s - time.monotonic())
                dot, text = "$warning", f"reconnecting in {left_s:.0f} s · {link.trouble}"
            case "refused":
                dot, text = "$error", f"not connected · {link.trouble}"
        return Content.assemble(("● ", dot), printable(text))

    def _activity(self) -> Content:
        session = self.session
        if session.link.state != "connected":
            who, style = "nobody is listening", "$foreground-muted"
        elif session.recording:
            who, style = "recording: press K to send", "bold $error"
        elif session.user_speaks:
            who, style = "you are speaking", "bold $accent"
        elif session.audio.playback.sounding():
            who, style = "the assistant is speaking", "bold $success"
        elif session.thinking:
            who, style = "the assistant is thinking", "$success"
        else:
            who, style = "listening", "$foreground-muted"
        modes = ["push to talk" if session.recording else "hands-free"]
        modes += ["half-duplex"] if self.options.half_duplex else []
        muted = ("MUTED · ", "bold $error") if session.muted else ""
        return Content.assemble((f"{who:<28}", style), muted, " · ".join(modes))

    # --- the conversation, as the session shows it

    def write(self, entry: str, role: Role, text: str, *, append: bool = False) -> None:
        """Set or extend the text of an entry, which is added if it is new."""
        shown = self._entries.get(entry)
        if shown is None:
            if not self._conversation.is_attached:
                return  # the application is closing
            shown = self._entries[entry] = Entry(role)
            self._conversation.mount(shown)
        kept = shown.said if append and shown.said != "…" else ""
        shown.write(role, kept + text)

    def remark(self, entry: str, text: str) -> None:
        """Add to the small print under an entry."""
        if shown := self._entries.get(entry):
            shown.remark(text)

    def remove(self, entry: str) -> None:
        """Take an entry away."""
        if shown := self._entries.pop(entry, None):
            shown.remove()


# --- command line ---------------------------------------------------------------------------


def parse(arguments: list[str] | None) -> tuple[Options, Audio]:
    """The command line as options and audio; leaves with code 2 where they cannot be."""
    parser = argparse.ArgumentParser(
        description="Talk with a Realtime server in the terminal.",
        epilog="Latencies count from the end of your turn: your last word, or the second K.",
    )
    add = parser.add_argument
    add("--url", help=f"default: {LOCAL_URL}")
    add("--openai", action="store_true", help="talk to OpenAI's own service (OPENAI_API_KEY)")
    add("--api-key", help="default: the variable API_KEY, or OPENAI_API_KEY for OpenAI")
    add("--model", default="gpt-realtime", help="default: %(default)s")
    add("--voice", help="default: the server's")
    add("--half-duplex", action="store_true", help="deaf while a reply plays: no echo, no barge-in")
    add("--tools", action="store_true", help="let the model ask for the time and sample weather")
    add("--input", type=Path, metavar="FILE", action="append", help="speak a WAV or FLAC file, no "
        "device needed; R speaks it again (given several times: the next one)")  # fmt: skip
    add("--output", type=Path, metavar="FILE", help="write what would be heard to a WAV file")
    chosen = parser.parse_args(arguments)
    openai = chosen.url is None and (chosen.openai or not USE_LOCAL_SERVER)
    if chosen.url and chosen.openai:
        parser.error("--openai has an address of its own: leave out --url")
    # The key to OpenAI is for OpenAI only: no other server gets to see it.
    key = chosen.api_key or os.environ.get("OPENAI_API_KEY" if openai else "API_KEY")
    if openai and not key:
        parser.error("OpenAI's service needs a key: set OPENAI_API_KEY")
    url = OPENAI_URL if openai else chosen.url or LOCAL_URL
    chosen_options = (chosen.model, chosen.voice, chosen.half_duplex, chosen.tools)
    try:
        files = chosen.input or chosen.output
        audio = FileAudio(chosen.input or [], chosen.output) if files else DeviceAudio()
    except AudioError as error:
        parser.error(str(error))
    return Options(url, key, *chosen_options), audio


def main(arguments: list[str] | None = None) -> int:
    """Runs the client; returns the exit code."""
    app = PushToTalkApp(*parse(arguments))
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual draws on stderr
        raise SystemExit("it needs a terminal; without one: python test_client.py --audio FILE")
    app.run()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
