"""Where other servers and clients have been seen to break, and which of our tests is of that.

Each row is an edge of the peer study, in its order, and the tests and conformance checks that fail
when we cut anybody with it. What concerns WebRTC and telephony signalling is not of this server.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from conformance.rules import RULES
from conformance.runner import checks_for

_TESTS = Path(__file__).parent
_MEASURED = {check.id for check in checks_for("ga")} | {rule.id for rule in RULES}

EDGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # what clients depend on
    (
        "Pipecat raises on every event it does not know, so none comes that was not negotiated",
        (
            "clients/test_pipecat_client.py::test_spoken_conversation_with_tool_and_barge_in",
            "e2e/test_legacy_events.py::test_by_default_there_are_none",
            "e2e/test_playback.py::test_by_default_clients_play_by_themselves",
            "e2e/test_rate_limits.py::test_without_limits_nothing_is_told",
            "dialect-purity/event-names",
        ),
    ),
    (
        "Pipecat needs an event_id in each event, and item_id in speech_started",
        ("test_transport.py::test_every_event_has_its_own_event_id", "shapes/event-id"),
    ),
    (
        "LiveKit keeps its context by conversation.item.added and deleted, and knows commit_empty",
        (
            "clients/test_livekit.py::test_typed_turns_cancel_wrong_event_and_context_sync",
            "clients/test_livekit.py::test_push_to_talk",
            "input-audio/empty-commit",
        ),
    ),
    (
        "agents-js truncates after an interruption and asks for semantic_vad",
        ("clients/test_javascript.py::test_agents", "session/semantic-vad"),
    ),
    (
        "N.E.K.O hangs up without a response.created within five seconds",
        ("e2e/test_sharp_edges.py::test_a_response_is_announced_before_anything_is_understood",),
    ),
    (
        "a GA update fails whole for one unknown field of beta",
        (
            "e2e/test_dialects.py::test_unknown_fields_are_ignored_with_a_log_line",
            "errors/unknown-fields",
        ),
    ),
    (
        "OpenAI refuses pcm16 as a GA format, and an update without session.type",
        (
            "dialects/test_validation.py::test_session_mistake",
            "dialects/test_ga_decode.py::test_mistake",
        ),
    ),
    (
        "OpenAI takes an Authorization that is no Bearer; here it opens what has no key",
        ("e2e/test_connection.py::test_an_open_gateway_takes_any_key",),
    ),
    # sharp edges with line evidence
    (
        "LocalAI: event ids and predecessors are a literal TODO",
        (
            "test_transport.py::test_ids_are_unique",
            "ordering/unique-event-ids",
            "ordering/predecessors",
            "input-audio/commit-names-its-predecessor",
        ),
    ),
    (
        "LocalAI: a truncation blanks the whole text",
        (
            "e2e/test_items.py::test_a_reply_is_cut_where_playback_stopped",
            "items/truncate-keeps-what-was-heard",
        ),
    ),
    (
        "LocalAI: a failed response has no response.done",
        (
            "e2e/test_responses.py::test_a_failed_response_ends_and_the_session_lives",
            "ordering/response-lifetime",
        ),
    ),
    (
        "LocalAI: create_response and interrupt_response are never read",
        (
            "e2e/test_turns.py::test_without_create_response_the_client_asks",
            "e2e/test_turns.py::test_without_interrupt_response_a_reply_goes_on",
            "turn-detection/no-response-unless-wanted",
            "barge-in/no-interruption-unless-wanted",
        ),
    ),
    (
        "LocalAI: a commit while turn detection is on is not implemented",
        (
            "e2e/test_turns.py::test_a_commit_by_hand_while_the_user_speaks",
            "e2e/test_turns.py::test_a_commit_by_hand_while_nobody_speaks",
            "input-audio/commit-under-detection",
        ),
    ),
    (
        "LocalAI: an unknown event is only logged",
        (
            "e2e/test_errors.py::test_an_event_that_cannot_be_carried_out",
            "errors/unknown-event",
            "errors/event-id-is-echoed",
        ),
    ),
    (
        "LocalAI: speech is looked for every 300 ms",
        ("e2e/test_sharp_edges.py::test_speech_is_noticed_at_once",),
    ),
    (
        "LocalAI: /sessions are stubs, and there is no client_secrets",
        (
            "test_rest.py::test_the_sdk_s_secret_opens_sessions_that_start_as_asked",
            "test_rest.py::test_a_transcription_secret_opens_a_transcription_session",
            "clients/test_javascript.py::test_agents_in_a_browser",
        ),
    ),
    (
        "speech-to-speech: a malformed frame ends the session",
        (
            "e2e/test_errors.py::test_a_frame_that_is_no_event",
            "errors/not-json",
            "errors/binary-frame",
        ),
    ),
    (
        "speech-to-speech: a commit is a flag, and push-to-talk a dead end",
        (
            "e2e/test_turns.py::test_a_turn_committed_by_hand",
            "input-audio/committed-turn-is-answered",
        ),
    ),
    (
        "speech-to-speech: a truncation is neither acknowledged nor carried out",
        (
            "core/test_context.py::test_truncation_overrides_what_the_clock_says",
            "items/truncate",
            "barge-in/truncation-follows",
        ),
    ),
    (
        "speech-to-speech: audio passes through 16 kHz; here it leaves as the voice made it",
        ("e2e/test_responses.py::test_a_typed_turn_in_audio",),
    ),
    (
        "speech-to-speech: a transcription session is an error",
        (
            "e2e/test_transcription_sessions.py::test_spoken_turns_are_transcribed_in_order",
            "transcription/transcription-session",
        ),
    ),
    (
        "speech-to-speech: the second client is turned away",
        (
            "e2e/test_many.py::test_twenty_sessions_at_once_do_not_mix_a_byte",
            "connection/serves-several-at-once",
        ),
    ),
    (
        "speaches: cancel and truncate are not implemented",
        (
            "e2e/test_responses.py::test_cancelling_ends_the_response_at_once",
            "responses/silence-after-cancel",
        ),
    ),
    (
        "speaches: each append copies the whole buffer",
        ("core/test_append_cost.py::test_an_append_to_ten_minutes_of_audio_copies_none_of_them",),
    ),
    (
        "speaches: 24 kHz is hard-coded",
        (
            "e2e/test_formats.py::test_g711_is_heard",
            "e2e/test_formats.py::test_g711_is_spoken",
            "input-audio/ulaw-is-measured",
        ),
    ),
    (
        "speaches: sessions start locked to English, with a prompt",
        ("e2e/test_sharp_edges.py::test_no_language_is_assumed",),
    ),
    (
        "OpenRealtime: the body of response.create is ignored, and clear only acknowledged",
        (
            "e2e/test_responses.py::test_what_is_said_can_be_overridden",
            "responses/instructions-have-an-effect",
            "input-audio/clear-drops-the-audio",
        ),
    ),
    (
        "vllm-omni: barge-in is called client_cancelled, out-of-band responses are an error",
        (
            "e2e/test_barge_in.py::test_speech_stops_the_reply_and_begins_a_new_turn",
            "barge-in/speech-cancels",
            "out-of-band/runs-in-parallel",
        ),
    ),
    (
        "NVIDIA: beta's session.update is refused, images, speed and eagerness are errors",
        (
            "e2e/test_dialects.py::test_an_unmarked_connection_is_told_by_its_first_update",
            "e2e/test_items.py::test_images_are_taken",
            "e2e/test_speed.py::test_a_voice_with_one_speed_is_stretched",
            "e2e/test_semantic_turns.py::"
            "test_half_a_sentence_is_waited_for_as_long_as_the_level_says",
        ),
    ),
    (
        "NVIDIA: turn detection is frozen once the pipeline runs",
        (
            "e2e/test_turns.py::test_parameters_may_change_in_mid_speech",
            "e2e/test_semantic_turns.py::test_the_rule_may_change",
            "turn-detection/turned-on-later",
        ),
    ),
    # what users complain of
    (
        "proxies mix the dialects",
        (
            "e2e/test_dialects.py::test_a_marked_connection_speaks_its_dialect",
            "dialect-purity/fields",
        ),
    ),
    (
        "a session ends without a word at its cap",
        ("e2e/test_connection.py::test_a_session_has_an_end",),
    ),
    (
        "after a barge-in the client plays on, so little may be ahead of the ear",
        ("e2e/test_pacing.py::test_an_interruptible_reply_is_paced",),
    ),
    (
        "a truncation past the end is an error, and the session is mute",
        ("items/truncate-past-the-end", "items/truncate-at-a-fraction"),
    ),
    (
        "a fixed silence is slow, or cuts people off",
        (
            "e2e/test_semantic_turns.py::"
            "test_a_complete_question_does_not_wait_for_the_longest_silence",
            "e2e/test_semantic_turns.py::test_a_pause_in_the_middle_of_a_question_is_waited_for",
        ),
    ),
    (
        "sessions leak, or keep their slot after a disconnect",
        ("e2e/test_many.py::test_sessions_leave_nothing_behind",),
    ),
    (
        "a second response.create is refused by no code, or cancels the first",
        (
            "e2e/test_responses.py::test_a_second_response_is_refused_while_one_is_active",
            "responses/one-at-a-time",
        ),
    ),
    (
        "session.update is half applied",
        (
            "e2e/test_errors.py::test_an_update_with_a_mistake_changes_nothing",
            "session/wrong-update-changes-nothing",
        ),
    ),
    (
        "an update of the language alone empties the model",
        ("e2e/test_sharp_edges.py::test_an_update_of_the_language_alone_goes_on_transcribing",),
    ),
    (
        "out-of-band replies cannot be told apart",
        ("e2e/test_responses.py::test_metadata_is_echoed", "responses/metadata-is-echoed"),
    ),
    (
        "tools stall: silence after a call, one reply for each parallel call, races",
        (
            "e2e/test_tools.py::test_speech_and_two_calls_share_a_response",
            "e2e/test_tools.py::test_an_output_may_come_before_the_response_is_done",
            "function-calls/early-result",
            "function-calls/result-starts-nothing",
        ),
    ),
    # measured with unmodified clients
    (
        "a reply is awaited by whoever reads the socket, so a cancel waits for its end",
        ("responses/cancel", "connection/answers-pings"),
    ),
    (
        "the voice waits for the whole text",
        ("test_pipeline_manager.py::test_a_spoken_response_names_each_clause_ahead_of_its_audio",),
    ),
    (
        "turn_detection null does not stop turn detection",
        ("input-audio/no-detection-when-off",),
    ),
    (
        "one delta a sentence, over 1 MiB: older clients hang up",
        (
            "e2e/test_responses.py::test_a_long_reply_comes_in_small_whole_samples",
            "shapes/frames",
        ),
    ),
    (
        "session.created is not always first",
        ("ordering/session-first", "connection/opens-with-session-created"),
    ),
    ("client item ids must begin with msg_", ("items/client-ids-are-kept",)),
    (
        "usage is missing",
        ("e2e/test_responses.py::test_a_typed_turn_in_text", "responses/usage"),
    ),
    (
        "an upstream model ends with a chunk without choices, or says a role ahead of a call",
        (
            "providers/test_openai_llm.py::test_a_stream_of_any_server",
            "providers/test_openai_llm.py::test_usage_wherever_it_stands",
        ),
    ),
)


@cache
def _functions(file: str) -> frozenset[str]:
    tree = ast.parse((_TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def _exists(proof: str) -> bool:
    file, is_test, function = proof.partition("::")
    if is_test:
        return function in _functions(file)
    return proof in _MEASURED


@pytest.mark.parametrize(("edge", "proofs"), EDGES, ids=[edge for edge, _ in EDGES])
def test_every_edge_has_its_test(edge: str, proofs: tuple[str, ...]) -> None:
    assert [proof for proof in proofs if not _exists(proof)] == []
    assert proofs, edge
