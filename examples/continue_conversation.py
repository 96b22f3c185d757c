"""A conversation goes on in a new session: its items are kept in a file and created again.

A session ends with its connection. What was said in it is created as text in the next one: the
speech of an assistant cannot be given back to a model, its words can.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

URL = os.environ.get("REALTIME_URL", "ws://127.0.0.1:8000/v1/realtime?model=gpt-realtime")
HEADERS = {"Authorization": f"Bearer {os.environ.get('REALTIME_API_KEY', 'any')}"}


def as_text(item: dict[str, Any]) -> dict[str, Any]:
    """A message as it may be created: words for audio, and no id of a session that is over."""
    kind = "output_text" if item["role"] == "assistant" else "input_text"
    words = " ".join(part.get("text") or part.get("transcript") or "" for part in item["content"])
    content = [{"type": kind, "text": words}]
    return {"type": "message", "role": item["role"], "content": content}


async def go_on(history: list[dict[str, Any]]) -> None:
    """Create the items in a new session, and add what is answered."""
    async with connect(URL, additional_headers=HEADERS) as socket:
        session = {"type": "realtime", "output_modalities": ["text"]}
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        for item in history:
            await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await socket.send(json.dumps({"type": "response.create"}))
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "error":
                sys.exit(event["error"]["message"])
            if event["type"] == "response.done":
                history += [as_text(item) for item in event["response"]["output"]]
                break


store = Path(sys.argv[1])
messages = json.loads(store.read_text("utf-8")) if store.exists() else []
messages.append(as_text({"role": "user", "content": [{"text": " ".join(sys.argv[2:])}]}))
asyncio.run(go_on(messages))
print(f"{len(messages)} messages; the last: {messages[-1]['content'][0]['text']}")
store.write_text(json.dumps(messages, ensure_ascii=False, indent=1), "utf-8")
