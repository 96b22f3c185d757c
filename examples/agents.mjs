// @openai/agents-realtime over its WebSocket transport: an agent with a tool.

import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime'
import { z } from 'zod'

const getWeather = tool({
  name: 'get_weather',
  description: 'Tell the weather of a city.',
  parameters: z.object({ city: z.string() }),
  execute: ({ city }) => {
    console.log(`get_weather(${JSON.stringify(city)})`)
    return 'sunny and 21 degrees'
  },
})
const agent = new RealtimeAgent({
  name: 'assistant',
  instructions: 'Be brief.',
  tools: [getWeather],
})
// In browsers its default is WebRTC, which this server does not serve.
const session = new RealtimeSession(agent, { transport: 'websocket' })

session.on('agent_end', (context, agent, output) => {
  if (!output) return // the response with the call says nothing
  console.log(output)
  session.close()
})
session.on('error', ({ error }) => {
  console.error(error?.error?.message ?? error)
  process.exitCode = 1
  session.close()
})
await session.connect({
  url: process.env.REALTIME_URL ?? 'ws://127.0.0.1:8000/v1/realtime?model=gpt-realtime',
  apiKey: process.env.REALTIME_API_KEY ?? 'any',
})
session.sendMessage(process.argv.slice(2).join(' ') || 'What is the weather in Paris?')
