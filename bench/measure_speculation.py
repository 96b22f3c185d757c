"""Figure: how much sooner a reply is heard that was begun in the pause, and what that costs.

The same recordings are spoken at the same time to servers that differ in nothing else. Their
engines take as long as real services do.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from config import SessionSettings

from .client import Session, Stream, append_frames, connect
from .recordings import BYTES_PER_MS, Spoken, room_tone, spoken_recordings
from .report import Table
from .scale import Scale
from .server import INSTANT, Contender, Server, running
from .stats import median

SILENCE_WINDOW_MS = 500
"""The gateway's default."""
STT_FINAL_MS, FIRST_TOKEN_MS, FIRST_AUDIO_MS = 350, 400, 200
"""Of real services: from the end of a turn to its words, to the first token, to the first sound."""
INTERIM_MS = 200
"""How far a recogniser that streams is behind the audio with its guesses."""
NO_INTERIMS_MS = 600_000

_WORD_MS = 250
"""A word of the scripted recogniser."""
_PADDING_MS = 300
_CHUNK_MS = 20
_LEAD_MS = 300
_TAIL_MS = 4000
_STOPPED = "input_audio_buffer.speech_stopped"
_FIRST_AUDIO = "response.output_audio.delta"
_DRAFTS = re.compile(rb'^realtime_speculative_turns_total\{outcome="(\w+)"\} ([\d.]+)', re.M)


@dataclass(frozen=True, slots=True)
class Order:
    """One way to work: `after_ms` is the pause in which a reply is begun, None for never."""

    after_ms: int | None
    interim_ms: int

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.after_ms is None:
            return "sequential"
        heard = "words at the end only" if self.interim_ms == NO_INTERIMS_MS else "interim words"
        return f"after {self.after_ms} ms, {heard}"


SEQUENTIAL = Order(None, INTERIM_MS)
DEFAULT = Order(SessionSettings().speculate_after_ms, INTERIM_MS)
ORDERS = (
    SEQUENTIAL,
    *(Order(after_ms, INTERIM_MS) for after_ms in (50, 100, 150, 200, 300)),
    Order(50, NO_INTERIMS_MS),
    replace(DEFAULT, interim_ms=NO_INTERIMS_MS),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One order of work over all recordings.

    Attributes:
        waits_ms: By recording, from the end of its speech to the first audio of the last reply.
        turns: By recording, how many turns were heard in it.
        used: Replies begun in a pause that were used.
        dropped: Those that were not.
    """

    order: Order
    waits_ms: dict[str, list[float]]
    turns: dict[str, list[int]]
    used: int
    dropped: int


async def measure(scale: Scale) -> list[Outcome]:
    """Speak every recording in every order of work."""
    clips = spoken_recordings(scale.speculation_recordings)
    with TemporaryDirectory(prefix="bench-") as folder:
        async with AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(running(_contender(order, clips, Path(folder))))
                for order in ORDERS
            ]
            waits: list[dict[str, list[float]]] = [{} for _ in ORDERS]
            turns: list[dict[str, list[int]]] = [{} for _ in ORDERS]
            for clip in [clip for _ in range(scale.takes) for clip in clips]:
                heard = await asyncio.gather(*(_speak(server, clip) for server in servers))
                for number, (wait_ms, stops) in enumerate(heard):
                    waits[number].setdefault(clip.name, []).append(wait_ms)
                    turns[number].setdefault(clip.name, []).append(stops)
            drafts = [await asyncio.to_thread(_drafts, server) for server in servers]
    return [
        Outcome(order, waits[n], turns[n], drafts[n].get("used", 0), drafts[n].get("dropped", 0))
        for n, order in enumerate(ORDERS)
    ]


def _contender(order: Order, clips: tuple[Spoken, ...], folder: Path) -> Contender:
    """A gateway that works in this order; each recording is a model name of its own."""
    place = folder / re.sub(r"\W+", "-", order.name)
    place.mkdir()
    profiles = ["version: 1", f"default: {clips[0].name}", "profiles:"]
    for clip in clips:
        script = place / f"{clip.name}.yaml"
        script.write_text(_script(order, clip), encoding="utf-8")
        profiles.append(f"  {clip.name}: {{stt: {{provider: scripted, script: {script}}}}}")
    (place / "profiles.yaml").write_text("\n".join(profiles), encoding="utf-8")
    return replace(
        INSTANT,
        name=order.name,
        environment={
            **INSTANT.environment,
            "SCRIPT_FILE": str(place / f"{clips[0].name}.yaml"),
            "PROFILES_FILE": str(place / "profiles.yaml"),
            "VAD_SILENCE_DURATION_MS": str(SILENCE_WINDOW_MS),
            "SPECULATIVE_TURNS": "false" if order.after_ms is None else "true",
            "SPECULATE_AFTER_MS": str(order.after_ms or 0),
        },
    )


def _script(order: Order, clip: Spoken) -> str:
    """A script whose words are as many as fit into the speech of each turn."""
    transcripts = [
        " ".join(f"word{number}" for number in range(int((end - start + _PADDING_MS) // _WORD_MS)))
        for start, end in clip.turns(SILENCE_WINDOW_MS)
    ]
    return f"""
version: 1
latency:
  stt_final_ms: {STT_FINAL_MS}
  stt_interim_ms: {order.interim_ms}
  llm_first_token_ms: {FIRST_TOKEN_MS}
  tts_first_audio_ms: {FIRST_AUDIO_MS}
defaults: {{fallback: {{say: "All right, I have written that down for you."}}}}
transcripts: {transcripts}
rules: []
"""


async def _speak(server: Server, clip: Spoken) -> tuple[float, int]:
    """Say a recording; the wait behind it and the number of turns heard in it."""
    pcm = room_tone(_LEAD_MS) + clip.pcm + room_tone(_TAIL_MS)
    url = server.url.replace("model=gpt-realtime", f"model={clip.name}")
    session = await connect(url)
    try:
        begin_s = time.perf_counter() + 0.05
        stream = Stream(session, append_frames(pcm, _CHUNK_MS), _CHUNK_MS, begin_s)
        await stream.play(begin_s + len(pcm) / BYTES_PER_MS / 1000)
    finally:
        await session.close()
    speech_end_s = begin_s + (_LEAD_MS + clip.speech_ms[-1][1]) / 1000
    stops = sum(arrival.event["type"] == _STOPPED for arrival in session.arrivals)
    return round((_first_audio_s(session) - speech_end_s) * 1000, 1), stops


def _first_audio_s(session: Session) -> float:
    """When the first audio of the last reply came."""
    last = next(
        arrival.event["response_id"]
        for arrival in reversed(session.arrivals)
        if arrival.event["type"] == _FIRST_AUDIO
    )
    return next(
        arrival.at_s
        for arrival in session.arrivals
        if arrival.event["type"] == _FIRST_AUDIO and arrival.event["response_id"] == last
    )


def _drafts(server: Server) -> dict[str, int]:
    """What the server counts of replies that were begun in a pause."""
    address = re.sub(r"^ws(://[^/]+)/.*", r"http\1/metrics", server.url)
    with urllib.request.urlopen(address, timeout=10) as answer:
        text: bytes = answer.read()
    return {name.decode(): int(float(count)) for name, count in _DRAFTS.findall(text)}


def saved(outcomes: list[Outcome], outcome: Outcome) -> float:
    """The share of the sequential wait that it saves."""
    return 1 - _wait_ms(outcome) / _wait_ms(outcomes[0])


def cut_elsewhere(outcomes: list[Outcome], outcome: Outcome) -> int:
    """In how many recordings it heard other turns than the sequential order did."""
    return sum(turns != outcomes[0].turns[name] for name, turns in outcome.turns.items())


def tables(outcomes: list[Outcome]) -> list[Table]:
    """What each order saves and costs, and the single recordings."""
    turns = sum(map(sum, outcomes[0].turns.values()))
    rows = [
        (
            outcome.order.name,
            f"{_wait_ms(outcome):.0f}",
            f"{100 * saved(outcomes, outcome):.0f} %",
            str(sum(map(sum, outcome.turns.values()))),
            str(cut_elsewhere(outcomes, outcome)),
            f"{outcome.used / turns:.2f}",
            f"{outcome.dropped / turns:.2f}",
        )
        for outcome in outcomes
    ]
    return [
        Table(
            "End of speech → first audio, replies begun in the pause (ms)",
            (
                *("order of work", "median wait", "saved", "turns heard"),
                *("recordings cut elsewhere", "used a turn", "dropped a turn"),
            ),
            rows,
        ),
        _by_recording(outcomes),
    ]


def _by_recording(outcomes: list[Outcome]) -> Table:
    shown = [outcome for outcome in outcomes if outcome.order.after_ms in (None, DEFAULT.after_ms)]
    names = list(shown[0].waits_ms)
    return Table(
        "The same by recording: median wait (ms), and turns heard in it",
        ("recording", *(outcome.order.name for outcome in shown)),
        [
            (
                name,
                *(
                    f"{median(outcome.waits_ms[name]):.0f} ({outcome.turns[name][0]})"
                    for outcome in shown
                ),
            )
            for name in names
        ],
    )


def _wait_ms(outcome: Outcome) -> float:
    return median([wait_ms for waits in outcome.waits_ms.values() for wait_ms in waits])
