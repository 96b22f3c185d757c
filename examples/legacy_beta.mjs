// openai-realtime-api, the npm release of OpenAI's beta reference client, with a tool.

import { RealtimeClient } from 'openai-realtime-api'

const client = new RealtimeClient({
  url: process.env.REALTIME_URL ?? 'ws://127.0.0.1:8000/v1/realtime',
  apiKey: process.env.REALTIME_API_KEY ?? 'any',
})
client.updateSession({ instructions: 'Be brief.', turn_detection: null })
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
    console.log(`get_weather(${JSON.stringify(city)})`)
    return { weather: 'sunny and 21 degrees' }
  }
)
client.on('conversation.item.completed', ({ item }) => {
  if (item.role !== 'assistant') return
  console.log(item.formatted.transcript || item.formatted.text)
  client.disconnect()
})
// This client answers a call at once, now and then before the response with the call is over.
let early = false
client.on('realtime.event', ({ event }) => {
  if (event.type === 'error') {
    early = event.error.code === 'conversation_already_has_active_response'
    if (!early) console.error(event.error.message)
  } else if (event.type === 'response.done' && early) {
    early = false
    client.createResponse()
  }
})

await client.connect()
await client.waitForSessionCreated()
const text = process.argv.slice(2).join(' ') || 'What is the weather in Paris?'
client.sendUserMessageContent([{ type: 'input_text', text }])
