"""A function call: the model asks, this program computes, the model tells the result."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from websockets.asyncio.client import connect

URL = os.environ.get("REALTIME_URL", "ws://127.0.0.1:8000/v1/realtime?model=gpt-realtime")
HEADERS = {"Authorization": f"Bearer {os.environ.get('REALTIME_API_KEY', 'any')}"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather of a city.",
    "parameters": CITY,
}


def get_weather(city: str) -> str:
    return f"sunny and 21 degrees in {city}"


async def main(text: str) -> None:
    async with connect(URL, additional_headers=HEADERS) as socket:

        async def send(**event: object) -> None:
            await socket.send(json.dumps(event))

        async def add_and_respond(item: dict[str, object]) -> None:
            await send(type="conversation.item.create", item=item)
            await send(type="response.create")

        session = {"type": "realtime", "output_modalities": ["text"], "tools": [TOOL]}
        await send(type="session.update", session=session)
        content = [{"type": "input_text", "text": text}]
        await add_and_respond({"type": "message", "role": "user", "content": content})
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "error":
                sys.exit(event["error"]["message"])
            if event["type"] != "response.done":
                continue
            (item,) = event["response"]["output"]
            if item["type"] != "function_call":
                print(item["content"][0]["text"])
                break
            print(f"{item['name']}({item['arguments']})")
            output = get_weather(**json.loads(item["arguments"]))
            await add_and_respond(
                {"type": "function_call_output", "call_id": item["call_id"], "output": output}
            )


asyncio.run(main(" ".join(sys.argv[1:]) or "What is the weather in Paris?"))
