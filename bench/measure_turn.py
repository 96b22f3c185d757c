"""Figure: how long a user waits after the last word, stage by stage, with the embedded engines."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from .client import Session, Stream, append_frames, connect, encode
from .recordings import BYTES_PER_MS, Clip, load_clips, room_tone
from .report import Table
from .scale import Scale
from .server import EMBEDDED, Server, running
from .stats import median

SILENCE_WINDOW_MS = 500
"""The gateway's default; part of every wait."""
_CHUNK_MS = 20
_LEAD_MS = 300
_PATIENCE_MS = 12_000

_STOPPED = "input_audio_buffer.speech_stopped"
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_CREATED = "response.created"
_FIRST_TEXT = "response.output_audio_transcript.delta"
_FIRST_AUDIO = "response.output_audio.delta"

_TRANSCRIPTION_ON = encode(
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "audio": {"input": {"transcription": {"model": "whisper-1"}}},
        },
    }
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One spoken turn; all times in ms after the end of speech as the recording's bounds say.

    Attributes:
        stopped_ms: `speech_stopped`, the silence window included.
        stopped_lag_ms: The same event after the moment at which the audio that ends the window
            had been sent: what detection and gateway add.
        transcribed_ms: The transcript is final.
        created_ms: `response.created`.
        text_ms: First delta of the reply's transcript.
        audio_ms: First delta of its audio.
        worker_cpu_ms: CPU time of the engines' worker processes for this turn.
    """

    clip: str
    speech_ms: float
    stopped_ms: float
    stopped_lag_ms: float
    transcribed_ms: float
    created_ms: float
    text_ms: float
    audio_ms: float
    worker_cpu_ms: float


async def measure(scale: Scale) -> list[Turn]:
    """Speak every recording to a gateway with its default engines, one at a time."""
    clips = load_clips(scale.recordings)
    async with running(EMBEDDED) as server:
        # The first turn of a process warms its workers up.
        await _speak(server, clips[0])
        return [await _speak(server, clip) for _ in range(scale.spoken_turns) for clip in clips]


async def _speak(server: Server, clip: Clip) -> Turn:
    pcm = room_tone(_LEAD_MS) + clip.pcm + room_tone(_PATIENCE_MS)
    before = server.usage()
    session = await connect(server.url)
    try:
        session.write(_TRANSCRIPTION_ON)
        await session.wait_for("session.updated")
        begin_s = time.perf_counter() + 0.05
        stream = Stream(session, append_frames(pcm, _CHUNK_MS), _CHUNK_MS, begin_s)
        playing = asyncio.create_task(
            stream.play(begin_s + len(pcm) / BYTES_PER_MS / 1000), name="microphone"
        )
        try:
            await session.wait_for(_FIRST_AUDIO)
            await session.wait_for(_TRANSCRIBED)
        finally:
            playing.cancel()
            await asyncio.wait([playing])
    finally:
        await session.close()
    used = server.usage()
    return await _turn(session, clip, begin_s, (used.worker_cpu_s - before.worker_cpu_s) * 1000)


async def _turn(session: Session, clip: Clip, begin_s: float, worker_cpu_ms: float) -> Turn:
    stopped = await session.wait_for(_STOPPED)
    window_closed_s = begin_s + stopped.event["audio_end_ms"] / 1000
    speech_end_s = begin_s + (_LEAD_MS + clip.speech_end_ms) / 1000

    async def after_speech_ms(event_type: str) -> float:
        return round(((await session.wait_for(event_type)).at_s - speech_end_s) * 1000, 1)

    return Turn(
        clip=clip.name,
        speech_ms=round(clip.speech_end_ms - clip.speech_start_ms),
        stopped_ms=await after_speech_ms(_STOPPED),
        stopped_lag_ms=round((stopped.at_s - window_closed_s) * 1000, 1),
        transcribed_ms=await after_speech_ms(_TRANSCRIBED),
        created_ms=await after_speech_ms(_CREATED),
        text_ms=await after_speech_ms(_FIRST_TEXT),
        audio_ms=await after_speech_ms(_FIRST_AUDIO),
        worker_cpu_ms=round(worker_cpu_ms),
    )


def tables(turns: list[Turn]) -> list[Table]:
    """Medians for each recording, each stage as the time it adds."""
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys(turn.clip for turn in turns):
        rows.append(_row(name, [turn for turn in turns if turn.clip == name]))
    rows.append(_row("all", turns))
    return [
        Table(
            "End of speech → first audio, embedded engines (ms, medians)",
            (
                *("recording", "turns", "speech", "silence window", "→ speech_stopped"),
                *("→ transcript", "→ first text", "→ first audio", "sum"),
                *("stopped after the window's audio", "worker CPU"),
            ),
            rows,
        )
    ]


def _row(name: str, turns: list[Turn]) -> tuple[str, ...]:
    return (
        name,
        str(len(turns)),
        *(
            f"{median(values):.0f}"
            for values in (
                [turn.speech_ms for turn in turns],
                [float(SILENCE_WINDOW_MS)],
                [turn.stopped_ms - SILENCE_WINDOW_MS for turn in turns],
                [turn.transcribed_ms - turn.stopped_ms for turn in turns],
                [turn.text_ms - turn.transcribed_ms for turn in turns],
                [turn.audio_ms - turn.text_ms for turn in turns],
                [turn.audio_ms for turn in turns],
                [turn.stopped_lag_ms for turn in turns],
                [turn.worker_cpu_ms for turn in turns],
            )
        ),
    )
