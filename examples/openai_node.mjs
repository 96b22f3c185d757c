// openai-node in the GA dialect. It connects by wss: only, so the server needs a certificate.

import OpenAI from 'openai'
import { OpenAIRealtimeWS } from 'openai/realtime/ws'

const openai = new OpenAI({
  baseURL: process.env.REALTIME_BASE_URL ?? 'https://localhost:8000/v1',
  apiKey: process.env.REALTIME_API_KEY ?? 'any',
})
const text = process.argv.slice(2).join(' ') || 'Hello!'
const realtime = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, openai)

realtime.on('session.created', () => {
  realtime.send({
    type: 'session.update',
    session: { type: 'realtime', output_modalities: ['text'] },
  })
  realtime.send({
    type: 'conversation.item.create',
    item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] },
  })
  realtime.send({ type: 'response.create' })
})
realtime.on('response.output_text.delta', (event) => process.stdout.write(event.delta))
realtime.on('response.done', () => {
  console.log()
  realtime.close()
})
realtime.on('error', (error) => {
  console.error(error.message)
  process.exitCode = 1
  realtime.close()
})
