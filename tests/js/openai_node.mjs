// openai-node over wss, which is all it accepts; it reports every event in both directions.

import OpenAI from 'openai'
import { OpenAIRealtimeWS as BetaRealtime } from 'openai/beta/realtime/ws'
import { OpenAIRealtimeWS as Realtime } from 'openai/realtime/ws'

import { obey, report } from './driver.mjs'

const [baseURL, dialect] = process.argv.slice(2)
const sessions = {
  ga: {
    type: 'realtime',
    instructions: 'Be brief.',
    audio: { input: { transcription: { model: 'gpt-4o-mini-transcribe' } } },
  },
  beta: {
    instructions: 'Be brief.',
    modalities: ['text', 'audio'],
    input_audio_transcription: { model: 'whisper-1' },
  },
}

const openai = new OpenAI({ baseURL, apiKey: 'test-key' })
const connect = dialect === 'ga' ? Realtime : BetaRealtime
const realtime = new connect({ model: 'gpt-realtime' }, openai)

function send(event) {
  report({ sent: event })
  realtime.send(event)
}

realtime.on('event', (event) => report({ received: event }))
realtime.on('error', (error) => report({ error: error.message }))
await new Promise((resolve) => realtime.socket.on('open', resolve))
send({ type: 'session.update', session: sessions[dialect] })
await obey({
  send: (audio) =>
    send({ type: 'input_audio_buffer.append', audio: Buffer.from(audio).toString('base64') }),
  chunkMs: 40,
  state: () => null,
})
realtime.close()
