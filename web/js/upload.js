// A sound file played into the session in real time, for people without a microphone.

import { RATE_HZ, toInt16 } from "./pcm.js";

const CHUNK_SAMPLES = 960; // 40 ms

/** Any sound file the browser can read, as 24 kHz mono samples. Rejects with EncodingError. */
export async function decodeFile(file) {
  const context = new OfflineAudioContext(1, 1, RATE_HZ);
  const decoded = await context.decodeAudioData(await file.arrayBuffer());
  const mixed = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel += 1) {
    const samples = decoded.getChannelData(channel);
    for (let i = 0; i < mixed.length; i += 1) mixed[i] += samples[i] / decoded.numberOfChannels;
  }
  return toInt16(mixed);
}

/**
 * Hand out `samples` in chunks at the pace at which they would be spoken.
 * @param take called with each chunk
 * @param goOn asked before each chunk: false ends it early
 */
export async function streamInRealTime(samples, take, goOn = () => true) {
  const start = performance.now();
  for (let sent = 0; sent < samples.length && goOn(); sent += CHUNK_SAMPLES) {
    take(samples.slice(sent, sent + CHUNK_SAMPLES));
    const due = start + ((sent + CHUNK_SAMPLES) * 1000) / RATE_HZ;
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

export function silence(ms) {
  return new Int16Array(Math.round((ms * RATE_HZ) / 1000));
}
