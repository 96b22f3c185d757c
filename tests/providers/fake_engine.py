"""An engine process whose every request says how it is to misbehave."""

from __future__ import annotations

import json
import os
import sys
import time

from providers.worker_channel import BOOT_REQUEST, EngineChannel, Kind


def serve(channel: EngineChannel, request_id: int, payload: bytes) -> None:
    order = json.loads(payload)
    match order["do"]:
        case "echo":
            channel.send(Kind.PARTIAL, request_id, order["text"].encode())
            channel.send(Kind.DONE, request_id, order["text"].encode())
        case "print":
            os.write(1, b"a library that prints\n")
            channel.send(Kind.DONE, request_id)
        case "refuse":
            channel.send(Kind.FAILED, request_id, b"cannot say that")
        case "say once":
            channel.send(Kind.PARTIAL, request_id, b"begun")
        case "hang":
            time.sleep(3600)
        case "chatter":
            for _ in range(order["times"]):
                channel.send(Kind.PROGRESS, request_id)
                time.sleep(0.05)
            channel.send(Kind.DONE, request_id)
        case "until cancelled":
            channel.send(Kind.PARTIAL, request_id, b"begun")
            while not channel.is_cancelled(request_id):
                time.sleep(0.001)
            channel.send(Kind.DONE, request_id)
        case "die":
            os._exit(7)
        case other:
            raise AssertionError(other)


def main() -> None:
    channel = EngineChannel()
    if "die" in sys.argv:
        return
    if "hang" in sys.argv:
        time.sleep(3600)
    heard: dict[int, bytes] = {}
    while (message := channel.receive(timeout_s=None)) is not None:
        match message.kind:
            case Kind.CONFIGURE:
                channel.send(Kind.READY, BOOT_REQUEST)
            case Kind.OPEN:
                heard[message.request_id] = b""
                serve(channel, message.request_id, message.payload)
            case Kind.INPUT:
                heard[message.request_id] += message.payload
            case Kind.FINISH:
                channel.send(Kind.DONE, message.request_id, heard.pop(message.request_id))
            case _:
                pass


if __name__ == "__main__":
    main()
