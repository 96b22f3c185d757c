"""Checks of speech that the server finds by itself."""

from __future__ import annotations

from conformance.audio import silence, to_ulaw
from conformance.checks.prompts import TEXT, vad
from conformance.lab import Lab
from conformance.names import ga_type
from conformance.oracle import WireEvent
from conformance.registry import check, expect

_TURN = "protocol §4.5; clients rule 9"
_STARTED = "input_audio_buffer.speech_started"
_STOPPED = "input_audio_buffer.speech_stopped"
_COMMITTED = "input_audio_buffer.committed"
_QUIET_VAD = vad(create_response=False)
_ONSET_TOLERANCE_MS = 300
_LONGEST_WAIT_S = 8
"""Of semantic_vad at its least eager."""


@check(
    "turn-detection",
    "a spoken turn starts, stops, is committed, joins the conversation and is answered",
    source=_TURN,
    requires=("speech",),
)
async def spoken_turn(lab: Lab) -> None:
    async with lab.session(**TEXT, turn_detection=vad()) as client:
        await client.speak(lab.clip.pcm)
        reply = await client.next_reply()
        expect(reply.final["status"] == "completed", "The reply failed.", reply.final)
        wanted = [_STARTED, _STOPPED, _COMMITTED, "conversation.item.added", "response.created"]
        order = list(dict.fromkeys(k for k in map(ga_type, client.events) if k in wanted))
        expect(order == wanted, f"The order was {', '.join(order)}.", reply.final)


@check(
    "turn-detection",
    "one item id runs from speech_started to the item",
    source=_TURN + "; peers §1c (empty item_id)",
    requires=("speech",),
)
async def one_item_id(lab: Lab) -> None:
    async with lab.session(turn_detection=_QUIET_VAD) as client:
        await client.speak(lab.clip.pcm)
        events = [await client.wait(kind) for kind in (_STARTED, _STOPPED, _COMMITTED)]
        added = await client.wait("conversation.item.added")
        ids = [*(event["item_id"] for event in events), added["item"]["id"]]
        expect(ids[0] and len(set(ids)) == 1, f"The ids are {ids}.", events[0])


@check(
    "turn-detection",
    "audio_start_ms and audio_end_ms enclose what was said",
    source="protocol §7",
    requires=("speech",),
)
async def positions(lab: Lab) -> None:
    clip = lab.clip
    async with lab.session(turn_detection=_QUIET_VAD) as client:
        await client.speak(clip.pcm)
        started = await client.wait(_STARTED)
        stopped = await client.wait(_STOPPED)
        begins, ends = 200 + clip.start_ms, 200 + clip.end_ms
        latest = begins + _ONSET_TOLERANCE_MS
        expect(
            0 <= started["audio_start_ms"] <= latest,
            f"Speech began at {begins} ms of the input.",
            started,
        )
        total_ms = client.appended_bytes // 48
        expect(
            ends - _ONSET_TOLERANCE_MS <= stopped["audio_end_ms"] <= total_ms,
            f"Speech ended at {ends} ms of {total_ms} ms.",
            stopped,
        )


@check(
    "turn-detection",
    "with create_response false a turn is committed and not answered",
    source="protocol §4.5; peers §3b (never read)",
    requires=("speech",),
)
async def no_response_unless_wanted(lab: Lab) -> None:
    async with lab.session(turn_detection=_QUIET_VAD) as client:
        await client.speak(lab.clip.pcm)
        await client.wait(_COMMITTED)
        await client.quiet("response.created")


@check("turn-detection", "silence is no speech", source="protocol §4.5")
async def silence_is_no_speech(lab: Lab) -> None:
    async with lab.session(turn_detection=_QUIET_VAD) as client:
        await client.stream(silence(1500))
        await client.quiet(_STARTED, _COMMITTED)


@check(
    "turn-detection",
    "two utterances are two turns, the second behind the first",
    source="protocol §4.5, §4.14",
    requires=("speech",),
)
async def two_turns(lab: Lab) -> None:
    async with lab.session(turn_detection=_QUIET_VAD) as client:
        committed: list[WireEvent] = []
        for _ in range(2):
            await client.speak(lab.clip.pcm)
            committed.append(await client.wait(_COMMITTED))
        first, second = committed
        expect(first["item_id"] != second["item_id"], "Both have one id.", second)
        expect(
            second["previous_item_id"] == first["item_id"],
            "The second does not follow the first.",
            second,
        )


@check(
    "turn-detection",
    "speech in µ-law is heard",
    source="protocol §7; peers §3b (24 kHz hard-coded)",
    requires=("speech",),
)
async def ulaw_speech(lab: Lab) -> None:
    async with lab.session(input_audio_format="g711_ulaw", turn_detection=_QUIET_VAD) as client:
        await client.stream(to_ulaw(silence(200) + lab.clip.pcm + silence(1200)), bytes_per_ms=8)
        await client.wait(_STARTED)
        await client.wait(_COMMITTED)


@check(
    "turn-detection",
    "turn detection can be turned on in the middle of a session",
    source="protocol §4.2",
    requires=("speech",),
)
async def turned_on_later(lab: Lab) -> None:
    async with lab.session() as client:
        await client.stream(silence(300))
        await client.configure(turn_detection=_QUIET_VAD)
        await client.speak(lab.clip.pcm)
        await client.wait(_COMMITTED)


@check(
    "turn-detection",
    "the transcript key of a spoken item is there, null or a text",
    source="protocol §2.6; clients §3 (agents-js dies without it)",
    requires=("speech",),
)
async def transcript_key(lab: Lab) -> None:
    async with lab.session(turn_detection=_QUIET_VAD) as client:
        await client.speak(lab.clip.pcm)
        added = await client.wait("conversation.item.added")
        expect("transcript" in added["item"]["content"][0], "The key is missing.", added)


@check(
    "turn-detection",
    "semantic_vad ends a turn",
    source="protocol §2.3; clients rule 9",
    level="recommended",
    requires=("speech",),
)
async def semantic_turn(lab: Lab) -> None:
    detection = {"type": "semantic_vad", "eagerness": "high", "create_response": False}
    async with lab.session(turn_detection=detection) as client:
        await client.speak(lab.clip.pcm, after_ms=4000)
        await client.wait(_COMMITTED, timeout_s=client.pace.timeout_s + _LONGEST_WAIT_S)
