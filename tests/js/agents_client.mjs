// @openai/agents-realtime over its WebSocket transport, with its own defaults.
//
// With `--conditions=browser` node loads the build that web pages get: a native WebSocket, and an
// ephemeral key among the subprotocols.

import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime'
import { z } from 'zod'

import { obey, recording, report } from './driver.mjs'

const [url, apiKey, mode] = process.argv.slice(2)
const byHand = mode === 'by-hand'

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
const session = new RealtimeSession(agent, {
  transport: 'websocket',
  ...(byHand && { config: { audio: { input: { turnDetection: null } } } }),
})
session.on('error', ({ error }) => report({ error: String(error?.error?.message ?? error) }))
session.on('audio_interrupted', () => report({ interrupted: true }))

await session.connect({ url, apiKey })
await obey({
  send: byHand ? null : (audio) => session.sendAudio(audio),
  chunkMs: 40,
  actions: {
    type: (text) => session.sendMessage(text),
    cancel: () => session.interrupt(),
    talk: async (file) => {
      session.sendAudio(await recording(file), { commit: true })
      session.transport.requestResponse()
    },
    nonsense: () => session.transport.sendEvent({ type: 'no.such.event' }),
  },
  state: () => session.history,
})
session.close()
