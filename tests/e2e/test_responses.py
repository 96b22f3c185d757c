"""Responses: their order, overrides, limits, cancellation and failure."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import ErrorCategory, Stage
from providers.frames import StageFailedFrame
from tests.e2e.gateway import STORY, Gateway, run_gateway, tone
from tests.e2e.wire import (
    AUDIO,
    MANUAL,
    TEXT,
    added,
    ask,
    begin,
    configure,
    content_type,
    ended,
    fields,
    lives,
    named,
    order,
    refusal,
    respond,
    shown,
)
from tests.fakes import FakeTts, sound_of
from tests.harness import RealtimeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADDED = ["response.created", "response.output_item.added", "conversation.item.added"]
DONE = ["response.content_part.done", "response.output_item.done", "response.done"]
MODALITY = {"text": TEXT, "audio": AUDIO}
COUNT = "One, two, three, four, five, six."


async def test_a_typed_turn_in_text(client: RealtimeClient, dialect: Any) -> None:
    since = len(client.events)
    response = await ask(client, "good morning", **TEXT)
    assert order(client, since) == [
        "conversation.item.added",
        *ADDED,
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        *DONE,
    ]
    assert response.text == "You said: good morning."
    assert response.created["output"] == []
    assert response.created["usage"] is None
    assert response.status == "completed"
    assert response.final["status_details"] is None
    (item,) = response.final["output"]
    assert item["content"] == [{"type": content_type(dialect, "text"), "text": response.text}]
    usage = response.final["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert usage["output_token_details"]["audio_tokens"] == 0


async def test_a_typed_turn_in_audio(client: RealtimeClient, dialect: Any) -> None:
    since = len(client.events)
    response = await ask(client, "count")
    kinds = order(client, since)
    first_audio = kinds.index("response.output_audio.delta")
    assert kinds[:first_audio] == [
        "conversation.item.added",
        *ADDED,
        "response.content_part.added",
        "response.output_audio_transcript.delta",
    ]
    assert kinds[-5:] == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        *DONE,
    ]
    assert response.transcript == COUNT
    assert response.audio == tone(COUNT)
    (item,) = response.final["output"]
    (part,) = item["content"]
    assert part["type"] == content_type(dialect, "audio")
    assert part["transcript"] == COUNT
    assert response.final["usage"]["output_token_details"]["audio_tokens"] > 0


async def test_the_items_of_a_turn_follow_each_other(client: RealtimeClient) -> None:
    first = await ask(client, "good morning", **TEXT)
    second = await ask(client, "good evening", **TEXT)
    chain = [
        (event["previous_item_id"], event["item"]["id"])
        for event in client.events_of(named(client.oracle.dialect, "conversation.item.added"))
    ]
    assert len(chain) == 4
    assert [previous for previous, _ in chain] == [None, *(item for _, item in chain[:-1])]
    assert [item for _, item in chain[1::2]] == [
        first.final["output"][0]["id"],
        second.final["output"][0]["id"],
    ]


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ({"instructions": "Talk like a pirate."}, "Arr, good day."),
        ({"instructions": ""}, "You said: good day."),
        ({"metadata": {"rule": "pirate"}}, "Arr, good day."),
    ],
)
async def test_what_is_said_can_be_overridden(
    client: RealtimeClient, override: dict[str, Any], text: str
) -> None:
    response = await ask(client, "good day", **TEXT, **override)
    assert response.text == text
    # One response only: the next is the session's again.
    assert (await respond(client, **TEXT)).text == "You said: good day."


async def test_how_it_is_said_can_be_overridden(client: RealtimeClient, dialect: Any) -> None:
    await configure(client, **TEXT)
    spoken = await ask(client, "hi", **AUDIO, voice="marin")
    assert spoken.transcript == "You said: hi."
    assert spoken.audio == tone("You said: hi.")
    for view in (spoken.created, spoken.final):
        assert shown(dialect, view, "voice") == "marin"
        assert "audio" in shown(dialect, view, "modalities")
    written = await respond(client)
    assert written.text == "You said: hi."
    assert shown(dialect, written.final, "voice") != "marin"
    assert shown(dialect, written.final, "modalities") == ["text"]


async def test_tools_can_be_overridden(client: RealtimeClient) -> None:
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
    called = await ask(client, "weather in Rome", **TEXT, tools=[tool], tool_choice="required")
    assert [call["name"] for call in called.calls] == ["get_weather"]
    assert (await respond(client, **TEXT)).calls == []


async def test_metadata_is_echoed(client: RealtimeClient) -> None:
    metadata = {"client_event_id": "abc", "topic": "天气"}
    response = await ask(client, "hi", **TEXT, metadata=metadata)
    assert response.created["metadata"] == response.final["metadata"] == metadata
    assert (await respond(client, **TEXT)).final["metadata"] is None


@pytest.mark.parametrize("modality", ["text", "audio"])
async def test_the_token_limit_makes_a_response_incomplete(
    client: RealtimeClient, modality: str
) -> None:
    response = await ask(client, "count", **MODALITY[modality], max_response_output_tokens=3)
    assert response.status == "incomplete"
    assert response.final["status_details"] == {
        "type": "incomplete",
        "reason": "max_output_tokens",
    }
    (item,) = response.final["output"]
    assert item["status"] == "incomplete"
    said = response.text or response.transcript
    assert said and COUNT.startswith(said) and said != COUNT
    assert response.audio == (tone(said) if modality == "audio" else b"")


async def test_the_session_s_token_limit_counts_too(client: RealtimeClient) -> None:
    await configure(client, **TEXT, max_response_output_tokens=2)
    assert (await ask(client, "count")).status == "incomplete"
    whole = await respond(client, max_response_output_tokens="inf")
    assert (whole.status, whole.text) == ("completed", COUNT)


async def test_an_answer_may_be_empty(client: RealtimeClient) -> None:
    response = await ask(client, "hush")
    assert (response.status, response.final["output"]) == ("completed", [])


# --- out of band ------------------------------------------------------------------------------


async def test_an_out_of_band_response_leaves_no_trace(client: RealtimeClient) -> None:
    await client.say_text("good day")
    await added(client)
    since = len(client.events)
    aside = await respond(client, **TEXT, conversation="none", metadata={"purpose": "summary"})
    assert aside.text == "You said: good day."
    assert aside.created["conversation_id"] is None
    assert not [kind for kind in order(client, since) if kind.startswith("conversation.")]


async def test_an_out_of_band_response_runs_beside_the_active_one(client: RealtimeClient) -> None:
    main = await begin(client, "stall", **TEXT)
    question = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "another thing"}],
    }
    await client.create_response(
        **fields(client.oracle.dialect, **TEXT, conversation="none", input=[question])
    )
    aside = await client.collect_response()
    assert aside.text == "You said: another thing."
    await client.send({"type": "response.cancel"})
    assert (await ended(client, main))["status"] == "cancelled"


async def test_an_input_stands_in_for_the_conversation(client: RealtimeClient) -> None:
    await client.say_text("first")
    first = (await added(client))["item"]["id"]
    await client.say_text("second")
    await added(client)
    reference = {"type": "item_reference", "id": first}
    assert (await respond(client, **TEXT, input=[reference])).text == "You said: first."
    assert (await respond(client, **TEXT, input=[])).text == ""
    assert (await respond(client, **TEXT)).text == "You said: second."


# --- one at a time, and its end ---------------------------------------------------------------


async def test_a_second_response_is_refused_while_one_is_active(client: RealtimeClient) -> None:
    active = await begin(client, "stall", **TEXT)
    error = await refusal(client, await client.create_response())
    assert error["code"] == "conversation_already_has_active_response"
    assert active in error["message"]
    await client.send({"type": "response.cancel", "response_id": active})
    assert (await ended(client, active))["status"] == "cancelled"
    assert (await ask(client, "hi", **TEXT)).status == "completed"


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("modality", ["text", "audio"])
async def test_cancelling_ends_the_response_at_once(
    client: RealtimeClient, by_id: bool, modality: str
) -> None:
    dialect = client.oracle.dialect
    response_id = await begin(client, "stall", **MODALITY[modality])
    await client.wait_for(named(dialect, f"response.output_{modality}.delta"))
    cancel = {"type": "response.cancel"} | ({"response_id": response_id} if by_id else {})
    await client.send(cancel)
    done = await ended(client, response_id)
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    (item,) = done["output"]
    assert item["status"] == "incomplete"
    since = len(client.events)
    assert (await ask(client, "hi", **TEXT)).text == "You said: hi."
    assert response_id not in str(client.events[since:])


async def test_cancelling_before_any_output(client: RealtimeClient) -> None:
    response_id = await begin(client, "hang")
    await client.send({"type": "response.cancel"})
    done = await ended(client, response_id)
    assert (done["status"], done["output"]) == ("cancelled", [])
    assert (await ask(client, "hi", **TEXT)).status == "completed"


@pytest.mark.parametrize("named_response", [{}, {"response_id": "resp_unknown"}])
async def test_cancelling_nothing(
    client: RealtimeClient, dialect: Any, named_response: dict[str, str]
) -> None:
    error = await refusal(client, await client.send({"type": "response.cancel", **named_response}))
    assert error["code"] == "response_cancel_not_active"
    # LiveKit and Step-Realtime-Console forgive only these very words.
    assert (
        error["message"]
        == {
            "ga": "Cancellation failed: no active response found",
            "beta": "no ongoing response to cancel",
        }[dialect]
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("fail", {"type": "server_error", "code": "server_error", "message": "out of order"}),
        ("broke", {"type": "insufficient_quota", "code": "insufficient_quota"}),
        ("stumble", {"type": "server_error", "code": "server_error"}),
    ],
)
@pytest.mark.parametrize("modality", ["text", "audio"])
async def test_a_failed_response_ends_and_the_session_lives(
    client: RealtimeClient, text: str, error: dict[str, str], modality: str
) -> None:
    response = await ask(client, text, **MODALITY[modality])
    assert response.status == "failed"
    details = response.final["status_details"]
    assert details["type"] == "failed"
    assert details["error"].items() >= error.items()
    assert {item["status"] for item in response.final["output"]} <= {"incomplete"}
    if text == "stumble" and modality == "text":
        assert response.text == "I was about to"
    assert client.events_of("error") == []
    assert (await ask(client, "hi", **TEXT)).text == "You said: hi."


async def test_a_voice_that_fails_ends_the_response(dialect: Any) -> None:
    said = "You said: hi."
    trouble: dict[str, Any] = {
        said: StageFailedFrame(Stage.TTS, ErrorCategory.SERVER, "lost my voice")
    }
    async with (
        run_gateway(tts=FakeTts(trouble=trouble)) as gateway,
        gateway.connect(dialect) as client,
    ):
        await configure(client, **MANUAL)
        failed = await ask(client, "hi")
        assert failed.status == "failed"
        assert failed.final["status_details"]["error"]["message"] == "lost my voice"
        assert failed.audio == b""
        # Text needs no voice, and the voice may have come back.
        assert (await respond(client, **TEXT)).text == said
        assert (await respond(client)).audio == sound_of(said) * 2


async def test_the_voice_is_fixed_once_it_was_heard(client: RealtimeClient, dialect: Any) -> None:
    assert shown(dialect, await configure(client, voice="cedar"), "voice") == "cedar"
    await ask(client, "hi")
    event_id = await client.update_session(**fields(dialect, voice="ash", instructions="x"))
    assert (await refusal(client, event_id))["code"] == "cannot_update_voice"
    session = await configure(client, voice="cedar")
    assert session["instructions"] != "x"


async def test_speed_is_a_setting_of_the_voice(client: RealtimeClient) -> None:
    await configure(client, speed=1.5)
    fast = await ask(client, "count")
    await configure(client, speed=1.0)
    normal = await respond(client)
    assert len(fast.audio) < len(normal.audio) * 0.75
    assert normal.audio == tone(COUNT)


async def test_a_long_reply_comes_in_small_whole_samples(gateway: Gateway, dialect: Any) -> None:
    async with gateway.connect(dialect) as client:
        await configure(client, **MANUAL)
        response = await ask(client, "story")
        assert response.transcript == STORY
        assert response.audio == tone(STORY)
        await lives(client)
