"""The same messages over real WebSockets, against the whole application with scripted engines."""

from __future__ import annotations

import asyncio
import logging
import random

from loguru import logger as pipecat_log
from websockets.exceptions import ConnectionClosed

from tests.e2e.gateway import Gateway, run_gateway, speech
from tests.fuzz.mirror import Event, Mirror
from tests.fuzz.replies import judge
from tests.fuzz.script import Improvised
from tests.fuzz.steps import Send, error_ids, event_of
from tests.harness import RealtimeClient

MESSAGES_PER_SESSION = 60
REPLY_TIMEOUT_S = 10.0
_MAX_FRAME_CHARS = 1_000_000
_NEEDS_ID = ("conversation.item.create", "input_audio_buffer.append", "response.create")
"""Without an `event_id` it could not be told what became of them."""


class _Errors(logging.Handler):
    """Keeps what reports a bug."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"log: {record.name}: {record.getMessage()}")


async def fuzz_wire(seed: int, messages: int) -> list[str]:
    """Send so many messages over several connections at once; what was wrong."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    sink = pipecat_log.add(lambda line: errors.lines.append(f"log: {line}"), level="ERROR")
    sessions = max(messages // MESSAGES_PER_SESSION, 1)
    problems: list[str] = []
    try:
        async with run_gateway(session={"output_lead_ms": 0}) as gateway:
            for start in range(0, sessions, 4):
                numbers = range(start, min(start + 4, sessions))
                played = [_session(gateway, seed, number) for number in numbers]
                for found in await asyncio.gather(*played):
                    problems += found
            problems += await _left_over(gateway)
    finally:
        logging.getLogger().removeHandler(errors)
        pipecat_log.remove(sink)
    return problems + errors.lines


async def _left_over(gateway: Gateway) -> list[str]:
    for _ in range(200):
        if not (left := await gateway.active_sessions()):
            return []
        await asyncio.sleep(0.05)
    return [f"{left} sessions live on after their clients left"]


async def _session(gateway: Gateway, seed: int, number: int) -> list[str]:
    rng = random.Random(f"{seed}/{number}/wire")
    dialect = rng.choice(("ga", "beta"))
    listens = rng.random() < 0.2
    url = gateway.url()
    if listens:
        url = f"{url.partition('?')[0]}?intent=transcription"
    problems: list[str] = []
    try:
        async with gateway.connect(dialect, url=url) as client:
            problems += await _converse(client, rng, "transcription" if listens else "realtime")
    except (AssertionError, ConnectionClosed) as failure:
        problems.append(str(failure))
    return [f"seed {seed}, connection {number} ({dialect}): {problem}" for problem in problems]


async def _converse(client: RealtimeClient, rng: random.Random, kind: str) -> list[str]:
    mirror = Mirror(client.oracle.dialect, kind)
    script = Improvised(rng, MESSAGES_PER_SESSION, hostility=0.4, wire=True)
    mirror.take(await client.wait_for("session.created", "transcription_session.created"))
    taken = 1
    hello = speech("hello")
    while isinstance(step := script.next(mirror), Send):
        if len(step.frame) > _MAX_FRAME_CHARS:
            continue
        if rng.random() < 0.05:
            await client.append_fast(hello + bytes(48_000))
        before = len(client.events)
        event = event_of(step.frame)
        if not _tell(client, event):
            continue
        await client.send_raw(step.frame)
        problems = await _reply_problems(client, step, event, mirror, before)
        if problems:
            return problems
        _tell_format(client, client.events[before:])
        for known in client.events[taken:]:
            mirror.take(known)
        taken = len(client.events)
    return await _finish(client)


async def _finish(client: RealtimeClient) -> list[str]:
    """Stop listening, so that nothing new begins, and cancel what is under way."""
    if client.events[0]["session"].get("model") is None:
        return []
    off = {"turn_detection": None}
    await client.update_session(
        **({"audio": {"input": off}} if client.oracle.dialect == "ga" else off)
    )
    # Messages are answered in their order: behind this answer the update has been carried out.
    last = {"type": "response.cancel", "response_id": "resp_never", "event_id": "last"}
    await client.send(last)
    await client.wait_for("error", where=lambda event: event["error"]["event_id"] == "last")
    for _ in range(100):
        ids = [
            {event["response"]["id"] for event in client.events_of(kind)}
            for kind in ("response.created", "response.done")
        ]
        live = ids[0] - ids[1]
        if not live:
            return []
        for response_id in live:
            await client.send({"type": "response.cancel", "response_id": response_id})
        await asyncio.sleep(0.1)
    return [f"{live} cannot be cancelled"]


def _tell(client: RealtimeClient, event: Event | None) -> bool:
    """Tell the oracle what is about to be sent; False for what it could not follow.

    It takes requests for granted until an error names them.
    """
    kind = event.get("type") if event is not None else None
    if event is None:
        return True
    if kind in _NEEDS_ID and None in error_ids("", event):
        return False
    if kind in ("session.update", "transcription_session.update"):
        event = {"type": "", "event_id": event.get("event_id")}
    client.oracle.client(event)
    return True


def _tell_format(client: RealtimeClient, events: list[Event]) -> None:
    for event in events:
        if event["type"].endswith("session.updated"):
            client.oracle.client({"type": "session.update", "session": event["session"]})


async def _reply_problems(
    client: RealtimeClient, step: Send, event: Event | None, mirror: Mirror, before: int
) -> list[str]:
    """Wait for the reply to one message; what is wrong with it."""
    silent = event is not None and event.get("type") == "input_audio_buffer.append"
    problems: list[str] = []
    deadline_s = asyncio.get_running_loop().time() + (0.02 if silent else REPLY_TIMEOUT_S)
    while asyncio.get_running_loop().time() < deadline_s:
        mine = error_ids(step.frame, event)
        events = [
            reply
            for reply in client.events[before:]
            # A response that begins by itself is mistaken for a reply: the error comes later.
            if reply["type"] != "error" or reply["error"]["event_id"] in mine
        ]
        fates, problems = judge([step], events, mirror, quiet=False)
        if not problems and (not silent or fates[0].outcome == "refused"):
            break
        await asyncio.sleep(0.002)
    return [f"{problem} after {step}" for problem in problems]
