"""A typed turn, answered as text while it is being written."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from websockets.asyncio.client import connect

URL = os.environ.get("REALTIME_URL", "ws://127.0.0.1:8000/v1/realtime?model=gpt-realtime")
HEADERS = {"Authorization": f"Bearer {os.environ.get('REALTIME_API_KEY', 'any')}"}


async def main(text: str) -> None:
    async with connect(URL, additional_headers=HEADERS) as socket:

        async def send(**event: object) -> None:
            await socket.send(json.dumps(event))

        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await send(
            type="session.update", session={"type": "realtime", "output_modalities": ["text"]}
        )
        await send(type="conversation.item.create", item=item)
        await send(type="response.create")
        async for message in socket:
            event = json.loads(message)
            match event["type"]:
                case "response.output_text.delta":
                    print(event["delta"], end="", flush=True)
                case "response.done":
                    print()
                    break
                case "error":
                    sys.exit(event["error"]["message"])


asyncio.run(main(" ".join(sys.argv[1:]) or "Hello!"))
