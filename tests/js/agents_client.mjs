// @openai/agents-realtime over its WebSocket transport, with its own defaults.
//
// With `--conditions=browser` node loads the build that web pages get: a native WebSocket, and an
// ephemeral key among the subprotocols.

import { hostedMcpTool } from '@openai/agents-core'
import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime'
import { z } from 'zod'

import { obey, recording, report } from './driver.mjs'

const [url, apiKey, mode, mcpServer] = process.argv.slice(2)
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
// With a server named, the weather is one of its tools, which the gateway runs.
const hosted = mcpServer && JSON.parse(mcpServer)
const agent = new RealtimeAgent({
  name: 'assistant',
  instructions: 'Be brief.',
  tools: [hosted ? hostedMcpTool(hosted) : getWeather],
})
const session = new RealtimeSession(agent, {
  transport: 'websocket',
  ...(byHand && { config: { audio: { input: { turnDetection: null } } } }),
})
session.on('error', ({ error }) => report({ error: String(error?.error?.message ?? error) }))
session.on('audio_interrupted', () => report({ interrupted: true }))
session.on('mcp_tools_changed', (tools) => report({ mcpTools: tools.map(({ name }) => name) }))
session.on('mcp_tool_call_completed', (context, agent, { name, output, status }) =>
  report({ mcpCall: { name, output, status } }),
)
session.on('tool_approval_requested', async (context, agent, { approvalItem }) => {
  report({ asked: approvalItem.rawItem.name })
  await session.approve(approvalItem)
})

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
