"""openai-python in the beta dialect, which OpenAI's own service no longer speaks."""

from __future__ import annotations

import asyncio
import os
import sys

from openai import AsyncOpenAI

BASE_URL = os.environ.get("REALTIME_BASE_URL", "http://127.0.0.1:8000/v1")
client = AsyncOpenAI(
    base_url=BASE_URL,
    # Without this the beta class makes wss:// of any http:// address.
    websocket_base_url=BASE_URL.replace("http", "ws", 1),
    api_key=os.environ.get("REALTIME_API_KEY", "any"),
)


async def main(text: str) -> None:
    async with client.beta.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session={"modalities": ["text"]})
        await connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": text}],
            }
        )
        await connection.response.create()
        async for event in connection:
            if event.type == "response.text.delta":
                print(event.delta, end="", flush=True)
            elif event.type == "response.done":
                print()
                break
            elif event.type == "error":
                sys.exit(event.error.message)


asyncio.run(main(" ".join(sys.argv[1:]) or "Hello!"))
