// openai-realtime-api, the npm port of OpenAI's beta reference client, used as its console does.

import { RealtimeClient } from 'openai-realtime-api'

import { obey, recording, report } from './driver.mjs'

const [url, mode] = process.argv.slice(2)
const byHand = mode === 'by-hand'
const SAMPLES_PER_MS = 24

const client = new RealtimeClient({ url, apiKey: 'test-key' })
client.updateSession({
  instructions: 'Be brief.',
  turn_detection: byHand ? null : { type: 'server_vad' },
  input_audio_transcription: { model: 'whisper-1' },
})
client.addTool(
  {
    name: 'get_weather',
    description: 'Tell the weather of a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
    },
  },
  ({ city }) => {
    report({ tool: city })
    return { weather: 'sunny and 21 degrees' }
  }
)

// What is playing: the console stops its player when the user speaks and reports how far it got.
let playing = null
client.on('conversation.updated', ({ item, delta }) => {
  if (delta?.audio && playing?.id !== item.id) playing = { id: item.id, since: performance.now() }
})
client.on('conversation.interrupted', stopPlaying)

function stopPlaying() {
  if (!playing) return
  const playedSamples = Math.round((performance.now() - playing.since) * SAMPLES_PER_MS)
  client.cancelResponse(playing.id, playedSamples)
  playing = null
}

client.on('realtime.event', ({ source, event }) => {
  if (source === 'server' && event.type === 'error') report({ error: event.error.message })
})

await client.connect()
await client.waitForSessionCreated()
await obey({
  send: byHand ? null : (audio) => client.appendInputAudio(new Int16Array(audio)),
  chunkMs: 100,
  actions: {
    type: (text) => client.sendUserMessageContent([{ type: 'input_text', text }]),
    cancel: stopPlaying,
    talk: async (file) => {
      client.appendInputAudio(new Int16Array(await recording(file)))
      client.createResponse()
    },
    nonsense: () => client.realtime.send('no.such.event', {}),
  },
  state: () =>
    client.conversation.getItems().map(({ type, role, status, formatted }) => ({
      type,
      role,
      status,
      text: formatted.text,
      transcript: formatted.transcript,
      samples: formatted.audio?.length ?? 0,
      tool: formatted.tool,
      output: formatted.output,
    })),
})
client.disconnect()
