"""Watches a server's event loop from outside: a process that pings over a WebSocket.

It is a process of its own so that a busy load client does not delay it. A pong is written by the
event loop of the server, so a ping that finds the loop held waits until it is free.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

_INTERVAL_S = 0.002


@dataclass(slots=True)
class Pings:
    """Round trips of a probe, filled in when it ends: when each began, how long it took."""

    round_trips: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def between_ms(self, begin_s: float, end_s: float) -> list[float]:
        """The round trips that were under way between two `time.perf_counter()` moments."""
        return [
            took_s * 1000
            for at_s, took_s in self.round_trips
            if at_s + took_s >= begin_s and at_s <= end_s
        ]


@asynccontextmanager
async def probing(url: str) -> AsyncGenerator[Pings]:
    """Ping a server all the time while the block runs; read the result after it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.probe", url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    pings = Pings()
    try:
        await process.stdout.readline()
        yield pings
        process.stdin.close()
        pings.round_trips = [(at, took) for at, took in json.loads(await process.stdout.read())]
    finally:
        if process.returncode is None:
            process.stdin.close()
            await process.wait()


def run(url: str) -> None:
    """Ping until stdin is closed, then print all round trips."""
    target = parse_uri(url)
    protocol = ClientProtocol(target, subprotocols=[Subprotocol("realtime")], max_size=None)
    with socket.create_connection((target.host, target.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def flush() -> None:
            for piece in protocol.data_to_send():
                connection.sendall(piece)

        def receive_pong(payload: bytes) -> None:
            while True:
                protocol.receive_data(connection.recv(65536))
                received = protocol.events_received()
                flush()
                for event in received:
                    match event:
                        case Frame(opcode=Opcode.PONG, data=data) if bytes(data) == payload:
                            return
                        case _:
                            pass

        protocol.send_request(protocol.connect())
        flush()
        while not protocol.events_received():
            protocol.receive_data(connection.recv(65536))
        print("ready", flush=True)
        round_trips: list[tuple[float, float]] = []
        while not select.select([sys.stdin], [], [], _INTERVAL_S)[0]:
            began_s = time.perf_counter()
            payload = str(len(round_trips)).encode()
            protocol.send_ping(payload)
            flush()
            receive_pong(payload)
            round_trips.append((began_s, time.perf_counter() - began_s))
        print(json.dumps(round_trips), flush=True)


if __name__ == "__main__":
    run(sys.argv[1])
