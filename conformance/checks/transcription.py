"""Checks of the transcript of what the user said."""

from __future__ import annotations

from conformance.checks.prompts import vad
from conformance.lab import Lab
from conformance.names import shown
from conformance.registry import NotMeasured, check, expect

_EVENTS = "conversation.item.input_audio_transcription"
_ENDS = (f"{_EVENTS}.completed", f"{_EVENTS}.failed")
_WHISPER = {"input_audio_transcription": {"model": "whisper-1"}}


@check(
    "transcription",
    "a session that did not ask for transcription gets none",
    source="protocol §0 (7)",
    requires=("speech",),
)
async def nothing_unasked(lab: Lab) -> None:
    async with lab.session(
        input_audio_transcription=None, turn_detection=vad(create_response=False)
    ) as client:
        await client.speak(lab.clip.pcm)
        await client.wait("input_audio_buffer.committed")
        await client.quiet(f"{_EVENTS}.delta", *_ENDS)


@check(
    "transcription",
    "a committed turn gets one end of its transcription, for its item",
    source="protocol §4.6; clients rule 9",
    requires=("speech",),
)
async def committed_turn(lab: Lab) -> None:
    async with lab.session(**_WHISPER) as client:
        await client.stream(lab.clip.pcm)
        await client.send({"type": "input_audio_buffer.commit"})
        committed = await client.wait("input_audio_buffer.committed")
        ended = await client.wait(*_ENDS)
        expect(ended["item_id"] == committed["item_id"], "It is of another item.", ended)
        expect(ended["content_index"] == 0, "It is of another part.", ended)


@check(
    "transcription",
    "a detected turn gets its transcript, after its item has been added",
    source="protocol §4.5; clients rule 9",
    requires=("speech",),
)
async def detected_turn(lab: Lab) -> None:
    async with lab.session(**_WHISPER, turn_detection=vad(create_response=False)) as client:
        await client.speak(lab.clip.pcm)
        ended = await client.wait(*_ENDS)
        added = [event["item"]["id"] for event in client.of("conversation.item.added")]
        expect(ended["item_id"] in added, "Its item has not been added.", ended)


@check(
    "transcription",
    "a completed transcript says what it cost",
    source="protocol §2.2 (12), §7; clients §3 (agents-py loses it)",
    requires=("speech",),
)
async def transcript_usage(lab: Lab) -> None:
    async with lab.session(**_WHISPER) as client:
        await client.stream(lab.clip.pcm)
        await client.send({"type": "input_audio_buffer.commit"})
        ended = await client.wait(*_ENDS)
        if ended["type"] == _ENDS[1]:
            raise NotMeasured("The transcription failed.")
        expect((ended.get("usage") or {}).get("type"), "It has no usage.", ended)


@check(
    "transcription",
    "the setting is echoed, and can be taken back",
    source="protocol §2.3",
)
async def setting_is_echoed(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        for wanted in ("whisper-1", None):
            setting = {"model": wanted} if wanted else None
            session = await client.configure(input_audio_transcription=setting)
            told = shown(lab.dialect, session, "input_audio_transcription")
            expect((told or {}).get("model") == wanted, f"It was set to {setting}.", session)


@check(
    "transcription",
    "?intent=transcription opens a transcription session, which answers speech with nothing else",
    source="protocol §1.1, §2.4, §4.11; peers §3b",
    level="recommended",
    dialects=("ga",),
    requires=("speech",),
)
async def transcription_session(lab: Lab) -> None:
    url = lab.target.with_query(model=None, intent="transcription")
    async with lab.connect(url, judged=False) as client:
        opened = await client.wait("session.created", "error")
        kind = opened.get("session", {}).get("type")
        if opened["type"] == "error" or kind != "transcription":
            raise NotMeasured("The server has no transcription sessions.")
        setting = {"transcription": {"model": "whisper-1"}, "turn_detection": vad()}
        session = {"type": "transcription", "audio": {"input": setting}}
        await client.send({"type": "session.update", "session": session})
        await client.wait("session.updated")
        await client.speak(lab.clip.pcm)
        await client.wait(*_ENDS)
        expect(not client.of("response.created"), "It answered.", client.events[-1])
