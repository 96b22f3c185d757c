"""A JavaScript client in a process of its own, driven as `tests/js/driver.mjs` describes."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.clients.conversation import Clip

FOLDER = Path(__file__).resolve().parents[1] / "js"
_EXIT_TIMEOUT_S = 10
_LONGEST_LINE_BYTES = 8 * 1024 * 1024

Fact = dict[str, Any]


def missing() -> str:
    """Why JavaScript clients cannot be run here; empty if they can."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (FOLDER / "node_modules").is_dir():
        return "run `npm ci` in tests/js to install the JavaScript clients"
    return ""


NATIVE_WEBSOCKET = ("--experimental-websocket",)
"""node's own WebSocket, which as in a browser can send nothing but subprotocols.

From node 22 on it is there without asking.
"""


@cache
def missing_in_a_browser() -> str:
    """Why clients cannot be run as in a browser here; empty if they can."""
    if reason := missing():
        return reason
    probe = ["node", *NATIVE_WEBSOCKET, "--no-warnings", "--eval", "WebSocket"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return "this node has no WebSocket of its own: it takes 20.10 or later"
    return ""


@dataclass(slots=True)
class JavaScriptClient:
    """A running client.

    Attributes:
        facts: What it has reported, apart from what `on_fact` took.
    """

    process: asyncio.subprocess.Process
    folder: Path
    on_fact: Callable[[Fact], bool]
    facts: list[Fact] = field(default_factory=list[Fact])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, clip: Clip) -> None:
        """Have it speak; returns when it has sent the last sample."""
        file = self.folder / f"{clip.name}.pcm"
        file.write_bytes(clip.pcm)
        count = self.facts.count({"said": str(file)})
        self._command(f"say {file}")
        await self._until(lambda: self.facts.count({"said": str(file)}) > count)

    async def do(self, action: str, argument: str = "") -> None:
        """Have it do something of its own; returns when it has."""
        line = f"{action} {argument}".rstrip()
        count = self.facts.count({"did": line})
        self._command(line)
        await self._until(lambda: self.facts.count({"did": line}) > count)

    async def type(self, text: str) -> None:
        """Have it send a typed message; see `Hands`."""
        await self.do("type", text)

    async def cancel(self) -> None:
        """Have it cancel the reply; see `Hands`."""
        await self.do("cancel")

    async def talk(self, clip: Clip) -> None:
        """Have it send a spoken turn at once; see `Hands`."""
        file = self.folder / f"{clip.name}.pcm"
        file.write_bytes(clip.pcm)
        await self.do("talk", str(file))

    async def send_nonsense(self) -> None:
        """Have it send an event that does not exist; see `Hands`."""
        await self.do("nonsense")

    async def end(self) -> Any:
        """Its state at the end of the conversation."""
        self._command("end")
        assert self.process.stdin is not None
        # node stays as long as a command may come.
        self.process.stdin.close()
        await self._until(lambda: "state" in self.facts[-1])
        return self.facts[-1]["state"]

    def reported(self, key: str) -> list[Any]:
        """Everything it has reported under a name."""
        return [fact[key] for fact in self.facts if key in fact]

    def _command(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not (self.facts and holds()):
                assert self.process.returncode is None, "the client has ended"
                self._changed.clear()
                await self._changed.wait()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            fact: Fact = json.loads(line)
            if not self.on_fact(fact):
                self.facts.append(fact)
            self._changed.set()
        await self.process.wait()
        self._changed.set()


@asynccontextmanager
async def running_client(
    script: str,
    *arguments: str,
    folder: Path,
    on_fact: Callable[[Fact], bool] = lambda fact: False,
    node_options: tuple[str, ...] = (),
    **environment: str,
) -> AsyncGenerator[JavaScriptClient]:
    """Run a script of `tests/js`; it must end well and write nothing to stderr.

    Args:
        script: Its file name.
        arguments: Its arguments.
        folder: Where recordings are put for it.
        on_fact: Sees each reported fact first; returns whether it has taken it.
        node_options: Options for node itself.
        environment: Further environment variables.
    """
    node = shutil.which("node")
    assert node is not None
    # node needs little; above all no key of this machine's owner.
    process = await asyncio.create_subprocess_exec(
        node,
        "--no-warnings",
        *node_options,
        script,
        *arguments,
        cwd=FOLDER,
        env={"PATH": str(Path(node).parent), **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE_BYTES,
    )
    assert process.stderr is not None
    # Clients of one test say the same words at once: none may overwrite what another reads.
    own_folder = Path(tempfile.mkdtemp(dir=folder))
    client = JavaScriptClient(process, own_folder, on_fact)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.read(), name=f"{script} stdout")
            complaints = tasks.create_task(process.stderr.read(), name=f"{script} stderr")
            try:
                yield client
                async with asyncio.timeout(_EXIT_TIMEOUT_S):
                    await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
    finally:
        await process.wait()
    assert (process.returncode, complaints.result().decode()) == (0, "")
