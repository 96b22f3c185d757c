"""The examples do what their page says: its commands are run against the embedded engines."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from websockets.asyncio.client import ClientConnection, connect

from audio_utils import OutputEncoder
from tests.clients.certificate import write_certificate
from tests.clients.gateway import Gateway, running_gateway
from tests.clients.javascript import FOLDER as JAVASCRIPT
from tests.clients.javascript import missing as missing_javascript
from tests.e2e.gateway import speech
from tests.harness import running_server

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PAGE = (EXAMPLES / "README.md").read_text("utf-8")
LONGEST_LINES = 64
API_KEY = "a-key-for-the-examples"
HELLO = "Hello! It is nice to hear you. Ask me for a story, or tell me to count to ten.\n"
COUNT = "One, two, three, four, five, six, seven, eight, nine, ten.\n"
CALL = r"get_weather\(.*Oslo.*\)\n"
TOLD: dict[str, str] = {
    'text_to_text.py "Hello there!"': re.escape(HELLO),
    'text_to_wav.py "Please count to ten." reply.wav': (
        re.escape(COUNT) + r"[4-9]\.\d s of speech in reply\.wav\n"
    ),
    "wav_in.py tests/fixtures/weather.wav": (
        r"heard: what is the weather in paris\nanswer: You said: what is the weather in paris\.\n"
    ),
    "wavs_in_turns.py tests/fixtures/hello.wav tests/fixtures/story.wav": (
        r"tests/fixtures/hello\.wav: hello world\n"
        r"reply-1\.wav: Hello! .*\n"
        r"tests/fixtures/story\.wav: tell me .* story\n"
        r"reply-2\.wav: Once upon a time .*\n"
    ),
    "wav_base64.py encode tests/fixtures/hello.wav > hello.txt": "",
    "wav_base64.py decode hello.txt hello.wav": r"1\.2 s of audio in hello\.wav\n",
    'function_calling.py "What is the weather in Oslo?"': (
        CALL + r"The weather report says: sunny and 21 degrees in Oslo\n"
    ),
    'continue_conversation.py conversation.json "Hello there!"': (
        "2 messages; the last: " + re.escape(HELLO)
    ),
    'continue_conversation.py conversation.json "Please count to ten."': (
        "4 messages; the last: " + re.escape(COUNT)
    ),
    'openai_python.py "Hello there!"': re.escape(HELLO),
    'openai_python_beta.py "Hello there!"': re.escape(HELLO),
    'openai_agents.py "What is the weather in Oslo?"': (
        CALL + r"The weather report says: sunny and 21 degrees\n"
    ),
    'agents.mjs "What is the weather in Oslo?"': (
        CALL + r"The weather report says: sunny and 21 degrees\n"
    ),
    'legacy_beta.mjs "What is the weather in Oslo?"': (
        CALL + r"The weather report says: .*sunny and 21 degrees\n"
    ),
    'openai_node.mjs "Hello there!"': re.escape(HELLO),
}
"""What each command of the page prints, as a pattern."""
SERVERS = {"twilio_bridge.py"}
"""They run until they are stopped, and have tests of their own."""


def commands(program: str) -> list[str]:
    """The page's commands of one interpreter, without the interpreter and the folder."""
    return re.findall(rf"^(?:NODE_\S+ )?{program} examples/(.+)$", PAGE, re.M)


def runs(*programs: str) -> list[str]:
    return [row for name in programs for row in commands(name) if row not in SERVERS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the project to the commands, for what they write."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("node_modules"))
    (folder / "tests").symlink_to(ROOT / "tests")
    if not missing_javascript():
        (folder / "examples" / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
    return folder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), API_KEY=API_KEY) as gateway:
        yield gateway
        assert gateway.complaints() == []


@pytest.fixture(scope="module")
def secure_gateway(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Generator[Gateway]:
    cert_file, key_file = write_certificate(folder)
    options = ("--ssl-certfile", str(cert_file), "--ssl-keyfile", str(key_file))
    home = tmp_path_factory.mktemp("secure_gateway")
    with running_gateway(home, *options, API_KEY=API_KEY) as gateway:
        yield gateway
        assert gateway.complaints() == []


def addresses(gateway: Gateway, *, secure: bool = False) -> dict[str, str]:
    """The variables that lead an example to a gateway."""
    host, s = f"127.0.0.1:{gateway.port}", "s" if secure else ""
    return {
        "REALTIME_URL": f"ws{s}://{host}/v1/realtime?model=gpt-realtime",
        "REALTIME_BASE_URL": f"http{s}://{host}/v1",
        "REALTIME_API_KEY": API_KEY,
    }


def shell(command: str, folder: Path, **environment: str) -> str:
    """Run a command as a reader of the page does; what it prints."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        # `exec`: what takes too long is killed itself, not just its shell.
        command if command.startswith("NODE_") else f"exec {command}",
        shell=True,
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_example_is_on_the_page_and_under_a_screen() -> None:
    files = [path for path in EXAMPLES.iterdir() if path.suffix in {".py", ".mjs", ".html", ".md"}]
    assert len(files) > 15
    for path in files:
        if path.name == "README.md":
            continue
        assert f"({path.name})" in PAGE
        assert len(path.read_text("utf-8").splitlines()) <= LONGEST_LINES, path.name


def test_every_command_is_run_here() -> None:
    found = {*commands("python"), *commands("node")}
    assert found == {*TOLD, *SERVERS}


@pytest.mark.parametrize("command", runs("python"))
def test_python(command: str, gateway: Gateway, folder: Path) -> None:
    if command == "wav_base64.py decode hello.txt hello.wav":
        shell(
            f"{sys.executable} examples/wav_base64.py encode tests/fixtures/hello.wav > hello.txt",
            folder,
        )
    if command == 'continue_conversation.py conversation.json "Please count to ten."':
        first = 'continue_conversation.py conversation.json "Hello there!"'
        (folder / "conversation.json").unlink(missing_ok=True)
        shell(f"{sys.executable} examples/{first}", folder, **addresses(gateway))
    told = shell(f"{sys.executable} examples/{command}", folder, **addresses(gateway))
    assert re.fullmatch(TOLD[command], told), told


@pytest.mark.skipif(bool(missing_javascript()), reason=missing_javascript())
@pytest.mark.parametrize("command", [row for row in runs("node") if "openai_node" not in row])
def test_javascript(command: str, gateway: Gateway, folder: Path) -> None:
    told = shell(f"node --no-warnings examples/{command}", folder, **addresses(gateway))
    assert re.fullmatch(TOLD[command], told), told


@pytest.mark.skipif(bool(missing_javascript()), reason=missing_javascript())
@pytest.mark.parametrize("command", [row for row in runs("node") if "openai_node" in row])
def test_javascript_over_tls(command: str, secure_gateway: Gateway, folder: Path) -> None:
    line = f"NODE_EXTRA_CA_CERTS=cert.pem node --no-warnings examples/{command}"
    told = shell(line, folder, **addresses(secure_gateway, secure=True))
    assert re.fullmatch(TOLD[command], told), told


def test_wav_to_base64_and_back(folder: Path) -> None:
    original = ROOT / "tests" / "fixtures" / "hello.wav"
    encode = f"{sys.executable} examples/wav_base64.py encode tests/fixtures/hello.wav"
    lines = shell(encode, folder).splitlines()
    assert len(lines) == 13
    events = [
        {"type": kind, "delta": line}
        for kind in ("response.output_audio.delta", "response.audio.delta")
        for line in lines
    ]
    (folder / "log.txt").write_text(
        "\n".join(map(json.dumps, [{"type": "response.created"}, *events])), "utf-8"
    )
    shell(f"{sys.executable} examples/wav_base64.py decode log.txt twice.wav", folder)
    with wave.open(str(folder / "twice.wav")) as twice, wave.open(str(original)) as once:
        assert twice.getparams()[:3] == once.getparams()[:3]
        assert twice.readframes(10**6) == 2 * once.readframes(10**6)


# --- the telephone ----------------------------------------------------------------------------

FRAME_BYTES = 160
"""20 ms of µ-law at 8 kHz, as Twilio sends them."""


@asynccontextmanager
async def bridge(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[int]:
    """The bridge on a port of its own."""
    for name, value in addresses(gateway).items():
        monkeypatch.setenv(name, value)
    spec = spec_from_file_location("twilio_bridge", EXAMPLES / "twilio_bridge.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    async with running_server(module.app) as port:
        yield port


async def speak(call: ClientConnection, codes: bytes) -> None:
    """Send media frames at the pace of a call."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for number, start in enumerate(range(0, len(codes), FRAME_BYTES), 1):
        payload = base64.b64encode(codes[start : start + FRAME_BYTES]).decode()
        media = {"track": "inbound", "timestamp": str(20 * number), "payload": payload}
        await call.send(json.dumps({"event": "media", "streamSid": "MZ1", "media": media}))
        await asyncio.sleep(start_s + 0.02 * number - loop.time())


async def until_idle(gateway: Gateway) -> None:
    """Wait until the gateway has no session."""
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(10):
        url = f"http://127.0.0.1:{gateway.port}/health"
        for _ in itertools.count():
            if (await http.get(url)).json()["active_sessions"] == 0:
                break
            await asyncio.sleep(0.02)


async def test_a_call(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OutputEncoder("audio/pcmu")
    story = encoder.encode(speech("story")) + encoder.flush()
    second = b"\xff" * 8000
    async with bridge(gateway, monkeypatch) as port:
        address = f"ws://127.0.0.1:{port}/media-stream"
        async with connect(address, proxy=None) as call, asyncio.timeout(30):
            await call.send(json.dumps({"event": "connected", "protocol": "Call"}))
            start = {"streamSid": "MZ1", "mediaFormat": {"encoding": "audio/x-mulaw"}}
            await call.send(json.dumps({"event": "start", "streamSid": "MZ1", "start": start}))
            await speak(call, second + story + second)
            frames = [json.loads(await call.recv())]
            while frames[-1]["event"] != "media":
                frames.append(json.loads(await call.recv()))
            # The caller's first word stops what is playing, and so does one in the midst of it.
            assert {frame["event"] for frame in frames[:-1]} == {"clear"}
            await speak(call, story + second)
            while (frame := json.loads(await call.recv()))["event"] != "clear":
                assert (frame["event"], frame["streamSid"]) == ("media", "MZ1")
                assert frame["media"]["payload"]
            await call.send(json.dumps({"event": "stop", "streamSid": "MZ1"}))
        await until_idle(gateway)


async def test_an_incoming_call_is_told_where_to_stream(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bridge(gateway, monkeypatch) as port, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"http://127.0.0.1:{port}/incoming-call")
    assert answer.headers["content-type"].startswith("text/xml")
    assert f'<Stream url="wss://127.0.0.1:{port}/media-stream"/>' in answer.text


# --- the page ---------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium(profile: Path) -> Generator[str]:
    """A browser without a window; the address of its first tab's debugger."""
    assert CHROMIUM is not None
    options = ("--headless", "--no-sandbox", "--remote-debugging-port=0")
    line = [CHROMIUM, *options, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            assert process.stderr is not None
            told = (re.search(rb"ws://(\S+?)/", row) for row in process.stderr)
            host = next(found[1].decode() for found in told if found)
            tabs = httpx.get(f"http://{host}/json/list", trust_env=False).json()
            yield next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        finally:
            process.terminate()
            process.communicate()


async def evaluate(tab: ClientConnection, expression: str) -> Any:
    """The value of an expression in the page."""
    number = next(_NUMBERS)
    params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
    await tab.send(json.dumps({"id": number, "method": "Runtime.evaluate", "params": params}))
    while (answer := json.loads(await tab.recv())).get("id") != number:
        pass
    assert "exceptionDetails" not in answer["result"], answer
    return answer["result"]["result"].get("value")


_NUMBERS = itertools.count(1)
_READY = "document.querySelector('button')?.disabled === false"
_TYPE = """
new Promise((resolve) => {
  const form = document.querySelector('form')
  form.text.value = TEXT
  form.requestSubmit()
  const watch = setInterval(() => {
    if (!document.querySelector('.assistant[data-status]:last-child')) return
    clearInterval(watch)
    resolve(document.querySelector('#log').innerText)
  }, 20)
})
"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_the_page(gateway: Gateway, tmp_path: Path) -> None:
    files = Starlette(routes=[Mount("/", StaticFiles(directory=EXAMPLES))])
    query = urlencode({"url": addresses(gateway)["REALTIME_URL"], "key": API_KEY})
    async with running_server(files) as port:
        with chromium(tmp_path) as debugger:
            async with (
                connect(debugger, proxy=None, max_size=None) as tab,
                asyncio.timeout(30),
            ):
                address = f"http://localhost:{port}/browser.html?{query}"
                await evaluate(tab, f"location.href = {json.dumps(address)}")
                for _ in itertools.count():
                    if await evaluate(tab, _READY):
                        break
                    await asyncio.sleep(0.02)
                first = await evaluate(tab, _TYPE.replace("TEXT", '"Hello there!"'))
                second = await evaluate(tab, _TYPE.replace("TEXT", '"<b>count to ten</b>"'))
    assert first.split("\n\n") == ["Hello there!", HELLO.strip()]
    assert second.split("\n\n")[2:] == ["<b>count to ten</b>", COUNT.strip()]
