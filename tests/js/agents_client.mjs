// @openai/agents-realtime over its WebSocket transport, with its own defaults.

import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime'
import { z } from 'zod'

import { obey, report } from './driver.mjs'

const [url] = process.argv.slice(2)

const getWeather = tool({
  name: 'get_weather',
  description: 'Tell the weather of a city.',
  parameters: z.object({ city: z.string() }),
  execute: ({ city }) => {
    report({ tool: city })
    return 'sunny and 21 degrees'
  },
})
const agent = new RealtimeAgent({
  name: 'assistant',
  instructions: 'Be brief.',
  tools: [getWeather],
})
const session = new RealtimeSession(agent, { transport: 'websocket' })
session.on('error', ({ error }) => report({ error: String(error?.error?.message ?? error) }))
session.on('audio_interrupted', () => report({ interrupted: true }))

await session.connect({ url, apiKey: 'test-key' })
await obey({
  send: (audio) => session.sendAudio(audio),
  chunkMs: 40,
  state: () => session.history,
})
session.close()
