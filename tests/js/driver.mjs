// Lets a test drive a JavaScript client: commands come in as lines, facts go out as lines of JSON.
//
//   in    say <file>   speak a recording (s16le mono 24 kHz)
//         end          report the client's own state and leave
//         any other line is an action of the client and its argument
//   out   {"said": "<file>"}   {"did": "<line>"}   {"state": ...}   and what else it reports

import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'

const BYTES_PER_MS = 48

export function report(fact) {
  process.stdout.write(JSON.stringify(fact) + '\n')
}

/** Audio that never stops: silence in real time, and recordings when somebody speaks. */
class Microphone {
  constructor(send, chunkMs) {
    this.send = send
    this.chunkMs = chunkMs
    this.chunkBytes = chunkMs * BYTES_PER_MS
    this.waiting = Buffer.alloc(0)
    this.speaking = null
    this.chunksSent = 0
    this.startedAt = performance.now()
    this.timer = setInterval(() => this.record(), chunkMs / 4)
  }

  say(name, pcm) {
    this.waiting = Buffer.concat([this.waiting, pcm])
    this.speaking = name
  }

  record() {
    while (performance.now() - this.startedAt >= (this.chunksSent + 1) * this.chunkMs) {
      this.chunksSent += 1
      const chunk = Buffer.alloc(this.chunkBytes)
      this.waiting.copy(chunk)
      this.waiting = this.waiting.subarray(this.chunkBytes)
      // A client may keep the buffer, so it must not be part of a pool.
      this.send(chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + chunk.length))
      if (this.speaking !== null && this.waiting.length === 0) {
        report({ said: this.speaking })
        this.speaking = null
      }
    }
  }

  stop() {
    clearInterval(this.timer)
  }
}

/**
 * Carries out the commands until `end`.
 *
 * @param send Hands an ArrayBuffer of audio to the client; null when nobody speaks unasked.
 * @param chunkMs Audio per call of it.
 * @param actions What else it can do, by name; each takes the rest of its line.
 * @param state Returns what the client knows about the conversation.
 */
export async function obey({ send, chunkMs, actions = {}, state }) {
  const microphone = send && new Microphone(send, chunkMs)
  for await (const line of createInterface({ input: process.stdin })) {
    const [command] = line.split(' ', 1)
    const argument = line.slice(command.length + 1)
    if (command === 'end') break
    if (command === 'say') {
      microphone.say(argument, await readFile(argument))
      continue
    }
    await actions[command](argument)
    report({ did: line })
  }
  microphone?.stop()
  // The last events may have come together with the command: they are read first.
  await new Promise(setImmediate)
  await new Promise(setImmediate)
  report({ state: state() })
}

/** A recording as an ArrayBuffer of its own. */
export async function recording(file) {
  return new Uint8Array(await readFile(file)).buffer
}
