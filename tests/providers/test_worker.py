"""Engine processes: requests do not mix, crashes and hangs hit only their turn, nothing stays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from protocol import ErrorCategory, ProviderError, Stage
from providers.worker import EngineRequest, EngineWorker
from providers.worker_channel import BOOT_REQUEST, Kind, encode_frame

from .service_line import eventually

ROOT = Path(__file__).parents[2]


def make_worker(*argv: str, module: str = "tests.providers.fake_engine") -> EngineWorker:
    return EngineWorker(module, stage=Stage.TTS, label="fake", argv=argv)


@pytest.fixture
async def worker() -> AsyncIterator[EngineWorker]:
    worker = make_worker()
    await worker.wait_ready()
    yield worker
    await worker.close()


def ask(worker: EngineWorker, do: str, **fields: Any) -> EngineRequest:
    return worker.open(json.dumps({"do": do, **fields}).encode())


async def answers(request: EngineRequest) -> list[tuple[Kind, bytes]]:
    async with asyncio.timeout(30):
        return [answer async for answer in request]


async def echo_works(worker: EngineWorker) -> bool:
    return await answers(ask(worker, "echo", text="hi")) == [
        (Kind.PARTIAL, b"hi"),
        (Kind.DONE, b"hi"),
    ]


async def failure(request: EngineRequest) -> tuple[ErrorCategory, str]:
    with pytest.raises(ProviderError) as caught:
        await answers(request)
    assert caught.value.stage is Stage.TTS
    return caught.value.category, caught.value.message


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def count_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def test_interleaved_requests_get_their_own_answers(worker: EngineWorker) -> None:
    first, second = ask(worker, "say once"), ask(worker, "say once")
    for byte in range(200):
        first.send(Kind.INPUT, bytes([byte]))
        second.send(Kind.INPUT, bytes([255 - byte]))
    second.send(Kind.FINISH)
    first.send(Kind.FINISH)
    assert await answers(first) == [(Kind.PARTIAL, b"begun"), (Kind.DONE, bytes(range(200)))]
    assert await answers(second) == [
        (Kind.PARTIAL, b"begun"),
        (Kind.DONE, bytes(range(255, 55, -1))),
    ]
    assert worker.load == 0


async def test_a_request_before_the_process_is_up_waits_in_the_pipe() -> None:
    worker = make_worker()
    request = ask(worker, "say once")
    request.send(Kind.INPUT, b"early")
    request.send(Kind.FINISH)
    assert await answers(request) == [(Kind.PARTIAL, b"begun"), (Kind.DONE, b"early")]
    await worker.close()


async def test_a_refusal_fails_that_request_only(worker: EngineWorker) -> None:
    assert await failure(ask(worker, "refuse")) == (ErrorCategory.SERVER, "cannot say that")
    assert await echo_works(worker)


async def test_killed_process_fails_what_it_carried_and_comes_back(worker: EngineWorker) -> None:
    carried = [ask(worker, "say once"), ask(worker, "say once")]
    assert [await anext(request) for request in carried] == [(Kind.PARTIAL, b"begun")] * 2
    pid = worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for request in carried:
        assert await failure(request) == (ErrorCategory.SERVER, "the fake worker stopped")
    assert await echo_works(worker)
    assert worker.pid not in (None, pid)


async def test_hung_process_is_killed_and_only_its_turn_is_lost(worker: EngineWorker) -> None:
    pid = worker.pid
    assert pid is not None
    request = ask(worker, "hang")
    request.expect_answer(0.2)
    category, message = await failure(request)
    assert (category, message) == (
        ErrorCategory.TIMEOUT,
        "the fake worker gave no answer in 0.2 s",
    )
    assert await echo_works(worker)
    assert not is_alive(pid)


async def test_a_busy_process_is_not_taken_for_a_hung_one(worker: EngineWorker) -> None:
    busy, waiting = ask(worker, "chatter", times=40), ask(worker, "echo", text="hi")
    waiting.expect_answer(1.0)
    assert await answers(waiting) == [(Kind.PARTIAL, b"hi"), (Kind.DONE, b"hi")]
    assert len(await answers(busy)) == 41


async def test_a_cancelled_request_stops_in_the_engine_and_says_no_more(
    worker: EngineWorker,
) -> None:
    with ask(worker, "until cancelled") as request:
        assert await anext(request) == (Kind.PARTIAL, b"begun")
    assert await answers(request) == []
    assert await echo_works(worker)


async def test_print_of_a_library_does_not_reach_the_pipe(worker: EngineWorker) -> None:
    assert await answers(ask(worker, "print")) == [(Kind.DONE, b"")]
    assert await echo_works(worker)


async def test_interrupt_key_leaves_the_process_alone(worker: EngineWorker) -> None:
    pid = worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    assert await echo_works(worker)
    assert worker.pid == pid


async def test_a_single_crash_is_forgiven_and_a_series_backs_off(worker: EngineWorker) -> None:
    assert (await failure(ask(worker, "die")))[1] == "the fake worker stopped"
    assert not worker.backing_off
    assert (await failure(ask(worker, "die")))[1] == "the fake worker stopped"
    assert worker.backing_off
    category, message = await failure(ask(worker, "echo", text="hi"))
    assert category is ErrorCategory.SERVER
    assert "keeps stopping" in message


@pytest.mark.parametrize(
    "worker", [make_worker("die"), make_worker(module="tests.providers.no_such_engine")]
)
async def test_an_engine_that_does_not_come_up_fails_the_start(worker: EngineWorker) -> None:
    with pytest.raises(ProviderError, match="the fake worker stopped"):
        await worker.wait_ready()
    await worker.close()


async def test_close_leaves_no_process_no_task_no_descriptor() -> None:
    before = count_descriptors(), len(asyncio.all_tasks())
    for do in ("say once", "hang"):
        worker = make_worker()
        await worker.wait_ready()
        pid = worker.pid
        assert pid is not None
        open_request = ask(worker, do)
        await worker.close()
        await worker.close()
        assert await answers(open_request) == []
        assert not is_alive(pid)
        assert worker.pid is None
    await eventually(lambda: (count_descriptors(), len(asyncio.all_tasks())) == before)
    assert await failure(ask(worker, "echo", text="hi")) == (
        ErrorCategory.SERVER,
        "the fake worker is shut down",
    )


async def test_close_ends_a_process_that_is_still_loading() -> None:
    worker = make_worker("hang")
    worker.start()
    await worker.close()
    assert worker.pid is None


@pytest.mark.parametrize("busy", [False, True])
def test_the_engine_does_not_outlive_the_server(busy: bool) -> None:
    engine = subprocess.Popen(
        [sys.executable, "-m", "tests.providers.fake_engine"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert engine.stdin is not None
    assert engine.stdout is not None
    engine.stdin.write(encode_frame(Kind.CONFIGURE, BOOT_REQUEST))
    engine.stdin.flush()
    assert engine.stdout.read(1)
    if busy:
        engine.stdin.write(encode_frame(Kind.OPEN, 1, b'{"do": "hang"}'))
    engine.stdin.close()
    assert engine.wait(timeout=30) == 0
    engine.stdout.close()


async def test_the_working_directory_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "providers").mkdir()
    (tmp_path / "providers" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    monkeypatch.chdir(tmp_path)
    worker = make_worker()
    assert await echo_works(worker)
    await worker.close()
