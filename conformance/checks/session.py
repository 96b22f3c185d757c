"""Checks of session.update: a deep, partial and transactional merge."""

from __future__ import annotations

import time
from typing import Any

from conformance.checks.prompts import WEATHER_TOOL, vad
from conformance.lab import Lab
from conformance.names import path, shown
from conformance.registry import check, expect

_RULE = "protocol §2.3, §4.2; clients rule 6"


@check("session", "an update is answered with the whole session, under the same id", source=_RULE)
async def update_is_answered(lab: Lab) -> None:
    async with lab.connect() as client:
        created = (await client.wait("session.created"))["session"]
        updated = await client.configure(instructions="Be brief.")
        expect(updated.get("id") == created.get("id"), "The session changed its id.", updated)
        expect(
            shown(lab.dialect, updated, "instructions") == "Be brief.",
            "The update was not applied.",
            updated,
        )
        missing = sorted(created.keys() - updated.keys())
        expect(not missing, f"session.updated lacks {', '.join(missing)}.", updated)


@check("session", "what an update does not name stays as it was", source=_RULE)
async def update_is_partial(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        await client.configure(turn_detection=vad(silence_duration_ms=710), instructions="One.")
        await client.configure(tools=[WEATHER_TOOL])
        updated = await client.configure(voice="echo")
        detection = shown(lab.dialect, updated, "turn_detection") or {}
        expect(
            detection.get("silence_duration_ms") == 710,
            "An update of the voice changed turn detection.",
            updated,
        )
        expect(updated["instructions"] == "One.", "The instructions were lost.", updated)
        expect(len(updated["tools"]) == 1, "The tools were lost.", updated)


@check(
    "session",
    "part of turn_detection keeps the rest of it, and comes back with every default",
    source="protocol §2.3 (merge rules)",
)
async def turn_detection_is_merged(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        partial = {"type": "server_vad", "create_response": False}
        detection = shown(
            lab.dialect, await client.configure(turn_detection=partial), "turn_detection"
        )
        keys = ("threshold", "prefix_padding_ms", "silence_duration_ms", "interrupt_response")
        missing = [key for key in keys if key not in (detection or {})]
        expect(not missing, f"turn_detection lacks {', '.join(missing)}.", detection)
        expect(detection["create_response"] is False, "create_response was ignored.", detection)


@check("session", "null clears what may be null", source=_RULE)
async def null_clears(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        await client.configure(input_audio_transcription={"model": "whisper-1"})
        updated = await client.configure(turn_detection=None, input_audio_transcription=None)
        for name in ("turn_detection", "input_audio_transcription"):
            expect(
                shown(lab.dialect, updated, name) is None,
                f"{path(lab.dialect, name)} is still set.",
                updated,
            )


@check("session", "instructions can be set to nothing", source="peers §1b (zero values skipped)")
async def empty_instructions(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        await client.configure(instructions="Be brief.")
        updated = await client.configure(instructions="")
        expect(updated["instructions"] == "", "The instructions are still there.", updated)


@check("session", "an update with one wrong field changes nothing at all", source=_RULE)
async def wrong_update_changes_nothing(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        await client.configure(instructions="Before.")
        too_high = {"type": "server_vad", "threshold": 7.5}
        await client.refused(client.update(instructions="After.", turn_detection=too_high))
        updated = await client.configure(voice="echo")
        expect(
            updated["instructions"] == "Before.",
            "The refused update was applied in part.",
            updated,
        )


@check("session", "each update gets its own answer, in order", source="protocol §4.1")
async def updates_in_order(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        for text in ("One.", "Two.", "Three."):
            await client.update(instructions=text)
        answers = [await client.wait("session.updated") for _ in range(3)]
        told = [answer["session"]["instructions"] for answer in answers]
        expect(told == ["One.", "Two.", "Three."], f"The answers said {told}.", answers[-1])


@check("session", "tools come back as they were sent, and can be taken away", source=_RULE)
async def tools_are_replaced(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        tools: list[Any] = (await client.configure(tools=[WEATHER_TOOL]))["tools"]
        sent = WEATHER_TOOL["parameters"]["properties"]
        expect(
            [(tool["name"], tool["parameters"]["properties"]) for tool in tools]
            == [("get_weather", sent)],
            "The tool came back changed.",
            tools,
        )
        updated = await client.configure(tools=[])
        expect(updated["tools"] == [], "The tools are still there.", updated)


@check(
    "session",
    "interrupt_response and create_response are echoed: clients decide by them",
    source="protocol §4.8; clients rule 6",
)
async def response_switches_are_echoed(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        for wanted in (False, True):
            updated = await client.configure(
                turn_detection=vad(create_response=wanted, interrupt_response=wanted)
            )
            detection = shown(lab.dialect, updated, "turn_detection") or {}
            expect(
                detection.get("interrupt_response") is detection.get("create_response") is wanted,
                f"Both were set to {wanted}.",
                updated,
            )


@check(
    "session",
    "semantic_vad is accepted and echoed: both agents SDKs ask for it by default",
    source="protocol §2.3; clients rule 9",
)
async def semantic_vad(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        updated = await client.configure(
            turn_detection={"type": "semantic_vad", "eagerness": "high"}
        )
        detection = shown(lab.dialect, updated, "turn_detection") or {}
        expect(
            (detection.get("type"), detection.get("eagerness")) == ("semantic_vad", "high"),
            "The session shows another turn detection.",
            updated,
        )


@check("session", "G.711 formats are accepted and echoed, in and out", source="protocol §2.3, §3.4")
async def g711_formats(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        for name in ("g711_ulaw", "g711_alaw"):
            updated = await client.configure(input_audio_format=name, output_audio_format=name)
            for side in ("input_audio_format", "output_audio_format"):
                value = shown(lab.dialect, updated, side)
                kind = value.get("type") if isinstance(value, dict) else value
                expect(
                    kind in (name, {"g711_ulaw": "audio/pcmu"}.get(name, "audio/pcma")),
                    f"{path(lab.dialect, side)} was set to {name}.",
                    updated,
                )


@check(
    "session",
    "tracing, noise reduction, speed and a model name are taken without an error",
    source=_RULE,
    level="recommended",
)
async def unused_settings(lab: Lab) -> None:
    async with lab.connect() as client:
        await client.wait("session.created")
        await client.configure(tracing="auto")
        await client.configure(input_audio_noise_reduction={"type": "near_field"})
        updated = await client.configure(speed=1.2, model="some-other-model")
        expect(shown(lab.dialect, updated, "speed") == 1.2, "The speed was lost.", updated)


@check(
    "session", "expires_at lies in the future", source="protocol §1.7, §2.3", level="recommended"
)
async def expires_in_the_future(lab: Lab) -> None:
    async with lab.connect() as client:
        event = await client.wait("session.created")
        expires_at = event["session"].get("expires_at", 0)
        expect(expires_at > time.time(), f"The session expired at {expires_at}.", event)
