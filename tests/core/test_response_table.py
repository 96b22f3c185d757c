"""Every state of the live response against every event that can meet it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import protocol as p
from core import messages as m
from protocol import ErrorCategory, Stage
from tests.core.kit import Core, finished, pcm, session, spoken, user_text

SAY = p.ResponseCreate(event_id="ev")
FAILURE = m.Failure(Stage.LLM, ErrorCategory.SERVER, "the model fell over")
TEXT = session(output_modalities=("text",))


def none() -> Core:
    core = Core()
    core(user_text())
    return core


def waiting() -> Core:
    """A spoken turn whose words are not known yet."""
    core = Core()
    core.speak()
    return core


def started() -> Core:
    core = none()
    core(SAY)
    return core


def writing() -> Core:
    """Text output under way."""
    core = Core(settings=TEXT)
    core(user_text(), SAY, m.ModelText("resp_1", "Hi"))
    return core


def speaking() -> Core:
    """Audio output under way, all of it sent."""
    core = started()
    core(*spoken("Hi.", 100))
    return core


def calling() -> Core:
    """A function call under way."""
    core = started()
    core(m.ToolCallStarted("resp_1", "call_a", "f"), m.ToolCallArguments("resp_1", "call_a", "{"))
    return core


def done() -> Core:
    """The response is over; engine events for it are stale."""
    core = started()
    core(*finished())
    return core


VOID: list[str] = []


def closed(status: str, *, index: int = 0) -> list[str]:
    shown = f"assistant item_2 {status} [said 'Hi.']"
    return [
        "audio.done item_2",
        "transcript.done item_2 'Hi.'",
        "content_part.done item_2 said 'Hi.'",
        f"item.done <item_1> {shown}",
        f"output_item.done {index} {shown}",
    ]


def closed_text(status: str) -> list[str]:
    shown = f"assistant item_2 {status} ['Hi']"
    return [
        "text.done item_2 'Hi'",
        "content_part.done item_2 'Hi'",
        f"item.done <item_1> {shown}",
        f"output_item.done 0 {shown}",
    ]


OPEN_MESSAGE = [
    "output_item.added 0 assistant item_2 in_progress []",
    "item.added <item_1> assistant item_2 in_progress []",
    "content_part.added item_2 said ''",
]
OPEN_CALL = [
    "output_item.added 0 call item_2 in_progress f()",
    "item.added <item_1> call item_2 in_progress f()",
]
DROPPED_CALL = [
    "item.done <item_1> call item_2 incomplete f({)",
    "output_item.done 0 call item_2 incomplete f({)",
]
BARGE_IN = m.VadSpeechStarted(0, 0)
CREATE = p.ResponseCreate(event_id="again")
CANCEL = p.ResponseCancel(event_id="ev")
MODEL_TEXT = m.ModelText("resp_1", "!")
BLANK = m.ModelText("resp_1", "\n")
SPEECH_TEXT = m.SpeechText("resp_1", "Yes.")
AUDIO = m.SpeechAudio("resp_1", pcm(60))
CALL = m.ToolCallStarted("resp_1", "call_a", "f")
ARGUMENTS = m.ToolCallArguments("resp_1", "call_a", "}")
CALL_END = m.ToolCallEnded("resp_1", "call_a")
END = m.GenerationEnded("resp_1")
FAIL = m.GenerationFailed("resp_1", FAILURE)
FINAL = m.TranscriptFinal("item_1", "hello")
NOTHING_HEARD = m.TranscriptFinal("item_1", " ")
NOT_HEARD = m.TranscriptFailed("item_1", m.Failure(Stage.STT, ErrorCategory.SERVER, "worker died"))
ACTIVE = ["error conversation_already_has_active_response again"]
CREATED = ["response.created resp_2 in_progress []", "> start resp_2"]

TABLE: list[tuple[Callable[[], Core], object, list[str]]] = [
    # no response
    (none, CREATE, ["response.created resp_1 in_progress []", "> start resp_1"]),
    (none, CANCEL, ["error response_cancel_not_active ev"]),
    (none, MODEL_TEXT, VOID),
    (none, BLANK, VOID),
    (none, SPEECH_TEXT, VOID),
    (none, AUDIO, VOID),
    (none, CALL, VOID),
    (none, ARGUMENTS, VOID),
    (none, CALL_END, VOID),
    (none, END, VOID),
    (none, FAIL, VOID),
    (none, FINAL, VOID),
    (none, NOTHING_HEARD, VOID),
    (none, NOT_HEARD, VOID),
    (none, BARGE_IN, ["> open item_2 0ms", "speech_started item_2 0ms"]),
    # waiting for the user's words: the engine has not been asked, and has nothing to say
    (waiting, CREATE, ACTIVE),
    (waiting, CANCEL, ["response.done resp_1 cancelled client_cancelled []"]),
    (waiting, MODEL_TEXT, VOID),
    (waiting, BLANK, VOID),
    (waiting, SPEECH_TEXT, VOID),
    (waiting, AUDIO, VOID),
    (waiting, CALL, VOID),
    (waiting, ARGUMENTS, VOID),
    (waiting, CALL_END, VOID),
    (waiting, END, VOID),
    (waiting, FAIL, VOID),
    (waiting, FINAL, ["> start resp_1"]),
    (waiting, NOTHING_HEARD, ["response.done resp_1 completed []"]),
    (waiting, NOT_HEARD, ["response.done resp_1 failed server_error []"]),
    (
        waiting,
        BARGE_IN,
        [
            "> open item_2 100ms",
            "speech_started item_2 1700ms",
            "response.done resp_1 cancelled turn_detected []",
        ],
    ),
    # generation asked for, nothing came yet
    (started, CREATE, ACTIVE),
    (started, CANCEL, ["> stop resp_1", "response.done resp_1 cancelled client_cancelled []"]),
    (started, MODEL_TEXT, OPEN_MESSAGE),
    (started, BLANK, VOID),
    (started, SPEECH_TEXT, [*OPEN_MESSAGE, "transcript.delta item_2 'Yes.'"]),
    (started, AUDIO, VOID),
    (started, CALL, OPEN_CALL),
    (started, ARGUMENTS, VOID),
    (started, CALL_END, VOID),
    (started, END, ["response.done resp_1 completed []"]),
    (started, FAIL, ["response.done resp_1 failed server_error []"]),
    (started, FINAL, VOID),
    (started, NOTHING_HEARD, VOID),
    (started, NOT_HEARD, VOID),
    (
        started,
        BARGE_IN,
        [
            "> stop resp_1",
            "> open item_2 0ms",
            "speech_started item_2 0ms",
            "response.done resp_1 cancelled turn_detected []",
        ],
    ),
    # text under way
    (writing, CREATE, ACTIVE),
    (
        writing,
        CANCEL,
        [
            "> stop resp_1",
            *closed_text("incomplete"),
            "response.done resp_1 cancelled client_cancelled [item_2]",
        ],
    ),
    (writing, MODEL_TEXT, ["text.delta item_2 '!'"]),
    (writing, BLANK, ["text.delta item_2 '\\n'"]),
    (
        writing,
        CALL,
        [
            *closed_text("completed"),
            "output_item.added 1 call item_3 in_progress f()",
            "item.added <item_2> call item_3 in_progress f()",
        ],
    ),
    (writing, ARGUMENTS, VOID),
    (writing, CALL_END, VOID),
    (writing, END, [*closed_text("completed"), "response.done resp_1 completed [item_2]"]),
    (
        writing,
        FAIL,
        [*closed_text("incomplete"), "response.done resp_1 failed server_error [item_2]"],
    ),
    (
        writing,
        BARGE_IN,
        [
            "> stop resp_1",
            "> open item_3 0ms",
            "speech_started item_3 0ms",
            *closed_text("incomplete"),
            "response.done resp_1 cancelled turn_detected [item_2]",
        ],
    ),
    # speech under way
    (speaking, CREATE, ACTIVE),
    (
        speaking,
        CANCEL,
        [
            "> stop resp_1",
            *closed("incomplete"),
            "response.done resp_1 cancelled client_cancelled [item_2]",
        ],
    ),
    (speaking, MODEL_TEXT, VOID),
    (speaking, BLANK, VOID),
    (speaking, SPEECH_TEXT, ["transcript.delta item_2 'Yes.'"]),
    (speaking, AUDIO, ["audio.delta item_2 60ms"]),
    (
        speaking,
        CALL,
        [
            "output_item.added 1 call item_3 in_progress f()",
            "item.added <item_2> call item_3 in_progress f()",
        ],
    ),
    (speaking, ARGUMENTS, VOID),
    (speaking, CALL_END, VOID),
    (speaking, END, [*closed("completed"), "response.done resp_1 completed [item_2]"]),
    (speaking, FAIL, [*closed("incomplete"), "response.done resp_1 failed server_error [item_2]"]),
    (
        speaking,
        BARGE_IN,
        [
            "> stop resp_1",
            "> open item_3 0ms",
            "speech_started item_3 0ms",
            *closed("incomplete"),
            "response.done resp_1 cancelled turn_detected [item_2]",
        ],
    ),
    # a function call under way
    (calling, CREATE, ACTIVE),
    # No arguments.done: a client that runs tools on it must not run half a call.
    (
        calling,
        CANCEL,
        [
            "> stop resp_1",
            *DROPPED_CALL,
            "response.done resp_1 cancelled client_cancelled [item_2]",
        ],
    ),
    (
        calling,
        MODEL_TEXT,
        [
            "output_item.added 1 assistant item_3 in_progress []",
            "item.added <item_2> assistant item_3 in_progress []",
            "content_part.added item_3 said ''",
        ],
    ),
    (calling, BLANK, VOID),
    (calling, AUDIO, VOID),
    (calling, CALL, VOID),
    (calling, ARGUMENTS, ["arguments.delta item_2 '}'"]),
    (
        calling,
        CALL_END,
        [
            "arguments.done item_2 f({)",
            "item.done <item_1> call item_2 completed f({)",
            "output_item.done 0 call item_2 completed f({)",
        ],
    ),
    (calling, END, [*DROPPED_CALL, "response.done resp_1 completed [item_2]"]),
    (calling, FAIL, [*DROPPED_CALL, "response.done resp_1 failed server_error [item_2]"]),
    (
        calling,
        BARGE_IN,
        [
            "> stop resp_1",
            "> open item_3 0ms",
            "speech_started item_3 0ms",
            *DROPPED_CALL,
            "response.done resp_1 cancelled turn_detected [item_2]",
        ],
    ),
    # the response is over
    (done, CREATE, CREATED),
    (done, CANCEL, ["error response_cancel_not_active ev"]),
    (done, MODEL_TEXT, VOID),
    (done, BLANK, VOID),
    (done, SPEECH_TEXT, VOID),
    (done, AUDIO, VOID),
    (done, CALL, VOID),
    (done, ARGUMENTS, VOID),
    (done, CALL_END, VOID),
    (done, END, VOID),
    (done, FAIL, VOID),
    (done, FINAL, VOID),
    (done, NOTHING_HEARD, VOID),
    (done, NOT_HEARD, VOID),
    (done, BARGE_IN, ["> open item_2 0ms", "speech_started item_2 0ms"]),
]


@pytest.mark.parametrize(
    ("state", "event", "outputs"),
    TABLE,
    ids=[
        f"{state.__name__}-{type(event).__name__}-{i}" for i, (state, event, _) in enumerate(TABLE)
    ],
)
def test_cell(state: Callable[[], Core], event: object, outputs: list[str]) -> None:
    assert state()(event) == outputs


def test_every_cell_is_in_the_table() -> None:
    events = {id(row[1]): row[1] for row in TABLE}
    cells = {(row[0], id(row[1])) for row in TABLE}
    missing = {
        (state.__name__, type(event).__name__)
        for state in {row[0] for row in TABLE}
        for key, event in events.items()
        if (state, key) not in cells
    }
    transcripts = {"TranscriptFinal", "TranscriptFailed"}
    # Only a response that waits for words can meet the words it waits for.
    assert {cell for cell in missing if cell[1] not in transcripts} == {
        ("writing", "SpeechText"),
        ("writing", "SpeechAudio"),
        ("calling", "SpeechText"),
    }


def test_an_engine_that_falls_silent_fails_its_response() -> None:
    core = speaking()
    assert core.wait(29) == []
    overdue = core.wait(2)
    assert overdue[0] == "> stop resp_1"
    assert overdue[-1] == "response.done resp_1 failed server_error [item_2]"
    assert core(CREATE) == CREATED


def test_waiting_for_the_pace_is_no_silence() -> None:
    core = started()
    core(*spoken("A long story.", 60_000))
    assert [line for line in core.wait(54) if not line.startswith("audio.delta")] == []
    assert core(*finished()) == []
    assert core.wait(2)[-1] == "response.done resp_1 completed [item_2]"


def test_a_call_without_words_is_done_as_soon_as_the_model_is() -> None:
    core = calling()
    core(CALL_END)
    assert core(m.ModelFinished("resp_1", "tool_calls", p.Usage())) == [
        "response.done resp_1 completed [item_2]"
    ]
    assert core(CREATE) == CREATED
    assert core(END) == []


def test_words_to_be_spoken_are_waited_for() -> None:
    core = started()
    core(m.ModelText("resp_1", "Hi."))
    assert core(m.ModelFinished("resp_1", "stop", p.Usage())) == []
