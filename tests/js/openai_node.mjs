// openai-node over wss, which is all it accepts; it reports every event in both directions.

import OpenAI from 'openai'
import { OpenAIRealtimeWebSocket as BetaBrowserRealtime } from 'openai/beta/realtime/websocket'
import { OpenAIRealtimeWS as BetaRealtime } from 'openai/beta/realtime/ws'
import { OpenAIRealtimeWebSocket as BrowserRealtime } from 'openai/realtime/websocket'
import { OpenAIRealtimeWS as Realtime } from 'openai/realtime/ws'

import { obey, recording, report } from './driver.mjs'

const [baseURL, dialect, socket, apiKey, mode] = process.argv.slice(2)
const byHand = mode === 'by-hand'
const turnDetection = byHand ? null : { type: 'server_vad' }
const tools = [
  {
    type: 'function',
    name: 'get_weather',
    description: 'Tell the weather of a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
    },
  },
]
const sessions = {
  ga: {
    type: 'realtime',
    instructions: 'Be brief.',
    tools,
    audio: {
      input: {
        transcription: { model: 'gpt-4o-mini-transcribe' },
        turn_detection: turnDetection,
      },
    },
  },
  beta: {
    instructions: 'Be brief.',
    modalities: ['text', 'audio'],
    tools,
    input_audio_transcription: { model: 'whisper-1' },
    turn_detection: turnDetection,
  },
}
const classes = {
  ga: { ws: Realtime, browser: BrowserRealtime },
  beta: { ws: BetaRealtime, browser: BetaBrowserRealtime },
}
const audioDelta = { ga: 'response.output_audio.delta', beta: 'response.audio.delta' }[dialect]

const openai = new OpenAI({ baseURL, apiKey })
const realtime = new classes[dialect][socket]({ model: 'gpt-realtime' }, openai)

function send(event) {
  report({ sent: event })
  realtime.send(event)
}

function sendItem(item) {
  send({ type: 'conversation.item.create', item })
  send({ type: 'response.create' })
}

function append(audio) {
  send({ type: 'input_audio_buffer.append', audio: Buffer.from(audio).toString('base64') })
}

realtime.on('event', (event) => report({ received: event }))
realtime.on('error', (error) => report({ error: error.message }))
// What applications listen to: events by their names.
let playing = null
realtime.on(audioDelta, (event) => {
  if (playing?.item_id !== event.item_id) playing = { ...event, since: performance.now() }
})
realtime.on('response.done', ({ response }) => {
  report({ ended: response.status })
  const call = response.output.find((item) => item.type === 'function_call')
  if (!call) return
  report({ tool: JSON.parse(call.arguments).city })
  sendItem({ type: 'function_call_output', call_id: call.call_id, output: 'sunny and 21 degrees' })
})

await new Promise((resolve) => realtime.socket.addEventListener('open', resolve))
send({ type: 'session.update', session: sessions[dialect] })
await obey({
  send: byHand ? null : append,
  chunkMs: 40,
  actions: {
    type: (text) =>
      sendItem({ type: 'message', role: 'user', content: [{ type: 'input_text', text }] }),
    cancel: () => {
      send({ type: 'response.cancel' })
      send({
        type: 'conversation.item.truncate',
        item_id: playing.item_id,
        content_index: playing.content_index,
        audio_end_ms: Math.round(performance.now() - playing.since),
      })
    },
    talk: async (file) => {
      append(await recording(file))
      send({ type: 'input_audio_buffer.commit' })
      send({ type: 'response.create' })
    },
    nonsense: () => send({ type: 'no.such.event' }),
  },
  state: () => null,
})
realtime.close()
