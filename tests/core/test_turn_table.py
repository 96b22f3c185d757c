"""Every state of the user's turn against every event that can meet it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import protocol as p
from core import messages as m
from core.items import audio_of
from core.policy import Policy
from tests.core.kit import MANUAL, SAMPLES_PER_MS, TRANSCRIBED, Core, manual, pcm

ON = {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
OTHER = {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}}


def listening_empty() -> Core:
    return Core()


def listening_filled() -> Core:
    core = Core()
    core(p.InputAudioAppend(pcm(1000)))
    return core


def speaking() -> Core:
    core = Core()
    core(p.InputAudioAppend(pcm(1000)), m.VadSpeechStarted(0, 500 * SAMPLES_PER_MS))
    return core


def manual_empty() -> Core:
    return Core(settings=manual())


def manual_filled() -> Core:
    core = Core(settings=manual())
    core(p.InputAudioAppend(pcm(1000)))
    return core


def committed(item: str, ms: int) -> list[str]:
    shown = f"user {item} completed [audio None {ms}ms]"
    return [
        f"> close {item}",
        f"committed <None> {item}",
        f"item.added <None> {shown}",
        f"item.done <None> {shown}",
    ]


APPEND = p.InputAudioAppend(pcm(20))
COMMIT = p.InputAudioCommit("ev")
CLEAR = p.InputAudioClear("ev")
STARTED = m.VadSpeechStarted(0, 900 * SAMPLES_PER_MS)
STALE_STARTED = m.VadSpeechStarted(7, 900 * SAMPLES_PER_MS)
STOPPED = m.VadSpeechStopped(0, 950 * SAMPLES_PER_MS)
STALE_STOPPED = m.VadSpeechStopped(7, 950 * SAMPLES_PER_MS)
TURN_OFF = p.SessionUpdate(MANUAL)
TURN_ON = p.SessionUpdate(ON)
RETUNE = p.SessionUpdate(OTHER)
EMPTY = ["error input_audio_buffer_commit_empty ev"]
VOID: list[str] = []

TABLE: list[tuple[Callable[[], Core], object, list[str]]] = [
    (listening_empty, APPEND, ["> feed 20ms"]),
    (listening_empty, COMMIT, EMPTY),
    (listening_empty, CLEAR, ["> vad 1 server_vad", "cleared"]),
    (listening_empty, STALE_STARTED, VOID),
    (listening_empty, STOPPED, VOID),
    (listening_empty, STALE_STOPPED, VOID),
    (listening_empty, TURN_OFF, ["> vad 1 off", "session.updated"]),
    (listening_empty, TURN_ON, ["session.updated"]),
    (listening_empty, RETUNE, ["> vad 0 server_vad", "session.updated"]),
    (listening_filled, APPEND, ["> feed 20ms"]),
    # What was committed or cleared must not be found to hold speech afterwards.
    (
        listening_filled,
        COMMIT,
        ["> vad 1 server_vad", "> open item_1 1000ms", *committed("item_1", 1000)],
    ),
    (listening_filled, CLEAR, ["> vad 1 server_vad", "cleared"]),
    # 900 ms less 300 ms of padding: the item begins at 600 ms.
    (listening_filled, STARTED, ["> open item_1 400ms", "speech_started item_1 600ms"]),
    (listening_filled, STALE_STARTED, VOID),
    (listening_filled, STOPPED, VOID),
    (listening_filled, STALE_STOPPED, VOID),
    (listening_filled, TURN_OFF, ["> vad 1 off", "session.updated"]),
    (listening_filled, TURN_ON, ["session.updated"]),
    (listening_filled, RETUNE, ["> vad 0 server_vad", "session.updated"]),
    (speaking, APPEND, ["> feed 20ms"]),
    # The item announced by speech_started keeps its id; what the user goes on saying gets another.
    (speaking, COMMIT, ["> vad 1 server_vad", *committed("item_1", 800)]),
    (speaking, CLEAR, ["> vad 1 server_vad", "> drop item_1", "cleared"]),
    (speaking, STARTED, VOID),
    (speaking, STALE_STARTED, VOID),
    (
        speaking,
        STOPPED,
        [
            # Silence was found at 950 ms; the window of 500 ms reaches beyond what was appended.
            "speech_stopped item_1 1000ms",
            *committed("item_1", 800),
            "response.created resp_1 in_progress []",
        ],
    ),
    (speaking, STALE_STOPPED, VOID),
    (speaking, TURN_OFF, ["> vad 1 off", "session.updated"]),
    (speaking, TURN_ON, ["session.updated"]),
    (speaking, RETUNE, ["> vad 0 server_vad", "session.updated"]),
    (manual_empty, APPEND, ["> open item_1 0ms", "> feed 20ms"]),
    (manual_empty, COMMIT, EMPTY),
    (manual_empty, CLEAR, ["cleared"]),
    (manual_empty, STARTED, VOID),
    (manual_empty, STALE_STARTED, VOID),
    (manual_empty, STOPPED, VOID),
    (manual_empty, STALE_STOPPED, VOID),
    (manual_empty, TURN_OFF, ["session.updated"]),
    (manual_empty, TURN_ON, ["> vad 1 server_vad", "session.updated"]),
    (manual_empty, RETUNE, ["> vad 1 server_vad", "session.updated"]),
    (manual_filled, APPEND, ["> feed 20ms"]),
    (manual_filled, COMMIT, committed("item_1", 1000)),
    (manual_filled, CLEAR, ["> drop item_1", "cleared"]),
    (manual_filled, STARTED, VOID),
    (manual_filled, STALE_STARTED, VOID),
    (manual_filled, STOPPED, VOID),
    (manual_filled, STALE_STOPPED, VOID),
    (manual_filled, TURN_OFF, ["session.updated"]),
    (manual_filled, TURN_ON, ["> vad 1 server_vad", "> drop item_1", "session.updated"]),
    (manual_filled, RETUNE, ["> vad 1 server_vad", "> drop item_1", "session.updated"]),
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
    states = {row[0] for row in TABLE}
    events = {id(row[1]): row[1] for row in TABLE}
    cells = {(row[0], id(row[1])) for row in TABLE}
    missing = {
        (state.__name__, repr(events[event]))
        for state in states
        for event in events
        if (state, event) not in cells
    }
    # VAD cannot find speech in audio that was never appended.
    assert missing == {("listening_empty", repr(STARTED))}


# --- histories of more than one event -------------------------------------------------------------


def test_appends_are_counted_once_over_commits() -> None:
    core = Core(settings=manual())
    lengths: list[int] = []
    for ms in (100, 250, 1000):
        core(p.InputAudioAppend(pcm(ms)))
        core.raw(p.InputAudioCommit())
    for output in core.log:
        if isinstance(output, p.ItemAdded):
            lengths.append(len(audio_of(output.item)) // 48)
    assert lengths == [100, 250, 1000]


def test_item_audio_is_the_very_audio_of_the_turn() -> None:
    core = Core()
    for fill in range(20):
        core(p.InputAudioAppend(pcm(100, fill)))
    core(m.VadSpeechStarted(0, 800 * SAMPLES_PER_MS))
    outputs = core.raw(m.VadSpeechStopped(0, 1200 * SAMPLES_PER_MS))
    added = next(o for o in outputs if isinstance(o, p.ItemAdded))
    assert audio_of(added.item) == b"".join(pcm(100, fill) for fill in range(5, 17))


def test_short_manual_commit_says_how_much_there_is() -> None:
    core = Core(settings=manual())
    core(p.InputAudioAppend(pcm(40)))
    (error,) = core.raw(p.InputAudioCommit())
    assert isinstance(error, p.ErrorEvent)
    assert "only has 40.00ms" in error.message
    # Nothing was lost: with more audio the same item is committed.
    core(p.InputAudioAppend(pcm(60)))
    assert core(p.InputAudioCommit())[1] == "committed <None> item_1"


def test_idle_audio_is_bounded_and_positions_stay() -> None:
    core = Core()
    for _ in range(400):
        core(p.InputAudioAppend(pcm(100)))
    started = core(m.VadSpeechStarted(0, 39_000 * SAMPLES_PER_MS))
    assert started == ["> open item_1 1300ms", "speech_started item_1 38700ms"]


def test_prefix_padding_never_reaches_into_a_committed_item() -> None:
    core = Core()
    core(p.InputAudioAppend(pcm(1000)), p.InputAudioCommit())
    core(p.InputAudioAppend(pcm(500)))
    assert core(m.VadSpeechStarted(0, 1100 * SAMPLES_PER_MS)) == []
    started = core(m.VadSpeechStarted(1, 1100 * SAMPLES_PER_MS))
    assert started == ["> open item_2 500ms", "speech_started item_2 1000ms"]


def test_a_segment_ends_where_its_item_ends() -> None:
    core = speaking()
    core(p.InputAudioAppend(pcm(2000)))
    outputs = core.raw(m.VadSpeechStopped(0, 950 * SAMPLES_PER_MS))
    (close,) = [output for output in outputs if isinstance(output, m.CloseSegment)]
    assert close.end_sample == 1450 * SAMPLES_PER_MS


def test_turn_detection_switched_off_mid_speech_keeps_the_buffer_and_the_id() -> None:
    core = speaking()
    core(TURN_OFF)
    core(p.InputAudioAppend(pcm(100)))
    assert core(COMMIT) == committed("item_1", 900)


def test_create_response_false_waits_for_the_client() -> None:
    core = Core()
    core.update({"audio": {"input": {"turn_detection": {"create_response": False}}}})
    assert core.speak()[-1].startswith("item.done")


def test_created_audio_items_are_recognised_when_nobody_speaks() -> None:
    core = speaking()
    item = p.Message("mine", "user", "completed", (p.InputAudio(None, pcm(300)),))
    created = core(p.ItemCreate(item))
    assert [line for line in created if line.startswith(">")] == []
    stopped = core(STOPPED)
    assert stopped.index("> open mine 300ms") > stopped.index("> close item_1")
    assert "> close mine" in stopped


def test_a_user_who_never_ends_a_turn_does_not_hold_up_a_response_for_ever() -> None:
    core = Core(settings=manual())
    item = p.Message("mine", "user", "completed", (p.InputAudio(None, pcm(300)),))
    core(p.InputAudioAppend(pcm(1000)), p.ItemCreate(item), p.ResponseCreate())
    assert core.wait(16)[-1] == "response.done resp_1 failed server_error []"
    assert "> open mine 300ms" not in core(COMMIT)


def test_an_item_that_was_deleted_unheard_leaves_its_id_to_another() -> None:
    core = Core(settings=manual())
    core(p.InputAudioAppend(pcm(1000)))
    for ms in (300, 500):
        item = p.Message("mine", "user", "completed", (p.InputAudio(None, pcm(ms)),))
        core(p.ItemCreate(item), p.ItemDelete("mine"))
    core(p.ItemCreate(p.Message("mine", "user", "completed", (p.InputAudio(None, pcm(700)),))))
    assert [line for line in core(COMMIT) if "> open" in line] == ["> open mine 700ms"]


def test_created_audio_items_are_kept_as_long_as_there_is_room() -> None:
    core = Core(Policy(item_audio_limit_bytes=len(pcm(500))))
    for name in ("old", "new"):
        core(p.ItemCreate(p.Message(name, "user", "completed", (p.InputAudio(None, pcm(300)),))))
    assert core(p.ItemRetrieve("old")) == ["item.retrieved user old completed [audio None 0ms]"]
    assert core(p.ItemRetrieve("new")) == ["item.retrieved user new completed [audio None 300ms]"]


@pytest.mark.parametrize(
    "event",
    [
        p.ItemRetrieve("x" * 10_000),
        p.ItemDelete("x" * 10_000),
        p.ItemTruncate("x" * 10_000, 0, 0),
        p.ItemCreate(p.Message("", "user", "completed", ()), "x" * 10_000),
        p.ItemCreate(p.FunctionCallOutput("", "x" * 10_000, "{}")),
        p.ResponseCreate(input=(p.ItemReference("x" * 10_000),)),
    ],
)
def test_a_refusal_gives_back_no_more_than_a_line(event: p.ClientEvent) -> None:
    (refusal,) = Core().raw(event)
    assert isinstance(refusal, p.ErrorEvent)
    assert len(refusal.message) < 300


def test_a_full_buffer_refuses_and_lives() -> None:
    core = Core(settings=manual())
    for _ in range(16):
        core(p.InputAudioAppend(pcm(60_000)))
    assert core(p.InputAudioAppend(pcm(20), "late")) == ["error invalid_value late"]
    assert core(p.InputAudioClear()) == ["> drop item_1", "cleared"]
    assert core(p.InputAudioAppend(pcm(20))) == ["> open item_2 0ms", "> feed 20ms"]


def test_transcripts_end_once() -> None:
    core = Core()
    core.update(TRANSCRIBED)
    core.speak()
    assert core(m.TranscriptDelta("item_1", "he")) == ["transcription.delta item_1 'he'"]
    overdue = core.wait(20)
    assert overdue[:2] == ["> drop item_1", "transcription.failed item_1 server_error"]
    assert core(m.TranscriptDelta("item_1", "llo"), m.TranscriptFinal("item_1", "hello")) == []


def test_deltas_wait_for_the_item() -> None:
    core = Core()
    core.update(TRANSCRIBED)
    core(p.InputAudioAppend(pcm(1000)), m.VadSpeechStarted(0, 500 * SAMPLES_PER_MS))
    assert core(m.TranscriptDelta("item_1", "seven")) == []
    stopped = core(STOPPED)
    # Behind response.created, which leaves at once.
    assert stopped[-2:] == [
        "response.created resp_1 in_progress []",
        "transcription.delta item_1 'seven'",
    ]


def test_without_transcription_nobody_hears_of_the_words() -> None:
    core = Core()
    core.speak()
    said = core(m.TranscriptDelta("item_1", "he"), m.TranscriptFinal("item_1", "hello"))
    assert said == ["> start resp_1"]


def test_a_turn_that_was_judged_complete_ends_there() -> None:
    core = Core()
    core.update({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}})
    core(p.InputAudioAppend(pcm(2000)), m.VadSpeechStarted(0, 500 * SAMPLES_PER_MS))
    judged = m.VadSpeechStopped(0, 1000 * SAMPLES_PER_MS, 1200 * SAMPLES_PER_MS)
    assert core(judged)[0] == "speech_stopped item_1 1200ms"


@pytest.mark.parametrize(("eagerness", "wait_ms"), [("high", 2000), ("auto", 4000), ("low", 8000)])
def test_a_turn_that_never_sounds_complete_ends_after_the_longest_wait(
    eagerness: str, wait_ms: int
) -> None:
    core = Core()
    detection = {"type": "semantic_vad", "eagerness": eagerness}
    core.update({"audio": {"input": {"turn_detection": detection}}})
    core(p.InputAudioAppend(pcm(10_000)), m.VadSpeechStarted(0, 500 * SAMPLES_PER_MS))
    stopped = core(m.VadSpeechStopped(0, 1000 * SAMPLES_PER_MS))
    assert stopped[0] == f"speech_stopped item_1 {1000 + wait_ms}ms"


def test_a_recogniser_at_work_is_not_overdue() -> None:
    core = Core(settings=manual())
    for _ in range(3):
        core(p.InputAudioAppend(pcm(1000)), p.InputAudioCommit())
    said: list[str] = []
    for number in (1, 2):
        said += core.wait(12)
        said += core(m.TranscriptFinal(f"item_{number}", "words"))
    assert said == []
    # Of the third there is no word more: 15 s and the second of its audio.
    assert core.wait(15.9) == []
    assert core.wait(0.2) == ["> drop item_3"]


def test_an_append_that_does_not_fit_is_refused_as_a_whole() -> None:
    core = Core(settings=manual())
    core(p.InputAudioAppend(pcm(14 * 60_000)))
    (refused,) = core.machine.require_room(p.InputAudioAppend(pcm(2 * 60_000), "late"))
    assert isinstance(refused, p.ErrorEvent)
    assert refused.client_event_id == "late"
    assert core.machine.require_room(p.InputAudioAppend(pcm(30_000))) == []
