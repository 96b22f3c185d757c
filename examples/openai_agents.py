"""openai-agents: an agent with a tool, which the SDK runs by itself."""

from __future__ import annotations

import asyncio
import os
import sys

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner
from agents.realtime.items import AssistantMessageItem

URL = os.environ.get("REALTIME_URL", "ws://127.0.0.1:8000/v1/realtime?model=gpt-realtime")
API_KEY = os.environ.get("REALTIME_API_KEY", "any")


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    print(f"get_weather({city!r})")
    return "sunny and 21 degrees"


async def main(text: str) -> None:
    agent = RealtimeAgent(name="assistant", instructions="Be brief.", tools=[get_weather])
    # The whole URL: base URLs in the environment are not read here.
    session = await RealtimeRunner(agent).run(model_config={"url": URL, "api_key": API_KEY})
    words = ""
    async with session:
        await session.send_message(text)
        async for event in session:
            if event.type == "history_updated":
                for item in event.history:
                    if isinstance(item, AssistantMessageItem):
                        words = "".join(
                            getattr(part, "transcript", None) or "" for part in item.content
                        )
            elif event.type == "agent_end" and words:  # the response with the call has none
                print(words)
                break
            elif event.type == "error":
                sys.exit(str(event.error))


asyncio.run(main(" ".join(sys.argv[1:]) or "What is the weather in Paris?"))
