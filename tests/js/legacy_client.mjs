// openai-realtime-api, the npm port of OpenAI's beta reference client, used as its console does.

import { RealtimeClient } from 'openai-realtime-api'

import { obey, report } from './driver.mjs'

const [url] = process.argv.slice(2)
const SAMPLES_PER_MS = 24

const client = new RealtimeClient({ url, apiKey: 'test-key' })
client.updateSession({
  instructions: 'Be brief.',
  turn_detection: { type: 'server_vad' },
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
client.on('conversation.interrupted', () => {
  if (!playing) return
  const playedSamples = Math.round((performance.now() - playing.since) * SAMPLES_PER_MS)
  client.cancelResponse(playing.id, playedSamples)
  playing = null
})

await client.connect()
await client.waitForSessionCreated()
await obey({
  send: (audio) => client.appendInputAudio(new Int16Array(audio)),
  chunkMs: 100,
  state: () =>
    client.conversation.getItems().map(({ type, role, status, formatted }) => ({
      type,
      role,
      status,
      transcript: formatted.transcript,
      samples: formatted.audio?.length ?? 0,
      tool: formatted.tool,
      output: formatted.output,
    })),
})
client.disconnect()
